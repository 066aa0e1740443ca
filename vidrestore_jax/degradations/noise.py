"""Noise, drawn on the device inside the train step."""

import jax


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
  """
  level_key, noise_key = jax.random.split(key)
  low, high = sigma
  level = jax.random.uniform(level_key, minval=low, maxval=high)
  return clip + level * jax.random.normal(noise_key, clip.shape), level
