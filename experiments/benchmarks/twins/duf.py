"""DUF (Jo et al., CVPR 2018)."""

import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.torch_layers import conv

_WIDTH, _HEAD, _TAPS = 64, 256, 25


class DenseBlock(nn.Module):
  """Adds channels to `[B, C, T, H, W]`; unpadded, of the middle frames."""

  def __init__(self, inputs, growth, pad_time, epsilon):
    super().__init__()
    self.pad_time = pad_time
    self.norm_0, self.norm_1 = (
        nn.BatchNorm3d(inputs, epsilon) for _ in range(2)
    )
    self.mix = nn.Conv3d(inputs, inputs, 1)
    self.conv = nn.Conv3d(inputs, growth, 3, padding=(int(pad_time), 1, 1))

  def forward(self, x):
    found = self.mix(torch.relu(self.norm_0(x)))
    found = self.conv(torch.relu(self.norm_1(found)))
    return torch.cat([x if self.pad_time else x[:, :, 1:-1], found], 1)


class DUF(nn.Module):
  """Seven frames `[B, 7, C, h, w]` to the middle one, enlarged."""

  def __init__(self, count, growth, scale, channels, epsilon):
    super().__init__()
    self.scale, self.channels = scale, channels
    self.entry = nn.Conv3d(channels, _WIDTH, (1, 3, 3), padding=(0, 1, 1))
    inputs, dense = _WIDTH, []
    for i in range(count + 3):
      dense.append(DenseBlock(inputs, growth, i < count, epsilon))
      inputs += growth
    self.dense = nn.Sequential(*dense)
    self.norm = nn.BatchNorm2d(inputs, epsilon)
    self.head = conv(inputs, _HEAD)
    phases = scale**2
    self.residual = nn.Sequential(
        conv(_HEAD, _HEAD, 1), conv(_HEAD, channels * phases, 1)
    )
    self.filters = nn.Sequential(
        conv(_HEAD, 2 * _HEAD, 1), conv(2 * _HEAD, _TAPS * phases, 1)
    )

  def forward(self, window, noise=None):
    x = self.dense(self.entry(window.transpose(1, 2)))[:, :, 0]
    x = torch.relu(self.head(torch.relu(self.norm(x))))
    found = self.residual[1](torch.relu(self.residual[0](x)))
    filters = self.filters[1](torch.relu(self.filters[0](x)))
    batch, _, height, width = x.shape
    filters = filters.reshape(batch, _TAPS, -1, height, width).softmax(1)
    # The 5x5 pixels around each, of every channel alike.
    middle = window[:, 3].flatten(0, 1)[:, None]
    seen = F.unfold(middle, 5, padding=2)
    seen = seen.reshape(batch, self.channels, _TAPS, height, width)
    large = torch.einsum("bcthw,btphw->bcphw", seen, filters).flatten(1, 2)
    return F.pixel_shuffle(large + found, self.scale)


def build(model) -> DUF:
  """The twin of a `models.duf`."""
  return DUF(
      model.blocks, model.growth, model.scale, model.channels, model.epsilon
  )
