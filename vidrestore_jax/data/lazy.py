"""Clips that are decoded only where they are looked at.

Training cuts a small patch out of large frames. Decoders give whole frames,
but to copy and colour-convert them whole costs as much as decoding; a source
whose `open(index)` returns a `LazyClip` where `source[index]` returns an array
is spared that, and need not know how patches are drawn.
"""

import numpy as np


class LazyClip:
  """A clip `[T, H, W, C]` behind a function that reads a part of it.

  `clip[a:b]` is a lazy clip of fewer frames; `clip[a:b, top:bottom,
  left:right]` and `np.asarray(clip)` read, and are arrays.

  Attributes:
    shape: (T, H, W, C).
    dtype: of the arrays.
  """

  def __init__(self, read, shape, dtype, first: int = 0):
    """Makes a clip.

    Args:
      read: (first frame, end frame, (top, bottom, left, right)) -> array of
        that part, `[end - first, bottom - top, right - left, C]`.
      shape: (T, H, W, C).
      dtype: of what `read` returns.
      first: what `read` calls the first frame.
    """
    self._read, self._first = read, first
    self.shape, self.dtype = tuple(shape), np.dtype(dtype)

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, key):
    keys = key if isinstance(key, tuple) else (key,)
    if len(keys) > 3 or not all(
        isinstance(k, slice) and k.step in (None, 1) for k in keys
    ):
      raise IndexError(
          "A lazy clip takes up to three slices without a step (frames, rows,"
          f" columns), but got {key!r}. Use np.asarray(clip) for others."
      )
    bounds = [k.indices(size)[:2] for k, size in zip(keys, self.shape)]
    start, end = bounds[0]
    end = max(start, end)
    if len(keys) == 1:
      shape = (end - start, *self.shape[1:])
      return LazyClip(self._read, shape, self.dtype, self._first + start)
    box = [*bounds[1:], (0, self.shape[2])][:2]
    return self._read(
        self._first + start, self._first + end, (*box[0], *box[1])
    )

  def __array__(self, dtype=None, copy=None):
    if copy is False:
      raise ValueError("A lazy clip is no array yet: it cannot avoid a copy.")
    array = self[:, :, :]
    return array if dtype is None else array.astype(dtype)
