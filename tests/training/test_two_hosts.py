"""Two processes train one model: each clip is read once, and kills cost none.

Each gets a session of its own and writes to files; see test_resume.py.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
STEPS, CLIPS = 24, 40  # A batch of two: an epoch is 20 steps.

# experiments.main, which besides writes down what it reads.
HOST = """
import sys
from experiments import main
from vidrestore_jax.data import pipeline

log = open(sys.argv.pop(1), "a")
read = pipeline._Stream.__next__

def spy(self):
  position = self.get_state()["next_index"]
  batch = read(self)
  print(position, *batch["index"], file=log, flush=True)
  return batch

pipeline._Stream.__next__ = spy
sys.exit(main.main(sys.argv[1:]))
"""


def start(folder, cache):
  """Starts both hosts on `folder`/run; returns the processes."""
  folder.mkdir(exist_ok=True)
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  processes = []
  for host in range(2):
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(host),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "PYTHONPATH": str(ROOT),
    }
    command = [
        sys.executable, "-c", HOST, str(folder / f"read.{host}"),
        "--config=tests/experiments/tiny.py:flow",
        f"--workdir={folder / 'run'}",
        f"--config.steps={STEPS}", "--config.checkpoint_every=3",
        "--config.log_every=1",
    ]
    with open(folder / f"log.{host}", "w") as file:
      processes.append(
          subprocess.Popen(
              command, cwd=ROOT, env=env, stdout=file,
              stderr=subprocess.STDOUT, start_new_session=True,
          )
      )
  return processes


def logs(folder) -> str:
  return "\n".join((folder / f"log.{host}").read_text() for host in range(2))


def kill(processes):
  for process in processes:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
  for process in processes:
    process.wait()


def finish(processes, folder) -> dict:
  """Waits for both; what the run summed up."""
  try:
    for process in processes:
      assert process.wait(300) == 0, logs(folder)
  finally:
    kill(processes)
  return json.loads((folder / "run" / "summary.json").read_text())


def kill_after(processes, folder, step: int):
  deadline = time.monotonic() + 300
  done = 0
  while done < step:
    assert all(p.poll() is None for p in processes), logs(folder)
    assert time.monotonic() < deadline, logs(folder)
    time.sleep(0.01)
    found = re.findall(rf"step (\d+)/{STEPS}", logs(folder))
    done = max(map(int, found), default=0)
  kill(processes)


def read(folder) -> list[dict[int, tuple]]:
  """What each host read: {position: records}; read again, it is the same."""
  hosts = []
  for host in range(2):
    batches = collections.defaultdict(set)
    for line in (folder / f"read.{host}").read_text().splitlines():
      position, *records = map(int, line.split())
      batches[position].add(tuple(records))
    assert all(len(found) == 1 for found in batches.values())
    hosts.append({p: found.pop() for p, found in batches.items()})
  return hosts


@pytest.mark.slow  # Four starts of two processes: a minute.
def test_two_hosts_read_every_clip_once_and_resume_after_both_are_killed(
    tmp_path,
):
  cache = tmp_path / "cache"
  whole = finish(start(tmp_path / "whole", cache), tmp_path / "whole")
  killed = tmp_path / "killed"
  for step in (5, 14):
    kill_after(start(killed, cache), killed, step)
  summary = finish(start(killed, cache), killed)
  assert "Goes on from step" in logs(killed)

  hosts = read(killed)
  assert hosts == read(tmp_path / "whole")
  epochs = [
      [record for p in range(CLIPS // 2) for record in host[p]]
      for host in hosts
  ]
  assert [len(epoch) for epoch in epochs] == [CLIPS // 2, CLIPS // 2]
  assert sorted(epochs[0] + epochs[1]) == list(range(CLIPS))

  assert summary["step"] == whole["step"] == STEPS
  assert summary["params_sha256"] == whole["params_sha256"]
  assert summary["metrics"] == whole["metrics"]
