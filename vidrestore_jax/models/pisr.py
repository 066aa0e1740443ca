"""PISR's teacher: a network that is told the frame which its student must find.

Lee et al., "Learning with Privileged Information for Efficient Image
Super-Resolution", ECCV 2020, arXiv:2007.07524; layers as in the release
(cvlab-yonsei/PISR). An encoder makes a small frame of the large one, and a
decoder, which is a model of super-resolution, the large one of the small:

  teacher  HR -> encoder -> pseudo-LR -> decoder -> HR
  student               LR -> the same decoder -> HR

Both of the luminance alone. A teacher is trained by tasks/privileged_teacher.py
and trains a student by tasks/privileged_student.py.
"""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax import models
from vidrestore_jax.layers import luminance
from vidrestore_jax.layers.convolution import Conv, kaiming_normal
from vidrestore_jax.models.fsrcnn import ActiveConv
from vidrestore_jax.shapes import (
    Restored,
    check_dtype,
    check_multiple,
    check_named,
    check_noise,
    check_window,
)


class Encoder(nn.Module):
  """Luminance to a smaller one.

  Attributes:
    scale: how many times smaller.
    width: channels of the first two convolutions.
    shrunk: of the third.
    dtype: compute dtype.
  """

  scale: int
  width: int = 56
  shrunk: int = 12
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    """[B, H, W, 1] to [B, H / scale, W / scale, 1], float32."""
    for i, (features, kernel, stride) in enumerate((
        (self.width, 5, 1), (self.width, 5, self.scale), (self.shrunk, 3, 1)
    )):
      x = ActiveConv(features, kernel, stride, self.dtype, name=f"conv_{i}")(x)
    x = Conv(
        1,
        dtype=self.dtype,
        kernel_init=kaiming_normal(1.0),
        name="conv_3",
    )(x)
    return x.astype(jnp.float32)


class PISR(nn.Module):
  """The teacher, as a restorer that is given what it shall restore.

  Attributes:
    decoder: a model that restores luminance (`restore_luminance`).
    width: of the encoder.
    shrunk: of the encoder.
    dtype: compute dtype.
  """

  decoder: nn.Module
  width: int = 56
  shrunk: int = 12
  dtype: str = "float32"

  restores = True
  recurrent = False
  radius = 0
  scale = 1
  noise_map = False

  @property
  def channels(self) -> int:
    """Channels of a frame."""
    return self.decoder.channels

  @property
  def stride(self) -> int:
    """Height and width must be multiples of this."""
    return self.decoder.scale

  @property
  def halo(self) -> int:
    """Pixels to each side that an output pixel depends on."""
    # Small pixels of the decoder and of two convolutions, a whole pixel less
    # one for where in its block the output lies, and two kernels of five.
    scale = self.decoder.scale
    return scale * (self.decoder.halo + 2) + scale - 1 + 4

  def setup(self):
    self.encoder = Encoder(
        self.decoder.scale, self.width, self.shrunk, self.dtype
    )

  def __call__(self, window, noise=None, *, train: bool = False):
    """Encodes one frame and decodes it.

    Args:
      window: `[B, 1, H, W, C]` around [0, 1], H and W multiples of `stride`.
      noise: None.
      train: changes nothing.

    Returns:
      `Restored` with `frames` `[B, H, W, C]`, the chroma the frame's own.

    Raises:
      ValueError: another shape, or a noise map.
    """
    del train
    check_window("PISR", window, 1, self.channels)
    check_noise("PISR", noise, False, ())
    frames = window[:, 0].astype(jnp.float32)
    _, restored, _ = self.privileged(luminance.split(frames))
    return Restored(luminance.join(frames, restored), {})

  def privileged(self, large):
    """What the teacher makes of luminance [B, H, W, 1], H and W multiples.

    Returns:
      The triple of pseudo-LR [B, h, w, 1], restored [B, H, W, 1] and the
      decoder's features.
    """
    check_multiple("PISR", *large.shape[1:3], self.stride)
    small = self.encoder(large)
    return small, *self.decoder.restore_luminance(small)


def build(
    *,
    decoder: dict,
    channels: int = 3,
    width: int = 56,
    shrunk: int = 12,
    dtype: str = "float32",
) -> PISR:
  """A teacher.

  Args:
    decoder: name and arguments of a model that restores luminance: fsrcnn, as
      in the paper, or vdsr.
    channels: of a frame: 1 for luminance, 3 for RGB.
    width: channels of the encoder's first two convolutions.
    shrunk: of its third.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: no such model, one that does not restore luminance alone, or
      whose output is not larger than its input.
  """
  check_dtype("PISR", dtype)
  check_named("PISR's decoder", decoder)
  shared = {"channels": channels, "dtype": dtype}
  built = models.build(**shared | dict(decoder))
  check_decoder("PISR's decoder", built)
  return PISR(built, width, shrunk, dtype)


def check_decoder(name: str, model):
  """Raises ValueError unless `model` can be a teacher's decoder."""
  if not hasattr(model, "restore_luminance") or model.scale < 2:
    raise ValueError(
        f"{name} enlarges luminance, but {type(model).__name__} with a scale of"
        f" {getattr(model, 'scale', 1)} does not. Take fsrcnn or vdsr."
    )
