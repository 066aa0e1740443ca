"""FITVNet (arXiv:2001.00346)."""

import torch
from torch import nn

from experiments.benchmarks.twins import fastdvdnet, noise2noise


class FITVNet(nn.Module):
  """Five frames `[B, 5, C, H, W]` to the middle one, by two networks."""

  def __init__(self, image, video):
    super().__init__()
    self.image, self.video = image, video

  def forward(self, window, noise):
    frames = self.image.denoise(window.flatten(0, 1)).reshape(window.shape)
    return self.video(frames, self._level(frames[:, 0], noise))

  def stage(self, index, frames, noise):
    """The middle one of the results of the stage before."""
    if index == 0:
      return self.image.denoise(frames[0])
    noise = self._level(frames[0], noise)
    return self.video.stage(index - 1, frames, noise)

  def _level(self, frame, noise):
    return torch.zeros_like(frame[:, :1]) if noise is None else noise


def build(model) -> FITVNet:
  """The twin of a `models.fitvnet`."""
  return FITVNet(
      noise2noise.build(model.image), fastdvdnet.build(model.video)
  )
