"""BasicVSR: propagation in both directions, alignment by flow, for x4.

Chan, Wang, Yu, Dong, Loy, CVPR 2021, arXiv:2012.02181; details where the paper
is silent are those of its release, XPixelGroup/BasicSR. With the flow s from a
frame to its neighbour, features are handed backwards, then forwards,

  h_b(t) = F_b(x(t), warp(h_b(t + 1), s)),   h_f(t) likewise from t - 1,

and two sub-pixel convolutions make of both what the interpolated frame lacks.
The online variant has h_f alone and so needs no frame to come.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import recomputation
from vidrestore_jax.layers.convolution import Conv
from vidrestore_jax.layers.recomputation import scan_time
from vidrestore_jax.layers.reconstruction import SCALE, Reconstruction
from vidrestore_jax.layers.resample import upsample_bilinear
from vidrestore_jax.layers.residual import ResTrunk
from vidrestore_jax.layers.warp import backward_warp
from vidrestore_jax.models import spynet
from vidrestore_jax.shapes import (
    check_channels,
    check_dtype,
    check_noise,
    check_rank,
)

_leaky = functools.partial(nn.leaky_relu, negative_slope=0.1)
_warp = functools.partial(backward_warp, padding="zeros")


class OnlineBasicVSR(nn.Module):
  """The recurrent restorer: features are handed forwards alone.

  Attributes:
    motion: a SpyNet.
    width: channels of the features.
    blocks: residual blocks of a step.
    unroll: clips up to this length are unrolled rather than scanned over, which
      trains somewhat faster on a CPU.
    dtype: compute dtype; flow is float32.
    remat: see `layers.recomputation`; "block" is each residual one.
  """

  motion: nn.Module
  width: int = 64
  blocks: int = 30
  unroll: int = 8
  dtype: str = "float32"
  remat: str = "none"

  restores = True
  recurrent = True
  radius = None
  scale = SCALE
  stride = 1  # Flow is found at a size that suits it.
  halo = None  # Flow may point anywhere.
  channels = 3
  noise_map = False

  def setup(self):
    self.forward_trunk = self._trunk()
    self.fusion = Conv(self.width, 1, dtype=self.dtype)
    self.reconstruction = Reconstruction(self.width, self.dtype)

  def __call__(self, clip, noise=None, *, train: bool = False):
    """Restores a clip, four times as large.

    Args:
      clip: `[B, T, h, w, 3]` around [0, 1].
      noise: None.
      train: changes nothing.

    Returns:
      `Restored` with `frames` `[B, T, 4 h, 4 w, 3]` and `aux["hr_features"]`
      `[B, T, 4 h, 4 w, 64]`.

    Raises:
      ValueError: another shape, or a noise map.
    """
    del train
    check_rank("clip", clip, "BTHWC")
    check_noise(type(self).__name__, noise, False, ())

    def body(model, state, frame):
      return model.step(state, frame, None)

    return scan_time(self, body, self.init_state(clip[:, 0]), clip)[1]

  def _trunk(self):
    return ResTrunk(self.width, self.blocks, self.dtype, self.remat)

  def init_state(self, frame):
    """The state before `frame` `[B, h, w, 3]`, the first one of a clip."""
    feature = jnp.zeros((*frame.shape[:3], self.width), self.dtype)
    return {"frame": frame, "feature": feature}

  def step(self, state, frame, noise):
    """Restores the next frame.

    Args:
      state: of the frame before, or `init_state(frame)`.
      frame: `[B, h, w, 3]`.
      noise: None.

    Returns:
      The pair (state, Restored without a time axis).
    """
    check_rank("frame", frame, "BHWC")
    check_channels("frame", frame, self.channels)
    check_noise(type(self).__name__, noise, False, ())
    flow = self.motion.of_any_size(frame, state["frame"])
    feature = self._propagate("forward", state["feature"], frame, flow)
    restored = self._reconstruct(frame, feature)
    return {"frame": frame, "feature": feature}, restored

  def _propagate(self, direction, feature, frame, flow):
    """The feature of a frame from the neighbour's, along the flow to it."""
    trunk = getattr(self, f"{direction}_trunk")
    x = jnp.concatenate([frame.astype(self.dtype), _warp(feature, flow)], -1)
    return trunk(x)

  def _reconstruct(self, frame, *features):
    x = _leaky(self.fusion(jnp.concatenate(features, -1)))
    enlarged = upsample_bilinear(frame.astype(jnp.float32), SCALE)
    return self.reconstruction(x, enlarged)


class BasicVSR(OnlineBasicVSR):
  """The bidirectional restorer; for the attributes see the online one."""

  recurrent = False
  bidirectional = True
  fillable = True

  def setup(self):
    super().setup()
    self.backward_trunk = self._trunk()

  def __call__(self, clip, noise=None, *, length=None, train: bool = False):
    """Restores a clip, four times as large; see the online one.

    `length`, an integer that may be traced, is how many frames are its own:
    those after it only fill up, and what becomes of them means nothing.
    """
    del train
    check_rank("clip", clip, "BTHWC")
    check_channels("clip", clip, self.channels)
    check_noise("BasicVSR", noise, False, ())
    features = self.features(clip, *self.flows(clip), length)
    return self.reconstruct(clip, *features)

  def reconstruct(self, clip, backward, forward):
    """`Restored` of a clip from its `features`."""

    def body(model, nothing, inputs):
      return nothing, model._reconstruct(*inputs)

    return scan_time(self, body, (), (clip, backward, forward))[1]

  def features(self, clip, to_next, to_last, length=None):
    """What is handed backwards and forwards, `[B, T, h, w, width]` each.

    Args:
      clip, length: as in the call.
      to_next, to_last: its `flows`.
    """
    # The frames at the ends have no neighbour: its feature is zero.
    to_next = jnp.pad(to_next, ((0, 0), (0, 1), *[(0, 0)] * 3))
    to_last = jnp.pad(to_last, ((0, 0), (1, 0), *[(0, 0)] * 3))
    nothing = self.init_state(clip[:, 0])["feature"]
    index = jnp.arange(clip.shape[1])
    own = index >= 0 if length is None else index < length
    own = jnp.broadcast_to(own[:, None, None, None], (*clip.shape[:2], 1, 1, 1))

    def body(direction):
      def step(model, feature, inputs):
        own, *inputs = inputs
        feature = model._propagate(direction, feature, *inputs)
        if length is not None:  # Then nothing comes back from what fills up.
          feature = jnp.where(own, feature, 0)
        return feature, feature

      return step

    backward, forward = body("backward"), body("forward")
    _, backward = scan_time(
        self, backward, nothing, (own, clip, to_next), reverse=True
    )
    _, forward = scan_time(self, forward, nothing, (own, clip, to_last))
    return backward, forward

  def flows(self, clip):
    """See `neighbour_flows`."""
    return recomputation.run(
        self, clip, recompute=self.remat == "step", method="_flows"
    )

  def _flows(self, clip):
    return neighbour_flows(self.motion, clip)


def neighbour_flows(motion, clip):
  """Of each frame to the next, and of each to the one before it.

  Args:
    motion: a SpyNet.
    clip: `[B, T, h, w, 3]`.

  Returns:
    The pair, `[B, T - 1, h, w, 2]` each: item t is of frame t to t + 1, and of
    frame t + 1 to t.
  """
  pairs = clip[:, :-1], clip[:, 1:]
  shape = (*pairs[0].shape[:-1], 2)
  earlier, later = (x.reshape(-1, *x.shape[2:]) for x in pairs)
  return (
      motion.of_any_size(earlier, later).reshape(shape),
      motion.of_any_size(later, earlier).reshape(shape),
  )


def build(
    *,
    width: int = 64,
    blocks: int = 30,
    online: bool = False,
    motion: dict | None = None,
    unroll: int = 8,
    remat: str = "none",
    dtype: str = "float32",
) -> OnlineBasicVSR:
  """A BasicVSR; the defaults are the release's.

  Args:
    width: channels of the features.
    blocks: residual blocks of each direction's step.
    online: features are handed forwards alone: a recurrent model.
    motion: arguments of `models.spynet.build` other than the release's, which
      are those of SpyNet's published weights.
    unroll: longest clip that is unrolled instead of scanned over.
    remat: see `layers.recomputation`.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: a dtype or policy that does not exist, or what SpyNet refuses.
  """
  check_dtype("BasicVSR", dtype)
  recomputation.check_policy("BasicVSR", remat)
  published = dict(
      align_corners=True,
      normalize=True,
      remat=recomputation.of_parts(remat),
      dtype=dtype,
  )
  kind = OnlineBasicVSR if online else BasicVSR
  return kind(
      spynet.build(**published | (motion or {})),
      width,
      blocks,
      unroll,
      dtype,
      remat,
  )
