"""The flow task: units of its error, pairs, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import models, tasks
from vidrestore_jax.tasks import losses


def test_end_point_error_hand_value_and_gradient_at_zero():
  flow = jnp.array([[3.0, 4.0], [0.0, 0.0]])
  error = losses.end_point_error(flow, jnp.zeros_like(flow))
  np.testing.assert_allclose(error, 2.5, rtol=1e-6)
  gradient = jax.grad(losses.end_point_error)(flow, flow)
  np.testing.assert_array_equal(gradient, jnp.zeros_like(flow))


class Still:
  """A pyramid of two levels that sees no motion."""

  def pyramid(self, current, reference):
    raise AssertionError("called through apply")

  def apply(self, variables, current, reference, method):
    assert method == "pyramid"
    self.seen = current, reference
    batch, height, width, _ = current.shape
    return [
        jnp.zeros((batch, height // 2, width // 2, 2)),
        jnp.zeros((batch, height, width, 2)),
    ]


def test_each_level_is_judged_in_its_own_pixels():
  """6 pixels of motion are 3 at half resolution: 6 + 3, smoothed by a pixel."""
  model = Still()
  task = tasks.build("optical_flow", model=model, sigma=(0.0, 0.0))
  flow = np.zeros((1, 3, 4, 4, 2), np.float32)
  flow[:, 1:, ..., 0] = 6.0
  clean = np.arange(3, dtype=np.uint8)[None, :, None, None, None]
  batch = {
      "clean": np.broadcast_to(clean, (1, 3, 4, 4, 3)),
      "max_value": np.ones(1, np.float32),
      "index": np.zeros(1, np.int32),
      "flow": flow,
  }
  loss, (_, metrics) = task.loss({}, {}, batch, jax.random.key(0), 0)
  np.testing.assert_allclose(loss, np.sqrt(37.0) + np.sqrt(10.0), rtol=1e-5)
  np.testing.assert_allclose(metrics["end_point_error"], 6.0, rtol=1e-6)
  np.testing.assert_allclose(metrics["end_point_error_of_zero"], 6.0)
  current, reference = (x[:, 0, 0, 0] for x in model.seen)
  np.testing.assert_array_equal(current, [1, 2])  # Frame t looks into t - 1.
  np.testing.assert_array_equal(reference, [0, 1])


def test_models_without_flow_are_refused():
  with pytest.raises(ValueError, match="no flow pyramid"):
    tasks.build("optical_flow", model=models.build("ncfl"))
