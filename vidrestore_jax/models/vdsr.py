"""VDSR: accurate image super-resolution using very deep networks.

Kim, Lee, Lee, CVPR 2016, arXiv:1511.04587: the frame is enlarged by bicubic
interpolation first, and twenty 3x3 convolutions find what that lacks,

  y = up(x) + f(up(x)),

of the luminance alone. Of RGB frames the chroma stays as interpolated: f is
added to R, G and B alike (`layers.luminance`). As the student of space-time
distillation (CVPR 2021, DOI 10.1109/CVPR46437.2021.00215) it restores videos
frame by frame.
"""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import luminance
from vidrestore_jax.layers.convolution import (
    GroupedConv,
    kaiming_normal,
    small_normal,
)
from vidrestore_jax.layers.resample import bicubic_reach, bicubic_resize
from vidrestore_jax.shapes import (
    Restored,
    check_choice,
    check_dtype,
    check_noise,
    check_window,
)


class Trunk(nn.Module):
  """3x3 convolutions with ReLU between, at the size of the output.

  He's initialisation, as in the paper, but for the last one, which starts a
  hundred times smaller, so that training starts from the interpolated frame.

  Attributes:
    depth: number of convolutions.
    width: channels between them.
    features: channels of the output.
    bias: whether they have one.
    dtype: compute dtype.
  """

  depth: int = 20
  width: int = 64
  features: int = 1
  bias: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    """Maps [B, H, W, C] to ([B, H, W, features], hidden [B, H, W, width]).

    The first is float32; the second is what the last convolution sees.
    """
    x = x.astype(self.dtype)
    for i in range(self.depth):
      last = i == self.depth - 1
      found = GroupedConv(
          self.features if last else self.width,
          use_bias=self.bias,
          kernel_init=small_normal if last else kaiming_normal(),
          dtype=self.dtype,
          name=f"conv_{i}",
      )(x)
      if last:
        return found.astype(jnp.float32), x
      x = nn.relu(found)


class VDSR(nn.Module):
  """Super-resolution of single frames.

  Attributes:
    scale: of the output; 1 for frames that are enlarged already.
    channels: of a frame: 1 for luminance, 3 for RGB. The weights are the same.
    depth: number of convolutions.
    width: channels between them.
    bias: whether the convolutions have one.
    dtype: compute dtype.
  """

  scale: int = 4
  channels: int = 3
  depth: int = 20
  width: int = 64
  bias: bool = True
  dtype: str = "float32"

  restores = True
  recurrent = False
  radius = 0
  stride = 1
  noise_map = False
  maskable = True

  @property
  def halo(self) -> int:
    """Pixels of the input to each side that an output pixel depends on."""
    return bicubic_reach(self.depth, self.scale)

  def setup(self):
    self.trunk = Trunk(
        self.depth, self.width, bias=self.bias, dtype=self.dtype
    )

  def __call__(self, window, noise=None, *, train: bool = False):
    """Enlarges one frame.

    Args:
      window: `[B, 1, h, w, C]` around [0, 1]; luminance in studio range.
      noise: None.
      train: changes nothing.

    Returns:
      `Restored` with `frames` `[B, H, W, C]`, H and W `scale` times h and w,
      and `aux["hr_features"]` `[B, H, W, width]`, the last ReLU's.

    Raises:
      ValueError: another shape, or a noise map.
    """
    del train
    check_window("VDSR", window, 1, self.channels)
    check_noise("VDSR", noise, False, ())
    frames = self._enlarge(window[:, 0])
    restored, features = self._refine(luminance.split(frames))
    return Restored(
        luminance.join(frames, restored), {"hr_features": features}
    )

  def restore_luminance(self, small):
    """[B, h, w, 1] to ([B, H, W, 1], features [B, H, W, width]).

    The features are those by which privileged information is handed on.
    """
    return self._refine(self._enlarge(small))

  def _enlarge(self, frames):
    frames = frames.astype(jnp.float32)
    return frames if self.scale == 1 else bicubic_resize(frames, self.scale)

  def _refine(self, enlarged):
    found, features = self.trunk(enlarged)
    return enlarged + found, features


def build(
    *,
    scale: int = 4,
    channels: int = 3,
    depth: int = 20,
    width: int = 64,
    bias: bool = True,
    dtype: str = "float32",
) -> VDSR:
  """A VDSR; the defaults are the paper's network, for x4.

  Args:
    scale: of the output; 1 for frames that are enlarged already.
    channels: of a frame: 1 for luminance, 3 for RGB.
    depth: number of convolutions.
    width: channels between them.
    bias: whether they have one, as the paper's; those of the public weights
      (twtygqyy/pytorch-vdsr) have none.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: fewer than two convolutions, or a scale, a number of channels
      or a dtype that does not exist.
  """
  check_dtype("VDSR", dtype)
  check_choice("VDSR's channels", channels, (1, 3))
  for name, given, least in (("depth", depth, 2), ("scale", scale, 1)):
    if given < least:
      raise ValueError(
          f"VDSR needs a {name} of {least} or more, but got {given}."
      )
  return VDSR(scale, channels, depth, width, bias, dtype)
