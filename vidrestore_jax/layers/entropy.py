"""The rate of integer symbols under a zero-mean prior, in bits.

The probability of a symbol s is the prior's mass on [s - 1/2, s + 1/2]; with
the convention of DCVC (microsoft/DCVC) a symbol costs
clip(-log2(p + 1e-5), 0, 50) bits.
"""

import jax.numpy as jnp
from jax.scipy.special import ndtr

from vidrestore_jax.layers import whole_batch

# Floor of a probability, which bounds a symbol's cost at log2(1e5) = 16.6 bits.
PROBABILITY_FLOOR = 1e-5
# Narrowest scales of the two priors, in symbols: DCVC's for Laplace, Balle et
# al.'s (arXiv:1802.01436) for Gauss, whose interval underflows below it.
LAPLACE_SCALE_MIN = 1e-5
GAUSSIAN_SCALE_MIN = 0.11
# Above this the interval's mass is below 1e-9 everywhere and p underflows.
SCALE_MAX = 1e10


def laplace_interval(symbols, scale):
  """Mass of Laplace(0, scale) on [s - 1/2, s + 1/2].

  Evaluated on one side of zero with expm1, so that neither the far tail (where
  a difference of two CDFs near one is 0) nor a wide scale loses its digits:
  for |s| >= 1/2 it is exp(-(|s| - 1/2)/b) * (1 - exp(-1/b)) / 2.

  Args:
    symbols: s, any real array.
    scale: b > 0, the mean absolute value, in units of symbols; bounded to
      [1e-5, 1e10].

  Returns:
    Probabilities in [0, 1], float32.
  """
  size = jnp.abs(symbols.astype(jnp.float32))
  scale = jnp.clip(scale.astype(jnp.float32), LAPLACE_SCALE_MIN, SCALE_MAX)
  # Both branches see arguments at which they are finite, for the gradient.
  outer = jnp.maximum(size, 0.5)
  tail = -0.5 * jnp.exp(-(outer - 0.5) / scale) * jnp.expm1(-1.0 / scale)
  inner = jnp.minimum(size, 0.5)
  centre = -0.5 * (
      jnp.expm1(-(0.5 - inner) / scale) + jnp.expm1(-(0.5 + inner) / scale)
  )
  return jnp.where(size < 0.5, centre, tail)


def gaussian_interval(symbols, scale):
  """Mass of Normal(0, scale) on [s - 1/2, s + 1/2].

  Evaluated in the lower tail, where the CDF keeps its digits.

  Args:
    symbols: s, any real array.
    scale: standard deviation in units of symbols, bounded to [0.11, 1e10].

  Returns:
    Probabilities in [0, 1], float32.
  """
  size = jnp.abs(symbols.astype(jnp.float32))
  scale = jnp.clip(scale.astype(jnp.float32), GAUSSIAN_SCALE_MIN, SCALE_MAX)
  return ndtr((0.5 - size) / scale) - ndtr((-0.5 - size) / scale)


INTERVALS = {"laplace": laplace_interval, "gaussian": gaussian_interval}


def symbol_bits(probability):
  """clip(-log2(p + 1e-5), 0, 50): the cost of each symbol in bits."""
  return jnp.clip(-jnp.log2(probability + PROBABILITY_FLOOR), 0.0, 50.0)


def bits_per_pixel(bits, height: int, width: int):
  """Mean over frames of bits per pixel of the frame.

  Args:
    bits: total bits of each frame, `[B]` or `[B, T]`.
    height: rows of the frame (not of the latent).
    width: columns of the frame.

  Returns:
    A scalar: NCFL's cross-entropy loss L_CE.
  """
  return whole_batch.mean(bits) / (height * width)
