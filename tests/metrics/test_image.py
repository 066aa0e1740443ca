import dm_pix
import jax
import numpy as np
import pytest
from skimage import metrics as skimage_metrics

from vidrestore_jax.metrics import image


def _pair(seed=0, shape=(37, 45, 3), dtype=np.float64):
  generator = np.random.default_rng(seed)
  truth = generator.random(shape)
  wrong = truth + 0.1 * generator.normal(size=shape)
  return wrong.astype(dtype), truth.astype(dtype)


def test_psnr_of_an_error_of_a_tenth_is_20_db():
  truth = np.full((4, 5, 3), 0.5)
  assert image.psnr(truth + 0.1, truth) == pytest.approx(20.0, abs=1e-12)


def test_psnr_of_one_wrong_8_bit_pixel_by_hand():
  truth = np.zeros((2, 2, 1), np.uint8)
  wrong = truth.copy()
  wrong[0, 1] = 51  # A fifth of white in a quarter of the pixels: MSE 0.01.
  assert image.psnr(wrong, truth, peak=255) == pytest.approx(20.0, abs=1e-12)


def test_psnr_of_equal_images_is_infinite():
  truth = np.ones((3, 3, 3))
  assert image.psnr(truth, truth) == np.inf


def test_psnr_does_not_depend_on_the_scale_of_white():
  wrong, truth = _pair()
  assert image.psnr(255 * wrong, 255 * truth, peak=255) == pytest.approx(
      image.psnr(wrong, truth), abs=1e-9
  )


def test_psnr_equals_scikit_images_and_dm_pixs():
  wrong, truth = _pair()
  expected = skimage_metrics.peak_signal_noise_ratio(
      truth, wrong, data_range=1.0
  )
  assert image.psnr(wrong, truth) == pytest.approx(expected, abs=1e-10)
  # dm-pix computes in float32.
  expected = float(jax.jit(dm_pix.psnr)(*_pair(dtype=np.float32)))
  assert image.psnr(wrong, truth) == pytest.approx(expected, abs=1e-4)


def test_sequence_psnr_is_of_one_mean_squared_error():
  truth = np.full((2, 4, 5, 3), 0.5)
  errors = np.array([0.1, 0.3]).reshape(2, 1, 1, 1)
  # Mean squared errors 0.01 and 0.09, so 0.05 for the clip.
  value = image.sequence_psnr(truth + errors, truth)
  assert value == pytest.approx(-10 * np.log10(0.05), abs=1e-12)
  # Concave: never above the mean over frames, here 20 and 10.46 dB.
  assert value < np.mean([image.psnr(truth[0] + e, truth[0]) for e in errors])
  even = image.sequence_psnr(255 * (truth + 0.1), 255 * truth, peak=255)
  assert even == pytest.approx(20.0, abs=1e-9)
  wrong, truth = _pair(shape=(4, 13, 17, 3))
  expected = skimage_metrics.peak_signal_noise_ratio(
      truth, wrong, data_range=1.0
  )
  assert image.sequence_psnr(wrong, truth) == pytest.approx(expected, abs=1e-10)
  assert image.sequence_psnr(truth, truth) == np.inf
  with pytest.raises(ValueError, match="one shape"):
    image.sequence_psnr(truth[0], truth[0])


def test_ssim_equals_scikit_image_inside_the_border():
  wrong, truth = _pair()
  _, whole = skimage_metrics.structural_similarity(
      truth,
      wrong,
      channel_axis=-1,
      data_range=1.0,
      gaussian_weights=True,
      sigma=1.5,
      use_sample_covariance=False,
      full=True,
  )
  expected = whole[5:-5, 5:-5].mean()
  assert image.ssim(wrong, truth) == pytest.approx(expected, abs=1e-12)


def test_ssim_equals_dm_pixs_where_its_clipping_changes_nothing():
  # dm-pix clips variances to at least 0 and covariances to their bound, which
  # those of one window always meet; it computes in float32.
  wrong, truth = _pair(shape=(13, 14, 3), dtype=np.float32)
  expected = float(jax.jit(dm_pix.ssim)(wrong, truth))
  assert image.ssim(wrong, truth) == pytest.approx(expected, abs=1e-5)


def test_uniform_ssim_equals_scikit_images_default():
  wrong, truth = _pair()
  expected = skimage_metrics.structural_similarity(
      truth, wrong, channel_axis=-1, data_range=1.0
  )
  assert image.ssim_uniform(wrong, truth) == pytest.approx(expected, abs=1e-12)


SSIMS = pytest.mark.parametrize("ssim", [image.ssim, image.ssim_uniform])


@SSIMS
def test_ssim_of_two_flat_images_is_the_luminance_term(ssim):
  # No variance: (2 a b + c1) / (a^2 + b^2 + c1), with c1 = 0.01^2.
  a, b = np.full((11, 12, 1), 0.2), np.full((11, 12, 1), 0.6)
  expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
  assert ssim(a, b) == pytest.approx(expected, abs=1e-12)


@SSIMS
def test_ssim_laws(ssim):
  wrong, truth = _pair()
  value = ssim(wrong, truth)
  assert ssim(truth, truth) == pytest.approx(1.0, abs=1e-12)
  assert ssim(truth, wrong) == pytest.approx(value, abs=1e-12)
  # Bounded; below 0 for a negative, whose contrast is turned round.
  assert -1 <= ssim(1 - truth, truth) < 0 < value < 1
  flipped = ssim(wrong[:, ::-1], truth[:, ::-1])
  assert flipped == pytest.approx(value, abs=1e-12)
  turned = ssim(wrong.transpose(1, 0, 2), truth.transpose(1, 0, 2))
  assert turned == pytest.approx(value, abs=1e-12)
  each = [ssim(wrong[..., [c]], truth[..., [c]]) for c in range(3)]
  assert np.mean(each) == pytest.approx(value, abs=1e-12)
  scaled = ssim(255 * wrong, 255 * truth, peak=255)
  assert scaled == pytest.approx(value, abs=1e-9)


def test_ssim_is_computed_in_float64_whatever_comes_in():
  wrong, truth = (x.astype(np.float32) for x in _pair())
  expected = image.ssim(wrong.astype(np.float64), truth.astype(np.float64))
  assert image.ssim(wrong, truth) == expected


def test_luminance_of_the_primaries():
  colours = np.array([[[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]])
  expected = [16.0, 235.0, 81.481, 144.553, 40.966]
  np.testing.assert_allclose(
      image.luminance(colours)[0, :, 0], expected, atol=1e-9
  )
  np.testing.assert_allclose(
      image.luminance(colours * 255, peak=255)[0, :, 0], expected, atol=1e-9
  )


def test_crop_border_keeps_the_middle():
  pixels = np.arange(30).reshape(5, 6, 1)
  np.testing.assert_array_equal(
      image.crop_border(pixels, 2)[..., 0], [[14, 15]]
  )
  np.testing.assert_array_equal(image.crop_border(pixels, 0), pixels)


def test_centre_crop_leaves_multiples_as_tecogan_takes_them():
  # 144x180 of Vid4: (144 - 16) // 32 = 4, (180 - 16) // 32 = 5.
  pixels = np.arange(144 * 180).reshape(144, 180, 1)
  np.testing.assert_array_equal(
      image.crop_centre(pixels, 32), pixels[8:136, 10:170]
  )
  # Exactly 16 may be left out; one pixel less takes a multiple away.
  assert image.crop_centre(np.zeros((48, 79, 2)), 32).shape == (32, 32, 2)
  assert image.crop_centre(np.zeros((48, 80, 2)), 32).shape == (32, 64, 2)
  with pytest.raises(ValueError, match="nothing of 47x80; .* at least 48"):
    image.crop_centre(np.zeros((47, 80, 1)), 32)


def test_errors_name_the_given_and_the_allowed():
  with pytest.raises(ValueError, match=r"one shape.*\(4, 5, 3\).*\(4, 6, 3\)"):
    image.psnr(np.zeros((4, 5, 3)), np.zeros((4, 6, 3)))
  with pytest.raises(ValueError, match=r"at least 11x11.*10x20"):
    image.ssim(np.zeros((10, 20, 3)), np.zeros((10, 20, 3)))
  with pytest.raises(ValueError, match="at least 7x7.*got 6x9"):
    image.ssim_uniform(np.zeros((6, 9, 4)), np.zeros((6, 9, 4)))
  with pytest.raises(ValueError, match="it may be 0 to 2"):
    image.crop_border(np.zeros((5, 6, 1)), 3)
  with pytest.raises(ValueError, match="RGB"):
    image.luminance(np.zeros((5, 6, 1)))
