"""Where scenes start, so that nothing is carried across.

Frames are compared as 16x16 means of blocks, less the frame's mean, by their
correlation: light that changes, as in a fade, leaves that alone, and noise
averages out. A frame starts a scene where

- none of the three frames before it resembles it or the two after it, so that
  the one frame or two of a flash do not part what they interrupt; and
- the step is far larger than those around it, which parts a cut from fast
  motion and from a dissolve.

Scenes of one or two frames are taken for flashes.
"""

import collections
import statistics
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from vidrestore_jax.shapes import check_rank

_GRID, _LEAST_SIDE = 16, 4  # Blocks to a side; pixels of a block's side.
BEFORE, _AFTER = 3, 2  # Frames looked at: before a cut, after its first.
# Scenes differ by 0.4 and more (1 is: as unlike as any two), neighbours within
# one by some 0.01, in fast motion by up to 0.4.
_LEAST_STEP, _LEAST_RATIO = 0.25, 2.5
_FLOOR = 4.0 / 255.0  # Contrast that says nothing, as at the end of a fade.


def marked(frames: Iterable) -> Iterator[tuple[Any, bool]]:
  """Frames with whether a scene starts there; two frames later than given.

  Args:
    frames: `[H, W, C]` in [0, 1], of one size.

  Yields:
    (frame, starts): each of `frames` in turn. The first starts none: what is
    before it is not known.
  """
  held = collections.deque()  # Frames that have not been yielded.
  # Thumbnails of frames, from BEFORE before the next to yield.
  seen = collections.deque()
  steps = collections.deque()  # Between neighbours of those.
  done = 0

  def next_marked():
    nonlocal done
    index = min(done, BEFORE)  # Of the next frame in `seen`.
    starts = done > 0 and _is_cut(list(seen), list(steps), index)
    done += 1
    if index == BEFORE:
      seen.popleft()
      steps.popleft()
    return held.popleft(), starts

  for frame in frames:
    thumbnail = _thumbnail(frame)
    if seen:
      steps.append(_difference(seen[-1], thumbnail))
    seen.append(thumbnail)
    held.append(frame)
    if len(held) > _AFTER:
      yield next_marked()
  while held:
    yield next_marked()


def _is_cut(seen, steps, index):
  """Whether a scene starts with `seen[index]`.

  Args:
    seen: thumbnails before it and after it, as many as there are.
    steps: differences of neighbours, `steps[i]` of `seen[i]` and the next.
  """
  step = min(
      _difference(before, after)
      for before in seen[:index]
      for after in seen[index : index + _AFTER + 1]
  )
  around = steps[: index - 1] + steps[index:]
  usual = statistics.median_low(around) if around else 0.0
  return bool(step > max(_LEAST_STEP, _LEAST_RATIO * usual))


def _thumbnail(frame):
  """Means of blocks less the frame's, `[rows, columns, C]`."""
  check_rank("A frame", frame, "HWC")
  sums = np.asarray(frame, np.float32)
  for axis in (0, 1):
    length = sums.shape[axis]
    count = max(1, min(_GRID, length // _LEAST_SIDE))
    edges = np.arange(count + 1) * length // count
    sums = np.add.reduceat(sums, edges[:-1], axis)
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    sums = sums / np.diff(edges).reshape(shape)
  return sums - sums.mean((0, 1))


def _difference(a, b):
  """0 for frames that are alike but for light and contrast, 1 for any two."""
  floor = _FLOOR**2 * a.size
  product = (a * b).sum() + floor
  return 1.0 - product / np.sqrt(
      ((a * a).sum() + floor) * ((b * b).sum() + floor)
  )
