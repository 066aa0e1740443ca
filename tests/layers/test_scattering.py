"""The law of scattering, inverted, and what tells of haze."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from vidrestore_jax.layers import scattering


def _maps(transmission, airlight):
  """Logits that mean these values: a map, and a number for each frame."""
  share = (transmission - scattering.LEAST_TRANSMISSION) / (
      1 - scattering.LEAST_TRANSMISSION
  )
  pale = (airlight - scattering.LEAST_AIRLIGHT) / (
      1 - scattering.LEAST_AIRLIGHT
  )
  logits = jax.scipy.special.logit(jnp.asarray(pale)) - 1.0  # Starts pale.
  return jnp.stack([
      jax.scipy.special.logit(jnp.asarray(share)),
      jnp.broadcast_to(logits[:, None, None], transmission.shape),
  ], -1)


def test_haze_of_known_depth_is_taken_away():
  rng = np.random.default_rng(0)
  scene = rng.random((2, 4, 5, 3), np.float32)
  t = rng.uniform(0.1, 0.9, (2, 4, 5)).astype(np.float32)
  light = np.array([0.7, 0.9], np.float32)
  hazy = scene * t[..., None] + light[:, None, None, None] * (
      1 - t[..., None]
  )
  maps = _maps(t, light)
  np.testing.assert_allclose(
      scattering.clear_view(hazy, maps), scene, atol=2e-5
  )
  # The airlight is the mean over the frame, of its own frame alone.
  wobble = jnp.array([1.0, -1.0, 1.0, -1.0])[:, None]
  maps = maps.at[..., 1].add(wobble)
  np.testing.assert_allclose(
      scattering.clear_view(hazy, maps), scene, atol=2e-5
  )


def test_maps_of_a_lower_resolution_are_smooth_between():
  t = np.array([[[0.2, 0.6], [0.2, 0.6]]], np.float32)
  frame = np.full((1, 8, 8, 1), 0.5, np.float32)
  clear = scattering.clear_view(frame, _maps(t, np.array([0.8])))
  assert clear.shape == frame.shape
  steps = np.diff(np.asarray(clear)[0, 0, :, 0])
  assert (steps >= 0).all() and (steps > 0).sum() == 5


def test_no_contrast_is_magnified_more_than_twenty_times():
  pair = jnp.array([0.5, 0.6]).reshape(1, 1, 2, 1)
  for logit, gain in ((-1e4, 20.0), (1e4, 1.0)):
    maps = jnp.broadcast_to(jnp.array([logit, 0.0]), (1, 1, 2, 2))
    low, high = scattering.clear_view(pair, maps).ravel()
    np.testing.assert_allclose(high - low, gain * 0.1, rtol=1e-4)
    gradient = jax.grad(lambda m: scattering.clear_view(pair, m).sum())(maps)
    assert np.isfinite(gradient).all()


def test_cues_are_statistics_of_cells_and_minima_around_them():
  frame = np.random.default_rng(1).random((1, 32, 40, 3), np.float32)
  cues = np.asarray(scattering.haze_cues(frame, 2))[0]
  cells = frame[0].reshape(16, 2, 20, 2, 3)
  darkest = cells.min((1, 3, 4))
  np.testing.assert_allclose(cues[..., :3], cells.mean((1, 3)), atol=1e-6)
  np.testing.assert_array_equal(cues[..., 3], darkest)
  np.testing.assert_array_equal(cues[..., 4], cells.max((1, 3, 4)))
  deviation = np.sqrt(cells.mean(-1).var((1, 3)) + 1e-4)
  np.testing.assert_allclose(cues[..., 5], deviation, atol=1e-6)
  for channel, size in enumerate((3, 7, 15)):
    wanted = ndimage.minimum_filter(darkest, size, mode="nearest")
    np.testing.assert_array_equal(cues[..., 6 + channel], wanted)
  flat = jax.grad(lambda x: scattering.haze_cues(x, 2).sum())
  assert np.isfinite(flat(jnp.ones((1, 4, 4, 3)))).all()
