"""BasicVSR: its laws, its cost, and that each of its parts learns."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.models import measures
from vidrestore_jax import models, released
from vidrestore_jax.inference import streaming
from vidrestore_jax.layers import reconstruction, resample

# As a loop over frames, which compiles soonest.
TINY = dict(
    width=4, blocks=1, unroll=0, motion=dict(levels=2, widths=(4,), kernel=3)
)
OPTIONS = {"xla_backend_optimization_level": 0}


@pytest.fixture(scope="module")
def clip():
  generator = np.random.default_rng(0)
  return generator.random((1, 3, 6, 7, 3)).astype(np.float32)


def _variables(model, clip):
  """Random ones, of which no path is shut."""
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip)
  generator = np.random.default_rng(1)
  return jax.tree.map(
      lambda leaf: generator.normal(0, 0.3, leaf.shape).astype(np.float32),
      shapes,
  )


def _apply(model, variables, *inputs, **given):
  run = jax.jit(
      lambda variables, *inputs: model.apply(variables, *inputs, **given),
      compiler_options=OPTIONS,
  )
  return jax.tree.map(np.asarray, run(variables, *inputs))


@pytest.fixture(scope="module")
def tiny(clip):
  model = models.build("basicvsr", **TINY)
  return model, _variables(model, clip)


def test_it_has_the_parameters_of_the_paper():
  """6.3 million."""
  shapes = released.variable_shapes(models.build("basicvsr"))
  assert sum(map(math.prod, shapes.values())) == 6_291_311
  shapes = released.variable_shapes(models.build("basicvsr", online=True))
  assert sum(map(math.prod, shapes.values())) == 4_032_879


def test_a_frame_costs_two_flows_two_trunks_and_one_tail():
  trunk = 9 * 64 * (67 + 2 * 64)
  tail = 9 * (64 * 256 * (1 + 4) + 16 * 64 * (64 + 3)) + 128 * 64
  # SpyNet sees 128x192, and level l a quarter of what level l + 1 does.
  level = 49 * (8 * 32 + 32 * 64 + 64 * 32 + 32 * 16 + 16 * 2)
  flow = level * 128 * 192 * sum(4.0**-i for i in range(6))
  _, macs = measures.cost(models.build("basicvsr", blocks=1))
  assert macs == 2 * (trunk * 180 * 120 + flow) + tail * 180 * 120
  _, cheaper = measures.cost(models.build("basicvsr", blocks=1, online=True))
  assert cheaper == (trunk + tail - 64 * 64) * 180 * 120 + flow


def test_every_frame_is_restored_from_all_others(tiny, clip):
  """And with the frames in reverse it is another restoration."""
  model, variables = tiny
  clips = [clip[0], clip[0, ::-1]]
  for changed in range(3):
    other = clip[0].copy()
    other[changed] = 1 - other[changed]
    clips.append(other)
  restored = _apply(model, variables, np.stack(clips))
  assert restored.frames.shape == (5, 3, 24, 28, 3)
  assert restored.aux["hr_features"].shape == (5, 3, 24, 28, 64)
  first, backward, *others = restored.frames
  for other in others:
    assert np.abs(other - first).max((1, 2, 3)).min() > 1e-4
  assert np.abs(backward[::-1] - first).max() > 1e-2


def test_both_directions_are_one_law_of_reversed_time(tiny, clip):
  """Features handed backwards are those handed forwards of the reverse."""
  model, variables = tiny
  params = dict(variables["params"])
  params["forward_trunk"] = params["backward_trunk"]
  variables = {"params": params}
  clips = np.concatenate([clip, clip[:, ::-1]])

  def features(model, clip):
    return model.features(clip, *model.flows(clip))

  backward, forward = _apply(model, variables, clips, method=features)
  np.testing.assert_allclose(backward[0], forward[1, ::-1], atol=1e-5)
  assert np.abs(backward - forward).max() > 1e-2


@pytest.mark.parametrize("online", [False, True])
def test_a_loop_over_frames_equals_the_unrolled_one(online, tiny, clip):
  loop = models.build("basicvsr", online=online, **TINY)
  model = dataclasses.replace(loop, unroll=8)
  variables = _variables(model, clip)
  np.testing.assert_allclose(
      _apply(loop, variables, clip).frames,
      _apply(model, variables, clip).frames,
      atol=2e-5,
  )


def test_the_online_variant_streams_what_it_makes_of_a_clip(clip):
  """And no frame of it depends on a later one."""
  model = models.build("basicvsr", online=True, **TINY)
  variables = _variables(model, clip)
  whole = _apply(model, variables, clip).frames[0]
  streamed = streaming.restore_clip(model, variables, clip[0]).frames
  np.testing.assert_allclose(streamed, whole, atol=2e-5)
  begun = streaming.restore_clip(model, variables, clip[0, :2]).frames
  np.testing.assert_array_equal(begun, streamed[:2])
  alone = streaming.restore_clip(model, variables, clip[0, 1:2]).frames
  assert np.abs(alone - streamed[1:2]).max() > 1e-3


def test_what_fills_a_clip_up_changes_nothing(tiny, clip):
  model, variables = tiny
  whole = _apply(model, variables, clip)
  filled = np.concatenate([clip, 1 - clip[:, :2]], 1)
  found = _apply(model, variables, filled, length=np.int32(3))
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a[:, :3], b, atol=1e-5),
      found, whole,
  )
  other = _apply(model, variables, filled)
  assert np.abs(other.frames[:, :3] - whole.frames).max() > 1e-3


def test_a_single_frame_is_a_clip(tiny, clip):
  """Its neighbours' features are zero: so is their warp."""
  model, variables = tiny
  restored = streaming.restore_clip(model, variables, clip[0, :1])
  assert restored.frames.shape == (1, 24, 28, 3)
  assert np.isfinite(restored.frames).all()


def test_training_starts_near_the_interpolated_frame(clip):
  features = np.random.default_rng(2).normal(size=(1, 6, 7, 4))
  enlarged = resample.upsample_bilinear(jnp.asarray(clip[:, 0]), 4)
  inputs = features.astype(np.float32), enlarged
  model = reconstruction.Reconstruction(4)
  init = jax.jit(model.init, compiler_options=OPTIONS)
  restored = _apply(model, init(jax.random.key(0), *inputs), *inputs)
  assert 0 < np.abs(restored.frames - enlarged).max() < 0.05


def test_every_parameter_has_a_gradient_and_some_steps_reduce_the_error(
    tiny, clip
):
  model, variables = tiny
  truth = resample.bicubic_resize(clip, 4)

  def loss(variables):
    restored = model.apply(variables, clip, train=True)
    return jnp.mean(jnp.square(restored.frames - truth))

  def step(variables):
    value, gradients = jax.value_and_grad(loss)(variables)
    rate = 0.05 / optax.tree.norm(gradients)
    step = optax.tree.scale(-rate, gradients)
    return value, gradients, optax.apply_updates(variables, step)

  run = jax.jit(step, compiler_options=OPTIONS)
  first, gradients, variables = run(variables)
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)
  for _ in range(10):
    value, _, variables = run(variables)
  assert value < 0.8 * first


def test_what_does_not_suit_is_refused(tiny, clip):
  model, variables = tiny
  with pytest.raises(ValueError, match="needs 5 axes"):
    model.apply(variables, clip[0])
  with pytest.raises(ValueError, match="3 channels"):
    model.apply(variables, clip[..., :1])
  with pytest.raises(ValueError, match="takes noise=None"):
    model.apply(variables, clip, np.zeros((1, 6, 7, 1)))
  with pytest.raises(ValueError, match="dtype 'float16'"):
    models.build("basicvsr", dtype="float16")
