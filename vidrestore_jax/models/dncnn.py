"""DnCNN: an image denoiser that predicts the noise.

Zhang et al., IEEE TIP 2017, arXiv:1608.03981: a chain of 3x3 convolutions,
batch-normalised but for the first and last, whose output is subtracted from the
frame. Defaults are DnCNN-S of its section 3.1 for colour; DnCNN-B, for a range
of noise levels, has a depth of 20. With `noise_map=True, residual=False,
batch_norm=False` it is FDnCNN of the same author's release (cszn/KAIR,
models/network_dncnn.py), which is told the noise level.
"""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import whole_batch
from vidrestore_jax.layers.convolution import GroupedConv, kaiming_normal
from vidrestore_jax.shapes import (
    Restored,
    check_dtype,
    check_noise,
    check_window,
)


class DnCNN(nn.Module):
  """The denoiser of single frames.

  Attributes:
    depth: number of convolutions.
    width: channels between them.
    channels: of a frame.
    bias: whether the convolutions have one.
    batch_norm: whether there is normalisation between the first and the last.
    epsilon: of the normalisation.
    residual: the output is the noise and is subtracted from the frame.
    noise_map: whether it is told the noise level, as a map.
    dtype: compute dtype; statistics are float32.
  """

  depth: int = 17
  width: int = 64
  channels: int = 3
  bias: bool = True
  batch_norm: bool = True
  epsilon: float = 1e-5
  residual: bool = True
  noise_map: bool = False
  dtype: str = "float32"

  restores = True
  recurrent = False
  radius = 0
  scale = 1
  stride = 1
  maskable = True

  @property
  def halo(self) -> int:
    """Pixels to each side that an output pixel depends on."""
    return self.depth

  @nn.compact
  def __call__(self, window, noise, *, train: bool = False):
    """Denoises one frame.

    Args:
      window: `[B, 1, H, W, C]` around [0, 1].
      noise: `[B, H, W, 1]` standard deviations, or None for a blind model.
      train: normalise by the batch's statistics and update the running ones.

    Returns:
      `Restored` with `frames` `[B, H, W, C]`.

    Raises:
      ValueError: another shape, or a noise map that does not suit the model.
    """
    check_window("DnCNN", window, 1, self.channels)
    frames = window[:, 0]
    check_noise("DnCNN", noise, self.noise_map, (*frames.shape[:3], 1))
    x = frames if noise is None else jnp.concatenate([frames, noise], -1)
    x = x.astype(self.dtype)
    for i in range(self.depth):
      last = i == self.depth - 1
      conv = GroupedConv(
          self.channels if last else self.width,
          use_bias=self.bias,
          kernel_init=kaiming_normal(),
          dtype=self.dtype,
          name=f"conv_{i}",
      )
      if self.batch_norm and i > 0 and not last:
        norm = whole_batch.batch_norm(
            train=train,
            epsilon=self.epsilon,
            dtype=self.dtype,
            name=f"norm_{i}",
        )
        x = whole_batch.normalized(conv, norm, x)
      else:
        x = conv(x)
      if last:
        break
      x = nn.relu(x)
    x = x.astype(jnp.float32)
    return Restored(frames - x if self.residual else x, {})


def build(
    *,
    depth: int = 17,
    width: int = 64,
    channels: int = 3,
    bias: bool = True,
    batch_norm: bool = True,
    epsilon: float = 1e-5,
    residual: bool = True,
    noise_map: bool = False,
    dtype: str = "float32",
) -> DnCNN:
  """A DnCNN; see the class for the arguments.

  Raises:
    ValueError: fewer than two convolutions, or a dtype that does not exist.
  """
  check_dtype("DnCNN", dtype)
  if depth < 2:
    raise ValueError(f"DnCNN needs a depth of 2 or more, but got {depth}.")
  return DnCNN(
      depth,
      width,
      channels,
      bias,
      batch_norm,
      epsilon,
      residual,
      noise_map,
      dtype,
  )
