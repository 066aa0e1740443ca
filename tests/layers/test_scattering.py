"""The law of scattering, inverted."""

import jax
import jax.numpy as jnp
import numpy as np

from vidrestore_jax.layers import scattering


def _maps(transmission, airlight):
  """Logits that mean these values."""
  least = scattering.LEAST_TRANSMISSION
  share = (jnp.asarray(transmission) - least) / (1 - least)
  # Airlight starts pale: zeros are sigmoid(2).
  return jnp.stack([
      jax.scipy.special.logit(share),
      jax.scipy.special.logit(jnp.asarray(airlight)) - 2.0,
  ], -1)


def test_haze_of_known_depth_is_taken_away():
  rng = np.random.default_rng(0)
  scene = rng.random((4, 5, 3), np.float32)
  t = rng.uniform(0.1, 0.9, (4, 5)).astype(np.float32)
  light = rng.uniform(0.7, 0.95, (4, 5)).astype(np.float32)
  hazy = scene * t[..., None] + (light * (1 - t))[..., None]
  clear = scattering.clear_view(hazy, _maps(t, light))
  np.testing.assert_allclose(clear, scene, atol=2e-5)


def test_no_contrast_is_magnified_more_than_twenty_times():
  pair = jnp.array([[0.5], [0.6]])
  for logit, gain in ((-1e4, 20.0), (1e4, 1.0)):
    maps = jnp.array([logit, 0.0])
    low, high = scattering.clear_view(pair, maps)[:, 0]
    np.testing.assert_allclose(high - low, gain * 0.1, rtol=1e-4)
    gradient = jax.grad(lambda m: scattering.clear_view(pair, m).sum())(maps)
    assert np.isfinite(gradient).all()
