"""DUF: its sizes, its reach, and how it starts."""

import jax
import numpy as np
import pytest

from tests.models import measures
from vidrestore_jax import models
from vidrestore_jax.models import duf

TINY = duf.DUF(blocks=1, growth=2, scale=2, channels=1)


@pytest.mark.parametrize(
    ("layers", "params", "macs"),
    [(16, 1.90e6, None), (28, 2.11e6, None), (52, 5.80e6, 0.6172e12)],
)
def test_parameters_and_cost(layers, params, macs):
  """0.62 T in the table of space-time distillation, which counts MACs."""
  found = measures.cost(models.build("duf", layers=layers))
  assert abs(found[0] / params - 1) < 0.005
  assert macs is None or abs(found[1] / macs - 1) < 0.005


@pytest.fixture(scope="module")
def window():
  return np.random.default_rng(0).random((2, 7, 4, 5, 1)).astype(np.float32)


def test_the_enlarged_frame_keeps_the_level_of_the_middle_one(window):
  """Filters sum to one, and what is added starts small."""
  window = np.broadcast_to(window.mean((2, 3), keepdims=True), (2, 7, 9, 9, 1))
  variables = jax.jit(TINY.init)(jax.random.key(0), window)
  restored = measures.apply(TINY, variables, window)
  assert restored.frames.shape == (2, 18, 18, 1)
  inside = restored.frames[:, 4:-4, 4:-4]  # Two pixels of zeros lie beyond.
  np.testing.assert_allclose(
      inside, np.broadcast_to(window[:, 3, :1, :1], inside.shape), atol=0.05
  )


def test_a_pixel_reaches_as_far_as_the_halo_and_no_farther():
  variables = measures.averaging(TINY)
  # Else the softmax takes away what all of its taps have in common.
  params = variables["params"]
  kernel = params["filters_1"]["conv"]["kernel"]
  kernel[...] = np.random.default_rng(2).normal(size=kernel.shape)
  found = measures.reach(TINY, variables, rows=1, columns=16, frame=0)
  assert found == TINY.halo == 6


def test_statistics_follow_the_batch_in_training_alone(window):
  variables = measures.averaging(TINY)
  _, changed = jax.jit(
      lambda window: TINY.apply(
          variables, window, train=True, mutable=["batch_stats"]
      )
  )(window)
  moved = changed["batch_stats"]["dense_0"]["norm_0"]["norm"]
  entry = jax.lax.conv_general_dilated(
      window.reshape(14, 4, 5, 1),
      variables["params"]["entry"]["conv"]["kernel"],
      (1, 1),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  np.testing.assert_allclose(
      moved["mean"], 0.1 * np.mean(entry, (0, 1, 2)), rtol=1e-4
  )


def test_it_has_no_map_at_the_size_of_the_output(window):
  assert not jax.eval_shape(
      TINY.apply, measures.shapes(TINY), window, None
  ).aux


def test_what_does_not_suit_is_named(window):
  with pytest.raises(ValueError, match="windows of 7 frames, but got 5"):
    TINY.apply({}, window[:, :5])
  with pytest.raises(ValueError, match="one of 16, 28, 52, but got 20"):
    models.build("duf", layers=20)
