"""How sure a mean over clips is: percentile bootstrap, seeded.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3:
the clips are drawn anew, with replacement and as many as there are, and the
interval holds the middle of the means of such draws. It says how much the mean
would move had other clips of the kind been at hand, and nothing of noise,
training seeds or other kinds of clips; of few clips (fewer than about ten) it
is too narrow.
"""

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
SEED = 0
_CHUNKS = 10


def mean_interval(values) -> tuple[float, float] | None:
  """The 95 % interval of a mean over clips.

  The same clips are drawn for any values of one length, so that the interval
  of a difference of two methods (clip by clip) is a paired one.

  Args:
    values: one number for each clip.

  Returns:
    (low, high); None of fewer than two clips, which say nothing of others.
  """
  values = np.asarray(values, np.float64)
  count = len(values)
  if count < 2:
    return None
  generator = np.random.default_rng(SEED)
  means = []
  for _ in range(_CHUNKS):  # Draws of thousands of clips do not fit at once.
    drawn = generator.integers(0, count, (RESAMPLES // _CHUNKS, count))
    means.append(values[drawn].mean(1))
  tail = (1 - LEVEL) / 2
  low, high = np.quantile(np.concatenate(means), (tail, 1 - tail))
  return float(low), float(high)
