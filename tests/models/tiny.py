"""Models that train with a policy of what to keep, small, and their loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import subjects
from vidrestore_jax import models, tasks

NAMES = (
    "ncfl", "fastdvdnet", "fastdvdnet_vsr", "fitvnet", "edvr", "basicvsr",
    "basicvsrpp", "duf", "conv_lstm",
)  # fmt: skip


def build(name, **changes):
  """The model, without a quantiser: it rounds, which no bound holds for."""
  arguments = dict(subjects.exact(name, subjects.TINY[name]))
  return models.build(name, **arguments | changes)


def task(model):
  """Restoration by the model, of noise where it is told of noise."""
  degradation, rated = None, {}
  if model.noise_map:
    degradation = {"name": "noise.gaussian", "sigma": (5 / 255, 55 / 255)}
  if subjects.rounds(model):
    rated = {"rate_weight": 1e-2, "rate_steps": 10}
  return tasks.build(
      "restoration", model=model, degradation=degradation, **rated
  )


def batch(model, size=2, frames=2):
  """Random clips as the pipeline hands them on."""
  if model.radius is not None:
    frames = 2 * model.radius + 1
  side = max(model.stride, 8)
  generator = np.random.default_rng(0)

  def draw(side):
    shape = (size, frames, side, side, model.channels)
    return generator.integers(0, 256, shape, np.uint8)

  clips = {
      "clean": draw(side * model.scale),
      "max_value": np.full(size, 255, np.float32),
      "index": np.arange(size, dtype=np.int32),
  }
  return clips if model.noise_map else clips | {"degraded": draw(side)}


def loss(model):
  """(params, model state) to the pair (loss, (model state, metrics))."""
  clips = jax.tree.map(jnp.asarray, batch(model))
  return functools.partial(_loss, task(model), clips)


def _loss(task, batch, params, state):
  return task.loss(params, state, batch, jax.random.key(0), 0)


def shapes(model):
  """Parameters and model state, as shapes."""
  return jax.eval_shape(task(model).init, jax.random.key(0), batch(model))


def variables(name):
  """Parameters and model state of `build(name)`."""
  arguments = subjects.exact(name, subjects.TINY[name])
  drawn = dict(subjects.weights(name, arguments))
  return drawn.pop("params"), drawn
