"""Both stages of privileged information: losses, and who is trained."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import models, tasks
from vidrestore_jax.layers import luminance
from vidrestore_jax.tasks import privileged_student
from vidrestore_jax.training import step as steps

FAST = {"xla_backend_optimization_level": 0}
DECODERS = {
    "fsrcnn": {"scale": 2, "width": 3, "shrunk": 2, "depth": 1},
    "vdsr": {"scale": 2, "width": 6, "depth": 2},
}
KEY = jax.random.key(0)


def _teacher(name):
  return {
      "name": "pisr", "decoder": {"name": name} | DECODERS[name],
      "width": 3, "shrunk": 2,
  }


def _student_task(name, **changes):
  return tasks.build(
      "privileged_student",
      model=models.build(name, **DECODERS[name]),
      teacher=_teacher(name) | {"init_from": ""},
      **changes,
  )


def _batch(value=None):
  rng = np.random.default_rng(0)
  shapes = {"clean": (2, 2, 8, 8, 3), "degraded": (2, 2, 4, 4, 3)}
  return {
      name: rng.integers(0, 256, shape, np.uint8)
      if value is None else np.full(shape, value, np.uint8)
      for name, shape in shapes.items()
  } | {
      "max_value": np.full(2, 255, np.float32),
      "index": np.arange(2, dtype=np.int32),
  }


def _start(task):
  """Parameters and model state, each drawn at random."""
  rng = np.random.default_rng(1)
  return jax.tree.map(
      lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32),
      jax.eval_shape(task.init, KEY, _batch()),
  )


@functools.cache
def _compiled(task):
  def loss(params, state, batch):
    return task.loss(params, state, batch, KEY, 0)

  return jax.jit(
      jax.value_and_grad(loss, argnums=(0, 1), has_aux=True),
      compiler_options=FAST,
  )


def test_two_elements_by_hand():
  mu, b = jnp.array([1.0, -0.5]), jnp.array([0.5, 0.25])
  target = jnp.array([2.0, -0.5])
  # log 1 + 1 / 0.5, and log 0.5 where mu is the target.
  expected = (2 + np.log(0.5)) / 2
  loss = privileged_student.laplace(mu, b, target)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_the_likelihood_is_largest_at_the_target_and_at_its_distance():
  loss = privileged_student.laplace
  for shift in (-0.1, 0.1):
    assert loss(1.0, 0.3, 1.0) < loss(1.0 + shift, 0.3, 1.0)
  # Of b at |mu - T|, where the derivative 1 / b - |mu - T| / b**2 vanishes.
  slope = jax.grad(loss, argnums=1)(1.0, 0.7, 1.7)
  np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_estimates_are_pointwise_and_scales_positive():
  """By hand, with a slope for what is negative, and b / 10."""
  features = np.array([[1.0, -2.0], [0.5, 0.25]], np.float32)
  generator = np.random.default_rng(0)
  params = jax.tree.map(
      lambda leaf: generator.normal(size=leaf.shape),
      jax.eval_shape(privileged_student.Estimators().init, KEY, features),
  )
  found = privileged_student.Estimators().apply(params, features)
  for name, estimate in zip(("mu", "b"), found):
    first, prelu, last = (
        params["params"][f"{name}_{part}"] for part in ("0", "prelu", "1")
    )
    x = features @ first["kernel"] + first["bias"]
    x = np.where(x > 0, x, prelu["negative_slope"] * x)
    x = x @ last["kernel"] + last["bias"]
    if name == "b":
      x = 0.1 * np.log1p(np.exp(x)) + 1e-8
    np.testing.assert_allclose(estimate, x, rtol=1e-4)


def test_a_teacher_that_gives_the_frame_back_has_no_loss():
  """A constant: the encoder's last bias, the decoder's bicubic of it."""
  task = tasks.build(
      "privileged_teacher", model=models.build(**_teacher("vdsr"))
  )
  params, state = jax.tree.map(np.zeros_like, _start(task))
  gray = 16 / 255 + 100 / 255 * 219 / 255  # 100 of 255 in studio range.
  params["encoder"]["conv_3"]["conv"]["bias"][...] = gray
  (loss, _), _ = _compiled(task)(params, state, _batch(100))
  assert loss < 1e-6
  # Another level is wrong by as much in both parts.
  params["encoder"]["conv_3"]["conv"]["bias"][...] = gray + 0.25
  (loss, (_, metrics)), _ = _compiled(task)(params, state, _batch(100))
  np.testing.assert_allclose(metrics["imitation_loss"], 0.25, rtol=1e-4)
  np.testing.assert_allclose(loss, 0.25 * (1 + 1e-4), rtol=1e-4)


@pytest.mark.parametrize("name", DECODERS)
def test_the_students_loss_is_that_of_its_frames_and_of_its_features(name):
  task = _student_task(name, weight=0.5)
  params, state = _start(task)
  batch = _batch()
  (loss, (after, metrics)), _ = _compiled(task)(params, state, batch)
  large, small = (
      luminance.luminance(batch[key] / 255).reshape(4, size, size, 1)
      for key, size in (("clean", 8), ("degraded", 4))
  )
  own = {k: v for k, v in params.items() if k != "privileged"}
  restored, features = task.model.apply(
      {"params": own}, small, method="restore_luminance"
  )
  *_, target = task.teacher.apply(
      state["privileged"]["teacher"], large, method="privileged"
  )
  mu, b = privileged_student.Estimators().apply(
      {"params": params["privileged"]}, features
  )
  error = np.abs(restored - large).mean()
  vid = (np.log(2 * b) + np.abs(mu - target) / b).mean()
  np.testing.assert_allclose(metrics["reconstruction_loss"], error, rtol=1e-4)
  np.testing.assert_allclose(metrics["information_loss"], vid, rtol=1e-4)
  np.testing.assert_allclose(loss, error + 0.5 * vid, rtol=1e-4)
  jax.tree.map(np.testing.assert_array_equal, after, state)


@pytest.mark.parametrize("name", DECODERS)
def test_no_gradient_reaches_the_teacher_and_every_other_part_has_one(name):
  task = _student_task(name, weight=0.5)
  params, state = _start(task)
  _, (ours, teachers) = _compiled(task)(params, state, _batch())
  assert all(np.any(leaf) for leaf in jax.tree.leaves(ours))
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(teachers))
  # Nor is it a parameter that an optimizer could move, or part of the release.
  released, others = steps.of_model(task, params, state)
  shapes = jax.eval_shape(task.model.init, KEY, np.zeros((1, 1, 4, 4, 3)))
  assert jax.tree.structure(released) == jax.tree.structure(shapes["params"])
  assert not others


def test_a_weight_of_zero_trains_the_student_alone():
  task = _student_task("fsrcnn", weight=0.0)
  params, state = _start(task)
  (loss, (_, metrics)), (grads, _) = _compiled(task)(params, state, _batch())
  assert loss == metrics["reconstruction_loss"]
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["privileged"]))


def test_what_does_not_go_together_is_refused():
  fsrcnn = models.build("fsrcnn")
  with pytest.raises(ValueError, match="FSRCNN is no teacher of privileged"):
    tasks.build("privileged_teacher", model=fsrcnn)
  with pytest.raises(ValueError, match="is a pisr, but got fsrcnn"):
    tasks.build(
        "privileged_student", model=fsrcnn, teacher={"name": "fsrcnn"}
    )
  with pytest.raises(ValueError, match="The student .* but DUF"):
    tasks.build(
        "privileged_student", model=models.build("duf"),
        teacher=_teacher("vdsr"),
    )
  with pytest.raises(ValueError, match="0 or more, but is -1"):
    _student_task("vdsr", weight=-1)
  task = _student_task("vdsr")
  wrong = _batch()
  wrong["degraded"] = wrong["clean"]
  with pytest.raises(ValueError, match="but the model's scale is 2"):
    jax.eval_shape(task.init, KEY, wrong)
