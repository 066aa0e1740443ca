"""The Noise2Noise U-Net: an image denoiser, and the first stage of FITVNet.

Lehtinen et al., ICML 2018, arXiv:1803.04189, in the three layouts that papers
and published weights have (PRESETS):

- "fitvnet": table 6 of FITVNet (arXiv:2001.00346). Two convolutions per scale,
  every pooling a convolution of stride 2. Its last LeakyReLU among ReLUs is no
  misprint: the PyTorch rendition below has it as well.
- "original": NVlabs/noise2noise, network.py.
- "pytorch": joeylitalien/noise2noise-pytorch, src/unet.py, a rendition of the
  original which uses one convolution for four, as its code (not its text) has.

The strides that table 6 prints contradict its concatenations: they make 1/16 of
the frame, and five up-samplings make that 2. One more stride, on row 2b or 2a,
mends it and every concatenation at once; see REPAIRED.
"""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers.convolution import (
    Conv,
    TransposedConv,
    kaiming_normal,
)
from vidrestore_jax.layers.resample import max_pool, upsample_nearest
from vidrestore_jax.shapes import (
    Restored,
    check_channels,
    check_dtype,
    check_multiple,
    check_noise,
    check_rank,
    check_window,
)

# Rows of table 6 with "Stride 2": the printed ones, and 2b.
REPAIRED = ("1b", "2b", "3a", "4b", "6")
# Where the original pools.
N2N_FAITHFUL = ("1b", "2b", "3b", "4b", "5b")

# Rows of table 6 from one concatenation to the next: each halves the size once.
_GROUPS = (
    ("0", "1a", "1b"),
    ("2a", "2b"),
    ("3a", "3b"),
    ("4a", "4b"),
    ("5a", "5b", "6"),
)
_ORIGINAL = {
    "encoder": tuple("0123456"),
    "halved": tuple("12345"),
    "pool": True,
}
PRESETS = {
    "fitvnet": {
        "encoder": sum(_GROUPS, ()),
        "halved": REPAIRED,
        "pool": False,
        "upsample": "nearest",
        "shared": False,
        "slope": 0.0,
        "output_slope": 0.1,
        "offset": 0.0,
    },
    "original": _ORIGINAL
    | {
        "upsample": "nearest",
        "shared": False,
        "slope": 0.1,
        "output_slope": 1.0,
        # As released: frames in [-0.5, 0.5] (dataset.py, validation.py).
        "offset": 0.5,
    },
    "pytorch": _ORIGINAL
    | {
        "upsample": "transposed",
        "shared": True,
        "slope": 0.0,
        "output_slope": 0.1,
        "offset": 0.0,
    },
}
UPSAMPLING = ("nearest", "transposed")

# As released (joeylitalien/noise2noise-pytorch, src/unet.py): `forward` calls
# one block for encoder levels 2 to 5, another for decoder levels 4 to 2.
_SHARED = {
    **{f"enc_{level}": "enc_2" for level in "345"},
    **{f"dec_{level}{row}": f"dec_4{row}" for level in "32" for row in "ab"},
    **{f"up_{level}": "up_3" for level in "21"},
}


class Noise2Noise(nn.Module):
  """A U-Net over six scales, from a noisy frame to a clean one.

  Attributes:
    encoder: the encoder's convolutions in order, by level and letter; what the
      last one of a level makes is concatenated in the decoder.
    halved: after which of them the size is halved.
    pool: by max pooling, rather than by their stride.
    upsample: one of UPSAMPLING.
    shared: whether the convolutions of the "pytorch" preset are one.
    slope: of the LeakyReLUs; 0 makes them ReLUs.
    output_slope: of the one behind the last convolution; 1 leaves it linear.
    offset: value of the frame that the network sees as zero.
    width: of the encoder; the decoder has twice as many channels.
    output_widths: of the last two convolutions before the output.
    channels: of a frame.
    dtype: compute dtype.
  """

  encoder: tuple[str, ...]
  halved: tuple[str, ...]
  pool: bool
  upsample: str
  shared: bool
  slope: float
  output_slope: float
  offset: float
  width: int = 48
  output_widths: tuple[int, int] = (64, 32)
  channels: int = 3
  dtype: str = "float32"

  restores = True
  recurrent = False
  radius = 0
  scale = 1
  stride = 32
  noise_map = False
  maskable = True

  @property
  def halo(self) -> int:
    """Pixels to each side that an output pixel may depend on.

    A feature at scale s reaches (before, after) around the first pixel of its
    block: a 3x3 convolution adds s on both sides, a pooling s behind, a
    nearest up-sampling to scale s s before.
    """
    before, after, scale = 0, 0, 1
    for name in self.encoder:
      before, after = before + scale, after + scale
      if name in self.halved:
        after += scale if self.pool else 0
        scale *= 2
    for level in range(5, 0, -1):
      scale //= 2
      rows = 2 if level > 1 else 3
      before += scale * (1 + rows)
      after += scale * (rows + (self.upsample == "transposed"))
    return max(before, after)

  def __call__(self, window, noise, *, train: bool = False):
    """Denoises one frame, blindly.

    Args:
      window: `[B, 1, H, W, C]` around [0, 1], sides multiples of 32.
      noise: None.
      train: changes nothing here.

    Returns:
      `Restored` with `frames` `[B, H, W, C]`.

    Raises:
      ValueError: another shape, or a noise map.
    """
    del train
    check_window("Noise2Noise", window, 1, self.channels)
    check_noise("Noise2Noise", noise, self.noise_map, ())
    return Restored(self.denoise(window[:, 0]), {})

  @nn.compact
  def denoise(self, frames):
    """Maps `[B, H, W, C]` to `[B, H, W, C]`."""
    check_rank("frames", frames, "BHWC")
    check_channels("frames", frames, self.channels)
    check_multiple("Noise2Noise", *frames.shape[1:3], self.stride)
    layers = {}

    def layer(kind, name, features, gain=2.0, **kwargs):
      name = _SHARED.get(name, name) if self.shared else name
      if name not in layers:
        layers[name] = kind(
            features,
            dtype=self.dtype,
            kernel_init=kaiming_normal(gain),
            name=name,
            **kwargs,
        )
      return layers[name]

    def conv(name, features, x, stride=1):
      x = layer(Conv, name, features, stride=stride)(x)
      return nn.leaky_relu(x, self.slope)

    x = (frames - self.offset).astype(self.dtype)
    skips = {"0": x}
    for name in self.encoder:
      halve = name in self.halved
      stride = 2 if halve and not self.pool else 1
      x = conv(f"enc_{name}", self.width, x, stride)
      if halve and self.pool:
        x = max_pool(x)
      if name != "0":  # Beside the finest decoder stands the frame itself.
        skips[name[0]] = x

    for level in range(5, 0, -1):
      if self.upsample == "transposed":
        x = layer(TransposedConv, f"up_{level}", x.shape[-1])(x)
      else:
        x = upsample_nearest(x)
      x = jnp.concatenate([x, skips[str(level - 1)]], -1)
      rows = (2 * self.width,) * 2 if level > 1 else self.output_widths
      for row, features in zip("ab", rows):
        x = conv(f"dec_{level}{row}", features, x)
    # Kaiming-normal as both codes; a linear output keeps its input's variance.
    gain = 1.0 if self.output_slope == 1 else 2.0
    x = layer(Conv, "dec_0", self.channels, gain)(x).astype(jnp.float32)
    return nn.leaky_relu(x, self.output_slope) + self.offset


def build(
    preset: str = "fitvnet",
    strides: tuple[str, ...] | None = None,
    upsample: str | None = None,
    width: int = 48,
    output_widths: tuple[int, int] = (64, 32),
    channels: int = 3,
    dtype: str = "float32",
) -> Noise2Noise:
  """A Noise2Noise U-Net.

  Args:
    preset: one of PRESETS.
    strides: for "fitvnet", the rows of table 6 that have a stride of 2, such as
      REPAIRED (its default) and N2N_FAITHFUL.
    upsample: "nearest" or "transposed" (3x3, stride 2); None is the preset's.
    width: of the encoder; the decoder has twice as many channels.
    output_widths: of the last two convolutions before the output.
    channels: of a frame.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: a name or dtype that does not exist, or strides with which the
      concatenations do not meet.
  """
  if preset not in PRESETS:
    raise ValueError(
        f"Noise2Noise has no preset {preset!r}. It has: {', '.join(PRESETS)}."
    )
  check_dtype("Noise2Noise", dtype)
  layout = dict(PRESETS[preset])
  if strides is not None:
    layout["halved"] = _check_strides(preset, tuple(strides))
  if upsample is not None:
    layout["upsample"] = upsample
  if layout["upsample"] not in UPSAMPLING:
    raise ValueError(
        f"Noise2Noise's upsample is one of {', '.join(UPSAMPLING)}, but got"
        f" {upsample!r}."
    )
  return Noise2Noise(
      **layout,
      width=width,
      output_widths=tuple(output_widths),
      channels=channels,
      dtype=dtype,
  )


def _check_strides(preset, strides):
  """The strides; ValueError unless one lies between each skip and the next."""
  if preset != "fitvnet":
    raise ValueError(
        f"The preset {preset!r} pools at fixed places. Leave out strides, or"
        " take the preset 'fitvnet'."
    )
  chosen = [[row for row in strides if row in group] for group in _GROUPS]
  if len(strides) != 5 or any(len(rows) != 1 for rows in chosen):
    raise ValueError(
        "Noise2Noise halves the frame once in each of"
        f" {', '.join('/'.join(group) for group in _GROUPS)}, so that the five"
        f" concatenations meet, but strides is {', '.join(strides)}. Take"
        f" {', '.join(REPAIRED)}."
    )
  return strides
