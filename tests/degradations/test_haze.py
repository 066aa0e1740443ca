"""Haze: the scattering law, and a scene that moves with the picture."""

import json

import numpy as np
import pytest

from vidrestore_jax.degradations import fields, haze


def _clip(shape=(4, 64, 80, 3)):
  return np.random.default_rng(0).random(shape, np.float32)


def _haze(clip, seed=0, **options):
  return haze.scattering(np.random.default_rng(seed), clip, **options)


def _transmission(clip_shape, seed=0, **options):
  """Of a black clip under white haze, I = 1 - t."""
  hazy, card = _haze(
      np.zeros(clip_shape, np.float32), seed, airlight=(1.0, 1.0),
      tint=(0.0, 0.0), **options,
  )
  return 1 - hazy[..., 0], card


def test_known_depth_gives_koschmieders_law():
  clip = _clip()
  depth = np.random.default_rng(1).uniform(1, 5, clip.shape[:3])
  hazy, card = _haze(
      clip, depth=depth, beta=(0.6, 0.6), airlight=(0.85, 0.85),
      tint=(0.0, 0.0),
  )
  t = np.exp(-0.6 * depth)[..., None]
  np.testing.assert_allclose(hazy, clip * t + 0.85 * (1 - t), atol=1e-6)
  assert card["beta_per_m"] == 0.6 and card["airlight"] == [0.85] * 3
  assert card["transmission_min"] == pytest.approx(t.min())
  assert card["transmission_max"] == pytest.approx(t.max())


def test_no_scattering_leaves_the_clip_and_much_leaves_the_airlight():
  clip = _clip()
  np.testing.assert_allclose(_haze(clip, beta=(0.0, 0.0))[0], clip, atol=1e-6)
  hazy, card = _haze(clip, beta=(50.0, 50.0))
  np.testing.assert_allclose(
      hazy, np.broadcast_to(np.float32(card["airlight"]), clip.shape),
      atol=1e-5,
  )


def test_the_airlight_is_slightly_coloured():
  tints = np.array([
      np.subtract(card["airlight"], np.mean(card["airlight"]))
      for card in (
          _haze(_clip((1, 8, 8, 3)), seed, airlight=(0.6, 0.6),
                tint=(0.03, 0.03))[1]
          for seed in range(200)
      )
  ])
  # The mean of three takes a third of the variance away.
  np.testing.assert_allclose(tints.std(), 0.03 * (2 / 3) ** 0.5, rtol=0.1)


def test_haze_moves_with_known_motion():
  motion = [(3, -2), (0, 5), (-4, 1)]
  t, card = _transmission((4, 64, 80, 3), motion=motion)
  assert card["motion_px"] == [list(map(float, step)) for step in motion]
  assert t.std() > 0.01
  for step, (x, y) in enumerate(motion):
    # What frame t + 1 shows at p, frame t showed at p - motion.
    here = t[step + 1][max(y, 0) : 64 + min(y, 0), max(x, 0) : 80 + min(x, 0)]
    before = t[step][max(-y, 0) : 64 - max(y, 0), max(-x, 0) : 80 - max(x, 0)]
    np.testing.assert_allclose(here, before, atol=1e-6)


def _moving_picture(motion):
  """A texture that moves by (x, y) pixels from frame to frame."""
  texture = np.random.default_rng(0).random((200, 200), np.float32)
  texture += 2 * fields.smooth(200, 200, 6.0, np.random.default_rng(1))
  corner = 60 - np.cumsum([(0, 0), *motion], 0)
  return np.stack([
      fields.sample(texture, 64, 80, 1.0, at) for at in corner
  ])[..., None]


def test_motion_is_estimated_to_parts_of_a_pixel():
  motion = [(3.0, -2.0), (0.5, 5.25), (-7.0, 0.0), (0.0, 0.0)]
  found = haze.estimate_motion(_moving_picture(motion))
  np.testing.assert_allclose(found, motion, atol=0.2)
  np.testing.assert_allclose(found[-1], 0.0, atol=0.02)
  with np.errstate(all="raise"):  # A clip without any picture stands still.
    still = haze.estimate_motion(np.full((3, 16, 16, 3), 0.5, np.float32))
  np.testing.assert_array_equal(still, 0.0)


def test_haze_follows_the_pictures_own_motion():
  motion = [(4.0, -3.0), (4.0, -3.0)]
  clip = _moving_picture(motion)
  clip = (clip - clip.min()) / np.ptp(clip)
  _, card = _haze(clip, 5)
  np.testing.assert_allclose(card["motion_px"], motion, atol=0.2)
  # The same drawn scene, over black, along the motion that was found.
  t, _ = _transmission(
      (3, 64, 80, 1), 5, motion=np.round(card["motion_px"])
  )
  np.testing.assert_allclose(t[1:, :-3, 4:], t[:-1, 3:, :-4], atol=1e-6)


def test_default_scenes_cover_measured_transmissions():
  """Of a real indoor RGB-D clip with beta 0.6: 0.19 .. 0.53, mean 0.34."""
  cards = [_transmission((1, 96, 96, 1), seed)[1] for seed in range(60)]
  least, mean, most = (
      np.array([card[f"transmission_{name}"] for card in cards])
      for name in ("min", "mean", "max")
  )
  assert np.quantile(mean, 0.25) < 0.34 < np.quantile(mean, 0.75)
  assert np.quantile(least, 0.5) < 0.19 and np.quantile(most, 0.5) > 0.45
  within = most / least
  # There, the nearest part lets through 2.8 times as much as the farthest.
  assert np.quantile(within, 0.25) < 2.8 < np.quantile(within, 0.75)


def test_scenes_have_floors_walls_and_edges():
  """Near the bottom more often than at the top; steps, but flat mostly."""
  below, steps = [], []
  for seed in range(40):
    t, card = _transmission((1, 96, 96, 1), seed, beta=(0.5, 0.5))
    depth = -np.log(t[0]) / 0.5
    assert card["near_m"] - 1e-3 <= depth.min()
    assert depth.max() <= card["far_m"] + 1e-3
    below.append(depth[:24].mean() - depth[-24:].mean())
    steps.append(np.abs(np.diff(depth, axis=0)))
  assert np.mean(below) > 0.1
  steps = np.stack(steps)
  assert np.median(steps) < 0.02 and np.quantile(steps, 0.999) > 0.3


def test_the_same_seed_gives_the_same_bytes_and_card():
  clip = _clip()
  one, card = _haze(clip, 3)
  two, again = _haze(clip, 3)
  assert one.tobytes() == two.tobytes()
  assert json.loads(json.dumps(card)) == again == card
  assert (one != _haze(clip, 4)[0]).any()
  assert one.dtype == np.float32 and one.min() >= 0 and one.max() <= 1


def test_arrays_of_another_shape_are_named():
  with pytest.raises(ValueError, match="depth needs the clip's shape"):
    _haze(_clip(), depth=np.ones((4, 8, 8)))
  with pytest.raises(ValueError, match=r"\[3, 2\], but has shape \(4, 2\)"):
    _haze(_clip(), motion=np.ones((4, 2)))
  for name in ("depth", "motion"):
    with pytest.raises(ValueError, match=f"{name} needs to be an array of"):
      _haze(_clip(), **{name: "foo"})
  with pytest.raises(ValueError, match="beta needs 0.0 <= low"):
    _haze(_clip(), beta=(-1.0, 1.0))


def test_fields_are_noise_at_their_nodes_and_smooth_between():
  nodes = np.random.default_rng(0).standard_normal((5, 6), np.float32)
  same = fields.sample(nodes, 3, 4, 1.0, (1.0, 1.0))
  np.testing.assert_allclose(same, nodes[1:4, 1:5], atol=1e-6)
  field = fields.smooth(400, 400, 10.0, np.random.default_rng(0))
  at_nodes = field[5::10, 5::10]  # Pixel centres of nodes are at 5 + 10 k.
  assert abs(at_nodes.mean()) < 0.1 and 0.8 < at_nodes.std() < 1.1
  assert np.abs(np.diff(field, axis=1)).std() < 0.2
  apart = np.corrcoef(field[:, :-20].ravel(), field[:, 20:].ravel())[0, 1]
  assert abs(apart) < 0.1
