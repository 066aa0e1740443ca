"""One program on one device and on eight."""

import json
import os
import pathlib
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest

from vidrestore_jax.training import sharding

ROOT = pathlib.Path(__file__).parents[2]


def test_a_batch_that_does_not_split_names_the_next_size_that_does():
  devices = [jax.devices()[0]] * 4
  with pytest.raises(ValueError) as raised:
    sharding.data_mesh(6, devices)
  assert "batch_size 6 does not split over 4 devices" in str(raised.value)
  assert "--config.batch_size=8" in str(raised.value)


def test_a_batch_comes_back_from_the_devices_unchanged():
  mesh = sharding.data_mesh(2, jax.devices()[:1])
  batch = {"clean": np.arange(24, dtype=np.uint8).reshape(2, 3, 4)}
  on_device = sharding.to_devices(batch, mesh)
  assert on_device["clean"].dtype == np.uint8
  np.testing.assert_array_equal(on_device["clean"], batch["clean"])


def test_a_step_gives_its_state_away():
  mesh = sharding.data_mesh(1, jax.devices()[:1])
  step = sharding.jit_step(lambda s, b: ({"w": s["w"] + b.sum()}, {}), mesh)
  state = sharding.replicate({"w": np.zeros(4, np.float32)}, mesh)
  after, _ = step(state, sharding.to_devices(np.ones((1, 2)), mesh))
  np.testing.assert_array_equal(after["w"], 2.0)
  assert state["w"].is_deleted()


# The quantiser is off: where a latent lies within rounding of a half, another
# order of summation may flip it, and everything after it differs.
GRADIENTS = textwrap.dedent("""
    import functools, hashlib, json, sys
    import jax, numpy as np
    from vidrestore_jax import models, tasks
    from vidrestore_jax.training import sharding

    model = models.build(
        "ncfl", feature_refiner="noq", widths=(8, 12), attention_widths=(4, 8),
        attention_blocks=0, attention_middle_blocks=1, feature_channels=8,
        hidden_channels=8, latent_channels=8, prior_channels=(8, 8),
        motion_channels=8, reduction=4,
        motion=dict(levels=2, widths=(4, 4), kernel=3))
    task = tasks.build(
        "restoration", model=model,
        degradation=dict(name="noise.gaussian", sigma=(5 / 255, 55 / 255)),
        rate_weight=1 / 2048, rate_steps=10)
    rng = np.random.default_rng(0)
    batch = dict(
        clean=rng.integers(0, 256, (8, 2, 16, 16, 3), dtype=np.uint8),
        max_value=np.full(8, 255, np.float32),
        index=np.arange(100, 108, dtype=np.int32))
    mesh = sharding.data_mesh(8)
    params, _ = sharding.jit_init(
        lambda b: task.init(jax.random.key(1), b), mesh)(batch)

    def step(params, batch):
      key = jax.random.fold_in(jax.random.key(7), 3)
      (loss, _), grads = jax.value_and_grad(task.loss, has_aux=True)(
          params, {}, batch, key, 3)
      from vidrestore_jax.tasks import losses
      keys = losses.example_keys(key, batch["index"])
      clean = losses.to_unit_range(batch["clean"], batch["max_value"])
      noisy, level = jax.vmap(task.degrade)(keys, clean)
      return loss, grads, noisy - clean, level

    given = sharding.to_devices(batch, mesh)
    loss, grads, noise, level = jax.jit(step)(params, given)
    leaves = {"/".join(str(k.key) for k in path): np.asarray(leaf)
              for path, leaf in jax.tree_util.tree_leaves_with_path(grads)}
    np.savez(sys.argv[1], loss=loss, noise=noise, level=level,
             devices=len(given["clean"].sharding.device_set), **leaves)
""")


def run_on(devices: int, folder) -> dict:
  out = folder / f"{devices}.npz"
  env = os.environ | {
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
      "JAX_PLATFORMS": "cpu",
  }
  subprocess.run(
      [sys.executable, "-c", GRADIENTS, str(out)],
      check=True,
      cwd=ROOT,
      env=env,
  )
  return dict(np.load(out))


def test_eight_devices_draw_the_noise_and_gradients_of_one(tmp_path):
  one, eight = run_on(1, tmp_path), run_on(8, tmp_path)
  assert int(one.pop("devices")) == 1 and int(eight.pop("devices")) == 8
  # Exactly the same draws; adding them to the frame may round differently.
  np.testing.assert_array_equal(one.pop("level"), eight.pop("level"))
  np.testing.assert_allclose(one.pop("noise"), eight.pop("noise"), atol=1e-6)
  np.testing.assert_allclose(one.pop("loss"), eight.pop("loss"), rtol=1e-5)
  worst = {}
  for name, gradient in one.items():
    scale = np.abs(gradient).max()
    worst[name] = float(np.abs(gradient - eight[name]).max() / scale)
    assert scale > 0, f"{name} has no gradient"
  assert max(worst.values()) < 1e-5, json.dumps(worst, indent=1)
