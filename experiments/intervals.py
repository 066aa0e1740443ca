"""How sure the means of an evaluation are: intervals over its clips."""

from vidrestore_jax.metrics import bootstrap


def as_json(clips: dict[str, dict[str, float]]) -> dict:
  """The intervals of the means over clips, and how they were found.

  Args:
    clips: numbers by clip, as `evaluation.Evaluation` has them.
  """
  return {
      "level": bootstrap.LEVEL,
      "method": "percentile bootstrap over clips (metrics/bootstrap.py)",
      "resamples": bootstrap.RESAMPLES,
      "seed": bootstrap.SEED,
      "clips": len(clips),
      "mean": of_means(clips),
  }


def of_means(clips) -> dict[str, tuple[float, float]] | None:
  """By number, the interval of its mean; None of one clip: it says nothing."""
  rows = list(clips.values())
  if len(rows) < 2:
    return None
  return {
      key: bootstrap.mean_interval([row[key] for row in rows])
      for key in sorted(rows[0])
      if key != "frames"
  }


def gain(evaluation, name: str, other) -> dict:
  """What a restorer adds to another, clip by clip.

  Args:
    evaluation: the one, an `evaluation.Evaluation`.
    name: of the other.
    other: measured on the same clips.

  Returns:
    `over` (the name), `mean` (differences of the numbers that both have) and
    `intervals` (of those, or None of one clip).
  """
  shared = evaluation.mean.keys() & other.mean.keys()
  clips = {
      clip: {key: numbers[key] - other.clips[clip][key] for key in shared}
      for clip, numbers in evaluation.clips.items()
  }
  return {
      "over": name,
      "mean": {
          key: evaluation.mean[key] - other.mean[key] for key in sorted(shared)
      },
      "intervals": of_means(clips),
  }
