"""Padding, phases and blocks of the convolutional layers."""

import contextlib
import functools

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import tracing
from vidrestore_jax import models
from vidrestore_jax.layers import (
    convolution,
    fewer_products,
    recomputation,
    whole_batch,
)
from vidrestore_jax.layers.attention import (
    ChannelAttention,
    ChannelAttentionBlock,
)
from vidrestore_jax.layers.convolution import (
    Conv,
    GroupedConv,
    SpaceTimeConv,
    SubPixelConv,
    TransposedConv,
    WideTransposedConv,
    convolve,
)
from vidrestore_jax.layers.residual import ResBlock


def test_strided_convolution_pads_both_sides():
  """Output 0 of a stride-2 convolution is centred on pixel 0, not pixel 1."""
  kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)  # Picks its centre.
  variables = {"params": {"conv": {"kernel": kernel, "bias": jnp.zeros(1)}}}
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  y = Conv(1, stride=2).apply(variables, x)
  np.testing.assert_array_equal(y[0, ..., 0], x[0, ::2, ::2, 0])


def test_transposed_convolution_equals_its_definition():
  """out[2 i + k - 1] += x[i] * kernel[k], summed by hand."""
  x = jax.random.normal(jax.random.key(0), (1, 3, 4, 2))
  layer = TransposedConv(3)
  variables = layer.init(jax.random.key(1), x)
  bias = jnp.array([0.1, -0.2, 0.3])
  variables = {"params": variables["params"] | {"bias": bias}}
  kernel = np.asarray(variables["params"]["kernel"], np.float64)
  out = np.zeros((3 * 2 + 2, 4 * 2 + 2, 3))  # One pixel of margin.
  for i in range(3):
    for j in range(4):
      for k in range(3):
        for m in range(3):
          out[2 * i + k, 2 * j + m] += np.asarray(x)[0, i, j] @ kernel[k, m]
  expected = out[1:-1, 1:-1] + np.asarray(bias)
  np.testing.assert_allclose(
      layer.apply(variables, x)[0], expected, atol=1e-5
  )


def test_sub_pixel_convolution_doubles_the_size_of_a_constant():
  layer = SubPixelConv(2, kernel=1)
  x = jnp.ones((1, 2, 3, 4))
  variables = layer.init(jax.random.key(0), x)
  y = layer.apply(variables, x)
  assert y.shape == (1, 4, 6, 2)
  # Each 2x2 block is the same four numbers.
  np.testing.assert_allclose(y[0, :2, :2], y[0, 2:, 4:], atol=1e-6)


def _zeroed(variables, name):
  params = dict(variables["params"])
  params[name] = jax.tree.map(jnp.zeros_like, params[name])
  return {"params": params}


@pytest.mark.parametrize("block", [ResBlock(), ChannelAttentionBlock()])
def test_a_block_whose_last_convolution_is_zero_is_the_identity(block):
  x = jax.random.normal(jax.random.key(0), (1, 4, 4, 16))
  variables = _zeroed(block.init(jax.random.key(1), x), "conv_1")
  np.testing.assert_array_equal(block.apply(variables, x), x)


def test_channel_attention_sees_the_whole_frame_only_through_its_mean():
  layer = ChannelAttention(reduction=4)
  x = jax.random.normal(jax.random.key(0), (1, 4, 4, 16))
  variables = layer.init(jax.random.key(1), x)
  gate = layer.apply(variables, x) / x
  np.testing.assert_allclose(
      gate, gate[:, :1, :1] * jnp.ones_like(x), rtol=1e-4
  )
  assert (gate > 0).all() and (gate < 1).all()
  shuffled = x.reshape(1, 16, 16)[:, ::-1].reshape(x.shape)
  np.testing.assert_allclose(
      layer.apply(variables, shuffled) / shuffled, gate, rtol=1e-4
  )


@pytest.mark.parametrize("layer", [
    Conv(4), SubPixelConv(4), TransposedConv(4), ResBlock(),
    ChannelAttentionBlock(),
])
def test_parameters_stay_float32_under_bfloat16(layer):
  layer = layer.clone(dtype="bfloat16")
  x = jnp.ones((1, 4, 4, 4), jnp.bfloat16)
  variables = layer.init(jax.random.key(0), x)
  assert {p.dtype.name for p in jax.tree.leaves(variables)} == {"float32"}
  assert layer.apply(variables, x).dtype == jnp.bfloat16


def test_groups_of_channels_equal_a_grouped_convolution():
  layer = GroupedConv(6, groups=3, stride=2)
  x = jax.random.normal(jax.random.key(0), (1, 5, 4, 12))
  kernel = jax.random.normal(jax.random.key(1), (3, 3, 4, 6))
  bias = jnp.arange(6.0)
  expected = bias + jax.lax.conv_general_dilated(
      x,
      kernel,
      window_strides=(2, 2),
      padding=((1, 1), (1, 1)),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=3,
  )
  y = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)
  np.testing.assert_allclose(y, expected, atol=1e-5)
  with pytest.raises(ValueError, match="3 groups .* 12 in and 4 out"):
    GroupedConv(4, groups=3).init(jax.random.key(0), x)


@pytest.mark.parametrize("pad_time", [True, False])
def test_frame_by_frame_equals_a_convolution_of_space_and_time(pad_time):
  x = jax.random.normal(jax.random.key(0), (2, 5, 4, 6, 3))
  layer = SpaceTimeConv(4, pad_time)
  variables = layer.init(jax.random.key(1), x)
  variables["params"]["bias"] += jnp.arange(4.0)
  expected = jax.lax.conv_general_dilated(
      x,
      variables["params"]["kernel"],
      (1, 1, 1),
      ((pad_time, pad_time), (1, 1), (1, 1)),
      dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
  ) + jnp.arange(4.0)
  np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-4)


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_wide_transposed_convolution_equals_its_definition(stride):
  x = jax.random.normal(jax.random.key(0), (2, 3, 4, 2))
  layer = WideTransposedConv(3, 9, stride)
  variables = layer.init(jax.random.key(1), x)
  variables["params"]["bias"] += jnp.arange(3.0)
  found = layer.apply(variables, x)
  kernel = np.asarray(variables["params"]["kernel"])
  expected = np.zeros((2, 3 * stride + 8, 4 * stride + 8, 3))
  for i in range(3):
    for j in range(4):
      block = np.einsum("bc,klcf->bklf", x[:, i, j], kernel)
      top, left = stride * i, stride * j
      expected[:, top : top + 9, left : left + 9] += block
  expected = expected[:, 4:-4, 4:-4] + np.arange(3.0)
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "padding", "stride"),
    [
        ((3, 3, 5, 4), ((1, 1), (1, 1)), (1, 1)),
        ((3, 3, 4, 20), ((1, 1), (1, 1)), (1, 1)),
        ((3, 3, 40, 3), ((1, 1), (1, 1)), (1, 1)),
        ((3, 3, 5, 40), ((1, 1), (1, 1)), (1, 1)),
        ((7, 7, 6, 2), ((3, 3), (3, 3)), (1, 1)),
        ((2, 1, 5, 7), ((0, 1), (0, 0)), (1, 1)),
        ((5, 5, 3, 1), ((0, 0), (2, 1)), (1, 1)),
        ((1, 1, 5, 40), ((0, 0), (0, 0)), (1, 1)),
        ((1, 1, 5, 3), ((0, 1), (0, 0)), (1, 1)),
        ((3, 3, 5, 4), ((1, 1), (1, 1)), (2, 2)),
        ((3, 3, 5, 40), ((1, 0), (0, 1)), (2, 2)),
        ((5, 2, 4, 3), ((0, 0), (1, 3)), (3, 2)),
    ],
)
@pytest.mark.parametrize("form", convolution.FORMS)
def test_value_and_derivatives_are_those_of_a_convolution(
    shape, padding, stride, form
):
  keys = jax.random.split(jax.random.key(0), 5)
  x = jax.random.normal(keys[0], (2, 9, 12, shape[2]))
  kernel = jax.random.normal(keys[1], shape)
  change = jax.random.normal(keys[2], x.shape), jax.random.normal(
      keys[3], shape
  )

  def plain(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, stride, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  def ours(x, kernel):
    return convolve(x, kernel, stride, padding)

  def all_of(function):
    y, along = jax.jvp(function, (x, kernel), change)
    _, pull = jax.vjp(function, x, kernel)
    return y, along, *pull(jax.random.normal(keys[4], y.shape))

  with convolution.use_form(form):
    pairs = zip(*(jax.jit(all_of, static_argnums=0)(f) for f in (ours, plain)))
  for found, wanted in pairs:
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_in_a_loop_every_gradient_has_the_order_of_axes_that_a_cpu_is_fast_in():
  x, kernel = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 4))

  def loss(kernel):
    def body(x, _):
      y = convolve(x, kernel, padding=((1, 1), (1, 1)))
      half = convolve(y, kernel, (2, 2), ((1, 1), (1, 1)))
      return x + y + half.mean(), None

    return jax.lax.scan(body, x, length=3)[0].sum()

  found = [
      equation.params["dimension_numbers"]
      for equation in tracing.equations(jax.make_jaxpr(jax.grad(loss))(kernel))
      if equation.primitive.name == "conv_general_dilated"
  ]
  # Two forward, and two gradients of each.
  nhwc, hwio = (0, 3, 1, 2), (3, 2, 0, 1)
  assert found == 6 * [jax.lax.ConvDimensionNumbers(nhwc, hwio, nhwc)]


@pytest.mark.parametrize(
    ("channels", "features", "kernel", "width"),
    [
        (3, 5, 3, 12),  # Two columns as channels.
        (8, 32, 7, 12),  # Four.
        (16, 2, 7, 14),  # Two, of a width that is no multiple of four.
        (16, 16, 3, 9),  # None.
        (36, 32, 3, 8),  # Filled up.
    ],
)
def test_for_tensor_cores_shapes_are_what_they_are_fast_with(
    channels, features, kernel, width
):
  """Multiples of eight channels; where there are few, columns as channels."""
  x = jnp.ones((1, 6, width, channels))
  layer = Conv(features, kernel)
  variables = layer.init(jax.random.key(0), x)
  with convolution.use_form("tensor_cores"):
    program = jax.make_jaxpr(layer.apply)(variables, x)
  (found,) = (
      equation
      for equation in tracing.equations(program)
      if equation.primitive.name == "conv_general_dilated"
  )
  (*_, taken), (*_, made) = (
      found.invars[0].aval.shape, found.outvars[0].aval.shape
  )
  assert taken % 8 == made % 8 == 0
  few = min(channels, features) <= 16
  assert found.invars[0].aval.shape[2] == (
      width // np.gcd(width, 4 if kernel > 3 else 2) if few else width
  )


_BY_FREQUENCY = (fewer_products.by_frequency, 1e-6)
_BY_MINIMAL_FILTERING = (fewer_products.by_minimal_filtering, 1e-5)


@pytest.mark.parametrize(
    ("form", "shape", "kernel", "padding"),
    [
        (_BY_FREQUENCY, (2, 37, 9, 5), (7, 7, 5, 6), ((3, 3), (3, 3))),
        (_BY_FREQUENCY, (1, 16, 12, 3), (9, 7, 3, 2), ((0, 2), (4, 1))),
        (_BY_FREQUENCY, (1, 8, 12, 3), (8, 7, 3, 2), ((0, 0), (3, 3))),
        (_BY_MINIMAL_FILTERING, (2, 10, 9, 5), (3, 3, 5, 6), ((1, 1), (1, 1))),
        (_BY_MINIMAL_FILTERING, (1, 1, 6, 3), (3, 3, 3, 2), ((3, 3), (1, 1))),
        (_BY_MINIMAL_FILTERING, (1, 9, 12, 3), (3, 3, 3, 2), ((0, 2), (2, 1))),
        (_BY_MINIMAL_FILTERING, (1, 3, 4, 96), (3, 1, 96, 2), ((0, 0), (0, 0))),
    ],
)
def test_a_convolution_of_fewer_products_is_the_same(
    form, shape, kernel, padding
):
  form, bound = form
  keys = jax.random.split(jax.random.key(0))
  x, kernel = map(jax.random.normal, keys, (shape, kernel))
  wanted = jax.lax.conv_general_dilated(
      x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  found = jax.jit(form, static_argnums=2)(x, kernel, padding)
  scale = abs(wanted).max()
  np.testing.assert_allclose(found / scale, wanted / scale, atol=bound)


@pytest.mark.parametrize("differentiated", [False, True])
def test_by_frequency_is_computed_where_no_gradient_is_taken(
    differentiated, monkeypatch
):
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (1, 128, 128, 32))
  kernel = jax.random.normal(keys[1], (7, 7, 32, 32))

  def loops(function, *args):
    # A function of its own: one that was traced is not traced again.
    jaxpr = jax.make_jaxpr(lambda *args: function(*args))(*args)
    return sum(
        equation.primitive.name == "scan"
        for equation in tracing.equations(jaxpr)
    )

  def run(x, kernel, stride=(1, 1)):
    sides = kernel.shape[0] // 2, kernel.shape[1] // 2
    padding = [(side, side) for side in sides]
    return (convolve(x, kernel, stride, padding) ** 2).mean()

  if differentiated:
    # That of the gradient alone, over bands.
    assert loops(jax.grad(run, argnums=1), x, kernel) == 1
    return
  assert loops(run, x, kernel) == 2
  found = run(x, kernel)
  with convolution.use_form("plain"):
    np.testing.assert_allclose(found, run(x, kernel), rtol=1e-5)
  assert loops(functools.partial(run, stride=(2, 2)), x, kernel) == 0
  for other in (
      (x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)),
      (x[:, 1:], kernel),
      (x[..., :8], kernel[:, :, :8]),
      (x, kernel[..., :8]),
      (x, kernel[:5, :5]),
      (x, kernel[:, :3]),
      (jnp.ones((8, 17, 128, 32)), kernel),  # Tiles with few rows.
  ):
    assert loops(run, *other) == 0
  scope = jax.export.SymbolicScope()
  (size,) = jax.export.symbolic_shape("b", scope=scope)
  exported = jax.export.export(jax.jit(run))(
      jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), kernel
  )
  assert "while" not in exported.mlir_module()
  monkeypatch.setattr(jax, "device_count", lambda: 2)
  assert loops(run, x, kernel) == 0
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  for form in ("plain", "usual"):
    with convolution.use_form(form):
      assert loops(run, x, kernel) == 0


def test_minimal_filtering_is_computed_where_no_gradient_is_taken(monkeypatch):
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (1, 64, 104, 96))
  kernel = jax.random.normal(keys[1], (3, 3, 96, 96)) / 30

  def products(function, *args):
    jaxpr = jax.make_jaxpr(lambda *args: function(*args))(*args)
    return sum(
        equation.primitive.name == "conv_general_dilated"
        for equation in tracing.equations(jaxpr)
    )

  def run(x, kernel, stride=(1, 1)):
    sides = kernel.shape[0] // 2, kernel.shape[1] // 2
    return convolve(x, kernel, stride, [(side, side) for side in sides])

  assert products(run, x, kernel) == 6
  found = jax.jit(run)(x, kernel)
  with convolution.use_form("plain"):
    wanted = jax.jit(lambda *args: run(*args))(x, kernel)
  np.testing.assert_allclose(found, wanted, atol=1e-4)
  # Forward and for the input's gradient; the kernel's is summed over bands.
  step = jax.value_and_grad(lambda *args: run(*args).sum(), argnums=(0, 1))
  assert products(step, x, kernel) == 2
  valid = functools.partial(convolve, stride=(1, 1), padding=((0, 0),) * 2)
  for height, taken in ((9, 6), (11, 1), (15, 6)):  # Of which 7, 9, 13 come.
    rows = jnp.ones((1, height, 2000, 96))
    assert products(valid, rows, kernel) == taken
  assert products(functools.partial(run, stride=(2, 2)), x, kernel) == 1
  for other in (
      (x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)),
      (x[:, :, :96], kernel),  # Less work.
      (x[..., :95], kernel[:, :, :95]),
      (jnp.ones((1, 64, 112, 96)), kernel[..., :95]),
      (jnp.ones((1, 160, 160, 96)), kernel[:, :1]),
      (jnp.ones((1, 160, 160, 96)), kernel[:1]),
  ):
    assert products(run, *other) == 1
  for form in ("plain", "usual"):
    with convolution.use_form(form):
      assert products(run, x, kernel) == 1
  (size,) = jax.export.symbolic_shape("b")
  exported = jax.export.export(jax.jit(lambda *args: run(*args)))(
      jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), kernel
  )
  assert exported.mlir_module().count("stablehlo.convolution") == 1
  monkeypatch.setattr(jax, "device_count", lambda: 2)
  assert products(run, x, kernel) == 1


@pytest.mark.parametrize(
    ("shape", "kernel", "padding"),
    [
        ((2, 11, 30, 3), (7, 7, 3, 4), ((3, 3), (3, 3))),  # Bands of 11 rows.
        ((2, 19, 100, 3), (3, 5, 3, 2), ((0, 2), (1, 1))),  # Two, reversed.
        ((1, 5, 900, 2), (1, 3, 2, 2), ((0, 0), (1, 1))),  # Of one row each.
        ((1, 9, 300, 2), (7, 7, 2, 2), ((3, 3), (3, 3))),  # As many as reach.
        ((2, 8, 20, 2), (7, 3, 2, 3), ((0, 0), (0, 0))),  # Fewer come out.
    ],
)
def test_gradients_of_kernels_are_summed_over_bands(
    shape, kernel, padding, monkeypatch
):
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  keys = jax.random.split(jax.random.key(0), 3)
  x, kernel, change = map(jax.random.normal, keys, (shape, kernel, kernel))

  def found(least):
    monkeypatch.setattr(convolution, "_WORTH_A_LOOP", least)

    def loss(kernel, x):
      return jnp.sin(convolve(x, kernel, padding=padding)).sum()

    gradient = jax.grad(loss)
    loops = [
        equation.outvars
        for equation in tracing.equations(jax.make_jaxpr(gradient)(kernel, x))
        if equation.primitive.name == "scan"
    ]
    frames = jnp.stack([x, x + 1])
    return loops, (
        jax.jit(gradient)(kernel, x),
        jax.vmap(gradient, (None, 0))(kernel, frames),
        jax.jvp(lambda kernel: loss(kernel, x), (kernel,), (change,)),
    )

  (loop,), banded = found(0)
  # The sum alone, and not the columns of every band.
  assert [var.aval.size for var in loop] == [kernel.size]
  loops, wanted = found(2**40)
  assert not loops
  jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-3),
      banded, wanted,
  )
  with convolution.use_form("usual"):
    assert not found(0)[0]
  monkeypatch.setattr(jax, "device_count", lambda: 2)
  assert not found(0)[0]


def test_zeros_beyond_what_a_kernel_reaches_are_no_band(monkeypatch):
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  monkeypatch.setattr(convolution, "_WORTH_A_LOOP", 0)
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (1, 6, 7, 3))
  kernel = jax.random.normal(keys[1], (3, 3, 3, 2))

  def gradient():
    def loss(kernel):
      return jnp.sin(convolve(x, kernel, padding=((3, 3), (0, 4)))).sum()

    return jax.grad(loss)(kernel)

  found = gradient()
  with convolution.use_form("plain"):
    np.testing.assert_allclose(found, gradient(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("least", [0, 2**40])
@pytest.mark.parametrize("whole", ["x", "kernel"])
def test_gradients_pass_the_checks_of_shard_map(
    whole, least, monkeypatch
):
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  monkeypatch.setattr(convolution, "_WORTH_A_LOOP", least)
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (2, 6, 7, 3))
  kernel = jax.random.normal(keys[1], (3, 3, 3, 2))
  parts = jax.sharding.PartitionSpec("data")
  everywhere = jax.sharding.PartitionSpec()

  def loss(x, kernel):
    return jnp.sin(convolve(x, kernel, padding=((1, 1),) * 2)).sum()

  split = jax.shard_map(
      lambda *arrays: jax.lax.psum(loss(*arrays), "data"),
      mesh=jax.make_mesh(
          (1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
      ),
      in_specs=(everywhere, parts) if whole == "x" else (parts, everywhere),
      out_specs=everywhere,
  )
  jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4),
      *(jax.jit(jax.grad(f, (0, 1)))(x, kernel) for f in (split, loss)),
  )


@pytest.mark.parametrize("forward", [False, True])
def test_groups_may_be_one_convolution(forward):
  x = jax.random.normal(jax.random.key(0), (2, 6, 8, 6))
  layer = GroupedConv(9, groups=3)
  variables = layer.init(jax.random.key(1), x)
  affine = jnp.linspace(0.5, 2, 9), jnp.linspace(-1, 1, 9)
  wanted = layer.apply(variables, x, affine)
  np.testing.assert_allclose(
      wanted, affine[0] * layer.apply(variables, x) + affine[1], atol=1e-5
  )
  for form in (None, "usual", "tensor_cores"):
    run = functools.partial(layer.apply, spare=7, forward=forward)
    chosen = convolution.use_form(form) if form else contextlib.nullcontext()
    with chosen:
      found = run(variables, x, affine)
      jaxpr = str(jax.make_jaxpr(run)(variables, x, affine))
    dense = form == "tensor_cores" or (forward and form is None)
    assert jaxpr.count("conv_general_dilated[") == (1 if dense else 3)
    np.testing.assert_allclose(found[..., :9], wanted, atol=1e-5)
    np.testing.assert_array_equal(found[..., 9:], 0)
  after = GroupedConv(4)
  variables = after.init(jax.random.key(2), wanted)
  np.testing.assert_allclose(
      after.apply(variables, found, unread=7),
      after.apply(variables, wanted),
      atol=1e-5,
  )


@pytest.mark.parametrize(
    "form, convolutions", [(None, 16), ("usual", 18), ("plain", 18)]
)
def test_on_a_cpu_fastdvdnet_restores_with_groups_as_one(form, convolutions):
  model = models.build("fastdvdnet", widths=(4, 8, 8), interm=5)
  args = jax.eval_shape(
      lambda: (jnp.zeros((1, 5, 8, 8, 3)), jnp.zeros((1, 8, 8, 1)))
  )
  variables = jax.eval_shape(model.init, jax.random.key(0), *args)
  chosen = convolution.use_form(form) if form else contextlib.nullcontext()
  with chosen:
    jaxpr = jax.make_jaxpr(model.apply)(variables, *args)
  first, second, *others = [
      eqn.outvars[0].aval.shape[-1]
      for eqn in tracing.equations(jaxpr)
      if eqn.primitive.name == "conv_general_dilated"
  ]
  assert len(others) + 2 == 4 * convolutions
  assert (first, second) == ((5, 5) if form else (16, 4))


@pytest.mark.parametrize("batch_norm", [True, False])
def test_fastdvdnet_is_the_same_in_the_form_for_tensor_cores(batch_norm):
  model = models.build(
      "fastdvdnet", widths=(4, 8, 8), interm=5, batch_norm=batch_norm
  )
  keys = iter(jax.random.split(jax.random.key(0), 300))
  window = jax.random.uniform(next(keys), (1, 5, 16, 20, 3))
  noise = jnp.full((1, 16, 20, 1), 0.1)
  variables = jax.tree.map(
      # Statistics and scales that are not those of the start, and positive.
      lambda leaf: leaf
      if leaf.ndim > 1
      else leaf + 0.1 * jax.random.uniform(next(keys), leaf.shape),
      model.init(next(keys), window, noise),
  )

  def found():
    return jax.jit(lambda *args: model.apply(*args).frames)(
        variables, window, noise
    )

  usual = found()
  with convolution.use_form("tensor_cores"):
    np.testing.assert_allclose(found(), usual, atol=1e-5)


def test_a_form_that_does_not_exist():
  found = pytest.raises(ValueError, match="plain, usual, tensor_cores")
  with found, convolution.use_form("fast"):
    pass


@pytest.mark.parametrize("bias", [True, False])
def test_running_averages_are_one_convolution(bias):
  """To rounding what normalising the convolution's output gives."""

  class Normalized(nn.Module):
    def setup(self):
      self.conv = GroupedConv(6, groups=2, use_bias=bias)
      self.norm = whole_batch.batch_norm(
          train=False, epsilon=1e-2, dtype="float32", name=None
      )

    def __call__(self, x):
      return whole_batch.normalized(self.conv, self.norm, x)

    def apart(self, x):
      return self.norm(self.conv(x))

  layer, x = Normalized(), jax.random.normal(jax.random.key(0), (2, 5, 6, 4))
  keys = iter(jax.random.split(jax.random.key(1), 20))
  variables = jax.tree.map(
      lambda leaf: 0.5 + jax.random.uniform(next(keys), leaf.shape),
      layer.init(jax.random.key(2), x),
  )
  wanted = layer.apply(variables, x, method="apart")
  np.testing.assert_allclose(layer.apply(variables, x), wanted, atol=1e-5)
  count = sum(
      equation.primitive.name == "sub"  # Of the mean, from every pixel.
      and equation.outvars[0].aval.shape == wanted.shape
      for equation in tracing.equations(
          jax.make_jaxpr(layer.apply)(variables, x)
      )
  )
  assert count == 0
  with pytest.raises(flax.errors.ScopeCollectionNotFound, match="batch_stats"):
    layer.apply({"params": variables["params"]}, x)


def test_work_is_counted_of_the_plain_form():
  layer, x = Conv(3, 7), jnp.ones((1, 8, 8, 5))
  variables = layer.init(jax.random.key(0), x)
  wanted = 8 * 8 * 7 * 7 * 5 * 3
  with convolution.use_form("tensor_cores"):
    assert tracing.count_macs(layer.apply, variables, x).total() == wanted
    jitted = jax.jit(lambda *args: layer.apply(*args))
    jitted.trace(variables, x)
    assert tracing.count_macs(jitted, variables, x).total() == wanted


def test_a_loop_keeps_what_goes_into_cheap_functions_alone():
  x = jnp.ones((3, 4, 4), jnp.bfloat16)

  def wide(x):
    return jnp.sqrt(x.astype(jnp.float32) ** 2 + 1).astype(x.dtype)

  def kept(function):
    def loss(x):
      def body(carry, frame):
        return carry + function(frame), None

      return jax.lax.scan(body, jnp.zeros_like(x[0]), x)[0].sum()

    return {
        var.aval.dtype.name
        for equation in tracing.equations(jax.make_jaxpr(jax.grad(loss))(x))
        if equation.primitive.name == "scan"
        for var in equation.outvars
        if var.aval.shape == x.shape
    }

  assert "float32" in kept(wide)
  assert kept(recomputation.cheap(wide)) <= {"bfloat16"}
