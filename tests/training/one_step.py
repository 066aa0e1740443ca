"""One training step of small models, wherever this is started.

  python one_step.py TASK DTYPE KINDS --workdir=OUT

writes for each of the KINDS, "jit,pmap", a file like OUT/jit.npz, from all the
devices and processes that JAX finds: what was drawn, the gradient, the model's
other variables and the metrics. DTYPE float64 computes everything in it, which
leaves of a difference in rounding nothing.
"""

import functools
import pathlib
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

DTYPE = sys.argv[2]
# ruff: noqa: E402
if DTYPE == "float64":
  # The library asks for float32 by this name, and has to meet another.
  jax.config.update("jax_enable_x64", True)
  jnp.float32 = jnp.float64

from experiments import processes
from vidrestore_jax import models, shapes, tasks
from vidrestore_jax.layers import convolution
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
  """The task and this process's part of its batch of eight."""
  task, batch = whole(name)
  count = 8 // jax.process_count()
  first = count * jax.process_index()
  return task, {
      key: value[first : first + count] for key, value in batch.items()
  }


def whole(name: str):
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


def run(task, batch, kind: str) -> dict:
  """Everything of the first step, by name."""
  mesh = sharding.data_mesh(8)
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
    clean, noisy, level = multihost_utils.process_allgather(
        draw(sharding.to_devices(batch, mesh)), tiled=True
    )
    found |= {"noise": noisy - clean, "level": level}
  return {
      jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
      for path, leaf in jax.tree_util.tree_leaves_with_path(found)
  }


def main(name: str, kinds: list[str], out: pathlib.Path):
  # Two processes first have to meet, as in experiments.main.
  processes.join()
  sharding.connect()
  shapes.DTYPES = (*shapes.DTYPES, DTYPE)
  # Where there is but one device, gradients of kernels are computed in another
  # way; but only what is large, which nothing here is.
  convolution._WORTH_A_LOOP = 0
  banded = mock.Mock(wraps=convolution._summed_over_bands)
  convolution._summed_over_bands = banded
  task, batch = build(name)
  found = {kind: run(task, batch, kind) for kind in kinds}
  assert banded.called == (jax.device_count() == 1)
  if name == "distillation":
    # Freezing is decided by the mean over the batch: just above it and just
    # below, any single example would decide otherwise.
    mean = float(found["jit"]["metrics/time_loss"])
    for word, distillation.GUARD in (
        ("frozen", 1.001 * mean), ("free", 0.999 * mean)
    ):
      for kind in kinds:
        found[f"{word}_{kind}"] = run(task, batch, kind)
  if jax.process_index() == 0:
    out.mkdir()
    for file, content in found.items():
      np.savez(out / file, **content)


if __name__ == "__main__":
  main(
      sys.argv[1],
      sys.argv[3].split(","),
      pathlib.Path(sys.argv[4].removeprefix("--workdir=")),
  )
