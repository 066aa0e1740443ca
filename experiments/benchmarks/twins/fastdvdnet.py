"""FastDVDnet (arXiv:1907.01361)."""

import torch
from torch import nn


class ConvBlock(nn.Module):
  """3x3 convolutions, each followed by batch normalisation and ReLU."""

  def __init__(
      self, inputs, features, stride=1, groups=1, linear_end=False,
      batch_norm=True,
  ):
    super().__init__()
    self.count, self.linear_end = len(features), linear_end
    for i, width in enumerate(features):
      conv = nn.Conv2d(
          inputs, width, 3, padding=1, bias=not batch_norm,
          stride=1 if i else stride, groups=1 if i else groups,
      )
      self.add_module(f"conv_{i}", conv)
      if not (linear_end and i == len(features) - 1):
        norm = nn.BatchNorm2d(width) if batch_norm else nn.Identity()
        self.add_module(f"norm_{i}", norm)
      inputs = width

  def forward(self, x):
    for i in range(self.count):
      x = getattr(self, f"conv_{i}")(x)
      if self.linear_end and i == self.count - 1:
        return x
      x = torch.relu(getattr(self, f"norm_{i}")(x))
    return x


class DenBlock(nn.Module):
  """Three frames and a noise map to the middle one; of a trunk, features."""

  def __init__(
      self, channels, widths, interm, noise_map=True, batch_norm=True,
      trunk=False,
  ):
    super().__init__()
    fine, middle, coarse = widths

    def block(inputs, *features, **kwargs):
      return ConvBlock(inputs, features, batch_norm=batch_norm, **kwargs)

    inputs = 3 * (channels + noise_map)
    self.inc = block(inputs, 3 * interm, fine, groups=3)
    self.downc0 = block(fine, *(middle,) * 3, stride=2)
    self.downc1 = block(middle, *(coarse,) * 3, stride=2)
    self.upc2 = block(coarse, coarse, coarse, 4 * middle, linear_end=True)
    self.upc1 = block(middle, middle, middle, 4 * fine, linear_end=True)
    self.trunk = trunk
    if trunk:
      self.outc = block(fine, fine)
    else:
      self.outc = block(fine, fine, channels, linear_end=True)
    self.shuffle = nn.PixelShuffle(2)

  def forward(self, frames, noise):
    x = frames
    if noise is not None:
      x = [part for frame in frames for part in (frame, noise)]
    full = self.inc(torch.cat(list(x), 1))
    half = self.downc0(full)
    x = self.upc2(self.downc1(half))
    x = self.upc1(half + self.shuffle(x))
    x = self.outc(full + self.shuffle(x))
    return x if self.trunk else frames[1] - x


class FastDVDnet(nn.Module):
  """Five frames `[B, 5, C, H, W]` to the middle one."""

  def __init__(self, *args):
    super().__init__()
    self.temp1, self.temp2 = DenBlock(*args), DenBlock(*args)

  def forward(self, window, noise):
    frames = window.unbind(1)
    first = [self.temp1(frames[i : i + 3], noise) for i in range(3)]
    return self.temp2(first, noise)

  def stage(self, index, frames, noise):
    """The middle one of three results of the stage before."""
    return (self.temp1, self.temp2)[index](frames, noise)

  def loss(self, noisy, noise, clean):
    """The squared error of the middle frame."""
    restored = self(noisy, noise).float()
    return torch.square(restored - clean[:, clean.shape[1] // 2]).mean()


def build(model) -> FastDVDnet:
  """The twin of a `models.fastdvdnet`."""
  return FastDVDnet(
      model.channels, model.widths, model.interm, model.noise_map,
      model.batch_norm,
  )
