"""What tables compare with: median filters, and the best linear correction.

The baseline of them all, the degraded input itself, needs no function.
"""

import numpy as np

# Rows filtered at a time: a 5x5 window over 8 rows of 854x3 float32 values
# holds 2 MB, which stays in a core's cache; whole frames are 3 times slower.
_ROWS = 8


def median3(clip):
  """Median over 3x3 pixels of each frame and channel; see `_median`."""
  return _median(clip, 3)


def median5(clip):
  """Median over 5x5 pixels of each frame and channel; see `_median`."""
  return _median(clip, 5)


FILTERS = {"median3": median3, "median5": median5}


# Oracles: they are shown the truth, so they are no restorers but bounds. What
# one linear correction gains on haze, on a lamp's tint or on clipped noise,
# needs no network; a network is worth what it adds to it.


def affine(clip, truth):
  """The best gain and offset of a clip: an oracle.

      y = a x + b,  two numbers for all channels, frames and pixels

  by least squares against the truth.

  Args:
    clip: `[T, H, W, C]`, the degraded frames.
    truth: the same shape; white is 1.

  Returns:
    float32 `[T, H, W, C]`, clamped to [0, 1].

  Raises:
    ValueError: the shapes differ.
  """
  clip, truth = _pair(clip, truth)
  # All channels as one.
  grey = (array.reshape(*clip.shape[:2], -1, 1) for array in (clip, truth))
  return _least_squares(*grey).reshape(clip.shape)


def affine_rgb(clip, truth):
  """The best affine map of a clip's colours: an oracle, above `affine`.

      y = A x + b,  A [C, C] and b [C] for all frames and pixels

  by least squares against the truth. Where noise is independent in the
  channels it also averages over them.

  Args:
    clip: `[T, H, W, C]`, the degraded frames.
    truth: the same shape; white is 1.

  Returns:
    float32 `[T, H, W, C]`, clamped to [0, 1].

  Raises:
    ValueError: the shapes differ.
  """
  return _least_squares(*_pair(clip, truth))


ORACLES = {"affine": affine, "affine_rgb": affine_rgb}


def _pair(clip, truth):
  clip, truth = np.asarray(clip), np.asarray(truth)
  if clip.shape != truth.shape or clip.ndim != 4:
    raise ValueError(
        "An affine fit needs a clip and its truth of one shape [T, H, W, C],"
        f" but got {clip.shape} and {truth.shape}."
    )
  return clip, truth


def _least_squares(clip, truth):
  """The affine map of the last axis that brings `clip` nearest to `truth`."""
  channels = clip.shape[-1]

  def colours(frame):
    """Pixels with a constant 1 beside them, `[H * W, C + 1]`."""
    ones = np.ones((*frame.shape[:2], 1))
    return np.concatenate([frame, ones], -1).reshape(-1, channels + 1)

  # The normal equations, frame by frame: the clip may not fit twice.
  squares = np.zeros((channels + 1, channels + 1))
  products = np.zeros((channels + 1, channels))
  for frame, true in zip(clip, truth):
    pixels = colours(frame)
    squares += pixels.T @ pixels
    products += pixels.T @ true.reshape(-1, channels)
  # lstsq, since a grey clip leaves the equations short of rank.
  matrix = np.linalg.lstsq(squares, products, rcond=None)[0]
  fitted = np.empty(clip.shape, np.float32)
  for t, frame in enumerate(clip):
    fitted[t] = (colours(frame) @ matrix).clip(0, 1).reshape(frame.shape)
  return fitted


def _median(clip, size):
  """Spatial median of `size` x `size` pixels, borders replicated.

  Args:
    clip: `[T, H, W, C]`, any real dtype.
    size: odd side of the window.

  Returns:
    The same shape and dtype: the exact median, an element of the window.
  """
  clip = np.asarray(clip)
  half = size // 2
  filtered = np.empty_like(clip)
  height, width = clip.shape[1:3]
  for frame, result in zip(clip, filtered):
    padded = np.pad(frame, ((half, half), (half, half), (0, 0)), mode="edge")
    for top in range(0, height, _ROWS):
      rows = min(_ROWS, height - top)
      window = [
          padded[top + dy : top + dy + rows, dx : dx + width]
          for dy in range(size)
          for dx in range(size)
      ]
      result[top : top + rows] = _forgetful_median(window)
  return filtered


def _forgetful_median(values):
  """Elementwise median of an odd number of arrays of one shape.

  Forgetful selection: of any n // 2 + 2 of the n values neither the smallest
  nor the largest can be the median, so both are dropped and the next value
  joins; minima and maxima of whole arrays do all the work.
  """
  keep = len(values) // 2 + 2
  active = [np.array(v) for v in values[:keep]]
  waiting = list(values[keep:])
  spare = np.empty_like(active[0])

  def order(i, j):
    """Moves the smaller of active[i], active[j] to i, the larger to j."""
    nonlocal spare
    np.minimum(active[i], active[j], out=spare)
    np.maximum(active[i], active[j], out=active[j])
    active[i], spare = spare, active[i]

  while True:
    for i in range(len(active) - 1):  # The largest ends last.
      order(i, i + 1)
    active.pop()
    for i in range(len(active) - 2, -1, -1):  # The smallest ends first.
      order(i, i + 1)
    if len(active) == 2:
      return active[1]
    active.pop(0)
    active.append(np.array(waiting.pop(0)))
