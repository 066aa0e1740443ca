import dataclasses

import numpy as np
import pytest

from vidrestore_jax.metrics import image, protocols


def _clip(seed=0, shape=(2, 16, 18, 3)):
  return np.random.default_rng(seed).random(shape).astype(np.float32)


def test_noise_is_the_published_recipe_bit_for_bit():
  drawn = protocols.get("fastdvdnet").noise.draw((3, 8, 9, 3), 30)
  whole = np.random.default_rng(1030).normal(0, 30 / 255, (3, 3, 8, 9))
  expected = whole.astype(np.float32).transpose(0, 2, 3, 1)
  np.testing.assert_array_equal(drawn, expected)


def test_fewer_frames_of_noise_are_the_first_of_more():
  noise = protocols.get("fastdvdnet").noise
  np.testing.assert_array_equal(
      noise.draw((2, 5, 4, 3), 50), noise.draw((4, 5, 4, 3), 50)[:2]
  )


def test_noisy_input_has_the_psnr_of_its_sigma():
  # 20 log10(255 / sigma), which only unclipped noise keeps on black and white.
  protocol = protocols.get("fastdvdnet")
  truth = np.zeros((4, 64, 64, 3), np.float32)
  for sigma, expected in ((20, 22.11), (50, 14.15)):
    noisy = truth + protocol.noise.draw(truth.shape, sigma)
    psnr = protocols.score(noisy, truth, protocol)["psnr"]
    assert psnr.mean() == pytest.approx(expected, abs=0.05)


def test_fastdvdnet_compares_rgb_floats_without_rounding():
  truth = np.full((1, 12, 12, 3), 0.5, np.float32)
  # Less than half a level of 8 bits: rounding would give two equal images.
  frames = truth + np.float32(0.001)
  score = protocols.score(frames, truth, protocols.get("fastdvdnet"))
  assert score["psnr"][0] == pytest.approx(60.0, abs=0.01)


def test_sr_y_rounds_to_8_bits_and_compares_luminance():
  truth = _clip()
  frames = truth + np.float32(0.02)
  score = protocols.score(frames, truth, protocols.get("sr_y"))

  def luminance(clip):
    rounded = np.round(255 * np.clip(clip.astype(np.float64), 0, 1))
    red, green, blue = np.moveaxis(rounded, -1, 0)
    value = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
    return value[..., None]

  for t, pair in enumerate(zip(luminance(frames), luminance(truth))):
    expected = 10 * np.log10(255**2 / np.mean((pair[0] - pair[1]) ** 2))
    assert score["psnr"][t] == pytest.approx(expected, abs=1e-9)
    assert score["ssim"][t] == pytest.approx(
        image.ssim(*pair, peak=255), abs=1e-12
    )


def test_border_is_left_out():
  protocol = dataclasses.replace(protocols.get("fastdvdnet"), border=2)
  truth = _clip()
  frames = truth.copy()
  frames[:, :2] = frames[:, -2:] = frames[:, :, :2] = frames[:, :, -2:] = 0
  score = protocols.score(frames, truth, protocol)
  np.testing.assert_array_equal(score["psnr"], protocols.MAX_PSNR)
  np.testing.assert_allclose(score["ssim"], 1.0, atol=1e-12)


def test_scores_are_per_frame():
  truth = _clip()
  frames = truth.copy()
  frames[1] += np.float32(0.1)
  score = protocols.score(frames, truth, protocols.get("fastdvdnet"))
  assert score["psnr"][0] == protocols.MAX_PSNR
  assert score["psnr"][1] == pytest.approx(20.0, abs=1e-4)


def test_clamp_is_to_the_range_of_images():
  np.testing.assert_array_equal(
      protocols.clamp(np.array([-0.5, 0.25, 1.5])), [0.0, 0.25, 1.0]
  )


def test_the_record_says_how_it_was_measured():
  record = protocols.as_dict(protocols.get("fastdvdnet"))
  assert record["frames"] == 85
  assert record["noise"]["seed"] == 1000
  assert "fastdvdnet" in record["source"]


def test_unknown_protocol_lists_what_exists():
  with pytest.raises(ValueError, match=r"'psnr'.*fastdvdnet.*sr_y"):
    protocols.get("psnr")


def test_frames_that_mean_nothing_are_refused():
  truth = _clip()
  broken = truth.copy()
  broken[0, 0, 0, 0] = np.nan
  with pytest.raises(ValueError, match="NaN"):
    protocols.score(broken, truth, protocols.get("fastdvdnet"))
  with pytest.raises(ValueError, match="one shape"):
    protocols.score(truth[:1], truth, protocols.get("fastdvdnet"))
