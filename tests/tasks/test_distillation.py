"""The losses of space-time distillation, its teacher and its guard."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vidrestore_jax import models, tasks
from vidrestore_jax.tasks import distillation
from vidrestore_jax.training import step as steps

FAST = {"xla_backend_optimization_level": 0}
STUDENT = {"depth": 2, "width": 3, "scale": 2}
TEACHER = STUDENT | {"depth": 3, "width": 4}


def _task(student=None, teacher=None, **changes):
  arguments = {
      "teacher": {"name": "vdsr", "init_from": ""} | (teacher or TEACHER),
      "conv_lstm": {
          "init_from": "", "features": 2, "remat": "none", "trained": True
      },
      "lambda_sd": 0.5,
      "lambda_td": 2.0,
  }
  model = models.build("vdsr", **student or STUDENT)
  return tasks.build("distillation", model=model, **arguments | changes)


def _batch(seed=0):
  rng = np.random.default_rng(seed)
  return {
      "clean": rng.integers(0, 256, (2, 3, 8, 8, 3), np.uint8),
      "degraded": rng.integers(0, 256, (2, 3, 4, 4, 3), np.uint8),
      "max_value": np.full(2, 255, np.float32),
      "index": np.arange(2, dtype=np.int32),
  }


def _start(task, seed=0):
  """Parameters and model state with a teacher drawn at random."""
  rng = np.random.default_rng(seed)
  params, state = jax.jit(task.init, compiler_options=FAST)(
      jax.random.key(seed), _batch()
  )
  own = dict(state["distillation"])
  own["teacher"] = jax.tree.map(
      lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32),
      own["teacher"],
  )
  return params, {**state, "distillation": own}


@functools.cache
def _compiled(task):
  def loss(params, state, batch):
    return task.loss(params, state, batch, jax.random.key(0), 0)

  return jax.jit(
      jax.value_and_grad(loss, argnums=(0, 1), has_aux=True, allow_int=True),
      compiler_options=FAST,
  )


def test_two_pixels_by_hand():
  student = jnp.array([[[1.0, 2.0], [0.0, 1.0]]])  # Energies 5 and 1.
  teacher = jnp.array([[[2.0, 0.0], [1.0, 1.0]]])  # Energies 4 and 2.
  loss = distillation.space_loss(student, teacher)
  np.testing.assert_allclose(loss, (1 + 1) / 2)
  # Divided by the root of their mean squares, sqrt(13) and sqrt(10).
  first, second = 5 / 13**0.5 - 4 / 10**0.5, 1 / 13**0.5 - 2 / 10**0.5
  loss = distillation.space_loss(student, teacher, "l2")
  np.testing.assert_allclose(loss, (first**2 + second**2) / 2, rtol=1e-5)
  # Scale counts without, and does not count with it.
  assert distillation.space_loss(student, 2 * student) > 1
  assert distillation.space_loss(student, 2 * student, "l2") < 1e-9


def test_cells_of_two_pixels_by_hand():
  """Gates of 1/2: C_1 = tanh(x_1) / 2, C_2 = C_1 / 2 + tanh(x_2) / 2."""
  cells = _task().cells
  cells = dataclasses.replace(
      cells, conv_lstm=dataclasses.replace(cells.conv_lstm, features=1)
  )
  x = jnp.array([[0.3, -1.0], [0.8, 2.0]]).reshape(1, 2, 1, 2, 1)
  y = jnp.array([[0.1, 0.5], [-0.2, 1.0]]).reshape(1, 2, 1, 2, 1)
  params = jax.tree.map(
      lambda leaf: np.zeros(leaf.shape, np.float32),
      jax.eval_shape(cells.init, jax.random.key(0), x, y)["params"],
  )
  assert set(params) == {"conv_lstm"}  # Nothing to adapt.
  params["conv_lstm"]["input"]["kernel"][1, 1, 0, 2] = 1
  found = cells.apply({"params": params}, x, y)
  for cell, given in zip(found, (x, y)):
    first, second = np.tanh(given[0, :, 0, :, 0])
    np.testing.assert_allclose(
        cell[0, 0, :, 0], first / 4 + second / 2, rtol=1e-6
    )


def test_the_loss_is_the_weighted_sum_of_its_parts():
  task = _task()
  params, state = _start(task)
  (loss, (state, metrics)), _ = _compiled(task)(params, state, _batch())
  parts = [
      metrics[name] for name in
      ("reconstruction_loss", "weighted_space_loss", "weighted_time_loss")
  ]
  np.testing.assert_allclose(loss, sum(parts), rtol=1e-6)
  np.testing.assert_allclose(parts[1], 0.5 * metrics["space_loss"])
  np.testing.assert_allclose(parts[2], 2.0 * metrics["time_loss"])
  assert all(part > 0 for part in parts)
  # The first part is the loss of the student's task alone.
  alone = tasks.build(
      "restoration",
      model=task.supervised.model,
      error="charbonnier",
      windows="all",
  )
  own, _ = alone.loss(
      {k: v for k, v in params.items() if k != "distillation"},
      {}, _batch(), jax.random.key(0), 0,
  )
  np.testing.assert_allclose(own, parts[0], rtol=1e-6)


@pytest.mark.parametrize("part", ["sd", "td"])
def test_a_weight_of_zero_leaves_the_part_out(part):
  other = {"sd": "lambda_td", "td": "lambda_sd"}[part]
  task = _task(**{other: 0.0})
  params, state = _start(task)
  loss, (_, metrics) = task.loss(
      params, state, _batch(), jax.random.key(0), 0
  )
  assert ("space_loss" in metrics) == (part == "sd")
  assert ("time_loss" in metrics) == (part == "td")
  assert ("distillation" in params) == (part == "td")
  assert loss > metrics["reconstruction_loss"]
  # Where there is nothing to freeze, nothing is masked.
  updates = jax.tree.map(jnp.ones_like, params)
  assert jax.tree.all(jax.tree.map(
      jnp.array_equal, updates, task.mask_updates(updates, state)
  ))


def test_equal_networks_have_no_loss_to_distil():
  task = _task(teacher=STUDENT)
  params, state = _start(task)
  state["distillation"]["teacher"]["params"] = {
      name: part for name, part in params.items() if name != "distillation"
  }
  (_, (after, metrics)), _ = _compiled(task)(params, state, _batch())
  assert metrics["space_loss"] == metrics["time_loss"] == 0
  assert metrics["energy_ratio"] == 1
  assert after["distillation"]["frozen"] and metrics["conv_lstm_frozen"] == 1


def test_the_teacher_is_given_no_gradient_and_everything_else_is():
  task = _task()
  params, state = _start(task)
  (_, (after, _)), (gradient, of_state) = _compiled(task)(
      params, state, _batch()
  )
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
    if path[-1].key != "peephole":  # Of a cell of zeros, in part.
      assert np.abs(leaf).max() > 0, path
  assert set(gradient["distillation"]["conv_lstm"]) == {
      "input", "hidden", "peephole"
  }
  assert "adapter" in gradient["distillation"]  # Three channels to four.
  for leaf in jax.tree.leaves(of_state["distillation"]["teacher"]):
    assert not leaf.any()
  jax.tree.map(
      np.testing.assert_array_equal,
      after["distillation"]["teacher"],
      state["distillation"]["teacher"],
  )


def test_the_student_starts_as_it_would_without_a_teacher():
  task = _task()
  params, state = jax.jit(task.init, compiler_options=FAST)(
      jax.random.key(3), _batch()
  )
  alone = tasks.build(
      "restoration", model=task.supervised.model, windows="all"
  )
  own, _ = jax.jit(alone.init, compiler_options=FAST)(
      jax.random.key(3), _batch()
  )
  jax.tree.map(
      np.testing.assert_array_equal,
      own,
      {k: v for k, v in params.items() if k != "distillation"},
  )
  # A teacher that was not put in is no teacher.
  assert not any(
      leaf.any() for leaf in jax.tree.leaves(state["distillation"]["teacher"])
  )


def _train(task, count, *, state=None, guard=None, monkeypatch=None):
  """States after each of `count` steps of Adam; the batch changes."""
  if guard is not None:
    monkeypatch.setattr(distillation, "GUARD", guard)
  tx = optax.adam(1e-2)
  if state is None:
    params, model_state = _start(task)
    state = steps.create_state(task, tx, 0, _batch(), keep_ema=True)
    state = state.replace(params=params, model_state=model_state)
  step = jax.jit(
      functools.partial(steps.train_step, task=task, tx=tx, ema_decay=0.9),
      compiler_options=FAST,
  )
  states, metrics = [state], []
  for _ in range(count):
    state, out = step(state, _batch(int(state.step)))
    states.append(state)
    metrics.append(out)
  return states, metrics


def _conv_lstm(state):
  return jnp.concatenate([
      leaf.ravel()
      for leaf in jax.tree.leaves(state.params["distillation"]["conv_lstm"])
  ])


def test_the_guard_holds_the_conv_lstm_and_nothing_else(monkeypatch):
  _, metrics = _train(_task(), 5)
  times = [float(m["time_loss"]) for m in metrics]
  # The first loss that is below all before it, so that the guard is met late.
  met = next(i for i in range(1, 5) if times[i] < min(times[:i]))
  guard = times[met] * 1.0001
  states, metrics = _train(_task(), 5, guard=guard, monkeypatch=monkeypatch)
  moved = [
      not np.array_equal(_conv_lstm(a), _conv_lstm(b))
      for a, b in itertools.pairwise(states)
  ]
  # Adam's moments, which are not zero, would move it on.
  assert moved == [step < met for step in range(5)]
  assert [m["conv_lstm_frozen"] for m in metrics] == [
      step >= met for step in range(5)
  ]
  # Adapter and student are trained on.
  for a, b in itertools.pairwise(states):
    kernels = [s.params["distillation"]["adapter"]["kernel"] for s in (a, b)]
    assert not np.array_equal(*kernels)
    kernels = [jax.tree.leaves(s.params["trunk"])[-1] for s in (a, b)]
    assert not np.array_equal(*kernels)

  # Stopped before, and gone on with from what a checkpoint holds.
  before = jax.tree.map(np.asarray, states[met])
  again, _ = _train(_task(), 5 - met, state=before)
  jax.tree.map(np.testing.assert_array_equal, again[-1], states[-1])


def test_a_conv_lstm_that_is_not_trained_is_frozen_from_the_start():
  arguments = {
      "init_from": "", "features": 2, "remat": "none", "trained": False
  }
  states, metrics = _train(_task(conv_lstm=arguments), 2)
  np.testing.assert_array_equal(_conv_lstm(states[0]), _conv_lstm(states[2]))
  assert metrics[0]["time_loss"] > distillation.GUARD


def test_the_average_is_of_the_student_alone():
  states, _ = _train(_task(), 1)
  assert set(states[1].ema) == {"trunk"} and states[1].ema_state == {}
  assert set(states[1].params) == {"trunk", "distillation"}
  variables = steps.of_model(_task(), states[1].params, states[1].model_state)
  assert variables == ({"trunk": states[1].params["trunk"]}, {})


def test_what_does_not_go_together_is_refused():
  with pytest.raises(ValueError, match=r"scale of 2, its teacher VDSR of 4"):
    _task(teacher=TEACHER | {"scale": 4})
  with pytest.raises(ValueError, match=r"channels of 3, its teacher VDSR of 1"):
    _task(teacher=TEACHER | {"channels": 1})
  with pytest.raises(ValueError, match="not both 0, but got 0.0 and 0.0"):
    _task(lambda_sd=0.0, lambda_td=0.0)
  with pytest.raises(ValueError, match=r"give --config.task.lambda_td. To mea"):
    _task(lambda_td=None)
  with pytest.raises(ValueError, match="one of none, l2, but got 'l1'"):
    _task(normalize="l1")
  with pytest.raises(ValueError, match="wants a noise map"):
    tasks.build(
        "distillation",
        model=models.build("dncnn"),
        teacher={"name": "fastdvdnet", "init_from": ""},
        conv_lstm={},
        lambda_sd=1.0,
        lambda_td=1.0,
    )
  task = tasks.build(
      "distillation",
      model=models.build("vdsr", **STUDENT | {"scale": 1}),
      teacher={"name": "dncnn", "init_from": "", "depth": 2, "width": 2},
      conv_lstm={
          "init_from": "", "features": 2, "remat": "none", "trained": True
      },
      lambda_sd=1.0,
      lambda_td=1.0,
  )
  batch = _batch()
  batch["degraded"] = batch["clean"]
  with pytest.raises(ValueError, match="DnCNN tells no features .*Take a"):
    jax.eval_shape(task.init, jax.random.key(0), batch)


# Tiny models of every kind: of single frames, windows and whole clips.
MODELS = {
    "vdsr": {"depth": 2, "width": 3},
    "fastdvdnet_vsr": {"widths": (4, 4, 4), "interm": 2, "hr_channels": 3},
    "vespcn": {"preset": "std_scale", "width": 4, "depth": 3},
    "vsrnet": {"preset": "std_scale", "width": 4, "depth": 3},
    "toflow": {"width": 4, "flow_widths": (2,)},
    "basicvsr": {"width": 4, "blocks": 1},
    "basicvsrpp": {"width": 8, "blocks": 1},
    "edvr": {
        "frames": 3, "width": 4, "extraction_blocks": 1,
        "reconstruction_blocks": 1, "deformable_groups": 2,
    },
}
PAIRS = [
    *((student, "edvr") for student in MODELS if student != "edvr"),
    *(("vdsr", teacher) for teacher in MODELS if teacher != "edvr"),
]


def _pair(student, teacher):
  """Student, teacher and a clip, by their shapes alone."""
  task = tasks.build(
      "distillation",
      model=models.build(student, **MODELS.get(student, {})),
      teacher={"name": teacher, "init_from": "", **MODELS.get(teacher, {})},
      conv_lstm={
          "init_from": "", "features": 2, "remat": "none", "trained": True
      },
      lambda_sd=1.0,
      lambda_td=1.0,
  )
  batch = _batch() | {
      "clean": np.zeros((2, 3, 128, 128, 3), np.uint8),
      "degraded": np.zeros((2, 3, 32, 32, 3), np.uint8),
  }
  params, state = jax.eval_shape(task.init, jax.random.key(0), batch)

  def loss(params, state, batch):
    return task.loss(params, state, batch, jax.random.key(0), 0)

  gradient = jax.eval_shape(
      jax.grad(loss, has_aux=True), params, state, batch
  )
  return params, state, gradient


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_any_student_learns_from_any_teacher(student, teacher):
  params, state, (gradient, (after, metrics)) = _pair(student, teacher)
  assert jax.tree.structure(gradient) == jax.tree.structure(params)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert metrics["space_loss"].shape == metrics["time_loss"].shape == ()


@pytest.mark.parametrize("name", ["duf", "fsrcnn", "bicubic"])
def test_a_model_without_features_of_the_large_frame_is_refused(name):
  with pytest.raises(ValueError, match="tells no features at the size"):
    _pair("vdsr", name)
  nothing = "has no parameters to train" if name == "bicubic" else "no features"
  with pytest.raises(ValueError, match=nothing):
    _pair(name, "vdsr")
