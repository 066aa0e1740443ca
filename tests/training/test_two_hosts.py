"""Two processes train one model: each clip is read once, and ends cost none."""

import collections
import signal

import pytest

from tests.training import runs

STEPS, CLIPS = 60, 40  # A batch of two: an epoch is 20 steps.
ARGUMENTS = (
    f"{runs.TINY}:flow", f"--config.steps={STEPS}",
    "--config.checkpoint_every=3", "--config.log_every=1",
)

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


def start(folder, cache, host=HOST, *more, **kwargs):
  return runs.Run(
      folder, [*ARGUMENTS, *more], cache=cache, count=2,
      main=("-c", host, f"{folder}/read.{{process}}"), **kwargs,
  )


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


@pytest.mark.slow  # Seven starts of two processes: minutes.
def test_two_hosts_read_every_clip_once_and_resume_whichever_is_ended(
    tmp_path,
):
  cache = tmp_path / "cache"
  whole = start(tmp_path / "whole", cache).finish()
  folder = tmp_path / "ended"
  for step, number, process in (
      (4, signal.SIGTERM, 0),
      (12, signal.SIGKILL, 1),
      (20, signal.SIGTERM, 1),
      (28, signal.SIGKILL, 0),
      (36, signal.SIGKILL, None),  # Both.
  ):
    run = start(folder, cache)
    run.wait_for(step)
    if process is None:
      run.kill()
      continue
    run.send(number, process)
    # Two seconds, where nothing else runs; but where one that is killed was
    # awaited to save, until its heartbeat is missed.
    statuses = run.end(30 if number == signal.SIGTERM else 120)
    if number == signal.SIGTERM:
      assert statuses == [128 + signal.SIGTERM] * 2, run.log()
      assert run.log().count("is saved; leaves on SIGTERM.") == 2, run.log()
    else:
      assert statuses.pop(process) == -signal.SIGKILL
      # In a line, unless JAX ends it at the same moment.
      assert statuses in ([1], [-signal.SIGABRT]), run.log()
  run = start(folder, cache)
  summary = run.finish()
  assert "Goes on from step" in run.log()

  hosts = read(folder)
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


@pytest.mark.slow
def test_an_error_of_one_host_ends_both_in_a_line_each(tmp_path):
  fails = """
  if position == 5 and log.name.endswith("read.1"):
    raise OSError("its disk is gone")
  batch = read(self)"""
  host = HOST.replace("\n  batch = read(self)", fails)
  run = start(tmp_path, tmp_path / "cache", host)
  statuses = run.end(120)
  assert statuses.pop() == 2, run.log()
  assert "error: its disk is gone" in run.log()
  assert "Traceback" not in run.log()
  assert statuses in ([1], [-signal.SIGABRT]), run.log()


@pytest.mark.slow
def test_a_host_may_be_late_with_its_first_step(tmp_path):
  """By more than the half minute that Gloo waits for the first exchange."""
  late = """
  if position == 0 and log.name.endswith("read.1"):
    time.sleep(40)
  batch = read(self)"""
  host = "import time" + HOST.replace("\n  batch = read(self)", late)
  # Of one device each, what checks the config has brought them together.
  more, devices = "--config.batch_size=4", 2
  run = start(tmp_path, tmp_path / "cache", host, more, devices=devices)
  run.wait_for(1)
  run.send(signal.SIGTERM)
  assert set(run.end(30)) == {128 + signal.SIGTERM}, run.log()
