"""Learning rates as functions of the step."""

import jax.numpy as jnp


def steps_down(step, *, base: float, drops: tuple[tuple[int, float], ...]):
  """`base`, and from each drop's step on `base` times the drop's factor.

  Args:
    step: number of updates made so far, a scalar or an array.
    base: rate before the first drop.
    drops: pairs of (step, factor of `base`), in the order of their steps.

  Returns:
    The rate of the next update.
  """
  rate = base
  for start, factor in drops:
    rate = jnp.where(step < start, rate, base * factor)
  return rate


def cosine(
    step, *, base: float, final: float, steps: int, warmup_steps: int = 0
):
  """Cosine annealing from `base` to `final` over `steps`, after a warm-up.

  final + (base - final) * (1 + cos(pi * t)) / 2 with t from 0 to 1 after the
  warm-up, which is linear from base / (warmup_steps + 1).

  Args:
    step: number of updates made so far, a scalar or an array.
    base: highest rate.
    final: rate at `steps` and beyond.
    steps: total number of steps, warm-up included.
    warmup_steps: of the linear start; 0 starts at `base`.

  Returns:
    The rate of the next update.
  """
  t = (step - warmup_steps) / max(steps - warmup_steps, 1)
  t = jnp.clip(t, 0.0, 1.0)
  annealed = final + (base - final) * (1 + jnp.cos(jnp.pi * t)) / 2
  warming = base * (step + 1) / (warmup_steps + 1)
  return jnp.where(step < warmup_steps, warming, annealed)
