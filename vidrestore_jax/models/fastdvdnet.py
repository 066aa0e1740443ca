"""FastDVDnet: real-time video denoising without flow estimation.

Tassano, Delon, Veit, CVPR 2020, arXiv:1907.01361; details where the paper is
silent are those of its release, m-tassano/fastdvdnet. A cascade of two stages,
each a U-Net that maps three frames to the middle one:

  d_{t-1}, d_t, d_{t+1} = temp1 of frames (t-2, t-1, t), (t-1, t, t+1), ...
  y_t = temp2 of (d_{t-1}, d_t, d_{t+1})

Aligned by nothing but its own receptive field; both see the same noise map.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import recomputation, whole_batch
from vidrestore_jax.layers.convolution import (
    GroupedConv,
    kaiming_normal,
    small_normal,
    spare_channels,
)
from vidrestore_jax.layers.resample import depth_to_space
from vidrestore_jax.shapes import (
    Restored,
    check_channels,
    check_dtype,
    check_multiple,
    check_noise,
    check_rank,
    check_window,
)

_TRIPLET = 3  # Frames that a block sees.
# Receptive half-width of a block: how far, at most, a pixel of the output lies
# from one of the input that it depends on.
BLOCK_HALO = 40


class ConvBlock(nn.Module):
  """3x3 convolutions, each followed by batch normalisation and ReLU.

  Attributes:
    features: output channels of each.
    stride: of the first.
    groups: of the first.
    linear_end: the last is a convolution alone.
    small_end: its kernel starts a hundred times smaller.
    batch_norm: False puts a bias in the normalisation's place.
    dtype: compute dtype; statistics are float32.
  """

  features: tuple[int, ...]
  stride: int = 1
  groups: int = 1
  linear_end: bool = False
  small_end: bool = False
  batch_norm: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x, *, train: bool):
    """Maps [B, H, W, C] to [B, H / stride, W / stride, features[-1]]."""
    spare = 0
    for i, features in enumerate(self.features):
      last = i == len(self.features) - 1
      groups = 1 if i else self.groups
      unread, spare = spare, 0
      if not (last or train or self.is_initializing()):
        # What a batch normalises has no spare channels.
        spare = spare_channels(features, jnp.dtype(self.dtype), groups)
      options = dict(unread=unread, spare=spare, forward=not train)
      small = self.small_end and last
      conv = GroupedConv(
          features,
          stride=1 if i else self.stride,
          groups=groups,
          use_bias=not self.batch_norm,
          kernel_init=small_normal if small else kaiming_normal(),
          dtype=self.dtype,
          name=f"conv_{i}",
      )
      if self.linear_end and last:
        return conv(x, **options)
      if self.batch_norm:
        norm = whole_batch.batch_norm(
            train=train,
            epsilon=1e-5,
            dtype=self.dtype,
            name=f"norm_{i}",
        )
        x = whole_batch.normalized(conv, norm, x, **options)
      else:
        x = conv(x, **options)
      x = nn.relu(x)
    return x


class DenBlock(nn.Module):
  """One stage: a U-Net of three scales from a triplet to its middle frame.

  Attributes:
    widths: channels of the scales, finest first.
    interm: channels that each frame gets of its own, before they are mixed.
    batch_norm: False puts biases in the normalisation's place.
    dtype: compute dtype.
    identity_start: the last kernel starts so small that the middle frame is
      handed on. As released, that takes hundreds of steps to learn.
    trunk: it ends before its last convolution, for a head of another kind.
    remat: see `layers.recomputation`; "block" is each ConvBlock.
  """

  widths: tuple[int, int, int] = (32, 64, 128)
  interm: int = 30
  batch_norm: bool = True
  dtype: str = "float32"
  identity_start: bool = False
  trunk: bool = False
  remat: str = "none"

  @nn.compact
  def __call__(self, triplet, noise, *, train: bool = False):
    """Restores the middle frame of a triplet.

    Args:
      triplet: `[B, 3, H, W, C]`, H and W multiples of 4.
      noise: `[B, H, W, 1]` standard deviations, or None.
      train: normalise by the batch's statistics and update the running ones.

    Returns:
      `[B, H, W, C]` float32; of a trunk, features `[B, H, W, widths[0]]`.
    """
    check_rank("triplet", triplet, "BTHWC")
    if triplet.shape[1] != _TRIPLET:
      raise ValueError(
          f"A DenBlock takes {_TRIPLET} frames, but got {triplet.shape[1]} in"
          f" shape {tuple(triplet.shape)}."
      )
    fine, middle, coarse = self.widths
    run = functools.partial(
        recomputation.run, recompute=self.remat == "block", train=train
    )
    block = functools.partial(
        ConvBlock, batch_norm=self.batch_norm, dtype=self.dtype
    )
    x = []
    for i in range(_TRIPLET):
      x += [triplet[:, i]] if noise is None else [triplet[:, i], noise]
    x = jnp.concatenate(x, -1).astype(self.dtype)
    mix = block((_TRIPLET * self.interm, fine), groups=_TRIPLET, name="inc")
    full = run(mix, x)
    half = run(block((middle,) * 3, stride=2, name="downc0"), full)
    x = run(block((coarse,) * 3, stride=2, name="downc1"), half)
    up = functools.partial(block, linear_end=True)
    x = run(up((coarse, coarse, 4 * middle), name="upc2"), x)
    x = half + depth_to_space(x)
    x = run(up((middle, middle, 4 * fine), name="upc1"), x)
    x = full + depth_to_space(x)
    if self.trunk:
      return run(block((fine,), name="outc"), x)
    last = up(
        (fine, triplet.shape[-1]), small_end=self.identity_start, name="outc"
    )
    noise_found = run(last, x)
    middle_frame = triplet[:, _TRIPLET // 2].astype(jnp.float32)
    return middle_frame - noise_found.astype(jnp.float32)


class FastDVDnet(nn.Module):
  """The windowed restorer: five frames to the middle one.

  Attributes:
    channels: of a frame.
    widths: channels of a stage's scales, finest first.
    interm: channels that each frame gets of its own, before they are mixed.
    noise_map: whether it is told the noise level, as a map.
    batch_norm: False puts biases in the normalisation's place.
    dtype: compute dtype.
    identity_start: before training the middle frame is handed on.
    remat: see `layers.recomputation`; a step is a DenBlock, a block a
      ConvBlock.
  """

  channels: int = 3
  widths: tuple[int, int, int] = (32, 64, 128)
  interm: int = 30
  noise_map: bool = True
  batch_norm: bool = True
  dtype: str = "float32"
  identity_start: bool = False
  remat: str = "none"

  restores = True
  recurrent = False
  stages = (1, 1)  # Radius of each; see `stage`.
  radius = sum(stages)
  scale = 1
  stride = 4
  halo = len(stages) * BLOCK_HALO
  maskable = True

  def setup(self):
    self.temp1, self.temp2 = (
        DenBlock(
            self.widths,
            self.interm,
            self.batch_norm,
            self.dtype,
            self.identity_start,
            remat=recomputation.of_parts(self.remat),
        )
        for _ in range(2)
    )

  def __call__(self, window, noise, *, train: bool = False):
    """Restores the middle frame of a window.

    Args:
      window: `[B, 5, H, W, C]` around [0, 1], H and W multiples of 4.
      noise: `[B, H, W, 1]` standard deviations, or None for a blind model.
      train: normalise by the batch's statistics and update the running ones.

    Returns:
      `Restored` with `frames` `[B, H, W, C]`; `aux["pre_denoised"]`
      `[B, 3, H, W, C]` are the first stage's frames around the middle one.

    Raises:
      ValueError: the window or the noise does not suit the model.
    """
    length = 2 * self.radius + 1
    check_window("FastDVDnet", window, length, self.channels)
    # As released: one triplet after another, so that in training each is
    # normalised by statistics of its own.
    first = [None]
    for i in range(length - _TRIPLET + 1):
      triplet = window[:, i : i + _TRIPLET]
      first.append(
          self.stage(0, triplet, noise, train=train, after=first[-1])
      )
    first = jnp.stack(first[1:], 1)
    second = self.stage(1, first, noise, train=train)
    return Restored(second, {"pre_denoised": first})

  def stage(
      self, index: int, window, noise, *, train: bool = False, after=None
  ):
    """One stage of the cascade, for what keeps the earlier ones' results.

    Args:
      index: of the stage in `stages`, 0 for the one that sees noisy frames.
      window: `[B, 2 r + 1, H, W, C]` results of the stage before, r the
        stage's radius.
      noise: as in the call.
      train: as in the call.
      after: see `layers.recomputation.run`.

    Returns:
      The stage's frame in the middle of the window, `[B, H, W, C]`.

    Raises:
      ValueError: as the call.
    """
    check_channels("window", window, self.channels)
    check_multiple("FastDVDnet", *window.shape[2:4], self.stride)
    shape = (window.shape[0], *window.shape[2:4], 1)
    check_noise("FastDVDnet", noise, self.noise_map, shape)
    block = (self.temp1, self.temp2)[index]
    return recomputation.run(
        block,
        window,
        noise,
        recompute=self.remat == "step",
        after=after,
        train=train,
    )


def build(
    *,
    channels: int = 3,
    widths: tuple[int, int, int] = (32, 64, 128),
    interm: int = 30,
    noise_map: bool = True,
    batch_norm: bool = True,
    dtype: str = "float32",
    identity_start: bool = False,
    remat: str = "none",
) -> FastDVDnet:
  """A FastDVDnet; the defaults are the released network.

  Args:
    channels: of a frame.
    widths: channels of a stage's three scales, finest first.
    interm: channels that each frame gets of its own, before they are mixed.
    noise_map: whether the model is told the noise level.
    batch_norm: False puts biases in the normalisation's place.
    dtype: compute dtype, "float32" or "bfloat16".
    identity_start: before training the middle frame is handed on, for short
      runs.
    remat: see `layers.recomputation`.

  Raises:
    ValueError: not three widths, or a dtype or policy that does not exist.
  """
  check_dtype("FastDVDnet", dtype)
  recomputation.check_policy("FastDVDnet", remat)
  if len(widths) != 3:
    raise ValueError(
        f"FastDVDnet has three scales, but got the widths {tuple(widths)}."
    )
  return FastDVDnet(
      channels,
      tuple(widths),
      interm,
      noise_map,
      batch_norm,
      dtype,
      identity_start,
      remat,
  )
