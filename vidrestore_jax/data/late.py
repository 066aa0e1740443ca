"""Clips of another source that come late: to restore them is to predict.

`degraded` frame t is the one `count` frames before `clean` frame t, so that a
causal restorer learns to predict what it has not seen.
"""

from vidrestore_jax import data
from vidrestore_jax.data import transforms
from vidrestore_jax.shapes import check_named


class LateClips:
  """Pairs of a frame and the one before it.

  Attributes:
    source: of the clips.
    count: by how many frames they are late.
  """

  def __init__(self, source, count: int):
    if count < 1:
      raise ValueError(f"late needs a count of 1 or more, but got {count}.")
    self.source, self.count = source, count
    self.max_threads = getattr(source, "max_threads", None)
    self.damaged = getattr(source, "damaged", [])

  def __len__(self) -> int:
    return len(self.source)

  def __repr__(self) -> str:
    return f"LateClips({self.source!r}, count={self.count})"

  def __getitem__(self, index) -> dict:
    """Clip `index`, shorter by `count` frames, and its `degraded` frames.

    Raises:
      ValueError: the clip is a pair already, or too short.
    """
    return self._pair(self.source[index])

  def open(self, index) -> dict:
    """The same, decoded only where it is looked at."""
    read = getattr(self.source, "open", self.source.__getitem__)
    return self._pair(read(index))

  def _pair(self, example):
    clean = example["clean"]
    length = len(clean) - self.count
    if "degraded" in example or length < 1:
      raise ValueError(
          f"Clips that are late by {self.count} are clean and have more frames"
          f" than that, but {example['name']} has"
          f" {len(clean)}{' pairs' * ('degraded' in example)}."
      )
    example = transforms.window(example, self.count, length)
    return example | {"degraded": clean[:length]}


def build(*, source: dict, count: int = 1) -> LateClips:
  """The source for `data.build("late", ...)`.

  Args:
    source: name and arguments of the source of clean clips.
    count: by how many frames they are late.

  Raises:
    ValueError: no such source, or a count below 1.
  """
  check_named("The source of late", source)
  return LateClips(data.build(**source), count)
