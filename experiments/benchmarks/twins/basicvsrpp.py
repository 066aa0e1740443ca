"""BasicVSR++ (arXiv:2104.13371)."""

import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.torch_layers import (
    DeformableConv,
    Reconstruction,
    ResTrunk,
    conv,
    upsample,
    warp,
)
from experiments.benchmarks.twins import spynet
from experiments.benchmarks.twins.basicvsr import neighbour_flows

_PASSES = ("backward_1", "forward_1", "backward_2", "forward_2")


class SecondOrderAlignment(nn.Module):
  """Aligns the features of two frames with a third frame, as one."""

  def __init__(self, width, max_offset):
    super().__init__()
    self.offset = nn.ModuleList(
        conv(inputs, width) for inputs in (3 * width + 4, width, width)
    )
    self.dcn = DeformableConv(
        2 * width, width, width, 16, max_offset, unit=max_offset
    )

  def forward(self, current, features, flows):
    first, second = (warp(x, f, "zeros") for x, f in zip(features, flows))
    x = torch.cat([first, current, second, *flows], 1)
    for layer in self.offset:
      x = F.leaky_relu(layer(x), 0.1)
    return self.dcn(torch.cat(features, 1), x, flows)


class BasicVSRPlusPlus(nn.Module):
  """A clip `[B, T, 3, h, w]`, restored or four times as large."""

  def __init__(self, motion, width, count, low_resolution, max_offset):
    super().__init__()
    self.motion, self.low_resolution = motion, low_resolution
    inputs, self.shrink = 3, nn.ModuleList()
    if not low_resolution:
      self.shrink.extend(conv(size, width, 3, 2) for size in (3, width))
      inputs = width
    self.extraction = ResTrunk(inputs, width, 5)
    self.align = nn.ModuleDict(
        {name: SecondOrderAlignment(width, max_offset) for name in _PASSES}
    )
    self.backbone = nn.ModuleDict({
        name: ResTrunk((i + 2) * width, width, count)
        for i, name in enumerate(_PASSES)
    })
    self.fusion = ResTrunk(5 * width, width, 5)
    self.reconstruction = Reconstruction(width)

  def forward(self, clip, noise=None):
    x = clip.flatten(0, 1)
    frames = clip.unbind(1)
    small = clip
    if not self.low_resolution:
      small = F.interpolate(x, scale_factor=0.25, mode="bicubic")
      small = small.reshape(*clip.shape[:3], *small.shape[-2:])
    to_next, to_last = neighbour_flows(self.motion, small)
    for layer in self.shrink:
      x = F.leaky_relu(layer(x), 0.1)
    x = self.extraction(x)
    # What there is of each frame so far.
    found = [[y] for y in x.reshape(*clip.shape[:2], *x.shape[1:]).unbind(1)]
    for name in _PASSES:
      if name.startswith("backward"):
        self._propagate(name, found[::-1], to_next[::-1])
      else:
        self._propagate(name, found, to_last)
    restored = []
    for frame, features in zip(frames, found):
      base = upsample(frame, 4) if self.low_resolution else frame
      x = self.fusion(torch.cat(features, 1))
      restored.append(self.reconstruction(x, base))
    return torch.stack(restored, 1)

  def _propagate(self, name, found, flows):
    """One pass, in its own order, that adds a feature to each frame's."""
    nothing = torch.zeros_like(found[0][0])
    still = nothing[:, :2]
    last = before = nothing
    for t, features in enumerate(found):
      feature = nothing
      if t > 0:
        first, second = flows[t - 1], still
        if t > 1:
          second = first + warp(flows[t - 2], first, "zeros")
        feature = self.align[name](features[0], (last, before), (first, second))
      x = torch.cat([*features, feature], 1)
      feature = feature + self.backbone[name](x)
      features.append(feature)
      last, before = feature, last


def build(model) -> BasicVSRPlusPlus:
  """The twin of a `models.basicvsrpp`."""
  return BasicVSRPlusPlus(
      spynet.build(model.motion), model.width, model.blocks,
      model.low_resolution, model.max_offset,
  )
