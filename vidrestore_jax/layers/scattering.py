"""The law of scattering, inverted: a frame without the haze before it.

Haze adds airlight A to a scene J by what it takes from it (Koschmieder, 1924):

  I = J * t + A * (1 - t)   so   J = A + (I - A) / t

A network that estimates t and A and leaves the rest to the law is DCPDN's
(Zhang and Patel, CVPR 2018, arXiv:1803.08396). As t hardly varies within an
object, coarse maps of it keep every detail of the frame. A is one number for
the whole frame: as a map it could stand in for t, and pale walls would stay.
"""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers.resample import (
    average_pool,
    max_pool,
    upsample_bilinear,
    upsample_nearest,
)

# Where less light passes, noise and rounding would be magnified more than 20
# times; DCPDN's ancestors stop at 0.1 (He, Sun and Tang, CVPR 2009).
LEAST_TRANSMISSION = 0.05
# Haze is lit by the sky or by lamps: airlight darker than this is not met.
LEAST_AIRLIGHT = 0.5
_PALE = 1.0  # Maps of zeros start from an airlight of 0.87.
# Of the dark channel, in cells: from a few of them to most of an object.
_WINDOWS = (3, 7, 15)
CUES = 3 + len(_WINDOWS)  # Beside the mean of each channel.


def clear_view(frame, maps):
  """The scene behind the haze, by the law above.

  Args:
    frame: `[B, H, W, C]` in [0, 1].
    maps: `[B, h, w, 2]`, logits of transmission and of airlight, which is grey
      and is the mean over the map; H and W are the same multiple of h and w.

  Returns:
    `[B, H, W, C]`, float32, not clipped.
  """
  maps = maps.astype(jnp.float32)
  airlight = maps[..., 1:].mean((1, 2), keepdims=True)
  airlight = _between(LEAST_AIRLIGHT, airlight + _PALE)
  factor = frame.shape[1] // maps.shape[1]
  logits = upsample_bilinear(maps[..., :1], factor)
  transmission = _between(LEAST_TRANSMISSION, logits)
  return airlight + (frame - airlight) / transmission


def haze_cues(frame, cell: int):
  """What tells haze from paleness: statistics of cells, and dark channels.

  He, Sun and Tang, CVPR 2009: something black, or of a pure colour, is near
  almost everywhere, and haze is what keeps it from being so. Of convolutions,
  which sum, a network would have to learn such a minimum; and from every pixel
  it learns the textures of what it is trained on instead.

  Args:
    frame: `[B, H, W, C]`.
    cell: side of a cell in pixels.

  Returns:
    `[B, H / cell, W / cell, C + 6]`: of a cell the mean of each channel, and
    over all of its values the least, the greatest and the deviation of the
    pixels' means; and the least around it in windows of 3, 7 and 15 cells.
  """
  darkest = -max_pool(-frame.min(-1, keepdims=True), cell)
  brightest = max_pool(frame.max(-1, keepdims=True), cell)
  grey = frame.mean(-1, keepdims=True)
  middle = average_pool(grey, cell)
  difference = grey - upsample_nearest(middle, cell)
  # At a flat cell the root of the sum alone has no gradient.
  deviation = jnp.sqrt(average_pool(jnp.square(difference), cell) + 1e-4)
  wider = [
      -nn.max_pool(-darkest, (size, size), padding="SAME") for size in _WINDOWS
  ]
  mean = average_pool(frame, cell)
  return jnp.concatenate([mean, darkest, brightest, deviation, *wider], -1)


def _between(least, logits):
  return least + (1 - least) * nn.sigmoid(logits)
