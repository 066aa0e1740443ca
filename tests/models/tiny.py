"""The models that train, as small as they get, and a loss of each."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vidrestore_jax import models, tasks

_MOTION = dict(levels=2, widths=(4, 4), kernel=3)
_STAGE = dict(widths=(4, 4, 4), interm=2)
ARGUMENTS = {
    "ncfl": dict(
        widths=(8, 12),
        feature_channels=8,
        attention_widths=(4, 8),
        attention_blocks=1,
        attention_middle_blocks=1,
        motion_channels=8,
        hidden_channels=8,
        latent_channels=8,
        prior_channels=(8, 8),
        reduction=4,
        motion=_MOTION,
    ),
    "fastdvdnet": _STAGE,
    "fastdvdnet_vsr": _STAGE | dict(hr_channels=4),
    "fitvnet": dict(image=dict(width=4, output_widths=(4, 4)), video=_STAGE),
    "edvr": dict(
        frames=3,
        width=8,
        extraction_blocks=1,
        reconstruction_blocks=1,
        deformable_groups=2,
    ),
    "basicvsr": dict(width=4, blocks=1, motion=_MOTION),
    "basicvsrpp": dict(width=8, blocks=1, motion=_MOTION),
    "duf": dict(layers=16),
    "conv_lstm": dict(embedding=4, hidden=4),
}


def build(name, **changes):
  """The model, without a quantiser: it rounds, which no bound holds for."""
  arguments = dict(ARGUMENTS[name])
  if name == "ncfl":
    arguments["feature_refiner"] = "noq"
  return models.build(name, **arguments | changes)


def task(model):
  """Restoration by the model, of noise where it is told of noise."""
  degradation = None
  if model.noise_map:
    degradation = {"name": "noise.gaussian", "sigma": (5 / 255, 55 / 255)}
  return tasks.build(
      "restoration", model=model, degradation=degradation, **_rate(model)
  )


def _rate(model):
  rated = getattr(model, "compression", None) is not None
  return dict(rate_weight=1e-2, rate_steps=10) if rated else {}


def batch(model, size=2, frames=2, side=None):
  """Random clips as the pipeline hands them on."""
  if model.radius is not None:
    frames = 2 * model.radius + 1
  side = side or max(model.stride, 8)
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


def loss(model, batch):
  """(params, model state) to the pair (loss, (model state, metrics))."""
  return functools.partial(
      _loss, task(model), jax.tree.map(jnp.asarray, batch)
  )


def _loss(task, batch, params, state):
  return task.loss(params, state, batch, jax.random.key(0), 0)


def shapes(model):
  """Parameters and model state, as shapes."""
  return jax.eval_shape(task(model).init, jax.random.key(0), batch(model))


def draw(tree):
  """Variables of such shapes: nothing grows, and no ReLU shuts for good."""
  generator = np.random.default_rng(1)

  def leaf(path, leaf):
    name = path[-1].key
    if name == "kernel":
      spread = np.sqrt(1 / np.prod(leaf.shape[:-1]))
      return np.float32(spread * generator.standard_normal(leaf.shape))
    if name == "gamma":  # Of a GDN, as a square root.
      return np.float32(np.sqrt(0.1) * np.eye(*leaf.shape))
    start = 1.0 if name in ("scale", "var", "beta") else 0.0
    return np.float32(start + 0.1 * generator.standard_normal(leaf.shape))

  return jax.tree_util.tree_map_with_path(leaf, tree)
