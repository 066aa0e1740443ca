"""The loop on a small task: what it logs, saves, evaluates and refuses."""

import functools
import json
import os
import subprocess
import sys

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training import runs
from vidrestore_jax.training import loop, sharding, step, writers
from vidrestore_jax.training.checkpoints import Checkpoints


class Fit:
  """A task: w tends to the mean of x, with noise that is keyed by the step.

  It keeps running statistics, as a model with batch normalisation does.
  """

  def init(self, key, batch):
    del batch
    statistics = {"batch_stats": {"mean": jnp.zeros(3)}}
    return {"fit": {"kernel": jax.random.normal(key, (3,))}}, statistics

  def loss(self, params, model_state, batch, key, step):
    noise = 0.1 * jax.random.normal(key, (3,))
    error = params["fit"]["kernel"] + noise - batch["x"].mean(0)
    mse = jnp.mean(error**2)
    mean = 0.9 * model_state["batch_stats"]["mean"] + 0.1 * batch["x"].mean(0)
    return mse, ({"batch_stats": {"mean": mean}}, {"mse": mse})


def iterator(data):
  def item(i):
    return {"x": data[i], "index": np.int32(i)}

  dataset = grain.MapDataset.range(len(data)).seed(1).shuffle().map(item)
  return iter(dataset.repeat().batch(4).to_iter_dataset())


def run(folder, steps=20, data=None, say=lambda line: None, **changes):
  """A whole run; returns the last state on the host."""
  if data is None:
    data = np.random.default_rng(0).random((32, 3), np.float32)
  mesh = sharding.data_mesh(4, jax.devices()[:1])
  tx = optax.adam(1e-2)
  create = functools.partial(step.create_state, Fit(), tx, 5, keep_ema=True)
  state = sharding.jit_init(create, mesh)({})
  batches = iterator(data)
  checkpoints = Checkpoints(folder / "checkpoints", keep=2, say=say)
  state, start = checkpoints.restore(state, batches)
  writer = writers.Writer(folder, step=start)
  options = dict(
      steps=steps,
      train_step=sharding.jit_step(
          functools.partial(
              step.train_step, task=Fit(), tx=tx, ema_decay=0.9
          ),
          mesh,
      ),
      to_devices=lambda batch: sharding.to_devices(batch, mesh),
      checkpoints=checkpoints,
      writer=writer,
      learning_rates=lambda step: {"main": 1e-2 / (1 + step)},
      evaluate=None,
      log_every=5,
      eval_every=0,
      checkpoint_every=4,
      say=say,
  )
  try:
    state = loop.run(state, batches, **(options | changes))
  finally:
    writer.close()
    checkpoints.close()
  return jax.device_get(state)


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_run_stopped_anywhere_ends_like_one_that_never_was(tmp_path):
  whole = run(tmp_path / "whole")
  assert whole.step == 20

  class StoppedError(Exception):
    pass

  def stop_at(last):
    made = 0

    def to_devices(batch):
      nonlocal made
      made += 1
      if made > last:
        raise StoppedError
      return jax.tree.map(jnp.asarray, batch)

    return to_devices

  for steps in (3, 6, 9):  # Counted from each resumption.
    with pytest.raises(StoppedError):
      run(tmp_path / "parts", to_devices=stop_at(steps))
  resumed = run(tmp_path / "parts")
  assert resumed.model_state["batch_stats"]["mean"].all()
  assert_same(whole, resumed)
  lines = [line["step"] for line in writers.read(tmp_path / "parts")]
  assert lines == [5, 10, 15, 20]  # None twice, none left out.


def test_a_run_that_is_told_to_stop_saves_that_step_and_measures_it_later(
    tmp_path
):
  whole, asked = run(tmp_path / "whole", steps=9), []

  def stop():
    asked.append(True)
    return len(asked) == 7

  def evaluate(state):
    raise AssertionError("it is to leave")

  stopped = run(
      tmp_path / "parts", steps=9, stop=stop, evaluate=evaluate, eval_every=7
  )
  assert stopped.step == len(asked) == 7
  assert (tmp_path / "parts" / "checkpoints" / "7").is_dir()
  scores = {7: 30.0, 9: 31.0}
  for _ in range(2):  # Once it is finished, nothing is measured again.
    again = run(
        tmp_path / "parts", steps=9, eval_every=7,
        evaluate=lambda state: ({"psnr": scores[int(state.step)]}, {}),
    )
    assert_same(whole, again)
    lines = writers.read(tmp_path / "parts")
    logged = [
        (line["step"], line["eval/psnr"])
        for line in lines if "eval/psnr" in line
    ]
    assert logged == list(scores.items())


def test_a_finished_run_changes_nothing(tmp_path):
  assert_same(run(tmp_path), run(tmp_path))


def test_the_log_holds_means_rates_and_speed(tmp_path):
  seen = []

  def spy(state, batch, *, inner):
    state, metrics = inner(state, batch)
    seen.append(jax.device_get(metrics))
    return state, metrics

  mesh = sharding.data_mesh(4, jax.devices()[:1])
  inner = sharding.jit_step(
      functools.partial(
          step.train_step, task=Fit(), tx=optax.adam(1e-2), ema_decay=0.9
      ),
      mesh,
  )
  said = []
  run(
      tmp_path,
      train_step=functools.partial(spy, inner=inner),
      say=said.append,
  )
  line = writers.read(tmp_path)[1]
  assert line["step"] == 10
  expected = np.mean([metrics["mse"] for metrics in seen[5:10]])
  np.testing.assert_allclose(line["mse"], expected, rtol=1e-6)
  # The rate that made step 10, which is the schedule's at 9.
  np.testing.assert_allclose(line["learning_rate/main"], 1e-2 / 10)
  np.testing.assert_allclose(
      line["step_ms"] * line["clips_per_s"], 4000, rtol=1e-9
  )
  assert "fit/kernel" in said[0]  # The overview of parameters.
  assert any(s.startswith("step 10/20") and "left" in s for s in said)


def test_the_next_batch_is_sent_before_the_last_step_is_waited_for(
    tmp_path, monkeypatch
):
  """So a device that is fed in time computes without a pause."""
  events = []
  mesh = sharding.data_mesh(4, jax.devices()[:1])
  inner = sharding.jit_step(
      functools.partial(
          step.train_step, task=Fit(), tx=optax.adam(1e-2), ema_decay=0.9
      ),
      mesh,
  )

  def to_devices(batch):
    events.append("send")
    return sharding.to_devices(batch, mesh)

  def train_step(state, batch):
    events.append("step")
    return inner(state, batch)

  def device_get(tree):
    if isinstance(tree, dict) and "finite" in tree:
      events.append("wait")
    return jax.device_get(tree)

  class Jax:
    """The loop's jax, with an ear at the metrics."""

    def __getattr__(self, name):
      return device_get if name == "device_get" else getattr(jax, name)

  monkeypatch.setattr(loop, "jax", Jax())
  run(
      tmp_path, steps=6, to_devices=to_devices, train_step=train_step,
      log_every=4, checkpoint_every=0,
  )
  one = ["send", "step"]
  assert events == [
      *one, *one, "wait", *one, "wait", *one, "wait",
      "wait",  # Step 4 is logged.
      *one, *one, "wait", "wait",
  ]


def test_the_log_shows_what_the_data_counts(tmp_path):
  counted, said = iter((0, 3)), []
  run(
      tmp_path, steps=10, counts=lambda: {"skipped": next(counted)},
      say=said.append,
  )
  lines = [line for line in said if line.startswith("step ") and "/" in line]
  assert [line.endswith("  skipped 3") for line in lines] == [False, True]
  logged = [line["skipped"] for line in writers.read(tmp_path)]
  assert logged == [0, 3]


def test_evaluation_is_logged_and_decides_which_checkpoint_is_best(tmp_path):
  scores = {6: 30.0, 12: 35.0, 18: 31.0, 20: 32.0}

  def evaluate(state):
    picture = np.zeros((8, 8, 3), np.uint8)
    return {"psnr": scores[int(state.step)]}, {"clip": picture}

  run(tmp_path, evaluate=evaluate, eval_every=6)
  lines = writers.read(tmp_path)
  logged = {
      line["step"]: line["eval/psnr"] for line in lines if "eval/psnr" in line
  }
  assert logged == scores
  kept = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
  assert kept == [12, 18, 20]  # The newest two and the best.


def test_a_step_that_is_not_finite_stops_the_run_and_saves_nothing(tmp_path):
  data = np.random.default_rng(0).random((32, 3), np.float32)
  batches = iterator(data)
  order = [next(batches) for _ in range(7)]
  bad = int(order[6]["index"][2])  # First drawn in step 7, the bad one.
  assert all(bad not in batch["index"] for batch in order[:6])
  data[bad] = np.nan
  with pytest.raises(loop.NonFiniteError) as raised:
    run(tmp_path, data=data)
  message = str(raised.value)
  assert message.startswith("Step 7 was not finite (")
  assert str(tmp_path / "checkpoints" / "4") in message
  assert ", ".join(str(i) for i in order[6]["index"]) in message
  assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["4"]


def test_a_bad_step_is_found_before_it_would_be_saved(tmp_path):
  data = np.random.default_rng(0).random((32, 3), np.float32)
  batches = iterator(data)
  order = [next(batches) for _ in range(4)]
  data[int(order[3]["index"][0])] = np.inf  # Step 4 is also a saving step.
  with pytest.raises(loop.NonFiniteError, match=r"Step 4 .*no checkpoint yet"):
    run(tmp_path, data=data)
  assert list((tmp_path / "checkpoints").iterdir()) == []


def test_pytorch_is_not_imported_to_write_what_tensorboard_reads(tmp_path):
  (tmp_path / "torch.py").write_text("Tensor = tuple")
  script = (
      "import sys; from vidrestore_jax.training import writers;"
      "assert 'torch' not in sys.modules; import torch"
  )
  path = os.pathsep.join((str(tmp_path), str(runs.ROOT)))
  subprocess.run(
      [sys.executable, "-c", script], check=True,
      env=os.environ | {"PYTHONPATH": path},
  )


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path):
  writer = writers.Writer(tmp_path, step=0)
  for i in (5, 10, 15):
    writer.scalars(i, {"loss": 1 / i})
  writer.close()
  file = tmp_path / writers.METRICS
  file.write_text(file.read_text() + '{"step": 20, "lo')
  writers.Writer(tmp_path, step=10).close()
  lines = [json.loads(line) for line in file.read_text().splitlines()]
  assert lines == [
      {"step": 5, "loss": 0.2},
      {"step": 10, "loss": 0.1},
  ]
