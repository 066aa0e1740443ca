"""FastDVDnet for video super-resolution by 4.

The main student of "Space-Time Distillation for Video Super-Resolution" (Xiao
et al., CVPR 2021, supplementary, section 2 and figure 1): FastDVDnet's cascade
with seven frames, no noise map and a pixel-shuffling head,

  d_k = temp1 of (x_{t-k}, x_t, x_{t+k}),  k = 3, 2, 1, weights shared
  y_t = head(temp2 of (d_3, d_2, d_1)) + bicubic(x_t)

where temp2 ends before its last convolution. "The number of channels is the
same as the original"; the head is not described further. Built here, of the
readings that fit (LeakyReLU 0.1 behind all but the last, all with biases):

      convolutions                              parameters  GMAC of 180x120
  b   x2, x2, 64 to 3                            2,700,039            28.6
  c   x2, x2, 64, 64 to 3 (as EDVR's)            2,736,967            41.3
  d   64, x2, x2, 64, 64, 64 to 3                2,866,119            56.1

x2 is a convolution to 4 x 64 channels and a pixel shuffle. The paper's "0.06 T"
is the head d in MACs, which its other rows count, or b in FLOPs; b is the
simplest and the default.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import recomputation
from vidrestore_jax.layers.convolution import (
    Conv,
    SubPixelConv,
    kaiming_normal,
    small_normal,
)
from vidrestore_jax.layers.resample import bicubic_resize
from vidrestore_jax.models.fastdvdnet import BLOCK_HALO, DenBlock
from vidrestore_jax.shapes import (
    Restored,
    check_choice,
    check_dtype,
    check_multiple,
    check_noise,
    check_window,
)

# (3x3 convolutions before, behind the up-sampling; how far they reach beyond
# the trunk, in pixels of the input).
HEADS = {"b": (0, 0, 2), "c": (0, 1, 2), "d": (1, 2, 4)}
_SLOPE = 0.1


class Head(nn.Module):
  """Features of the low resolution to a residual of four times its size.

  Attributes:
    before: convolutions at the low resolution.
    behind: convolutions at the high one.
    features: channels of all of them.
    channels: of the residual.
    identity_start: the residual starts near zero.
    dtype: compute dtype.
  """

  before: int
  behind: int
  features: int
  channels: int
  identity_start: bool
  dtype: str

  @nn.compact
  def __call__(self, x):
    """[B, h, w, C] to ([B, 4 h, 4 w, channels], [B, 4 h, 4 w, features]).

    The second is what the last convolution sees.
    """
    parts = dict(dtype=self.dtype, kernel_init=kaiming_normal())
    convs = [
        *(Conv(self.features, **parts) for _ in range(self.before)),
        *(SubPixelConv(self.features, **parts) for _ in range(2)),
        *(Conv(self.features, **parts) for _ in range(self.behind)),
    ]
    for conv in convs:
      x = nn.leaky_relu(conv(x), _SLOPE)
    last = Conv(
        self.channels,
        dtype=self.dtype,
        kernel_init=small_normal if self.identity_start else kaiming_normal(),
    )
    return last(x), x


class FastDVDnetVSR(nn.Module):
  """The windowed restorer: seven small frames to the middle one, four times.

  Attributes:
    head: one of HEADS.
    hr_channels: of the head, and so of `aux["hr_features"]`.
    channels: of a frame.
    widths: channels of a stage's scales, finest first.
    interm: channels that each frame gets of its own, before they are mixed.
    batch_norm: False puts biases in the normalisation's place.
    dtype: compute dtype.
    identity_start: before training the bicubic of the middle frame comes out.
    remat: see `layers.recomputation`; a step is a DenBlock or the head, a block
      a ConvBlock.
  """

  head: str = "b"
  hr_channels: int = 64
  channels: int = 3
  widths: tuple[int, int, int] = (32, 64, 128)
  interm: int = 30
  batch_norm: bool = True
  dtype: str = "float32"
  identity_start: bool = False
  remat: str = "none"

  restores = True
  recurrent = False
  noise_map = False
  radius = 3
  border = "replicate"
  scale = 4
  stride = 4

  @property
  def halo(self) -> int:
    """Pixels of the input to each side that an output pixel depends on."""
    return 2 * BLOCK_HALO + HEADS[self.head][-1]

  def setup(self):
    block = functools.partial(
        DenBlock,
        self.widths,
        self.interm,
        self.batch_norm,
        self.dtype,
        self.identity_start,
        remat=recomputation.of_parts(self.remat),
    )
    self.temp1, self.temp2 = block(), block(trunk=True)
    before, behind, _ = HEADS[self.head]
    self.up = Head(
        before,
        behind,
        self.hr_channels,
        self.channels,
        self.identity_start,
        self.dtype,
    )

  def __call__(self, window, noise=None, *, train: bool = False):
    """Restores the middle frame of a window.

    Args:
      window: `[B, 7, h, w, C]` around [0, 1], h and w multiples of 4.
      noise: None.
      train: normalise by the batch's statistics and update the running ones.

    Returns:
      `Restored` with `frames` `[B, 4 h, 4 w, C]` and `aux["hr_features"]`
      `[B, 4 h, 4 w, hr_channels]`.

    Raises:
      ValueError: the window does not suit the model, or there is a noise map.
    """
    middle = self.radius
    check_window("FastDVDnetVSR", window, 2 * middle + 1, self.channels)
    check_multiple("FastDVDnetVSR", *window.shape[2:4], self.stride)
    check_noise("FastDVDnetVSR", noise, False, ())
    # One after another, so that in training each triplet is normalised by
    # statistics of its own, as in FastDVDnet.
    step = functools.partial(
        recomputation.run, recompute=self.remat == "step"
    )
    first = [None]
    for k in (3, 2, 1):
      triplet = window[:, middle - k :: k][:, :3]
      first.append(
          step(self.temp1, triplet, None, train=train, after=first[-1])
      )
    features = step(self.temp2, jnp.stack(first[1:], 1), None, train=train)
    residual, hr_features = step(self.up, features)
    large = bicubic_resize(window[:, middle].astype(jnp.float32), self.scale)
    return Restored(
        large + residual.astype(jnp.float32), {"hr_features": hr_features}
    )


def build(
    *,
    head: str = "b",
    hr_channels: int = 64,
    channels: int = 3,
    widths: tuple[int, int, int] = (32, 64, 128),
    interm: int = 30,
    batch_norm: bool = True,
    dtype: str = "float32",
    identity_start: bool = False,
    remat: str = "none",
) -> FastDVDnetVSR:
  """A FastDVDnet for super-resolution; see the class for the arguments.

  Raises:
    ValueError: a head, a dtype or a policy that does not exist, or not three
      widths.
  """
  recomputation.check_policy("FastDVDnetVSR", remat)
  check_dtype("FastDVDnetVSR", dtype)
  check_choice("FastDVDnetVSR's head", head, HEADS)
  if len(widths) != 3:
    raise ValueError(
        f"FastDVDnetVSR has three scales, but got the widths {tuple(widths)}."
    )
  return FastDVDnetVSR(
      head,
      hr_channels,
      channels,
      tuple(widths),
      interm,
      batch_norm,
      dtype,
      identity_start,
      remat,
  )
