"""EDVR (arXiv:1905.02716)."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.torch_layers import (
    Bicubic,
    DeformableConv,
    Reconstruction,
    blocks,
    conv,
    upsample,
)

_LEVELS = (3, 2, 1)  # Of the pyramid, coarsest first.


def _leaky(x):
  return F.leaky_relu(x, 0.1)


class Alignment(nn.Module):
  """PCD: aligns features with a reference's, coarse to fine, and once more."""

  def __init__(self, width, groups, max_offset):
    super().__init__()

    def put(name, inputs):
      self.add_module(name, conv(inputs, width))

    def deformable():
      return DeformableConv(width, width, width, groups, max_offset)

    for level in _LEVELS:
      finer = level < _LEVELS[0]
      put(f"offset_conv1_l{level}", 2 * width)
      put(f"offset_conv2_l{level}", 2 * width if finer else width)
      if finer:
        put(f"offset_conv3_l{level}", width)
        put(f"feat_conv_l{level}", 2 * width)
      self.add_module(f"dcn_l{level}", deformable())
    put("cas_offset_conv1", 2 * width)
    put("cas_offset_conv2", width)
    self.cas_dcn = deformable()

  def forward(self, neighbours, references):
    layer = self.get_submodule
    offset = aligned = None
    for level in _LEVELS:
      neighbour, coarser = neighbours[level - 1], offset
      offset = torch.cat([neighbour, references[level - 1]], 1)
      offset = _leaky(layer(f"offset_conv1_l{level}")(offset))
      if coarser is not None:
        offset = torch.cat([offset, 2 * upsample(coarser)], 1)
      offset = _leaky(layer(f"offset_conv2_l{level}")(offset))
      if coarser is not None:
        offset = _leaky(layer(f"offset_conv3_l{level}")(offset))
      found = layer(f"dcn_l{level}")(neighbour, offset)
      if aligned is not None:
        found = torch.cat([found, upsample(aligned)], 1)
        found = layer(f"feat_conv_l{level}")(found)
      aligned = _leaky(found) if level > 1 else found
    offset = torch.cat([aligned, references[0]], 1)
    offset = _leaky(self.cas_offset_conv1(offset))
    offset = _leaky(self.cas_offset_conv2(offset))
    return _leaky(self.cas_dcn(aligned, offset))


class Fusion(nn.Module):
  """TSA: temporal, then spatial attention over `[B, T, C, H, W]`."""

  def __init__(self, width, frames):
    super().__init__()
    self.temporal_attn1, self.temporal_attn2 = (
        conv(width, width) for _ in range(2)
    )
    self.feat_fusion = conv(frames * width, width, 1)
    self.spatial_attn1 = conv(frames * width, width, 1)
    self.spatial_attn2 = conv(2 * width, width, 1)
    self.spatial_attn_l1 = conv(width, width, 1)
    self.spatial_attn_l2 = conv(2 * width, width)
    self.spatial_attn_l3, self.spatial_attn3 = (
        conv(width, width) for _ in range(2)
    )
    self.spatial_attn4 = conv(width, width, 1)
    self.spatial_attn5 = conv(width, width)
    self.spatial_attn_add1, self.spatial_attn_add2 = (
        conv(width, width, 1) for _ in range(2)
    )

  def forward(self, aligned):
    middle = self.temporal_attn1(aligned[:, aligned.shape[1] // 2])
    each = self.temporal_attn2(aligned.flatten(0, 1)).reshape(aligned.shape)
    likeness = (each * middle[:, None]).sum(2, keepdim=True)
    aligned = (aligned * torch.sigmoid(likeness)).flatten(1, 2)
    x = _leaky(self.feat_fusion(aligned))
    y = _leaky(self.spatial_attn1(aligned))
    y = _leaky(self.spatial_attn2(self._pool(y)))
    coarse = _leaky(self.spatial_attn_l1(y))
    coarse = _leaky(self.spatial_attn_l2(self._pool(coarse)))
    coarse = _leaky(self.spatial_attn_l3(coarse))
    y = _leaky(self.spatial_attn3(y)) + upsample(coarse)
    y = self.spatial_attn5(upsample(_leaky(self.spatial_attn4(y))))
    shift = self.spatial_attn_add2(_leaky(self.spatial_attn_add1(y)))
    return x * (2 * torch.sigmoid(y)) + shift

  def _pool(self, x):
    pools = (F.max_pool2d, F.avg_pool2d)
    return torch.cat([pool(x, 3, stride=2, padding=1) for pool in pools], 1)


class EDVR(nn.Module):
  """Frames `[B, T, C, h, w]` to the middle one, four times as large."""

  def __init__(
      self, frames, width, extraction, reconstruction, groups, tsa, bicubic,
      max_offset, channels,
  ):
    super().__init__()
    self.conv_first = conv(channels, width)
    self.feature_extraction = blocks(width, extraction)
    for level in (2, 3):
      self.add_module(f"conv_l{level}_1", conv(width, width, 3, 2))
      self.add_module(f"conv_l{level}_2", conv(width, width))
    self.pcd_align = Alignment(width, groups, max_offset)
    self.tsa = tsa
    self.fusion = (
        Fusion(width, frames) if tsa else conv(frames * width, width, 1)
    )
    self.reconstruction = blocks(width, reconstruction)
    self.upsampling = Reconstruction(width, channels)
    self.bicubic = Bicubic(4) if bicubic else None

  def forward(self, window, noise=None):
    batch, frames, *size = window.shape
    x = _leaky(self.conv_first(window.reshape(-1, *size)))
    levels = [self.feature_extraction(x)]
    for first, second in (
        (self.conv_l2_1, self.conv_l2_2), (self.conv_l3_1, self.conv_l3_2)
    ):
      levels.append(_leaky(second(_leaky(first(levels[-1])))))
    levels = [x.reshape(batch, frames, *x.shape[1:]) for x in levels]
    references = [x[:, frames // 2] for x in levels]
    aligned = torch.stack([
        self.pcd_align([x[:, t] for x in levels], references)
        for t in range(frames)
    ], 1)
    x = self.fusion(aligned if self.tsa else aligned.flatten(1, 2))
    middle = window[:, frames // 2]
    enlarge = self.bicubic or functools.partial(upsample, factor=4)
    return self.upsampling(self.reconstruction(x), enlarge(middle))


def build(model) -> EDVR:
  """The twin of a `models.edvr`."""
  return EDVR(
      model.frames, model.width, model.extraction_blocks,
      model.reconstruction_blocks, model.deformable_groups, model.tsa,
      model.upsample == "bicubic", model.max_offset, model.channels,
  )
