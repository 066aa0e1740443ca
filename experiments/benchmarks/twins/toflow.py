"""TOFlow (arXiv:1711.09078)."""

import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.torch_layers import Bicubic, conv, upsample, warp

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's.
_LEVELS = 4
_KERNELS = (9, 9, 1, 1)


class FlowLevel(nn.Module):
  """7x7 convolutions; batch normalisation and ReLU between."""

  def __init__(self, widths):
    super().__init__()
    sizes, last = (8, *widths, 2), len(widths)
    self.conv = nn.ModuleList(
        conv(sizes[i], sizes[i + 1], 7, bias=i == last)
        for i in range(last + 1)
    )
    self.norm = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)

  def forward(self, x):
    for layer, norm in zip(self.conv, self.norm):
      x = torch.relu(norm(layer(x)))
    return self.conv[-1](x)


class TOFlow(nn.Module):
  """Seven frames `[B, 7, 3, h, w]` to the middle one."""

  def __init__(self, scale, official_order, width, flow_widths):
    super().__init__()
    self.enlarge = Bicubic(scale)
    self.order = list(range(7))
    if official_order:
      self.order.insert(0, self.order.pop(3))
    self.flow = nn.ModuleList(FlowLevel(flow_widths) for _ in range(_LEVELS))
    sizes = (7 * 3, width, width, width, 3)
    self.conv = nn.ModuleList(
        conv(sizes[i], sizes[i + 1], kernel)
        for i, kernel in enumerate(_KERNELS)
    )
    for name, value in (("imagenet_mean", _MEAN), ("imagenet_std", _STD)):
      value = torch.tensor(value)[:, None, None]
      self.register_buffer(name, value, persistent=False)

  def forward(self, window, noise=None):
    frames = self.enlarge(window)
    frames = (frames - self.imagenet_mean) / self.imagenet_std
    frames = list(frames.unbind(1))
    middle, others = frames[3], torch.cat(frames[:3] + frames[4:])
    flow = self._flow(middle.repeat(6, 1, 1, 1), others)
    warped = list(warp(others, flow, "zeros").chunk(6))
    aligned = [*warped[:3], middle, *warped[3:]]
    x = torch.cat([aligned[i] for i in self.order], 1)
    for layer in self.conv[:-1]:
      x = torch.relu(layer(x))
    found = middle + self.conv[-1](x)
    return found * self.imagenet_std + self.imagenet_mean

  def _flow(self, current, reference):
    """From `current` into `reference`, coarse to fine."""
    pyramid = [(current, reference)]
    for _ in range(_LEVELS - 1):
      pyramid.append(tuple(F.avg_pool2d(x, 2) for x in pyramid[-1]))
    flow = None
    for level, (current, reference) in zip(self.flow, pyramid[::-1]):
      if flow is None:
        flow = torch.zeros_like(current[:, :2]).float()
      else:
        flow = 2 * upsample(flow, align_corners=True)
      warped = warp(reference, flow, "zeros")
      x = torch.cat([current, warped, flow.to(warped.dtype)], 1)
      flow = flow + level(x).float()
    return flow


def build(model) -> TOFlow:
  """The twin of a `models.toflow`."""
  return TOFlow(
      model.scale, model.official_order, model.width, model.flow_widths
  )
