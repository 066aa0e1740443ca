"""DUF: video super-resolution by dynamic upsampling filters.

Jo et al., CVPR 2018; details where the paper is silent are those of its
release, yhjo09/VSR-DUF, as rendered in PyTorch by XPixelGroup/BasicSR. Without
any explicit motion: densely connected 3-D convolutions see seven frames and
make, for each pixel of the middle one, sixteen 5x5 filters, which enlarge that
frame, and what is then added.

It makes frames out of filters, so that it has no map at the size of the output
(`aux["hr_features"]`) for distillation to compare: it is measured beside, and
not distilled.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidrestore_jax.layers import recomputation, whole_batch
from vidrestore_jax.layers.convolution import (
    Conv,
    SpaceTimeConv,
    kaiming_normal,
    small_normal,
)
from vidrestore_jax.layers.dynamic_filters import dynamic_upsample
from vidrestore_jax.layers.resample import depth_to_space
from vidrestore_jax.shapes import (
    Restored,
    check_choice,
    check_dtype,
    check_noise,
    check_window,
)

# Dense blocks in front of the three that shorten time, and what each adds.
LAYERS = {16: (3, 32), 28: (9, 16), 52: (21, 16)}
_WIDTH = 64  # Channels before the first dense block,
_HEAD = 256  # and of the features behind the last.
_SIDE = 5  # Taps to a side of a filter.


class Norm(nn.Module):
  """Batch normalisation over all but the channels, and ReLU."""

  epsilon: float
  dtype: str

  @nn.compact
  def __call__(self, x, *, train: bool):
    """Maps [..., C] to the same."""
    return nn.relu(
        whole_batch.batch_norm(
            train=train,
            epsilon=self.epsilon,
            dtype=self.dtype,
            name="norm",
        )(x)
    )


class DenseBlock(nn.Module):
  """Adds channels to [B, T, H, W, C] that it finds by 3x3x3 convolution.

  Attributes:
    growth: how many.
    pad_time: False gives T - 2 frames, the middle ones.
    epsilon: of the normalisation.
    dtype: compute dtype.
  """

  growth: int
  pad_time: bool
  epsilon: float
  dtype: str

  @nn.compact
  def __call__(self, x, *, train: bool):
    """Maps [B, T, H, W, C] to [B, T or T - 2, H, W, C + growth]."""
    found = Norm(self.epsilon, self.dtype, name="norm_0")(x, train=train)
    found = Conv(
        x.shape[-1],
        1,
        dtype=self.dtype,
        kernel_init=kaiming_normal(),
        name="mix",
    )(found)
    found = Norm(self.epsilon, self.dtype, name="norm_1")(found, train=train)
    found = SpaceTimeConv(
        self.growth,
        self.pad_time,
        self.dtype,
        kaiming_normal(),
        name="conv",
    )(found)
    return jnp.concatenate([x if self.pad_time else x[:, 1:-1], found], -1)


class DUF(nn.Module):
  """Super-resolution of the middle one of seven frames.

  Attributes:
    blocks: dense blocks in front of the three that shorten time.
    growth: channels that each adds.
    scale: of the output.
    channels: of a frame; all are filtered alike.
    epsilon: of the batch normalisation.
    dtype: compute dtype; statistics and filters are float32.
    remat: see `layers.recomputation`; "none", or "block" for each dense one.
  """

  blocks: int = 21
  growth: int = 16
  scale: int = 4
  channels: int = 3
  epsilon: float = 1e-5
  dtype: str = "float32"
  remat: str = "none"

  restores = True
  recurrent = False
  radius = 3
  stride = 1
  noise_map = False

  @property
  def halo(self) -> int:
    """Pixels of the input to each side that an output pixel depends on."""
    return self.blocks + self.radius + 2  # A convolution before and after.

  @nn.compact
  def __call__(self, window, noise=None, *, train: bool = False):
    """Enlarges the middle frame of a window.

    Args:
      window: `[B, 7, h, w, C]` around [0, 1].
      noise: None.
      train: normalise by the batch's statistics and update the running ones.

    Returns:
      `Restored` with `frames` `[B, H, W, C]`, H and W `scale` times h and w.

    Raises:
      ValueError: another shape, or a noise map.
    """
    check_window("DUF", window, 2 * self.radius + 1, self.channels)
    check_noise("DUF", noise, False, ())

    def conv(features, kernel, name, init=None):
      return Conv(
          features,
          kernel,
          dtype=self.dtype,
          kernel_init=init or kaiming_normal(),
          name=name,
      )

    x = conv(_WIDTH, 3, "entry")(window.astype(self.dtype))
    for i in range(self.blocks + self.radius):
      block = DenseBlock(
          self.growth,
          pad_time=i < self.blocks,
          epsilon=self.epsilon,
          dtype=self.dtype,
          name=f"dense_{i}",
      )
      x = recomputation.run(
          block, x, recompute=self.remat == "block", train=train
      )
    x = Norm(self.epsilon, self.dtype, name="norm")(x[:, 0], train=train)
    x = nn.relu(conv(_HEAD, 3, "head")(x))

    phases = self.scale**2
    found = nn.relu(conv(_HEAD, 1, "residual_0")(x))
    found = conv(self.channels * phases, 1, "residual_1", small_normal)(found)
    filters = nn.relu(conv(2 * _HEAD, 1, "filters_0")(x))
    filters = conv(_SIDE**2 * phases, 1, "filters_1", kaiming_normal(1.0))(
        filters
    )
    middle = window[:, self.radius].astype(jnp.float32)
    frames = dynamic_upsample(middle, as_filters(filters, self.scale))
    found = depth_to_space(found.astype(jnp.float32), self.scale)
    return Restored(frames + found, {})


def as_filters(logits, scale: int):
  """[B, h, w, 25 s**2], taps first, to filters [B, h, w, 25, s**2] of sum 1."""
  logits = logits.astype(jnp.float32)
  shape = (*logits.shape[:-1], _SIDE**2, scale**2)
  return jax.nn.softmax(logits.reshape(shape), axis=-2)


def build(
    *,
    layers: int = 52,
    scale: int = 4,
    channels: int = 3,
    epsilon: float = 1e-5,
    remat: str = "none",
    dtype: str = "float32",
) -> DUF:
  """A DUF of the paper's three sizes.

  Args:
    layers: 16, 28 or 52.
    scale: of the output.
    channels: of a frame.
    epsilon: of the batch normalisation: 1e-3 for weights of the release, which
      is of TensorFlow, 1e-5 for those that PyTorch trained.
    remat: see `layers.recomputation`.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: a number of layers, a scale, a dtype or a policy that does not
      exist.
  """
  check_dtype("DUF", dtype)
  recomputation.check_policy("DUF", remat, ("none", "block"))
  check_choice("DUF's number of layers", layers, tuple(LAYERS))
  if scale < 2:
    raise ValueError(f"DUF enlarges by 2 or more, but got scale={scale}.")
  blocks, growth = LAYERS[layers]
  return DUF(
      blocks,
      growth,
      scale,
      channels,
      epsilon=epsilon,
      dtype=dtype,
      remat=remat,
  )
