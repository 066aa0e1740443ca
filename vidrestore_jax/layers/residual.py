"""Residual blocks without normalisation."""

import flax.linen as nn

from vidrestore_jax.layers.convolution import Conv


class ResBlock(nn.Module):
  """x + conv(relu(conv(x))), 3x3, no norm (EDSR, arXiv:1707.02921, figure 2).

  Keeps the number of channels of its input.
  """

  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    """Maps [B, H, W, C] to [B, H, W, C]."""
    channels = x.shape[-1]
    y = nn.relu(Conv(channels, dtype=self.dtype, name="conv_0")(x))
    return x + Conv(channels, dtype=self.dtype, name="conv_1")(y)
