"""Channel attention (RCAN, arXiv:1807.02758)."""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import recomputation
from vidrestore_jax.layers.convolution import Conv


class ChannelAttention(nn.Module):
  """x * sigmoid(W2 relu(W1 mean_hw(x))): equations 9 to 11 of RCAN.

  The mean is over the whole frame, in float32, so the module is global: it has
  no finite receptive field and must not be run in tiles.
  """

  reduction: int = 16  # The hidden layer has C / reduction channels.
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    """Maps [B, H, W, C] to [B, H, W, C]."""
    channels = x.shape[-1]
    hidden = max(channels // self.reduction, 1)
    pooled = x.mean((1, 2), keepdims=True, dtype=jnp.float32)
    squeeze = Conv(hidden, 1, dtype=self.dtype, name="squeeze")
    excite = Conv(channels, 1, dtype=self.dtype, name="excite")
    excited = excite(nn.relu(squeeze(pooled))).astype(jnp.float32)

    @recomputation.cheap
    def scale(x, excited):
      # In float32, as its gradient is a sum over the frame.
      return (x * nn.sigmoid(excited)).astype(x.dtype)

    return scale(x, excited)


class ChannelAttentionBlock(nn.Module):
  """CAB: x + attention(conv(relu(conv(x)))), 3x3 (RCAN, figure 4)."""

  reduction: int = 16
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    """Maps [B, H, W, C] to [B, H, W, C]."""
    channels = x.shape[-1]
    y = nn.relu(Conv(channels, dtype=self.dtype, name="conv_0")(x))
    y = Conv(channels, dtype=self.dtype, name="conv_1")(y)
    attention = ChannelAttention(
        self.reduction, dtype=self.dtype, name="attention"
    )
    return x + attention(y)
