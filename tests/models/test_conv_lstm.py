"""The predictor: a clip is its steps, and training makes it predict."""

import jax
import numpy as np
import optax
import pytest

from vidrestore_jax import models, tasks
from vidrestore_jax.inference import streaming

FAST = {"xla_backend_optimization_level": 0}
TINY = dict(embedding=3, hidden=4)


def _variables(model, seed=0):
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), np.zeros((1, 2, 4, 4, 3), np.float32)
  )
  return jax.tree.map(
      lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes
  )


def test_a_clip_is_a_scan_of_its_steps():
  model = models.build("conv_lstm", **TINY)
  variables = _variables(model)
  clip = np.random.default_rng(1).random((9, 5, 6, 3), np.float32)
  whole = jax.jit(model.apply, compiler_options=FAST)(variables, clip[None])
  streamed = streaming.restore_clip(model, variables, clip)
  np.testing.assert_allclose(streamed.frames, whole.frames[0], atol=1e-6)
  # It sees no later frame.
  clip[5:] = 0
  cut = jax.jit(model.apply, compiler_options=FAST)(variables, clip[None])
  np.testing.assert_array_equal(cut.frames[0, :5], whole.frames[0, :5])
  assert np.abs(cut.frames[0, 5:] - whole.frames[0, 5:]).max() > 0.1


def test_it_learns_to_predict_a_clip_that_comes_late():
  """Frames grow brighter by 0.1: the last one is wrong by that."""
  model = models.build("conv_lstm", **TINY)
  task = tasks.build("restoration", model=model)
  clip = np.arange(4)[:, None, None, None] * 25 + np.full((4, 4, 4, 3), 50)
  batch = {
      "clean": clip[None].astype(np.uint8),
      "degraded": clip[[0, 0, 1, 2]][None].astype(np.uint8),
      "max_value": np.full(1, 250, np.float32),
      "index": np.zeros(1, np.int32),
  }
  params, _ = task.init(jax.random.key(0), batch)
  tx = optax.adam(0.02)

  @jax.jit
  def step(params, state):
    gradient, (_, metrics) = jax.grad(task.loss, has_aux=True)(
        params, {}, batch, jax.random.key(0), 0
    )
    updates, state = tx.update(gradient, state)
    return optax.apply_updates(params, updates), state, metrics["mse"]

  state, errors = tx.init(params), []
  for _ in range(60):
    params, state, error = step(params, state)
    errors.append(float(error))
  # At first as wrong as the last frame, three times in four.
  np.testing.assert_allclose(errors[0], 0.75 * 0.01, rtol=0.2)
  assert errors[-1] < errors[0] / 5


def test_what_it_does_not_take_is_refused():
  with pytest.raises(ValueError, match="one of float32, bfloat16"):
    models.build("conv_lstm", dtype="float16")
  model = models.build("conv_lstm", **TINY)
  with pytest.raises(ValueError, match="takes noise=None"):
    model.apply(
        _variables(model), np.zeros((1, 2, 4, 4, 3)), np.zeros((1, 4, 4, 1))
    )
