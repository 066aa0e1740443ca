"""Bicubic interpolation as a model: the first row of tables of enlargement.

MATLAB's imresize, as `layers.resample.bicubic_resize` has it, of single frames.
It has no parameters and no features: it can be restored with, measured and put
beside others, but neither trained nor distilled.
"""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers.resample import bicubic_reach, bicubic_resize
from vidrestore_jax.shapes import (
    Restored,
    check_dtype,
    check_noise,
    check_window,
)


class Bicubic(nn.Module):
  """The enlarger of single frames.

  Attributes:
    scale: how many times larger, a whole number.
    channels: of a frame.
    dtype: compute dtype.
  """

  scale: int = 4
  channels: int = 3
  dtype: str = "float32"

  restores = True
  recurrent = False
  noise_map = False
  radius = 0
  stride = 1

  @property
  def halo(self) -> int:
    """Pixels of the input to each side that an output pixel depends on."""
    return bicubic_reach(0, self.scale)

  def __call__(self, window, noise=None, *, train: bool = False):
    """Enlarges one frame.

    Args:
      window: `[B, 1, h, w, C]`.
      noise: None.
      train: changes nothing.

    Returns:
      `Restored` with `frames` `[B, scale h, scale w, C]`, not clipped.

    Raises:
      ValueError: another shape, or a noise map.
    """
    del train
    check_window("Bicubic", window, 1, self.channels)
    check_noise("Bicubic", noise, False, ())
    large = bicubic_resize(window[:, 0].astype(self.dtype), self.scale)
    return Restored(large.astype(jnp.float32), {})


def build(*, scale: int = 4, channels: int = 3, dtype: str = "float32"):
  """A Bicubic; see the class for the arguments.

  Raises:
    ValueError: a scale that is no whole number from 2 on, or a dtype that does
      not exist.
  """
  check_dtype("Bicubic", dtype)
  if not isinstance(scale, int) or scale < 2:
    raise ValueError(
        f"Bicubic enlarges by a whole number from 2 on, but got {scale!r}."
    )
  return Bicubic(scale, channels, dtype)
