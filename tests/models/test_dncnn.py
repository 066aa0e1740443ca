"""DnCNN: its sizes, and its arithmetic against an independent one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from vidrestore_jax import models, released


@pytest.fixture(scope="module")
def window():
  generator = np.random.default_rng(0)
  return generator.uniform(size=(2, 1, 7, 9, 2)).astype(np.float32)


def _random(model, window, noise=None):
  """Variables with no value left at its start."""
  variables = jax.eval_shape(model.init, jax.random.key(0), window, noise)
  generator = np.random.default_rng(1)
  return jax.tree.map(
      lambda x: generator.uniform(0.1, 0.6, x.shape).astype(np.float32)
      - (0.3 if x.ndim == 4 else 0.0),
      dict(variables),
  )


def _convolve(x, kernel):
  """[H, W, I] by a 3x3 HWIO kernel, zero-padded; float64."""
  out = np.zeros((*x.shape[:2], kernel.shape[3]))
  for i in range(kernel.shape[2]):
    for o in range(kernel.shape[3]):
      out[..., o] += ndimage.correlate(
          x[..., i], np.float64(kernel[:, :, i, o]), mode="constant"
      )
  return out


def test_output_is_the_frame_less_what_the_chain_predicts(window):
  epsilon = 0.1  # Large enough that leaving it out shows.
  model = models.build(
      "dncnn", depth=4, width=3, channels=2, epsilon=epsilon
  )
  variables = _random(model, window)
  restored = jax.jit(model.apply)(variables, window, None)
  params, stats = variables["params"], variables["batch_stats"]
  assert set(stats) == {"norm_1", "norm_2"}
  for frame, ours in zip(np.float64(window[:, 0]), restored.frames):
    x = frame
    for i in range(4):
      conv = params[f"conv_{i}"]
      x = _convolve(x, conv["kernel"]) + conv["bias"]
      if i in (1, 2):
        norm, running = params[f"norm_{i}"], stats[f"norm_{i}"]
        x = (x - running["mean"]) / np.sqrt(running["var"] + epsilon)
        x = x * norm["scale"] + norm["bias"]
      if i < 3:
        x = np.maximum(x, 0)
    np.testing.assert_allclose(ours, frame - x, atol=1e-5)


def test_fdncnn_sees_the_noise_level_and_returns_the_frame_itself(window):
  model = models.build(
      "dncnn",
      depth=2,
      width=3,
      channels=2,
      batch_norm=False,
      bias=False,
      residual=False,
      noise_map=True,
  )
  noise = jnp.full((2, 7, 9, 1), 0.2)
  variables = _random(model, window, noise)
  assert set(variables) == {"params"}
  restored = jax.jit(model.apply)(variables, window, noise)
  params = variables["params"]
  seen = np.concatenate([window[0, 0], np.full((7, 9, 1), 0.2)], -1)
  x = np.maximum(_convolve(np.float64(seen), params["conv_0"]["kernel"]), 0)
  x = _convolve(x, params["conv_1"]["kernel"])
  np.testing.assert_allclose(restored.frames[0], x, atol=1e-5)


def test_parameters_are_those_of_the_published_networks():
  def count(**kwargs):
    shapes = released.variable_shapes(models.build("dncnn", **kwargs))
    return sum(
        int(np.prod(shape))
        for path, shape in shapes.items()
        if path.startswith("params/")
    )

  # 3x3 kernels between 1, 64, ..., 64, 1 channels; 15 normalisations.
  grey = 9 * (64 + 15 * 64 * 64 + 64)
  assert count(channels=1, bias=False) == grey + 15 * 2 * 64 == 556_032
  merged = dict(depth=20, channels=3, batch_norm=False)
  assert count(**merged) == 9 * (192 + 18 * 4096 + 192) + 19 * 64 + 3 == 668_227


def test_training_normalises_by_the_batch_and_keeps_its_statistics(window):
  model = models.build("dncnn", depth=3, width=3, channels=2)
  variables = _random(model, window)
  train = functools.partial(model.apply, train=True, mutable=["batch_stats"])
  restored, state = jax.jit(train)(variables, window, None)
  still = jax.jit(model.apply)(variables, window, None).frames
  assert np.abs(restored.frames - still).max() > 1e-3
  before = variables["batch_stats"]["norm_1"]["mean"]
  x = np.stack([
      _convolve(f, variables["params"]["conv_0"]["kernel"])
      + variables["params"]["conv_0"]["bias"]
      for f in np.float64(window[:, 0])
  ])
  x = np.maximum(x, 0)
  conv = variables["params"]["conv_1"]
  x = np.stack([_convolve(f, conv["kernel"]) + conv["bias"] for f in x])
  np.testing.assert_allclose(
      state["batch_stats"]["norm_1"]["mean"],
      0.9 * before + 0.1 * x.mean((0, 1, 2)),
      atol=1e-5,
  )


def test_a_pixel_reaches_depth_pixels_far_and_no_farther():
  model = models.build("dncnn", depth=3, width=2, channels=1, batch_norm=False)
  frame = np.zeros((1, 1, 1, 11, 1), np.float32)
  variables = jax.tree.map(
      lambda x: np.ones(x.shape, np.float32),
      jax.eval_shape(model.init, jax.random.key(0), frame, None),
  )
  pulse = frame.copy()
  pulse[0, 0, 0, 5] = 1
  both = np.concatenate([frame, pulse])
  moved = np.diff(jax.jit(model.apply)(variables, both, None).frames, axis=0)
  reached = np.flatnonzero(np.asarray(moved)[0, 0, :, 0])
  assert model.halo == 3 and list(reached) == list(range(2, 9))


def test_arguments_and_windows_are_checked(window):
  with pytest.raises(ValueError, match="depth of 2 or more, but got 1"):
    models.build("dncnn", depth=1)
  with pytest.raises(ValueError, match="dtype 'int8'"):
    models.build("dncnn", dtype="int8")
  model = models.build("dncnn", depth=2, width=2, channels=2)
  two = np.concatenate([window, window], 1)
  with pytest.raises(ValueError, match="windows of 1 frame, but got 2"):
    jax.eval_shape(model.init, jax.random.key(0), two, None)
