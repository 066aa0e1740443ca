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


class ResTrunk(nn.Module):
  """A convolution, LeakyReLU and residual blocks."""

  def __init__(self, inputs, width, count):
    super().__init__()
    self.conv_in, self.block = conv(inputs, width), blocks(width, count)

  def forward(self, x):
    return self.block(F.leaky_relu(self.conv_in(x), 0.1))


class Reconstruction(nn.Module):
  """What features add to a frame that is four times as large."""

  def __init__(self, width, channels=3):
    super().__init__()
    self.upconv1 = SubPixelConv(width, width)
    self.upconv2 = SubPixelConv(width, 64)
    self.conv_hr, self.conv_last = conv(64, 64), conv(64, channels)

  def forward(self, x, base):
    for layer in (self.upconv1, self.upconv2, self.conv_hr):
      x = F.leaky_relu(layer(x), 0.1)
    return base + self.conv_last(x)


class DeformableConv(nn.Module):
  """A modulated deformable 3x3 convolution, offsets and masks from beside.

  PyTorch has none of its own: the taps are looked up by `grid_sample`, each
  group of channels where its offsets point, and mixed by one product.
  """

  def __init__(
      self, inputs, features, condition, groups, max_offset=None, unit=1.0
  ):
    super().__init__()
    self.groups, self.max_offset, self.unit = groups, max_offset, unit
    self.conv_offset = conv(condition, 27 * groups)
    self.weight = nn.Parameter(torch.empty(features, inputs, 3, 3))
    self.bias = nn.Parameter(torch.zeros(features))
    nn.init.kaiming_uniform_(self.weight)
    taps = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))
    self.register_buffer("taps", taps.T.float(), persistent=False)

  def forward(self, x, condition, flows=()):
    batch, channels, height, width = x.shape
    groups = self.groups
    found = self.conv_offset(condition).float()
    offsets, logits = found.split([18 * groups, 9 * groups], 1)
    offsets = self.unit * offsets
    if self.max_offset is not None:
      offsets = self.max_offset * torch.tanh(offsets / self.max_offset)
    # Of each group and tap (dy, dx).
    offsets = offsets.reshape(batch, groups, 9, 2, height, width)
    if flows:
      share = groups // len(flows)
      guide = torch.stack([flow.flip(1) for flow in flows], 1)
      guide = guide.repeat_interleave(share, 1)
      offsets = offsets + guide[:, :, None]
    where = offsets + self.taps.T[:, :, None, None]
    rows = where[:, :, :, 0]
    rows = rows + torch.arange(height, device=x.device)[:, None]
    columns = where[:, :, :, 1] + torch.arange(width, device=x.device)
    grid = torch.stack(
        [
            2 * columns / max(width - 1, 1) - 1,
            2 * rows / max(height - 1, 1) - 1,
        ],
        -1,
    ).reshape(batch * groups, 9 * height, width, 2)
    each = x.reshape(batch * groups, -1, height, width).float()
    seen = F.grid_sample(each, grid, align_corners=True)
    seen = seen.reshape(batch, groups, -1, 9, height * width)
    mask = logits.sigmoid().reshape(batch, groups, 1, 9, height * width)
    seen = (seen * mask).to(x.dtype).reshape(batch, 9 * channels, height, width)
    kernel = self.weight.reshape(self.weight.shape[0], -1, 1, 1)
    return F.conv2d(seen, kernel, self.bias)


class Bicubic(nn.Module):
  """MATLAB's imresize to a whole multiple of the size, of `[..., H, W]`.

  A convolution of the mirrored image to all phases, and a pixel shuffle.
  """

  def __init__(self, scale):
    super().__init__()
    self.scale = scale
    phase = (torch.arange(scale) + 0.5) / scale - 0.5
    x = (phase[:, None] - torch.arange(-2, 3)).abs()  # [phase, tap]
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    taps = torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
    kernel = torch.einsum("pi,qj->pqij", taps, taps).flatten(0, 1)
    self.register_buffer("kernel", kernel[:, None], persistent=False)

  def forward(self, x):
    if self.scale == 1:
      return x
    *leading, height, width = x.shape
    x = x.reshape(-1, 1, height, width)
    rows, columns = (self._mirrored(n, x.device) for n in (height, width))
    phases = F.conv2d(x[:, :, rows][:, :, :, columns], self.kernel)
    large = F.pixel_shuffle(phases, self.scale)
    return large.reshape(*leading, *large.shape[-2:])

  @staticmethod
  def _mirrored(size, device):
    index = torch.arange(-2, size + 2, device=device) % (2 * size)
    return torch.minimum(index, 2 * size - 1 - index)


def luminance(frames):
  """BT.601's, of RGB `[..., 3, H, W]`; of one channel, that one itself."""
  if frames.shape[-3] == 1:
    return frames
  red, green, blue = frames.split(1, -3)
  return (65.481 * red + 128.553 * green + 24.966 * blue + 16) / 255


def with_luminance(frames, new):
  """The frames with another luminance, and their own chroma."""
  if frames.shape[-3] == 1:
    return new
  return frames + (new - luminance(frames)) * (255 / 219)


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
