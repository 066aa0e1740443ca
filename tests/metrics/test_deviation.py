"""The AD index (equation 12 of FITVNet) by hand, and its laws."""

import numpy as np
import pytest
from skimage.util import view_as_blocks

from vidrestore_jax.metrics import deviation


def _random(seed=0, shape=(96, 128, 3)):
  generator = np.random.default_rng(seed)
  return generator.random(shape), generator.random(shape)


def test_one_bad_patch_is_found_and_is_the_index():
  truth = np.full((64, 96, 3), 0.5)
  image = truth.copy()
  # Half the patch too bright by 0.2, half too dark: its deviation is 0.2.
  image[32:48, 64:] += 0.2
  image[48:, 64:] -= 0.2
  found = deviation.average_deviation(image, truth)
  assert found.index == pytest.approx(0.2, abs=1e-12)
  assert found.threshold == pytest.approx(0.2 / 6, abs=1e-12)
  expected = np.zeros((2, 3), bool)
  expected[1, 2] = True
  np.testing.assert_array_equal(found.selected, expected)
  np.testing.assert_allclose(found.patches, 0.2 * expected, atol=1e-12)


def test_equal_patches_have_none_above_the_mean():
  truth = np.zeros((32, 64, 1))
  # A constant error deviates nowhere, whatever its size.
  flat = deviation.average_deviation(truth + 0.25, truth)
  assert flat.index == flat.threshold == 0.0 and not flat.selected.any()
  image = truth.copy()
  image[::2] = 0.5  # The same in both patches.
  even = deviation.average_deviation(image, truth)
  assert even.index == even.threshold == 0.25 and not even.selected.any()


def test_index_is_the_mean_above_the_mean():
  # Deviations 1/8, 2/8, 3/8 and 6/8 about a mean of 3/8: only 6/8 is above.
  truth = np.zeros((32, 128, 1))
  image = truth.copy()
  for patch, size in enumerate((1, 2, 3, 6)):
    image[::2, 32 * patch : 32 * patch + 32] = size / 4
  found = deviation.average_deviation(image, truth)
  assert (found.index, found.threshold) == (0.75, 0.375)


def test_patches_equal_those_of_scikit_images_blocks():
  image, truth = _random(shape=(70, 129, 3))
  found = deviation.average_deviation(image, truth)
  # 70x129 holds 2x4 patches; what is left at the border counts for none.
  blocks = view_as_blocks(np.ascontiguousarray((image - truth)[:64, :128]),
                          (32, 32, 3))
  expected = blocks.reshape(2, 4, -1).std(-1)
  np.testing.assert_allclose(found.patches, expected, rtol=1e-12)
  assert found.index == pytest.approx(
      expected[expected > expected.mean()].mean(), rel=1e-12
  )


def test_laws_of_the_index():
  image, truth = _random()
  found = deviation.average_deviation(image, truth)
  assert found.threshold <= found.index <= found.patches.max()
  # An offset changes nothing; a scale of the residual scales it.
  offset = deviation.average_deviation(image + 0.1, truth)
  assert offset.index == pytest.approx(found.index, rel=1e-12)
  half = deviation.average_deviation((image + truth) / 2, truth)
  assert half.index == pytest.approx(found.index / 2, rel=1e-12)
  flipped = deviation.average_deviation(image[::-1, ::-1], truth[::-1, ::-1])
  np.testing.assert_allclose(
      flipped.patches[::-1, ::-1], found.patches, rtol=1e-12
  )


def test_summary_by_hand():
  indices = (0.1, 0.2, 0.6)
  assert deviation.summary(indices) == pytest.approx((0.3, 0.6, 1))
  # Against another method's average.
  assert deviation.summary(indices, limit=0.15).count == 2
  assert deviation.summary([0.25, 0.25]).count == 0


def test_what_has_no_patches_is_refused():
  with pytest.raises(ValueError, match="at least 32x32.*31x64"):
    deviation.average_deviation(np.zeros((31, 64, 3)), np.zeros((31, 64, 3)))
  with pytest.raises(ValueError, match="one shape"):
    deviation.average_deviation(np.zeros((32, 32, 3)), np.zeros((32, 32, 1)))
  with pytest.raises(ValueError, match="no images"):
    deviation.summary([])
