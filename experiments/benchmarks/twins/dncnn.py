"""DnCNN (arXiv:1608.03981)."""

import torch
from torch import nn

from experiments.benchmarks.torch_layers import conv


class DnCNN(nn.Module):
  """A frame `[B, 1, C, H, W]` without its noise."""

  def __init__(
      self, channels, width, depth, bias, batch_norm, epsilon, residual,
      noise_map,
  ):
    super().__init__()
    sizes = (channels + noise_map, *(width,) * (depth - 1), channels)
    self.conv = nn.ModuleList(
        conv(sizes[i], sizes[i + 1], bias=bias) for i in range(depth)
    )
    self.norm = nn.ModuleDict({
        str(i): nn.BatchNorm2d(width, epsilon)
        for i in range(1, depth - 1) if batch_norm
    })
    self.residual = residual

  def forward(self, window, noise):
    x = frame = window[:, 0]
    if noise is not None:
      x = torch.cat([x, noise], 1)
    for i, layer in enumerate(self.conv[:-1]):
      x = layer(x)
      if str(i) in self.norm:
        x = self.norm[str(i)](x)
      x = torch.relu(x)
    x = self.conv[-1](x)
    return frame - x if self.residual else x


def build(model) -> DnCNN:
  """The twin of a `models.dncnn`."""
  return DnCNN(
      model.channels, model.width, model.depth, model.bias, model.batch_norm,
      model.epsilon, model.residual, model.noise_map,
  )
