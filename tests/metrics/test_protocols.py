import dataclasses

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from vidrestore_jax.metrics import image, protocols, temporal


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


def test_vnlnets_noise_is_numpys_frozen_stream():
  shape = (3, 8, 9, 3)
  drawn = protocols.get("vnlnet").noise.draw(shape, 20)
  expected = np.random.RandomState(2018).randn(*shape) * 20 / 255
  np.testing.assert_allclose(drawn, expected, rtol=1e-6)
  # A published fact of that stream: its first value.
  assert drawn[0, 0, 0, 0] == pytest.approx(-0.2767676848 * 20 / 255, abs=1e-7)


def test_vnlnet_rounds_halves_up_and_pools_squared_errors():
  protocol = protocols.get("vnlnet")
  truth = np.zeros((3, 8, 8, 3), np.float32)
  frames = truth + np.array([0.5, 2.5, 0]).reshape(3, 1, 1, 1) / 255
  scores = protocols.score(frames, truth, protocol)
  # Levels 1 and 3, and no error; halves to even would give 0 and 2.
  expected = [20 * np.log10(255 / 1), 20 * np.log10(255 / 3), 100]
  np.testing.assert_allclose(scores["psnr"], expected, atol=1e-9)
  pooled = protocols.pool(scores, protocol)
  assert pooled["psnr"] == pytest.approx(
      10 * np.log10(255**2 / (10 / 3)), abs=1e-4
  )
  assert pooled["psnr"] == pytest.approx(
      image.sequence_psnr(np.array([1, 3, 0.0]).reshape(3, 1, 1, 1),
                          np.zeros((3, 1, 1, 1)), peak=255), abs=1e-4
  )
  assert pooled["ssim"] == pytest.approx(scores["ssim"].mean())
  # Others take the mean over frames.
  mean = protocols.pool(scores, protocols.get("basicsr"))["psnr"]
  assert mean == pytest.approx(np.mean(expected), abs=1e-9)


def test_basicsr_and_mmagic_differ_by_rounding_alone():
  truth = np.round(255 * _clip()) / 255
  frames = truth + np.float32(0.3 / 255)  # Rounds to the truth.
  frames[:, 0, 0] = 1.5
  truth[:, 0, 0] = 1.0  # Clamped to it.
  rounded = protocols.score(frames, truth, protocols.get("basicsr"))["psnr"]
  np.testing.assert_array_equal(rounded, protocols.MAX_PSNR)
  clamped = protocols.score(frames, truth, protocols.get("mmagic"))["psnr"]
  share = 1 - 1 / (16 * 18)  # All but one pixel.
  expected = 20 * np.log10(255 / 0.3) - 10 * np.log10(share)
  np.testing.assert_allclose(clamped, expected, atol=1e-2)
  # On luminance: 0.3 levels of all three channels are 0.3 * 219 / 255 of Y.
  luma = protocols.score(frames, truth, protocols.get("mmagic_y"))["psnr"]
  np.testing.assert_allclose(
      luma, expected + 20 * np.log10(255 / 219), atol=1e-2
  )


def test_tecogan_drops_frames_crops_and_scales_ssim_by_the_prediction():
  truth = _clip(shape=(7, 60, 84, 3))
  frames = (0.5 * truth + 0.2).astype(np.float32)
  frames[[0, 1, -2, -1]] = 0  # Left out.
  frames[:, :14] = frames[:, -14:] = 0  # 60 to 32 in the middle, 84 to 64.
  frames[:, :, :10] = frames[:, :, -10:] = 0
  protocol = protocols.get("tecogan")
  scores = protocols.score(frames, truth, protocol)
  assert scores["psnr"].shape == (3,)

  def luma(clip, t):
    levels = np.round(255.0 * clip[t, 14:46, 10:74].astype(np.float64))
    return levels @ [0.256788235294118, 0.504129411764706, 0.097905882352941]

  for i, t in enumerate((2, 3, 4)):
    own, true = luma(frames, t) + 16, luma(truth, t) + 16
    expected = 20 * np.log10(255 / np.sqrt(np.mean((own - true) ** 2)))
    assert scores["psnr"][i] == pytest.approx(expected, abs=1e-9)
    expected = structural_similarity(true, own, data_range=np.ptp(own))
    assert scores["ssim"][i] == pytest.approx(expected, abs=1e-9)

  flows = [
      temporal.tof(
          *(np.round(255 * np.float64(c[2:-2])) / 255 for c in (frames, truth)),
          crop=lambda flow: flow[14:46, 10:74],
      )
  ]
  found = protocols.further(frames, truth, protocol)
  assert found == {"tof": pytest.approx(flows[0], rel=1e-6)}


def test_further_numbers_take_the_protocols_frames():
  truth = _clip(shape=(2, 40, 36, 3))
  frames = truth + np.float32(0.4 / 255) * (np.arange(36) % 2)[:, None]
  ad = {"ad": protocols.FURTHER["ad"]}
  floats = protocols.further(frames, truth, protocols.get("fastdvdnet"), ad)
  assert floats["ad"] == pytest.approx(0.2 / 255, rel=1e-3)
  assert protocols.further(frames, truth, protocols.get("fastdvdnet")) == {}
  with pytest.raises(ValueError, match="ad needs RGB clips"):
    protocols.further(truth[..., :1], truth[..., :1],
                      protocols.get("fastdvdnet"), ad)


def test_clips_too_short_for_a_protocol_are_refused():
  clip = _clip(shape=(4, 64, 64, 3))
  with pytest.raises(ValueError, match="tecogan leaves out 2 .* 5 or more.* 4"):
    protocols.score(clip, clip, protocols.get("tecogan"))


def test_every_record_is_found_and_says_its_source():
  wanted = {"basicsr", "fastdvdnet", "vnlnet", "mmagic", "tecogan", "sr_y"}
  assert wanted < set(protocols.of_images()) < set(protocols.available())
  for name in protocols.available():
    record = protocols.get(name)
    assert record.name == name and len(record.source) > 40
