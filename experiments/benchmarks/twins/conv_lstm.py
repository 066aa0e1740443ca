"""Video prediction by a convolutional LSTM (arXiv:1506.04214)."""

import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.torch_layers import conv


class ConvLSTM(nn.Module):
  """The cell, with peepholes."""

  def __init__(self, inputs, features):
    super().__init__()
    self.input = conv(inputs, 4 * features)
    self.hidden = conv(features, 4 * features, bias=False)
    self.peephole = nn.Parameter(torch.zeros(3, features))

  def forward(self, state, x):
    cell, hidden = state
    gates = self.input(x) + self.hidden(hidden)
    i, f, c, o = gates.chunk(4, 1)
    w_ci, w_cf, w_co = self.peephole[:, :, None, None]
    cell = torch.sigmoid(f + w_cf * cell) * cell + torch.sigmoid(
        i + w_ci * cell
    ) * torch.tanh(c)
    return cell, torch.sigmoid(o + w_co * cell) * torch.tanh(cell)


class FramePredictor(nn.Module):
  """Of each frame `[B, C, H, W]`, the one that follows it."""

  def __init__(self, channels, embedding, features):
    super().__init__()
    self.embed = conv(channels, embedding)
    self.conv_lstm = ConvLSTM(embedding, features)
    self.change = conv(features, channels)
    self.features = features

  def init_state(self, frame):
    """The state before the first frame of a clip."""
    zeros = frame.new_zeros(frame.shape[0], self.features, *frame.shape[2:])
    return zeros, zeros

  def step(self, state, frame, noise=None):
    """The pair (state, the frame to come)."""
    state = self.conv_lstm(state, F.leaky_relu(self.embed(frame), 0.1))
    return state, frame + self.change(state[1])

  def forward(self, clip, noise=None):
    state, found = self.init_state(clip[:, 0]), []
    for frame in clip.unbind(1):
      state, predicted = self.step(state, frame)
      found.append(predicted)
    return torch.stack(found, 1)


def build(model) -> FramePredictor:
  """The twin of a `models.conv_lstm`."""
  return FramePredictor(
      model.channels, model.embedding, model.conv_lstm.features
  )
