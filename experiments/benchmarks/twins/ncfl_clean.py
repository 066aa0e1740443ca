"""NCFL's compression module alone (CVPR 2022, supplementary, section 4.3)."""

from torch import nn

from experiments.benchmarks.torch_layers import conv
from experiments.benchmarks.twins import ncfl


class CompressedFrames(nn.Module):
  """Codes every frame `[B, C, H, W]` by itself: its state is nothing."""

  def __init__(self, compression, channels, features):
    super().__init__()
    self.stem, self.compression = conv(channels, features), compression
    self.head = conv(features, channels)

  def init_state(self, frame):
    """Nothing."""
    return ()

  def step(self, state, frame, noise=None):
    """The pair (nothing, coded frame)."""
    return state, self.head(self.compression(self.stem(frame))[0])

  def forward(self, clip, noise=None):
    _, coded = self.step((), clip.flatten(0, 1))
    return coded.reshape(clip.shape)


def build(model) -> CompressedFrames:
  """The twin of a `models.ncfl_clean`."""
  features = model.feature_channels
  return CompressedFrames(
      ncfl.compression(model.compression, features), model.channels, features
  )
