"""PyTorch's tensors and a model's variables: one table, read both ways.

A converter describes each key layout that published weights of its model have
as a `Layout`. Its `rules` list, in the release's own order, every tensor of a
model, where it goes and how its axes are laid. Reading follows the table and
writing follows it back: no tensor without a rule, no rule without a tensor, no
shape but the model's, no NaN.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from vidrestore_jax import models, released
from vidrestore_jax.models.spynet import IMAGENET_MEAN, IMAGENET_STD


class Kind(NamedTuple):
  """How a tensor is laid out here (`ours`), and in PyTorch (`theirs`)."""

  ours: Callable[[np.ndarray], np.ndarray]
  theirs: Callable[[np.ndarray], np.ndarray]


# OIHW to HWIO, with groups as well: both keep inputs of one group only.
KERNEL = Kind(
    lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)
)
# A transposed convolution's IOHW to HWIO. Taps are not mirrored: like
# PyTorch's, `layers.convolution.TransposedConv` adds x * kernel[k] at k.
TRANSPOSED = Kind(
    lambda x: x.transpose(2, 3, 0, 1), lambda x: x.transpose(2, 3, 0, 1)
)
# OIDHW to DHWIO, and without the time of kernels that see one frame.
KERNEL_3D = Kind(
    lambda x: x.transpose(2, 3, 4, 1, 0), lambda x: x.transpose(4, 3, 0, 1, 2)
)
KERNEL_OF_FRAME = Kind(
    lambda x: x[:, :, 0].transpose(2, 3, 1, 0),
    lambda x: x.transpose(3, 2, 0, 1)[:, :, None],
)
VECTOR = Kind(lambda x: x, lambda x: x)


class Rule(NamedTuple):
  """Where a tensor goes.

  Attributes:
    name: PyTorch's.
    path: ours, `<collection>/<path>`; None for what is no variable here and
      may be missing: BatchNorm's count of batches, an int64 that no weight
      depends on, or a constant.
    kind: of the layout.
    constant: what the tensor always holds, such as the mean of ImageNet.
  """

  name: str
  path: str | None
  kind: Kind = VECTOR
  constant: np.ndarray | None = None


def conv(name: str, path: str, *, bias: bool = True):
  """Rules of a Conv2d: of one group or several."""
  return _weights(name, path, KERNEL, bias)


def conv_3d(name: str, path: str):
  """Rules of a Conv3d of one group."""
  return _weights(name, path, KERNEL_3D, True)


def conv_of_frame(name: str, path: str):
  """Rules of a Conv3d of one group whose kernel is one frame long."""
  return _weights(name, path, KERNEL_OF_FRAME, True)


def transposed_conv(name: str, path: str, *, bias: bool = True):
  """Rules of a ConvTranspose2d of one group."""
  return _weights(name, path, TRANSPOSED, bias)


def _weights(name, path, kind, bias):
  yield Rule(f"{name}.weight", f"params/{path}/kernel", kind)
  if bias:
    yield Rule(f"{name}.bias", f"params/{path}/bias")


def batch_norm(name: str, path: str):
  """Rules of a BatchNorm2d or BatchNorm3d with its running statistics."""
  yield Rule(f"{name}.weight", f"params/{path}/scale")
  yield Rule(f"{name}.bias", f"params/{path}/bias")
  yield Rule(f"{name}.running_mean", f"batch_stats/{path}/mean")
  yield Rule(f"{name}.running_var", f"batch_stats/{path}/var")
  yield Rule(f"{name}.num_batches_tracked", None)


def imagenet(name: str = ""):
  """Rules of the constants `mean` and `std` [1, 3, 1, 1] of a module."""
  stem = f"{name}." if name else ""
  for key, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
    constant = np.float32(values).reshape(1, 3, 1, 1)
    yield Rule(f"{stem}{key}", None, constant=constant)


class Shapes(dict):
  """Shapes by PyTorch's names; a name that is missing is an error."""

  def __missing__(self, name):
    raise ValueError(
        f"the tensor {name} is missing, whose shape tells the model's widths"
    )

  def kernel(self, name: str) -> tuple[int, int, int, int]:
    """The shape of a convolution's kernel; ValueError where it is none."""
    shape = self[name]
    if len(shape) != 4:
      raise ValueError(
          f"{name} has shape {shape}, but is a kernel of four axes there"
      )
    return shape


def _drop_none(name, model):
  del name, model
  return False


@dataclasses.dataclass(frozen=True)
class Layout:
  """One way in which published weights of a model are named.

  Attributes:
    name: of the release.
    example: a tensor's name.
    marker: a regular expression that names of this layout match in full.
    infer: maps `Shapes` to arguments of the model's `build`; ValueError where
      they are no such model's.
    rules: maps a built model to its rules, in the release's order.
    dropped: whether a tensor that has no rule is left out (name, model).
  """

  name: str
  example: str
  marker: str
  infer: Callable[[Shapes], dict[str, Any]]
  rules: Callable[[Any], Iterable[Rule]]
  dropped: Callable[[str, Any], bool] = _drop_none


class Converted(NamedTuple):
  """A model out of PyTorch's tensors.

  Attributes:
    kwargs: of `models.build`.
    variables: of the model.
    layout: the layout's name.
    counts: BatchNorm's counts of batches by tensor, for the way back.
  """

  kwargs: dict[str, Any]
  variables: dict[str, Any]
  layout: str
  counts: dict[str, int]


def to_variables(
    name: str,
    layouts: Iterable[Layout],
    tensors: Mapping[str, np.ndarray],
    config: Mapping[str, Any] | None = None,
    *,
    origin: str = "The checkpoint",
) -> Converted:
  """A model's arguments and variables from PyTorch's tensors.

  Args:
    name: of the model.
    layouts: those its converter knows.
    tensors: arrays by name.
    config: arguments of the model that shapes do not tell; they come before
      what is inferred.
    origin: what the tensors are of, for errors.

  Raises:
    ValueError: no layout has such names, a tensor is missing or left over, of
      another shape, empty, no floating-point tensor, or not finite.
  """
  if not tensors:
    raise ValueError(f"{origin} holds no tensors.")
  empty = [key for key, value in tensors.items() if not value.size]
  if empty:
    raise ValueError(f"{origin} holds no values in {_some(empty)}.")
  layout = _recognise(name, layouts, tensors, origin)
  shapes = Shapes({key: value.shape for key, value in tensors.items()})
  origin = f"{origin} is no {name} in the layout {layout.name!r}"
  try:
    kwargs = layout.infer(shapes) | dict(config or {})
    model = models.build(name, **kwargs)
    wanted = released.variable_shapes(model)
    rules = tuple(layout.rules(model))
  except (TypeError, ValueError) as error:
    text = str(error).rstrip(".")
    raise ValueError(f"{origin}: {text}.") from error
  _check_names(layout, rules, model, tensors, origin)
  flat, counts = {}, {}
  for rule in rules:
    if rule.path is None:
      if rule.name in tensors and rule.constant is not None:
        _check_constant(rule, tensors[rule.name], origin)
      elif rule.name in tensors:
        counts[rule.name] = _count(rule.name, tensors[rule.name], origin)
      continue
    value = _weight(rule, tensors[rule.name], wanted[rule.path], origin)
    flat[rule.path] = rule.kind.ours(value)
  variables = traverse_util.unflatten_dict(flat, sep="/")
  return Converted(kwargs, variables, layout.name, counts)


def to_tensors(
    model,
    variables,
    layout: Layout,
    counts: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
  """PyTorch's tensors of a model, in the release's order.

  Args:
    model: as built.
    variables: its variables.
    layout: how to name them.
    counts: BatchNorm's counts of batches by tensor, for those that have one;
      None gives each a count of 0.

  Raises:
    ValueError: the layout has no names for such a model.
  """
  flat = traverse_util.flatten_dict(dict(variables), sep="/")
  rules = tuple(layout.rules(model))
  unnamed = sorted(set(flat) - {rule.path for rule in rules})
  if unnamed:
    raise ValueError(
        f"The layout {layout.name!r} has no name for {_some(unnamed)}."
    )
  tensors = {}
  for rule in rules:
    if rule.constant is not None:
      value = rule.constant
    elif rule.path is None:
      if counts is not None and rule.name not in counts:
        continue
      value = np.array(counts[rule.name] if counts else 0, np.int64)
    else:
      value = rule.kind.theirs(np.asarray(flat[rule.path], np.float32))
    tensors[rule.name] = np.array(value, order="C")
  return tensors


def _recognise(name, layouts, tensors, origin):
  for layout in layouts:
    if any(re.fullmatch(layout.marker, key) for key in tensors):
      return layout
  known = ", ".join(f"{one.example} ({one.name})" for one in layouts)
  raise ValueError(
      f"{origin} is no {name}: it holds {_some(list(tensors))}, but published"
      f" weights of {name} have names such as {known}."
  )


def _check_names(layout, rules, model, tensors, origin):
  """Every tensor has a rule, and every rule its tensor."""
  ruled = {rule.name for rule in rules}
  missing = [
      rule.name
      for rule in rules
      if rule.path is not None and rule.name not in tensors
  ]
  left_over = [
      key
      for key in tensors
      if key not in ruled and not layout.dropped(key, model)
  ]
  problems = []
  if missing:
    problems.append(f"{_some(missing)} missing")
  if left_over:
    problems.append(f"no rule for {_some(left_over)}")
  if problems:
    raise ValueError(f"{origin}: {'; '.join(problems)}.")


def _weight(rule, value, shape, origin):
  """A tensor in float32, its shape and values checked."""
  # A model's shape as PyTorch would have it, without making any array.
  wanted = rule.kind.theirs(np.broadcast_to(np.float32(0), shape)).shape
  if value.shape != wanted:
    raise ValueError(
        f"{origin}: {rule.name} has shape {value.shape}, but its model needs"
        f" {wanted}."
    )
  if not np.issubdtype(value.dtype, np.floating):
    raise ValueError(
        f"{origin}: {rule.name} is {value.dtype}, but weights are float16,"
        " float32 or float64."
    )
  # Parameters are float32; what overflows it is caught as infinite.
  with np.errstate(over="ignore"):
    value = value.astype(np.float32)
  if not np.isfinite(value).all():
    raise ValueError(f"{origin}: {rule.name} holds NaN or infinite values.")
  return value


def _count(name, value, origin):
  if value.shape != () or not np.issubdtype(value.dtype, np.integer):
    raise ValueError(
        f"{origin}: {name} is no single integer, as a count of batches is."
    )
  return int(value)


def _check_constant(rule, value, origin):
  if value.shape != rule.constant.shape or not np.allclose(
      value, rule.constant, rtol=1e-3
  ):
    raise ValueError(
        f"{origin}: {rule.name} is always {rule.constant.ravel()}, but holds"
        f" {np.ravel(value)[:4]} in shape {value.shape}."
    )


def _some(names):
  """The first three of `names`, and how many more."""
  more = f" and {len(names) - 3} more" if len(names) > 3 else ""
  return ", ".join(str(name)[:80] for name in names[:3]) + more
