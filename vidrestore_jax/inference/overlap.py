"""Reading, computing and writing at the same time, a few frames apart."""

import queue
import threading
from collections.abc import Iterable, Iterator

_END = object()
# Seconds that closing waits for the items' code. It may be reading from a pipe
# that sends no more, which nothing but the process's end can interrupt.
_PATIENCE = 1.0


def ahead(items: Iterable, depth: int) -> Iterator:
  """The items, made by another thread, up to `depth` before they are asked for.

  The items' code runs in that thread alone. An exception there is raised here
  where the item would have come. The thread ends when the generator is closed,
  or, where it is stuck in the items' code for longer than a second, with that
  or with the process; closing does not wait for it then.

  Args:
    items: any iterable.
    depth: how many are held.
  """
  made = queue.Queue(depth)
  stopped = threading.Event()

  def put(item):
    while not stopped.is_set():
      try:
        made.put(item, timeout=0.1)
        return True
      except queue.Full:
        continue
    return False

  def run():
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
      item, error = made.get()
      if error is not None:
        raise error
      if item is _END:
        return
      yield item
  finally:
    stopped.set()
    thread.join(_PATIENCE)
