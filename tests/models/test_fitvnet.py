"""FITVNet: what it consists of, costs, and tells its second stage."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import complexity
from vidrestore_jax import models
from vidrestore_jax.inference import streaming
from vidrestore_jax.models.noise2noise import N2N_FAITHFUL

# Compiling takes the time here, and most of it is optimisation.
FAST = {"xla_backend_optimization_level": 0}
TINY = {
    "image": {"width": 4, "output_widths": (4, 4)},
    "video": {"widths": (4, 4, 4), "interm": 2},
}


@pytest.mark.parametrize(
    ("kwargs", "params", "gmacs"),
    [
        ({}, 3_574_219, 176.15),
        ({"image": {"strides": N2N_FAITHFUL}}, 3_574_219, 176.67),
        ({"image": {"upsample": "transposed"}}, 3_927_163, 191.95),
        # Table 5 as printed has no normalisation.
        ({"video": {"batch_norm": False}}, 3_572_765, 176.15),
    ],
)
def test_size_and_cost_are_those_of_the_tables(kwargs, params, gmacs):
  model = models.build("fitvnet", **kwargs)
  total, modules = complexity.measure(model, width=448, height=256)
  assert total.params == params
  assert total.macs / 1e9 == pytest.approx(gmacs, abs=0.006)
  assert set(modules) == {"image", "video"}


def test_the_sizes_of_both_kinds_of_frames_fit_together():
  model = models.build("fitvnet")
  for size in ((64, 64), (256, 448)):
    window = jax.ShapeDtypeStruct((1, 5, *size, 3), jnp.float32)
    noise = jax.ShapeDtypeStruct((1, *size, 1), jnp.float32)
    restored, variables = jax.eval_shape(
        model.init_with_output, jax.random.key(0), window, noise
    )
    assert restored.frames.shape == (1, *size, 3)
    assert restored.aux["pre_denoised"].shape == window.shape
    assert set(variables) == {"params", "batch_stats"}


@pytest.fixture(scope="module")
def tiny():
  """A small model, variables with which it does something, and a clip."""
  model = models.build("fitvnet", **TINY)
  rng = np.random.default_rng(0)
  window, noise = np.zeros((1, 5, 32, 64, 3)), np.zeros((1, 32, 64, 1))
  # Drawn here: compiling what draws them takes ten times as long.
  variables = jax.tree.map(
      lambda leaf: rng.normal(
          0 if leaf.ndim > 1 else 1,
          (1 / max(math.prod(leaf.shape[:-1]), 9)) ** 0.5,
          leaf.shape,
      ).astype(np.float32),
      jax.eval_shape(model.init, jax.random.key(0), window, noise),
  )
  variables["batch_stats"] = jax.tree.map(jnp.abs, variables["batch_stats"])
  clip = rng.random((6, 32, 64, 3), np.float32)
  return model, variables, clip


@pytest.fixture(scope="module")
def streamed(tiny):
  model, variables, clip = tiny
  return streaming.restore_clip(
      model, variables, clip, sigma=0.1, aux=("pre_denoised",)
  )


def test_streaming_equals_the_windowed_form_on_every_frame(tiny, streamed):
  model, variables, clip = tiny
  apply = jax.jit(model.apply, compiler_options=FAST)
  noise = jnp.full((1, 32, 64, 1), 0.1)
  for t in range(len(clip)):
    frames = [abs(t + k) for k in range(-2, 3)]  # The borders are mirrored.
    frames = [min(i, 2 * (len(clip) - 1) - i) for i in frames]
    restored = apply(variables, clip[None, frames], noise)
    np.testing.assert_allclose(
        streamed.frames[t], restored.frames[0], atol=1e-5
    )
    np.testing.assert_allclose(
        streamed.aux["pre_denoised"][t],
        restored.aux["pre_denoised"][0, 2],
        atol=1e-5,
    )


def test_the_first_stage_stands_alone(tiny, streamed):
  model, variables, clip = tiny
  alone = streaming.restore_clip(*model.first_stage(variables), clip)
  np.testing.assert_allclose(
      alone.frames, streamed.aux["pre_denoised"], atol=1e-6
  )


def test_streaming_makes_each_result_of_a_stage_once():
  macs = complexity.streamed_macs(
      models.build("fitvnet"), width=448, height=256
  )
  assert macs / 1e9 == pytest.approx(57.12, abs=0.006)  # And not 176.15.


def test_a_blind_model_tells_its_second_stage_that_there_is_no_noise(tiny):
  model, variables, clip = tiny
  blind = models.build("fitvnet", noise_map="zero", **TINY)
  assert model.noise_map and not blind.noise_map
  window, zero = clip[None, :3], jnp.zeros((1, 32, 64, 1))

  def stage(model, noise):
    apply = functools.partial(model.apply, method="stage")
    return jax.jit(
        lambda noise: apply(variables, 1, window, noise), compiler_options=FAST
    )(noise)

  told = stage(model, zero)
  np.testing.assert_allclose(stage(blind, None), told, atol=1e-5)
  assert jnp.abs(stage(model, zero + 0.5) - told).max() > 1e-3
  window = clip[None, :5]
  with pytest.raises(ValueError, match="was built blind"):
    blind.apply(variables, window, zero)
  with pytest.raises(ValueError, match="needs a map"):
    model.apply(variables, window, None)
  with pytest.raises(ValueError, match="sigma, zero, but got 'none'"):
    models.build("fitvnet", noise_map="none")


def test_the_gradient_of_the_result_reaches_the_first_stage(tiny):
  model, variables, clip = tiny

  def restore(image):
    params = variables["params"] | {"image": image}
    restored, _ = model.apply(
        variables | {"params": params},
        clip[None, :5, :, :32],
        jnp.full((1, 32, 32, 1), 0.1),
        train=True,
        mutable=["batch_stats"],
    )
    return restored.frames

  image = variables["params"]["image"]
  # The derivative along the parameters themselves.
  tangent = jax.jit(
      lambda image: jax.jvp(restore, (image,), (image,))[1],
      compiler_options=FAST,
  )(image)
  assert jnp.abs(tangent).mean() > 1e-3
