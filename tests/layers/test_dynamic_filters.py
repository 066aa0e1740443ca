"""Dynamic filters against a loop over pixels."""

import itertools

import jax
import numpy as np
import pytest

from vidrestore_jax.layers import dynamic_filters


def test_it_is_the_loop_of_its_definition():
  generator = np.random.default_rng(0)
  height, width, channels, side, scale = 3, 4, 2, 3, 2
  frame = generator.normal(size=(2, height, width, channels))
  filters = generator.normal(size=(2, height, width, side**2, scale**2))
  found = jax.jit(dynamic_filters.dynamic_upsample)(frame, filters)
  expected = np.zeros((2, scale * height, scale * width, channels))
  for b, y, x, p, q, i, j in itertools.product(*map(range, (
      2, height, width, scale, scale, side, side,
  ))):
    row, column = y + i - 1, x + j - 1
    if 0 <= row < height and 0 <= column < width:
      weight = filters[b, y, x, side * i + j, scale * p + q]
      expected[b, scale * y + p, scale * x + q] += (
          weight * frame[b, row, column]
      )
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_shapes_that_do_not_fit_are_named():
  frame = np.zeros((1, 4, 4, 3))
  for taps, phases, size in ((16, 4, 4), (9, 8, 4), (9, 4, 5)):
    filters = np.zeros((1, size, 4, taps, phases))
    with pytest.raises(ValueError, match=r"with k odd .* but have shape"):
      dynamic_filters.dynamic_upsample(frame, filters)
