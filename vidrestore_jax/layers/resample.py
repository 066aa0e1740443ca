"""Changes of resolution: pixel shuffles, pooling, bilinear and bicubic."""

import fractions
import math

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np


def depth_to_space(x, factor: int = 2):
  """[B, h, w, C * f**2] to [B, h * f, w * f, C] (sub-pixel shuffle).

  Channel (c * f + i) * f + j goes to row i and column j of its block, which is
  the order of PyTorch's PixelShuffle.
  """
  batch, height, width, channels = x.shape
  if channels % factor**2:
    raise ValueError(
        f"depth_to_space by {factor} needs a multiple of {factor**2} channels,"
        f" but has shape {tuple(x.shape)}."
    )
  x = x.reshape(batch, height, width, channels // factor**2, factor, factor)
  x = x.transpose(0, 1, 4, 2, 5, 3)  # [B, h, f, w, f, C]
  return x.reshape(
      batch, height * factor, width * factor, channels // factor**2
  )


def space_to_depth(x, factor: int = 2):
  """[B, H, W, C] to [B, H / f, W / f, C * f**2]: undoes `depth_to_space`."""
  batch, height, width, channels = x.shape
  if height % factor or width % factor:
    raise ValueError(
        f"space_to_depth needs height and width divisible by {factor}, but got"
        f" {height}x{width}."
    )
  x = x.reshape(
      batch, height // factor, factor, width // factor, factor, channels
  )
  x = x.transpose(0, 1, 3, 5, 2, 4)  # [B, h, w, C, f, f]
  return x.reshape(
      batch, height // factor, width // factor, channels * factor**2
  )


def average_pool(x, factor: int = 2):
  """[B, H, W, C] to [B, H / f, W / f, C]; the mean of each block."""
  batch, height, width, channels = x.shape
  x = x.reshape(
      batch, height // factor, factor, width // factor, factor, channels
  )
  return x.mean((2, 4))


def max_pool(x, factor: int = 2):
  """[B, H, W, C] to [B, H / f, W / f, C]; the largest value of each block."""
  return nn.max_pool(x, (factor, factor), (factor, factor))


def upsample_nearest(x, factor: int = 2):
  """[B, h, w, C] to [B, h * f, w * f, C]; each value becomes a block."""
  return x.repeat(factor, 1).repeat(factor, 2)


def upsample_bilinear(x, factor: int = 2, *, align_corners: bool = False):
  """[B, h, w, C] to [B, h * f, w * f, C]; see `resize_bilinear`."""
  size = (x.shape[1] * factor, x.shape[2] * factor)
  return resize_bilinear(x, size, align_corners=align_corners)


def resize_bilinear(x, size, *, align_corners: bool = False):
  """[B, h, w, C] to [B, H, W, C], as PyTorch's interpolate.

  Four neighbours make a pixel, whatever the factor: it does not blur what it
  makes smaller.

  Args:
    x: the array.
    size: (H, W).
    align_corners: True maps the corner pixels' centres onto each other; False
      (half-pixel centres) maps the corners of the corner pixels.

  Returns:
    The resized array; values beyond the border are those of the border.
  """
  for axis, wanted in zip((1, 2), size):
    if wanted != x.shape[axis]:
      weights = _linear_weights(x.shape[axis], wanted, align_corners)
      x = _interpolate(x, *weights, axis=axis)
  return x


def bicubic_resize(x, scale):
  """MATLAB's `imresize(x, scale)`, the bicubic of the SR literature.

  Keys' kernel with a = -0.5; when it shrinks, the kernel is stretched by
  1 / scale against aliasing (as neither PyTorch's nor OpenCV's bicubic does);
  beyond the border the image is mirrored, edge pixel included. Rows are
  resized first. Values may leave the range of `x`.

  Args:
    x: `[..., H, W, C]`, floats, a NumPy array (which stays one) or a JAX one.
    scale: the factor, exact: a whole number, a `fractions.Fraction`, or what
      makes one: "1/4", or a float that is one (0.25, not 1 / 3).

  Returns:
    `[..., ceil(H * scale), ceil(W * scale), C]`, the kind and dtype of `x`.
    Where H * scale is not whole, the last row is centred as if it were, as in
    MATLAB; crop to a multiple first where the two sizes have to match.

  Raises:
    ValueError: integers, fewer than three axes, or a scale that is not
      positive.
  """
  if x.ndim < 3 or not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(
        "bicubic_resize needs floats [..., H, W, C], but got"
        f" {x.dtype} of shape {tuple(x.shape)}. Divide integers by their white"
        " value first."
    )
  scale = _exact(scale)
  for axis in (x.ndim - 3, x.ndim - 2):
    size = x.shape[axis]
    wanted = -(-size * scale.numerator // scale.denominator)
    indices, weights = bicubic_weights(size, wanted, scale)
    shape = [1] * x.ndim
    shape[axis] = -1
    weights = weights.astype(x.dtype)
    # Tap by tap: few taps, so this beats a product with a dense matrix on
    # large frames and needs no higher precision of matrix units.
    x = sum(
        x.take(tap, axis, mode="clip") * weight.reshape(shape)
        for tap, weight in zip(indices.T, weights.T)
    )
  return x


def bicubic_reach(distance: int, scale: int) -> int:
  """How far an output reads that sees `distance` pixels of an enlarged frame.

  Args:
    distance: to each side, in pixels of `bicubic_resize(x, scale)`.
    scale: a whole number; 1 for a frame that is not enlarged.

  Returns:
    The distance in pixels of x itself, two taps of the kernel included.
  """
  if scale == 1:
    return distance
  # From the last sample of its pixel: ((s - 1 + d) + 1/2) / s - 1/2.
  return (2 * distance - 1 + scale) // (2 * scale) + 2


def bicubic_weights(size_in: int, size_out: int, scale):
  """Which samples make an output sample, and how much each of them weighs.

  out[i] = sum_k weights[i, k] * in[indices[i, k]], as the contributions of
  MATLAB's imresize: sample i sits at (i + 1/2) / scale - 1/2 of the input, and
  the weights of a sample sum to one.

  Args:
    size_in: samples there are.
    size_out: samples wanted, usually ceil(size_in * scale).
    scale: the factor; see `bicubic_resize`.

  Returns:
    The pair indices int64 and weights float64, both `[size_out, taps]`.
  """
  scale = _exact(scale)
  # So many samples further it looks the same, `denominator` inputs further.
  period = scale.numerator
  if not jax.export.is_symbolic_dim(size_out):
    period = min(period, size_out)
  stretch = max(1.0, 1.0 / scale)  # Of the kernel, when it shrinks.
  centre = (np.arange(period) + 0.5) / float(scale) - 0.5
  first = np.floor(centre - 2 * stretch).astype(np.int64)
  indices = first[:, None] + np.arange(math.ceil(4 * stretch) + 2)
  distance = np.abs(centre[:, None] - indices) / stretch
  # Keys, IEEE Transactions on Acoustics, Speech and Signal Processing 1981.
  near = (1.5 * distance - 2.5) * distance**2 + 1
  far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
  weights = np.where(distance <= 1, near, np.where(distance <= 2, far, 0.0))
  weights /= weights.sum(1, keepdims=True)
  used = weights.any(0)  # The outermost taps often have no weight at all.
  sample, xp = _arange(size_out)
  indices, weights = (
      xp.asarray(table[:, used])[sample % period]
      for table in (indices, weights)
  )
  indices = indices + sample[:, None] // period * scale.denominator
  inside = indices % (2 * size_in)
  return xp.minimum(inside, 2 * size_in - 1 - inside), weights


def _exact(scale):
  """`scale` as a Fraction, so that sizes are rounded up only where due."""
  scale = fractions.Fraction(scale)
  if scale <= 0:
    raise ValueError(f"scale needs to be above 0, but is {scale}.")
  return scale


def _linear_weights(size, wanted, align_corners):
  """The lower neighbour of each output sample, the upper one, its weight."""
  target, xp = _arange(wanted)
  # Its position is above / below, in whole numbers, which float32 would round
  # in a large frame where the size is not known beforehand.
  if align_corners:
    # A single row or column has no spacing: every sample reads it.
    above, below = target * (size - 1), jax.core.max_dim(wanted - 1, 1)
  else:
    above, below = (2 * target + 1) * size - wanted, 2 * wanted
    above = xp.clip(above, 0, below * (size - 1))
  low = above // below
  high = xp.minimum(low + 1, size - 1)
  return low, high, (above - low * below) / below


def _arange(size):
  """0 .. size - 1, and the module that computes with it.

  NumPy, for constants of the program, but where `jax.export` leaves the size
  open.
  """
  xp = jnp if jax.export.is_symbolic_dim(size) else np
  return xp.arange(size), xp


def _interpolate(x, low, high, weight, axis):
  shape = [1] * x.ndim
  shape[axis] = -1
  weight = weight.reshape(shape).astype(x.dtype)
  lower, upper = jnp.take(x, low, axis), jnp.take(x, high, axis)
  return lower * (1 - weight) + upper * weight
