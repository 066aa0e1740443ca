"""At dtype bfloat16 what sums, divides or takes logarithms stays float32."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import tracing
from experiments.benchmarks import subjects
from tests.models import tiny
from vidrestore_jax import models
from vidrestore_jax.layers import convolution
from vidrestore_jax.layers.attention import ChannelAttention
from vidrestore_jax.layers.deformable_convolution import DeformableConv

# Of entropy, softmax, norms and GDN; a bfloat16 tells 1 from 1.01 and no less.
EXACT = {
    "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "log", "log1p", "pow",
    "rsqrt", "sqrt", "tanh",
}  # fmt: skip
FEW = 4  # Frames, or the pixels of a cell: such a sum loses little.


def summed(equation) -> int:
  """How many values each sum is of, 0 where the equation is no sum."""
  if equation.primitive.name not in ("reduce_sum", "cumsum"):
    return 0
  shape = equation.invars[0].aval.shape
  return math.prod(shape[axis] for axis in equation.params["axes"])


@functools.cache
def program(name, form="usual"):
  """Loss, gradients and metrics of the model in bfloat16, traced."""
  model = models.build(name, **dict(subjects.TINY[name]), dtype="bfloat16")
  run = jax.value_and_grad(tiny.loss(model), has_aux=True)
  with convolution.use_form(form):
    return jax.make_jaxpr(run, return_shape=True)(*tiny.shapes(model))


@pytest.mark.parametrize(
    "name, form",
    [(name, "usual") for name in tiny.NAMES]
    + [("ncfl", "tensor_cores"), ("fastdvdnet", "tensor_cores")],
)
def test_statistics_entropy_and_sums_are_float32(name, form):
  jaxpr, _ = program(name, form)
  found = {"convolutions": 0}
  for equation in tracing.equations(jaxpr.jaxpr):
    kind = equation.primitive.name
    if not any(
        getattr(var.aval, "dtype", None) == jnp.bfloat16
        for var in equation.invars
    ):
      continue
    found["convolutions"] += kind == "conv_general_dilated"
    if kind in EXACT or summed(equation) > FEW:
      found[f"{kind} in {equation.source_info.name_stack}"] = equation
  assert found.pop("convolutions") > 0  # They are what bfloat16 is for.
  assert not found


@pytest.mark.parametrize("name", tiny.NAMES)
def test_losses_gradients_and_what_is_kept_are_float32(name):
  _, ((loss, (state, metrics)), gradients) = program(name)
  for leaf in jax.tree.leaves((loss, state, metrics, gradients)):
    assert leaf.dtype == jnp.float32, leaf


@pytest.mark.parametrize("name", tiny.NAMES)
def test_frames_and_bits_are_float32(name):
  model = models.build(name, **dict(subjects.TINY[name]), dtype="bfloat16")
  params, state = tiny.shapes(model)
  batch = tiny.batch(model)
  clip = batch.get("degraded", batch["clean"]).astype(np.float32)
  noise = clip[:, 0, ..., :1] if model.noise_map else None
  found = jax.eval_shape(model.apply, {"params": params, **state}, clip, noise)
  assert found.frames.dtype == jnp.float32
  for key in {"bits", "rate_map", "flow"} & set(found.aux):
    assert found.aux[key].dtype == jnp.float32, key


LAYERS = {
    "conv": convolution.Conv(2, dtype="bfloat16"),
    "grouped": convolution.GroupedConv(2, dtype="bfloat16"),
    "space_time": convolution.SpaceTimeConv(2, dtype="bfloat16"),
    "transposed": convolution.TransposedConv(2, dtype="bfloat16"),
    "wide": convolution.WideTransposedConv(2, 5, 2, dtype="bfloat16"),
    "deformable": DeformableConv(2, 1, dtype="bfloat16"),
}


@pytest.mark.parametrize("form", ["usual", "tensor_cores"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_bias_gradient_counts_every_pixel(name, form):
  """Summed in bfloat16, 262,144 ones gave 4,096 on a CPU."""
  layer, size = LAYERS[name], (1, 256, 256, 1)
  x = jnp.zeros(size if name != "space_time" else (1, 3, *size[1:]))
  args = (x, x) if name == "deformable" else (x,)
  variables = jax.eval_shape(layer.init, jax.random.key(0), *args)
  variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables)

  def total(variables):
    y = jax.tree.leaves(layer.apply(variables, *args))[0]
    return y.astype(jnp.float32).sum()

  pixels = jax.eval_shape(layer.apply, variables, *args)
  pixels = jax.tree.leaves(pixels)[0].size / 2
  with convolution.use_form(form):
    gradient = jax.jit(jax.grad(total))(variables)["params"]
  gradient = gradient.get("conv", gradient)["bias"]
  np.testing.assert_allclose(gradient, pixels, rtol=1e-2)


def test_attention_learns_from_every_pixel():
  """The gate's gradient is a sum over the frame."""
  layer = ChannelAttention(1, dtype="bfloat16")
  x = jnp.ones((1, 256, 256, 1), jnp.bfloat16)
  variables = jax.eval_shape(layer.init, jax.random.key(0), x)
  variables = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), variables)

  def total(variables, dtype):
    y = layer.clone(dtype=dtype).apply(variables, x.astype(dtype))
    return y.astype(jnp.float32).sum()

  run = jax.jit(jax.grad(total), static_argnums=1)
  exact, found = (run(variables, d)["params"] for d in ("float32", "bfloat16"))
  jax.tree.map(
      lambda f, e: np.testing.assert_allclose(f, e, rtol=2e-2), found, exact
  )
