"""One training step of small models on one device and on eight.

  python one_step.py TASK DTYPE OUT

writes OUT/one.npz (one device), OUT/jit.npz and OUT/pmap.npz (eight): what was
drawn, the gradient, the model's other variables and the metrics. DTYPE float64
computes everything in it, which leaves of a difference in rounding nothing.
"""

import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

DTYPE = sys.argv[2]
# ruff: noqa: E402
if DTYPE == "float64":
  # The library asks for float32 by this name, and has to meet another.
  jax.config.update("jax_enable_x64", True)
  jnp.float32 = jnp.float64

from vidrestore_jax import models, shapes, tasks
from vidrestore_jax.tasks import distillation
from vidrestore_jax.training import sharding
from vidrestore_jax.training import step as steps

# The quantiser is off: where a latent lies within rounding of a half, another
# order of summation may flip it, and everything after it differs.
NCFL = dict(
    name="ncfl", feature_refiner="noq", widths=(8, 12), attention_widths=(4, 8),
    attention_blocks=0, attention_middle_blocks=1, feature_channels=8,
    hidden_channels=8, latent_channels=8, prior_channels=(8, 8),
    motion_channels=8, reduction=4,
    motion=dict(levels=2, widths=(4, 4), kernel=3),
)
NOISE = dict(name="noise.gaussian", sigma=(5 / 255, 55 / 255))
RESTORATION = {
    "ncfl": (NCFL, dict(rate_weight=1 / 2048, rate_steps=10), 2),
    # Normalised by the statistics of the batch.
    "dncnn": (dict(name="dncnn", depth=4, width=6), dict(error="half_sse"), 1),
    "fastdvdnet": (
        dict(name="fastdvdnet", widths=(4, 8, 8)), dict(error="half_sse"), 5
    ),
}


def build(name: str):
  """The task and its batch of eight."""
  rng = np.random.default_rng(0)
  batch = dict(
      max_value=np.full(8, 255, np.float32),
      index=np.arange(100, 108, dtype=np.int32),
  )

  def clips(frames, side):
    return rng.integers(0, 256, (8, frames, side, side, 3), dtype=np.uint8)

  if name == "distillation":
    task = tasks.build(
        name,
        model=models.build("vdsr", depth=2, width=3, scale=2),
        teacher=dict(name="vdsr", depth=3, width=4, scale=2, init_from=""),
        conv_lstm=dict(
            init_from="", features=2, remat="none", trained=True
        ),
        lambda_sd=0.5,
        lambda_td=2.0,
    )
    return task, batch | dict(clean=clips(3, 8), degraded=clips(3, 4))
  model, arguments, frames = RESTORATION[name]
  task = tasks.build(
      "restoration",
      model=models.build(**model, dtype=DTYPE),
      degradation=NOISE,
      **arguments,
  )
  return task, batch | dict(clean=clips(frames, 16))


def run(task, batch, kind: str, devices: int) -> dict:
  """Everything of the first step, by name."""
  mesh = sharding.data_mesh(8, jax.devices()[:devices])
  # An optimizer whose state is the gradient.
  gradient = optax.GradientTransformation(
      lambda params: jax.tree.map(jnp.zeros_like, params),
      lambda grads, state, params: (grads, grads),
  )
  create = functools.partial(
      steps.create_state, task, gradient, 7, keep_ema=False
  )
  compile_step, place = sharding.PARALLEL[kind]
  step = compile_step(
      functools.partial(
          steps.train_step, task=task, tx=gradient, ema_decay=0.0
      ),
      mesh,
  )
  state = sharding.jit_init(create, mesh)(batch)
  state, metrics = step(state, place(batch, mesh))
  found = {
      "gradient": state.opt_state, "state": state.model_state,
      "metrics": metrics,
  }
  if hasattr(task, "draw"):
    draw = jax.jit(lambda batch: task.draw(batch, jax.random.key(3)))
    clean, noisy, level = draw(sharding.to_devices(batch, mesh))
    found |= {"noise": noisy - clean, "level": level}
  return {
      jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
      for path, leaf in jax.tree_util.tree_leaves_with_path(found)
  }


def main(name: str, out: pathlib.Path):
  assert jax.device_count() == 8
  shapes.DTYPES = (*shapes.DTYPES, DTYPE)
  task, batch = build(name)
  for file, kind, devices in (
      ("one", "jit", 1), ("jit", "jit", 8), ("pmap", "pmap", 8)
  ):
    np.savez(out / file, **run(task, batch, kind, devices))
  if name == "distillation":
    # Freezing is decided by the mean over the batch: just above it and just
    # below, any single example would decide otherwise.
    mean = float(np.load(out / "one.npz")["metrics/time_loss"])
    for word, distillation.GUARD in (
        ("frozen", 1.001 * mean), ("free", 0.999 * mean)
    ):
      for kind in sharding.PARALLEL:
        np.savez(out / f"{word}_{kind}", **run(task, batch, kind, 8))


if __name__ == "__main__":
  main(sys.argv[1], pathlib.Path(sys.argv[3]))
