"""Frames split by rows over devices, for those too large for one.

Each device holds a band of every array that has rows: frames, all that a model
makes of them, and a recurrent model's state. The program is that of whole
frames; XLA's spatial partitioning divides it, so that a convolution is lent the
rows it reaches beyond its band by the neighbours (collective permutes, over
several devices where bands are thin), a sum over the frame is added up over the
devices, and what flow or offsets may point into is gathered. So the frame's
border is the only one, and every model is served, one without a halo as well.

Lending a model's whole halo once, as tiles have it, was measured beside it:
neighbours then compute that many rows twice. Compiled for 8 devices and frames
of 3840 columns and 2176 or 2304 rows, each took, of what one takes for all:

                       by XLA              by the halo, once
  FastDVDnet     1/8 work, 1/7 memory    1/5 work, 1/5 memory
  FITVNet        1/8 work, 1/6 memory    3/8 work, 3/8 memory

with 136 and 177 exchanges of a few rows rather than 2. DnCNN, of a halo of 17
rows, takes the same either way. Bands that are no multiple of the model's
stride cost more: the 270 rows of 3840x2160 1/6 of FastDVDnet's work, 1/7 of its
memory. NCFL, whose features flow may point into, gathers them: 1/8 of its work,
but 5/9 of its memory there, and on two devices more than on one.

XLA wants bands of equal height. So arrays that are split are filled up at the
bottom with rows that a program cuts off before it does anything else.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

_AXIS = "rows"


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["array"],
    meta_fields=["rows", "mesh"],
)
@dataclasses.dataclass(frozen=True)
class Banded:
  """An array `[..., H, W, C]` that is split by rows.

  Attributes:
    array: `[..., H', W, C]`, H' a multiple of the number of devices.
    rows: H; those below fill up.
    mesh: of the devices.
  """

  array: Any
  rows: int
  mesh: Mesh

  @property
  def shape(self) -> tuple[int, ...]:
    """Without what fills up."""
    *before, _, width, channels = self.array.shape
    return (*before, self.rows, width, channels)

  def own(self):
    """The array without what fills up; whole where it is not in a program."""
    return self.array[..., : self.rows, :, :]

  def __array__(self, *args, **kwargs):
    return np.asarray(self.array, *args, **kwargs)[..., : self.rows, :, :]


def _is_banded(x):
  return isinstance(x, Banded)


def count(devices: int | str) -> int:
  """How many devices "all", or a number of them, are.

  Raises:
    ValueError: no such number, or there are fewer.
  """
  there = len(jax.local_devices())
  if devices == "all":
    return there
  if not isinstance(devices, int) or devices < 1:
    raise ValueError(
        "Frames are split over a number of devices, 1 or more, or over all,"
        f" but got {devices!r}."
    )
  if devices > there:
    kind = jax.local_devices()[0].platform
    raise ValueError(
        f"Frames are to be split over {devices} devices, but JAX sees {there}"
        f" ({kind}). Ask for {there} or for all; a CPU is divided into more by"
        f" JAX_NUM_CPU_DEVICES={devices} in the environment."
    )
  return devices


def mesh_of(devices: int | str, tile=None, bucket=None) -> Mesh | None:
  """So many devices of this process, or None where one does it all.

  Args:
    devices: as `count` has it.
    tile, bucket: a number where frames are not to be whole ones.

  Raises:
    ValueError: as `count`, or frames are not to be whole.
  """
  devices = count(devices)
  if devices == 1:
    return None
  if isinstance(tile, int) or isinstance(bucket, int):
    raise ValueError(
        f"Frames that are split over {devices} devices are whole ones: give a"
        " tile or a bucket, or devices, not both."
    )
  # Auto leaves the division to the compiler; Explicit, make_mesh's default,
  # refuses pixel shuffles.
  return jax.make_mesh(
      (devices,), (_AXIS,), axis_types=(AxisType.Auto,),
      devices=jax.local_devices()[:devices],
  )


def check(model, height: int, devices: int):
  """ValueError unless there is a band for every device."""
  most = math.ceil(height / model.stride)
  if devices > most:
    raise ValueError(
        f"Frames of {height} rows make at most {most} bands for this"
        f" {type(model).__name__}, whose bands have {model.stride} rows or"
        f" more, but {devices} devices were asked for. Ask for fewer."
    )


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device holds the whole array."""
  return NamedSharding(mesh, PartitionSpec())


def _split(mesh, rank):
  return NamedSharding(mesh, PartitionSpec(*[None] * (rank - 3), _AXIS))


def _filled(array, mesh, pad):
  widths = [(0, 0)] * array.ndim
  widths[-3] = (0, -array.shape[-3] % mesh.size)
  return pad(array, widths) if widths[-3][1] else array


def put(array, mesh: Mesh) -> Banded:
  """Splits `[..., H, W, C]`, of numpy or jax, over the devices."""
  # Of numpy, each device is sent its band alone.
  pad = np.pad if isinstance(array, np.ndarray) else jnp.pad
  filled = _filled(array, mesh, pad)
  filled = jax.device_put(filled, _split(mesh, filled.ndim))
  return Banded(filled, array.shape[-3], mesh)


def put_again(tree):
  """The tree, its banded arrays split anew: they may lie elsewhere."""
  return _mapped(lambda x: put(x.own(), x.mesh), tree)


def whole(tree):
  """The tree on the host, as one device has it."""
  return _mapped(np.asarray, tree)


def described(shape: tuple[int, ...], mesh: Mesh, dtype="float32") -> Banded:
  """What `put` makes of an array, with shapes in the arrays' place."""
  *before, rows, width, channels = shape
  filled = (*before, rows + -rows % mesh.size, width, channels)
  sharding = _split(mesh, len(filled))
  array = jax.ShapeDtypeStruct(filled, dtype, sharding=sharding)
  return Banded(array, rows, mesh)


def described_again(tree):
  """The tree of a program's shapes, which do not say where arrays lie."""
  return _mapped(lambda x: described(x.shape, x.mesh, x.array.dtype), tree)


def _mapped(function, tree):
  """The tree with the function of every banded array in its place."""
  return jax.tree.map(
      lambda x: function(x) if _is_banded(x) else x, tree, is_leaf=_is_banded
  )


def jit(function, **options):
  """`jax.jit` of what may be given banded arrays.

  The function sees them as whole arrays, and what it returns of three axes or
  more is banded as they are.
  """

  @functools.wraps(function)
  def program(*arguments):
    given = jax.tree.leaves(arguments, is_leaf=_is_banded)
    mesh = next((x.mesh for x in given if _is_banded(x)), None)
    if mesh is None:
      return function(*arguments)

    def banded(x):
      if x.ndim < 3:
        return x
      filled = _filled(x, mesh, jnp.pad)
      filled = jax.lax.with_sharding_constraint(
          filled, _split(mesh, filled.ndim)
      )
      return Banded(filled, x.shape[-3], mesh)

    arguments = _mapped(Banded.own, arguments)
    return jax.tree.map(banded, function(*arguments))

  return jax.jit(program, **options)
