"""One training step: a pure function of state and batch."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from vidrestore_jax.layers import whole_batch


@flax.struct.dataclass
class TrainState:
  """All that a run needs to go on, and nothing else.

  Attributes:
    step: updates made so far, int32.
    seed: of the run, uint32; every random number is drawn from it and the step.
    params: float32 parameters.
    ema: the exponential moving average of the model's, or {} where none is
      kept.
    model_state: the model's other variables, by collection, and the task's.
    ema_state: the average of the model's: the statistics of a batch
      normalisation that go with averaged parameters; {} where none is kept.
    opt_state: the optimizer's.
  """

  step: jax.Array
  seed: jax.Array
  params: Any
  ema: Any
  model_state: Any
  ema_state: Any
  opt_state: Any


def create_state(task, tx, seed: int, batch, *, keep_ema: bool) -> TrainState:
  """The state before the first step; may be jitted.

  Args:
    task: see `vidrestore_jax.tasks`.
    tx: an optax transform.
    seed: of initialisation and of all later noise.
    batch: of the shapes that training will see.
    keep_ema: whether to keep a moving average of the variables.
  """
  params, model_state = task.init(jax.random.key(seed), batch)
  ema, ema_state = (
      start_average(task, params, model_state) if keep_ema else ({}, {})
  )
  return TrainState(
      step=jnp.zeros((), jnp.int32),
      seed=jnp.asarray(seed, jnp.uint32),
      params=params,
      ema=ema,
      model_state=model_state,
      ema_state=ema_state,
      opt_state=tx.init(params),
  )


def of_model(task, params, model_state):
  """The pair without what `task.train_only` names: the model's own variables.

  Args:
    task: see `vidrestore_jax.tasks`.
    params: of a train state.
    model_state: likewise.
  """
  names = getattr(task, "train_only", ())
  if not names:
    return params, model_state
  return tuple(
      {name: part for name, part in tree.items() if name not in names}
      for tree in (params, model_state)
  )


def start_average(task, params, model_state):
  """The pair (ema, ema_state) before the first step."""
  # A copy: a donated state must not hold one buffer twice.
  return jax.tree.map(jnp.copy, of_model(task, params, model_state))


def train_step(
    state: TrainState, batch, *, task, tx, ema_decay: float, accumulate: int = 1
):
  """One update of `state`. Pure, so the loop may jit, shard and donate it.

  Args:
    state: the state before.
    batch: see `vidrestore_jax.tasks`.
    task: gives the loss.
    tx: the optax transform that made `state.opt_state`.
    ema_decay: of the moving average, approached as (1 + step) / (10 + step) so
      that a short run does not average its start.
    accumulate: parts of the batch, see `gradients`.

  Returns:
    The pair (state, metrics). Metrics are scalars: the task's own, `loss`,
    `grad_norm` and `finite`. Where loss or gradient is not finite, the state
    is the one before, unchanged in every part.

  Raises:
    ValueError: the batch does not split into the parts.
  """
  key = jax.random.fold_in(jax.random.key(state.seed), state.step)
  loss, grads, model_state, metrics = gradients(
      task, state, batch, key, accumulate
  )
  # Under pmap, each device's are of its own part.
  loss, grads = whole_batch.average((loss, grads))
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
  if hasattr(task, "mask_updates"):
    updates = task.mask_updates(updates, model_state)
  params = optax.apply_updates(state.params, updates)
  decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
  ema, ema_state = jax.tree.map(
      # In this form an average of equal values stays that value exactly.
      lambda old, new: old + (1 - decay) * (new - old),
      (state.ema, state.ema_state),
      of_model(task, params, model_state) if state.ema else ({}, {}),
  )
  updated = TrainState(
      step=state.step + 1,
      seed=state.seed,
      params=params,
      ema=ema,
      model_state=model_state,
      ema_state=ema_state,
      opt_state=opt_state,
  )
  grad_norm = optax.tree.norm(grads)
  finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
  state = jax.tree.map(
      lambda old, new: jnp.where(finite, new, old), state, updated
  )
  metrics |= {"loss": loss, "grad_norm": grad_norm, "finite": finite}
  return state, metrics


def gradients(task, state: TrainState, batch, key, parts: int = 1):
  """Loss and gradients of a batch, computed in parts one after another.

  Only one part's activations are there at a time. The mean of the parts'
  gradients is that of the batch to rounding, since losses are means over
  examples, and noise is an example's own. What is taken over a batch is taken
  over each part in turn: statistics of batch normalisation, which so move
  `parts` times, and the guard of distillation. Metrics are the means of the
  parts' (of a PSNR too), those named `*_max` the largest.

  Args:
    task: gives the loss.
    state: the train state.
    batch: arrays `[B, ...]`.
    key: of the step.
    parts: how many; each has every `parts`-th example, so that devices that
      share a batch have a share of every part without moving any.

  Returns:
    (loss, gradients, model state after it, the task's metrics).

  Raises:
    ValueError: the batch does not split into the parts.
  """
  run = jax.value_and_grad(task.loss, has_aux=True)
  if parts == 1:
    (loss, (model_state, metrics)), grads = run(
        state.params, state.model_state, batch, key, state.step
    )
    return loss, grads, model_state, metrics

  def add(carry, part):
    # A part waits for the gradients of the one before it: then nothing else
    # of that one is left.
    part, (total, model_state) = jax.lax.optimization_barrier((part, carry))
    (loss, (model_state, metrics)), grads = run(
        state.params, model_state, part, key, state.step
    )
    total = jax.tree.map(jnp.add, total, (loss, grads))
    return (total, model_state), metrics

  nothing = jax.tree.map(jnp.zeros_like, (jnp.zeros(()), state.params))
  (total, model_state), metrics = jax.lax.scan(
      add,
      (nothing, state.model_state),
      jax.tree.map(lambda array: _split(array, parts), batch),
      # In a loop a CPU runs less side by side.
      unroll=jax.default_backend() == "cpu",
  )
  loss, grads = jax.tree.map(lambda leaf: leaf / parts, total)
  metrics = {
      name: (jnp.max if name.endswith("_max") else jnp.mean)(values)
      for name, values in metrics.items()
  }
  return loss, grads, model_state, metrics


def _split(array, parts: int):
  """`[B, ...]` to `[parts, B / parts, ...]`."""
  if len(array) % parts:
    raise ValueError(
        f"A batch of {len(array)} does not split into {parts} parts. Set"
        " accumulate to one of its divisors."
    )
  array = array.reshape(-1, parts, *array.shape[1:])
  return jnp.swapaxes(array, 0, 1)
