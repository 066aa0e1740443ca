"""VDSR (arXiv:1511.04587)."""

import torch
from torch import nn

from experiments.benchmarks.torch_layers import (
    Bicubic,
    conv,
    luminance,
    with_luminance,
)


class Trunk(nn.Module):
  """3x3 convolutions with ReLU between."""

  def __init__(self, inputs, width, features, depth, bias=True):
    super().__init__()
    sizes = (inputs, *(width,) * (depth - 1), features)
    self.conv = nn.ModuleList(
        conv(sizes[i], sizes[i + 1], bias=bias) for i in range(depth)
    )

  def forward(self, x):
    for layer in self.conv[:-1]:
      x = torch.relu(layer(x))
    return self.conv[-1](x)


class VDSR(nn.Module):
  """A frame `[B, 1, C, h, w]`, enlarged."""

  def __init__(self, scale, width, depth, bias):
    super().__init__()
    self.enlarge, self.trunk = Bicubic(scale), Trunk(1, width, 1, depth, bias)

  def forward(self, window, noise=None):
    large = self.enlarge(window[:, 0])
    found = luminance(large)
    return with_luminance(large, found + self.trunk(found))

  def restore_luminance(self, small):
    """`[B, 1, h, w]` to `[B, 1, H, W]`."""
    large = self.enlarge(small)
    return large + self.trunk(large)


def build(model) -> VDSR:
  """The twin of a `models.vdsr`."""
  return VDSR(model.scale, model.width, model.depth, model.bias)
