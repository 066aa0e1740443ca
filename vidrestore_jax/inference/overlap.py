"""Reading, computing and writing at the same time, a few frames apart."""

import queue
import threading
from collections.abc import Iterable, Iterator

_END = object()


def ahead(items: Iterable, depth: int) -> Iterator:
  """The items, made by another thread, up to `depth` before they are asked for.

  The items' code runs in that thread alone. An exception there is raised here
  where the item would have come; the thread ends when the generator is closed.

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
    thread.join()
