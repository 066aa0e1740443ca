"""The restoration networks of NCFL: the CAB U-Net and the W-Net.

NCFL's supplementary, section 2 and figures 3 and 4.
Both map a stack of channels to (restored residual, feature); NCFL feeds them
the noisy frame beside the temporal feature. Usable alone for single images.
"""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import recomputation
from vidrestore_jax.layers.attention import ChannelAttentionBlock
from vidrestore_jax.layers.convolution import Conv, SubPixelConv, TransposedConv
from vidrestore_jax.layers.resample import max_pool
from vidrestore_jax.shapes import check_dtype, check_multiple, check_rank

# Five scales, as the supplementary has them.
WIDTHS = (32, 64, 128, 256, 512)
# How a skip joins the decoder. "concat": concatenated and mixed by a 1x1
# convolution, which meets the paper's GFLOPs. "conv_add": passes a 3x3
# convolution of its own and is added, which is the paper's text.
SKIPS = ("concat", "conv_add")


class UNetFeatures(nn.Module):
  """The U-Net without its output layer: [B, H, W, C] to [B, H, W, widths[0]].

  One CAB at each scale on the way down, one on the way up. Down: 2x2 max-pool
  and a 1x1 convolution. Up ("concat"): a 1x1 sub-pixel convolution; up
  ("conv_add"): a 3x3 transposed convolution.
  """

  widths: tuple[int, ...] = WIDTHS
  skip: str = "concat"
  reduction: int = 16
  dtype: str = "float32"
  remat: str = "none"

  @nn.compact
  def __call__(self, x):
    check_rank("U-Net input", x, "BHWC")
    check_multiple("U-Net", *x.shape[1:3], 2 ** (len(self.widths) - 1))

    def block(name, x):
      cab = ChannelAttentionBlock(
          self.reduction, dtype=self.dtype, name=name
      )
      return recomputation.run(cab, x, recompute=self.remat == "block")

    x = Conv(self.widths[0], dtype=self.dtype, name="stem")(x)
    skips = []
    for i, width in enumerate(self.widths[1:]):
      x = block(f"encoder_{i}", x)
      skips.append(x)
      down = Conv(width, 1, dtype=self.dtype, name=f"down_{i}")
      x = down(max_pool(x))
    x = block("middle", x)
    for i, width in reversed(list(enumerate(self.widths[:-1]))):
      if self.skip == "concat":
        x = SubPixelConv(width, 1, dtype=self.dtype, name=f"up_{i}")(x)
        x = jnp.concatenate([x, skips[i]], -1)
        x = Conv(width, 1, dtype=self.dtype, name=f"fuse_{i}")(x)
      else:
        x = TransposedConv(width, dtype=self.dtype, name=f"up_{i}")(x)
        x = x + Conv(width, dtype=self.dtype, name=f"skip_{i}")(skips[i])
      x = block(f"decoder_{i}", x)
    return x


class UNet(nn.Module):
  """U-Net: [B, H, W, C] to a residual [B, H, W, channels] and a feature.

  Attributes:
    channels: of the output, 3 for RGB and 4 for packed raw.
    feature_channels: of the feature handed to the next frame. Where this is
      widths[0] it is the last decoder feature itself, else a 1x1 convolution
      of it.
    widths: channels of the scales, finest first.
    skip: one of SKIPS.
    reduction: of the channel attention.
    dtype: compute dtype.
    remat: see `layers.recomputation`; "none", or "block" for each CAB.
  """

  channels: int = 3
  feature_channels: int = 32
  widths: tuple[int, ...] = WIDTHS
  skip: str = "concat"
  reduction: int = 16
  dtype: str = "float32"
  remat: str = "none"

  restores = False  # A part of NCFL: it returns a residual and a feature.
  recurrent = False

  @property
  def stride(self) -> int:
    """Height and width must be multiples of this."""
    return 2 ** (len(self.widths) - 1)

  @nn.compact
  def __call__(self, x):
    """Maps [B, H, W, C] to the pair (residual, feature)."""
    return self._outputs(self._net("net")(x))

  def _net(self, name):
    return UNetFeatures(
        self.widths,
        self.skip,
        self.reduction,
        self.dtype,
        self.remat,
        name=name,
    )

  def _outputs(self, x):
    residual = Conv(
        self.channels,
        dtype=self.dtype,
        # Small, so that training starts from the noisy frame, not from chaos.
        kernel_init=nn.initializers.variance_scaling(
            1e-3, "fan_in", "truncated_normal"
        ),
        name="output",
    )(x).astype(jnp.float32)
    if self.feature_channels != self.widths[0]:
      x = Conv(
          self.feature_channels, 1, dtype=self.dtype, name="feature"
      )(x)
    return residual, x


class WNet(UNet):
  """Two U-Nets in a row, for real raw noise (figure 4).

  The second sees the first `frame_channels` channels of the input, the frame,
  again, beside the first one's feature.
  """

  frame_channels: int = 4

  @nn.compact
  def __call__(self, x):
    """Maps [B, H, W, C] to the pair (residual, feature)."""
    first = self._net("net_0")(x)
    frame = x[..., : self.frame_channels].astype(first.dtype)
    second = jnp.concatenate([frame, first], -1)
    return self._outputs(self._net("net_1")(second))


def build(
    kind: str = "unet",
    channels: int = 3,
    feature_channels: int = 32,
    widths: tuple[int, ...] = WIDTHS,
    skip: str = "concat",
    reduction: int = 16,
    dtype: str = "float32",
    *,
    frame_channels: int | None = None,
    remat: str = "none",
):
  """A U-Net (kind "unet") or a W-Net ("wnet"); see the classes.

  `frame_channels` None are as many as `channels`.

  Raises:
    ValueError: an unknown kind, skip or policy.
  """
  kinds = {"unet": UNet, "wnet": WNet}
  if kind not in kinds:
    raise ValueError(f"No network {kind!r}. Available: {', '.join(kinds)}.")
  check_dtype("The U-Net", dtype)
  recomputation.check_policy("The U-Net", remat, ("none", "block"))
  if skip not in SKIPS:
    raise ValueError(f"No skip {skip!r}. Available: {', '.join(SKIPS)}.")
  extra = {}
  if kind == "wnet":
    extra = {"frame_channels": frame_channels or channels}
  return kinds[kind](
      channels,
      feature_channels,
      tuple(widths),
      skip,
      reduction,
      dtype,
      remat,
      **extra,
  )
