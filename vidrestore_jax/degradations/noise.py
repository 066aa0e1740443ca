"""Noise, drawn on the device inside the train step."""

import jax
import jax.numpy as jnp

from vidrestore_jax.degradations import ranges


def gaussian(key, clip, *, sigma: tuple[float, float]):
  """Additive white Gaussian noise of one random level for the whole clip.

  Independent in every frame, pixel and channel; not clipped, as in
  FastDVDnet's training (m-tassano/fastdvdnet, train_common.py).

  Args:
    key: a JAX random key.
    clip: `[T, H, W, C]` in [0, 1].
    sigma: lowest and highest standard deviation, [0, 1] units; the level is
      uniform between them.

  Returns:
    The pair (noisy clip, level), the level a float32 scalar in [0, 1] units.

  Raises:
    ValueError: levels that are no pair in [0, 1].
  """
  level_key, noise_key = jax.random.split(key)
  low, high = _levels("sigma", sigma)
  level = jax.random.uniform(level_key, minval=low, maxval=high)
  return clip + level * jax.random.normal(noise_key, clip.shape), level


def gaussian_clipped(key, clip, *, sigma: tuple[float, float]):
  """`gaussian`, clipped to [0, 1], as noisy files hold it.

  The level is that of the noise before it was clipped: what clipping leaves
  depends on the picture, with less noise near black and white. PaCNet
  (grishavak/PaCNet-denoiser) and ViDeNN are measured this way.

  Args:
    key: a JAX random key; the same one gives `gaussian` the same noise.
    clip: `[T, H, W, C]` in [0, 1].
    sigma: lowest and highest standard deviation, [0, 1] units.

  Returns:
    The pair (noisy clip in [0, 1], level), the level a float32 scalar.
  """
  noisy, level = gaussian(key, clip, sigma=sigma)
  return jnp.clip(noisy, 0.0, 1.0), level


def mixed_toflow(
    key, clip, *, sigma: float = 25.5 / 255, probability: float = 0.1
):
  """The mixed noise of Vimeo-90K's denoising benchmark, in 8 bits.

  As anchen1011/toflow makes its test set (addnoise.m): the frame in whole
  8-bit values plus rounded Gaussian noise, saturated; then some pixels are
  replaced, all channels together, by a uniformly random 8-bit colour. The
  paper calls that salt and pepper, which it is not; see `mixed_true_sp`.

  Args:
    key: a JAX random key.
    clip: `[T, H, W, C]` in [0, 1].
    sigma: standard deviation of the Gaussian part, [0, 1] units.
    probability: that a pixel is replaced.

  Returns:
    The pair (noisy clip of whole multiples of 1 / 255 in [0, 1], level), the
    level `sigma` as a float32 scalar.
  """
  _check_mixed(sigma, probability)
  noise_key, where_key, colour_key = jax.random.split(key, 3)
  noisy = _gaussian_8bit(noise_key, clip, sigma)
  colour = jax.random.randint(colour_key, clip.shape, 0, 256)
  noisy = _replace(where_key, noisy, colour, probability)
  return noisy / 255.0, jnp.float32(sigma)


def mixed_true_sp(
    key, clip, *, sigma: float = 25.5 / 255, probability: float = 0.1
):
  """Gaussian noise and salt and pepper: `mixed_toflow` with white and black.

  What the words of the TOFlow paper say (Xue et al., IJCV 2019):
  a replaced pixel is white or black with equal odds, in all channels.

  Args:
    key: a JAX random key; the same one gives `mixed_toflow` the same Gaussian
      noise and the same places.
    clip: `[T, H, W, C]` in [0, 1].
    sigma: standard deviation of the Gaussian part, [0, 1] units.
    probability: that a pixel is replaced.

  Returns:
    The pair (noisy clip of whole multiples of 1 / 255 in [0, 1], level), the
    level `sigma` as a float32 scalar.
  """
  _check_mixed(sigma, probability)
  noise_key, where_key, colour_key = jax.random.split(key, 3)
  noisy = _gaussian_8bit(noise_key, clip, sigma)
  salt = jax.random.bernoulli(colour_key, 0.5, (*clip.shape[:-1], 1))
  noisy = _replace(where_key, noisy, 255 * salt, probability)
  return noisy / 255.0, jnp.float32(sigma)


def _levels(name, levels, check=ranges.check):
  """What `check` gives; ValueError where levels are not in [0, 1] units."""
  try:
    return check(name, levels, 0.0, 1.0)
  except ValueError as error:
    raise ValueError(
        f"{error} Levels are in [0, 1] units: 8-bit ones divided by 255."
    ) from None


def _check_mixed(sigma, probability):
  _levels("sigma", sigma, ranges.number)
  ranges.number("probability", probability, 0.0, 1.0)


def _gaussian_8bit(key, clip, sigma):
  """Whole values 0 .. 255, as floats, of the clip plus rounded noise."""
  noise = 255.0 * sigma * jax.random.normal(key, clip.shape)
  return jnp.clip(jnp.round(255.0 * clip) + jnp.round(noise), 0.0, 255.0)


def _replace(key, frames, colour, probability):
  """Puts `colour` at random pixels, in all channels of a pixel together."""
  there = jax.random.bernoulli(key, probability, (*frames.shape[:-1], 1))
  return jnp.where(there, colour, frames)
