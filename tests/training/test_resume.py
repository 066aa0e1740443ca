"""A run that is killed and restarted ends as one that never stopped.

Processes get a session of their own and write to files: SIGKILL leaves grain's
workers behind, which would hold a pipe open, and which belong to the group
that is killed afterwards.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from vidrestore_jax.training import writers

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 36


def start(workdir, log, workers: int, cache):
  """Starts the command in a session of its own; returns the process."""
  command = [
      sys.executable,
      "-m",
      "experiments.main",
      "--config=tests/experiments/tiny.py",
      f"--workdir={workdir}",
      f"--config.steps={STEPS}",
      f"--config.data.workers={workers}",
      "--config.checkpoint_every=3",
      "--config.log_every=2",
  ]
  env = os.environ | {
      "JAX_PLATFORMS": "cpu",
      "JAX_COMPILATION_CACHE_DIR": str(cache),
  }
  with open(log, "w") as file:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdout=file,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(process, log, seconds=300) -> str:
  try:
    assert process.wait(seconds) == 0, log.read_text()
  finally:
    kill_group(process)
  return log.read_text()


def kill_group(process):
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGKILL)
  process.wait()


def kill_after(process, log, step: int, delay: float):
  """SIGKILLs the run `delay` seconds after it logged `step`."""
  deadline = time.monotonic() + 300
  while not any(
      line.startswith("step ") and int(line.split()[1].split("/")[0]) >= step
      for line in log.read_text().splitlines()
      if "/" in line.split("  ")[0]
  ):
    assert process.poll() is None, log.read_text()
    assert time.monotonic() < deadline, log.read_text()
    time.sleep(0.01)
  time.sleep(delay)
  os.kill(process.pid, signal.SIGKILL)  # The main process alone, as the OOM
  process.wait()  # killer would; its workers are orphans now.
  kill_group(process)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
  """A run that never stops, read by the process itself."""
  folder = tmp_path_factory.mktemp("whole")
  log = folder / "log"
  finish(start(folder / "run", log, 0, cache), log)
  return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_three_kills_change_nothing(tmp_path, whole, cache, workers):
  killed, log = tmp_path / "killed", tmp_path / "log"
  rng = random.Random(time.time_ns())
  kills = [
      (rng.randrange(low, low + 8), rng.uniform(0, 0.3)) for low in (4, 14, 24)
  ]
  for step, delay in kills:
    process = start(killed, log, workers, cache)
    kill_after(process, log, step, delay)
  text = finish(start(killed, log, workers, cache), log)
  assert "Goes on from step" in text, text

  summaries = [
      json.loads((folder / "summary.json").read_text())
      for folder in (whole, killed)
  ]
  assert summaries[0]["step"] == STEPS
  assert summaries[0]["params_sha256"] == summaries[1]["params_sha256"], kills
  assert summaries[0]["metrics"] == summaries[1]["metrics"], kills
  logged = [
      [line["step"] for line in writers.read(folder) if "loss" in line]
      for folder in (whole, killed)
  ]
  assert logged[0] == logged[1] == list(range(2, STEPS + 1, 2)), kills
