"""Released models: a folder of `model.json` and `weights.safetensors`.

`model.json` names the model, the arguments that build it, the task it was
trained for and the numbers it reached; `weights.safetensors` holds its
variables under `<collection>/<path>` (`params/motion/level_0/conv_0/kernel`).
Such a folder is what training leaves, what `vidrestore convert` makes and what
`vidrestore restore` reads. Training checkpoints are another thing.
"""

import hashlib
import json
import os
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from vidrestore_jax import models

CARD = "model.json"
WEIGHTS = "weights.safetensors"
# The model that `vidrestore restore` takes unless told otherwise.
PACKAGED = pathlib.Path(__file__).parent / "pretrained" / "restore_default"
# What a model keeps in its backward pass is a matter of training it.
_OF_TRAINING = ("remat",)
FORMAT = 1  # Raised when a folder of today could no longer be read.


def save(
    folder,
    *,
    name: str,
    kwargs: dict[str, Any],
    variables,
    task: str | None = None,
    numbers: dict[str, Any] | None = None,
    source: dict[str, Any] | None = None,
):
  """Writes a released model, whole or not at all.

  The folder is written beside its place and then renamed. A released model
  that is already there is replaced; any other folder with content is refused.

  Args:
    folder: where.
    name: of `models.build`.
    kwargs: of `models.build`; a dtype may be its name or a dtype.
    variables: collections such as `{"params": ...}`, nested dicts of arrays.
    task: what it was trained for, such as "restoration".
    numbers: what it reached, JSON-able, with the protocol beside each.
    source: for converted weights, the file that they came from, JSON-able.

  Raises:
    ValueError: the variables are not those of `models.build(name, **kwargs)`,
      or hold NaN or infinite values.
    FileExistsError: the folder holds something else.
  """
  folder = pathlib.Path(folder)
  tensors = {
      path: np.asarray(array, order="C")
      for path, array in _flatten(variables).items()
  }
  kwargs = _plain(
      {k: v for k, v in kwargs.items() if k not in _OF_TRAINING}
  )
  _check(tensors, _build(name, kwargs, "The model to save"), "the variables")
  if not _is_replaceable(folder):
    raise FileExistsError(
        f"{folder} exists and is not a released model (it has no {CARD}), so"
        " it is not replaced. Name another folder."
    )
  beside = folder.with_name(folder.name + ".partial")
  replaced = folder.with_name(folder.name + ".replaced")
  for leftover in (beside, replaced):  # Of a save that was killed.
    if leftover.exists():
      shutil.rmtree(leftover)
  beside.mkdir(parents=True)
  try:
    (beside / WEIGHTS).write_bytes(safetensors.save(tensors))
    card = {
        "format": FORMAT,
        "name": name,
        "kwargs": kwargs,
        "task": task,
        "numbers": _plain(numbers or {}),
        **({"source": _plain(source)} if source else {}),
        "weights_sha256": file_sha256(beside / WEIGHTS),
    }
    text = json.dumps(card, indent=2, allow_nan=False)
    (beside / CARD).write_text(text + "\n")
    if folder.exists():
      os.rename(folder, replaced)
    os.rename(beside, folder)
  finally:
    shutil.rmtree(beside, ignore_errors=True)
  shutil.rmtree(replaced, ignore_errors=True)


def load(folder=None, *, dtype: str | None = None):
  """Reads a released model.

  Args:
    folder: as `save` left it; None: the one that the package brings.
    dtype: to compute in; None: the one that it was released with.

  Returns:
    `(model, variables)`: the module and its variables as numpy arrays, ready
    for `model.apply(variables, ...)`.

  Raises:
    FileNotFoundError: no released model there.
    ValueError: the folder is damaged, or its tensors are not the model's: one
      is left over, missing, of another shape, or not finite; or there is no
      such dtype, or the model has no choice of it.
  """
  card = read_card(folder)
  folder = pathlib.Path(PACKAGED if folder is None else folder)
  path = folder / WEIGHTS
  if not path.is_file():
    raise FileNotFoundError(
        f"{folder} has a {CARD} but no {WEIGHTS}: the model's weights are"
        " missing. Copy the whole folder again."
    )
  if file_sha256(path) != card["weights_sha256"]:
    raise ValueError(
        f"{path} is not the file that {CARD} was written with (the sha256"
        " differs): it is damaged or was exchanged. Copy the folder again."
    )
  try:
    tensors = safetensors.load_file(path)
  except SafetensorError as error:
    raise ValueError(f"{path} is no safetensors file: {error}.") from error
  kwargs = card["kwargs"] | ({} if dtype is None else {"dtype": dtype})
  model = _build(card["name"], kwargs, str(folder / CARD))
  _check(tensors, model, str(path))
  return model, traverse_util.unflatten_dict(tensors, sep="/")


def read_card(folder=None) -> dict[str, Any]:
  """`model.json` of a released folder, None for the package's.

  Raises:
    FileNotFoundError: no such folder, or no released model in it.
    ValueError: it is not what `save` writes.
  """
  if folder is None and not PACKAGED.is_dir():
    raise FileNotFoundError(
        f"This installation lacks {PACKAGED}. Install it again, or name a"
        " model (on the command line: --model=FOLDER)."
    )
  folder = pathlib.Path(PACKAGED if folder is None else folder)
  path = folder / CARD
  if not folder.is_dir():
    raise FileNotFoundError(
        f"There is no model folder {folder}. A training run leaves one at"
        " WORKDIR/model."
    )
  if not path.is_file():
    way_out = (
        f"; name {folder / 'model'} instead"
        if (folder / "model" / CARD).is_file()
        else "; a training run leaves one at WORKDIR/model"
    )
    raise FileNotFoundError(
        f"{folder} is not a released model: it has no {CARD}{way_out}."
    )
  try:
    card = json.loads(path.read_text())
  except ValueError as error:
    raise ValueError(f"{path} is not JSON: {error}.") from error
  wanted = {"format", "name", "kwargs", "weights_sha256"}
  if not isinstance(card, dict) or not wanted <= set(card):
    raise ValueError(
        f"{path} does not describe a released model: it needs the keys"
        f" {', '.join(sorted(wanted))}."
    )
  if card["format"] != FORMAT:
    raise ValueError(
        f"{path} has format {card['format']}, but this version of"
        f" vidrestore_jax reads format {FORMAT}. Update the package."
    )
  return card


def variable_shapes(model) -> dict[str, tuple[int, ...]]:
  """Shapes of a model's variables, by `<collection>/<path>`.

  Traced, without computing any.

  Raises:
    ValueError: the model is a part of models, not one.
  """
  inputs = _init_inputs(model)
  variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
  flat = traverse_util.flatten_dict(dict(variables), sep="/")
  return {path: leaf.shape for path, leaf in flat.items()}


def params_sha256(params) -> str:
  """Sha256 over the parameters' bytes, in the order of their sorted paths.

  Args:
    params: nested dicts of arrays.

  Returns:
    64 hexadecimal digits. Paths are joined by "/" before sorting; bytes are
    those of the little-endian, C-ordered arrays.
  """
  digest = hashlib.sha256()
  for _, array in sorted(_flatten(params).items()):
    array = np.asarray(array, order="C")
    digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
  return digest.hexdigest()


def file_sha256(path) -> str:
  """Sha256 of a file, 64 hexadecimal digits."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _flatten(tree) -> dict[str, np.ndarray]:
  """Nested dicts of arrays as `{"a/b": array}` on the host."""
  flat = traverse_util.flatten_dict(dict(tree), sep="/")
  return {path: np.asarray(array) for path, array in flat.items()}


def _is_replaceable(folder) -> bool:
  """Whether nothing is there, or an empty folder, or a released model."""
  if not folder.exists() or (folder / CARD).is_file():
    return True
  return folder.is_dir() and not any(folder.iterdir())


def _plain(value):
  """`value` as JSON holds it: dtypes by name, numpy scalars as Python's."""
  if hasattr(value, "items"):
    return {str(key): _plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_plain(item) for item in value]
  if isinstance(value, (np.generic, np.ndarray, jax.Array)):
    return value.tolist()
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  try:
    return np.dtype(value).name
  except TypeError:
    raise ValueError(
        f"A released model's card holds numbers, strings, lists and dtypes,"
        f" but got {value!r}."
    ) from None


def as_tuples(value):
  """Lists as tuples again: JSON has no tuples, modules need hashable fields."""
  if isinstance(value, list):
    return tuple(as_tuples(item) for item in value)
  if isinstance(value, dict):
    return {key: as_tuples(item) for key, item in value.items()}
  return value


def _build(name, kwargs, origin):
  kwargs = {k: v for k, v in kwargs.items() if k not in _OF_TRAINING}
  try:
    return models.build(name, **as_tuples(kwargs))
  except (TypeError, ValueError) as error:
    raise ValueError(f"{origin} cannot be built: {error}") from error


def _init_inputs(model):
  """The smallest inputs that `model.init` takes, by the model's kind."""
  if not hasattr(model, "recurrent"):
    raise ValueError(
        f"{type(model).__name__} is a part of models and cannot be released"
        " alone."
    )
  size = model.stride
  if not getattr(model, "restores", True):  # Flow between two frames.
    frame = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    return frame, frame
  frames = 1 if model.radius is None else 2 * model.radius + 1
  clip = jax.ShapeDtypeStruct(
      (1, frames, size, size, model.channels), np.float32
  )
  noise = jax.ShapeDtypeStruct((1, size, size, 1), np.float32)
  return clip, noise if model.noise_map else None


def _check(tensors, model, origin):
  """ValueError unless `tensors` are the finite variables of `model`."""
  shapes = variable_shapes(model)
  kind = type(model).__name__
  missing = sorted(set(shapes) - set(tensors))
  left_over = sorted(set(tensors) - set(shapes))
  if missing or left_over:
    found = [
        f"{_some(names)} {what}"
        for names, what in ((missing, "missing"), (left_over, "left over"))
        if names
    ]
    raise ValueError(
        f"{origin} does not fit {kind} as {CARD} describes it:"
        f" {'; '.join(found)}."
    )
  for path, array in tensors.items():
    if array.shape != shapes[path]:
      raise ValueError(
          f"{origin} does not fit {kind}: {path} has shape {array.shape}, the"
          f" model needs {shapes[path]}."
      )
    if not np.isfinite(array).all():
      raise ValueError(
          f"{origin} holds NaN or infinite values in {path}; such a model"
          " restores nothing."
      )


def _some(names):
  """The first three of `names`, and how many more."""
  more = f" and {len(names) - 3} more" if len(names) > 3 else ""
  return ", ".join(names[:3]) + more
