"""VESPCN: real-time video super-resolution with motion compensation.

Caballero et al., CVPR 2017, arXiv:1611.05250. The frames before and after are
warped onto the middle one by a flow that is found coarse to fine, and the three
are fused by the first convolution. Three networks, of which only the first is
the paper's; space-time distillation (CVPR 2021) trains a "VESPCN" of two
hundred times its cost without saying what it is, and distils maps at the size
of the output, of which the first has none.

  published  9L-E3-MC: luminance; nine convolutions at the size of the input, of
             24 channels and then 16, which are shuffled to four times its size
  compact    three residual blocks of 64 channels at the size of the input, 64
             shuffled to that of the output, one convolution there; what it
             finds is added to the bicubic frame. After
             LoSealL/VideoSuperResolution (MIT), which adds to nothing
  std_scale  all at the size of the output: three bicubic frames, warped there,
             and VDSR's twenty convolutions; the nearest to the cost in that
             paper's table
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import luminance
from vidrestore_jax.layers.convolution import (
    Conv,
    GroupedConv,
    kaiming_normal,
    small_normal,
)
from vidrestore_jax.layers.resample import bicubic_resize, depth_to_space
from vidrestore_jax.layers.warp import backward_warp
from vidrestore_jax.models.vdsr import Trunk
from vidrestore_jax.shapes import (
    Restored,
    check_choice,
    check_dtype,
    check_multiple,
    check_noise,
    check_window,
)

# Width and number of convolutions, of `compact` the number of blocks.
PRESETS = {
    "published": (24, 9),
    "compact": (64, 3),
    "std_scale": (64, 20),
}
# Pixels of a flow of 1, which the tanh bounds. In the paper 1 is half the
# frame; what is learned on patches would then be another motion on frames.
_UNIT = 32.0


class Motion(nn.Module):
  """Warps frames onto others, by a flow in two steps, 1/4 and 1/2 the size."""

  dtype: str = "float32"

  @nn.compact
  def __call__(self, middle, other):
    """Maps two [B, H, W, C] to `other` as seen at the time of `middle`.

    H and W are multiples of 4.
    """
    both = jnp.concatenate([middle, other], -1)
    coarse = self._flow("coarse", both, (2, 1, 2, 1), 4)
    warped = backward_warp(other, coarse)
    seen = jnp.concatenate([both, coarse / _UNIT, warped], -1)
    fine = self._flow("fine", seen, (2, 1, 1, 1), 2)
    return backward_warp(other, coarse + fine)

  def _flow(self, name, x, strides, factor):
    x = x.astype(self.dtype)
    for i, stride in enumerate(strides):
      x = Conv(
          24,
          3 if stride == 1 else 5,
          stride,
          dtype=self.dtype,
          kernel_init=kaiming_normal(),
          name=f"{name}_{i}",
      )(x)
      x = nn.relu(x)
    x = Conv(
        2 * factor**2,
        dtype=self.dtype,
        # Training starts without motion.
        kernel_init=small_normal,
        name=f"{name}_{len(strides)}",
    )(x)
    return _UNIT * depth_to_space(jnp.tanh(x.astype(jnp.float32)), factor)


def motion_stride(enlarged: int = 1) -> int:
  """Sizes must be multiples of this before frames are enlarged and warped."""
  return 4 // math.gcd(4, enlarged)


def aligned(motion, window):
  """A window with its frames warped onto the middle one, as channels.

  Args:
    motion: a `Motion`.
    window: `[B, T, H, W, C]`.

  Returns:
    `[B, H, W, T C]`, in the order of time.
  """
  batch, length, *size = window.shape
  middle = window[:, length // 2]
  others = [window[:, i] for i in range(length) if i != length // 2]
  # All neighbours as one batch.
  warped = motion(
      jnp.concatenate([middle] * len(others)), jnp.concatenate(others)
  ).reshape(len(others), batch, *size)
  frames = [*warped[: length // 2], middle, *warped[length // 2 :]]
  return jnp.concatenate(frames, -1)


class Published(nn.Module):
  """The paper's chain of convolutions, at the size of the input."""

  scale: int
  width: int
  depth: int
  dtype: str

  @nn.compact
  def __call__(self, x):
    """Maps [B, h, w, 3] to [B, s h, s w, 1], float32."""
    x = x.astype(self.dtype)
    for i in range(self.depth):
      last = i == self.depth - 1
      x = GroupedConv(
          self.scale**2 if last else self.width,
          kernel_init=kaiming_normal(1.0 if last else 2.0),
          dtype=self.dtype,
          name=f"conv_{i}",
      )(x)
      if not last:
        x = nn.relu(x)
    return depth_to_space(x, self.scale).astype(jnp.float32)


class Compact(nn.Module):
  """Residual blocks, then one large shuffle and one convolution."""

  scale: int
  channels: int
  width: int
  blocks: int
  dtype: str

  @nn.compact
  def __call__(self, x):
    """Maps [B, h, w, T C] to ([B, s h, s w, C], [B, s h, s w, width]).

    The first is float32; the second is what the last convolution sees.
    """

    def conv(features, name, init=None):
      return GroupedConv(
          features,
          kernel_init=init or kaiming_normal(),
          dtype=self.dtype,
          name=name,
      )

    entry = x = conv(self.width, "entry")(x.astype(self.dtype))
    for i in range(self.blocks):
      found = conv(self.width, f"block_{i}_0")(nn.relu(x))
      x = x + conv(self.width, f"block_{i}_1")(nn.relu(found))
    x = conv(self.width * self.scale**2, "expand")(nn.relu(x) + entry)
    x = depth_to_space(x, self.scale)
    found = conv(self.channels, "exit", small_normal)(x)
    return found.astype(jnp.float32), x


class VESPCN(nn.Module):
  """Super-resolution of the middle one of three frames.

  Attributes:
    preset: one of PRESETS; see the module's docstring.
    scale: of the output.
    channels: of a frame: 1 for luminance, 3 for RGB, of which `published`
      restores the luminance alone (`layers.luminance`).
    width: channels between the convolutions.
    depth: number of convolutions, of `compact` of residual blocks.
    dtype: compute dtype; the flow is float32.
  """

  preset: str = "published"
  scale: int = 4
  channels: int = 3
  width: int = 24
  depth: int = 9
  dtype: str = "float32"

  restores = True
  recurrent = False
  radius = 1
  noise_map = False
  halo = None  # It reaches where the flow points.

  @property
  def stride(self) -> int:
    """Sizes of which the input must be a multiple."""
    return motion_stride(self.scale if self.preset == "std_scale" else 1)

  def setup(self):
    self.motion = Motion(self.dtype)
    shape = (self.width, self.depth, self.dtype)
    if self.preset == "published":
      self.network = Published(self.scale, *shape)
    elif self.preset == "compact":
      self.network = Compact(self.scale, self.channels, *shape)
    else:
      self.network = Trunk(
          self.depth, self.width, self.channels, dtype=self.dtype
      )

  def __call__(self, window, noise=None, *, train: bool = False):
    """Enlarges the middle frame of a window.

    Args:
      window: `[B, 3, h, w, C]` around [0, 1], h and w multiples of `stride`.
      noise: None.
      train: changes nothing.

    Returns:
      `Restored` with `frames` `[B, H, W, C]`, H and W `scale` times h and w,
      and, but for `published`, `aux["hr_features"]` `[B, H, W, width]`.

    Raises:
      ValueError: another shape, or a noise map.
    """
    del train
    check_window("VESPCN", window, 2 * self.radius + 1, self.channels)
    check_multiple("VESPCN", *window.shape[2:4], self.stride)
    check_noise("VESPCN", noise, False, ())
    window = window.astype(jnp.float32)
    if self.preset == "published":
      found = self.network(aligned(self.motion, luminance.split(window)))
      middle = bicubic_resize(window[:, self.radius], self.scale)
      return Restored(luminance.join(middle, found), {})
    if self.preset == "compact":
      middle = bicubic_resize(window[:, self.radius], self.scale)
    else:
      window = bicubic_resize(window, self.scale)
      middle = window[:, self.radius]
    found, features = self.network(aligned(self.motion, window))
    return Restored(middle + found, {"hr_features": features})


def build(
    *,
    preset: str = "published",
    scale: int = 4,
    channels: int = 3,
    width: int | None = None,
    depth: int | None = None,
    dtype: str = "float32",
) -> VESPCN:
  """A VESPCN; see the class.

  Args:
    preset: one of PRESETS.
    scale: of the output.
    channels: of a frame: 1 for luminance, 3 for RGB.
    width: channels between the convolutions; None for the preset's.
    depth: number of convolutions, of `compact` of residual blocks; None for
      the preset's.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: a preset, a scale, a number of channels or a dtype that does
      not exist.
  """
  check_dtype("VESPCN", dtype)
  check_choice("VESPCN's preset", preset, tuple(PRESETS))
  check_choice("VESPCN's channels", channels, (1, 3))
  if scale < 2:
    raise ValueError(f"VESPCN enlarges by 2 or more, but got scale={scale}.")
  default_width, default_depth = PRESETS[preset]
  return VESPCN(
      preset,
      scale,
      channels,
      default_width if width is None else width,
      default_depth if depth is None else depth,
      dtype,
  )
