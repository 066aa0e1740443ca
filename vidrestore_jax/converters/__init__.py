"""Published PyTorch weights into released models, and back.

A converter is a module named as its model; it says how published weights of it
are named (`LAYOUTS`, see `torch_layouts`) and what a file of original outputs
holds to check a conversion by (`outputs` and `TOLERANCE`, see `parity`).
"""

import importlib
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from vidrestore_jax import models, released
from vidrestore_jax.converters import checkpoints, parity, torch_layouts
from vidrestore_jax.layers import convolution


class Conversion(NamedTuple):
  """What `released.save` needs for converted weights."""

  kwargs: dict[str, Any]
  variables: dict[str, Any]
  source: dict[str, Any]


def available() -> list[str]:
  """Models that weights can be converted for."""
  here = {path.stem for path in pathlib.Path(__file__).parent.glob("*.py")}
  return [name for name in models.available() if name in here]


def read(
    name: str,
    path,
    *,
    config: Mapping[str, Any] | None = None,
    key: str | None = None,
) -> Conversion:
  """Reads published weights.

  Args:
    name: of the model.
    path: of the checkpoint, see `checkpoints.read`.
    config: arguments of the model that the tensors' shapes do not tell.
    key: under which the file keeps its state dict.

  Raises:
    FileNotFoundError: no such file.
    ValueError: no such converter, the file is not readable, or its tensors are
      not such a model's.
  """
  module = _module(name)
  checkpoint = checkpoints.read(path, key=key)
  converted = torch_layouts.to_variables(
      name, module.LAYOUTS, checkpoint.tensors, config, origin=str(path)
  )
  source = {
      "checkpoint": pathlib.Path(path).name,
      "sha256": released.file_sha256(path),
      "key": checkpoint.key,
      "prefix": checkpoint.prefix,
      "layout": converted.layout,
      "num_batches_tracked": converted.counts,
  }
  return Conversion(converted.kwargs, converted.variables, source)


def tensors(
    folder, *, layout: str | None = None, prefix: str | None = None
) -> dict[str, Any]:
  """PyTorch's state dict of a released model.

  Args:
    folder: of the released model.
    layout: of the names; where None, the one that the model was converted from,
      or else the converter's first.
    prefix: of every name; where None, as converted from, or else "".

  Returns:
    Arrays by name, in the release's order. Of a converted model all names and
    bytes are those of the checkpoint, where that was in float32.

  Raises:
    FileNotFoundError: no released model there.
    ValueError: there is no converter for it or no such layout, or the layout
      has no names for such a model.
  """
  card = released.read_card(folder)
  layouts = {one.name: one for one in _module(card["name"]).LAYOUTS}
  source = card.get("source", {})
  if layout is None:
    layout = source.get("layout", next(iter(layouts)))
  if layout not in layouts:
    raise ValueError(
        f"{card['name']} has no layout {layout!r}; it has:"
        f" {', '.join(layouts)}."
    )
  if prefix is None:
    prefix = source.get("prefix", "")
  model, variables = released.load(folder)
  counts = None
  if layout == source.get("layout"):
    counts = source.get("num_batches_tracked")
  found = torch_layouts.to_tensors(model, variables, layouts[layout], counts)
  return {prefix + name: value for name, value in found.items()}


def check(name: str, kwargs, variables, path) -> dict[str, Any]:
  """Compares converted weights with outputs of the original network.

  Args:
    name: of the model.
    kwargs: of the model.
    variables: of the model.
    path: an `.npz` of original outputs; its keys are those that `outputs` of
      the model's converter describes.

  Returns:
    `parity.compare`'s report.

  Raises:
    FileNotFoundError: no such file.
    ValueError: not such a file.
  """
  module = _module(name)
  model = models.build(name, **kwargs)
  reference = checkpoints.read_arrays(path)
  # It is the weights that are compared, not what else rounds.
  with convolution.use_form("usual"):
    found = module.outputs(model, variables, reference)
  return parity.compare(found, reference, module.TOLERANCE, path)


def _module(name):
  if name not in available():
    raise ValueError(
        f"There is no converter for the model {name!r}; there are:"
        f" {', '.join(available())}."
    )
  return importlib.import_module(f"{__name__}.{name}")
