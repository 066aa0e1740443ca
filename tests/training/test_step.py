"""The train step: averages, keys, and what a non-finite loss leaves."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

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
