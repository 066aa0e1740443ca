"""Deformable convolution against a plain loop, and what bounds it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax.layers.deformable_convolution import (
    DeformableConv,
    deformable_conv,
)


def loop(x, offsets, mask, kernel, bias, cotangent, stride, dilation):
  """Output and gradients of sum(cotangent * output), sample by sample."""
  _, height, width, channels = x.shape
  taps, inputs = kernel.shape[0] ** 2, kernel.shape[2]
  deformable_groups = mask.shape[-1] // taps
  # Each output channel sees the inputs of its own group of weights.
  dense = np.zeros((taps, channels, kernel.shape[3]))
  per_group = kernel.shape[3] * inputs // channels
  for start in range(0, channels, inputs):
    first = start // inputs * per_group
    outputs = slice(first, first + per_group)
    dense[:, start : start + inputs, outputs] = kernel.reshape(
        taps, inputs, -1
    )[:, :, outputs]
  y = np.zeros(cotangent.shape) + bias
  dx, doffsets, dmask, ddense = map(
      np.zeros_like, (x, offsets, mask, dense)
  )
  side, each = kernel.shape[0], channels // deformable_groups
  for b, i, j, group, tap in np.ndindex(
      *cotangent.shape[:3], deformable_groups, taps
  ):
    at = (b, i, j, group * taps + tap)
    aty, atx = ((b, i, j, 2 * at[3] + k) for k in (0, 1))
    row = i * stride + dilation * (tap // side - side // 2) + offsets[aty]
    column = j * stride + dilation * (tap % side - side // 2) + offsets[atx]
    if not (-1 < row < height and -1 < column < width):
      continue  # Without gradient at -1, as in BasicSR's kernel.
    own = slice(group * each, (group + 1) * each)
    above = cotangent[b, i, j] @ dense[tap, own].T  # Of mask * sample.
    sample = np.zeros(each)
    for r in (math.floor(row), math.floor(row) + 1):
      for c in (math.floor(column), math.floor(column) + 1):
        if not (0 <= r < height and 0 <= c < width):
          continue
        near = 1 - abs(row - r), 1 - abs(column - c)
        sample += near[0] * near[1] * x[b, r, c, own]
        dx[b, r, c, own] += mask[at] * near[0] * near[1] * above
        slope = mask[at] * (x[b, r, c, own] @ above)
        doffsets[aty] += (1 if r > row else -1) * near[1] * slope
        doffsets[atx] += (1 if c > column else -1) * near[0] * slope
    y[b, i, j] += mask[at] * sample @ dense[tap, own]
    dmask[at] += sample @ above
    ddense[tap, own] += mask[at] * np.outer(sample, cotangent[b, i, j])
  dkernel = np.stack([
      ddense[:, start : start + inputs, start // inputs * per_group + k]
      for start in range(0, channels, inputs)
      for k in range(per_group)
  ], -1).reshape(kernel.shape)
  return y, (dx, doffsets, dmask, dkernel, cotangent.sum((0, 1, 2)))


@functools.partial(jax.jit, static_argnums=(6, 7, 8))
def ours(x, offsets, mask, kernel, bias, cotangent, stride, dilation, memory):
  y, pull = jax.vjp(
      functools.partial(
          deformable_conv, stride=stride, dilation=dilation, chunk_bytes=memory
      ),
      x, offsets, mask, kernel, bias,
  )
  return y, pull(cotangent)


def draw(stride, groups, deformable_groups, reach, size=(5, 6)):
  """x, offsets, mask, kernel, bias and a cotangent of the output."""
  generator = np.random.default_rng(0)
  out = [-(-side // stride) for side in size]
  channels, each = 8, 9 * deformable_groups
  return (
      generator.normal(size=(2, *size, channels)),
      reach * generator.normal(size=(2, *out, 2 * each)),
      generator.random((2, *out, each)),
      generator.normal(size=(3, 3, channels // groups, 4)) / 9,
      generator.normal(size=4),
      generator.normal(size=(2, *out, 4)),
  )


@pytest.mark.parametrize(
    "stride, dilation, groups, deformable_groups, memory",
    [
        (1, 1, 1, 1, 2**28),
        (2, 1, 2, 2, 2**28),
        (1, 2, 2, 4, 2**15),  # In seven and a bit chunks.
        (2, 2, 1, 4, 2**13),
    ],
)
@pytest.mark.parametrize("reach", [1.0, 1e4])
def test_it_equals_a_loop_in_values_and_in_every_gradient(
    stride, dilation, groups, deformable_groups, memory, reach
):
  given = draw(stride, groups, deformable_groups, reach)
  if reach > 1:  # One in four stays near, others are on the very border.
    near = np.random.default_rng(1).random(given[1].shape) < 0.25
    given[1][near] /= reach
    given[1][0, 0] = np.round(given[1][0, 0])
  given = [value.astype(np.float32) for value in given]
  y, gradients = ours(*given, stride, dilation, memory)
  wanted, true = loop(
      *(value.astype(np.float64) for value in given), stride, dilation
  )
  np.testing.assert_allclose(y, wanted, atol=1e-5)
  names = ("x", "offsets", "mask", "kernel", "bias")
  for name, found, gradient in zip(names, gradients, true):
    bound = 1e-5 * max(1, np.abs(gradient).max())
    np.testing.assert_allclose(found, gradient, atol=bound, err_msg=name)


@pytest.mark.parametrize("stride, dilation", [(1, 1), (2, 2)])
def test_without_offsets_it_is_a_convolution(stride, dilation):
  x, offsets, mask, kernel, bias, _ = draw(stride, 1, 2, reach=0)
  given = [
      value.astype(np.float32)
      for value in (x, offsets, np.ones_like(mask), kernel, bias)
  ]
  y = deformable_conv(*given, stride=stride, dilation=dilation)
  wanted = bias + jax.lax.conv_general_dilated(
      given[0],
      given[3],
      (stride, stride),
      ((dilation, dilation),) * 2,
      rhs_dilation=(dilation, dilation),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  np.testing.assert_allclose(y, wanted, atol=1e-5)


def test_it_is_the_public_operation(real_data):
  path = real_data / "reference" / "sr" / "dcn_op.npz"
  with np.load(path) as archive:
    given = {name: archive[name] for name in archive.files}
  last = {
      name: given[name].transpose(0, 2, 3, 1)
      for name in ("input", "offset", "mask", "output_float64")
  }
  y = deformable_conv(
      last["input"],
      last["offset"],
      last["mask"],
      given["weight"].transpose(2, 3, 1, 0),
      given["bias"],
  )
  # Another framework's float32 is 7e-7 from float64.
  assert np.abs(y - last["output_float64"]).max() < 5 * 7.1e-7


@pytest.mark.parametrize("gradient", [False, True])
def test_a_large_frame_needs_bounded_memory(gradient):
  """All samples would take 1.1 GiB, their four neighbours 4.4 GiB."""
  height, width, channels, groups = 540, 960, 64, 8
  shapes = [
      jax.ShapeDtypeStruct(shape, np.float32)
      for shape in (
          (1, height, width, channels),
          (1, height, width, 18 * groups),
          (1, height, width, 9 * groups),
          (3, 3, channels, channels),
      )
  ]

  def total(*given):
    return deformable_conv(*given).sum()

  fn = jax.grad(total, argnums=(0, 1, 2, 3)) if gradient else deformable_conv
  memory = jax.jit(fn).lower(*shapes).compile().memory_analysis()
  used = (
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      + memory.temp_size_in_bytes
  )
  assert used < 4 * 2**30
  if not gradient:  # Not all samples at once.
    samples = 9 * channels * height * width * 4
    assert memory.temp_size_in_bytes < samples


def test_positions_are_not_rounded_to_bfloat16():
  ramp = jnp.arange(512, dtype=jnp.bfloat16).reshape(1, 1, 512, 1)
  offsets = jnp.zeros((1, 1, 512, 18)).at[..., 9].set(1.0)  # The centre's dx.
  mask = jnp.ones((1, 1, 512, 9))
  kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
  y = deformable_conv(ramp, offsets, mask, kernel)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_array_equal(y[0, 0, :511, 0], ramp[0, 0, 1:, 0])


def test_broken_offsets_read_nothing_out_of_bounds():
  offsets = np.zeros((1, 2, 2, 18), np.float32)
  offsets[0, :, :, :3] = np.nan, np.inf, -np.inf
  y = deformable_conv(
      np.ones((1, 2, 2, 1), np.float32),
      offsets,
      np.ones((1, 2, 2, 9), np.float32),
      np.eye(9, dtype=np.float32)[:2].sum(0).reshape(3, 3, 1, 1),
  )
  np.testing.assert_array_equal(y, np.zeros_like(y))  # Both taps are outside.


def test_shapes_that_do_not_fit_are_named():
  x, offsets, mask, kernel, *_ = draw(1, 1, 2, reach=0)
  for given in (
      (x, offsets[..., 1:], mask, kernel),
      (x, offsets[:, 1:], mask[:, 1:], kernel),
      (x[..., 1:], offsets, mask, kernel),
      (x, offsets, mask, kernel[:2, :2]),
  ):
    with pytest.raises(ValueError, match="a multiple of the deformable groups"):
      deformable_conv(*given)


@pytest.fixture(scope="module")
def layer():
  """A layer of two groups, its variables, an input and a condition."""
  generator = np.random.default_rng(0)
  x = generator.normal(size=(2, 5, 6, 4)).astype(np.float32)
  condition = generator.normal(size=(2, 5, 6, 3)).astype(np.float32)
  variables = DeformableConv(4, 2).init(jax.random.key(0), x, condition)
  return variables, x, condition


def test_the_layer_starts_as_half_a_convolution(layer):
  variables, x, condition = layer
  y, reach = DeformableConv(4, 2).apply(variables, x, condition)
  kernel = variables["params"]["kernel"]
  wanted = jax.lax.conv(
      x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1), (1, 1), "SAME"
  ).transpose(0, 2, 3, 1)
  np.testing.assert_allclose(y, wanted / 2, atol=1e-6)
  np.testing.assert_array_equal(reach, np.zeros((2, 2)))


def biased(variables, bias):
  """The variables with a bias of the offsets' convolution."""
  conv = variables["params"]["conv_offset"]["conv"]
  params = variables["params"] | {
      "conv_offset": {"conv": conv | {"bias": jnp.asarray(bias, jnp.float32)}}
  }
  return {"params": params}


def test_the_layer_tells_how_far_it_reaches_and_can_be_bounded(layer):
  variables, x, condition = layer
  bias = np.zeros(54)
  bias[:36:2] = -100.0  # dy of every tap; the masks stay.
  broken = biased(variables, bias)
  y, reach = DeformableConv(4, 2).apply(broken, x, condition)
  np.testing.assert_array_equal(y, np.zeros_like(y))
  np.testing.assert_allclose(reach.mean, [50.0, 50.0])
  np.testing.assert_allclose(reach.largest, [100.0, 100.0])
  bounded, reach = DeformableConv(4, 2, max_offset=2.0).apply(
      broken, x, condition
  )
  np.testing.assert_allclose(reach.largest, [2.0, 2.0], rtol=1e-4)
  assert np.abs(bounded).max() > 0.1

  def total(variables, bound):
    y, reach = DeformableConv(4, 2, bound).apply(variables, x, condition)
    return (y**2).sum() + reach.mean.sum()

  # Small offsets are left as they are, and so is their gradient.
  small = biased(variables, 1e-3 * np.arange(54))
  free, soft = (jax.grad(total)(small, bound) for bound in (None, 10.0))
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3),
      free,
      soft,
  )


def test_flows_guide_their_share_of_the_groups(layer):
  """A whole number of pixels: each half reads another shift of its input."""
  variables, x, condition = layer
  flows = [
      jnp.broadcast_to(jnp.array(flow, jnp.float32), (2, 5, 6, 2))
      for flow in ((1, 0), (0, -2))  # (dx, dy)
  ]
  y, reach = DeformableConv(4, 2).apply(variables, x, condition, flows)
  np.testing.assert_array_equal(reach.largest, np.zeros(2))
  shifted = np.zeros((2, 9, 10, 4), np.float32)  # With two more on each side.
  shifted[:, 2:7, 1:7, :2] = x[..., :2]
  shifted[:, 4:9, 2:8, 2:] = x[..., 2:]
  wanted = jax.lax.conv(
      shifted.transpose(0, 3, 1, 2),
      variables["params"]["kernel"].transpose(3, 2, 0, 1),
      (1, 1),
      "SAME",
  ).transpose(0, 2, 3, 1)[:, 2:7, 2:8]
  np.testing.assert_allclose(y, wanted / 2, atol=1e-6)


def test_the_unit_of_offsets_is_that_of_the_prediction(layer):
  """BasicVSR++: 10 * tanh(prediction)."""
  variables, x, condition = layer
  one = biased(variables, np.r_[np.full(36, 0.3), np.zeros(18)])
  module = DeformableConv(4, 2, max_offset=10.0, offset_unit=10.0)
  _, reach = module.apply(one, x, condition)
  np.testing.assert_allclose(reach.mean, 10 * np.tanh(0.3), rtol=1e-5)
