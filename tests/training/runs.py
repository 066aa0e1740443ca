"""Runs of `experiments.main` in processes of their own, for tests to stop.

Each process gets a session of its own and writes to files: SIGKILL may leave
others behind, which would hold a pipe open, and which belong to the group that
is killed afterwards.
"""

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

ROOT = pathlib.Path(__file__).parents[2]
TINY = "--config=tests/experiments/tiny.py"
MAIN = ("-m", "experiments.main")
_STEP = re.compile(r"^step (\d+)(?:/| of \d+: the first)", re.M)


class Run:
  """The processes of one run, which share the folder `folder`/run.

  Attributes:
    processes: in order of their numbers.
  """

  def __init__(
      self, folder, arguments, *, cache, count=1, devices=1, main=MAIN
  ):
    """Starts them.

    Args:
      folder: for the run and the logs; made where it does not exist.
      arguments: of the command, without --workdir.
      cache: folder of compiled programs.
      count: how many processes.
      devices: virtual devices of each.
      main: what Python runs; `{process}` in it becomes the process's number.
    """
    folder.mkdir(exist_ok=True)
    self._folder, self.workdir = folder, folder / "run"
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "PYTHONPATH": str(ROOT),
    }
    if count > 1:
      with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
      env |= {
          "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
          "JAX_COORDINATOR_ADDRESS": address,
          "JAX_NUM_PROCESSES": str(count),
      }
    self.processes = []
    for i in range(count):
      if count > 1:
        env["JAX_PROCESS_ID"] = str(i)
      command = [part.replace("{process}", str(i)) for part in main]
      command += [f"--workdir={self.workdir}", *arguments]
      with open(folder / f"log.{i}", "w") as log:
        self.processes.append(
            subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=env, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )
        )

  def log(self) -> str:
    """What all processes said since this start."""
    return "\n".join(
        (self._folder / f"log.{i}").read_text()
        for i in range(len(self.processes))
    )

  def wait_for(self, step: int):
    """Returns when the step was logged; 0 is logged before it compiles."""
    deadline = time.monotonic() + 300
    while max(map(int, _STEP.findall(self.log())), default=-1) < step:
      assert all(p.poll() is None for p in self.processes), self.log()
      assert time.monotonic() < deadline, self.log()
      time.sleep(0.01)

  def send(self, number, process: int = 0):
    """Sends a signal to one process, without those that it started."""
    os.kill(self.processes[process].pid, number)

  def send_to_all(self, number):
    """Sends a signal to all processes and to those that they started."""
    for process in self.processes:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)

  def end(self, seconds: float = 900) -> list[int]:
    """Exit statuses of all processes, once none is left of their groups.

    Args:
      seconds: to wait for each, after which the test fails.
    """
    try:
      statuses = [process.wait(seconds) for process in self.processes]
      deadline = time.monotonic() + 20
      while any(map(_lives, self.processes)):
        assert time.monotonic() < deadline, "a process is left behind"
        time.sleep(0.1)
      return statuses
    except subprocess.TimeoutExpired:
      raise AssertionError(self.log()) from None
    finally:
      self.kill()

  def finish(self) -> dict:
    """Waits for the run to finish; what it summed up."""
    assert self.end() == [0] * len(self.processes), self.log()
    return json.loads((self.workdir / "summary.json").read_text())

  def kill(self):
    """SIGKILLs all processes and what they started."""
    self.send_to_all(signal.SIGKILL)
    for process in self.processes:
      process.wait()


def _lives(process) -> bool:
  """Whether there are processes in the group that a process leads."""
  try:
    os.killpg(process.pid, 0)
  except ProcessLookupError:
    return False
  return True
