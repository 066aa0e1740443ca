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
