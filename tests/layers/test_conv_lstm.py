"""The ConvLSTM against its equations, and its size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import tracing
from vidrestore_jax.layers.conv_lstm import ConvLSTM, State

FAST = {"xla_backend_optimization_level": 0}


def _count(tree):
  return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _random(layer, channels, seed=0):
  shape = jax.ShapeDtypeStruct((1, 1, 3, 3, channels), jnp.float32)
  rng = np.random.default_rng(seed)
  return jax.tree.map(
      lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32),
      jax.eval_shape(layer.init, jax.random.key(0), shape),
  )


@pytest.fixture(scope="module")
def reference(real_data):
  path = real_data / "reference" / "sr" / "convlstm_peephole.npz"
  with np.load(path) as archive:
    return {name: archive[name] for name in archive.files}


def _variables(reference):
  """The reference's weights as ours: OIHW to HWIO, gates in order."""
  kernels = {
      name: np.concatenate(
          [
              reference[f"W{source}{gate}"].transpose(2, 3, 1, 0)
              for gate in "ifco"
          ],
          -1,
      )
      for name, source in (("input", "x"), ("hidden", "h"))
  }
  params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
  params["input"]["bias"] = np.concatenate(
      [reference[f"b{gate}"] for gate in "ifco"]
  )
  params["peephole"] = np.stack([reference[f"Wc{gate}"] for gate in "ifo"])
  return {"params": jax.tree.map(np.float32, params)}


def _close(ours, theirs):
  """Within five times the float32 noise of the reference, 3.2e-7."""
  bound = max(5 * 3.2e-7, 1e-6 * np.abs(theirs).max())
  error = np.abs(np.asarray(ours) - theirs.transpose(0, 2, 3, 1)).max()
  assert error <= bound, (error, bound)


@pytest.mark.parametrize("unroll", [3, 0])
def test_states_are_those_of_the_equations(reference, unroll):
  layer, variables = ConvLSTM(4, unroll=unroll), _variables(reference)
  x = reference["x"].transpose(0, 2, 3, 1).astype(np.float32)
  state, hidden = jax.jit(layer.apply, compiler_options=FAST)(
      variables, x[None]
  )
  _close(hidden[0], reference["zero_h"])
  _close(state.cell, reference["zero_c"][-1:])
  _close(state.hidden, reference["zero_h"][-1:])

  state = State(*(
      reference[name].transpose(1, 2, 0)[None].astype(np.float32)
      for name in ("c0", "h0")
  ))
  for t in range(3):
    state = layer.apply(variables, state, x[t : t + 1], method="step")
    _close(state.cell, reference["c"][t : t + 1])
    _close(state.hidden, reference["h"][t : t + 1])


def test_it_has_the_parameters_of_the_equations():
  variables = jax.eval_shape(
      ConvLSTM(64).init, jax.random.key(0), jnp.zeros((1, 2, 4, 4, 64))
  )
  params = dict(variables["params"])
  assert params.pop("peephole").shape == (3, 64)
  # Kernels of eight convolutions from 64 to 64 channels, four biases.
  assert _count(params) == 295_168


def test_one_pixel_by_hand():
  """Forget gate of 1/2, input gate of 1/2: c' = c / 2 + tanh(x) / 2."""
  layer = ConvLSTM(1)
  params = jax.tree.map(np.zeros_like, _random(layer, 1))["params"]
  params["input"]["kernel"][1, 1, 0, 2] = 1.0
  params["peephole"][2] = 3.0  # The output gate opens with the new cell.
  state = State(jnp.full((1, 1, 1, 1), 0.8), jnp.zeros((1, 1, 1, 1)))
  state = layer.apply(
      {"params": params}, state, jnp.ones((1, 1, 1, 1)), method="step"
  )
  cell = 0.4 + np.tanh(1.0) / 2
  np.testing.assert_allclose(state.cell, np.reshape(cell, (1, 1, 1, 1)))
  np.testing.assert_allclose(
      state.hidden.item(), np.tanh(cell) / (1 + np.exp(-3 * cell)), rtol=1e-6
  )


def test_loop_and_recomputation_change_no_gradient():
  x = np.random.default_rng(1).normal(size=(2, 3, 4, 5, 2)).astype(np.float32)
  variables = _random(ConvLSTM(3), 2)

  def gradient(**kwargs):
    layer = ConvLSTM(3, **kwargs)

    def loss(variables):
      state, hidden = layer.apply(variables, x)
      return jnp.square(state.cell).sum() + hidden.sum()

    return jax.jit(jax.grad(loss), compiler_options=FAST)(variables)

  plain = gradient()
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(plain))
  for other in (gradient(unroll=0), gradient(remat="step")):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        plain,
        other,
    )


def test_gates_and_cell_stay_float32_where_convolutions_do_not():
  layer = ConvLSTM(3, dtype="bfloat16")
  x = jax.ShapeDtypeStruct((1, 2, 4, 4, 2), jnp.float32)
  variables = jax.eval_shape(layer.init, jax.random.key(0), x)
  results = jax.eval_shape(layer.apply, variables, x)
  leaves = jax.tree.leaves((variables, results))
  assert {leaf.dtype.name for leaf in leaves} == {"float32"}
  convolutions = tracing.convolution_dtypes(layer.apply, variables, x)
  assert set(convolutions) == {"bfloat16"}
