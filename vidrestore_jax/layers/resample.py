"""Changes of resolution: pixel shuffles, pooling, bilinear up-sampling."""

import flax.linen as nn
import jax.numpy as jnp


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


def upsample_bilinear(x, factor: int = 2, *, align_corners: bool = False):
  """[B, h, w, C] to [B, h * f, w * f, C], as PyTorch's interpolate.

  Args:
    x: the array.
    factor: a whole number.
    align_corners: True maps the corner pixels' centres onto each other; False
      (half-pixel centres) maps the corners of the corner pixels.

  Returns:
    The array at the higher resolution; values beyond the border are those of
    the border.
  """
  rows = _linear_weights(x.shape[1], factor, align_corners)
  columns = _linear_weights(x.shape[2], factor, align_corners)
  x = _interpolate(x, *rows, axis=1)
  return _interpolate(x, *columns, axis=2)


def _linear_weights(size, factor, align_corners):
  """The lower neighbour of each output sample, the upper one, its weight."""
  target = jnp.arange(size * factor, dtype=jnp.float32)
  if align_corners:
    # A single row or column has no spacing: every sample reads it.
    position = target * ((size - 1) / max(size * factor - 1, 1))
  else:
    position = jnp.clip((target + 0.5) / factor - 0.5, 0, size - 1)
  low = jnp.floor(position).astype(jnp.int32)
  high = jnp.minimum(low + 1, size - 1)
  return low, high, position - low


def _interpolate(x, low, high, weight, axis):
  shape = [1] * x.ndim
  shape[axis] = -1
  weight = weight.reshape(shape).astype(x.dtype)
  lower, upper = jnp.take(x, low, axis), jnp.take(x, high, axis)
  return lower * (1 - weight) + upper * weight
