"""A run that is ended and restarted ends as one that never stopped."""

import json
import random
import re
import signal
import time

import pytest

from tests.training import runs
from vidrestore_jax.training import writers

STEPS = 36


def start(folder, cache, workers: int):
  arguments = [
      runs.TINY, f"--config.steps={STEPS}", f"--config.data.workers={workers}",
      "--config.checkpoint_every=3", "--config.log_every=2",
      "--config.eval_every=4",
  ]
  return runs.Run(folder, arguments, cache=cache)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
  """A run that never stops, read by the process itself."""
  run = start(tmp_path_factory.mktemp("whole"), cache, 0)
  run.finish()
  return run.workdir


def check_same(whole, run, hint=None):
  """Asserts that both ended with the same parameters, numbers and log."""
  summaries = [
      json.loads((folder / "summary.json").read_text())
      for folder in (whole, run.workdir)
  ]
  assert summaries[0]["step"] == STEPS
  assert summaries[0]["params_sha256"] == summaries[1]["params_sha256"], hint
  assert summaries[0]["metrics"] == summaries[1]["metrics"], hint
  logged = [
      [line["step"] for line in writers.read(folder) if "loss" in line]
      for folder in (whole, run.workdir)
  ]
  assert logged[0] == logged[1] == list(range(2, STEPS + 1, 2)), hint
  scores = [
      [line for line in writers.read(folder) if "loss" not in line]
      for folder in (whole, run.workdir)
  ]
  assert [line["step"] for line in scores[0]] == list(range(4, STEPS + 1, 4))
  assert scores[0] == scores[1], hint


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_three_kills_change_nothing(tmp_path, whole, cache, workers):
  rng = random.Random(time.time_ns())
  kills = [
      (rng.randrange(low, low + 8), rng.uniform(0, 0.3)) for low in (4, 14, 24)
  ]
  for step, delay in kills:
    run = start(tmp_path, cache, workers)
    run.wait_for(step)
    time.sleep(delay)
    run.send(signal.SIGKILL)  # As the OOM killer would; its workers are
    assert run.end(60) == [-signal.SIGKILL]  # orphans now, and end as well.
  run = start(tmp_path, cache, workers)
  run.finish()
  assert "Goes on from step" in run.log()
  check_same(whole, run, kills)


@pytest.mark.slow
def test_sigterm_saves_and_leaves_and_nothing_is_lost(tmp_path, whole, cache):
  run = start(tmp_path, cache, 2)
  run.wait_for(0)  # It compiles: nothing to save.
  run.send(signal.SIGTERM)
  assert run.end(60) == [128 + signal.SIGTERM]
  assert "SIGTERM: nothing to save." in run.log()
  for step, further in ((4, ()), (14, (signal.SIGTERM, signal.SIGINT))):
    run = start(tmp_path, cache, 2)
    run.wait_for(step)
    run.send_to_all(signal.SIGTERM)  # As a scheduler does.
    for number in further:  # While it saves.
      time.sleep(0.05)
      run.send_to_all(number)
    assert run.end(120)[0] in (128 + signal.SIGTERM, 130), run.log()
    saved = re.search(r"^Step (\d+) is saved; leaves", run.log(), re.M)
    assert further or int(saved[1]) >= step
  run = start(tmp_path, cache, 2)
  run.finish()
  assert "Goes on from step" in run.log()
  check_same(whole, run)
