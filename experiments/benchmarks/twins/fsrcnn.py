"""FSRCNN (arXiv:1608.00367)."""

from torch import nn

from experiments.benchmarks.torch_layers import (
    Bicubic,
    conv,
    luminance,
    transposed_conv,
    with_luminance,
)


class ActiveConv(nn.Module):
  """A convolution and a PReLU."""

  def __init__(self, inputs, features, kernel, stride=1):
    super().__init__()
    self.conv = conv(inputs, features, kernel, stride)
    self.prelu = nn.PReLU()

  def forward(self, x):
    return self.prelu(self.conv(x))


class FSRCNN(nn.Module):
  """A frame `[B, 1, C, h, w]`, enlarged."""

  def __init__(self, scale, width, shrunk, depth):
    super().__init__()
    self.feature = ActiveConv(1, width, 5)
    self.shrink = ActiveConv(width, shrunk, 1)
    self.mapping = nn.Sequential(
        *(ActiveConv(shrunk, shrunk, 3) for _ in range(depth))
    )
    self.expand = ActiveConv(shrunk, width, 1)
    self.enlarge = transposed_conv(width, 1, 9, scale)
    self.interpolate = Bicubic(scale)

  def forward(self, window, noise=None):
    small = window[:, 0]
    found = self.restore_luminance(luminance(small))
    if small.shape[1] == 1:
      return found
    return with_luminance(self.interpolate(small), found)

  def restore_luminance(self, small):
    """`[B, 1, h, w]` to `[B, 1, H, W]`."""
    x = self.mapping(self.shrink(self.feature(small)))
    return self.enlarge(self.expand(x))


def build(model) -> FSRCNN:
  """The twin of a `models.fsrcnn`, such as a student of PISR."""
  return FSRCNN(model.scale, model.width, model.shrunk, model.depth)
