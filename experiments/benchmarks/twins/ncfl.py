"""NCFL (CVPR 2022), with its U-Net and W-Net."""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.torch_layers import (
  GDN,
  LowerBound,
  SubPixelConv,
  blocks,
  conv,
  transposed_conv,
  warp,
)
from experiments.benchmarks.twins import spynet

_UP = {"subpixel": SubPixelConv, "transposed": transposed_conv}
_RATE_WEIGHT = 1 / 2048  # The paper's lambda.


class Encoder(nn.Module):
  """Strided convolution, GDN, strided convolution."""

  def __init__(self, inputs, hidden, latent, normalize):
    super().__init__()
    self.conv_0, self.gdn_0 = conv(inputs, hidden, 3, 2), GDN(hidden)
    self.conv_1 = conv(hidden, latent, 3, 2)
    self.gdn_1 = GDN(latent) if normalize else nn.Identity()

  def forward(self, x):
    return self.gdn_1(self.conv_1(self.gdn_0(self.conv_0(x))))


class Decoder(nn.Module):
  """Up, inverse GDN, up."""

  def __init__(self, latent, hidden, features, up):
    super().__init__()
    self.up_0, self.igdn_0 = up(latent, hidden), GDN(hidden, inverse=True)
    self.up_1 = up(hidden, features)

  def forward(self, x):
    return self.up_1(self.igdn_0(self.up_0(x)))


class MotionRefiner(nn.Module):
  """MVR: an auto-encoder of the flow."""

  def __init__(self, hidden, up, normalize, residual):
    super().__init__()
    self.encoder = Encoder(2, hidden, hidden, normalize)
    self.decoder = Decoder(hidden, hidden, 2, up)
    self.residual = residual

  def forward(self, flow):
    refined = self.decoder(self.encoder(flow))
    return flow + refined if self.residual else refined


class ConvStack(nn.Module):
  """Three convolutions, LeakyReLU between."""

  def __init__(self, channels, hidden):
    super().__init__()
    self.conv_0, self.conv_1 = conv(channels, hidden), conv(hidden, hidden)
    self.conv_2 = conv(hidden, channels)

  def forward(self, x):
    x = F.leaky_relu(self.conv_0(x))
    return self.conv_2(F.leaky_relu(self.conv_1(x)))


class FeatureAttention(nn.Module):
  """An auto-encoder over scales, from a frame and a feature to a mask."""

  def __init__(self, inputs, features, widths, count, middle_count):
    super().__init__()
    pairs = list(itertools.pairwise(widths))
    self.stem = conv(inputs + features, widths[0])
    self.encoder = nn.ModuleList(blocks(fine, count) for fine, _ in pairs)
    self.down = nn.ModuleList(conv(*pair, 3, 2) for pair in pairs)
    self.middle = blocks(widths[-1], middle_count)
    self.up = nn.ModuleList(
        transposed_conv(coarse, fine) for fine, coarse in pairs
    )
    self.fuse = nn.ModuleList(conv(2 * fine, fine) for fine, _ in pairs)
    self.decoder = nn.ModuleList(blocks(fine, count) for fine, _ in pairs)
    self.mask = conv(widths[0], features)

  def forward(self, frame, feature):
    x = self.stem(torch.cat([frame, feature], 1))
    skips = []
    for encode, down in zip(self.encoder, self.down):
      x = encode(x)
      skips.append(x)
      x = down(x)
    x = self.middle(x)
    for i in reversed(range(len(skips))):
      x = self.fuse[i](torch.cat([self.up[i](x), skips[i]], 1))
      x = self.decoder[i](x)
    return torch.sigmoid(self.mask(x))


class Compression(nn.Module):
  """Encodes, quantises as a prior says, decodes."""

  def __init__(
      self, features, hidden, latent, prior, up, normalize, quantize,
      distribution, add_mean_back, step_minimum,
  ):
    super().__init__()
    self.encoder = Encoder(features, hidden, latent, normalize)
    self.decoder = Decoder(latent, hidden, features, up)
    self.prior = None
    if quantize:
      self.prior = nn.ModuleList([
          conv(features, prior[0], 3, 2),
          conv(prior[0], prior[1], 3, 2),
          conv(prior[1], 3 * latent),
      ])
    self.mass = {"laplace": laplace_mass, "gaussian": gaussian_mass}[
        distribution
    ]
    self.add_mean_back, self.step_minimum = add_mean_back, step_minimum

  def forward(self, feature, rate=False):
    """The feature and, if asked for, the bits of each frame."""
    latent, bits = self.encoder(feature), None
    if self.prior is not None:
      x = F.leaky_relu(self.prior[0](feature))
      x = self.prior[2](F.leaky_relu(self.prior[1](x)))
      mean, scale, step = x.float().chunk(3, 1)
      step = LowerBound.apply(step, self.step_minimum)
      exact = (latent.float() - mean) / step
      symbols = exact + (exact.round() - exact).detach()
      coded = symbols * step + mean if self.add_mean_back else symbols * step
      latent = coded.to(latent.dtype)
      if rate:
        mass = self.mass(symbols, F.softplus(scale))
        bits = -torch.log2(mass + 1e-5).clamp(-50, 0).sum((1, 2, 3))
    return self.decoder(latent), bits


def laplace_mass(symbols, scale):
  """Of Laplace(0, scale) on [s - 1/2, s + 1/2]."""
  size, scale = symbols.abs(), scale.clamp(1e-5, 1e10)
  tail = -0.5 * torch.exp(-(size.clamp(min=0.5) - 0.5) / scale)
  tail = tail * torch.expm1(-1 / scale)
  inner = size.clamp(max=0.5)
  centre = torch.expm1((inner - 0.5) / scale)
  centre = -0.5 * (centre + torch.expm1(-(inner + 0.5) / scale))
  return torch.where(size < 0.5, centre, tail)


def gaussian_mass(symbols, scale):
  """Of Normal(0, scale) on [s - 1/2, s + 1/2]."""
  size, scale = symbols.abs(), scale.clamp(0.11, 1e10)
  upper = torch.special.ndtr((0.5 - size) / scale)
  return upper - torch.special.ndtr((-0.5 - size) / scale)


class ChannelAttention(nn.Module):
  """x * sigmoid(W2 relu(W1 mean(x)))."""

  def __init__(self, channels, reduction):
    super().__init__()
    hidden = max(channels // reduction, 1)
    self.squeeze = conv(channels, hidden, 1)
    self.excite = conv(hidden, channels, 1)

  def forward(self, x):
    pooled = F.adaptive_avg_pool2d(x, 1)
    return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(pooled))))


class ChannelAttentionBlock(nn.Module):
  """x + attention(conv(relu(conv(x))))."""

  def __init__(self, channels, reduction):
    super().__init__()
    self.conv_0, self.conv_1 = (conv(channels, channels) for _ in range(2))
    self.attention = ChannelAttention(channels, reduction)

  def forward(self, x):
    return x + self.attention(self.conv_1(torch.relu(self.conv_0(x))))


class UNetFeatures(nn.Module):
  """A U-Net of channel attention blocks, one at each scale on either way."""

  def __init__(self, inputs, widths, skip, reduction):
    super().__init__()
    pairs = list(itertools.pairwise(widths))

    def each(module, sizes):
      return nn.ModuleList(module(*size) for size in sizes)

    def block(width, _):
      return ChannelAttentionBlock(width, reduction)

    self.stem = conv(inputs, widths[0])
    self.encoder, self.decoder = each(block, pairs), each(block, pairs)
    self.down = each(lambda fine, coarse: conv(fine, coarse, 1), pairs)
    self.middle = ChannelAttentionBlock(widths[-1], reduction)
    self.concat = skip == "concat"
    if self.concat:
      self.up = each(lambda fine, coarse: SubPixelConv(coarse, fine, 1), pairs)
      self.fuse = each(lambda fine, _: conv(2 * fine, fine, 1), pairs)
    else:
      self.up = each(lambda fine, coarse: transposed_conv(coarse, fine), pairs)
      self.skip = each(lambda fine, _: conv(fine, fine), pairs)

  def forward(self, x):
    x = self.stem(x)
    skips = []
    for encode, down in zip(self.encoder, self.down):
      x = encode(x)
      skips.append(x)
      x = down(F.max_pool2d(x, 2))
    x = self.middle(x)
    for i in reversed(range(len(skips))):
      x = self.up[i](x)
      if self.concat:
        x = self.fuse[i](torch.cat([x, skips[i]], 1))
      else:
        x = x + self.skip[i](skips[i])
      x = self.decoder[i](x)
    return x


class UNet(nn.Module):
  """A residual and a feature."""

  def __init__(self, inputs, channels, features, *net):
    super().__init__()
    self.net = UNetFeatures(inputs, *net)
    self._outputs(channels, features, net[0][0])

  def _outputs(self, channels, features, width):
    self.output = conv(width, channels)
    self.feature = nn.Identity()
    if features != width:
      self.feature = conv(width, features, 1)

  def forward(self, x):
    x = self.net(x)
    return self.output(x), self.feature(x)


class WNet(UNet):
  """Two of them; the second sees the frame again."""

  def __init__(self, inputs, channels, features, *net, frame_channels):
    nn.Module.__init__(self)
    width = net[0][0]
    self.net_0 = UNetFeatures(inputs, *net)
    self.net_1 = UNetFeatures(frame_channels + width, *net)
    self._outputs(channels, features, width)
    self.frame_channels = frame_channels

  def forward(self, x):
    first = self.net_0(x)
    x = self.net_1(torch.cat([x[:, : self.frame_channels], first], 1))
    return self.output(x), self.feature(x)


class NCFL(nn.Module):
  """The recurrent restorer.

  Its state is the RGB frame in which motion is found, and the feature.
  """

  def __init__(self, parts, features, channels, residual, standardize, fold):
    super().__init__()
    for name, part in parts.items():  # None where there is no such part.
      self.add_module(name, part)
    self.features, self.channels, self.residual = features, channels, residual
    self.standardize, self.fold = standardize, fold

  def init_state(self, frame):
    """The state before the first frame `[B, C, H, W]` of a clip."""
    guide = self._guide(frame)
    return guide, torch.zeros_like(guide[:, :1]).repeat(1, self.features, 1, 1)

  def step(self, state, frame, noise):
    """The pair (state, restored frame)."""
    state, restored, _ = self.advance(state, frame, noise)
    return state, restored

  def advance(self, state, frame, noise, rate=False):
    """`step`, and the bits of the frame if asked for, else None."""
    last, feature = state
    guide = self._guide(frame)
    flow = self.motion(guide, last)
    if self.motion_refiner is not None:
      flow = self.motion_refiner(flow.to(frame.dtype))
    feature = warp(feature, flow)
    mean, deviation = self.standardize
    observed = (frame - mean) / deviation
    if self.fold > 1:
      observed = F.pixel_unshuffle(observed, self.fold)
    if noise is not None:
      if self.fold > 1:
        noise = F.avg_pool2d(noise, self.fold)
      observed = torch.cat([observed, noise], 1)
    if self.attention is not None:
      feature = feature * self.attention(observed, feature)
    bits = None
    if self.compression is not None:
      feature, bits = self.compression(feature, rate)
    if self.feature_refiner is not None:
      feature = self.feature_refiner(feature)
    output, feature = self.restoration(torch.cat([observed, feature], 1))
    if self.fold > 1:
      output = F.pixel_shuffle(output, self.fold)
    restored = frame + output if self.residual else output
    return (guide, feature), restored, bits

  def forward(self, clip, noise, rate=False):
    """Frames `[B, T, C, H, W]` and, if asked for, bits `[B, T]` as well."""
    state, found = self.init_state(clip[:, 0]), []
    for frame in clip.unbind(1):
      state, *restored = self.advance(state, frame, noise, rate)
      found.append(restored)
    frames, bits = zip(*found)
    frames = torch.stack(frames, 1)
    return (frames, torch.stack(bits, 1)) if rate else frames

  def loss(self, noisy, noise, clean):
    """The paper's first stage: squared error and, if it quantises, rate."""
    compression = self.compression
    if compression is None or compression.prior is None:
      return torch.square(self(noisy, noise).float() - clean).mean()
    frames, bits = self(noisy, noise, rate=True)
    bpp = bits.mean() / (clean.shape[-1] * clean.shape[-2])
    return torch.square(frames.float() - clean).mean() + _RATE_WEIGHT * bpp

  def _guide(self, frame):
    if self.fold > 1:
      frame = F.avg_pool2d(frame, self.fold)
    if self.channels == 4:
      red, green_r, blue, green_b = frame.chunk(4, 1)
      rgb = torch.cat([red, (green_r + green_b) / 2, blue], 1)
      frame = rgb.clamp(min=0) ** (1 / 2.2)
    return frame


def compression(part, features) -> Compression:
  """The twin of a `models.ncfl.Compression`."""
  return Compression(
      features, part.hidden_channels, part.latent_channels,
      part.prior_channels, _UP[part.upsample], part.normalize_latent,
      part.quantize, part.distribution, part.add_mean_back, part.step_minimum,
  )


def restoration(net, inputs) -> UNet:
  """The twin of a `models.unet`, of `inputs` channels."""
  sizes = (
      inputs, net.channels, net.feature_channels, net.widths, net.skip,
      net.reduction,
  )
  if hasattr(net, "frame_channels"):
    return WNet(*sizes, frame_channels=net.frame_channels)
  return UNet(*sizes)


def build(model) -> NCFL:
  """The twin of a `models.ncfl`.

  Raises:
    ValueError: scattering, which only dehazing needs, is not written here.
  """
  if model.scattering:
    raise ValueError("NCFL's twin has no scattering. Take scattering=False.")
  features = model.feature_channels
  observed = model.channels * model.fold**2 + model.noise_map
  motion_refiner = model.motion_refiner
  if hasattr(motion_refiner, "upsample"):
    motion_refiner = MotionRefiner(
        motion_refiner.hidden_channels, _UP[motion_refiner.upsample],
        motion_refiner.normalize_latent, motion_refiner.residual,
    )
  elif motion_refiner is not None:
    motion_refiner = ConvStack(2, motion_refiner.hidden_channels)
  attention, refiner = model.attention, model.feature_refiner
  parts = {
      "motion": spynet.build(model.motion),
      "motion_refiner": motion_refiner,
      "attention": attention and FeatureAttention(
          observed, features, attention.widths, attention.blocks,
          attention.middle_blocks,
      ),
      "compression": model.compression and compression(
          model.compression, features
      ),
      "feature_refiner": refiner and ConvStack(
          features, refiner.hidden_channels
      ),
      "restoration": restoration(model.restoration, observed + features),
  }
  return NCFL(
      parts, features, model.channels, model.residual, model.standardize,
      model.fold,
  )
