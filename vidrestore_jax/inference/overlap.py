"""Reading, computing and writing at the same time, a few frames apart."""

import queue
import threading
from collections.abc import Iterable, Iterator

_END = object()
# Seconds that closing waits for code that reads. It may wait for a pipe that
# sends no more, which nothing but the process's end can interrupt.
_PATIENCE = 1.0
_GLANCE = 0.1  # Seconds between looks at whether an end has come.
_here = threading.local()


class _Worker:
  """A thread's: whether it is to stop, and whether another one feeds it."""

  def __init__(self):
    self.stopped = threading.Event()
    self.is_fed = False


class _Stopped(BaseException):
  """Ends code that waits for items that its own consumer no longer wants."""


def ahead(items: Iterable, depth: int) -> Iterator:
  """The items, made by another thread, up to `depth` before they are asked for.

  The items' code runs in that thread alone. An exception there is raised here
  where the item would have come. The thread ends when the generator is closed.
  Closing waits until code has computed what it is at, which the process's end
  would crash, but not for code that reads: whatever takes nothing from another
  `ahead` is left alone after a second, and ends with its reading.

  Args:
    items: any iterable.
    depth: how many are held.
  """
  made = queue.Queue(depth)
  worker, consumer = _Worker(), getattr(_here, "worker", None)
  if consumer is not None:
    consumer.is_fed = True

  def put(item):
    while not worker.stopped.is_set():
      try:
        made.put(item, timeout=_GLANCE)
        return True
      except queue.Full:
        continue
    return False

  def take():
    while True:
      try:
        return made.get(timeout=_GLANCE)
      except queue.Empty:
        if consumer is not None and consumer.stopped.is_set():
          raise _Stopped from None

  def run():
    _here.worker = worker
    iterator = iter(items)
    try:
      for item in iterator:
        if not put((item, None)):
          break
      else:
        put((_END, None))
    except BaseException as error:
      put((_END, error))
    finally:
      if hasattr(iterator, "close"):
        iterator.close()

  thread = threading.Thread(target=run, daemon=True)
  thread.start()
  try:
    while True:
      item, error = take()
      if error is not None:
        raise error
      if item is _END:
        return
      yield item
  finally:
    worker.stopped.set()
    thread.join(None if worker.is_fed else _PATIENCE)
