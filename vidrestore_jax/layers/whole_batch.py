"""What is said of a whole batch, wherever its examples are.

Under `jax.jit` a batch is one array, and a mean over it is the mean. Under
`jax.pmap` every device sees its own part: there the same functions ask the
other devices, so that statistics, losses and whatever is computed from them are
those of the whole batch in both.

Gradients come out alike too. Of a value that all devices share, each finds its
part's share times the number of devices, as of its own part's mean: the average
over devices (`training/step.py`) is the gradient of the whole.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

AXIS = "data"  # What `pmap` maps over.


def average(tree):
  """Each leaf's average over the devices, which have equal parts."""
  return jax.lax.pmean(tree, AXIS) if _is_mapped() else tree


def mean(x):
  """Mean of all of the batch's `x` `[B, ...]`, a scalar."""
  return average(jnp.mean(x))


def largest(x):
  """Maximum of all of the batch's `x` `[B, ...]`, a scalar without gradient."""
  # JAX cannot differentiate a maximum over devices.
  largest = jax.lax.stop_gradient(jnp.max(x))
  return jax.lax.pmax(largest, AXIS) if _is_mapped() else largest


def batch_norm(*, train: bool, epsilon: float, dtype, name: str) -> nn.Module:
  """Batch normalisation by the statistics of the whole batch.

  Args:
    train: False takes the running averages, which otherwise move by a tenth.
    epsilon: added to the variance.
    dtype: of the computation; statistics are float32.
    name: of the module.
  """
  return nn.BatchNorm(
      use_running_average=not train,
      momentum=0.9,
      epsilon=epsilon,
      dtype=dtype,
      axis_name=AXIS if _is_mapped() else None,
      name=name,
  )


def normalized(conv, norm, x, **options):
  """`norm(conv(x))`, of running averages as one convolution.

  Args:
    conv: a `layers.convolution.GroupedConv`.
    norm: a `batch_norm`.
    x: `[B, H, W, C]`.
    **options: of the convolution.
  """
  known = norm.use_running_average and "batch_stats" in norm.variables
  if not known or norm.is_initializing():
    return norm(conv(x, **options))  # Which names what is missing.
  learned, kept = (norm.variables[key] for key in ("params", "batch_stats"))
  factor = learned["scale"] * jax.lax.rsqrt(kept["var"] + norm.epsilon)
  affine = factor, learned["bias"] - kept["mean"] * factor
  return conv(x, affine, **options)


def _is_mapped() -> bool:
  """Whether what is being traced is mapped over devices."""
  try:
    jax.lax.axis_size(AXIS)
  except NameError:
    return False
  return True
