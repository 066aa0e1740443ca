"""Residual blocks without normalisation."""

import functools

import flax.linen as nn

from vidrestore_jax.layers.convolution import Conv, kernel_init


class ResBlock(nn.Module):
  """x + conv(relu(conv(x))), 3x3, no norm (EDSR, arXiv:1707.02921, figure 2).

  Keeps the number of channels of its input.
  """

  dtype: str = "float32"
  kernel_init: nn.initializers.Initializer = kernel_init

  @nn.compact
  def __call__(self, x):
    """Maps [B, H, W, C] to [B, H, W, C]."""
    channels = x.shape[-1]
    conv = functools.partial(
        Conv, channels, dtype=self.dtype, kernel_init=self.kernel_init
    )
    y = nn.relu(conv(name="conv_0")(x))
    return x + conv(name="conv_1")(y)
