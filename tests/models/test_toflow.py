"""TOFlow: its laws, its cost, and that flow is learned with the task."""

import functools

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


MEAN, DEVIATION = np.array([(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)])
TINY = dict(width=8, flow_widths=(4, 6))
ENLARGED = models.build("toflow", scale=1, **TINY)  # Frames that are, already.


@functools.cache
def _compiled(model):
  """One program for each model: all tests have windows of one shape."""
  return jax.jit(model.apply, compiler_options=OPTIONS)


@pytest.fixture(scope="module")
def windows():
  """A window, and that with each of its frames changed."""
  window = np.random.default_rng(0).random((7, 8, 8, 3)).astype(np.float32)
  windows = np.stack([window] * 8)
  for t in range(7):
    windows[t + 1, t] = 1 - windows[t + 1, t]
  return windows


@pytest.fixture(scope="module")
def variables():
  """Those that training starts from, which no scale changes."""
  model = models.build("toflow", **TINY)
  init = jax.jit(model.init, compiler_options=OPTIONS)
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


def test_training_starts_near_the_enlarged_middle_frame(windows, variables):
  model = models.build("toflow", **TINY)
  window = windows[:1, :, :4, :6]

  def run(variables):
    return (
        model.apply(variables, window),
        model.apply(variables, window, method="align"),
    )

  run = jax.jit(run, compiler_options=OPTIONS)
  restored, (flows, aligned) = run(variables)
  enlarged = resample.bicubic_resize(window[:, 3], 4)
  error = np.abs(restored.frames - enlarged).max()
  assert 0 < error < 0.1
  assert restored.aux["hr_features"].shape == (1, 16, 24, 8)
  assert 0 < np.abs(flows).max() < 1  # Frames stand still at first.
  np.testing.assert_allclose(
      aligned[:, 3] * DEVIATION + MEAN, enlarged, atol=1e-5
  )


def test_all_frames_count(windows, drawn):
  whole, *changed = _compiled(ENLARGED)(drawn, windows).frames
  assert np.abs(whole - windows[0, 3]).max() > 0.05
  for frames in changed:
    assert np.abs(frames - whole).max() > 1e-3


def test_the_official_order_moves_the_middle_frame_to_the_front(
    windows, drawn
):
  """The same network, if the first kernel's inputs move with the frames."""
  expected = _compiled(ENLARGED)(drawn, windows).frames
  official = models.build("toflow", scale=1, official_order=True, **TINY)
  other = _compiled(official)(drawn, windows).frames
  assert np.abs(other - expected).max() > 1e-3
  conv = drawn["params"]["conv_0"]["conv"]
  kernel = conv["kernel"].reshape(9, 9, 7, 3, 8)
  kernel = kernel[:, :, [3, 0, 1, 2, 4, 5, 6]].reshape(conv["kernel"].shape)
  moved = {"conv_0": {"conv": conv | {"kernel": kernel}}}
  moved = drawn | {"params": drawn["params"] | moved}
  other = _compiled(official)(moved, windows).frames
  np.testing.assert_allclose(other, expected, atol=1e-5)


def test_clips_are_padded_and_their_ends_repeated(windows, drawn):
  assert ENLARGED.stride == 8 and models.build("toflow").stride == 2
  assert models.build("toflow", scale=3).stride == 8
  clip = windows[0, :2, :6, :5]
  restored = streaming.restore_clip(ENLARGED, drawn, clip)
  padded = np.pad(clip, ((0, 0), (0, 2), (0, 3), (0, 0)), "reflect")
  window = np.stack([padded[[0, 0, 0, 0, 1, 1, 1]]] * 8)
  first = _compiled(ENLARGED)(drawn, window).frames[0, :6, :5]
  np.testing.assert_allclose(restored.frames[0], first, atol=1e-5)


@pytest.fixture(scope="module")
def step(windows):
  """A training step: variables to (loss, gradients, updated variables)."""
  window = windows[:2]

  def step(variables):
    def loss(params):
      restored, state = ENLARGED.apply(
          variables | {"params": params},
          window,
          train=True,
          mutable=["batch_stats"],
      )
      return jnp.mean(jnp.square(restored.frames - window[:, 3] - 0.1)), state

    grad = jax.value_and_grad(loss, has_aux=True)
    (value, state), gradients = grad(variables["params"])
    update = optax.tree.scale(-0.1 / optax.tree.norm(gradients), gradients)
    params = optax.apply_updates(variables["params"], update)
    return value, gradients, {"params": params, **state}

  return jax.jit(step, compiler_options=OPTIONS)


def test_every_parameter_has_a_gradient_and_some_steps_reduce_the_error(
    step, variables
):
  first, gradients, stepped = step(variables)
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)
  for _ in range(5):
    value, _, stepped = step(stepped)
  assert value < 0.5 * first


def test_statistics_are_of_all_pairs_of_the_batch(step, windows, drawn):
  """Those of the coarsest level's first layer: 0.9 old, 0.1 new."""
  _, _, stepped = step(drawn)
  old, new = (
      variables["batch_stats"]["flow_0"]["norm_0"]["mean"]
      for variables in (drawn, stepped)
  )
  small = windows[:2].mean((2, 3), keepdims=True)  # One pixel there.
  small = (small - MEAN) / DEVIATION
  others = np.delete(small, 3, 1)
  middle = np.broadcast_to(small[:, 3:4], others.shape)
  pairs = np.concatenate([middle, others, np.zeros_like(others[..., :2])], -1)
  kernel = drawn["params"]["flow_0"]["conv_0"]["kernel"]
  found = pairs.reshape(12, 8) @ kernel[3, 3]  # All other taps see the border.
  np.testing.assert_allclose(new, 0.9 * old + 0.1 * found.mean(0), atol=1e-5)


def test_what_does_not_suit_is_refused(windows, variables):
  model, window = models.build("toflow", **TINY), windows[:1]
  with pytest.raises(ValueError, match="windows of 7 frames, but got 5"):
    model.apply(variables, window[:, :5])
  with pytest.raises(ValueError, match="divisible by 2, but got 7x8"):
    model.apply(variables, window[:, :, :7])
  with pytest.raises(ValueError, match="takes noise=None"):
    model.apply(variables, window, np.zeros((1, 8, 8, 1)))
  with pytest.raises(ValueError, match="scale of 1 or more, but got 0"):
    models.build("toflow", scale=0)
