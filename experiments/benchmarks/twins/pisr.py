"""PISR's teacher (arXiv:2007.07524); its student is `fsrcnn`."""

from torch import nn

from experiments.benchmarks import twins
from experiments.benchmarks.torch_layers import (
    conv,
    luminance,
    with_luminance,
)
from experiments.benchmarks.twins.fsrcnn import ActiveConv


class Encoder(nn.Module):
  """Luminance to a smaller one."""

  def __init__(self, scale, width, shrunk):
    super().__init__()
    self.conv = nn.Sequential(
        ActiveConv(1, width, 5),
        ActiveConv(width, width, 5, scale),
        ActiveConv(width, shrunk, 3),
        conv(shrunk, 1),
    )

  def forward(self, x):
    return self.conv(x)


class PISR(nn.Module):
  """A frame `[B, 1, C, H, W]`, encoded and decoded."""

  def __init__(self, scale, width, shrunk, decoder):
    super().__init__()
    self.encoder, self.decoder = Encoder(scale, width, shrunk), decoder

  def forward(self, window, noise=None):
    small = self.encoder(luminance(window[:, 0]))
    return with_luminance(window[:, 0], self.decoder.restore_luminance(small))


def build(model) -> PISR:
  """The twin of a `models.pisr`."""
  kind = type(model.decoder).__module__.rpartition(".")[-1]
  decoder = twins.build(kind, model.decoder)
  return PISR(model.stride, model.width, model.shrunk, decoder)
