"""Layers that several PyTorch twins have; `[B, C, H, W]` in and out."""

import torch
import torch.nn.functional as F
from torch import nn


def conv(inputs, features, kernel=3, stride=1, bias=True):
  """A convolution that keeps the size, but for its stride."""
  return nn.Conv2d(
      inputs, features, kernel, stride, padding=kernel // 2, bias=bias
  )


def transposed_conv(inputs, features, kernel=3, stride=2):
  """A transposed convolution to `stride` times the size."""
  return nn.ConvTranspose2d(
      inputs, features, kernel, stride,
      padding=kernel // 2, output_padding=stride - 1,
  )


class SubPixelConv(nn.Module):
  """A convolution and a pixel shuffle, to twice the size."""

  def __init__(self, inputs, features, kernel=3):
    super().__init__()
    self.expand = conv(inputs, 4 * features, kernel)

  def forward(self, x):
    return F.pixel_shuffle(self.expand(x), 2)


class ResBlock(nn.Module):
  """x + conv(relu(conv(x)))."""

  def __init__(self, width):
    super().__init__()
    self.conv_0, self.conv_1 = conv(width, width), conv(width, width)

  def forward(self, x):
    return x + self.conv_1(torch.relu(self.conv_0(x)))


def blocks(width, count):
  """Residual blocks in a row."""
  return nn.Sequential(*(ResBlock(width) for _ in range(count)))


class LowerBound(torch.autograd.Function):
  """max(x, minimum), whose gradient passes below where it raises x."""

  @staticmethod
  def forward(ctx, x, minimum):
    ctx.save_for_backward(x)
    ctx.minimum = minimum
    return x.clamp(min=minimum)

  @staticmethod
  def backward(ctx, gradient):
    (x,) = ctx.saved_tensors
    return gradient * ((x >= ctx.minimum) | (gradient < 0)), None


class GDN(nn.Module):
  """x / sqrt(beta + gamma x**2), or times it; of square roots, bounded."""

  _PEDESTAL = 2.0**-36

  def __init__(self, channels, inverse=False):
    super().__init__()
    self.inverse = inverse
    self.beta = nn.Parameter(torch.ones(channels))
    self.gamma = nn.Parameter(0.1**0.5 * torch.eye(channels))

  def forward(self, x):
    beta, gamma = (
        LowerBound.apply(raw, (least + self._PEDESTAL) ** 0.5).square()
        - self._PEDESTAL
        for raw, least in ((self.beta, 1e-6), (self.gamma, 0.0))
    )
    norm = F.conv2d(x.square(), gamma[:, :, None, None], beta).sqrt()
    return x * norm if self.inverse else x / norm


def upsample(x, factor=2, align_corners=False):
  """To `factor` times the size, bilinearly."""
  return F.interpolate(
      x, scale_factor=factor, mode="bilinear", align_corners=align_corners
  )


def warp(image, flow, padding="border"):
  """The image where the flow `[B, 2, H, W]`, (dx, dy) in pixels, points."""
  height, width = image.shape[-2:]
  flow = flow.float()
  columns = torch.arange(width, device=flow.device) + flow[:, 0]
  rows = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
  # From -1 to 1 between the outermost pixels' centres.
  grid = torch.stack(
      [
          2 * columns / max(width - 1, 1) - 1,
          2 * rows / max(height - 1, 1) - 1,
      ],
      -1,
  )
  warped = F.grid_sample(
      image.float(), grid, padding_mode=padding, align_corners=True
  )
  return warped.to(image.dtype)
