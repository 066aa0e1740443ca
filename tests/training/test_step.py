"""The train step: averages, keys, and what a non-finite loss leaves."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vidrestore_jax.layers import whole_batch
from vidrestore_jax.tasks import losses
from vidrestore_jax.training import sharding
from vidrestore_jax.training import step as steps


@dataclasses.dataclass(frozen=True)
class Quadratic:
  """Loss (w - target)^2, plus noise drawn from the key as a metric."""

  def init(self, key, batch):
    return {"w": jnp.zeros(3)}, {}

  def loss(self, params, model_state, batch, key, step):
    loss = jnp.sum(jnp.square(params["w"] - batch["target"]))
    return loss, (model_state, {"draw": jax.random.normal(key)})


def _run(targets, ema_decay=0.9, seed=0, task=Quadratic()):
  tx = optax.sgd(0.25)
  batch = {"target": jnp.zeros(3)}
  state = steps.create_state(task, tx, seed, batch, keep_ema=ema_decay > 0)
  step = jax.jit(
      functools.partial(
          steps.train_step, task=task, tx=tx, ema_decay=ema_decay
      )
  )
  states, metrics = [state], []
  for target in targets:
    state, out = step(state, {"target": jnp.full(3, target)})
    states.append(state)
    metrics.append(out)
  return states, metrics


def test_update_and_average_by_hand():
  """w halves its distance; the average is warmed up: 1/10, then 2/11."""
  states, metrics = _run([8.0, 8.0])
  np.testing.assert_allclose(states[1].params["w"], [4.0] * 3)
  np.testing.assert_allclose(states[2].params["w"], [6.0] * 3)
  first = 0.9 * 4.0
  np.testing.assert_allclose(states[1].ema["w"], [first] * 3, rtol=1e-6)
  second = 2 / 11 * first + 9 / 11 * 6.0
  np.testing.assert_allclose(states[2].ema["w"], [second] * 3, rtol=1e-6)
  np.testing.assert_allclose(metrics[0]["loss"], 3 * 64.0)
  np.testing.assert_allclose(metrics[0]["grad_norm"], np.sqrt(3) * 16)


def test_average_reaches_its_decay():
  states, _ = _run([1.0] * 200, ema_decay=0.5)
  before, after = states[-2], states[-1]
  np.testing.assert_allclose(
      after.ema["w"], (before.ema["w"] + after.params["w"]) / 2, rtol=1e-6
  )


def test_no_average_is_kept_where_none_is_wanted():
  states, _ = _run([1.0], ema_decay=0.0)
  assert states[-1].ema == {}


class Statistics(Quadratic):
  """Keeps the last target in the model state, as normalisation would."""

  def init(self, key, batch):
    return {"w": jnp.zeros(3)}, {"batch_stats": {"mean": jnp.zeros(3)}}

  def loss(self, params, model_state, batch, key, step):
    loss, (_, metrics) = super().loss(params, model_state, batch, key, step)
    return loss, ({"batch_stats": {"mean": batch["target"]}}, metrics)


def test_statistics_are_averaged_as_the_parameters_that_they_go_with():
  states, _ = _run([8.0, 8.0], task=Statistics())
  after = states[2]
  np.testing.assert_array_equal(
      after.model_state["batch_stats"]["mean"], [8.0] * 3
  )
  second = 2 / 11 * (0.9 * 8.0) + 9 / 11 * 8.0
  np.testing.assert_allclose(
      after.ema_state["batch_stats"]["mean"], [second] * 3, rtol=1e-6
  )
  states, _ = _run([8.0], ema_decay=0.0, task=Statistics())
  assert states[1].ema_state == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_that_is_not_finite_leaves_the_state_untouched(bad):
  states, metrics = _run([8.0, bad])
  assert bool(metrics[0]["finite"]) and not bool(metrics[1]["finite"])
  jax.tree.map(np.testing.assert_array_equal, states[1], states[2])
  assert int(states[2].step) == 1


def test_randomness_depends_on_seed_and_step_alone():
  _, first = _run([1.0, 1.0, 1.0])
  _, again = _run([5.0, 3.0, 9.0])
  draws = [float(m["draw"]) for m in first]
  assert draws == [float(m["draw"]) for m in again]
  assert len(set(draws)) == 3
  _, other = _run([1.0], seed=1)
  assert float(other[0]["draw"]) != draws[0]


class Regression:
  """Mean of (w x + noise of the example - y)^2 over the batch."""

  def init(self, key, batch):
    return {"w": jnp.zeros(3)}, {"seen": jnp.zeros((), jnp.int32)}

  def loss(self, params, model_state, batch, key, step):
    noise = jax.vmap(jax.random.normal)(
        losses.example_keys(key, batch["index"])
    )
    error = batch["x"] @ params["w"] + noise - batch["y"]
    state = {"seen": model_state["seen"] + len(error)}
    # As whoever computes one part would say of it: which examples it had.
    indices = jnp.sum(2 ** batch["index"])
    return jnp.mean(jnp.square(error)), (
        state, {"indices": indices, "index_max": jnp.max(batch["index"])}
    )


def _regression(parts, parallel=None, size=8):
  generator = np.random.default_rng(0)
  batch = {
      "x": generator.normal(size=(size, 3)).astype(np.float32),
      "y": generator.normal(size=size).astype(np.float32),
      "index": np.arange(size, dtype=np.int32),
  }
  task, tx = Regression(), optax.sgd(0.1)
  step = functools.partial(
      steps.train_step, task=task, tx=tx, ema_decay=0.9, accumulate=parts
  )
  state = steps.create_state(task, tx, 0, batch, keep_ema=True)
  if parallel is None:
    return jax.jit(step)(state, batch)
  compile_step, place = sharding.PARALLEL[parallel]
  mesh = sharding.data_mesh(size, jax.devices()[:1], parts=parts)
  return compile_step(step, mesh)(state, place(batch, mesh))


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("parallel", [None, "jit", "pmap"])
def test_a_batch_in_parts_makes_the_step_of_the_whole(parts, parallel):
  whole, expected = _regression(1)
  state, metrics = _regression(parts, parallel)
  assert np.abs(whole.params["w"]).min() > 1e-3
  for found, wanted in (
      (state.params, whole.params), (state.ema, whole.ema),
      (metrics["loss"], expected["loss"]),
      (metrics["grad_norm"], expected["grad_norm"]),
  ):
    jax.tree.map(
        lambda f, w: np.testing.assert_allclose(f, w, 1e-5, 1e-6),
        found, wanted,
    )
  # Every example once, and the model state goes from part to part.
  assert float(metrics["indices"]) == (2**8 - 1) / parts
  assert int(metrics["index_max"]) == 7
  assert int(state.model_state["seen"]) == 8 and int(state.step) == 1


def test_parts_that_a_batch_does_not_have_are_refused():
  with pytest.raises(ValueError, match="8 does not split into 3 parts"):
    _regression(3)
  with pytest.raises(ValueError, match="1 devices in 3 parts each.*=9"):
    _regression(3, "jit")
  with pytest.raises(ValueError, match="one part or more.* is 0"):
    _regression(0, "jit")


def test_a_largest_value_has_no_gradient_and_so_goes_over_devices():
  def loss(w, x):
    return whole_batch.mean(w * x), whole_batch.largest(w * x)

  run = jax.value_and_grad(loss, has_aux=True)
  x = jnp.arange(6.0).reshape(2, 3)
  (_, largest), _ = jax.vmap(run, in_axes=(None, 0), axis_name="data")(2.0, x)
  np.testing.assert_array_equal(largest, [10.0, 10.0])
