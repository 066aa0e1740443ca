"""EDVR: video restoration with enhanced deformable convolutions, for x4.

Wang, Chan, Yu, Dong, Loy, CVPRW 2019, arXiv:1905.02716; details where the paper
is silent are those of its release, XPixelGroup/BasicSR. Of 2 r + 1 frames

- each gives a pyramid of features;
- PCD aligns each with the middle one by deformable convolutions, coarse to
  fine, and once more (`Alignment`);
- TSA weighs them by their likeness to the middle one, mixes them and attends
  to places (`Fusion`);
- residual blocks and two sub-pixel convolutions make what the interpolated
  middle frame lacks.

In the terms of space-time distillation (CVPR 2021, DOI
10.1109/CVPR46437.2021.00215) it is the teacher.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import recomputation
from vidrestore_jax.layers.convolution import Conv
from vidrestore_jax.layers.deformable_convolution import (
    DeformableConv,
    OffsetSize,
)
from vidrestore_jax.layers.reconstruction import SCALE, Reconstruction
from vidrestore_jax.layers.resample import bicubic_resize, upsample_bilinear
from vidrestore_jax.layers.residual import ResBlock, residual_init
from vidrestore_jax.shapes import (
    check_choice,
    check_dtype,
    check_multiple,
    check_noise,
    check_window,
)

# The release's two sizes.
PRESETS = {
    "l": dict(width=128, reconstruction_blocks=40),
    "m": dict(width=64, reconstruction_blocks=10),
}
UPSAMPLING = {
    "bilinear": upsample_bilinear,  # The release's.
    "bicubic": bicubic_resize,
}
_LEVELS = 3  # Of the pyramid, each half as large as the one before.

_leaky = functools.partial(nn.leaky_relu, negative_slope=0.1)


class Alignment(nn.Module):
  """PCD: aligns features with a reference's, level by level, coarse to fine.

  Offsets are found from both, from those of the coarser level, enlarged and
  doubled; what they align is joined with the coarser level's. At the end the
  finest level is aligned once more (the cascade).

  Attributes:
    width: channels of all features.
    deformable_groups: of the features, with offsets of their own.
    max_offset: bound of the offsets in pixels, see `DeformableConv`.
    dtype: compute dtype.
  """

  width: int
  deformable_groups: int
  max_offset: float | None = None
  dtype: str = "float32"

  @nn.compact
  def __call__(self, neighbours, references):
    """Aligns a batch of neighbours, each with its reference.

    Args:
      neighbours: the pyramid's levels, `[B, H / 2**l, W / 2**l, C]`, the finest
        first.
      references: the same.

    Returns:
      `[B, H, W, C]` and the largest and the mean `OffsetSize` of the layers.
    """
    conv = functools.partial(Conv, self.width, dtype=self.dtype)
    deformable = functools.partial(
        DeformableConv,
        self.width,
        self.deformable_groups,
        self.max_offset,
        dtype=self.dtype,
    )
    sizes = []
    offset = aligned = None
    for level in reversed(range(_LEVELS)):
      neighbour, name = neighbours[level], f"l{level + 1}"
      coarser = None if offset is None else 2 * upsample_bilinear(offset)
      offset = _join(neighbour, references[level])
      offset = _leaky(conv(name=f"offset_conv1_{name}")(offset))
      offset = _join(offset, coarser)
      offset = _leaky(conv(name=f"offset_conv2_{name}")(offset))
      if coarser is not None:
        offset = _leaky(conv(name=f"offset_conv3_{name}")(offset))
      found, size = deformable(name=f"dcn_{name}")(neighbour, offset)
      if aligned is not None:
        found = _join(found, upsample_bilinear(aligned))
        found = conv(name=f"feat_conv_{name}")(found)
      aligned = _leaky(found) if level > 0 else found
      sizes.append(size)
    offset = _join(aligned, references[0])
    offset = _leaky(conv(name="cas_offset_conv1")(offset))
    offset = _leaky(conv(name="cas_offset_conv2")(offset))
    aligned, size = deformable(name="cas_dcn")(aligned, offset)
    sizes.append(size)
    means, largest = map(jnp.stack, zip(*sizes))
    return _leaky(aligned), OffsetSize(means.mean(0), largest.max(0))


class Fusion(nn.Module):
  """TSA: temporal, then spatial attention over aligned features.

  Attributes:
    width: channels of all features.
    dtype: compute dtype.
  """

  width: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, aligned):
    """Mixes [B, T, H, W, C] to [B, H, W, C]; H and W are multiples of 4."""
    _, length, *size = aligned.shape
    conv = functools.partial(Conv, self.width, dtype=self.dtype)
    middle = conv(name="temporal_attn1")(aligned[:, length // 2])
    each = conv(name="temporal_attn2")(aligned.reshape(-1, *size))
    likeness = each.reshape(aligned.shape) * middle[:, None]
    # In float32, as its gradient is a sum over channels.
    weight = nn.sigmoid(likeness.sum(-1, keepdims=True, dtype=jnp.float32))
    aligned = (aligned * weight).astype(aligned.dtype)
    aligned = _frames_to_channels(aligned)
    x = _leaky(conv(1, name="feat_fusion")(aligned))

    y = _leaky(conv(1, name="spatial_attn1")(aligned))
    y = _leaky(conv(1, name="spatial_attn2")(_pool(y)))
    coarse = _leaky(conv(1, name="spatial_attn_l1")(y))
    coarse = _leaky(conv(name="spatial_attn_l2")(_pool(coarse)))
    coarse = _leaky(conv(name="spatial_attn_l3")(coarse))
    y = _leaky(conv(name="spatial_attn3")(y)) + upsample_bilinear(coarse)
    y = upsample_bilinear(_leaky(conv(1, name="spatial_attn4")(y)))
    y = conv(name="spatial_attn5")(y)
    shift = _leaky(conv(1, name="spatial_attn_add1")(y))
    shift = conv(1, name="spatial_attn_add2")(shift)
    return x * (2 * nn.sigmoid(y)) + shift  # Twice: about one at the start.


class EDVR(nn.Module):
  """The windowed restorer, x4.

  Attributes:
    frames: of a window, odd.
    width: channels of the features.
    extraction_blocks: residual blocks on each frame.
    reconstruction_blocks: residual blocks on the mixed features.
    deformable_groups: of the features, each aligned by offsets of its own.
    tsa: whether attention weighs the frames, or a 1x1 convolution mixes them.
    upsample: of the middle frame, one of UPSAMPLING.
    max_offset: bound of the offsets in pixels, None for none.
    channels: of a frame.
    dtype: compute dtype; offsets are float32.
    remat: see `layers.recomputation`; a step is the pyramid, the alignment, the
      fusion, the blocks behind it or the enlargement, a block a residual one.
  """

  frames: int = 7
  width: int = 128
  extraction_blocks: int = 5
  reconstruction_blocks: int = 40
  deformable_groups: int = 8
  tsa: bool = True
  upsample: str = "bilinear"
  max_offset: float | None = None
  channels: int = 3
  dtype: str = "float32"
  remat: str = "none"

  restores = True
  recurrent = False
  scale = SCALE
  stride = 2 ** (_LEVELS - 1)
  halo = None  # Offsets may point anywhere.
  noise_map = False

  @property
  def radius(self) -> int:
    """Frames to each side of the middle one."""
    return self.frames // 2

  @nn.compact
  def __call__(self, window, noise=None, *, train: bool = False):
    """Restores the middle frame of a window, four times as large.

    Args:
      window: `[B, frames, h, w, C]` around [0, 1], h and w multiples of 4.
      noise: None.
      train: changes nothing.

    Returns:
      `Restored` with `frames` `[B, 4 h, 4 w, C]`, `aux["hr_features"]`
      `[B, 4 h, 4 w, 64]`, and `aux["offset_mean"]` and `aux["offset_max"]`
      `[B]`, how far the deformable convolutions reach, in pixels.

    Raises:
      ValueError: the window or the noise does not suit the model.
    """
    del train
    check_window("EDVR", window, self.frames, self.channels)
    check_multiple("EDVR", *window.shape[2:4], self.stride)
    check_noise("EDVR", noise, False, ())
    stage = functools.partial(
        recomputation.run, recompute=self.remat == "step"
    )
    frames = window.reshape(-1, *window.shape[2:])
    pyramid = stage(self, frames, method="_pyramid")

    def references(level):
      """The middle frame's features, once for each frame."""
      level = level.reshape(-1, self.frames, *level.shape[1:])
      middle = level[:, self.radius][:, None]
      return jnp.broadcast_to(middle, level.shape).reshape(-1, *level.shape[2:])

    align = Alignment(
        self.width,
        self.deformable_groups,
        self.max_offset,
        self.dtype,
        name="pcd_align",
    )
    aligned, size = stage(align, pyramid, list(map(references, pyramid)))
    aligned = aligned.reshape(-1, self.frames, *aligned.shape[1:])
    if self.tsa:
      x = stage(Fusion(self.width, self.dtype, name="fusion"), aligned)
    else:
      mix = Conv(self.width, 1, dtype=self.dtype, name="fusion")
      x = mix(_frames_to_channels(aligned))
    x = stage(self, x, method="_reconstruct")
    middle = window[:, self.radius].astype(jnp.float32)
    enlarge = Reconstruction(self.width, self.dtype, name="upsampling")
    base = UPSAMPLING[self.upsample](middle, self.scale)
    restored = stage(enlarge, x, base)
    mean, largest = (part.reshape(-1, self.frames) for part in size)
    reach = {
        "offset_mean": mean.mean(1),
        "offset_max": largest.max(1),
    }
    return restored._replace(aux=restored.aux | reach)

  def _pyramid(self, frames):
    """The features of frames [N, h, w, C], the finest level first."""
    conv = functools.partial(Conv, self.width, dtype=self.dtype)
    x = _leaky(conv(name="conv_first")(frames.astype(self.dtype)))
    levels = [self._blocks("feature_extraction", self.extraction_blocks, x)]
    for i in range(2, _LEVELS + 1):
      x = _leaky(conv(stride=2, name=f"conv_l{i}_1")(levels[-1]))
      levels.append(_leaky(conv(name=f"conv_l{i}_2")(x)))
    return levels

  def _reconstruct(self, x):
    return self._blocks("reconstruction", self.reconstruction_blocks, x)

  def _blocks(self, name, count, x):
    for i in range(count):
      block = ResBlock(self.dtype, residual_init, name=f"{name}_{i}")
      x = recomputation.run(block, x, recompute=self.remat == "block")
    return x


def _join(*parts):
  """What there is of the parts, channel beside channel."""
  return jnp.concatenate([part for part in parts if part is not None], -1)


def _frames_to_channels(x):
  """[B, T, H, W, C] to [B, H, W, T * C]."""
  return jnp.concatenate(jnp.unstack(x, axis=1), -1)


def _pool(x):
  """The largest and the mean of 3x3 pixels, [B, H / 2, W / 2, 2 C].

  As released: the mean counts the zeros around the features.
  """
  sizes = dict(window_shape=(3, 3), strides=(2, 2))
  margin = ((1, 1), (1, 1))
  # Both padded by the pool itself, XLA (jax 0.10 to 0.12) would, of an x that
  # is split by rows, take the mean over the other's margin of -infinity.
  framed = jnp.pad(x, ((0, 0), *margin, (0, 0)))
  return _join(
      nn.max_pool(x, padding=margin, **sizes), nn.avg_pool(framed, **sizes)
  )


def build(
    preset: str = "l",
    *,
    frames: int = 7,
    width: int | None = None,
    extraction_blocks: int = 5,
    reconstruction_blocks: int | None = None,
    deformable_groups: int = 8,
    tsa: bool = True,
    upsample: str = "bilinear",
    max_offset: float | None = None,
    channels: int = 3,
    remat: str = "none",
    dtype: str = "float32",
) -> EDVR:
  """An EDVR; the defaults are the release's for Vimeo-90K.

  Args:
    preset: "l" or "m", the release's sizes.
    frames: of a window, odd; the release has 7 for Vimeo-90K, 5 for REDS.
    width: channels of the features; None is the preset's.
    extraction_blocks: residual blocks on each frame.
    reconstruction_blocks: residual blocks on the mixed features; None is the
      preset's.
    deformable_groups: of the features, each aligned by offsets of its own.
    tsa: whether attention weighs the frames, or a 1x1 convolution mixes them.
    upsample: of the middle frame: "bilinear" as in the release, or "bicubic" as
      in the students of space-time distillation.
    max_offset: bound of the offsets in pixels, softly approached, for training
      that diverges otherwise; None as in the release.
    channels: of a frame.
    remat: see `layers.recomputation`.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: a name or a dtype that does not exist, an even number of frames,
      a width that does not split into the groups, or a bound of zero.
  """
  check_choice("EDVR's preset", preset, PRESETS)
  check_choice("EDVR's upsample", upsample, UPSAMPLING)
  check_dtype("EDVR", dtype)
  recomputation.check_policy("EDVR", remat)
  sizes = dict(PRESETS[preset])
  if width is not None:
    sizes["width"] = width
  if reconstruction_blocks is not None:
    sizes["reconstruction_blocks"] = reconstruction_blocks
  if frames < 1 or frames % 2 == 0:
    raise ValueError(
        "EDVR restores the middle of an odd number of frames, but got"
        f" frames={frames}."
    )
  if sizes["width"] % deformable_groups:
    raise ValueError(
        f"EDVR's width is a multiple of its deformable groups, but got"
        f" {sizes['width']} and {deformable_groups}."
    )
  if max_offset is not None and max_offset <= 0:
    raise ValueError(
        f"EDVR's max_offset is above 0 pixels, or None, but got {max_offset}."
    )
  return EDVR(
      frames=frames,
      **sizes,
      extraction_blocks=extraction_blocks,
      deformable_groups=deformable_groups,
      tsa=tsa,
      upsample=upsample,
      max_offset=max_offset,
      channels=channels,
      dtype=dtype,
      remat=remat,
  )
