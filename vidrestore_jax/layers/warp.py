"""Backward warping: looks up a frame where the flow points."""

import jax.numpy as jnp

from vidrestore_jax.shapes import check_rank


def backward_warp(image, flow):
  """out[y, x] = image[y + flow_y, x + flow_x], bilinear.

  Positions outside are clipped to the border (replicated border), where the
  gradient with respect to the flow is zero; on the border it is the inner one,
  so that zero flow, where training starts, has a whole gradient. Positions and
  weights are computed in float32: bfloat16 cannot tell pixel 257 from 258.

  A gather of the four neighbours, rather than `map_coordinates`, because its
  gradient costs half as much on a CPU.

  Args:
    image: `[B, H, W, C]`.
    flow: `[B, H, W, 2]` in pixels, (dx, dy), from the output into the image.

  Returns:
    `[B, H, W, C]` in the image's dtype.
  """
  check_rank("image", image, "BHWC")
  check_rank("flow", flow, "BHWC")
  if flow.shape != (*image.shape[:3], 2):
    raise ValueError(
        f"flow needs shape {(*image.shape[:3], 2)} for an image of shape"
        f" {tuple(image.shape)}, but has {tuple(flow.shape)}."
    )
  batch, height, width, channels = image.shape
  flow = flow.astype(jnp.float32)
  x = _clip(jnp.arange(width) + flow[..., 0], width - 1)
  y = _clip(jnp.arange(height)[:, None] + flow[..., 1], height - 1)
  # The cell to the left and above; at the far border the last whole cell.
  left = jnp.clip(jnp.floor(x), 0, max(width - 2, 0)).astype(jnp.int32)
  top = jnp.clip(jnp.floor(y), 0, max(height - 2, 0)).astype(jnp.int32)
  right = jnp.minimum(left + 1, width - 1)
  bottom = jnp.minimum(top + 1, height - 1)
  wx = (x - left)[..., None].astype(image.dtype)
  wy = (y - top)[..., None].astype(image.dtype)

  pixels = image.reshape(batch, height * width, channels)

  def look_up(row, column):
    index = (row * width + column).reshape(batch, height * width, 1)
    found = jnp.take_along_axis(
        pixels, index, axis=1, mode="promise_in_bounds"
    )
    return found.reshape(image.shape)

  upper = look_up(top, left) * (1 - wx) + look_up(top, right) * wx
  lower = look_up(bottom, left) * (1 - wx) + look_up(bottom, right) * wx
  return upper * (1 - wy) + lower * wy


def _clip(position, last):
  """Clips to [0, last]; the gradient at a tie is 1, not jnp.clip's half."""
  position = jnp.where(position < 0, 0.0, position)
  return jnp.where(position > last, float(last), position)
