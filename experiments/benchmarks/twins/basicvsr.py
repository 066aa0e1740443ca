"""BasicVSR (arXiv:2012.02181), and its online variant."""

import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.torch_layers import (
    Reconstruction,
    ResTrunk,
    conv,
    upsample,
    warp,
)
from experiments.benchmarks.twins import spynet


class OnlineBasicVSR(nn.Module):
  """Frames four times as large; features are handed forwards alone.

  Its state is the frame before and its feature.
  """

  directions = ("forward",)

  def __init__(self, motion, width, count):
    super().__init__()
    self.motion, self.width = motion, width
    for direction in self.directions:
      trunk = ResTrunk(3 + width, width, count)
      self.add_module(f"{direction}_trunk", trunk)
    self.fusion = conv(len(self.directions) * width, width, 1)
    self.reconstruction = Reconstruction(width)

  def init_state(self, frame):
    """The state before the first frame `[B, 3, h, w]` of a clip."""
    return frame, self._nothing(frame)

  def step(self, state, frame, noise=None):
    """The pair (state, restored frame)."""
    last, feature = state
    flow = self.motion.of_any_size(frame, last)
    feature = self._propagate(self.forward_trunk, feature, frame, flow)
    return (frame, feature), self._reconstruct(frame, feature)

  def forward(self, clip, noise=None):
    state, found = self.init_state(clip[:, 0]), []
    for frame in clip.unbind(1):
      state, restored = self.step(state, frame)
      found.append(restored)
    return torch.stack(found, 1)

  def _nothing(self, frame):
    return frame.new_zeros(frame.shape[0], self.width, *frame.shape[2:])

  def _propagate(self, trunk, feature, frame, flow):
    if flow is not None:
      feature = warp(feature, flow, "zeros")
    return trunk(torch.cat([frame, feature], 1))

  def _reconstruct(self, frame, *features):
    x = F.leaky_relu(self.fusion(torch.cat(features, 1)), 0.1)
    return self.reconstruction(x, upsample(frame, 4))


class BasicVSR(OnlineBasicVSR):
  """Features are handed backwards as well."""

  directions = ("backward", "forward")

  def forward(self, clip, noise=None):
    frames = clip.unbind(1)
    to_next, to_last = neighbour_flows(self.motion, clip)
    feature, backward = self._nothing(frames[0]), []
    for frame, flow in zip(frames[::-1], (None, *to_next[::-1])):
      feature = self._propagate(self.backward_trunk, feature, frame, flow)
      backward.append(feature)
    feature, found = self._nothing(frames[0]), []
    for frame, flow, other in zip(frames, (None, *to_last), backward[::-1]):
      feature = self._propagate(self.forward_trunk, feature, frame, flow)
      found.append(self._reconstruct(frame, other, feature))
    return torch.stack(found, 1)


def neighbour_flows(motion, clip):
  """Of each frame to the next, and to the last: T - 1 flows each."""
  earlier, later = clip[:, :-1].flatten(0, 1), clip[:, 1:].flatten(0, 1)
  shape = (clip.shape[0], -1, 2, *clip.shape[3:])
  return tuple(
      motion.of_any_size(*pair).reshape(shape).unbind(1)
      for pair in ((earlier, later), (later, earlier))
  )


def build(model) -> OnlineBasicVSR:
  """The twin of a `models.basicvsr`."""
  kind = OnlineBasicVSR if model.recurrent else BasicVSR
  return kind(spynet.build(model.motion), model.width, model.blocks)
