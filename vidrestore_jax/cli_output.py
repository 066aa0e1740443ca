"""Folders that commands write: whole or not at all, with progress shown.

Importing this loads the standard library only.
"""

import contextlib
import errno
import os
import shutil
import sys
import time


def check(sources, output, overwrite=None, *, suffixes=(".png",)):
  """Refuses an output folder that would cost anybody files.

  Args:
    sources: paths of what is read, or written beside.
    output: path of the folder to make.
    overwrite: whether to replace what was written there before; None where
      the command has no such option.
    suffixes: of the files that may be replaced.

  Raises:
    ValueError, FileExistsError: says what lies there.
  """
  target = output.resolve()
  for given in sources:
    source = given.resolve()
    if source == target or source in target.parents or target in source.parents:
      raise ValueError(
          f"The output {output} and {given} lie in one another; name an output"
          " folder elsewhere."
      )
  or_pass = "" if overwrite is None else ", or pass --overwrite"
  partial = _partial(output)
  if partial.exists():
    if not overwrite:
      raise FileExistsError(
          f"{partial} is left of a run that was killed, or of one that is"
          f" still running. Remove it{or_pass}."
      )
    _check_replaceable(partial, suffixes)
  if not output.exists():
    return
  if not output.is_dir():
    raise FileExistsError(f"{output} is a file; the output is a folder.")
  if any(output.iterdir()):
    if not overwrite:
      raise FileExistsError(
          f"{output} exists and is not empty. Name another"
          f" folder{or_pass and f'{or_pass} to replace it'}."
      )
    _check_replaceable(output, suffixes)


def _check_replaceable(folder, suffixes):
  """Refuses to replace a folder that holds more than what is written."""
  ours = (*suffixes, *(f"{suffix}.partial" for suffix in suffixes))
  for path in folder.rglob("*"):
    if path.is_file() and not path.name.endswith(ours):
      raise FileExistsError(
          f"{folder} holds more than {' and '.join(suffixes)} files, such as"
          f" {path}, so --overwrite does not replace it. Name another folder."
      )


@contextlib.contextmanager
def whole_folder(output):
  """A folder beside `output` that takes its name if the block succeeds.

  Where the block fails, it is removed, and `output` is as it was.
  """
  partial = _partial(output)
  if partial.exists():
    shutil.rmtree(partial)
  try:
    partial.mkdir(parents=True)
    yield partial
    replaced = output.with_name(f".{output.name}.replaced")
    if output.exists():
      if replaced.exists():  # Of a run that was killed right here.
        shutil.rmtree(replaced)
      os.rename(output, replaced)
    os.rename(partial, output)
    shutil.rmtree(replaced, ignore_errors=True)
  except OSError as error:
    if error.errno == errno.ENOSPC:
      raise OSError(
          f"The disk of {output} is full; what was written is removed again."
          " Free some space, or name a folder on another disk."
      ) from error
    raise
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _partial(output):
  return output.with_name(output.name + ".partial")


class Progress:
  """Frames, or other units, done, their rate and the time left, on stderr.

  A terminal gets one line that is rewritten, a file or pipe a line every ten
  seconds. The first, which waits for compilation, does not count for the rate.
  """

  def __init__(
      self, total, unit="frame", *, begins="compiling ...", done=0
  ):
    """Shows nothing yet.

    Args:
      total: how many there are, or None.
      unit: what they are.
      begins: what a terminal says before the first.
      done: how many an earlier run has done.
    """
    self._total, self._unit, self._begins = total, unit, begins
    self._done = self._before = done
    self._terminal = sys.stderr.isatty()
    self._shown = self._first = 0.0

  def __enter__(self):
    self._shown = time.monotonic()
    if self._terminal:
      print(self._begins, end="", file=sys.stderr, flush=True)
    return self

  def __exit__(self, *_):
    if self._terminal:
      print(file=sys.stderr)

  def say(self, sentence):
    """Prints a line of its own."""
    clear = "\r\033[K" if self._terminal else ""
    print(f"{clear}{sentence}", file=sys.stderr, flush=True)

  def advance(self, clip, more=""):
    """Counts one more, of the clip of that name; `more` ends the line."""
    now = time.monotonic()
    self._done += 1
    here = self._done - self._before
    if here == 1:
      self._first = now
    due = now - self._shown >= (0.1 if self._terminal else 10.0)
    if not due and self._done != self._total:
      return
    self._shown = now
    line = f"{clip}: {self._unit} {self._done}"
    line += f" of {self._total}" if self._total else ""
    if here > 1 and now > self._first:
      rate = (here - 1) / (now - self._first)
      line += f", {rate:.3g} {self._unit}s/s"
      if self._total:
        left = max(round((self._total - self._done) / rate), 0)
        hours, seconds = divmod(left, 3600)
        minutes, seconds = divmod(seconds, 60)
        line += f", {hours}:{minutes:02}:{seconds:02} left"
    line += f", {more}" if more else ""
    if self._terminal:
      print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)
    else:
      print(line, file=sys.stderr, flush=True)
