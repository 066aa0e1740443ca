"""BD: Gaussian blur and decimation, the other low resolution of SR tables."""

import numpy as np

from vidrestore_jax.degradations import ranges
from vidrestore_jax.degradations.resize import check_divides
from vidrestore_jax.shapes import check_rank

# Arguments of `gaussian_decimate` by whose tables they make, for scale 4.
# Both have sigma 1.6, but differ by 1.5 pixels in what they sample, so a model
# trained on one fails on the other (open-mmlab/mmagic, issue 318).
PRESETS = {
    # XPixelGroup/BasicSR, basicsr/data/data_util.py: duf_downsample, after
    # DUF's own code; sigma is 0.4 * scale there.
    "duf": {"scale": 4, "sigma": 1.6, "size": 13, "phase": 0,
            "border": "reflect"},
    # ckkelvinchan/BasicVSR-IconVSR, BD_degradation.m: an even kernel and the
    # second pixel of each four, hence centred on the four.
    "basicvsr": {"scale": 4, "sigma": 1.6, "size": 12, "phase": 1,
                 "border": "edge"},
}


def gaussian_decimate(
    rng,
    clip,
    *,
    scale: int = 4,
    sigma: float = 1.6,
    size: int = 13,
    phase: int = 0,
    border: str = "reflect",
):
  """Blurs by a truncated Gaussian and keeps every `scale`-th pixel.

  Output pixel i is the blurred input at phase + scale * i; with an even
  `size`, the kernel's centre lies half a pixel further on, as in MATLAB's
  imfilter. The defaults are DUF's (`PRESETS`). Nothing is drawn.

  Args:
    rng: unused, since nothing is random.
    clip: `[T, H, W, C]` in [0, 1], float32.
    scale: how many times smaller.
    sigma: of the Gaussian, pixels.
    size: taps of the kernel in each direction.
    phase: first row and column that is kept, below `scale`.
    border: "reflect" (mirrored without the edge pixel), "symmetric" (with
      it) or "edge" (the edge pixel repeated).

  Returns:
    The pair (clip `[T, H / scale, W / scale, C]`, card).

  Raises:
    ValueError: sizes that `scale` does not divide, or an option outside what
      it may be.
  """
  del rng
  check_rank("blur.gaussian_decimate", clip, "THWC")
  check_divides("blur.gaussian_decimate", clip, scale)
  ranges.number("sigma", sigma, 0.0, float("inf"))
  if border not in ("reflect", "symmetric", "edge"):
    raise ValueError(
        "border needs to be reflect, symmetric or edge, but is"
        f" {border!r}."
    )
  if not 0 <= phase < scale or size < 1 or sigma <= 0:
    raise ValueError(
        "gaussian_decimate needs 0 <= phase < scale, size >= 1 and sigma > 0,"
        f" but got phase={phase}, scale={scale}, size={size}, sigma={sigma}."
    )
  offsets = np.arange(size) - (size - 1) // 2
  taps = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * sigma**2))
  taps = (taps / taps.sum()).astype(np.float32)
  small = np.asarray(clip, np.float32)
  for axis in (1, 2):
    count = small.shape[axis] // scale
    room = [(0, 0)] * 4
    room[axis] = (size, size)
    padded = np.pad(small, room, border)
    kept = size + phase + scale * np.arange(count)
    small = sum(
        tap * padded.take(kept + offset, axis)
        for tap, offset in zip(taps, offsets)
    )
  card = {
      "scale": scale, "sigma_px": sigma, "size_px": size, "phase_px": phase,
      "border": border,
  }
  return small, card
