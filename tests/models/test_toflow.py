"""TOFlow: its laws, its cost, and that flow is learned with the task."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.models import measures
from vidrestore_jax import models
from vidrestore_jax.inference import streaming
from vidrestore_jax.layers import resample

OPTIONS = {"xla_backend_optimization_level": 0}


@pytest.fixture(scope="module")
def window():
  generator = np.random.default_rng(0)
  return generator.random((2, 7, 8, 16, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def variables():
  """Those that training starts from, which no scale changes."""
  init = jax.jit(models.build("toflow").init, compiler_options=OPTIONS)
  return init(jax.random.key(0), np.zeros((1, 7, 2, 2, 3), np.float32))


@pytest.fixture(scope="module")
def drawn(variables):
  """Random ones that move frames and change them."""
  generator = np.random.default_rng(1)

  def draw(path, leaf):
    if path[-1].key in ("var", "scale"):
      return generator.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
    deviation = (1 / leaf[..., 0].size) ** 0.5 if leaf.ndim > 1 else 0.1
    return generator.normal(0, deviation, leaf.shape).astype(np.float32)

  return jax.tree_util.tree_map_with_path(draw, variables)


def test_it_has_the_parameters_and_the_cost_of_the_table():
  """0.81 T for 180x120 frames, which are four times that inside."""
  params, macs = measures.cost(models.build("toflow"))
  assert params == 1_405_899
  assert abs(macs / 0.8145e12 - 1) < 0.005
  assert measures.cost(models.build("toflow", scale=1), width=720, height=480)[
      1
  ] == macs


def test_training_starts_near_the_enlarged_middle_frame(window, variables):
  restored = measures.apply(models.build("toflow"), variables, window)
  enlarged = resample.bicubic_resize(window[:, 3], 4)
  error = np.abs(restored.frames - enlarged).max()
  assert 0 < error < 0.1
  assert restored.aux["hr_features"].shape == (2, 32, 64, 64)
  align = jax.jit(
      lambda variables: models.build("toflow").apply(
          variables, window, method="align"
      ),
      compiler_options=OPTIONS,
  )
  flows, aligned = align(variables)
  assert 0 < np.abs(flows).max() < 1  # Frames stand still at first.
  mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
  np.testing.assert_allclose(
      aligned[:, 3] * np.array(deviation) + np.array(mean), enlarged, atol=1e-5
  )


def test_the_official_order_moves_the_middle_frame_to_the_front(window, drawn):
  """The same network, if the first kernel's inputs move with the frames."""
  model = models.build("toflow", scale=1)
  expected = measures.apply(model, drawn, window)
  assert np.abs(expected.frames - window[:, 3]).max() > 0.05
  official = models.build("toflow", scale=1, official_order=True)
  other = measures.apply(official, drawn, window)
  assert np.abs(other.frames - expected.frames).max() > 1e-3
  kernel = drawn["params"]["conv_0"]["conv"]["kernel"]
  frames = kernel.reshape(9, 9, 7, 3, 64)[:, :, [3, 0, 1, 2, 4, 5, 6]]
  conv = drawn["params"]["conv_0"]["conv"] | {
      "kernel": frames.reshape(kernel.shape)
  }
  moved = drawn | {"params": drawn["params"] | {"conv_0": {"conv": conv}}}
  other = measures.apply(official, moved, window)
  np.testing.assert_allclose(other.frames, expected.frames, atol=1e-5)


def test_all_frames_count(window, drawn):
  model = models.build("toflow", scale=1)
  windows = np.repeat(window[:1, :, :, :8], 8, 0)
  for t in range(7):
    windows[t, t] = 1 - windows[t, t]
  frames = measures.apply(model, drawn, windows).frames
  assert np.abs(frames[:7] - frames[7]).max((1, 2, 3)).min() > 1e-3


def test_clips_are_padded_and_their_ends_repeated(drawn):
  model = models.build("toflow")
  assert model.stride == 2 and models.build("toflow", scale=1).stride == 8
  assert models.build("toflow", scale=3).stride == 8
  clip = np.random.default_rng(2).random((2, 3, 5, 3)).astype(np.float32)
  restored = streaming.restore_clip(model, drawn, clip)
  assert restored.frames.shape == (2, 12, 20, 3)
  window = clip[[0, 0, 0, 0, 1, 1, 1]][None]
  window = np.pad(window, ((0, 0), (0, 0), (0, 1), (0, 1), (0, 0)), "reflect")
  first = measures.apply(model, drawn, window).frames[0, :12, :20]
  np.testing.assert_allclose(restored.frames[0], first, atol=1e-5)


def test_statistics_are_the_batchs_in_training_alone(window, drawn):
  model = models.build("toflow", scale=1)
  run = jax.jit(
      lambda window: model.apply(
          drawn, window, train=True, mutable=["batch_stats"]
      ),
      compiler_options=OPTIONS,
  )
  restored, state = run(window)
  tested = measures.apply(model, drawn, window)
  assert np.abs(restored.frames - tested.frames).max() > 1e-3
  # Of the first layer at the coarsest level: 0.9 of the old, 0.1 of the new.
  old = drawn["batch_stats"]["flow_0"]["norm_0"]["mean"]
  new = state["batch_stats"]["flow_0"]["norm_0"]["mean"]
  mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
  small = (resample.average_pool(window.reshape(14, 8, 16, 3), 8) - mean)
  small = (small / np.array(deviation)).reshape(2, 7, 1, 2, 3)
  others = small[:, [0, 1, 2, 4, 5, 6]]
  middle = np.broadcast_to(small[:, 3:4], others.shape)
  pairs = np.concatenate([middle, others, np.zeros_like(others[..., :2])], -1)
  found = jax.lax.conv_general_dilated(
      pairs.reshape(12, 1, 2, 8).astype(np.float32),
      drawn["params"]["flow_0"]["conv_0"]["kernel"],
      (1, 1),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  np.testing.assert_allclose(
      new, 0.9 * old + 0.1 * found.mean((0, 1, 2)), atol=1e-4
  )


def test_every_parameter_has_a_gradient_and_some_steps_reduce_the_error(
    window, variables
):
  model = models.build("toflow", scale=2)
  window = window[:1, :, :4, :4]
  truth = resample.bicubic_resize(window[:, 3], 2) + 0.1
  state = variables["batch_stats"]

  def loss(params):
    restored, _ = model.apply(
        {"params": params, "batch_stats": state},
        window,
        train=True,
        mutable=["batch_stats"],
    )
    return jnp.mean(jnp.square(restored.frames - truth))

  def step(params):
    value, gradients = jax.value_and_grad(loss)(params)
    rate = 0.1 / optax.tree.norm(gradients)
    step = optax.tree.scale(-rate, gradients)
    return value, gradients, optax.apply_updates(params, step)

  run = jax.jit(step, compiler_options=OPTIONS)
  first, gradients, params = run(variables["params"])
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)
  for _ in range(5):
    value, _, params = run(params)
  assert value < 0.5 * first


def test_what_does_not_suit_is_refused(window, variables):
  model = models.build("toflow")
  with pytest.raises(ValueError, match="windows of 7 frames, but got 5"):
    model.apply(variables, window[:, :5])
  with pytest.raises(ValueError, match="divisible by 2, but got 7x16"):
    model.apply(variables, window[:, :, :7])
  with pytest.raises(ValueError, match="takes noise=None"):
    model.apply(variables, window, np.zeros((2, 8, 16, 1)))
  with pytest.raises(ValueError, match="scale of 1 or more, but got 0"):
    models.build("toflow", scale=0)
