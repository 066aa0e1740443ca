"""One program on one device and on eight."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments import configuration, train
from tests.training import runs
from vidrestore_jax.training import sharding

ROOT = pathlib.Path(__file__).parents[2]


def test_a_batch_that_does_not_split_names_the_next_size_that_does():
  devices = [jax.devices()[0]] * 4
  with pytest.raises(ValueError) as raised:
    sharding.data_mesh(6, devices)
  assert "batch_size 6 does not split over 4 devices" in str(raised.value)
  assert "--config.batch_size=8" in str(raised.value)


def test_a_batch_takes_the_most_devices_that_it_splits_over(monkeypatch):
  class Device:
    def __init__(self, process, number):
      self.process_index, self.number = process, number

  def fitting(*counts, **options):
    devices = [Device(p, n) for p, c in enumerate(counts) for n in range(c)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    return [
        (device.process_index, device.number)
        for device in sharding.fitting_devices(**options)
    ]

  assert len(fitting(8, batch_size=16)) == 8
  assert fitting(8, batch_size=4) == [(0, 0), (0, 1), (0, 2), (0, 3)]
  assert len(fitting(8, batch_size=9)) == 3
  assert len(fitting(8, batch_size=16, parts=4)) == 4
  # As many of each process, of which none may have nothing to do.
  assert fitting(4, 4, batch_size=4) == [(0, 0), (0, 1), (1, 0), (1, 1)]
  assert fitting(1, 3, batch_size=6) == [(0, 0), (1, 0)]
  assert len(fitting(4, 4, batch_size=3)) == 8  # `data_mesh` refuses it.


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


def test_another_way_to_be_parallel_is_refused_by_name(tmp_path):
  config = configuration.load("tests/experiments/tiny.py", [("parallel", "x")])
  with pytest.raises(ValueError, match="config.parallel.* jit, pmap.*'x'"):
    train.run(config, tmp_path, command="")


# One device alone, where gradients have a form of their own; eight of one
# process; and four of two processes.
PLACES = {
    "one": ("jit", dict(devices=1)),
    "eight": ("jit,pmap", dict(devices=8)),
    "pair": ("jit", dict(devices=2, count=2)),
}


def one_step(folder, place: str, task: str, dtype: str) -> dict[str, dict]:
  """What tests/training/one_step.py finds of a task, by file."""
  kinds, kwargs = PLACES[place]
  run = runs.Run(
      folder / place, (), cache=folder / "cache", **kwargs,
      main=("tests/training/one_step.py", task, dtype, kinds),
  )
  assert not any(run.end()), run.log()
  return {f.stem: dict(np.load(f)) for f in run.workdir.glob("*.npz")}


SLOW = pytest.mark.slow  # A minute each.


@pytest.mark.parametrize(
    ("task", "dtype"),
    [
        ("dncnn", "float32"),
        pytest.param("ncfl", "float32", marks=SLOW),
        # In float32 the input of some ReLU of its many layers is within
        # rounding of zero, and lets a gradient pass or not: 7e-6 to 3e-5 over
        # eight seeds, under jit, and 5e-14 in float64.
        pytest.param("fastdvdnet", "float64", marks=SLOW),
        pytest.param("distillation", "float32", marks=SLOW),
    ],
)
def test_devices_and_processes_make_the_step_of_one_under_jit_and_pmap(
    tmp_path, monkeypatch, task, dtype
):
  monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
  found = {
      (place, kind): step
      for place in PLACES
      for kind, step in one_step(tmp_path, place, task, dtype).items()
  }
  one = found.pop(("one", "jit"))
  names = [name for name in found if name[1] in ("jit", "pmap")]
  assert len(names) == 3
  for name in names:
    other = found[name]
    assert one.keys() == other.keys()
    # Exactly the same draws; adding them to the frame may round differently.
    if "level" in one:
      np.testing.assert_array_equal(one["level"], other["level"])
      np.testing.assert_allclose(one["noise"], other["noise"], atol=1e-6)
    for key, value in one.items():
      if key.startswith(("metrics", "state")):
        np.testing.assert_allclose(
            value, other[key], 1e-5, 1e-6, err_msg=f"{name}: {key}"
        )
    gradients = [
        np.concatenate([side[k].ravel() for k in one if k.startswith("grad")])
        for side in (one, other)
    ]
    error = np.linalg.norm(gradients[1] - gradients[0])
    bound = 1e-5
    if dtype == "float64":
      assert one["metrics/loss"].dtype == np.float64
      bound = 1e-12
    assert error < bound * np.linalg.norm(gradients[0]), name
    if any("norm_" in key for key in one):
      continue  # A bias before a normalisation has no gradient but rounding.
    for key in one:
      if key.startswith("gradient"):
        worst = np.abs(other[key] - one[key]).max() / np.abs(one[key]).max()
        assert worst < 1e-5, f"{name}: {key}"
  for (_, kind), other in found.items():
    if kind not in ("jit", "pmap"):  # Of distillation's guard.
      frozen = float(kind.startswith("frozen"))
      assert other["metrics/conv_lstm_frozen"] == frozen, kind


PARTS = """
import functools, re
import jax, numpy as np, optax
from vidrestore_jax import models, tasks
from vidrestore_jax.training import sharding, step

task = tasks.build(
    "restoration", model=models.build("dncnn", depth=3, width=4),
    degradation=dict(name="noise.gaussian", sigma=(0.1, 0.2)))
batch = dict(
    clean=np.zeros((16, 1, 8, 8, 3), np.uint8),
    max_value=np.ones(16, np.float32), index=np.arange(16))
create = functools.partial(
    step.create_state, task, optax.sgd(0.1), 0, keep_ema=False)
train = functools.partial(
    step.train_step, task=task, tx=optax.sgd(0.1), ema_decay=0.0, accumulate=2)
compiled = sharding.jit_step(train, sharding.data_mesh(16, parts=2))
program = compiled.lower(jax.eval_shape(create, batch), batch).compile()
exchanged = re.findall(
    r" (all-[a-z-]+|collective-[a-z-]+|reduce-scatter)\\(", program.as_text())
print(*sorted(set(exchanged)))
"""


def test_a_part_of_the_batch_is_where_its_examples_are():
  """Devices add up sums, and exchange no examples, between the parts."""
  env = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
  found = subprocess.run(
      [sys.executable, "-c", PARTS],
      check=True, cwd=ROOT, env=env, capture_output=True, text=True,
  )
  assert found.stdout.split() == ["all-reduce"]
