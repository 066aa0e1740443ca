"""BI: bicubic down-sampling, the low resolution of most SR tables."""

import fractions

from vidrestore_jax.layers.resample import bicubic_resize
from vidrestore_jax.shapes import check_rank


def bicubic_down(rng, clip, *, scale: int = 4):
  """MATLAB's imresize by 1 / scale, clipped to [0, 1].

  The published BI sets hold this rounded to 8 bits (generate_bicubic_img.m of
  xinntao/BasicSR, scripts/matlab_scripts); rounding is the caller's, as with
  every degradation here. Nothing is drawn.

  Args:
    rng: unused, since nothing is random.
    clip: `[T, H, W, C]` in [0, 1], float32.
    scale: how many times smaller, a whole number.

  Returns:
    The pair (clip `[T, H / scale, W / scale, C]`, card).

  Raises:
    ValueError: sizes that `scale` does not divide.
  """
  del rng
  check_rank("resize.bicubic_down", clip, "THWC")
  check_divides("resize.bicubic_down", clip, scale)
  small = bicubic_resize(clip, fractions.Fraction(1, scale))
  return small.clip(0.0, 1.0), {"scale": scale}


def check_divides(name: str, clip, scale: int):
  """Raises ValueError unless `scale` divides the clip's height and width."""
  height, width = clip.shape[1:3]
  if not isinstance(scale, int) or scale < 1:
    raise ValueError(f"{name} by {scale!r} needs a whole scale from 1 on.")
  if height % scale or width % scale:
    raise ValueError(
        f"{name} by {scale} needs a whole scale that divides the frames, but"
        f" they are {width}x{height}. Crop them first, to"
        f" {width - width % scale}x{height - height % scale}."
    )
