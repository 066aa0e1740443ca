"""SIGTERM: what schedulers send before they take a machine away.

Slurm, Kubernetes and the clouds give a process some 30 seconds from it to
SIGKILL. Training then saves after the step under way and ends with status 143
(128 + SIGTERM), which they count as ended by the signal; the same command goes
on. Where nothing is unsaved (before the first step is done, which is when it
compiles, and after the last), it ends at once. Where the step does not come to
its end in `GRACE` seconds (a long evaluation, other processes that are gone)
it ends then, with the last checkpoint that there is.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable

STATUS = 128 + signal.SIGTERM
GRACE = 20.0
_MORE = "The same command goes on."


class Preempted(Exception):  # noqa: N818
  """Training has saved and ends, because it was asked to."""


class Notice:
  """Whether this process is asked to leave; never, unless `listening` made it.

  The process's own thread may be in the compiler for minutes, which is why
  another one hears the signal.
  """

  def __init__(self):
    self._asked, self._heard = threading.Event(), threading.Event()
    self._unsaved = False

  def stop(self, agree: Callable[[bool], bool]) -> bool:
    """Whether to save now, and leave; to be called after every step.

    Args:
      agree: whether any process is asked to leave, given whether this one is;
        see `training.sharding.any_process`.
    """
    self._unsaved = True
    if agree(self._asked.is_set()):
      self._heard.set()
    return self._heard.is_set()

  def saved(self, step: int, agree: Callable[[bool], bool]):
    """To be called where nothing is left to be saved.

    Args:
      step: the last one that was saved.
      agree: as of `stop`.

    Raises:
      Preempted: a process is asked to leave.
    """
    self._unsaved = False
    # Twice, as what processes agree on may be told at the call after.
    asked = [agree(self._asked.is_set()), agree(self._asked.is_set())]
    if self._asked.is_set() or self._heard.is_set() or any(asked):
      self._heard.set()
      raise Preempted(f"Step {step} is saved; leaves on SIGTERM. {_MORE}")

  def _listen(self, signals: int):
    """A thread: reads the numbers of signals, until there is a zero."""
    while number := os.read(signals, 1)[0]:
      if number != signal.SIGTERM or self._asked.is_set():
        continue
      self._asked.set()
      if self._unsaved:
        _say("SIGTERM: saves after the step under way, then leaves.")
        if self._heard.wait(GRACE):
          continue
        _say(
            f"SIGTERM {GRACE:g} s ago, and the step has not ended: leaves with"
            f" the last checkpoint. {_MORE}"
        )
      else:
        _say(f"SIGTERM: nothing to save. {_MORE}")
      os._exit(STATUS)  # Workers that read end with this process.


@contextlib.contextmanager
def listening():
  """Gives a `Notice` that hears SIGTERM. For the main thread."""
  notice = Notice()
  read, write = os.pipe()
  os.set_blocking(write, False)
  # The handler itself does nothing, but that there is one has the signal's
  # number written.
  handler = signal.signal(signal.SIGTERM, lambda *_: None)
  before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
  thread = threading.Thread(target=notice._listen, args=(read,), daemon=True)
  thread.start()
  try:
    yield notice
  finally:
    notice._heard.set()
    signal.set_wakeup_fd(before)
    signal.signal(signal.SIGTERM, handler)
    os.write(write, b"\0")
    thread.join()
    os.close(read)
    os.close(write)


def _say(line: str):
  # Not print: the other thread may hold the stream's lock.
  os.write(sys.stderr.fileno(), f"{line}\n".encode())
