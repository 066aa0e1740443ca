"""BasicVSR++'s size, its passes and flows; parity is in tests/converters."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from tests.models import measures
from vidrestore_jax import models, released
from vidrestore_jax.converters import basicvsrpp as converter
from vidrestore_jax.converters import torch_layouts
from vidrestore_jax.models import basicvsrpp

TINY = dict(
    width=8, blocks=1, motion=dict(levels=1, widths=(2,), kernel=3)
)


def draw(model, deviation=0.1):
  """Variables of which none is zero, so that all of the model is at work."""
  generator = np.random.default_rng(0)
  flat = {
      path: deviation * generator.normal(size=shape).astype(np.float32)
      for path, shape in released.variable_shapes(model).items()
  }
  return traverse_util.unflatten_dict(flat, sep="/")


@pytest.fixture(scope="module")
def clip():
  generator = np.random.default_rng(1)
  return generator.random((2, 3, 8, 12, 3)).astype(np.float32)


def test_it_has_the_parameters_of_the_release():
  """7.3 M in the paper's table, SpyNet's 1.44 M among them."""
  sizes = released.variable_shapes(models.build("basicvsrpp")).values()
  assert sum(map(math.prod, sizes)) == 7_322_927


def test_a_scan_does_what_the_unrolled_passes_do(clip):
  """At the frames' own size, so that both ways in are compiled here."""
  tiny = TINY | dict(low_resolution=False)
  variables = draw(models.build("basicvsrpp", **tiny))
  one, other = (
      measures.apply(
          models.build("basicvsrpp", **tiny, unroll=unroll), variables, clip
      )
      for unroll in (1, 8)
  )
  assert one.frames.shape == clip.shape
  assert one.aux["hr_features"].shape == (*clip.shape[:4], 64)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, other
  )


def test_what_fills_a_clip_up_changes_nothing(clip):
  model = models.build("basicvsrpp", **TINY, unroll=1)
  variables = draw(model)
  whole = measures.apply(model, variables, clip)
  filled = np.concatenate([clip, 1 - clip[:, :2]], 1)
  found = measures.apply(model, variables, filled, length=np.int32(3))
  np.testing.assert_allclose(found.frames[:, :3], whole.frames, atol=1e-5)
  for name in ("offset_mean", "offset_max"):
    np.testing.assert_allclose(found.aux[name], whole.aux[name], rtol=1e-5)


def test_one_frame_is_aligned_with_nothing(clip):
  model = models.build("basicvsrpp", **TINY)
  variables = draw(model)
  plain = measures.apply(model, variables, clip[:, :1])
  assert plain.frames.shape == (2, 1, 32, 48, 3)
  assert np.isfinite(plain.frames).all()
  np.testing.assert_array_equal(plain.aux["offset_max"], np.zeros(2))
  for name in basicvsrpp.PASSES:
    variables["params"][f"align_{name}"]["dcn"]["bias"] += 9.0
  shifted = measures.apply(model, variables, clip[:, :1])
  np.testing.assert_array_equal(plain.frames, shifted.frames)


def test_flow_of_the_second_order_adds_up_along_the_way():
  """Constant flows of two and three columns: five, until the zeros outside."""
  flow = np.zeros((1, 2, 4, 9, 2), np.float32)
  flow[:, 0, ..., 0], flow[:, 1, ..., 0] = 3, 2
  first, second = basicvsrpp.second_order(flow)
  np.testing.assert_array_equal(first[:, 1:], flow)
  np.testing.assert_array_equal(first[:, 0], np.zeros((1, 4, 9, 2)))
  np.testing.assert_array_equal(second[:, :2], np.zeros((1, 2, 4, 9, 2)))
  np.testing.assert_array_equal(second[0, 2, ..., 0], [[5] * 7 + [2] * 2] * 4)
  for frames in (1, 2):
    pair = basicvsrpp.second_order(flow[:, : frames - 1])
    assert [x.shape[1] for x in pair] == [frames] * 2


def test_a_quarter_is_bicubic_without_smoothing():
  """Cubic: a ramp stays one, at the centres 1.5, 5.5 ... of the pixels."""
  y, x = np.mgrid[:8, :12].astype(np.float32)
  ramp = (x + 10 * y)[None, ..., None]
  quarter = basicvsrpp.bicubic_quarter(ramp)
  expected = (1.5 + 4 * x + 10 * (1.5 + 4 * y))[:2, :3]
  np.testing.assert_allclose(quarter[0, ..., 0], expected, rtol=1e-6)
  impulse = np.zeros((4, 4, 1), np.float32)
  impulse[0, 2] = 1
  np.testing.assert_allclose(
      basicvsrpp.bicubic_quarter(impulse), [[[-3 / 32 * 19 / 32]]], rtol=1e-6
  )


def test_the_offsets_beside_the_flow_are_bounded_and_told():
  layer = basicvsrpp.SecondOrderAlignment(8, 10.0)
  x = jnp.ones((1, 4, 4, 8))
  far = jnp.full((1, 4, 4, 2), 30.0)
  given = (x, (x, x), (far, far))
  params = layer.init(jax.random.key(0), *given)["params"]
  conv = params["dcn"]["conv_offset"]["conv"]
  for bias, reach in ((0.0, 0.0), (0.1, 10 * np.tanh(0.1)), (9.0, 10.0)):
    conv["bias"] = jnp.full_like(conv["bias"], bias)
    _, size = layer.apply({"params": params}, *given)
    np.testing.assert_allclose(size, [[reach], [reach]], rtol=1e-5)


def test_the_other_release_names_every_tensor():
  """mmagic's, of the frames' own size; BasicSR's is in tests/converters."""
  model = models.build("basicvsrpp", **TINY, low_resolution=False)
  variables = draw(model)
  tensors = torch_layouts.to_tensors(model, variables, converter.LAYOUTS[1])
  assert "upsample1.upsample_conv.weight" in tensors
  assert "spynet.basic_module.0.basic_module.0.conv.weight" in tensors
  found = torch_layouts.to_variables("basicvsrpp", converter.LAYOUTS, tensors)
  assert models.build("basicvsrpp", **found.kwargs) == model.clone(
      motion=models.build("spynet", **found.kwargs["motion"])
  )
  flat = traverse_util.flatten_dict(variables, sep="/")
  back = traverse_util.flatten_dict(found.variables, sep="/")
  assert len(tensors) == len(flat) + 2  # Mean and deviation of ImageNet.
  for path, value in flat.items():
    np.testing.assert_array_equal(back[path], value)


def test_inputs_and_arguments_that_do_not_suit_are_named(clip):
  model = models.build("basicvsrpp", **TINY, low_resolution=False)
  with pytest.raises(ValueError, match="Pad to 8x12"):
    jax.eval_shape(model.init, jax.random.key(0), clip[:, :, :, :10])
  with pytest.raises(ValueError, match="takes noise=None"):
    jax.eval_shape(model.init, jax.random.key(0), clip, clip[:, 0, ..., :1])
  for wrong, message in (
      (dict(width=12), "a multiple of 8, but got 12"),
      (dict(max_offset=0), "above 0 pixels, but got 0"),
      (dict(dtype="float16"), "float32, bfloat16"),
  ):
    with pytest.raises(ValueError, match=message):
      models.build("basicvsrpp", **wrong)
