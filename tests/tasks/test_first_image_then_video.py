"""FITVNet's losses by hand, their weight by step, and the second noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import models, tasks
from vidrestore_jax.shapes import Restored

KEY = jax.random.key(0)
FAST = {"xla_backend_optimization_level": 0}
VARIANTS = {
    "base": ("none", "clean"),
    "jsn": ("second_noisy", "clean"),
    "jsc": ("clean", "clean"),
    "unsupervised": ("second_noisy", "psi"),
}


class Fixed:
  """Stage one adds the parameter a to every frame, stage two b to the middle.

  Its statistics count the calls of training.
  """

  restores, recurrent, radius, scale = True, False, 2, 1
  noise_map = True
  pre_denoise = None  # There is one, which `apply` calls.

  def apply(self, variables, frames, noise=None, **kwargs):
    a, b = variables["params"]["a"], variables["params"]["b"]
    if kwargs.get("method") == "pre_denoise":
      self.second = frames
      return frames + a
    assert kwargs == {"train": True, "mutable": ["batch_stats"]}
    self.seen, self.told = frames, noise
    restored = Restored(frames[:, 2] + a + b, {"pre_denoised": frames + a})
    return restored, {"batch_stats": variables["batch_stats"] + 1}


def batch(side=8, index=(3, 8)):
  return {
      "clean": np.full((2, 5, side, side, 3), 102, np.uint8),
      "max_value": np.full(2, 255, np.float32),
      "index": np.array(index, np.int32),
  }


def build(variant="jsc", sigma=(0.0, 0.0), **kwargs):
  first, final = VARIANTS[variant]
  degradation = dict(name="noise.gaussian", sigma=sigma)
  return tasks.build(
      "first_image_then_video",
      **dict(
          model=Fixed(),
          degradation=degradation,
          steps_per_epoch=10,
          first_target=first,
          final_target=final,
      )
      | kwargs,
  )


def loss(task, a=0.3, b=-0.1, step=0):
  """The loss and the metrics of a batch."""
  params = {"a": jnp.float32(a), "b": jnp.float32(b)}
  state = {"batch_stats": jnp.zeros(())}
  # One program compiles faster than its operations one by one.
  value, (state, metrics) = jax.jit(task.loss, compiler_options=FAST)(
      params, state, batch(), KEY, jnp.int32(step)
  )
  assert state == {"batch_stats": 1}
  return value, metrics


# Without noise stage one is off by a, the result by a + b.
A, B = 0.3, -0.1
PIXELS = 8 * 8 * 3


@pytest.mark.parametrize(
    ("variant", "l2", "first", "final"),
    [
        ("base", "mse", None, (A + B) ** 2),
        ("jsc", "mse", 5 * A**2, (A + B) ** 2),
        ("jsn", "mse", 5 * A**2, (A + B) ** 2),
        ("unsupervised", "mse", 5 * A**2, B**2),
        ("base", "norm", None, PIXELS**0.5 * (A + B)),
        ("jsc", "norm", 5 * PIXELS**0.5 * A, PIXELS**0.5 * (A + B)),
        ("unsupervised", "norm", 5 * PIXELS**0.5 * A, -(PIXELS**0.5) * B),
    ],
)
def test_losses_are_those_of_the_equations(variant, l2, first, final):
  value, metrics = loss(build(variant, l2=l2, alpha=0.7), A, B)
  np.testing.assert_allclose(metrics["final_loss"], final, rtol=1e-5)
  total = final
  if first is None:
    assert "first_loss" not in metrics
  else:
    np.testing.assert_allclose(metrics["first_loss"], first, rtol=1e-5)
    total += 0.7 * first
  np.testing.assert_allclose(value, total, rtol=1e-5)


def test_the_first_loss_weighs_alpha_over_the_epoch_counted_from_one():
  task = build(alpha=10.0)
  for step, weight in ((0, 10), (9, 10), (10, 5), (29, 10 / 3), (390, 0.25)):
    value, metrics = loss(task, step=step)
    np.testing.assert_allclose(metrics["first_weight"], weight, rtol=1e-6)
    expected = weight * metrics["first_loss"] + metrics["final_loss"]
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_both_stages_are_measured_against_the_clean_frame():
  for variant in VARIANTS:
    _, metrics = loss(build(variant), a=0.01, b=0.09)
    np.testing.assert_allclose(metrics["psnr"], 20.0, rtol=1e-4)
    np.testing.assert_allclose(metrics["first_stage_psnr"], 40.0, rtol=1e-4)


def test_finding_nothing_is_the_unsupervised_optimum():
  noisy = {"sigma": (0.2, 0.2)}
  for l2, zero in (("mse", 0.0), ("norm", 1e-6)):
    _, metrics = loss(build("unsupervised", l2=l2, **noisy), b=0.0)
    np.testing.assert_allclose(metrics["final_loss"], zero)
  # As good as stage one, and no better.
  assert metrics["psnr"] == metrics["first_stage_psnr"]
  for target in ("psi_of_second_noise", "second_noisy"):
    task = build("unsupervised", final_target=target, **noisy)
    # What is left is two independent noises of variance 0.04.
    _, metrics = loss(task, a=0.0, b=0.0)
    np.testing.assert_allclose(metrics["final_loss"], 0.08, rtol=0.15)


def test_the_unsupervised_target_is_held_constant():
  state = {"batch_stats": jnp.zeros(())}

  def gradient(task, a, b):
    params = {"a": jnp.float32(a), "b": jnp.float32(b)}
    final = functools.partial(task.loss, key=KEY, step=0)
    grad = jax.jit(jax.grad(final, has_aux=True), compiler_options=FAST)
    return grad(params, state, batch())[0]

  gradients = gradient(build("unsupervised", alpha=0.0), A, B)
  # A target that moved with a would leave no gradient of a.
  np.testing.assert_allclose(gradients["a"], 2 * B, rtol=1e-4)
  np.testing.assert_allclose(gradients["b"], 2 * B, rtol=1e-4)
  # And not NaN at the optimum.
  gradients = gradient(build("unsupervised", alpha=0.0, l2="norm"), A, 0)
  assert gradients == {"a": 0, "b": 0}


def seen(task, index):
  """What the model was given: windows, noise levels, second middle frames."""
  model = task.supervised.model

  def run(index):
    of = batch(64) | {"index": index}
    params = {"a": jnp.zeros(()), "b": jnp.zeros(())}
    state = {"batch_stats": jnp.zeros(())}
    _, (_, metrics) = task.loss(params, state, of, KEY, 0)
    level = model.told[:, 0, 0, 0]
    return model.seen, level, getattr(model, "second", None), metrics

  return jax.jit(run, compiler_options=FAST)(jnp.array(index, jnp.int32))


def test_the_second_noise_has_the_level_of_the_first_and_nothing_else_of_it():
  task = build(
      "jsn", sigma=(0.05, 0.3), final_target="psi_of_second_noise"
  )
  window, level, second, metrics = seen(task, (3, 8))
  first, second = window[:, 2] - 0.4, second - 0.4
  assert abs(level[0] - level[1]) > 0.01
  for noise in (first, second):
    np.testing.assert_allclose(noise.std((1, 2, 3)), level, rtol=0.03)
  correlation = np.corrcoef(np.concatenate([first, second]).reshape(4, -1))
  assert np.abs(correlation - np.eye(4)).max() < 0.03
  # All five frames of it are the first stage's target.
  expected = 5 * 2 * np.mean(level**2)
  np.testing.assert_allclose(metrics["first_loss"], expected, rtol=0.03)
  _, _, swapped, _ = seen(task, (8, 3))  # It belongs to the example.
  np.testing.assert_array_equal(second, swapped[::-1] - 0.4)


def test_mixed_noise_trains_what_sees_clean_frames_and_nothing_else():
  mixed = dict(name="noise.mixed_toflow")
  for variant in ("base", "jsc"):
    _, level, _, _ = seen(build(variant, degradation=mixed), (3, 8))
    np.testing.assert_allclose(level, 0.1, rtol=1e-6)
  for variant in ("jsn", "unsupervised"):
    with pytest.raises(ValueError, match=r"zero mean.*is noise\.mixed_toflow"):
      build(variant, degradation=mixed)


def test_wrong_combinations_are_refused():
  with pytest.raises(ValueError, match="is one of clean, psi, .*'noisy'"):
    build(final_target="noisy")
  with pytest.raises(ValueError, match="which nothing trains"):
    build("base", final_target="psi")
  with pytest.raises(ValueError, match="at least 1, but is 0"):
    build(steps_per_epoch=0)
  with pytest.raises(ValueError, match="0 or more, but is -1"):
    build(alpha=-1)
  with pytest.raises(ValueError, match="FastDVDnet has no first stage"):
    build(model=models.build("fastdvdnet"))
