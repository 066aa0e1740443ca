"""FSRCNN: accelerating the super-resolution convolutional neural network.

Dong, Loy, Tang, ECCV 2016, arXiv:1608.00367, section 3: features of the small
frame are shrunk, mapped by a few 3x3 convolutions, expanded again, and only
then enlarged, by a transposed convolution. Of the luminance alone; the chroma
of RGB frames is interpolated (`layers.luminance`).

All happens at the size of the input, so that it has no map at the size of the
output (`aux["hr_features"]`). What privileged information (models/pisr.py)
compares is the expanded map, at the size of the input.
"""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import luminance
from vidrestore_jax.layers.convolution import (
    Conv,
    WideTransposedConv,
    kaiming_normal,
)
from vidrestore_jax.layers.resample import bicubic_resize
from vidrestore_jax.shapes import (
    Restored,
    check_choice,
    check_dtype,
    check_noise,
    check_window,
)

_LAST_KERNEL = 9


class ActiveConv(nn.Module):
  """A convolution and a PReLU, whose one slope starts at 1/4."""

  features: int
  kernel: int
  stride: int = 1
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    """[B, H, W, C] to [B, H / stride, W / stride, features]."""
    x = Conv(
        self.features,
        self.kernel,
        self.stride,
        dtype=self.dtype,
        kernel_init=kaiming_normal(),
        name="conv",
    )(x)
    return nn.PReLU(negative_slope_init=0.25, name="prelu")(x)


class FSRCNN(nn.Module):
  """Super-resolution of single frames.

  Attributes:
    scale: of the output.
    channels: of a frame: 1 for luminance, 3 for RGB. The weights are the same.
    width: channels before shrinking and after expanding, the paper's d.
    shrunk: channels between, its s.
    depth: convolutions between, its m.
    dtype: compute dtype.
  """

  scale: int = 4
  channels: int = 3
  width: int = 56
  shrunk: int = 12
  depth: int = 4
  dtype: str = "float32"

  restores = True
  recurrent = False
  radius = 0
  stride = 1
  noise_map = False

  @property
  def halo(self) -> int:
    """Pixels of the input to each side that an output pixel depends on."""
    return 2 + self.depth + -(-(_LAST_KERNEL // 2) // self.scale)

  def setup(self):
    self.feature = ActiveConv(self.width, 5, dtype=self.dtype)
    self.shrink = ActiveConv(self.shrunk, 1, dtype=self.dtype)
    self.mapping = [
        ActiveConv(self.shrunk, 3, dtype=self.dtype) for _ in range(self.depth)
    ]
    self.expand = ActiveConv(self.width, 1, dtype=self.dtype)
    self.enlarge = WideTransposedConv(
        1,
        _LAST_KERNEL,
        self.scale,
        self.dtype,
        nn.initializers.normal(0.001),  # The paper's.
    )

  def __call__(self, window, noise=None, *, train: bool = False):
    """Enlarges one frame.

    Args:
      window: `[B, 1, h, w, C]` around [0, 1]; luminance in studio range.
      noise: None.
      train: changes nothing.

    Returns:
      `Restored` with `frames` `[B, H, W, C]`, H and W `scale` times h and w.

    Raises:
      ValueError: another shape, or a noise map.
    """
    del train
    check_window("FSRCNN", window, 1, self.channels)
    check_noise("FSRCNN", noise, False, ())
    small = window[:, 0].astype(jnp.float32)
    restored, _ = self.restore_luminance(luminance.split(small))
    if self.channels > 1:
      restored = luminance.with_luminance(
          bicubic_resize(small, self.scale), restored
      )
    return Restored(restored, {})

  def restore_luminance(self, small):
    """[B, h, w, 1] to ([B, H, W, 1], features [B, h, w, width]).

    The features are those by which privileged information is handed on.
    """
    x = self.shrink(self.feature(small.astype(self.dtype)))
    for layer in self.mapping:
      x = layer(x)
    features = self.expand(x)
    return self.enlarge(features).astype(jnp.float32), features


def build(
    *,
    scale: int = 4,
    channels: int = 3,
    width: int = 56,
    shrunk: int = 12,
    depth: int = 4,
    dtype: str = "float32",
) -> FSRCNN:
  """An FSRCNN; see the class. The defaults are the paper's FSRCNN, for x4.

  Raises:
    ValueError: a scale, a number of channels or a dtype that does not exist.
  """
  check_dtype("FSRCNN", dtype)
  check_choice("FSRCNN's channels", channels, (1, 3))
  if scale < 2:
    raise ValueError(f"FSRCNN enlarges by 2 or more, but got scale={scale}.")
  return FSRCNN(scale, channels, width, shrunk, depth, dtype)
