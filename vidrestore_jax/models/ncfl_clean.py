"""NCFL's compression module alone, on clean frames: what quantisation costs.

Huang et al., CVPR 2022, supplementary, section 4.3: the module as an
auto-encoder of clean frames, with adaptive quantisation (AdapQ) and without
(NoQ). What surrounds it there is not said; here one convolution each way:

  conv 3 -> C;  NCFL's encode, quantise, decode;  conv C -> 3
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidrestore_jax.layers.convolution import Conv
from vidrestore_jax.layers.entropy import INTERVALS
from vidrestore_jax.models.ncfl import Compression
from vidrestore_jax.shapes import (
    Restored,
    check_channels,
    check_choice,
    check_dtype,
    check_multiple,
    check_noise,
    check_rank,
)


class CompressedFrames(nn.Module):
  """Codes every frame by itself. `build` makes it from names and numbers.

  A recurrent model without a memory, so that it trains, streams and is
  measured as the restorers are.

  Attributes:
    compression: a Compression.
    channels: of a frame.
    feature_channels: C, of what is compressed.
    dtype: compute dtype.
  """

  compression: nn.Module
  channels: int = 3
  feature_channels: int = 32
  dtype: str = "float32"

  restores = True
  recurrent = True
  radius = None  # No window.
  scale = 1
  stride = 4  # Two strided convolutions.
  noise_map = False
  # Half-widths of the convolutions in pixels, on the way through the prior: 1,
  # 1, 2, 4 and, back, 4, 2, 1; and 3 for the place in a cell of 4.
  halo = 18
  maskable = True

  def setup(self):
    self.stem = Conv(self.feature_channels, dtype=self.dtype)
    self.head = Conv(self.channels, dtype=self.dtype)

  def __call__(self, clip, noise):
    """Codes a clip.

    Args:
      clip: `[B, T, H, W, C]` around [0, 1].
      noise: None.

    Returns:
      `Restored` with `frames` `[B, T, H, W, C]`; `aux` has, with quantisation,
      `bits` `[B, T]` and `rate_map` `[B, T, h, w]`.
    """
    check_rank("clip", clip, "BTHWC")
    merged = clip.reshape(-1, *clip.shape[2:])
    _, coded = self.step({}, merged, noise)
    return jax.tree.map(
        lambda x: x.reshape(*clip.shape[:2], *x.shape[1:]), coded
    )

  def init_state(self, frame):
    """The state before the first frame: there is none."""
    del frame
    return {}

  def step(self, state, frame, noise):
    """Codes one frame `[B, H, W, C]`; the pair (state, Restored)."""
    check_rank("frame", frame, "BHWC")
    check_channels("frame", frame, self.channels)
    check_multiple("NCFL's compression", *frame.shape[1:3], self.stride)
    check_noise("NCFL's compression", noise, False, ())
    feature, bits = self.compression(self.stem(frame.astype(self.dtype)))
    aux = {}
    if bits is not None:
      aux = {"bits": bits.sum((1, 2, 3)), "rate_map": bits.sum(-1)}
    return state, Restored(self.head(feature).astype(jnp.float32), aux)


def build(
    channels: int = 3,
    feature_refiner: str = "ncfl",
    feature_channels: int = 32,
    hidden_channels: int = 64,
    latent_channels: int = 64,
    prior_channels: tuple[int, int] = (64, 128),
    distribution: str = "laplace",
    add_mean_back: bool = True,
    step_minimum: float = 0.5,
    step_start: float = 1.0,
    dtype: str = "float32",
) -> CompressedFrames:
  """The module of `models.ncfl` between two convolutions.

  Args:
    channels: of a frame.
    feature_refiner: "ncfl" (AdapQ) or "noq" (not quantised).
    feature_channels: C.
    hidden_channels, latent_channels, prior_channels, distribution,
      add_mean_back, step_minimum, step_start: as `models.ncfl.build` has them.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: a name or dtype that does not exist.
  """
  check_choice("ncfl_clean's feature_refiner", feature_refiner, ("ncfl", "noq"))
  check_choice("ncfl_clean's distribution", distribution, INTERVALS)
  check_dtype("ncfl_clean", dtype)
  return CompressedFrames(
      compression=Compression(
          hidden_channels=hidden_channels,
          latent_channels=latent_channels,
          prior_channels=tuple(prior_channels),
          quantize=feature_refiner == "ncfl",
          distribution=distribution,
          add_mean_back=add_mean_back,
          step_minimum=step_minimum,
          step_start=step_start,
          dtype=dtype,
      ),
      channels=channels,
      feature_channels=feature_channels,
      dtype=dtype,
  )
