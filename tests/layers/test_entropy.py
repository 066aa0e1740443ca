"""The interval probabilities and rates, against exact and coded lengths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vidrestore_jax.layers import entropy

EXACT = {
    "laplace": lambda scale: stats.laplace(scale=scale),
    "gaussian": lambda scale: stats.norm(scale=scale),
}


@pytest.mark.parametrize("name", entropy.INTERVALS)
@pytest.mark.parametrize("scale", [0.2, 1.0, 7.3, 40.0])
def test_intervals_sum_to_one(name, scale):
  symbols = jnp.arange(-2000.0, 2001.0)
  mass = entropy.INTERVALS[name](symbols, jnp.full(symbols.shape, scale))
  np.testing.assert_allclose(np.asarray(mass, np.float64).sum(), 1.0, atol=2e-6)


@pytest.mark.parametrize("name", entropy.INTERVALS)
def test_intervals_equal_the_distribution_far_into_the_tail(name):
  for scale in (0.15, 0.5, 1.0, 3.0):
    prior = EXACT[name](scale)
    symbols = np.array([-9.0, -4.0, -1.0, -0.3, 0.0, 0.7, 2.0, 6.0])
    exact = np.where(
        symbols > 0,
        prior.sf(symbols - 0.5) - prior.sf(symbols + 0.5),
        prior.cdf(symbols + 0.5) - prior.cdf(symbols - 0.5),
    )
    mass = entropy.INTERVALS[name](jnp.array(symbols), jnp.array(scale))
    # Float32 exponents end at 1e-38; above it, relative accuracy holds.
    visible = exact > 1e-36
    np.testing.assert_allclose(mass[visible], exact[visible], rtol=2e-4)


@pytest.mark.parametrize("name", entropy.INTERVALS)
@pytest.mark.parametrize("scale", [0.0, 1e-5, 0.3, 1e4, 1e12])
def test_bits_and_gradients_stay_finite(name, scale):
  symbols = jnp.array([0.0, 0.5, -0.5, 1.0, -3.0, 100.0, 1e6, -1e6])

  def bits(symbols, scale):
    mass = entropy.INTERVALS[name](symbols, scale)
    return entropy.symbol_bits(mass).sum()

  value, gradients = jax.value_and_grad(bits, (0, 1))(
      symbols, jnp.full(symbols.shape, scale)
  )
  assert jnp.isfinite(value)
  assert all(jnp.isfinite(g).all() for g in gradients)


def _arithmetic_code_length(symbols, probability):
  """Bits that an arithmetic coder with exact integers spends on `symbols`.

  Narrows an interval by each symbol's share of 2**32; the code's length is
  that of the shortest binary fraction inside (Cover and Thomas, 13.3).
  """
  alphabet = sorted(probability)
  # Twenty bits of resolution, at least one unit a symbol, as coders do.
  counts = {s: max(int(probability[s] * 2**20), 1) for s in alphabet}
  total = sum(counts.values())
  starts, start = {}, 0
  for s in alphabet:
    starts[s], start = start, start + counts[s]
  low, width, scale = 0, 1, 1  # The interval [low, low + width) / scale.
  for s in symbols:
    low = low * total + width * starts[s]
    width *= counts[s]
    scale *= total
  # -log2(width / scale), rounded up, plus one bit to lie inside.
  return (scale // width).bit_length() + 1


def test_rate_is_the_length_of_an_arithmetic_code():
  scale = 1.7
  rng = np.random.default_rng(0)
  symbols = np.round(rng.laplace(0, scale, 3000)).astype(int)
  alphabet = np.arange(symbols.min() - 1, symbols.max() + 2)
  mass = entropy.laplace_interval(jnp.array(alphabet * 1.0), jnp.array(scale))
  length = _arithmetic_code_length(
      symbols.tolist(), dict(zip(alphabet.tolist(), map(float, mass)))
  )
  estimate = entropy.symbol_bits(
      entropy.laplace_interval(jnp.array(symbols * 1.0), jnp.array(scale))
  ).sum()
  np.testing.assert_allclose(estimate, length, rtol=1e-3)


def test_a_symbol_costs_at_most_the_floor():
  worst = entropy.symbol_bits(jnp.array(0.0))
  np.testing.assert_allclose(worst, np.log2(1e5), rtol=1e-6)
  assert entropy.symbol_bits(jnp.array(1.0)) == 0.0


def test_bits_per_pixel_is_the_mean_over_frames():
  bits = jnp.array([[100.0, 300.0], [200.0, 200.0]])
  assert entropy.bits_per_pixel(bits, 10, 20) == 1.0
