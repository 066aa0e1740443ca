"""FITVNet: first image, then video.

Wang, Zhou, Cheng, arXiv:2001.00346. An image denoiser takes most of the noise
out of each frame, a video denoiser the rest, trained together:

  y_{t+k} = Psi(x_{t+k}), k = -2 .. 2   Noise2Noise U-Net, table 6
  I_t = Phi(y_{t-2}, ..., y_{t+2})      FastDVDnet, table 5

Table 5 is FastDVDnet's block row for row and channel for channel, so stage two
is that network with its normalisation, which the table leaves out. Its noise
map is printed ("three frames with noise map") but not what it holds behind a
denoiser: here the level of the noise that was added (`noise_map`).
"""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax import models
from vidrestore_jax.layers import recomputation
from vidrestore_jax.models import fastdvdnet, noise2noise
from vidrestore_jax.shapes import Restored, check_noise, check_rank

NOISE_MAPS = ("sigma", "zero")


class FITVNet(nn.Module):
  """The windowed restorer: five frames to the middle one.

  Attributes:
    image: the first stage Psi, a Noise2Noise.
    video: the second stage Phi, a FastDVDnet.
    blind: whether Phi's noise map is all zero, and the model told no level.
    remat: see `layers.recomputation`; Psi is a step, Phi has a policy of its
      own.
  """

  image: nn.Module
  video: nn.Module
  blind: bool = False
  remat: str = "none"

  restores = True
  recurrent = False
  stages = (0, *fastdvdnet.FastDVDnet.stages)  # Radius of each; see `stage`.
  radius = sum(stages)
  scale = 1
  stride = noise2noise.Noise2Noise.stride
  maskable = True

  @property
  def halo(self) -> int:
    """Pixels to each side that an output pixel may depend on."""
    return self.image.halo + self.video.halo

  @property
  def channels(self) -> int:
    """Of a frame."""
    return self.image.channels

  @property
  def noise_map(self) -> bool:
    """Whether the model is told the noise level."""
    return not self.blind

  @property
  def dtype(self) -> str:
    """Compute dtype of both stages."""
    return self.image.dtype

  def __call__(self, window, noise, *, train: bool = False):
    """Restores the middle frame of a window.

    Args:
      window: `[B, 5, H, W, C]` around [0, 1], H and W multiples of 32.
      noise: `[B, H, W, 1]` standard deviations, or None for a blind model.
      train: normalise by the batch's statistics and update the running ones.

    Returns:
      `Restored` with `frames` `[B, H, W, C]`; `aux["pre_denoised"]`
      `[B, 5, H, W, C]` are the first stage's frames.

    Raises:
      ValueError: the window or the noise does not suit the model.
    """
    check_rank("window", window, "BTHWC")
    noise = self._level(window, noise)
    batch, length, *size = window.shape
    frames = recomputation.run(
        self.image,
        window.reshape(batch * length, *size),
        recompute=self.remat == "step",
        method="denoise",
    )
    frames = frames.reshape(window.shape)
    restored = self.video(frames, noise, train=train)
    return Restored(restored.frames, {"pre_denoised": frames})

  def stage(self, index: int, window, noise, *, train: bool = False):
    """One stage of the cascade, for what keeps the earlier ones' results.

    Args:
      index: of the stage in `stages`, 0 for Psi.
      window: `[B, 2 r + 1, H, W, C]` results of the stage before, r the
        stage's radius.
      noise: as in the call.
      train: as in the call.

    Returns:
      The stage's frame in the middle of the window, `[B, H, W, C]`.

    Raises:
      ValueError: as the call.
    """
    if index == 0:
      return self.image.denoise(window[:, 0])
    noise = self._level(window, noise)
    return self.video.stage(index - 1, window, noise, train=train)

  def pre_denoise(self, frames):
    """Psi alone: `[B, H, W, C]` to `[B, H, W, C]`."""
    return self.image.denoise(frames)

  def first_stage(self, variables):
    """Psi as a model of its own, to be measured beside the whole.

    Args:
      variables: of this model.

    Returns:
      The pair of a windowed model of one frame and its variables.
    """
    return self.image, {"params": variables["params"]["image"]}

  def _level(self, window, noise):
    """What Phi is told of the noise; ValueError where it does not suit."""
    shape = (window.shape[0], *window.shape[2:4], 1)
    check_noise("FITVNet", noise, self.noise_map, shape)
    return jnp.zeros(shape) if noise is None else noise


def build(
    image: dict | None = None,
    video: dict | None = None,
    noise_map: str = "sigma",
    channels: int = 3,
    remat: str = "none",
    dtype: str = "float32",
) -> FITVNet:
  """A FITVNet; the defaults are the paper's network.

  Args:
    image: arguments of `models.noise2noise.build` for Psi, such as `strides`.
    video: arguments of `models.fastdvdnet.build` for Phi, such as `batch_norm`.
    noise_map: what Phi's map holds, "sigma", the level of the noise that was
      added, or "zero", for a blind model.
    channels: of a frame.
    remat: see `layers.recomputation`.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: a name, a dtype, a policy or an argument that does not exist.
  """
  if noise_map not in NOISE_MAPS:
    raise ValueError(
        f"FITVNet's noise_map is one of {', '.join(NOISE_MAPS)}, but got"
        f" {noise_map!r}."
    )
  recomputation.check_policy("FITVNet", remat)
  shared = {"channels": channels, "dtype": dtype}
  return FITVNet(
      models.build("noise2noise", **shared | (image or {})),
      models.build("fastdvdnet", **shared | {"remat": remat} | (video or {})),
      blind=noise_map == "zero",
      remat=remat,
  )
