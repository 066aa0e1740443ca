"""What tests of models of super-resolution measure: size, cost and reach."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments import complexity

_OPTIONS = {"xla_backend_optimization_level": 0}


def cost(model, *, width: int = 180, height: int = 120):
  """Parameters and multiply-accumulates of one frame of the input size."""
  total, _ = complexity.measure(model, width=width, height=height)
  return total.params, total.macs


def shapes(model, size: int = 8):
  """The model's variables, as shapes."""
  window = jax.ShapeDtypeStruct(
      (1, 2 * model.radius + 1, size, size, model.channels), jnp.float32
  )
  return jax.eval_shape(model.init, jax.random.key(0), window, None)


def averaging(model, size: int = 8):
  """Variables that shut no ReLU: kernels that average, no biases."""
  generator = np.random.default_rng(0)

  def draw(path, leaf):
    name = path[-1].key
    if name in ("scale", "var"):
      return np.ones(leaf.shape, np.float32)
    if name != "kernel":
      return np.zeros(leaf.shape, np.float32)
    weights = generator.uniform(0.5, 1.5, leaf.shape)
    return (weights / weights[..., 0].size).astype(np.float32)

  return jax.tree_util.tree_map_with_path(draw, dict(shapes(model, size)))


def apply(model, variables, window, **given):
  """`Restored` of a window, compiled as cheaply as can be."""
  return jax.jit(model.apply, compiler_options=_OPTIONS)(
      variables, window, None, **given
  )


def reach(model, variables, *, rows: int, columns: int, frame: int) -> int:
  """How far, in pixels of the input, outputs depend on the frame's two ends.

  Args:
    model: a windowed model.
    variables: its variables.
    rows, columns: of the frames.
    frame: of the window, of which the first or last column is changed.
  """
  shape = (1, 2 * model.radius + 1, rows, columns, model.channels)
  window = np.random.default_rng(1).uniform(0.2, 0.8, shape)
  window = window.astype(np.float32)

  @functools.partial(jax.jit, compiler_options=_OPTIONS)
  def derivative(window, change):
    def frames(window):
      return model.apply(variables, window, None).frames

    return jax.jvp(frames, (window,), (change,))[1]

  distances = []
  for column in (0, columns - 1):
    change = np.zeros_like(window)
    change[:, frame, :, column] = 1
    moved = np.abs(derivative(window, change)).max((0, 1, 3))
    pixels = np.nonzero(moved)[0] // model.scale
    distances.append(np.abs(pixels - column).max())
  return max(distances)
