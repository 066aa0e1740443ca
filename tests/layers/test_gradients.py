"""Laws of the functions with gradients of their own."""

import jax
import jax.numpy as jnp
import numpy as np

from vidrestore_jax.layers.gradients import lower_bound, straight_through_round


def test_round_is_a_round_with_the_gradient_of_the_identity():
  x = jnp.array([-1.6, -0.5, 0.2, 1.5, 2.5])
  np.testing.assert_array_equal(straight_through_round(x), [-2, 0, 0, 2, 2])
  gradient = jax.grad(lambda x: (3.0 * straight_through_round(x)).sum())(x)
  np.testing.assert_array_equal(gradient, jnp.full(5, 3.0))


def test_lower_bound_passes_the_gradient_that_raises_the_value():
  x = jnp.array([0.2, 0.2, 0.8, 0.8])
  slope = jnp.array([1.0, -1.0, 1.0, -1.0])  # Descent lowers, raises, ...
  value, gradient = jax.value_and_grad(
      lambda x: (slope * lower_bound(x, 0.5)).sum()
  )(x)
  assert value == 0.5 - 0.5 + jnp.float32(0.8) - jnp.float32(0.8)
  np.testing.assert_array_equal(gradient, [0.0, -1.0, 1.0, -1.0])


def test_a_value_below_the_bound_is_trained_out_of_it():
  x = 0.0
  for _ in range(10):  # Descends (bounded - 2)**2.
    x -= 0.1 * jax.grad(lambda x: (lower_bound(x, 0.5) - 2) ** 2)(x)
  assert x > 0.5
