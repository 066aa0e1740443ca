"""VSRNet: video super-resolution with convolutional neural networks.

Kappeler et al., IEEE Transactions on Computational Imaging 2016: frames are
enlarged by bicubic interpolation, and convolutions restore the middle one at
the size of the output. Two networks, of which the first is the paper's;
space-time distillation (CVPR 2021) trains a "VSRNet" on seven frames that
costs as much as VDSR without saying what it is.

  published  9-5-5: luminance; 9x9 to 64 channels of each frame by itself, 5x5
             of all of them to 32, 5x5 to one, ReLU between
  std_scale  VDSR's twenty convolutions on all frames as channels; what they
             find is added to the bicubic frame

The paper compensates motion with an optical flow of its time before the
network sees the frames; here that is optional, and learned (VESPCN's).
"""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import luminance
from vidrestore_jax.layers.convolution import Conv, kaiming_normal
from vidrestore_jax.layers.resample import bicubic_reach, bicubic_resize
from vidrestore_jax.models import vespcn
from vidrestore_jax.models.vdsr import Trunk
from vidrestore_jax.shapes import (
    Restored,
    check_choice,
    check_dtype,
    check_multiple,
    check_noise,
    check_window,
)

PRESETS = ("published", "std_scale")
# Kernels and output channels of the published network; 64 are of each frame.
_KERNELS, _WIDTHS = (9, 5, 5), (64, 32, 1)


class Published(nn.Module):
  """The paper's three layers.

  Attributes:
    symmetric: frames equally far from the middle share their 9x9 kernels.
    dtype: compute dtype.
  """

  symmetric: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    """Maps [B, H, W, T] to ([B, H, W, 1], [B, H, W, 32]).

    The first is float32; the second is what the last convolution sees.
    """
    x = x.astype(self.dtype)
    frames = x.shape[-1]

    def conv(layer, name):
      return Conv(
          _WIDTHS[layer],
          _KERNELS[layer],
          dtype=self.dtype,
          kernel_init=kaiming_normal(1.0 if layer == 2 else 2.0),
          name=name,
      )

    own = [
        conv(0, f"frame_{i}")
        for i in range(frames // 2 + 1 if self.symmetric else frames)
    ]
    seen = []
    for i in range(frames):
      mirrored = min(i, frames - 1 - i) if self.symmetric else i
      seen.append(nn.relu(own[mirrored](x[..., i : i + 1])))
    x = nn.relu(conv(1, "mix")(jnp.concatenate(seen, -1)))
    return conv(2, "exit")(x).astype(jnp.float32), x


class VSRNet(nn.Module):
  """Super-resolution of the middle frame of a window.

  Attributes:
    preset: one of PRESETS; see the module's docstring.
    scale: of the output; 1 for frames that are enlarged already.
    channels: of a frame: 1 for luminance, 3 for RGB, of which `published`
      restores the luminance alone (`layers.luminance`).
    frames: of a window, odd.
    motion: warp the enlarged frames onto the middle one first.
    symmetric: of `published`; see there.
    width: channels between the convolutions of `std_scale`.
    depth: their number.
    dtype: compute dtype; a flow is float32.
  """

  preset: str = "published"
  scale: int = 4
  channels: int = 3
  frames: int = 5
  motion: bool = False
  symmetric: bool = False
  width: int = 64
  depth: int = 20
  dtype: str = "float32"

  restores = True
  recurrent = False
  noise_map = False

  @property
  def radius(self) -> int:
    """Frames to each side that the middle one depends on."""
    return self.frames // 2

  @property
  def stride(self) -> int:
    """Sizes of which the input must be a multiple."""
    return vespcn.motion_stride(self.scale) if self.motion else 1

  @property
  def halo(self) -> int | None:
    """Pixels of the input to each side that an output pixel depends on."""
    if self.motion:
      return None  # It reaches where the flow points.
    reach = self.depth
    if self.preset == "published":
      reach = sum(kernel // 2 for kernel in _KERNELS)
    return bicubic_reach(reach, self.scale)

  def setup(self):
    if self.motion:
      self.aligner = vespcn.Motion(self.dtype)
    if self.preset == "published":
      self.network = Published(self.symmetric, self.dtype)
    else:
      self.network = Trunk(
          self.depth, self.width, self.channels, dtype=self.dtype
      )

  def __call__(self, window, noise=None, *, train: bool = False):
    """Enlarges the middle frame of a window.

    Args:
      window: `[B, T, h, w, C]` around [0, 1], h and w multiples of `stride`.
      noise: None.
      train: changes nothing.

    Returns:
      `Restored` with `frames` `[B, H, W, C]`, H and W `scale` times h and w,
      and `aux["hr_features"]` `[B, H, W, F]`, F the width or 32 of
      `published`.

    Raises:
      ValueError: another shape, or a noise map.
    """
    del train
    check_window("VSRNet", window, self.frames, self.channels)
    check_multiple("VSRNet", *window.shape[2:4], self.stride)
    check_noise("VSRNet", noise, False, ())
    window = window.astype(jnp.float32)
    if self.scale > 1:
      window = bicubic_resize(window, self.scale)
    middle = window[:, self.radius]
    published = self.preset == "published"
    seen = luminance.split(window) if published else window
    if self.motion:
      seen = vespcn.aligned(self.aligner, seen)
    else:
      seen = jnp.concatenate([seen[:, i] for i in range(self.frames)], -1)
    found, features = self.network(seen)
    restored = (
        luminance.join(middle, found) if published else middle + found
    )
    return Restored(restored, {"hr_features": features})


def build(
    *,
    preset: str = "published",
    scale: int = 4,
    channels: int = 3,
    frames: int | None = None,
    motion: bool = False,
    symmetric: bool = False,
    width: int = 64,
    depth: int = 20,
    dtype: str = "float32",
) -> VSRNet:
  """A VSRNet; see the class.

  Args:
    preset: one of PRESETS.
    scale: of the output; 1 for frames that are enlarged already.
    channels: of a frame: 1 for luminance, 3 for RGB.
    frames: of a window, odd; None for five, of `std_scale` seven.
    motion: warp the enlarged frames onto the middle one first.
    symmetric: of `published`: frames equally far from the middle share
      kernels, as the paper trains them.
    width: channels between the convolutions of `std_scale`.
    depth: their number.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: an even number of frames, `symmetric` of another preset, or a
      preset, a scale, a number of channels or a dtype that does not exist.
  """
  check_dtype("VSRNet", dtype)
  check_choice("VSRNet's preset", preset, PRESETS)
  check_choice("VSRNet's channels", channels, (1, 3))
  if frames is None:
    frames = 5 if preset == "published" else 7
  if frames < 1 or frames % 2 == 0:
    raise ValueError(
        f"VSRNet restores the middle of an odd number of frames, but got"
        f" {frames}."
    )
  if motion and frames == 1:
    raise ValueError("VSRNet's motion needs 3 frames or more, but got 1.")
  if scale < 1:
    raise ValueError(f"VSRNet needs a scale of 1 or more, but got {scale}.")
  if symmetric and preset != "published":
    raise ValueError(
        f"VSRNet is symmetric in the preset published alone, but got {preset}."
    )
  return VSRNet(
      preset,
      scale,
      channels,
      frames,
      motion,
      symmetric,
      width,
      depth,
      dtype,
  )
