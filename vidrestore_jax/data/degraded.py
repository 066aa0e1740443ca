"""Any source of clean clips, degraded: fixed pairs to measure on.

Clip i is degraded by what `numpy.random.default_rng([seed, i])` draws, so that
everybody who names the source, the degradation and the seed has the same bytes.
"""

import numpy as np

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
    if degradations.place(degradation["name"]) != "pipeline":
      raise ValueError(
          f"{degradation['name']} runs on the device, in the train step or"
          " under a protocol that adds its noise; only a degradation of the"
          " pipeline makes a data set, such as rain.streaks."
      )
    if seed < 0:
      raise ValueError(f"seed needs to be at least 0, but is {seed}.")
    self.source, self.degradation, self.seed = source, degradation, seed
    self.max_threads = getattr(source, "max_threads", None)
    self.damaged = getattr(source, "damaged", [])
    self._degrade = degradations.build(**degradation)

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
    rng = np.random.default_rng([self.seed, index])
    return transforms.degrade(rng, self.source[index], self._degrade)


def build(*, source: dict, degradation: dict, seed: int = 0) -> DegradedClips:
  """The source for `data.build("degraded", ...)`.

  Args:
    source: name and arguments of the source of clean clips.
    degradation: name and arguments of a degradation of the pipeline.
    seed: of all draws; another one makes another set of the same clips.

  Raises:
    ValueError: no such source or degradation, or one that runs on the device.
  """
  check_named("The source of degraded", source)
  check_named("The degradation of degraded", degradation)
  return DegradedClips(data.build(**source), degradation, seed)
