"""Rain: its motion, its light, its amount."""

import json

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax.degradations import rain

BLACK = np.zeros((4, 96, 80, 3), np.float32)


def _fixed(**values):
  """Every option at one value; drops all alike unless told otherwise."""
  values = {
      "density": 20.0, "direction": 0.0, "spread": 0.0, "length": 20.0,
      "width": 2.0, "depth": 1.0, "exposure": 0.5, "opacity": 1.0,
      "brightness": 1.0, "occlusion": 0.0, "blur": 1.0, "veil": 0.0,
  } | values
  size = values.pop("size", (1.0, 1.0))
  return {key: (value, value) for key, value in values.items()} | {
      "size": size
  }


def _rain(clip=BLACK, seed=0, **values):
  return rain.streaks(np.random.default_rng(seed), clip, **_fixed(**values))


@pytest.mark.parametrize("side", [1, -1])
def test_drops_keep_their_velocity_from_frame_to_frame(side):
  """Length 20, half of the time open: 40 pixels, three fifths of it aside."""
  angle = side * np.degrees(np.arctan(0.75))
  layer, card = _rain(length=10.0, direction=angle)
  assert card["direction_degrees"] == pytest.approx(angle)
  layer = layer[..., 0]
  down, aside = 16, 12
  for t in range(3):
    before, after = layer[t, :-down], layer[t + 1, down:]
    if side > 0:
      before, after = before[:, :-aside], after[:, aside:]
    else:
      before, after = before[:, aside:], after[:, :-aside]
    assert before.max() > 0.3
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_drops_move_by_parts_of_pixels():
  layer, _ = _rain(length=7.5, exposure=1.0)
  layer = layer[..., 0]
  np.testing.assert_allclose(layer[2, 15:], layer[0, :-15], atol=1e-6)
  assert np.abs(layer[1, 8:] - layer[0, :-8]).max() > 0.05


def test_velocity_is_what_consecutive_frames_correlate_at():
  """All distances and sizes together: a peak below, none at rest."""
  clip = np.zeros((6, 128, 128, 1), np.float32)
  layer, _ = _rain(
      clip, depth=2.0, size=(0.5, 1.5), spread=1.0, length=30.0, exposure=1.0,
      density=60.0,
  )
  layer = layer[..., 0] - layer.mean()
  spectrum = np.fft.rfft2(layer)
  cross = np.fft.irfft2((spectrum[1:] * spectrum[:-1].conj()).mean(0))
  down, aside = np.unravel_index(cross.argmax(), cross.shape)
  # Between a far small drop's motion and a near large one's.
  assert 30 * 0.5**0.5 / 2 <= down <= 30 * 1.5**0.5
  assert min(aside, 128 - aside) <= 1
  assert cross[down, aside] > 3 * cross[0, 0]


def test_new_drops_appear_and_the_amount_stays():
  clip = np.zeros((12, 96, 80, 1), np.float32)
  layer, _ = _rain(clip, density=40.0, exposure=0.2)  # 100 pixels a frame.
  amount = layer.mean((1, 2, 3))
  assert amount.min() > 0.5 * amount.max()
  # All that was seen has left: nothing of frame 0 is known of frame 1.
  assert abs(np.corrcoef(layer[:2].reshape(2, -1))[0, 1]) < 0.1


def test_coverage_is_what_density_length_and_width_make_of_it():
  clip = np.zeros((1, 256, 256, 1), np.float32)
  light = [
      _rain(
          clip, seed, density=60.0, length=24.0, width=2.5, brightness=0.8,
          opacity=0.2,
      )[0].mean()
      for seed in range(10)
  ]
  # Means of what is drawn for each drop: the ends fade over 0.05 .. 0.5 of a
  # half, opacity is 0.1 + 0.9 u**2 of its bound, radiance 0.85 .. 1.
  area = 2.5 * (24.0 + 1) * (1 - 0.275 / 2)
  expected = 60e-4 * area * 0.2 * 0.4 * 0.8 * 0.925
  np.testing.assert_allclose(np.mean(light), expected, rtol=0.06)


def test_thin_streaks_are_faint_and_not_lost():
  """A tenth of a pixel wide: a tenth of the light, in whatever column."""
  wide, _ = _rain(width=1.0, density=5.0)
  thin, _ = _rain(width=0.1, density=5.0)
  assert thin.max() < 0.11 * 1.0 + 1e-6
  assert thin.mean() > 0.05 * wide.mean()


def test_rain_never_darkens_and_hides_nothing_brighter():
  clip = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
  options = dict(density=100.0, brightness=0.6)
  for occlusion in (0.0, 0.5, 1.0):
    rainy, _ = _rain(clip, occlusion=occlusion, **options)
    assert (rainy >= clip).all() and (rainy > clip + 0.05).mean() > 0.05
    if occlusion == 1.0:  # Nothing gets brighter than a streak is.
      assert (rainy <= np.maximum(clip, 0.6 + 1e-6)).all()


def test_without_occlusion_light_is_added_to_whatever_is_there():
  options = dict(opacity=0.3, density=10.0)
  layer, _ = _rain(**options)
  rainy, _ = _rain(BLACK + np.float32(0.25), **options)
  np.testing.assert_allclose(rainy, (layer + 0.25).clip(0, 1), atol=1e-6)


def test_full_occlusion_is_a_mixture_with_the_streak():
  options = dict(occlusion=1.0, brightness=1.0, density=10.0)
  cover, _ = _rain(**options)
  # Radiances vary per drop, so the streaks' own light is what black shows.
  rainy, _ = _rain(BLACK + np.float32(0.5), **options)
  np.testing.assert_array_less(rainy - 0.5, cover + 1e-6)
  solid = cover > 0.5
  assert solid.any() and (rainy[solid] > 0.5).all()


def test_no_density_and_no_veil_leave_the_clip_as_it_is():
  clip = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
  rainy, card = _rain(clip, density=0.0)
  np.testing.assert_array_equal(rainy, clip)
  assert card["streaks"] == 0


def test_the_veil_moves_colours_towards_the_rains():
  clip = np.full((3, 64, 64, 3), 0.2, np.float32)
  veiled = [
      _rain(clip, seed, density=0.0, veil=0.4, brightness=0.9)[0]
      for seed in range(20)
  ]
  np.testing.assert_allclose(
      np.mean(veiled), 0.2 + 0.4 * (0.9 - 0.2), atol=0.03
  )
  # Billows, smooth and gray, that drift: 2 pixels a frame with the far rain.
  billows, _ = _rain(
      clip, density=0.0, veil=0.4, length=20.0, depth=10.0, exposure=1.0
  )
  assert billows.std() > 0.01
  assert np.abs(np.diff(billows, axis=1)).max() < 0.02
  np.testing.assert_array_equal(billows[..., 0], billows[..., 2])
  np.testing.assert_allclose(billows[1:, 2:], billows[:-1, :-2], atol=1e-5)


@pytest.mark.parametrize("name", ["", *rain.PRESETS])
def test_the_same_seed_gives_the_same_bytes_and_card(name):
  clip = np.random.default_rng(0).random((3, 48, 48, 3), np.float32)
  options = rain.PRESETS.get(name, {})
  one, card = rain.streaks(np.random.default_rng(3), clip, **options)
  two, again = rain.streaks(np.random.default_rng(3), clip, **options)
  assert one.tobytes() == two.tobytes()
  assert json.loads(json.dumps(card)) == again == card
  other, _ = rain.streaks(np.random.default_rng(4), clip, **options)
  assert one.dtype == np.float32 and (one != other).any()
  assert one.min() >= 0 and one.max() <= 1


def test_ranges_are_checked_by_name():
  for options, message in (
      ({"direction": (-90, 0)}, "direction needs -60.0 <= low"),
      ({"opacity": (0.5, 0.2)}, "opacity needs .* but is \\(0.5, 0.2\\)"),
      ({"density": 3}, "density needs to be a pair .* Write \\(3, 3\\)"),
  ):
    with pytest.raises(ValueError, match=message):
      rain.streaks(np.random.default_rng(0), BLACK, **options)
  with pytest.raises(ValueError, match="rain.streaks needs 4 axes"):
    rain.streaks(np.random.default_rng(0), BLACK[0])


def _read(clip, frames):
  files = sorted(clip.iterdir())[:frames]
  frames = [np.asarray(Image.open(file)) for file in files]
  return np.stack(frames).astype(np.float32) / 255


def test_the_rain_fitted_to_ntu_rain_has_its_statistics(real_data):
  clean, real = (
      _read(real_data / "clips" / name, 4)
      for name in ("ntu_a1_gt", "ntu_a1_rain")
  )
  ours, _ = rain.streaks(
      np.random.default_rng(0),
      clean,
      **_fixed(
          density=35.0, spread=1.5, length=100.0, width=4.5, depth=8.0,
          exposure=1.0, opacity=0.8, brightness=0.9, occlusion=1.0,
          size=(0.5, 1.5),
      ),
  )
  dark = clean.mean(-1) < 0.4

  def statistics(rainy):
    added = (rainy - clean).mean(-1)
    inside = added[dark]
    # Streaks alone; the files' compression adds a little everywhere.
    streaks = np.where(dark & (added > 0.04), added, 0)
    spectrum = np.fft.rfft2(streaks - streaks.mean())
    along = np.fft.irfft2((np.abs(spectrum) ** 2).mean(0))[:40, 0]
    cross = np.fft.irfft2((spectrum[1:] * spectrum[:-1].conj()).mean(0))
    return {
        "psnr": -10 * np.log10(((rainy - clean) ** 2).mean()),
        "mean": inside.mean(),
        "std": inside.std(),
        "p99": np.percentile(inside, 99),
        "covered": (inside > 0.06).mean(),
        "half_length": np.argmax(along < 0.5 * along[0]),
        "moves": np.argmax(cross[:60, 0]),
    }

  theirs, ours = statistics(real), statistics(ours)
  assert abs(theirs["psnr"] - ours["psnr"]) < 1.0, (theirs, ours)
  for name in ("mean", "std", "p99", "covered"):
    assert 0.7 < ours[name] / theirs[name] < 1.4, (name, theirs, ours)
  for name in ("half_length", "moves"):
    assert abs(ours[name] - theirs[name]) <= 5, (name, theirs, ours)
