"""Backward warping: looks up a frame where the flow points."""

import jax.numpy as jnp

from vidrestore_jax.layers import recomputation
from vidrestore_jax.shapes import check_choice, check_rank


def backward_warp(image, flow, *, padding: str = "border"):
  """out[y, x] = image[y + flow_y, x + flow_x], bilinear.

  With the padding "border", positions outside are clipped to the border
  (replicated border), where the gradient with respect to the flow is zero; on
  the border it is the inner one, so that zero flow, where training starts, has
  a whole gradient. With "zeros" the image is zero outside, to which the last
  pixel fades. Positions and weights are computed in float32: bfloat16 cannot
  tell pixel 257 from 258.

  A gather of the four neighbours, rather than `map_coordinates`, because its
  gradient costs half as much on a CPU.

  Args:
    image: `[B, H, W, C]`.
    flow: `[B, H, W, 2]` in pixels, (dx, dy), from the output into the image.
    padding: "border" or "zeros".

  Returns:
    `[B, H, W, C]` in the image's dtype.

  Raises:
    ValueError: shapes that do not fit together, or no such padding.
  """
  check_rank("image", image, "BHWC")
  check_rank("flow", flow, "BHWC")
  if flow.shape != (*image.shape[:3], 2):
    raise ValueError(
        f"flow needs shape {(*image.shape[:3], 2)} for an image of shape"
        f" {tuple(image.shape)}, but has {tuple(flow.shape)}."
    )
  check_choice("backward_warp's padding", padding, _NEIGHBOURS)
  batch, height, width, channels = image.shape
  flow = flow.astype(jnp.float32)
  neighbours = _NEIGHBOURS[padding]
  columns = neighbours(jnp.arange(width) + flow[..., 0], width)
  rows = neighbours(jnp.arange(height)[:, None] + flow[..., 1], height)

  pixels = image.reshape(batch, height * width, channels)

  def look_up(row, column):
    index = (row * width + column).reshape(batch, height * width, 1)
    found = jnp.take_along_axis(
        pixels, index, axis=1, mode="promise_in_bounds"
    )
    return found.reshape(image.shape)

  def mean(weights, values):
    return sum(w[..., None] * value for w, value in zip(weights, values))

  @recomputation.cheap
  def blend(values, down, across):
    # In float32, as the flow's gradient is a sum over channels.
    blended = mean(down, [mean(across, row) for row in values])
    return blended.astype(image.dtype)

  (indices_down, down), (indices_across, across) = zip(*rows), zip(*columns)
  values = [[look_up(i, j) for j in indices_across] for i in indices_down]
  return blend(values, down, across)


def _in_border(position, size):
  """The pair of neighbours along an axis, each as (index, weight)."""
  position = _clip(position, 0, size - 1)
  # The cell to the left or above; at the far border the last whole cell.
  low = jnp.minimum(jnp.floor(position), size - 2).astype(jnp.int32)
  low = jnp.maximum(low, 0)  # A single pixel has no neighbour.
  high = jnp.minimum(low + 1, size - 1)
  weight = position - low
  return (low, 1 - weight), (high, weight)


def _in_zeros(position, size):
  """As `_in_border`; a neighbour outside has no weight."""
  position = _clip(position, -1, size)  # Where nothing is left of the image.
  low = jnp.floor(position).astype(jnp.int32)
  weight = position - low
  return tuple(
      (jnp.clip(i, 0, size - 1), jnp.where((i >= 0) & (i < size), w, 0.0))
      for i, w in ((low, 1 - weight), (low + 1, weight))
  )


_NEIGHBOURS = {"border": _in_border, "zeros": _in_zeros}


def _clip(position, first, last):
  """Clips to [first, last]; the gradient at a tie is 1, not jnp.clip's half."""
  position = jnp.where(position < first, first, position)
  return jnp.where(position > last, last, position)
