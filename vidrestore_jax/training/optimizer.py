"""AdamW with groups of parameters: rates of their own, frozen at first."""

import functools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from vidrestore_jax.training import schedules

_MAIN = "main"
# Biases and GDN's parameters are no weights to be shrunk towards zero.
_NOT_DECAYED = re.compile(r"(^|/)(bias|beta|gamma)$")


class FrozenState(NamedTuple):
  """Steps seen, and the state of the transform that waits."""

  count: jax.Array
  inner: optax.OptState


def frozen_until(steps: int, inner: optax.GradientTransformation):
  """Zero updates for the first `steps` steps, `inner` from then on.

  The inner state does not move while frozen, so its moments start when
  training starts, as in a run that never saw the frozen steps.
  """

  def init(params):
    return FrozenState(jnp.zeros((), jnp.int32), inner.init(params))

  def update(updates, state, params=None):
    moved, inner_state = inner.update(updates, state.inner, params)
    frozen = state.count < steps
    moved = jax.tree.map(lambda u: jnp.where(frozen, 0, u), moved)
    inner_state = jax.tree.map(
        lambda old, new: jnp.where(frozen, old, new), state.inner, inner_state
    )
    return moved, FrozenState(state.count + 1, inner_state)

  return optax.GradientTransformation(init, update)


class OrthogonalizedState(NamedTuple):
  """Steps seen."""

  count: jax.Array


def orthogonalized(every: int, steps: int):
  """Ends every `every`-th of the first `steps` updates in orthogonal kernels.

  Each convolution's kernel as a matrix `[k k C_in / groups, C_out]` becomes the
  nearest with orthonormal columns (or rows, where it has fewer): U V^T of its
  singular value decomposition. FastDVDnet's release does so after the updates
  0, 10, 20 ... of its first epochs. The last transform of a chain, since it
  looks at where the update leads.

  Args:
    every: updates from one projection to the next, the first one projects.
    steps: as many updates are so treated; those after them pass through.
  """

  def init(params):
    del params
    return OrthogonalizedState(jnp.zeros((), jnp.int32))

  def update(updates, state, params):
    def move(path, update, parameter):
      if path[-1].key != "kernel" or parameter.ndim != 4:
        return update
      return _orthogonal(parameter + update) - parameter

    due = (state.count % every == 0) & (state.count < steps)
    updates = jax.lax.cond(
        due,
        lambda updates: jax.tree_util.tree_map_with_path(
            move, updates, params
        ),
        lambda updates: updates,
        updates,
    )
    return updates, OrthogonalizedState(state.count + 1)

  return optax.GradientTransformation(init, update)


def _orthogonal(kernel):
  matrix = kernel.reshape(-1, kernel.shape[-1])
  left, _, right = jnp.linalg.svd(matrix, full_matrices=False)
  # Accelerators round the factors of a product by default.
  nearest = jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
  return nearest.reshape(kernel.shape)


def parameter_paths(params):
  """The tree of `params` with each leaf's path, such as "motion/level_0"."""
  return jax.tree_util.tree_map_with_path(
      lambda path, _: "/".join(str(entry.key) for entry in path), params
  )


def build(config, steps: int) -> optax.GradientTransformation:
  """The optimizer of `config.optimizer`.

  Args:
    config: mapping with `learning_rate`, `final_learning_rate`,
      `warmup_steps`, `drops`, `b1`, `b2`, `weight_decay`, `clip_norm` (0 for
      none), `orthogonal_every` (0 for never), `orthogonal_steps` and
      `groups`: a mapping from the name of a top-level module to its
      `learning_rate` and `frozen_steps`. Where `drops` has pairs of (step,
      factor), each rate is `schedules.steps_down`, else `schedules.cosine`.
      Kernels outside of `groups` are `orthogonalized`.
    steps: of the whole run; every rate's clock runs over it, also while its
      group is frozen.

  Returns:
    An optax transform. Frozen groups count neither in the clipped norm nor in
    the decay.
  """
  transforms = {
      name: optax.chain(
          frozen_until(frozen, _adamw_direction(config)) if frozen
          else _adamw_direction(config),
          # Outside the freeze: the schedule's clock never stops.
          optax.scale_by_learning_rate(rate),
      )
      for name, (rate, frozen) in _groups(config, steps).items()
  }
  if config["orthogonal_every"]:
    transforms[_MAIN] = optax.chain(
        transforms[_MAIN],
        orthogonalized(config["orthogonal_every"], config["orthogonal_steps"]),
    )
  labels = functools.partial(_labels, names=tuple(config["groups"]))
  chain = [optax.partition(transforms, labels)]
  if config["clip_norm"]:
    chain.insert(0, optax.clip_by_global_norm(config["clip_norm"]))
    frozen = {
        name: frozen_until(group["frozen_steps"], optax.identity())
        for name, group in config["groups"].items()
    }
    chain.insert(
        0, optax.partition({_MAIN: optax.identity(), **frozen}, labels)
    )
  return optax.chain(*chain)


def learning_rates(config, steps: int):
  """A function of the step that gives each group's rate, 0 while frozen."""
  groups = _groups(config, steps)

  def rates(step):
    return {
        name: jnp.where(step < frozen, 0.0, rate(step))
        for name, (rate, frozen) in groups.items()
    }

  return rates


def _groups(config, steps):
  """Each group's name with its schedule and its number of frozen steps."""

  drops = tuple(map(tuple, config["drops"]))
  if list(drops) != sorted(drops):
    raise ValueError(
        "config.optimizer.drops has pairs of (step, factor) in the order of"
        f" their steps, but got {drops}."
    )

  def schedule(base):
    if drops:
      return functools.partial(schedules.steps_down, base=base, drops=drops)
    return functools.partial(
        schedules.cosine,
        base=base,
        final=min(config["final_learning_rate"], base),
        steps=steps,
        warmup_steps=config["warmup_steps"],
    )

  groups = {_MAIN: (schedule(config["learning_rate"]), 0)}
  for name, group in config["groups"].items():
    groups[name] = (schedule(group["learning_rate"]), group["frozen_steps"])
  return groups


def _adamw_direction(config):
  """AdamW's update before the learning rate (arXiv:1711.05101)."""
  return optax.chain(
      optax.scale_by_adam(b1=config["b1"], b2=config["b2"]),
      optax.add_decayed_weights(
          config["weight_decay"],
          mask=lambda params: jax.tree.map(
              lambda path: not _NOT_DECAYED.search(path),
              parameter_paths(params),
          ),
      ),
  )


def _labels(params, names):
  missing = sorted(set(names) - set(params))
  if missing:
    raise ValueError(
        f"config.optimizer.groups names {', '.join(missing)}, but the model's"
        f" modules are {', '.join(sorted(params))}."
    )
  return {
      module: jax.tree.map(lambda _, m=module: m if m in names else _MAIN, leaf)
      for module, leaf in params.items()
  }
