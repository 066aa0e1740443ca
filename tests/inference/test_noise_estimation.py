import math

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax.inference import noise_estimation
from vidrestore_jax.inference.noise_estimation import NoiseEstimate


def _picture(height=192, width=256, seed=0):
  """Smooth shading from dark to bright with textured patches, [0, 1]."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:height, :width]
  picture = 0.1 + 0.8 * x / width + 0.05 * np.sin(y / 17)
  texture = rng.random((height // 4, width // 4)).repeat(4, 0).repeat(4, 1)
  texture *= (x // 48 + y // 48) % 3 == 0
  return np.clip(picture + 0.3 * texture, 0, 1)[..., None] * [1.0, 0.9, 0.8]


def _noisy(clean, deviation, seed):
  """As files hold it: clipped, in 8 bits."""
  noise = np.random.default_rng(seed).normal(0, 1, clean.shape)
  noisy = np.clip(clean + deviation * noise, 0, 1)
  return np.rint(255 * noisy).astype(np.float32) / 255


@pytest.mark.parametrize("sigma", [5, 20, 75])
def test_sigma_is_that_before_clipping(sigma):
  noisy = _noisy(_picture(), sigma / 255, 1)
  found = noise_estimation.estimate(noisy)
  assert 255 * found.sigma == pytest.approx(sigma, rel=0.04)
  # The noise that is left in the file is far less at the highest level.
  if sigma == 75:
    assert 255 * (noisy - _picture()).std() < 0.93 * sigma


def test_signal_dependent_noise_is_found_at_every_intensity():
  gain, offset = 0.02, 0.0004
  clean = _picture()
  noisy = _noisy(clean, np.sqrt(gain * clean + offset), 2)
  found = noise_estimation.estimate(noisy)
  for x in (0.1, 0.5, 0.9):
    expected = math.sqrt(gain * x + offset)
    assert found.level(x) == pytest.approx(expected, rel=0.05)
  error = found.noise_map(noisy)[..., 0] - found.level(clean.mean(-1))
  assert np.abs(error).mean() < 0.05 * found.sigma


def _with_half_colour(frames):
  """Colour differences (BT.709) as means of 2x2 pixels, enlarged again."""
  weights = np.array([0.2126, 0.7152, 0.0722], np.float32)
  luma = (frames @ weights)[..., None]
  colour = frames - luma
  height, width, channels = frames.shape
  cells = colour.reshape(height // 2, 2, width // 2, 2, channels)
  return luma + cells.mean((1, 3)).repeat(2, 0).repeat(2, 1)


@pytest.mark.parametrize("sigma", [10, 30])
def test_noise_of_colour_at_half_the_resolution_counts_as_before(sigma):
  noisy = _noisy(_picture(), sigma / 255, 8)
  halved = _with_half_colour(noisy).astype(np.float32)
  found = noise_estimation.estimate(halved)
  assert 255 * found.sigma == pytest.approx(sigma, rel=0.12)
  # A pixel has far less of it, and its high frequencies still less.
  left = halved - _with_half_colour(_picture().astype(np.float32))
  assert 255 * left.std() < 0.85 * sigma
  # The signal-dependent model has the same level, where the picture is.
  level = found.level(_picture().mean(-1))
  assert level.mean() == pytest.approx(found.sigma, rel=0.08)


def test_what_does_not_move_needs_no_flat_places():
  rng = np.random.default_rng(3)
  texture = 0.4 + 0.2 * rng.random((64, 64, 3)).repeat(2, 0).repeat(2, 1)
  first, second = (_noisy(texture, 10 / 255, seed) for seed in (4, 5))
  alone = noise_estimation.estimate(second)
  together = noise_estimation.estimate(second, first)
  assert 255 * alone.sigma > 12
  assert 255 * together.sigma == pytest.approx(10, rel=0.05)


def test_repeated_frames_do_not_hide_the_noise():
  noisy = _noisy(_picture(), 20 / 255, 6)
  for previous in (noisy, np.clip(noisy + 0.001, 0, 1)):
    found = noise_estimation.estimate(noisy, previous)
    assert 255 * found.sigma == pytest.approx(20, rel=0.05)


def test_captions_and_bars_without_noise_have_no_say():
  noisy = _noisy(_picture(), 20 / 255, 7)
  noisy[:32] = 0  # A black bar,
  noisy[-48:] = 0.5  # a grey one,
  noisy[64:96, 64:128] = 1  # and white.
  found = noise_estimation.estimate(noisy)
  assert 255 * found.sigma == pytest.approx(20, rel=0.06)


def test_a_frame_without_noise_has_none():
  for value in (0.0, 0.5, 1.0):
    flat = np.full((32, 32, 3), value, np.float32)
    assert noise_estimation.estimate(flat) == (0, 0, 0)


def test_small_and_grey_frames():
  noisy = _noisy(np.full((17, 19, 1), 0.5), 20 / 255, 8)
  assert 255 * noise_estimation.estimate(noisy).sigma == pytest.approx(
      20, rel=0.3
  )
  with pytest.raises(ValueError, match="at least 8x8 .* 9x7"):
    noise_estimation.estimate(np.zeros((7, 9, 3)))
  with pytest.raises(ValueError, match=r"one shape.*\(8, 8, 3\)"):
    noise_estimation.estimate(np.zeros((9, 8, 3)), np.zeros((8, 8, 3)))


def test_the_tracker_is_steadier_than_its_frames_and_follows_a_jump():
  clean = _picture(64, 96)
  track = noise_estimation.NoiseTracker()
  levels = [20] * 8 + [40] * 3
  frames = [_noisy(clean, s / 255, 10 + i) for i, s in enumerate(levels)]
  found = [255 * track(frame).sigma for frame in frames]
  alone = [255 * noise_estimation.estimate(f).sigma for f in frames]
  assert np.std(found[3:8]) < 0.5 * np.std(alone[3:8])
  assert found[7] == pytest.approx(20, rel=0.06)
  assert found[8] == pytest.approx(40, rel=0.1)
  track.reset()
  again = track(frames[0])
  assert again == noise_estimation.estimate(frames[0])


def test_strength():
  rng = np.random.default_rng(9)
  frame, restored = rng.random((2, 4, 5, 3)).astype(np.float32)
  strong = noise_estimation.with_strength
  np.testing.assert_array_equal(strong(frame, restored, 0), frame)
  np.testing.assert_array_equal(strong(frame, restored, 1), restored)
  np.testing.assert_allclose(
      strong(frame, restored, 0.25), 0.75 * frame + 0.25 * restored, rtol=1e-5
  )
  with pytest.raises(ValueError, match=r"between 0 .* and 1 .* got 1.5"):
    strong(frame, restored, 1.5)
  with pytest.raises(ValueError, match="frames of one size"):
    strong(frame, restored.repeat(2, 0), 0.5)
  with pytest.raises(ValueError, match="a model that enlarges takes none"):
    noise_estimation.check_strength(0.5, 4)


def test_a_plot_shows_estimates_and_stated_levels(tmp_path):
  estimates = [NoiseEstimate(0.1, 0.01, 0.005), NoiseEstimate(0.2, 0.0, 0.04)]
  noise_estimation.plot(tmp_path / "a.png", estimates, [0.0, 0.04])
  noise_estimation.plot(tmp_path / "b.png", [0.1, 0.1])
  pixels = [
      np.asarray(Image.open(tmp_path / name).convert("RGB"))
      for name in ("a.png", "b.png")
  ]
  assert pixels[0].shape == pixels[1].shape == (300, 800, 3)
  assert (pixels[0] != pixels[1]).any()


@pytest.mark.parametrize(
    ("name", "own"),  # What the clip itself adds, 8-bit units.
    [("davis_drift-chicane", 0.15), ("ntia_aspen", 0.7), ("vid4_walk", 0.45)],
)
@pytest.mark.parametrize(
    ("frames", "sigmas"),
    [
        (2, (5, 20, 75)),
        pytest.param(10, (5, 10, 20, 30, 50, 75), marks=pytest.mark.slow),
    ],
)
def test_levels_on_real_clips(name, own, frames, sigmas, real_data):
  files = sorted((real_data / "clips" / name).glob("0*"))[:frames]
  clip = [np.asarray(Image.open(f).convert("RGB")) / 255 for f in files]
  alone = [255 * noise_estimation.estimate(frame).sigma for frame in clip]
  assert np.mean(alone) == pytest.approx(own, abs=0.1)
  for sigma in sigmas:
    bound = 0.05 if sigma >= 20 else 0.2
    track = noise_estimation.NoiseTracker()
    for index, frame in enumerate(clip):
      noisy = _noisy(frame, sigma / 255, (sigma, index))
      alone = 255 * noise_estimation.estimate(noisy).sigma
      assert alone == pytest.approx(sigma, rel=bound)
      assert 255 * track(noisy).sigma == pytest.approx(sigma, rel=bound)
