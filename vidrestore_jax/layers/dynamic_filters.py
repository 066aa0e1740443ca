"""Filters that a network makes for every pixel, rather than having learned."""

import jax
import jax.numpy as jnp

from vidrestore_jax.layers.resample import depth_to_space
from vidrestore_jax.shapes import check_rank


def dynamic_upsample(frame, filters):
  """Enlarges a frame by a filter of its own for each pixel of the output.

  out[s y + p, s x + q, c] =
      sum_{i, j} filters[y, x, k i + j, s p + q] frame[y + i - r, x + j - r, c]

  with k = 2 r + 1 taps to a side, s**2 filters, zeros beyond the border, and
  the same filter for every channel c (Jo et al., CVPR 2018, equation 2).

  Args:
    frame: `[B, h, w, C]`.
    filters: `[B, h, w, k**2, s**2]`, k odd.

  Returns:
    `[B, s h, s w, C]`.

  Raises:
    ValueError: shapes that do not fit together.
  """
  check_rank("frame", frame, "BHWC")
  side, scale = (round(n**0.5) for n in filters.shape[-2:])
  wanted = (*frame.shape[:3], side**2, scale**2)
  if filters.shape != wanted or side % 2 == 0:
    raise ValueError(
        "Filters are [B, h, w, k**2, s**2] with k odd for a frame"
        f" [B, h, w, C], but have shape {tuple(filters.shape)} for"
        f" {tuple(frame.shape)}."
    )
  height, width, channels = frame.shape[1:]
  edge = (side // 2, side // 2)
  padded = jnp.pad(frame, ((0, 0), edge, edge, (0, 0)))
  taps = jnp.stack([
      padded[:, i : i + height, j : j + width]
      for i in range(side)
      for j in range(side)
  ], -1)
  # A product rather than a sum of taps, which takes ten times as long to
  # differentiate on a CPU; accelerators would round the pixels otherwise.
  phases = jnp.einsum(
      "bhwct,bhwts->bhwcs", taps, filters, precision=jax.lax.Precision.HIGHEST
  )
  return depth_to_space(
      phases.reshape(*frame.shape[:3], channels * scale**2), scale
  )
