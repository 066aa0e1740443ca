"""One run at a time in a folder, whatever way the last one ended."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from experiments import commands

ROOT = pathlib.Path(__file__).parents[2]

# Holds a folder's lock, with a spawned and a forked child that live on.
_HOLDER = """
import multiprocessing, os, pathlib, sys, time
from experiments import commands

if __name__ == "__main__":
  with commands.alone_in(pathlib.Path(sys.argv[1])):
    for method in ("spawn", "fork"):
      child = multiprocessing.get_context(method).Process(
          target=time.sleep, args=(600,)
      )
      child.start()
      print(child.pid, flush=True)
    time.sleep(600)
"""


def test_a_second_run_is_refused_in_one_line_until_the_first_is_killed(
    tmp_path, capsys
):
  script, folder = tmp_path / "holder.py", tmp_path / "run"
  script.write_text(_HOLDER)
  holder = subprocess.Popen(
      [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE,
      text=True, start_new_session=True, env=os.environ | {
          "PYTHONPATH": str(ROOT)
      },
  )
  try:
    children = [int(holder.stdout.readline()) for _ in range(2)]

    def enter():
      with commands.alone_in(folder):
        pass

    assert commands.run(enter) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "use another --workdir" in said
    assert f"{folder} is in use by a run of process {holder.pid} on" in said
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(60)
    for child in children:
      os.kill(child, 0)  # Both live.
    assert commands.run(enter) == 0
    assert commands.run(enter) == 0  # It was let go.
  finally:
    os.killpg(holder.pid, signal.SIGKILL)
    holder.stdout.close()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
  def refuse(*_):
    raise OSError(37, "No locks available")

  monkeypatch.setattr("fcntl.lockf", refuse)
  with (
      pytest.raises(OSError, match="cannot be locked .*No locks available"),
      commands.alone_in(tmp_path),
  ):
    pass


def test_ctrl_c_leaves_whatever_is_left_behind(tmp_path):
  script = tmp_path / "stopped.py"
  script.write_text(
      "import signal, threading\n"
      "from experiments import commands\n"
      "def stopped():\n"
      "  threading.Thread(target=threading.Event().wait).start()\n"
      "  print('Half')\n"
      "  # A shell's background jobs start with it ignored.\n"
      "  signal.signal(signal.SIGINT, signal.default_int_handler)\n"
      "  signal.raise_signal(signal.SIGINT)\n"
      "commands.end(commands.run(stopped, stopped='Go on.'))\n"
  )
  done = subprocess.run(
      [sys.executable, str(script)], capture_output=True, text=True,
      timeout=120, env=os.environ | {"PYTHONPATH": str(ROOT)},
  )
  assert done.returncode == 130
  assert (done.stdout, done.stderr) == ("Half\n", "Stopped. Go on.\n")
