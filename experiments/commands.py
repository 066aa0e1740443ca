"""What the commands of experiments share: how they end, write and lock."""

# Grain's worker processes import the main command again: nothing heavy.
import contextlib
import errno
import json
import os
import pathlib
import signal
import socket
import sys
import traceback
from collections.abc import Callable

from experiments import preemption
from vidrestore_jax import cli_arguments

parse_size = cli_arguments.parse_size
_CTRL_C = 128 + signal.SIGINT


def run(
    function: Callable[[], None], *, debug: bool = False, stopped: str = ""
) -> int:
  """Runs a command; what stops it for a known reason is one line on stderr.

  Args:
    function: does what the command line asks for.
    debug: a traceback as well; VIDRESTORE_DEBUG=1 asks for it too.
    stopped: what to add after Ctrl-C.

  Returns:
    The exit status: 0; 2 for bad input, a missing extra or a full disk; 3 for
    a step that was not finite; 130 after Ctrl-C; 143 after SIGTERM.
  """
  try:
    function()
  except (ValueError, OSError, ImportError, FloatingPointError) as error:
    if debug or os.environ.get("VIDRESTORE_DEBUG") == "1":
      traceback.print_exc()
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 3 if isinstance(error, FloatingPointError) else 2
  except KeyboardInterrupt:
    print(f"Stopped. {stopped}".strip(), file=sys.stderr)
    return _CTRL_C
  except preemption.Preempted as saved:
    print(saved, file=sys.stderr)
    return preemption.STATUS
  return 0


def end(status: int):
  """Ends this process with what `run` returned.

  Ctrl-C may have left threads of C++ behind, in the middle of a save, which
  abort the process (SIGABRT) where they meet the end of the interpreter.

  Args:
    status: of the exit.
  """
  if status == _CTRL_C:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
  sys.exit(status)


def check_json(path):
  """FileNotFoundError where `write_json` would find no folder in the end."""
  if path and not pathlib.Path(path).parent.is_dir():
    raise FileNotFoundError(
        f"There is no folder {pathlib.Path(path).parent} to write {path} to."
    )


def write_json(path, content):
  """Writes beside, then renames: a reader never sees half a file.

  Raises:
    ValueError: NaN or infinity in it, which JSON does not have.
    OSError: it cannot be written; what was there is then still there.
  """
  path = pathlib.Path(path)
  beside = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    text = json.dumps(content, indent=2, allow_nan=False)
    beside.write_text(text + "\n", encoding="utf-8")
    beside.replace(path)
  finally:
    beside.unlink(missing_ok=True)


@contextlib.contextmanager
def alone_in(folder: pathlib.Path):
  """Holds the lock of a folder, which is made where it does not exist.

  The lock is the kernel's (fcntl, POSIX) on the file `.lock`, so that a run
  that is killed, however, leaves none. It is of this process alone: no worker
  process that lives on longer holds it, whether it was forked or spawned.

  Raises:
    BlockingIOError: another process holds it; says which.
  """
  import fcntl  # Where there is none, there is no training either.

  folder.mkdir(parents=True, exist_ok=True)
  with open(folder / ".lock", "a+", encoding="utf-8") as file:
    try:
      fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      if error.errno not in (errno.EACCES, errno.EAGAIN):
        raise OSError(
            f"{folder} cannot be locked against a second run: {error}. Use a"
            " --workdir on a file system that has locks."
        ) from error
      file.seek(0)
      holder = file.read().strip() or "another process"
      raise BlockingIOError(
          f"{folder} is in use by a run of {holder}. Wait for it, stop it, or"
          " use another --workdir."
      ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    yield
