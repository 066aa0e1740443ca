"""Hand values and gradients of the adaptive quantiser."""

import jax
import jax.numpy as jnp
import numpy as np

from vidrestore_jax.layers.quantization import adaptive_quantize, bounded_step


def test_hand_values():
  latent = jnp.array([1.3, 1.3, -2.0])
  mean = jnp.array([0.1, 0.1, 0.5])
  step = jnp.array([0.5, 1.0, 2.0])
  quantized, symbols = adaptive_quantize(latent, mean, step)
  np.testing.assert_array_equal(symbols, [2, 1, -1])
  np.testing.assert_allclose(quantized, [1.1, 1.1, -1.5], rtol=1e-6)
  without, _ = adaptive_quantize(latent, mean, step, add_mean_back=False)
  np.testing.assert_allclose(without, [1.0, 1.0, -2.0], rtol=1e-6)


def test_error_is_at_most_half_a_step():
  latent = 5 * jax.random.normal(jax.random.key(0), (1000,))
  mean = jax.random.normal(jax.random.key(1), (1000,))
  step = jax.random.uniform(jax.random.key(2), (1000,), minval=0.5, maxval=3)
  quantized, symbols = adaptive_quantize(latent, mean, step)
  assert (jnp.abs(quantized - latent) <= step / 2 + 1e-5).all()
  np.testing.assert_array_equal(symbols, jnp.round(symbols))


def test_straight_through_gradients():
  """de^/de = 1, de^/dq = s^ - s, de^/dmu = 0, or -1 without the mean."""
  e, mu, q = 1.3, 0.2, 0.8
  s = (e - mu) / q

  def value(e, mu, q, add_mean_back):
    return adaptive_quantize(
        jnp.array(e), mu, q, add_mean_back=add_mean_back
    )[0]

  gradient = jax.grad(value, (0, 1, 2))
  np.testing.assert_allclose(
      gradient(e, mu, q, True), [1, 0, np.round(s) - s], atol=1e-6
  )
  np.testing.assert_allclose(
      gradient(e, mu, q, False), [1, -1, np.round(s) - s], atol=1e-6
  )


def test_step_is_bounded_and_can_leave_its_bound():
  raw = jnp.array([-3.0, 0.4, 0.9])
  np.testing.assert_allclose(bounded_step(raw), [0.5, 0.5, 0.9])
  wants_larger = jax.grad(lambda r: -bounded_step(r).sum())(raw)
  np.testing.assert_array_equal(wants_larger, [-1, -1, -1])
  np.testing.assert_allclose(bounded_step(raw, 0.1)[0], 0.1)
