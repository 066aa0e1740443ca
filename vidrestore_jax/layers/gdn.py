"""Generalised divisive normalisation (Balle et al., arXiv:1511.06281)."""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import recomputation
from vidrestore_jax.layers.gradients import lower_bound

# Offset of the square-root reparametrisation: keeps its gradient bounded at 0
# (Balle, "Efficient nonlinear transforms", arXiv:1802.00847, section 3).
_PEDESTAL = 2.0**-36


class GDN(nn.Module):
  """y[i] = x[i] / sqrt(beta[i] + sum_j gamma[j, i] * x[j]**2), per pixel.

  `inverse` multiplies by the root instead (IGDN): one fixed-point step of the
  inversion, exact to first order in gamma.

  beta (initially 1) and gamma (initially 0.1 times the identity) are stored as
  square roots and bounded below by 1e-6 and 0, with a gradient that passes
  where it raises the value. The norm is computed in float32 whatever `dtype`,
  because squares of bfloat16 lose the small channels.
  """

  inverse: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    """Maps [..., C] to [..., C]."""
    channels = x.shape[-1]
    beta = self._nonnegative("beta", jnp.ones(channels), minimum=1e-6)
    gamma = self._nonnegative("gamma", 0.1 * jnp.eye(channels), minimum=0.0)

    @recomputation.cheap
    def normalize(x, gamma, beta):
      wide = x.astype(jnp.float32)
      root = jnp.sqrt(jnp.square(wide) @ gamma + beta)
      y = wide * root if self.inverse else wide / root
      return y.astype(self.dtype)

    return normalize(x, gamma, beta)

  def _nonnegative(self, name, value, minimum):
    raw = self.param(name, lambda _: jnp.sqrt(value + _PEDESTAL))
    bounded = lower_bound(raw, float((minimum + _PEDESTAL) ** 0.5))
    return jnp.square(bounded) - _PEDESTAL
