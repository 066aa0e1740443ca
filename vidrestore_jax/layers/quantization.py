"""Adaptive scalar quantisation with a straight-through gradient.

NCFL's quantiser (its supplementary, section 2) with the step convention of
DCVC-HEM (microsoft/DCVC): a mean and a step for every latent element.
"""

import jax.numpy as jnp

from vidrestore_jax.layers.gradients import lower_bound, straight_through_round


def bounded_step(raw, minimum: float = 0.5):
  """The quantisation step: max(raw, minimum), whose gradient still passes.

  A step is kept away from zero, since the symbols divide by it; 0.5 is
  DCVC-HEM's bound for its element-wise step.
  """
  return lower_bound(raw.astype(jnp.float32), minimum)


def adaptive_quantize(latent, mean, step, *, add_mean_back: bool = True):
  """Rounds (latent - mean) / step and scales it back.

    s = (e - mu) / q,   s^ = round(s),   e^ = s^ * q (+ mu)

  With the straight-through gradient de^/de = 1 and de^/dq = s^ - s; de^/dmu
  is 0 where the mean is added back and -1 where it is not.

  Args:
    latent: e, `[..., C]`.
    mean: mu, broadcastable to the latent.
    step: q > 0, broadcastable to the latent; see `bounded_step`.
    add_mean_back: whether e^ contains mu.

  Returns:
    The pair (e^, s^): the quantised latent and its integer symbols as float32,
    both of the latent's shape.
  """
  symbols = straight_through_round((latent.astype(jnp.float32) - mean) / step)
  quantized = symbols * step
  if add_mean_back:
    quantized = quantized + mean
  return quantized.astype(latent.dtype), symbols
