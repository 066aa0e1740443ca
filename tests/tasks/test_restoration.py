"""The two-stage loss, its noise and its units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import models, tasks
from vidrestore_jax.shapes import Restored
from vidrestore_jax.tasks import losses


class Fixed:
  """Adds the parameter to the frames and spends 64 bits on each."""

  restores, recurrent = True, True
  noise_map = True
  scale = 1

  def init(self, key, clip, noise):
    return {"params": jnp.zeros(())}

  def apply(self, variables, clip, noise):
    bits = jnp.full(clip.shape[:2], 64.0)
    self.seen = (clip, noise)
    return Restored(clip + variables["params"], {"bits": bits})


def _batch(index=(3, 8)):
  # Halves of halves: their means are exact in whatever order they are summed.
  clean = np.full((2, 5, 8, 8, 3), 64, np.uint8)
  return {
      "clean": clean,
      "max_value": np.full(2, 256, np.float32),
      "index": np.array(index, np.int32),
  }


def _task(model=None, **kwargs):
  degradation = dict(name="noise.gaussian", sigma=(0.1, 0.1))
  return tasks.build(
      "restoration",
      model=model or Fixed(),
      **dict(degradation=degradation, rate_weight=0.5, rate_steps=100)
      | kwargs,
  )


def test_stage_one_adds_the_rate_and_stage_two_does_not():
  task, key = _task(), jax.random.key(0)
  for step, weight in ((0, 0.5), (99, 0.5), (100, 0.0), (5000, 0.0)):
    loss, (_, metrics) = task.loss(jnp.zeros(()), {}, _batch(), key, step)
    assert metrics["bits_per_pixel"] == 1.0  # 64 bits on 64 pixels.
    np.testing.assert_allclose(loss, metrics["mse"] + weight, rtol=1e-6)
    assert metrics["rate_weight"] == weight


def test_how_far_deformable_convolutions_reach_is_a_metric():
  class Reaching(Fixed):

    def apply(self, variables, clip, noise):
      restored = super().apply(variables, clip, noise)
      reach = {
          "offset_mean": jnp.array([1.0, 3.0]),
          "offset_max": jnp.array([60.0, 4.0]),
      }
      return restored._replace(aux=restored.aux | reach)

  metrics = [
      _task(model).loss(jnp.zeros(()), {}, _batch(), jax.random.key(0), 0)[1][1]
      for model in (Reaching(), Fixed())
  ]
  assert metrics[0]["offset_mean"] == 2 and metrics[0]["offset_max"] == 60
  assert "offset_mean" not in metrics[1]


def test_error_is_the_mean_square_on_unit_range_over_all_frames():
  task = _task(degradation=dict(name="noise.gaussian", sigma=(0.0, 0.0)))
  _, (_, metrics) = task.loss(
      jnp.array(0.125), {}, _batch(), jax.random.key(0), 1000
  )
  assert metrics["mse"] == 2**-6
  np.testing.assert_allclose(metrics["psnr"], 18.0618, rtol=1e-5)


def test_the_model_is_told_the_level_of_its_noise():
  task = _task(degradation=dict(name="noise.gaussian", sigma=(0.02, 0.2)))
  batch = _batch()
  batch["clean"] = np.full((2, 5, 64, 64, 3), 128, np.uint8)
  task.loss(jnp.zeros(()), {}, batch, jax.random.key(1), 0)
  noisy, level = task.model.seen
  assert level.shape == (2, 64, 64, 1)
  measured = (noisy - 0.5).std((1, 2, 3, 4))
  np.testing.assert_allclose(level[:, 0, 0, 0], measured, rtol=0.01)
  assert abs(level[0, 0, 0, 0] - level[1, 0, 0, 0]) > 1e-3


def test_noise_belongs_to_the_example_and_not_to_its_place():
  task, key = _task(), jax.random.key(7)
  task.loss(jnp.zeros(()), {}, _batch((3, 8)), key, 0)
  there = task.model.seen[0]
  task.loss(jnp.zeros(()), {}, _batch((8, 3)), key, 0)
  np.testing.assert_array_equal(there, task.model.seen[0][::-1])
  assert jnp.abs(there[0] - there[1]).max() > 0.1
  # Independent in every frame of a clip.
  frames = there[0].reshape(5, -1) - 0.25
  correlation = np.corrcoef(frames) - np.eye(5)
  assert np.abs(correlation).max() < 0.3


def test_paired_data_needs_no_degradation():
  model = Fixed()
  model.noise_map = False
  task = _task(model, degradation=None)
  batch = _batch() | {"degraded": np.full((2, 5, 8, 8, 3), 128, np.uint8)}
  _, (_, metrics) = task.loss(
      jnp.zeros(()), {}, batch, jax.random.key(0), 200
  )
  assert metrics["mse"] == 2**-4
  assert model.seen[1] is None
  with pytest.raises(ValueError, match="clean frames only"):
    task.loss(jnp.zeros(()), {}, _batch(), jax.random.key(0), 0)


class Window:
  """Adds the parameter to the middle of three frames, and counts its calls."""

  restores, recurrent, radius = True, False, 1
  noise_map = True
  scale = 1

  def init(self, key, window, noise):
    return {"params": jnp.zeros(()), "batch_stats": {"calls": jnp.zeros(())}}

  def apply(self, variables, window, noise, *, train, mutable):
    assert train and mutable == ["batch_stats"]
    assert noise.shape == (*window.shape[:1], *window.shape[2:4], 1)
    calls = variables["batch_stats"]["calls"] + 1
    frame = window[:, 1] + variables["params"]
    return Restored(frame, {}), {"batch_stats": {"calls": calls}}


def _windows(frames=3):
  return _batch() | {"clean": np.full((2, frames, 8, 8, 3), 51, np.uint8)}


NO_NOISE = dict(name="noise.gaussian", sigma=(0.0, 0.0))


def test_a_windowed_model_is_trained_on_the_middle_frame_and_its_state_moves():
  task = _task(Window(), degradation=NO_NOISE, error="half_sse")
  key, batch = jax.random.key(0), _windows()
  batch["clean"][:, ::2] = 255  # The neighbours do not count.
  params, state = task.init(key, batch)
  loss, (state, metrics) = task.loss(params + 0.1, state, batch, key, 0)
  assert state == {"batch_stats": {"calls": 1}}
  np.testing.assert_allclose(metrics["mse"], 0.01, rtol=1e-5)
  # Two frames of 8x8x3 numbers that are off by 0.1, over twice the batch.
  np.testing.assert_allclose(loss, 2 * 192 * 0.01 / (2 * 2), rtol=1e-5)
  with pytest.raises(ValueError, match="windows of 3 .*clip_length = 3"):
    task.init(key, _windows(5))


def test_a_constant_is_added_to_some_clips_before_their_noise():
  class Middle(Window):

    def apply(self, variables, window, noise, *, train, mutable):
      self.seen = window
      return super().apply(
          variables, window, noise, train=train, mutable=mutable
      )

  count = 2000
  batch = {
      "clean": np.full((count, 3, 2, 2, 3), 51, np.uint8),
      "max_value": np.full(count, 255, np.float32),
      "index": np.arange(count, dtype=np.int32),
  }
  task = _task(Middle(), degradation=NO_NOISE, offset=(0.25, 0.1))
  state = {"batch_stats": {"calls": 0}}
  loss, _ = task.loss(jnp.zeros(()), state, batch, jax.random.key(0), 0)
  assert loss == 0  # The clean frames are moved alike.
  offsets = np.asarray(task.model.seen) - np.float32(0.2)
  np.testing.assert_allclose(
      offsets, np.broadcast_to(offsets[:, :1, :1, :1, :1], offsets.shape)
  )
  moved = offsets[:, 0, 0, 0, 0]
  moved = moved[np.abs(moved) > 1e-6]
  assert len(moved) / count == pytest.approx(0.25, abs=0.03)
  assert moved.std() == pytest.approx(0.1, rel=0.1)
  assert abs(moved.mean()) < 0.015


def test_a_network_learns_in_all_of_its_parts_and_keeps_statistics():
  model = models.build("fastdvdnet", widths=(4, 4, 4), interm=2)
  task = _task(model, rate_weight=0.0)
  batch = _batch() | {
      "clean": np.random.default_rng(0).integers(
          0, 256, (2, 5, 8, 8, 3), np.uint8
      )
  }
  key = jax.random.key(0)
  shapes = jax.eval_shape(task.init, key, batch)
  draw = np.random.default_rng(1).uniform
  params, state = jax.tree.map(
      lambda leaf: draw(-0.5, 1, leaf.shape).astype(np.float32), shapes
  )
  step = jax.jit(
      jax.value_and_grad(task.loss, has_aux=True),
      compiler_options={"xla_backend_optimization_level": 0},
  )
  (_, (moved, _)), gradient = step(params, state, batch, key, 0)
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
    assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path
  for path, leaf in jax.tree_util.tree_leaves_with_path(
      jax.tree.map(lambda new, old: np.abs(new - old), moved, state)
  ):
    assert leaf.min() > 0, path


def test_what_does_not_fit_together_is_refused_before_the_first_step():
  key, pairs = jax.random.key(0), np.zeros((2, 5, 8, 8, 3), np.uint8)
  with pytest.raises(ValueError, match="would degrade the clean ones"):
    _task().init(key, _batch() | {"degraded": pairs})
  blind = Fixed()
  blind.noise_map = False
  small = _batch() | {"degraded": pairs[:, :, ::4, ::4]}
  with pytest.raises(ValueError, match=r"\(8, 8\) and the degraded .*\(2, 2\)"):
    _task(blind, degradation=None).init(key, small)
  eight_bit = dict(name="noise.gaussian", sigma=(5.0, 55.0))
  with pytest.raises(ValueError, match="8-bit ones divided by 255"):
    _task(degradation=eight_bit).init(key, _batch())


def test_frames_of_16_bits_are_scaled_by_their_own_maximum():
  frames = np.array([[0, 4095], [0, 65535]], np.uint16)
  unit = losses.to_unit_range(frames, np.array([4095.0, 65535.0], np.float32))
  np.testing.assert_array_equal(unit, [[0, 1], [0, 1]])


def test_wrong_combinations_are_refused():
  spynet = models.build("spynet")
  with pytest.raises(ValueError, match="does not restore"):
    tasks.build("restoration", model=spynet)
  with pytest.raises(ValueError, match="noise_map = False"):
    tasks.build("restoration", model=Fixed())
  with pytest.raises(ValueError, match="takes no argument rate_wieght"):
    _task(rate_wieght=1)
  with pytest.raises(ValueError, match="no task 'restore'"):
    tasks.build("restore", model=spynet)
  with pytest.raises(ValueError, match="no degradation 'noise.gausian'"):
    _task(degradation=dict(name="noise.gausian"))
  with pytest.raises(ValueError, match="one of mse, half_sse, but got 'l1'"):
    _task(error="l1")
  blind = Fixed()
  blind.noise_map = False
  with pytest.raises(ValueError, match="config.task.offset = None"):
    _task(blind, degradation=None, offset=(0.1, 0.02))
  with pytest.raises(ValueError, match=r"divided by 255\), but got \(0.1, 5\)"):
    _task(offset=(0.1, 5))
  with pytest.raises(ValueError, match="Make it config.data.degradation"):
    _task(degradation=dict(name="resize.bicubic_down"))
