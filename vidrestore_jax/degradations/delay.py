"""A clip that comes late: to restore it is to predict."""

import numpy as np

from vidrestore_jax.shapes import check_rank


def frames(rng, clip, *, count: int = 1):
  """Each frame becomes the one `count` before it; the first is repeated.

  A causal restorer of such clips predicts the frames that it has not seen.

  Args:
    rng: unused, since nothing is random.
    clip: `[T, H, W, C]`, float32.
    count: how many frames late.

  Returns:
    The pair (clip of the same shape, card).

  Raises:
    ValueError: a count below 1.
  """
  del rng
  check_rank("delay.frames", clip, "THWC")
  if count < 1:
    raise ValueError(
        f"delay.frames needs a count of 1 or more, but got {count}."
    )
  earlier = np.maximum(np.arange(len(clip)) - count, 0)
  return clip[earlier], {"frames": count}
