"""BD: both public kernels, tap by tap, and what they sample."""

import numpy as np
import pytest
from scipy import ndimage

from vidrestore_jax.degradations import blur


def _clip():
  return np.random.default_rng(0).random((2, 32, 48, 3), np.float32)


def test_duf_is_scipys_gaussian_at_every_fourth_pixel():
  """As BasicSR's duf_downsample: kernel from scipy, torch's reflection."""
  clip = _clip()
  small, card = blur.gaussian_decimate(None, clip, **blur.PRESETS["duf"])
  blurred = ndimage.gaussian_filter(
      clip, (0, 1.6, 1.6, 0), mode="mirror", radius=(0, 6, 6, 0)
  )
  assert small.shape == (2, 8, 12, 3) and small.dtype == np.float32
  np.testing.assert_allclose(small, blurred[:, ::4, ::4], atol=1e-6)
  assert card["phase_px"] == 0 and card["size_px"] == 13
  default, _ = blur.gaussian_decimate(None, clip)
  np.testing.assert_array_equal(default, small)


def test_basicvsr_is_matlabs_even_kernel_at_the_second_pixel_of_four():
  """fspecial("gaussian", 12, 1.6), imfilter with "replicate", 2:4:end-2."""
  clip = _clip()
  small, _ = blur.gaussian_decimate(None, clip, **blur.PRESETS["basicvsr"])
  at = np.arange(12) - 5.5
  kernel = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.6**2))
  kernel /= kernel.sum()
  # imfilter's centre is tap floor((12 + 1) / 2), counted from one: the sixth.
  blurred = ndimage.correlate(
      clip.astype(np.float64), kernel[None, :, :, None], mode="nearest",
      origin=(0, -1, -1, 0),
  )
  np.testing.assert_allclose(small, blurred[:, 1:-2:4, 1:-2:4], atol=1e-6)


def test_basicvsr_is_centred_on_the_block_and_duf_on_its_corner():
  ramp = np.arange(64, dtype=np.float32) / 64
  clip = np.broadcast_to(ramp[:, None], (1, 64, 64, 1))
  for name, offset in (("duf", 0.0), ("basicvsr", 1.5)):
    small, _ = blur.gaussian_decimate(None, clip, **blur.PRESETS[name])
    expected = (4 * np.arange(16) + offset) / 64
    np.testing.assert_allclose(
        small[0, 8, 3:-3, 0], expected[3:-3], atol=1e-6
    )


def test_blur_of_noise_has_the_variance_of_the_kernel():
  noise = np.random.default_rng(0).normal(0.5, 0.1, (1, 512, 512, 1))
  small, _ = blur.gaussian_decimate(None, noise.astype(np.float32))
  # A Gaussian's squares sum to 1 / (2 sqrt(pi) sigma) in each direction.
  expected = 0.1**2 / (4 * np.pi * 1.6**2)
  np.testing.assert_allclose(small.var(), expected, rtol=0.05)


def test_wrong_options_are_named():
  for options, message in (
      ({"border": "wrap"}, "reflect, symmetric or edge, but is 'wrap'"),
      ({"phase": 4}, "phase=4, scale=4"),
      ({"scale": 5}, "by 5 needs a whole scale that divides"),
      ({"sigma": 0.0}, "sigma > 0, but got .*sigma=0.0"),
  ):
    with pytest.raises(ValueError, match=message):
      blur.gaussian_decimate(None, _clip(), **options)
