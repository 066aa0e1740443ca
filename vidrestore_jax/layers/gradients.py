"""Functions whose gradient differs from their derivative, on purpose."""

import functools

import jax
import jax.numpy as jnp


def straight_through_round(x):
  """Rounds half to even; the gradient is that of the identity.

  Bengio et al., arXiv:1308.3432, section 3.
  """
  return x + jax.lax.stop_gradient(jnp.round(x) - x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def lower_bound(x, minimum: float):
  """max(x, minimum), with a gradient that can leave the bound again.

  Below the bound the gradient passes where gradient descent would raise x
  (a negative gradient) and is zero otherwise, as the GDN reference does
  (tensorflow/compression, ops/math_ops.py); a plain maximum would never
  move a value that is once below.

  Args:
    x: array of any shape.
    minimum: the bound, a number.

  Returns:
    An array of the shape of x.
  """
  return jnp.maximum(x, minimum)


def _lower_bound_forward(x, minimum):
  return jnp.maximum(x, minimum), x


def _lower_bound_backward(minimum, x, gradient):
  passes = (x >= minimum) | (gradient < 0)
  return (jnp.where(passes, gradient, 0).astype(gradient.dtype),)


lower_bound.defvjp(_lower_bound_forward, _lower_bound_backward)
