"""From features to a frame four times as large, as EDVR ends and its heirs."""

import functools

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers.convolution import (
    Conv,
    SubPixelConv,
    small_normal,
)
from vidrestore_jax.shapes import Restored

SCALE = 4
_HR_FEATURES = 64  # Of the last two convolutions, whatever the width.


class Reconstruction(nn.Module):
  """Two sub-pixel convolutions and two more (EDVR, arXiv:1905.02716).

  Attributes:
    width: channels between the two sub-pixel convolutions.
    dtype: compute dtype.
  """

  width: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x, base):
    """What `x` [B, h, w, C] adds to a first guess `base` [B, 4 h, 4 w, 3].

    Returns:
      `Restored` with `frames` `[B, 4 h, 4 w, 3]` and `aux["hr_features"]`
      `[B, 4 h, 4 w, 64]`.
    """
    leaky = functools.partial(nn.leaky_relu, negative_slope=0.1)
    for i, features in ((1, self.width), (2, _HR_FEATURES)):
      up = SubPixelConv(features, dtype=self.dtype, name=f"upconv{i}")
      x = leaky(up(x))
    conv = functools.partial(Conv, dtype=self.dtype)
    features = leaky(conv(_HR_FEATURES, name="conv_hr")(x))
    # Small: training starts from the first guess.
    last = conv(base.shape[-1], kernel_init=small_normal, name="conv_last")
    found = last(features).astype(jnp.float32)
    return Restored(
        base.astype(jnp.float32) + found, {"hr_features": features}
    )
