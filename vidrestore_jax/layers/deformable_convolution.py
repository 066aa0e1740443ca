"""Modulated deformable convolution (DCNv2, Zhu et al., CVPR 2019).

  y[p] = bias + sum_t kernel[t] . (mask[p, t] * x[p + t + offset[p, t]])

t runs over the taps of the kernel; x is bilinear between pixels and zero
outside. The channels of x fall into G deformable groups, contiguous and equally
wide, each with offsets and masks of its own. The order of taps, groups and
coordinates is the public kernels' (XPixelGroup/BasicSR, torchvision), so that
published weights fit.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp

from vidrestore_jax.layers.convolution import Conv, add_bias, kernel_init
from vidrestore_jax.shapes import check_rank

# What the samples of a chunk of positions may take, with their gradients. Some
# tens of chunks at full HD: the gradient of x is added up once for each.
CHUNK_BYTES = 2**28


def deformable_conv(
    x,
    offsets,
    mask,
    kernel,
    bias=None,
    *,
    stride: int = 1,
    dilation: int = 1,
    chunk_bytes: int = CHUNK_BYTES,
):
  """Convolves where the offsets point; zero-padded by dilation * (k // 2).

  The samples are k * k times as large as x, so they are made and multiplied
  with the kernel chunk by chunk of output positions, in the backward pass once
  more. Positions and weights are computed in float32 whatever the dtype of x:
  bfloat16 cannot tell pixel 257 from 258.

  As in BasicSR's kernel, the gradient with respect to an offset is that towards
  the next pixel down or to the right where a position is whole, and zero at -1
  and beyond, H and beyond.

  Args:
    x: `[B, H, W, C]`.
    offsets: `[B, H', W', G * k * k * 2]` in pixels, H' = ceil(H / stride), the
      channels in the order group, tap (row by row), (dy, dx).
    mask: `[B, H', W', G * k * k]`, channels in the order group, tap.
    kernel: `[k, k, C / groups, features]`, k odd; its groups of weights, one or
      more, are told by its shape.
    bias: `[features]`, or None.
    stride: from one output position to the next, in pixels.
    dilation: from one tap to the next, in pixels.
    chunk_bytes: how much memory the samples may take at a time.

  Returns:
    `[B, H', W', features]` in the dtype of x.

  Raises:
    ValueError: shapes that do not fit together.
  """
  for name, array in (("x", x), ("offsets", offsets), ("mask", mask)):
    check_rank(name, array, "BHWC")
  check_rank("kernel", kernel, "KKIO")
  batch, height, width, channels = x.shape
  side, _, inputs, features = kernel.shape
  taps = side**2
  size = (-(-height // stride), -(-width // stride))
  deformable_groups = max(mask.shape[-1] // taps, 1)
  wanted = (batch, *size, deformable_groups * taps)
  if (
      mask.shape != wanted
      or offsets.shape != (*wanted[:3], 2 * wanted[3])
      or channels % deformable_groups
      or side % 2 == 0
      or kernel.shape[1] != side
      or channels % inputs
      or features % (channels // inputs)
  ):
    raise ValueError(
        "A deformable convolution of x [B, H, W, C] by a kernel [k, k, C / g,"
        f" g * n], k odd, at stride {stride} needs a mask"
        f" [B, H / {stride}, W / {stride}, G * k * k] and twice as many"
        " channels of offsets, C a multiple of the deformable groups G; but got"
        f" x {x.shape}, kernel {kernel.shape}, mask {mask.shape} and offsets"
        f" {offsets.shape}."
    )
  positions = size[0] * size[1]
  # A sample, its gradient, and as much for what the compiler does not fuse.
  bytes_each = taps * channels * 4 * x.dtype.itemsize
  chunks, length = _chunks(batch, size, bytes_each, chunk_bytes)
  missing = chunks * length - positions

  def in_chunks(array):
    """[H', W', ...] as [chunks, length, ...]."""
    array = array.reshape(positions, -1)
    array = jnp.pad(array, ((0, missing), (0, 0)))
    return array.reshape(chunks, length, -1)

  groups = channels // inputs
  weights = jnp.split(kernel.astype(x.dtype), groups, -1)
  tap = dilation * (jnp.stack(jnp.divmod(jnp.arange(taps), side)) - side // 2)

  def convolve_image(x, offsets, mask):
    # The zeros around the image, and a table of the groups of each pixel.
    table = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    table = table.reshape(-1, channels // deformable_groups)

    def convolve(chunk):
      index, offsets, mask = chunk
      shape = (length, deformable_groups, taps)
      offsets = offsets.reshape(*shape, 2).transpose(3, 0, 2, 1)
      mask = mask.reshape(shape).transpose(0, 2, 1)
      row, column = stride * jnp.stack(jnp.divmod(index, size[1]))
      y = (row + tap[0])[..., None] + offsets[0]  # [length, taps, groups]
      x = (column + tap[1])[..., None] + offsets[1]
      samples = _sample(table, (height, width), y, x, mask)
      samples = samples.astype(table.dtype).reshape(length, taps, channels)
      # Group by group: XLA's batched product is slow on a CPU.
      return jnp.concatenate([
          part.reshape(length, -1) @ weight.reshape(taps * inputs, -1)
          for part, weight in zip(jnp.split(samples, groups, -1), weights)
      ], -1)

    y = jax.lax.map(
        jax.checkpoint(convolve, prevent_cse=False),
        (in_chunks(jnp.arange(positions)), in_chunks(offsets), in_chunks(mask)),
    )
    return y.reshape(chunks * length, features)[:positions]

  # Image by image in the program, together when it runs: a batch that is
  # sharded over devices stays where it is.
  exact = jnp.promote_types(offsets.dtype, jnp.float32)
  y = jax.vmap(convolve_image)(x, offsets.astype(exact), mask.astype(exact))
  y = y.reshape(batch, *size, features)
  return y if bias is None else add_bias(y, bias)


def _chunks(batch, size, bytes_each, chunk_bytes):
  """How many chunks of positions there are, and the length of each.

  Where `jax.export` leaves the size open, row by row; where it leaves the batch
  open, as for one image.
  """
  if any(map(jax.export.is_symbolic_dim, size)):
    return size
  if jax.export.is_symbolic_dim(batch):
    batch = 1
  positions = size[0] * size[1]
  least = max(1, -(-positions * batch * bytes_each // chunk_bytes))
  # Of equal length if possible, since filling up the last one costs a copy.
  chunks = range(least, 2 * least)
  chunks = next((n for n in chunks if positions % n == 0), least)
  return chunks, -(-positions // chunks)


def _sample(table, size, y, x, mask):
  """mask * image[y, x], bilinear, zero outside.

  Args:
    table: `[(H + 2) * (W + 2) * G, C / G]`, the image with a border of zeros.
    size: (H, W).
    y: `[P, K, G]` rows.
    x: the same, columns.
    mask: the same.

  Returns:
    `[P, K, G, C / G]`, in the wider of the dtypes of the table and the mask.
  """
  groups = y.shape[-1]
  tops, parts = [], []
  for position, extent in ((y, size[0]), (x, size[1])):
    # Two comparisons that NaN fails, so that no index is ever out of bounds.
    position = jnp.where(position > -1, position, -1.0)
    position = jnp.where(position < extent, position, extent)
    first = jnp.minimum(jnp.floor(position), extent - 1)
    tops.append(first.astype(jnp.int32) + 1)
    parts.append(position - first)
  cell = tops[0] * (size[1] + 2) + tops[1]

  def look_up(row, column):
    index = (cell + row * (size[1] + 2) + column) * groups + jnp.arange(groups)
    weight = mask
    for near, part in ((row, parts[0]), (column, parts[1])):
      weight = weight * (part if near else 1 - part)
    # One by one: the compiler fuses a look-up of single pixels with its
    # weight, but stores what it looks up in blocks of 2 x 2.
    found = table.at[index].get(mode="promise_in_bounds")
    return found * weight[..., None]

  return sum(look_up(row, column) for row in (0, 1) for column in (0, 1))


class OffsetSize(NamedTuple):
  """How far a layer's offsets reach, in pixels: `[B]` each, without gradient.

  Attributes:
    mean: of the absolute coordinates.
    largest: of the absolute coordinates.
  """

  mean: Any
  largest: Any


class DeformableConv(nn.Module):
  """A 3x3 deformable convolution whose offsets another array asks for.

  Offsets have no natural scale, and nothing pulls one back that has left the
  image, where it has no gradient: EDVR is known to diverge so (its release,
  XPixelGroup/BasicSR, warns when the mean offset passes 50 pixels). So the
  layer says how large its offsets are, to be watched in training, and can bound
  them.

  Offsets start at zero and masks at one half, as in the releases.

  Attributes:
    features: output channels.
    deformable_groups: of the input's channels, with offsets of their own.
    max_offset: bounds each offset softly, to m * tanh(offset / m); None leaves
      them free, as EDVR's release does.
    offset_unit: pixels that one unit of the offsets' convolution stands for.
    dtype: compute dtype; offsets are float32.
  """

  features: int
  deformable_groups: int
  max_offset: float | None = None
  offset_unit: float = 1.0
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x, condition, flows=()):
    """Convolves x.

    Args:
      x: `[B, H, W, C]`, C a multiple of the deformable groups.
      condition: `[B, H, W, D]`, of which offsets and masks are made.
      flows: optical flows `[B, H, W, 2]`, (dx, dy), to add to the bounded
        offsets: the first to those of the first groups, and so on, in equal
        shares.

    Returns:
      The pair of `[B, H, W, features]` and the `OffsetSize`, flows apart.

    Raises:
      ValueError: shapes that do not fit together.
    """
    taps = 9
    groups = self.deformable_groups
    found = Conv(
        3 * groups * taps,
        dtype=self.dtype,
        kernel_init=nn.initializers.zeros,
        name="conv_offset",
    )(condition).astype(jnp.float32)
    offsets, logits = jnp.split(found, [2 * groups * taps], axis=-1)
    offsets = self.offset_unit * offsets
    if self.max_offset is not None:
      offsets = self.max_offset * jnp.tanh(offsets / self.max_offset)
    distance = jnp.abs(jax.lax.stop_gradient(offsets))
    reach = OffsetSize(distance.mean((1, 2, 3)), distance.max((1, 2, 3)))
    if flows:
      share = groups * taps // len(flows)
      guide = [jnp.tile(flow[..., ::-1], share) for flow in flows]
      offsets = offsets + jnp.concatenate(guide, -1)
    kernel = self.param(
        "kernel", kernel_init, (3, 3, x.shape[-1], self.features)
    )
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
    mask = jax.nn.sigmoid(logits)
    return deformable_conv(x, offsets, mask, kernel, bias), reach
