"""The Noise2Noise U-Net (arXiv:1803.04189)."""

import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.torch_layers import conv, transposed_conv


class Noise2Noise(nn.Module):
  """A frame `[B, 1, C, H, W]` without its noise.

  Layouts are those of `models.noise2noise`: convolutions of the encoder by
  level and letter, and after which of them the size is halved. Of the "pytorch"
  layout many are one (`shared`).
  """

  def __init__(
      self, encoder, halved, pool, transposed, shared, slopes, offset, width,
      output_widths, channels,
  ):
    super().__init__()
    self.encoder, self.halved, self.pool = encoder, halved, pool
    self.shared, self.slopes, self.offset = shared, slopes, offset
    self.transposed = transposed
    self.enc, self.dec, self.up = (nn.ModuleDict() for _ in range(3))
    inputs = channels
    for name in encoder:
      stride = 2 if name in halved and not pool else 1
      self._put(self.enc, name, conv(inputs, width, 3, stride))
      inputs = width
    for level in range(5, 0, -1):
      if transposed:
        self._put(self.up, str(level), transposed_conv(inputs, inputs))
      inputs += width if level > 1 else channels
      rows = (2 * width,) * 2 if level > 1 else output_widths
      for row, features in zip("ab", rows):
        self._put(self.dec, f"{level}{row}", conv(inputs, features))
        inputs = features
    self._put(self.dec, "0", conv(inputs, channels))

  def _put(self, layers, name, layer):
    if self._name(layers, name) == name:
      layers[name] = layer

  def _name(self, layers, name):
    """The layer that does it: another level's where they are shared."""
    if self.shared and layers is self.enc and name in "345":
      return "2"
    if self.shared and layers is self.dec and name[0] in "32":
      return f"4{name[1]}"
    if self.shared and layers is self.up and name in "21":
      return "3"
    return name

  def denoise(self, x):
    """`[B, C, H, W]` to the same."""

    def of(layers, name, x):
      return layers[self._name(layers, name)](x)

    x = x - self.offset
    skips = {"0": x}
    for name in self.encoder:
      x = F.leaky_relu(of(self.enc, name, x), self.slopes[0])
      if name in self.halved and self.pool:
        x = F.max_pool2d(x, 2)
      if name != "0":
        skips[name[0]] = x
    for level in range(5, 0, -1):
      if self.transposed:
        x = of(self.up, str(level), x)
      else:
        x = F.interpolate(x, scale_factor=2)
      x = torch.cat([x, skips[str(level - 1)]], 1)
      for row in "ab":
        x = F.leaky_relu(of(self.dec, f"{level}{row}", x), self.slopes[0])
    return F.leaky_relu(of(self.dec, "0", x), self.slopes[1]) + self.offset

  def forward(self, window, noise=None):
    return self.denoise(window[:, 0])


def build(model) -> Noise2Noise:
  """The twin of a `models.noise2noise`."""
  return Noise2Noise(
      model.encoder, model.halved, model.pool, model.upsample == "transposed",
      model.shared, (model.slope, model.output_slope), model.offset,
      model.width, model.output_widths, model.channels,
  )
