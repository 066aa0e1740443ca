"""SpyNet (arXiv:1611.00850)."""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.torch_layers import conv, upsample, warp

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's.


class FlowLevel(nn.Module):
  """Convolutions with ReLU between: `[B, 8, h, w]` to `[B, 2, h, w]`."""

  def __init__(self, widths, kernel):
    super().__init__()
    sizes = (8, *widths, 2)
    self.conv = nn.ModuleList(
        conv(*pair, kernel) for pair in itertools.pairwise(sizes)
    )

  def forward(self, x):
    for layer in self.conv[:-1]:
      x = torch.relu(layer(x))
    return self.conv[-1](x)


class SpyNet(nn.Module):
  """The flow from `current` into `reference` `[B, 3, H, W]`, in pixels."""

  def __init__(self, levels, align_corners, normalize, widths, kernel):
    super().__init__()
    self.align_corners, self.normalize = align_corners, normalize
    self.level = nn.ModuleList(FlowLevel(widths, kernel) for _ in range(levels))
    for name, value in (("imagenet_mean", _MEAN), ("imagenet_std", _STD)):
      value = torch.tensor(value)[:, None, None]
      self.register_buffer(name, value, persistent=False)

  def forward(self, current, reference):
    frames = (current, reference)
    if self.normalize:
      mean, deviation = self.imagenet_mean, self.imagenet_std
      frames = [(x - mean) / deviation for x in frames]
    pyramid = [frames]
    for _ in self.level[1:]:
      pyramid.append([F.avg_pool2d(x, 2) for x in pyramid[-1]])
    flow = None
    for level, (current, reference) in zip(self.level, pyramid[::-1]):
      if flow is None:
        flow = current.new_zeros(current.shape[0], 2, *current.shape[2:])
        flow = flow.float()
      else:
        flow = 2 * upsample(flow, align_corners=self.align_corners)
      warped = warp(reference, flow)
      x = torch.cat([current, warped, flow.to(warped.dtype)], 1)
      flow = flow + level(x).float()
    return flow

  def of_any_size(self, current, reference):
    """Of frames whose sides need not be multiples of the coarsest pixel."""
    sides, least = current.shape[-2:], 2 ** (len(self.level) - 1)
    size = [side + -side % least for side in sides]

    def resize(x, size):
      return F.interpolate(x, size, mode="bilinear", align_corners=False)

    flow = self(resize(current, size), resize(reference, size))
    ratio = [sides[1] / size[1], sides[0] / size[0]]
    return resize(flow, sides) * flow.new_tensor(ratio)[:, None, None]


def build(model) -> SpyNet:
  """The twin of a `models.spynet`."""
  return SpyNet(
      model.levels, model.align_corners, model.normalize, model.widths,
      model.kernel,
  )
