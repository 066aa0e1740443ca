"""TOFlow: video enhancement with task-oriented flow.

Xue, Chen, Wu, Wei, Freeman, IJCV 2019, arXiv:1711.09078; details where the
paper is silent are those of the PyTorch releases, XPixelGroup/BasicSR and
open-mmlab/mmagic. A SpyNet of four levels, batch-normalised, finds the flow
from the middle of seven frames to each other one; the others are warped onto
it, and four convolutions find what it lacks. Flow is learned with the task and
need not be true motion. For super-resolution the frames are enlarged first;
with a scale of 1 it denoises, or restores frames that are enlarged already.
"""

import functools
import math

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import whole_batch
from vidrestore_jax.layers.convolution import (
    Conv,
    kaiming_normal,
    small_normal,
)
from vidrestore_jax.layers.resample import (
    average_pool,
    bicubic_resize,
    upsample_bilinear,
)
from vidrestore_jax.layers.warp import backward_warp
from vidrestore_jax.models.spynet import IMAGENET_MEAN, IMAGENET_STD
from vidrestore_jax.shapes import (
    Restored,
    check_dtype,
    check_multiple,
    check_noise,
    check_window,
)

FRAMES = 7
_MIDDLE = FRAMES // 2
LEVELS = 4  # Of the flow's pyramid.
KERNELS = (9, 9, 1, 1)  # Sides of those that restore.

_warp = functools.partial(backward_warp, padding="zeros")


class FlowLevel(nn.Module):
  """7x7 convolutions; batch normalisation and ReLU after all but the last."""

  widths: tuple[int, ...] = (32, 64, 32, 16)
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x, *, train: bool):
    """[B, h, w, 8] to flow [B, h, w, 2] in float32."""
    for i, width in enumerate(self.widths):
      x = nn.Conv(
          width,
          (7, 7),
          use_bias=False,
          kernel_init=kaiming_normal(),
          dtype=self.dtype,
          name=f"conv_{i}",
      )(x)
      x = whole_batch.batch_norm(
          train=train,
          epsilon=1e-5,
          dtype=self.dtype,
          name=f"norm_{i}",
      )(x)
      x = nn.relu(x)
    # Small: training starts from frames that stand still.
    last = Conv(
        2,
        7,
        kernel_init=small_normal,
        dtype=self.dtype,
        name=f"conv_{len(self.widths)}",
    )
    return last(x).astype(jnp.float32)


class TOFlow(nn.Module):
  """The windowed restorer: seven frames to the middle one.

  Attributes:
    scale: of the output; 1 for denoising and for frames enlarged already.
    official_order: the middle frame comes first among those that are warped, as
      weights of the authors' own release have it.
    width: channels of the convolutions that restore.
    flow_widths: channels of a flow level's hidden layers.
    dtype: compute dtype; flow and statistics are float32.
  """

  scale: int = 4
  official_order: bool = False
  width: int = 64
  flow_widths: tuple[int, ...] = (32, 64, 32, 16)
  dtype: str = "float32"

  restores = True
  recurrent = False
  radius = _MIDDLE
  border = "replicate"
  halo = None  # Flow may point anywhere.
  channels = 3
  noise_map = False

  @property
  def stride(self) -> int:
    """Height and width must be multiples of this."""
    size = 2 ** (LEVELS - 1)  # Of the enlarged frame.
    return size // math.gcd(size, self.scale)

  def setup(self):
    self.flow = [
        FlowLevel(self.flow_widths, self.dtype) for _ in range(LEVELS)
    ]
    self.conv = [
        Conv(
            self.channels if i == len(KERNELS) - 1 else self.width,
            kernel,
            # Small: training starts from the enlarged frame.
            kernel_init=(
                small_normal if i == len(KERNELS) - 1 else kaiming_normal()
            ),
            dtype=self.dtype,
        )
        for i, kernel in enumerate(KERNELS)
    ]

  def __call__(self, window, noise=None, *, train: bool = False):
    """Restores the middle frame of a window.

    Args:
      window: `[B, 7, h, w, 3]` around [0, 1], h and w multiples of the stride.
      noise: None.
      train: normalise by the batch's statistics and update the running ones.

    Returns:
      `Restored` with `frames` `[B, H, W, 3]`, H and W `scale` times h and w,
      and `aux["hr_features"]` `[B, H, W, width]`, the last ReLU's.

    Raises:
      ValueError: the window or the noise does not suit the model.
    """
    check_window("TOFlow", window, FRAMES, self.channels)
    check_multiple("TOFlow", *window.shape[2:4], self.stride)
    check_noise("TOFlow", noise, False, ())
    _, aligned = self.align(window, train=train)
    middle = aligned[:, _MIDDLE]
    order = list(range(FRAMES))
    if self.official_order:
      order.insert(0, order.pop(_MIDDLE))
    x = jnp.concatenate([aligned[:, t] for t in order], -1)
    x = x.astype(self.dtype)
    for conv in self.conv[:-1]:
      x = nn.relu(conv(x))
    found = self.conv[-1](x).astype(jnp.float32)
    frames = (middle + found) * jnp.array(IMAGENET_STD)
    return Restored(frames + jnp.array(IMAGENET_MEAN), {"hr_features": x})

  def align(self, window, *, train: bool = False):
    """Enlarges and normalises the frames, and warps them onto the middle one.

    In training all six pairs share the statistics of one batch; the releases
    normalise one pair after another.

    Args:
      window: as in the call.
      train: as in the call.

    Returns:
      The pair of flows `[B, 6, H, W, 2]` in pixels, from the middle frame to
      the others in their order, and frames `[B, 7, H, W, 3]` by the mean and
      the deviation of ImageNet, all but the middle one warped.
    """
    frames = window.astype(jnp.float32)
    if self.scale > 1:
      frames = bicubic_resize(frames, self.scale)
    frames = (frames - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_STD)
    middle = frames[:, _MIDDLE : _MIDDLE + 1]
    others = jnp.concatenate(
        [frames[:, :_MIDDLE], frames[:, _MIDDLE + 1 :]], 1
    )
    pairs = jnp.broadcast_to(middle, others.shape), others
    current, reference = (x.reshape(-1, *x.shape[2:]) for x in pairs)
    flow = self._flow(current, reference, train)
    warped = _warp(reference, flow).reshape(others.shape)
    aligned = jnp.concatenate(
        [warped[:, :_MIDDLE], middle, warped[:, _MIDDLE:]], 1
    )
    return flow.reshape(*others.shape[:-1], 2), aligned

  def _flow(self, current, reference, train):
    """The flow [B, H, W, 2] from `current` into `reference` [B, H, W, 3]."""
    levels = [(current.astype(self.dtype), reference.astype(self.dtype))]
    for _ in range(LEVELS - 1):
      levels.append(tuple(map(average_pool, levels[-1])))
    flow = None
    for level, (current, reference) in zip(self.flow, reversed(levels)):
      if flow is None:
        flow = jnp.zeros((*current.shape[:3], 2))
      else:
        flow = 2 * upsample_bilinear(flow, align_corners=True)
      warped = _warp(reference, flow)
      features = (current, warped, flow.astype(self.dtype))
      flow = flow + level(jnp.concatenate(features, -1), train=train)
    return flow


def build(
    *,
    scale: int = 4,
    official_order: bool = False,
    width: int = 64,
    flow_widths: tuple[int, ...] = (32, 64, 32, 16),
    dtype: str = "float32",
) -> TOFlow:
  """A TOFlow; the defaults are the release's, see the class for the arguments.

  Raises:
    ValueError: a scale below 1, or a dtype that does not exist.
  """
  check_dtype("TOFlow", dtype)
  if scale < 1:
    raise ValueError(f"TOFlow needs a scale of 1 or more, but got {scale}.")
  return TOFlow(scale, official_order, width, tuple(flow_widths), dtype)
