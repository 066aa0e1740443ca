"""The Noise2Noise U-Net: its three layouts, their sizes and their laws."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import tracing
from vidrestore_jax import models, tasks
from vidrestore_jax.models.noise2noise import N2N_FAITHFUL, REPAIRED

# Compiling takes the time here, and most of it is optimisation.
FAST = {"xla_backend_optimization_level": 0}


def shapes(model, height=64, width=64):
  """The window's and the variables' shapes."""
  window = jax.ShapeDtypeStruct(
      (1, 1, height, width, model.channels), jnp.float32
  )
  init = lambda key, window: model.init(key, window, None)  # noqa: E731
  return window, jax.eval_shape(init, jax.random.key(0), window)


def parameters(variables):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize(
    ("kwargs", "expected", "macs"),
    [
        ({}, 1_095_123, 179_939.25),
        ({"upsample": "transposed"}, 1_448_067, 207_499.5),
        ({"strides": N2N_FAITHFUL}, 1_095_123, 180_850.5),
        (
            {"strides": N2N_FAITHFUL, "upsample": "transposed"},
            1_448_067,
            208_410.75,
        ),
        ({"preset": "original"}, 991_203, 173_945.25),
        ({"preset": "pytorch"}, 700_611, 201_505.5),
    ],
)
def test_parameters_and_work_per_pixel_are_those_of_the_layout(
    kwargs, expected, macs
):
  model = models.build("noise2noise", **kwargs)
  height, width = 64, 96  # Every concatenation meets, or this would not trace.
  window, variables = shapes(model, height, width)
  assert parameters(variables) == expected
  counted = tracing.count_macs(
      lambda v, x: model.apply(v, x, None), variables, window
  )
  assert counted.total() == macs * height * width


def test_strides_that_the_concatenations_contradict_are_refused():
  printed = ("1b", "3a", "4b", "6")  # As table 6 has them.
  with pytest.raises(ValueError, match=r"2a/2b.*is 1b, 3a, 4b, 6\. Take"):
    models.build("noise2noise", strides=printed)
  with pytest.raises(ValueError, match="Leave out strides"):
    models.build("noise2noise", preset="original", strides=REPAIRED)
  with pytest.raises(ValueError, match="no preset 'table_6'"):
    models.build("noise2noise", preset="table_6")
  with pytest.raises(ValueError, match="nearest, transposed, but got 'cubic'"):
    models.build("noise2noise", upsample="cubic")


def test_frames_that_do_not_fit_are_refused():
  model = models.build("noise2noise", width=2, output_widths=(2, 2))
  with pytest.raises(ValueError, match="divisible by 32, but got 64x80"):
    shapes(model, 64, 80)
  with pytest.raises(ValueError, match="windows of 1 frame, but got 2"):
    model.apply({}, jnp.zeros((1, 2, 32, 32, 3)), None)
  with pytest.raises(ValueError, match="blind"):
    model.apply({}, jnp.zeros((1, 1, 32, 32, 3)), jnp.zeros((1, 32, 32, 1)))


@pytest.mark.parametrize(
    ("preset", "bias", "expected"),
    [
        # One convolution of zero kernel leaves its bias, or 0.1 of it.
        ("fitvnet", -0.2, -0.02),
        ("fitvnet", 0.2, 0.2),
        # Linear, around the grey that the network takes for zero.
        ("original", -0.2, 0.3),
        ("pytorch", -0.2, -0.02),
    ],
)
def test_the_last_convolution_is_followed_by_what_the_layout_has(
    preset, bias, expected
):
  model = models.build(
      "noise2noise", preset=preset, width=2, output_widths=(2, 2)
  )
  window, variables = shapes(model, 32, 32)
  variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables)
  output = variables["params"]["dec_0"]["conv"]
  output["bias"] = output["bias"] + bias
  apply = jax.jit(model.apply, compiler_options=FAST)
  frames = apply(variables, jnp.ones(window.shape), None).frames
  np.testing.assert_allclose(frames, jnp.full((1, 32, 32, 3), expected))


def test_the_pytorch_layout_uses_one_convolution_where_the_original_has_four():
  names = {}
  for preset in ("original", "pytorch"):
    model = models.build("noise2noise", preset=preset)
    names[preset] = set(shapes(model)[1]["params"])
  assert names["original"] - names["pytorch"] == {
      "enc_3", "enc_4", "enc_5", "dec_3a", "dec_3b", "dec_2a", "dec_2b"
  }
  assert names["pytorch"] - names["original"] == {"up_5", "up_4", "up_3"}


@pytest.mark.parametrize(
    ("kwargs", "slack"),
    # Which of two pixels a pooling takes depends on the frame.
    [({}, 0), ({"preset": "pytorch"}, 4)],
)
def test_an_output_pixel_depends_on_no_more_than_the_halo(kwargs, slack):
  model = models.build(
      "noise2noise", width=1, output_widths=(1, 1), channels=1, **kwargs
  )
  window, variables = shapes(model, 32, 448)  # Twice the halo, and more.
  # Positive kernels let no path cancel another, biases keep ReLUs open.
  variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1), variables)

  def reach(column):
    gradient = jax.grad(
        lambda x: model.apply(variables, x, None).frames[0, 16, column, 0]
    )(jax.random.uniform(jax.random.key(0), window.shape))
    return jnp.abs(gradient[0, 0, :, :, 0]).max(0) > 0

  reach = jax.jit(reach, compiler_options=FAST)
  distances = []
  for column in (194, 222):  # Of a block of 32, those that see farthest.
    (seen,) = np.nonzero(reach(column))
    distances += [column - seen[0], seen[-1] - column]
  assert model.halo - slack <= max(distances) <= model.halo


def test_it_is_trained_as_any_image_denoiser():
  model = models.build("noise2noise", width=2, output_widths=(2, 2))
  task = tasks.build(
      "restoration",
      model=model,
      degradation={"name": "noise.gaussian", "sigma": (0.02, 0.2)},
  )
  batch = {
      "clean": jnp.zeros((2, 1, 32, 32, 3), jnp.uint8),
      "max_value": jnp.full(2, 255.0),
      "index": jnp.arange(2),
  }
  key = jax.random.key(0)
  params, state = jax.eval_shape(task.init, key, batch)
  loss, (after, _) = jax.eval_shape(task.loss, params, state, batch, key, 0)
  assert loss.shape == () and after == state == {}
