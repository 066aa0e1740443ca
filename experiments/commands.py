"""What the commands of experiments share: how they end, and how they write."""

# Grain's worker processes import the main command again: standard library only.
import json
import os
import pathlib
import sys
import traceback
from collections.abc import Callable


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
    a step that was not finite; 130 after Ctrl-C.
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
    return 130
  return 0


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
