"""SpyNet: optical flow by a spatial pyramid (Ranjan and Black, 1611.00850).

The motion estimator of NCFL, BasicVSR and EDVR's relatives.
Level 0 is the coarsest. Each level warps the reference by the flow found so
far, and a small network predicts what is missing.
"""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import recomputation
from vidrestore_jax.layers.convolution import Conv
from vidrestore_jax.layers.resample import (
    average_pool,
    resize_bilinear,
    upsample_bilinear,
)
from vidrestore_jax.layers.warp import backward_warp
from vidrestore_jax.shapes import (
    check_channels,
    check_dtype,
    check_multiple,
    check_rank,
)

# Statistics of ImageNet in RGB, [0, 1] units (torchvision's).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FlowLevel(nn.Module):
  """Five convolutions with ReLU between: [B, h, w, 8] to [B, h, w, 2]."""

  widths: tuple[int, ...] = (32, 64, 32, 16)
  kernel: int = 7
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    for i, width in enumerate(self.widths):
      conv = Conv(
          width,
          self.kernel,
          dtype=self.dtype,
          # The signal must survive the ReLUs: with the default, a sixth of
          # the variance per layer, training stays at zero flow for long.
          kernel_init=nn.initializers.he_normal(),
          name=f"conv_{i}",
      )
      x = nn.relu(conv(x))
    last = f"conv_{len(self.widths)}"
    # Flow accumulates over the levels in float32: at bfloat16 a displacement
    # of 40 pixels would be known to a quarter of a pixel only.
    return Conv(2, self.kernel, dtype=self.dtype, name=last)(x).astype(
        jnp.float32
    )


class SpyNet(nn.Module):
  """Flow between two RGB frames.

  Attributes:
    levels: pyramid levels; the published weights have 6, DCVC uses 4.
    align_corners: how the flow is up-sampled between the levels. False for
      DCVC's weights and for ours, True for the published ones.
    normalize: subtract ImageNet's mean and divide by its deviation first, as
      the published weights expect.
    widths: channels of each level's hidden layers.
    kernel: width of each level's square kernels.
    dtype: compute dtype; the flow itself is float32.
    remat: see `layers.recomputation`; "none", or "block" for each level.
  """

  levels: int = 6
  align_corners: bool = False
  normalize: bool = False
  widths: tuple[int, ...] = (32, 64, 32, 16)
  kernel: int = 7
  dtype: str = "float32"
  remat: str = "none"

  restores = False  # Not a restoration model: it returns flow.
  recurrent = False

  @property
  def stride(self) -> int:
    """Height and width must be multiples of this."""
    return 2 ** (self.levels - 1)

  def setup(self):
    self.level = [
        FlowLevel(self.widths, self.kernel, self.dtype)
        for _ in range(self.levels)
    ]

  def __call__(self, current, reference):
    """The flow that points from `current` into `reference`.

    Args:
      current: `[B, H, W, 3]` in [0, 1].
      reference: the same.

    Returns:
      `[B, H, W, 2]` in pixels, (dx, dy): warping the reference by it gives the
      current frame.
    """
    return self.pyramid(current, reference)[-1]

  def of_any_size(self, current, reference):
    """The flow of frames whose sides need not be multiples of the stride.

    They are enlarged to the next multiple, bilinearly, and the flow comes back
    to their size and pixels, as in BasicVSR's release.

    Args:
      current: as in the call.
      reference: as in the call.

    Returns:
      As the call.
    """
    height, width = current.shape[1:3]
    size = [-(-side // self.stride) * self.stride for side in (height, width)]
    frames = (resize_bilinear(frame, size) for frame in (current, reference))
    flow = resize_bilinear(self(*frames), (height, width))
    return flow * jnp.array([width / size[1], height / size[0]])

  def pyramid(self, current, reference):
    """The flow of every level, coarsest first, each in its own pixels."""
    for name, frame in (("current", current), ("reference", reference)):
      check_rank(name, frame, "BHWC")
      check_channels(name, frame, 3)
    check_multiple("SpyNet", *current.shape[1:3], self.stride)
    currents, references = self._pool(current), self._pool(reference)
    batch, height, width, _ = currents[0].shape
    flow = jnp.zeros((batch, height, width, 2), jnp.float32)
    flows = []
    for level in range(self.levels):
      if level > 0:
        flow = 2 * upsample_bilinear(flow, align_corners=self.align_corners)
      warped = backward_warp(references[level], flow)
      features = (currents[level], warped, flow.astype(warped.dtype))
      flow = flow + recomputation.run(
          self.level[level],
          jnp.concatenate(features, -1),
          recompute=self.remat == "block",
      )
      flows.append(flow)
    return flows

  def _pool(self, frame):
    """Frames from the coarsest level to the finest."""
    if self.normalize:
      frame = (frame - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_STD)
    frames = [frame.astype(self.dtype)]
    for _ in range(self.levels - 1):
      frames.append(average_pool(frames[-1]))
    return frames[::-1]


def build(
    levels: int = 6,
    align_corners: bool = False,
    normalize: bool = False,
    widths: tuple[int, ...] = (32, 64, 32, 16),
    kernel: int = 7,
    dtype: str = "float32",
    remat: str = "none",
) -> SpyNet:
  """SpyNet; see the class for the arguments.

  Raises:
    ValueError: fewer than one level, an even kernel, or an unknown dtype or
      policy.
  """
  check_dtype("SpyNet", dtype)
  recomputation.check_policy("SpyNet", remat, ("none", "block"))
  if levels < 1:
    raise ValueError(f"SpyNet needs one level or more, but got {levels}.")
  if kernel % 2 == 0:
    raise ValueError(f"SpyNet needs an odd kernel, but got {kernel}.")
  return SpyNet(
      levels, align_corners, normalize, tuple(widths), kernel, dtype, remat
  )
