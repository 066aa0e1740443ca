"""What tests of converted weights share."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def assert_rounding():
  """A function: what was made differs from the original's by rounding alone."""
  return _assert_rounding


def _assert_rounding(errors, noise, original):
  """Bounds every error by five times that of the original in float32.

  Args:
    errors: {array: largest difference from the original in float64}.
    noise: {array, or what it begins with: the original's own such difference}.
    original: {array: its values}, for what they can be told apart by.
  """
  own = {
      name: max(filter(name.startswith, noise), key=len) for name in errors
  }
  assert set(own.values()) == set(noise)
  for name, error in errors.items():
    floor = 1e-6 * np.abs(original[name]).max()
    assert error <= max(5 * noise[own[name]], floor), name
