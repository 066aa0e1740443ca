"""FastDVDnet for super-resolution (space-time distillation, CVPR 2021)."""

import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.torch_layers import Bicubic, SubPixelConv, conv
from experiments.benchmarks.twins.fastdvdnet import DenBlock

_HEADS = {"b": (0, 0), "c": (0, 1), "d": (1, 2)}


class Head(nn.Module):
  """Features to a residual of four times the size."""

  def __init__(self, inputs, before, behind, features, channels):
    super().__init__()
    kinds = ["conv"] * before + ["up"] * 2 + ["conv"] * behind
    # By the names that Flax gives: each kind by itself is counted.
    self.Conv, self.SubPixelConv = nn.ModuleList(), nn.ModuleList()
    for kind in kinds:
      if kind == "conv":
        self.Conv.append(conv(inputs, features))
      else:
        self.SubPixelConv.append(SubPixelConv(inputs, features))
      inputs = features
    self.Conv.append(conv(features, channels))
    self.before = before

  def forward(self, x):
    convs = list(self.Conv)
    before, behind = convs[: self.before], convs[self.before : -1]
    for layer in (*before, *self.SubPixelConv, *behind):
      x = F.leaky_relu(layer(x), 0.1)
    return convs[-1](x)


class FastDVDnetVSR(nn.Module):
  """Seven frames `[B, 7, C, h, w]` to the middle one, four times as large."""

  def __init__(self, head, features, channels, widths, interm, batch_norm):
    super().__init__()
    stage = (channels, widths, interm, False, batch_norm)
    self.temp1, self.temp2 = DenBlock(*stage), DenBlock(*stage, trunk=True)
    self.up = Head(widths[0], *_HEADS[head], features, channels)
    self.enlarge = Bicubic(4)

  def forward(self, window, noise=None):
    frames = window.unbind(1)
    first = [
        self.temp1((frames[3 - k], frames[3], frames[3 + k]), None)
        for k in (3, 2, 1)
    ]
    return self.enlarge(frames[3]) + self.up(self.temp2(first, None))


def build(model) -> FastDVDnetVSR:
  """The twin of a `models.fastdvdnet_vsr`."""
  return FastDVDnetVSR(
      model.head, model.hr_channels, model.channels, model.widths,
      model.interm, model.batch_norm,
  )
