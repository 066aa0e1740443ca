"""BasicVSR++: second-order propagation in a grid, alignment guided by flow.

Chan, Zhou, Xu, Loy, CVPR 2022, arXiv:2104.13371; details where the paper is
silent are those of its release, XPixelGroup/BasicSR. Features are handed
backwards, forwards, and once more each way. At each frame the features g of the
two frames before it, in the order of the pass, are aligned by one deformable
convolution whose offsets are flow and what is found beside,

  h = A(g(1), g(2); offsets (s1, s2) + 10 tanh(c(warp(g(1), s1), x, ...))),
  g = h + R(x, what earlier passes made of the frame, h),

where s1 is the flow to the frame before and s2 = s1 + warp(s1 of that frame)
the one to the frame before that. At the end of a clip that has none, h is zero.

Frames of the output's size, for denoising and deblurring, are made smaller
first and enlarged at the end like others ("low_resolution" False).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidrestore_jax.layers import recomputation
from vidrestore_jax.layers.convolution import Conv
from vidrestore_jax.layers.deformable_convolution import DeformableConv
from vidrestore_jax.layers.recomputation import scan_time
from vidrestore_jax.layers.reconstruction import SCALE, Reconstruction
from vidrestore_jax.layers.resample import upsample_bilinear
from vidrestore_jax.layers.residual import ResTrunk
from vidrestore_jax.layers.warp import backward_warp
from vidrestore_jax.models import spynet
from vidrestore_jax.models.basicvsr import neighbour_flows
from vidrestore_jax.shapes import (
    check_channels,
    check_dtype,
    check_multiple,
    check_noise,
    check_rank,
)

PASSES = ("backward_1", "forward_1", "backward_2", "forward_2")
_GROUPS = 16  # Deformable ones, half of them of each of two features.
_ENDS = 5  # Residual blocks in front of the passes and behind.

_leaky = functools.partial(nn.leaky_relu, negative_slope=0.1)
_warp = functools.partial(backward_warp, padding="zeros")


class SecondOrderAlignment(nn.Module):
  """Aligns the features of two frames with a third frame, as one.

  Attributes:
    width: channels of each feature.
    max_offset: of what is found beside the flow, in pixels.
    dtype: compute dtype; flow and offsets are float32.
  """

  width: int
  max_offset: float
  dtype: str = "float32"

  @nn.compact
  def __call__(self, current, features, flows):
    """`[B, h, w, width]` and the `OffsetSize` of what is found.

    Args:
      current: the third frame's features, `[B, h, w, width]`.
      features: the pair of features.
      flows: from the third frame to either, `[B, h, w, 2]` in pixels.
    """
    first, second = map(_warp, features, flows)
    condition = (first, current, second, *flows)
    x = jnp.concatenate([part.astype(self.dtype) for part in condition], -1)
    for i in range(3):
      x = _leaky(Conv(self.width, dtype=self.dtype, name=f"offset_{i}")(x))
    deformable = DeformableConv(
        self.width,
        _GROUPS,
        self.max_offset,
        # As released: 10 tanh(x), not 10 tanh(x / 10).
        offset_unit=self.max_offset,
        dtype=self.dtype,
        name="dcn",
    )
    return deformable(jnp.concatenate(features, -1), x, flows)


class BasicVSRPlusPlus(nn.Module):
  """The bidirectional restorer.

  Attributes:
    motion: a SpyNet.
    width: channels of the features.
    blocks: residual blocks of a step of each pass.
    low_resolution: whether it enlarges frames x4; False restores them at their
      own size.
    max_offset: of what is found beside the flow, in pixels.
    unroll: clips up to this length are unrolled rather than scanned over; see
      `build`.
    dtype: compute dtype; flow and offsets are float32.
    remat: see `layers.recomputation`; "block" is each residual one and each
      alignment.
  """

  motion: nn.Module
  width: int = 64
  blocks: int = 7
  low_resolution: bool = True
  max_offset: float = 10.0
  unroll: int = 8
  dtype: str = "float32"
  remat: str = "none"

  restores = True
  recurrent = False
  bidirectional = True
  fillable = True
  radius = None
  halo = None  # Flow may point anywhere.
  channels = 3
  noise_map = False

  @property
  def scale(self) -> int:
    """Of the output."""
    return SCALE if self.low_resolution else 1

  @property
  def stride(self) -> int:
    """Height and width must be multiples of this."""
    return 1 if self.low_resolution else SCALE

  def setup(self):
    conv = functools.partial(Conv, self.width, stride=2, dtype=self.dtype)
    trunk = functools.partial(
        ResTrunk, self.width, dtype=self.dtype, remat=self.remat
    )
    self.shrink = [] if self.low_resolution else [conv() for _ in range(2)]
    self.extraction = trunk(_ENDS)
    self.align = {
        name: SecondOrderAlignment(self.width, self.max_offset, self.dtype)
        for name in PASSES
    }
    self.backbone = {name: trunk(self.blocks) for name in PASSES}
    self.fusion = trunk(_ENDS)
    self.reconstruction = Reconstruction(self.width, self.dtype)

  def __call__(self, clip, noise=None, *, length=None, train: bool = False):
    """Restores a clip.

    Args:
      clip: `[B, T, h, w, 3]` around [0, 1]; h and w multiples of 4 unless it is
        enlarged.
      noise: None.
      length: how many frames are the clip's own, an integer that may be traced;
        those after it only fill up, and what becomes of them means nothing.
        None: all of them.
      train: changes nothing.

    Returns:
      `Restored` with `frames` `[B, T, H, W, 3]`, H and W `scale` times h and w;
      `aux["hr_features"]` `[B, T, H, W, 64]`; and `aux["offset_mean"]` and
      `aux["offset_max"]` `[B]`, in pixels, of what is found beside the flow.

    Raises:
      ValueError: another shape, or a noise map.
    """
    del train
    check_rank("clip", clip, "BTHWC")
    check_channels("clip", clip, self.channels)
    check_multiple("BasicVSR++", *clip.shape[2:4], self.stride)
    check_noise("BasicVSR++", noise, False, ())
    features, reach = self.features(clip, *self.flows(clip), length)
    restored = self.reconstruct(clip, features)
    return restored._replace(aux=restored.aux | reach)

  def flows(self, clip):
    """See `basicvsr.neighbour_flows`; of the smaller frames."""
    if not self.low_resolution:
      clip = bicubic_quarter(clip)
    return recomputation.run(
        self, clip, recompute=self.remat == "step", method="_flows"
    )

  def _flows(self, clip):
    return neighbour_flows(self.motion, clip)

  def features(self, clip, to_next, to_last, length=None):
    """The features of every frame, and how far the alignment reaches.

    Args:
      clip: `[B, T, h, w, 3]`.
      to_next: of `flows`.
      to_last: likewise.
      length: as in the call.

    Returns:
      The pair of features by name, `[B, T, h, w, width]` each: "spatial", of
      the frame alone, and those of each of PASSES; and of the call's `aux`.
    """
    def extract(model, nothing, frame):
      x = frame.astype(model.dtype)
      for conv in model.shrink:
        x = _leaky(conv(x))
      return nothing, model.extraction(x)

    found = {"spatial": scan_time(self, extract, (), clip)[1]}
    sizes = []
    for name in PASSES:
      backward = name.startswith("backward")
      inputs = [*found.values(), to_next if backward else to_last]
      if backward:  # From here on in the order of the pass.
        inputs = [jnp.flip(array, 1) for array in inputs]
      feature, size = self._propagate(name, length, *inputs)
      found[name] = jnp.flip(feature, 1) if backward else feature
      sizes.append(size)
    means, largest = map(jnp.stack, zip(*sizes))  # [passes, B, T] each.
    if length is None:
      length = clip.shape[1]
    aligned = len(PASSES) * jnp.maximum(length - 1, 1)
    reach = {
        "offset_mean": means.sum((0, 2)) / aligned,
        "offset_max": largest.max((0, 2)),
    }
    return found, reach

  def reconstruct(self, clip, features):
    """`Restored` from the clip and its features."""
    def body(model, nothing, inputs):
      base, *parts = inputs
      if model.low_resolution:
        base = upsample_bilinear(base.astype(jnp.float32), SCALE)
      x = model.fusion(jnp.concatenate(parts, -1))
      return nothing, model.reconstruction(x, base)

    return scan_time(self, body, (), (clip, *features.values()))[1]

  def _propagate(self, name, length, *inputs):
    """One pass over features `[B, T, ...]` and flows `[B, T - 1, ...]`."""
    *features, flow = inputs
    shape = features[0].shape
    index, filled = jnp.arange(shape[1]), length is not None
    if not filled:
      length = shape[1]
    elif name.startswith("backward"):
      index -= shape[1] - length  # The pass begins with what fills up.
    index = jnp.broadcast_to(index, shape[:2])
    flow_1, flow_2 = second_order(flow)
    if filled:
      flow_2 = jnp.where(_over(index, flow_2) < 2, 0, flow_2)

    def body(model, state, inputs):
      index, flow_1, flow_2, current, *earlier = inputs
      found = recomputation.run(
          model.align[name],
          current,
          state,
          (flow_1, flow_2),
          recompute=model.remat == "block",
      )
      own = (index >= 0) & (index < length)
      # Of nothing it would make its bias.
      aligned, size = jax.tree.map(
          lambda x: jnp.where(_over(own & (index > 0), x), x, 0), found
      )
      x = jnp.concatenate([current, *earlier, aligned], -1)
      feature = aligned + model.backbone[name](x)
      if filled:
        feature = jnp.where(_over(own, feature), feature, 0)
      return (feature, state[0]), (feature, size)

    nothing = jnp.zeros_like(features[0][:, 0])
    inputs = (index, flow_1, flow_2, *features)
    return scan_time(self, body, (nothing, nothing), inputs)[1]


def _over(x, array):
  """`x` with as many axes as the array, to go with it."""
  return x.reshape(*x.shape, *[1] * (array.ndim - x.ndim))


def second_order(flow):
  """Flows to the frame before and to the one before that.

  Args:
    flow: `[B, T - 1, h, w, 2]` of each frame but the first to the one before,
      in the order of a pass.

  Returns:
    The pair, `[B, T, h, w, 2]` each, zero where there is no such frame.
  """
  before, after = flow[:, :-1], flow[:, 1:]
  warped = _warp(*(x.reshape(-1, *x.shape[2:]) for x in (before, after)))
  further = after + warped.reshape(after.shape)
  frames = flow.shape[1] + 1
  return tuple(
      jnp.pad(x, ((0, 0), (missing, 0), *[(0, 0)] * 3))[:, :frames]
      for missing, x in ((1, flow), (2, further))
  )


def bicubic_quarter(frames):
  """[..., H, W, C] to [..., H / 4, W / 4, C], as PyTorch's interpolate.

  Keys' kernel with a = -0.75 and, unlike MATLAB's, not stretched: a pixel is
  made of the four by four that it covers, weighted (-3, 19, 19, -3) / 32.
  """
  for axis in (frames.ndim - 3, frames.ndim - 2):
    parts = [
        frames[(slice(None),) * axis + (slice(i, None, SCALE),)]
        for i in range(SCALE)
    ]
    outer, inner = parts[0] + parts[3], parts[1] + parts[2]
    frames = (19 * inner - 3 * outer) / 32
  return frames


def build(
    *,
    width: int = 64,
    blocks: int = 7,
    low_resolution: bool = True,
    max_offset: float = 10.0,
    motion: dict | None = None,
    unroll: int = 8,
    remat: str = "none",
    dtype: str = "float32",
) -> BasicVSRPlusPlus:
  """A BasicVSR++; the defaults are the release's for super-resolution.

  Args:
    width: channels of the features, a multiple of 8.
    blocks: residual blocks of each pass' step; 15 in the release for denoising.
    low_resolution: whether it enlarges frames x4; False restores them at their
      own size.
    max_offset: of what is found beside the flow, in pixels.
    motion: arguments of `models.spynet.build` other than the release's, which
      are those of SpyNet's published weights.
    unroll: longest clip that is unrolled instead of scanned over, which trains
      somewhat faster on a CPU; but a scan compiles in half the time, and that
      time does not grow with the clip.
    remat: see `layers.recomputation`.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: a dtype or policy that does not exist, a width that does not
      split into the groups, a bound of zero, or what SpyNet refuses.
  """
  check_dtype("BasicVSR++", dtype)
  recomputation.check_policy("BasicVSR++", remat)
  if 2 * width % _GROUPS:
    raise ValueError(
        f"BasicVSR++ aligns two features in {_GROUPS} groups, so its width is a"
        f" multiple of {_GROUPS // 2}, but got {width}."
    )
  if max_offset <= 0:
    raise ValueError(
        f"BasicVSR++'s max_offset is above 0 pixels, but got {max_offset}."
    )
  published = dict(
      align_corners=True,
      normalize=True,
      remat=recomputation.of_parts(remat),
      dtype=dtype,
  )
  return BasicVSRPlusPlus(
      spynet.build(**published | (motion or {})),
      width,
      blocks,
      low_resolution,
      max_offset,
      unroll,
      dtype,
      remat,
  )
