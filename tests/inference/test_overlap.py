"""Items that another thread makes, and the thread's end."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from vidrestore_jax.inference import overlap

REPOSITORY = pathlib.Path(__file__).parents[2]


def test_items_are_made_ahead_and_errors_arrive_in_their_place():
  made = []

  def items():
    try:
      for i in range(100):
        if i == 7:
          raise ValueError("seven")
        made.append(i)
        yield i
    finally:
      made.append("closed")

  stream = overlap.ahead(items(), 2)
  assert next(stream) == 0
  for _ in range(100):
    if len(made) >= 3:
      break
    time.sleep(0.01)
  assert len(made) <= 5
  assert [next(stream) for _ in range(6)] == [1, 2, 3, 4, 5, 6]
  with pytest.raises(ValueError, match="seven"):
    next(stream)
  assert made[-1] == "closed"


def test_a_closed_stream_ends_its_thread():
  made = []

  def items():
    try:
      while True:
        yield 0
    finally:
      made.append("closed")

  stream = overlap.ahead(items(), 2)
  next(stream)
  stream.close()
  assert made == ["closed"]


@pytest.fixture
def stalled():
  """A stream of two stages whose source gives an item and then waits."""
  given = threading.Event()

  def source():
    yield 0
    given.wait()

  def stage():
    yield from overlap.ahead(source(), 2)

  yield overlap.ahead(stage(), 2)
  given.set()


def test_closing_does_not_wait_for_a_source_that_gives_nothing(stalled):
  assert next(stalled) == 0
  start = time.perf_counter()
  stalled.close()
  assert time.perf_counter() - start < 3


def test_an_interrupt_ends_the_wait_for_an_item(stalled):
  # What a shell starts in the background ignores interrupts.
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
      list(stalled)
    assert time.perf_counter() - start < 4
  finally:
    signal.signal(signal.SIGINT, before)


def test_closing_waits_for_what_is_computed():
  """The process's end would crash it."""
  computed = threading.Event()

  def stage():
    for item in overlap.ahead(range(9), 2):
      yield item
      time.sleep(1.5)
      computed.set()

  stream = overlap.ahead(stage(), 2)
  next(stream)
  stream.close()
  assert computed.is_set()


_READER = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from vidrestore_jax.inference import overlap, y4m

source = y4m.Y4mReader(sys.stdin.buffer, "pipe")

def stage():
  yield from overlap.ahead(source.pictures(), 2)

try:
  for picture in overlap.ahead(stage(), 2):
    print("frame", flush=True)
except KeyboardInterrupt:
  sys.exit(130)
"""


def test_a_process_ends_while_its_pipe_is_stalled():
  """Whatever thread is still reading from it."""
  with subprocess.Popen(
      [sys.executable, "-c", _READER], stdin=subprocess.PIPE,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY,
  ) as process:
    process.stdin.write(b"YUV4MPEG2 W4 H2 Cmono\nFRAME\n01234567")
    process.stdin.flush()
    assert process.stdout.readline() == b"frame\n"
    process.send_signal(signal.SIGINT)
    try:
      assert process.wait(timeout=20) == 130
    finally:
      process.kill()
    assert not process.stderr.read()
