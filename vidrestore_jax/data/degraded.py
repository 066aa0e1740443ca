"""Any source of clean clips, degraded: fixed pairs to measure on.

Clip i is degraded by what (seed, i) draws (`degradations.draw`), so that
everybody who names the source, the degradation and the seed has the same bytes.
"""

from vidrestore_jax import data, degradations
from vidrestore_jax.data import transforms
from vidrestore_jax.shapes import check_named


class DegradedClips:
  """Clips of another source with `degraded` and the `card` of what was drawn.

  Attributes:
    source: of the clean clips.
    degradation: name and arguments.
    seed: of all draws.
  """

  def __init__(self, source, degradation: dict, seed: int):
    if seed < 0:
      raise ValueError(f"seed needs to be at least 0, but is {seed}.")
    self.source, self.degradation, self.seed = source, degradation, seed
    self.max_threads = getattr(source, "max_threads", None)
    self.damaged = getattr(source, "damaged", [])
    degradations.build(**degradation)  # Finds what it does not take.

  def __len__(self) -> int:
    return len(self.source)

  def __repr__(self) -> str:
    return (
        f"DegradedClips({self.source!r}, {self.degradation!r},"
        f" seed={self.seed})"
    )

  def __getitem__(self, index) -> dict:
    """Clip `index` with `degraded`, of the type of `clean`, and `card`."""
    index = range(len(self))[index]
    return pair(
        self.source[index], self.degradation, seed=self.seed, index=index
    )


def pair(example: dict, degradation: dict, *, seed: int, index: int) -> dict:
  """A clean example as clip `index` of a degraded set.

  Raises:
    ValueError: the example is a pair already, or does not suit the
      degradation.
  """

  def draw(_, clip):  # The generator is the set's, not the caller's.
    return degradations.draw(degradation, clip, seed=seed, index=index)

  return transforms.degrade(None, example, draw)


def build(*, source: dict, degradation: dict, seed: int = 0) -> DegradedClips:
  """The source for `data.build("degraded", ...)`.

  Args:
    source: name and arguments of the source of clean clips.
    degradation: name and arguments of a degradation, of either kind.
    seed: of all draws; another one makes another set of the same clips.

  Raises:
    ValueError: no such source or degradation, or arguments that do not suit.
  """
  check_named("The source of degraded", source)
  check_named("The degradation of degraded", degradation)
  return DegradedClips(data.build(**source), degradation, seed)
