import numpy as np
import pytest
from scipy import ndimage

from vidrestore_jax.metrics import baselines


@pytest.mark.parametrize(("name", "size"), [("median3", 3), ("median5", 5)])
@pytest.mark.parametrize("shape", [(2, 19, 23, 3), (1, 8, 5, 1), (1, 1, 2, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_medians_equal_scipys(name, size, shape, dtype):
  generator = np.random.default_rng(size)
  # Few distinct values, so that ties occur.
  clip = generator.integers(0, 12, shape).astype(dtype)
  filtered = baselines.FILTERS[name](clip)
  expected = ndimage.median_filter(
      clip, size=(1, size, size, 1), mode="nearest"
  )
  np.testing.assert_array_equal(filtered, expected)
  assert filtered.dtype == dtype


def test_median_removes_a_lone_outlier_and_keeps_an_edge():
  clip = np.zeros((1, 6, 8, 1), np.float32)
  clip[:, :, 4:] = 1.0
  expected = clip.copy()
  clip[0, 2, 1] = 9.0
  np.testing.assert_array_equal(baselines.median3(clip), expected)


def test_affine_undoes_a_gain_and_an_offset():
  truth = np.random.default_rng(0).random((3, 9, 7, 3)).astype(np.float32)
  for clip in (0.4 * truth + 0.5, 0.9 - 0.3 * truth):
    np.testing.assert_allclose(baselines.affine(clip, truth), truth, atol=1e-6)
  # What differs from channel to channel it cannot undo, and affine_rgb can.
  mixing = np.array([[0.5, 0.2, 0.0], [0.1, 0.4, 0.1], [0.0, 0.1, 0.3]])
  clip = truth @ mixing + [0.1, 0.2, 0.3]
  fitted = baselines.affine_rgb(clip, truth)
  np.testing.assert_allclose(fitted, truth, atol=1e-6)
  assert np.square(baselines.affine(clip, truth) - truth).mean() > 1e-3


def test_affine_is_the_least_squares_fit_of_the_whole_clip():
  generator = np.random.default_rng(1)
  truth = 0.4 + 0.2 * generator.random((2, 8, 8, 3))
  clip = truth + generator.normal(0, 0.2, truth.shape)
  gain, offset = np.polyfit(clip.ravel(), truth.ravel(), 1)
  np.testing.assert_allclose(
      baselines.affine(clip, truth), gain * clip + offset, atol=1e-6
  )


def test_affine_of_a_flat_clip_is_the_truths_mean():
  truth = np.random.default_rng(2).random((2, 5, 5, 3))
  flat = np.full_like(truth, 0.7)
  for oracle, axes in (
      (baselines.affine, None), (baselines.affine_rgb, (0, 1, 2)),
  ):
    mean = np.broadcast_to(truth.mean(axes), truth.shape)
    np.testing.assert_allclose(oracle(flat, truth), mean, atol=1e-6)
  # Clamped like any restored clip.
  assert baselines.affine(truth, 3 * truth).max() == 1.0
  with pytest.raises(ValueError, match="one shape"):
    baselines.affine(truth[:1], truth)
