"""Bootstrap intervals by hand, by their coverage and by SciPy."""

import numpy as np
import pytest
import scipy.stats

from vidrestore_jax.metrics import bootstrap


def test_of_two_clips_the_interval_is_the_two():
  # Their resampled means are a, b and, half the time, between.
  assert bootstrap.mean_interval([31.0, 29.0]) == (29.0, 31.0)


def test_one_clip_says_nothing_of_others():
  assert bootstrap.mean_interval([30.0]) is None


def test_interval_equals_scipys_but_for_the_draw():
  values = np.random.default_rng(0).normal(30, 2, 25)
  expected = scipy.stats.bootstrap(
      (values,), np.mean, method="percentile", n_resamples=10_000,
      rng=np.random.default_rng(1),
  ).confidence_interval
  found = bootstrap.mean_interval(values)
  assert found == pytest.approx(tuple(expected), abs=0.05)


def test_interval_moves_and_scales_with_the_values_and_is_the_same_again():
  values = np.random.default_rng(0).normal(size=12)
  low, high = bootstrap.mean_interval(values)
  assert low < values.mean() < high
  assert bootstrap.mean_interval(values) == (low, high)
  moved = bootstrap.mean_interval(3 * values + 30)
  assert moved == pytest.approx((3 * low + 30, 3 * high + 30), abs=1e-9)
  # Two methods that differ alike on every clip: no doubt about the difference.
  differences = (values + 0.5) - values
  assert bootstrap.mean_interval(differences) == pytest.approx((0.5, 0.5))


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
  generator = np.random.default_rng(0)
  trials = 100
  covered = 0
  for _ in range(trials):
    low, high = bootstrap.mean_interval(generator.normal(size=30))
    covered += low <= 0 <= high
  # In theory 93 to 94 % of 30 normal values; three sigma of 100 trials: 7 %.
  assert 0.86 < covered / trials < 0.99
