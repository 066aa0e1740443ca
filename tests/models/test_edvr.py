"""EDVR's size, cost and start; parity is in tests/converters."""

import jax
import numpy as np
import pytest

from experiments import complexity, tracing
from tests.models import measures
from vidrestore_jax import models
from vidrestore_jax.layers.resample import bicubic_resize, upsample_bilinear

TINY = dict(
    frames=3, width=8, extraction_blocks=1, reconstruction_blocks=1,
    deformable_groups=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def window():
  generator = np.random.default_rng(0)
  return generator.random((2, 3, 8, 12, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def variables(window):
  init = jax.jit(
      models.build("edvr", **TINY).init,
      compiler_options={"xla_backend_optimization_level": 0},
  )
  return init(jax.random.key(0), window)


def test_it_has_the_parameters_and_the_cost_of_the_paper():
  """Its profiler did not see the deformable kernels, so 0.93 T of 0.985."""
  total, parts = complexity.measure(
      models.build("edvr"), width=180, height=120, depth=3
  )
  assert total.params == 20_699_363
  assert abs(total.macs / 0.9846e12 - 1) < 0.001
  kernels = [
      cost.macs for name, cost in parts.items() if name.split("/")[-1] in (
          "dcn_l1", "dcn_l2", "dcn_l3", "cas_dcn"
      )
  ]
  positions = 180 * 120 * (1 + 1 + 1 / 4 + 1 / 16)
  assert sum(kernels) == 7 * 9 * 128**2 * positions
  assert abs((total.macs - sum(kernels)) / 0.9330e12 - 1) < 0.001
  params, macs = measures.cost(models.build("edvr", preset="m"))
  assert round(params / 1e6, 2) == 3.32 and round(macs / 1e12, 3) == 0.237


def test_residual_blocks_start_close_to_the_identity(variables):
  params = variables["params"]
  for name in ("feature_extraction_0", "reconstruction_0"):
    kernel = params[name]["conv_1"]["conv"]["kernel"]
    np.testing.assert_allclose(
        kernel.std(), 0.1 * np.sqrt(2 / (9 * 8)), rtol=0.1
    )


def test_the_middle_frame_is_enlarged_by_either_interpolation(
    variables, window
):
  bilinear, bicubic = (
      measures.apply(
          models.build("edvr", **TINY, upsample=kind), variables, window
      )
      for kind in ("bilinear", "bicubic")
  )
  middle = window[:, 1]
  np.testing.assert_allclose(
      bicubic.frames - bilinear.frames,
      bicubic_resize(middle, 4) - upsample_bilinear(middle, 4),
      atol=1e-6,
  )
  # What the last convolution finds in the features is added to it.
  assert bilinear.aux["hr_features"].shape == (2, 32, 48, 64)
  last = variables["params"]["upsampling"]["conv_last"]["conv"]
  found = jax.lax.conv_general_dilated(
      bilinear.aux["hr_features"],
      last["kernel"],
      (1, 1),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  np.testing.assert_allclose(
      bilinear.frames, upsample_bilinear(middle, 4) + found, atol=1e-5
  )


def test_it_tells_how_far_it_reaches_and_can_be_bounded(variables, window):
  broken = jax.tree.map(lambda leaf: leaf, variables)
  cascade = broken["params"]["pcd_align"]["cas_dcn"]["conv_offset"]["conv"]
  cascade["bias"] = cascade["bias"].at[: 2 * 18].set(40.0)
  free, bounded = (
      measures.apply(
          models.build("edvr", **TINY, max_offset=bound), broken, window
      )
      for bound in (None, 5.0)
  )
  # One of four layers, which all start at zero.
  np.testing.assert_allclose(free.aux["offset_mean"], [10.0, 10.0])
  np.testing.assert_allclose(free.aux["offset_max"], [40.0, 40.0])
  np.testing.assert_allclose(bounded.aux["offset_max"], [5.0, 5.0], rtol=1e-4)
  assert np.abs(free.frames - bounded.frames).max() > 1e-4


def test_bfloat16_computes_in_it_and_keeps_parameters_in_float32():
  model = models.build("edvr", **TINY, dtype="bfloat16")
  shapes = measures.shapes(model)
  assert {leaf.dtype.name for leaf in jax.tree.leaves(shapes)} == {"float32"}
  window = jax.ShapeDtypeStruct((1, 3, 8, 8, 3), np.float32)
  convolutions = tracing.convolution_dtypes(model.apply, shapes, window)
  # Of each frame's features, of PCD, of TSA (seven more are 1x1, which are
  # products) and behind it.
  assert convolutions == (7 + 16 + 6 + 6) * ["bfloat16"]
  restored = jax.eval_shape(model.apply, shapes, window)
  assert restored.frames.dtype == np.float32


def test_inputs_and_arguments_that_do_not_suit_are_named(variables, window):
  model = models.build("edvr", **TINY)
  with pytest.raises(ValueError, match="windows of 3 frames, but got 2"):
    model.apply(variables, window[:, :2])
  with pytest.raises(ValueError, match="Pad to 8x12"):
    model.apply(variables, window[:, :, :6, :])
  with pytest.raises(ValueError, match="takes noise=None"):
    model.apply(variables, window, np.zeros((2, 8, 12, 1)))
  for wrong, message in (
      (dict(preset="xl"), "preset is one of l, m"),
      (dict(frames=4), "an odd number of frames, but got frames=4"),
      (dict(width=12), "multiple of its deformable groups, but got 12 and 8"),
      (dict(max_offset=0.0), "above 0 pixels, or None, but got 0.0"),
      (dict(upsample="nearest"), "one of bilinear, bicubic"),
  ):
    with pytest.raises(ValueError, match=message):
      models.build("edvr", **wrong)
