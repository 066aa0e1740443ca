"""Laws of GDN and its inverse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax.layers.gdn import GDN


def test_gdn_mixes_channels_in_gamma_ji_order():
  gamma = jnp.array([[0.0, 1.0], [0.0, 0.0]])  # Channel 0 feeds the norm of 1.
  params = {"beta": jnp.ones(2), "gamma": jnp.sqrt(gamma)}
  y = GDN().apply({"params": params}, jnp.array([[1.0, 2.0]]))
  np.testing.assert_allclose(y, [[1.0, 2.0 / np.sqrt(2.0)]], rtol=1e-5)


def test_initial_values_are_beta_one_and_a_tenth_of_the_identity():
  x = jnp.array([[2.0, -1.0, 0.0]])
  variables = GDN().init(jax.random.key(0), x)
  expected = x / jnp.sqrt(1 + 0.1 * x**2)
  np.testing.assert_allclose(GDN().apply(variables, x), expected, rtol=1e-6)


def test_igdn_inverts_gdn_to_first_order_in_gamma():
  x = jax.random.normal(jax.random.key(0), (16, 4))
  errors = []
  for strength in (1e-2, 1e-3):
    gamma = strength * jnp.abs(jax.random.normal(jax.random.key(1), (4, 4)))
    variables = {"params": {"beta": jnp.ones(4), "gamma": jnp.sqrt(gamma)}}
    there = GDN().apply(variables, x)
    back = GDN(inverse=True).apply(variables, there)
    errors.append(jnp.abs(back - x).max())
  # What remains is of second order: a tenth of gamma, a hundredth of it.
  assert 50 < errors[0] / errors[1] < 200
  assert errors[1] < 1e-4


def test_gdn_whitens_the_scale_of_a_gaussian_scale_mixture():
  key_z, key_s = jax.random.split(jax.random.key(0))
  scale = jnp.exp(jax.random.normal(key_s, (4096, 1)))
  x = scale * jax.random.normal(key_z, (4096, 8))
  params = {"beta": jnp.full(8, 1e-3), "gamma": jnp.full((8, 8), 8**-0.5)}
  y = GDN().apply({"params": params}, x)

  def kurtosis(x):
    return jnp.mean(x**4) / jnp.mean(x**2) ** 2

  assert kurtosis(x) > 10 and kurtosis(y) < 3


@pytest.mark.parametrize("inverse", [False, True])
def test_gradient_is_finite_at_zero_and_norm_is_float32(inverse):
  layer = GDN(inverse=inverse, dtype="bfloat16")
  x = jnp.zeros((3, 4), jnp.bfloat16)
  variables = layer.init(jax.random.key(0), x)
  assert layer.apply(variables, x).dtype == jnp.bfloat16
  gradients = jax.grad(
      lambda v, x: layer.apply(v, x).astype(jnp.float32).sum(), argnums=(0, 1)
  )(variables, x)
  assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradients))
  # 255 + 1/4 is not a bfloat16; a norm computed there would lose the beta.
  params = {"beta": jnp.ones(1), "gamma": jnp.ones((1, 1))}
  y = GDN(inverse=inverse).apply({"params": params}, jnp.array([[16.0]]))
  root = np.sqrt(257.0)
  np.testing.assert_allclose(
      y, [[16 * root if inverse else 16 / root]], rtol=1e-6
  )


def test_trained_below_its_bound_gdn_stays_finite():
  params = {"beta": jnp.array([-1.0]), "gamma": jnp.array([[-1.0]])}
  y = GDN().apply({"params": params}, jnp.array([[1.0]]))
  np.testing.assert_allclose(y, [[1e3]], rtol=1e-3)  # 1 / sqrt(1e-6)
