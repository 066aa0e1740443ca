"""VSRNet (Kappeler et al., 2016)."""

import torch
from torch import nn

from experiments.benchmarks.torch_layers import (
    Bicubic,
    conv,
    luminance,
    with_luminance,
)
from experiments.benchmarks.twins.vdsr import Trunk
from experiments.benchmarks.twins.vespcn import Motion, aligned


class Published(nn.Module):
  """9x9 of each frame by itself, 5x5 of all of them, 5x5."""

  def __init__(self, frames, symmetric):
    super().__init__()
    self.frame = nn.ModuleList(
        conv(1, 64, 9)
        for _ in range(frames // 2 + 1 if symmetric else frames)
    )
    self.mix, self.exit = conv(64 * frames, 32, 5), conv(32, 1, 5)
    self.symmetric = symmetric

  def forward(self, x):
    frames = x.split(1, 1)
    layers = list(self.frame)
    if self.symmetric:
      layers += layers[-2::-1]
    seen = [torch.relu(f(x)) for f, x in zip(layers, frames, strict=True)]
    return self.exit(torch.relu(self.mix(torch.cat(seen, 1))))


class VSRNet(nn.Module):
  """Frames `[B, T, C, h, w]` to the middle one, enlarged."""

  def __init__(
      self, published, scale, channels, frames, motion, symmetric, width, depth
  ):
    super().__init__()
    self.published, self.enlarge = published, Bicubic(scale)
    self.aligner = Motion(1 if published else channels) if motion else None
    if published:
      self.network = Published(frames, symmetric)
    else:
      self.network = Trunk(frames * channels, width, channels, depth)

  def forward(self, window, noise=None):
    window = self.enlarge(window)
    middle = window[:, window.shape[1] // 2]
    seen = luminance(window) if self.published else window
    if self.aligner is None:
      seen = seen.flatten(1, 2)
    else:
      seen = aligned(self.aligner, seen)
    found = self.network(seen)
    return with_luminance(middle, found) if self.published else middle + found


def build(model) -> VSRNet:
  """The twin of a `models.vsrnet`."""
  return VSRNet(
      model.preset == "published", model.scale, model.channels, model.frames,
      model.motion, model.symmetric, model.width, model.depth,
  )
