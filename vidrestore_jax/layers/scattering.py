"""The law of scattering, inverted: a frame without the haze before it.

Haze adds airlight A to a scene J by what it takes from it (Koschmieder, 1924):

  I = J * t + A * (1 - t)   so   J = A + (I - A) / t

A network that estimates t and A and leaves the rest to the law is DCPDN's
(Zhang and Patel, CVPR 2018, arXiv:1803.08396). As t hardly varies within an
object, coarse maps of it keep every detail of the frame.
"""

import flax.linen as nn
import jax.numpy as jnp

# Where less light passes, noise and rounding would be magnified more than 20
# times; DCPDN's ancestors stop at 0.1 (He, Sun and Tang, CVPR 2009).
LEAST_TRANSMISSION = 0.05
_PALE = 2.0  # Maps of zeros start from an airlight of sigmoid(2) = 0.88.


def clear_view(frame, maps):
  """The scene behind the haze, by the law above.

  Args:
    frame: `[..., C]` in [0, 1].
    maps: `[..., 2]`, logits of transmission and of airlight, which is grey.

  Returns:
    `[..., C]`, float32, not clipped.
  """
  maps = maps.astype(jnp.float32)
  room = 1.0 - LEAST_TRANSMISSION
  transmission = LEAST_TRANSMISSION + room * nn.sigmoid(maps[..., :1])
  airlight = nn.sigmoid(maps[..., 1:] + _PALE)
  return airlight + (frame - airlight) / transmission
