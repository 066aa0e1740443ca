"""Compiled programs kept on disk, so that a second run starts at once.

XLA's own persistent cache, in a place of ours and bounded. It knows a program
by its text, its options and the device, so a hit is never a wrong program.
Commands enable it; the library by itself writes nothing.
"""

import os
import pathlib
import sys

import jax

LIMIT = 2 << 30  # Bytes: thousands of programs on a CPU, hundreds on a GPU.


def folder() -> pathlib.Path:
  """`vidrestore_jax` in the user's folder for what may be thrown away."""
  if sys.platform == "win32":
    base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
  elif sys.platform == "darwin":
    base = "~/Library/Caches"
  else:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(base).expanduser() / "vidrestore_jax" / "programs"


def enable(place=None, *, limit: int = LIMIT) -> str | None:
  """Keeps what is compiled from now on, and uses what is kept.

  Where `JAX_COMPILATION_CACHE_DIR` is set, as for all of jax, that is the
  place: a folder or a bucket, which other projects may use too. Nothing in it
  is removed.

  Args:
    place: the folder; None: what the environment names, or `folder()`.
    limit: bytes; what was used longest ago goes first, now, not later.

  Returns:
    The folder, or None where it cannot be written: then all is compiled anew.
  """
  given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
  if place is not None or not given:
    place = pathlib.Path(place or folder())
    try:
      place.mkdir(parents=True, exist_ok=True)
      _trim(place, limit)
    except OSError:  # A full or read-only disk is no reason not to restore.
      return None
    if not os.access(place, os.W_OK):
      return None
    given = str(place)
  jax.config.update("jax_compilation_cache_dir", given)
  # A start compiles some fifty programs of less than a tenth of a second, which
  # together take as long as a large one.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  return given


def _trim(place, limit):
  """Removes programs until those in the folder take `limit` bytes at most."""
  # Not jax's own limit, which needs a package more, and a lock at every look.
  programs = []
  for path in place.glob("*-cache"):
    try:
      status = path.stat()
    except FileNotFoundError:  # Another process trims too.
      continue
    used = max(status.st_atime, status.st_mtime)  # Some disks note no reading.
    programs.append((used, status.st_size, path))
  total = sum(size for _, size, _ in programs)
  for _, size, path in sorted(programs):
    if total <= limit:
      break
    path.unlink(missing_ok=True)
    total -= size
