"""VESPCN (arXiv:1611.05250)."""

import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.torch_layers import (
    Bicubic,
    conv,
    luminance,
    warp,
    with_luminance,
)
from experiments.benchmarks.twins.vdsr import Trunk

_UNIT = 32.0  # Pixels of a flow of 1.


class Motion(nn.Module):
  """Warps frames onto others by a flow in two steps."""

  def __init__(self, channels):
    super().__init__()

    def chain(inputs, strides, factor):
      layers = []
      for stride in strides:
        layers.append(conv(inputs, 24, 3 if stride == 1 else 5, stride))
        inputs = 24
      return nn.ModuleList([*layers, conv(24, 2 * factor**2)])

    self.coarse = chain(2 * channels, (2, 1, 2, 1), 4)
    self.fine = chain(3 * channels + 2, (2, 1, 1, 1), 2)

  def forward(self, middle, other):
    both = torch.cat([middle, other], 1)
    coarse = self._flow(self.coarse, both, 4)
    warped = warp(other, coarse)
    seen = torch.cat([both, (coarse / _UNIT).to(both.dtype), warped], 1)
    return warp(other, coarse + self._flow(self.fine, seen, 2))

  def _flow(self, layers, x, factor):
    for layer in layers[:-1]:
      x = torch.relu(layer(x))
    return _UNIT * F.pixel_shuffle(torch.tanh(layers[-1](x).float()), factor)


def aligned(motion, window):
  """`[B, T, C, H, W]`, warped onto the middle one, as `[B, T C, H, W]`."""
  frames = list(window.unbind(1))
  centre = len(frames) // 2
  middle, others = frames[centre], frames[:centre] + frames[centre + 1 :]
  warped = motion(torch.cat([middle] * len(others)), torch.cat(others))
  warped = list(warped.chunk(len(others)))
  return torch.cat([*warped[:centre], middle, *warped[centre:]], 1)


class Published(nn.Module):
  """Convolutions at the size of the input, and a pixel shuffle."""

  def __init__(self, scale, width, depth):
    super().__init__()
    sizes = (3, *(width,) * (depth - 1), scale**2)
    self.scale = scale
    self.conv = nn.ModuleList(
        conv(sizes[i], sizes[i + 1]) for i in range(depth)
    )

  def forward(self, x):
    for layer in self.conv[:-1]:
      x = torch.relu(layer(x))
    return F.pixel_shuffle(self.conv[-1](x), self.scale)


class Compact(nn.Module):
  """Residual blocks, a large pixel shuffle and a convolution."""

  def __init__(self, scale, channels, width, count):
    super().__init__()
    self.scale = scale
    self.entry = conv(3 * channels, width)
    self.block = nn.ModuleList(
        nn.ModuleList([conv(width, width), conv(width, width)])
        for _ in range(count)
    )
    self.expand = conv(width, width * scale**2)
    self.exit = conv(width, channels)

  def forward(self, x):
    x = entry = self.entry(x)
    for first, second in self.block:
      x = x + second(torch.relu(first(torch.relu(x))))
    x = self.expand(torch.relu(x) + entry)
    return self.exit(F.pixel_shuffle(x, self.scale))


class VESPCN(nn.Module):
  """Three frames `[B, 3, C, h, w]` to the middle one, enlarged."""

  def __init__(self, preset, scale, channels, width, depth):
    super().__init__()
    self.preset, self.enlarge = preset, Bicubic(scale)
    self.motion = Motion(1 if preset == "published" else channels)
    if preset == "published":
      self.network = Published(scale, width, depth)
    elif preset == "compact":
      self.network = Compact(scale, channels, width, depth)
    else:
      self.network = Trunk(3 * channels, width, channels, depth)

  def forward(self, window, noise=None):
    if self.preset == "published":
      found = self.network(aligned(self.motion, luminance(window)))
      return with_luminance(self.enlarge(window[:, 1]), found)
    if self.preset == "compact":
      middle = self.enlarge(window[:, 1])
    else:
      window = self.enlarge(window)
      middle = window[:, 1]
    return middle + self.network(aligned(self.motion, window))


def build(model) -> VESPCN:
  """The twin of a `models.vespcn`."""
  return VESPCN(
      model.preset, model.scale, model.channels, model.width, model.depth
  )
