"""Noise on the device: its variance, its joint replacement, its bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax.degradations import noise

GREY = jnp.full((3, 96, 96, 3), 128 / 255)
SIGMA = 25.5 / 255


def _draw(function, clip=GREY, seed=0, **options):
  noisy, level = function(jax.random.key(seed), clip, **options)
  assert noisy.dtype == jnp.float32 and level.dtype == jnp.float32
  return np.asarray(noisy), float(level)


def test_gaussian_has_the_level_it_tells_and_is_not_clipped():
  black = jnp.zeros_like(GREY)
  for seed in range(3):
    noisy, level = _draw(noise.gaussian, black, seed, sigma=(0.1, 0.3))
    assert 0.1 <= level <= 0.3
    np.testing.assert_allclose(noisy.var(), level**2, rtol=0.02)
    np.testing.assert_allclose(noisy.mean(), 0.0, atol=0.01 * level)
    assert noisy.min() < -2 * level
  flat = noisy.reshape(3, -1)  # Independent in frames and in channels.
  assert abs(np.corrcoef(flat)[0, 1]) < 0.03
  assert abs(np.corrcoef(noisy.reshape(-1, 3).T)[0, 2]) < 0.03


def test_clipped_gaussian_is_the_gaussian_of_the_same_key_clipped():
  free, level = _draw(noise.gaussian, sigma=(0.3, 0.6))
  clipped, told = _draw(noise.gaussian_clipped, sigma=(0.3, 0.6))
  assert told == level and free.max() > 1.0
  np.testing.assert_array_equal(clipped, free.clip(0, 1))


def test_clipped_gaussian_keeps_half_the_noise_of_black():
  noisy, level = _draw(
      noise.gaussian_clipped, jnp.zeros_like(GREY), sigma=(0.1, 0.1)
  )
  # The variance of max(x, 0) for a normal x.
  expected = level**2 * (1 / 2 - 1 / (2 * np.pi))
  np.testing.assert_allclose(noisy.var(), expected, rtol=0.03)


def test_toflow_noise_has_gaussian_variance_and_whole_values():
  noisy, level = _draw(noise.mixed_toflow, probability=0.0)
  assert level == pytest.approx(SIGMA)
  # Rounding adds the variance of a uniform step.
  expected = SIGMA**2 + 1 / 12 / 255**2
  np.testing.assert_allclose(noisy.var(), expected, rtol=0.02)
  values = noisy * 255
  np.testing.assert_allclose(values, np.round(values), atol=1e-4)


def test_toflow_noise_saturates_at_both_ends():
  for value in (0.0, 1.0):
    noisy, _ = _draw(
        noise.mixed_toflow, jnp.full_like(GREY, value), probability=0.0
    )
    assert noisy.min() >= 0.0 and noisy.max() <= 1.0
    np.testing.assert_allclose((noisy == value).mean(), 0.5, atol=0.02)


def test_toflow_noise_replaces_ten_percent_jointly_by_uniform_colours():
  noisy, _ = _draw(noise.mixed_toflow, sigma=0.0)
  changed = noisy != np.float32(128 / 255)
  pixels = changed.any(-1)
  np.testing.assert_allclose(pixels.mean(), 0.1, atol=0.006)
  # A channel of a replaced pixel keeps its value by chance, in 1 of 256.
  np.testing.assert_allclose(changed[pixels].mean(), 255 / 256, atol=0.005)
  colours = noisy[pixels] * 255
  np.testing.assert_allclose(colours.mean(), 127.5, atol=4)
  np.testing.assert_allclose(colours.var(), (256**2 - 1) / 12, rtol=0.05)
  # The channels of such a colour are independent.
  assert abs(np.corrcoef(colours.T)[0, 1]) < 0.06


def test_toflow_noise_has_the_variance_of_the_mixture():
  noisy, _ = _draw(noise.mixed_toflow)
  uniform = ((256**2 - 1) / 12 + 0.5**2) / 255**2
  expected = 0.9 * SIGMA**2 + 0.1 * uniform
  error = noisy - 128 / 255
  np.testing.assert_allclose((error**2).mean(), expected, rtol=0.04)


def test_true_salt_and_pepper_is_white_or_black_with_equal_odds():
  noisy, level = _draw(noise.mixed_true_sp, sigma=0.0)
  assert level == 0.0
  pixels = (noisy != np.float32(128 / 255)).any(-1)
  np.testing.assert_allclose(pixels.mean(), 0.1, atol=0.006)
  replaced = noisy[pixels]
  assert set(np.unique(replaced)) == {0.0, 1.0}
  np.testing.assert_array_equal(replaced, replaced[:, :1].repeat(3, 1))
  np.testing.assert_allclose(replaced.mean(), 0.5, atol=0.04)


def test_both_mixtures_share_gaussian_part_and_places():
  toflow, _ = _draw(noise.mixed_toflow)
  true, _ = _draw(noise.mixed_true_sp)
  there = (true == true[..., :1]).all(-1) & np.isin(true[..., 0], (0.0, 1.0))
  np.testing.assert_array_equal(toflow[~there], true[~there])


@pytest.mark.parametrize(
    "function, options",
    [
        (noise.gaussian, {"sigma": (0.1, 0.2)}),
        (noise.gaussian_clipped, {"sigma": (0.1, 0.2)}),
        (noise.mixed_toflow, {}),
        (noise.mixed_true_sp, {}),
    ],
)
def test_the_same_key_gives_the_same_bytes_and_another_does_not(
    function, options
):
  clip = jax.random.uniform(jax.random.key(9), (2, 8, 8, 3))
  first, _ = _draw(function, clip, 1, **options)
  assert first.tobytes() == _draw(function, clip, 1, **options)[0].tobytes()
  assert (first != _draw(function, clip, 2, **options)[0]).any()
  jitted, _ = jax.jit(lambda key: function(key, clip, **options))(
      jax.random.key(1)
  )
  np.testing.assert_allclose(jitted, first, atol=1e-6)


@pytest.mark.parametrize("name, options, message", [
    ("gaussian", dict(sigma=(5.0, 55.0)), "divided by 255"),
    ("gaussian", dict(sigma=(0.2, 0.1)), "low <= high"),
    ("gaussian_clipped", dict(sigma=0.118), "pair"),
    ("mixed_toflow", dict(sigma=25.5), "divided by 255"),
    ("mixed_toflow", dict(sigma=(0.1, 0.2)), "sigma needs to be a number"),
    ("mixed_true_sp", dict(probability=1.5), "probability needs"),
])
def test_impossible_levels_are_named(name, options, message):
  with pytest.raises(ValueError, match=message):
    _draw(getattr(noise, name), **options)
