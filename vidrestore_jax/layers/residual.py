"""Residual blocks without normalisation."""

import functools

import flax.linen as nn

from vidrestore_jax.layers import recomputation
from vidrestore_jax.layers.convolution import (
    Conv,
    kaiming_normal,
    kernel_init,
)

# A tenth of He's deviation, so that a block starts close to the identity, as
# those of XPixelGroup/BasicSR, basicsr/archs/arch_util.py.
residual_init = kaiming_normal(2 * 0.1**2)


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


class ResTrunk(nn.Module):
  """A 3x3 convolution, LeakyReLU 0.1 and residual blocks.

  Attributes:
    width: channels of the output.
    blocks: number of residual blocks.
    dtype: compute dtype.
    remat: see `layers.recomputation`; "block" is each of them.
  """

  width: int
  blocks: int
  dtype: str = "float32"
  remat: str = "none"

  @nn.compact
  def __call__(self, x):
    """Maps [B, H, W, C] to [B, H, W, width]."""
    x = Conv(self.width, dtype=self.dtype, name="conv_in")(x)
    x = nn.leaky_relu(x, 0.1)
    for i in range(self.blocks):
      block = ResBlock(self.dtype, residual_init, name=f"block_{i}")
      x = recomputation.run(block, x, recompute=self.remat == "block")
    return x
