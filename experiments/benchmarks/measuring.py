"""What the benchmarks share: the machine, the clock, errors, the report.

Imports nothing but jax, numpy and, if it is there, torch, so that it runs on an
accelerator where nothing else is installed.
"""

import argparse
import contextlib
import importlib.metadata
import math
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping

import jax
import numpy as np

from experiments import commands, tracing
from vidrestore_jax.shapes import check_choice

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


def machine() -> dict:
  """Processor, accelerators, driver, versions and threads, for the report."""
  cpu = platform.processor() or platform.machine()
  with contextlib.suppress(OSError):
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
      if line.startswith("model name"):
        cpu = line.partition(": ")[2]
        break
  cards = None
  if shutil.which("nvidia-smi"):
    query = "--query-gpu=name,driver_version,memory.total"
    cards = subprocess.run(
        ["nvidia-smi", query, "--format=csv,noheader"],
        capture_output=True, text=True, timeout=30, check=False,
    ).stdout.strip()
  versions = {"python": platform.python_version()}
  for name in _PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[name] = importlib.metadata.version(name)
  return {
      "platform": platform.platform(),
      "cpu": cpu,
      "cpus": len(processors()),
      "cards": cards,
      "backend": jax.default_backend(),
      "devices": [device.device_kind for device in jax.devices()],
      "xla_flags": os.environ.get("XLA_FLAGS", ""),
      "versions": versions,
  }


def processors() -> list[int]:
  """Those that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))


def bind_threads(count: int):
  """Binds this process to as many processors, before JAX counts them.

  Raises:
    ValueError: it may not use so many, or fewer than all where a system binds
      none.
  """
  least, most = _threads()
  if not least <= count <= most:
    raise ValueError(
        f"--threads is between {least} and {most} here, but is {count}."
    )
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, processors()[:count])


def add_threads(parser):
  """Adds --threads: two, or as many as there are where that is no choice."""
  least, most = _threads()
  parser.add_argument(
      "--threads", type=int, default=min(max(2, least), most),
      help="processors that this process is bound to, and PyTorch's threads",
  )


def _threads():
  """Fewest and most that `bind_threads` takes."""
  most = len(processors())
  return 1 if hasattr(os, "sched_setaffinity") else most, most


def commit() -> str | None:
  """The checkout's commit, with `+changes` where files differ from it."""
  root = pathlib.Path(__file__).resolve().parents[2]

  def git(*arguments):
    return subprocess.run(
        ["git", "-C", str(root), *arguments],
        capture_output=True, text=True, timeout=30, check=True,
    ).stdout.strip()

  try:
    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD") + ("+changes" if changed else "")
  except (OSError, subprocess.SubprocessError):
    return None


def surroundings() -> dict:
  """`machine()` and how memory is allocated, printed in short."""
  about = {
      "machine": machine(),
      "commit": commit(),
      "malloc": {k: v for k, v in os.environ.items() if "MALLOC" in k},
  }
  print({key: about["machine"][key] for key in ("cpu", "cpus", "cards")})
  print(about["machine"]["devices"])
  print(about["machine"]["versions"], flush=True)
  return about


# The command line


def parser(name: str, text: str, *, budget: float, repeats: int | None):
  """A benchmark's parser, with the options that all of them have.

  Args:
    name: of its module.
    text: what it does.
    budget: seconds after which no further row begins.
    repeats: how often a side is timed; None where that is no option.
  """
  found = argparse.ArgumentParser(
      prog=f"python -m experiments.benchmarks.{name}",
      description=text,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
  )
  if repeats is not None:
    found.add_argument("--repeats", type=int, default=repeats)
  found.add_argument("--budget", type=float, default=budget, metavar="SECONDS")
  found.add_argument("--json", default=None, metavar="OUT")
  return found


def command(parser, run: Callable, argv=None) -> int:
  """Runs a benchmark; returns its exit status, 1 where a row failed or none
  was measured.

  Args:
    parser: of its options.
    run: what they ask for, to what the JSON holds; the options have `command`,
      what was typed.
    argv: the options; None: those of this process.
  """
  typed = sys.argv[1:] if argv is None else argv
  arguments = parser.parse_args(typed)
  arguments.command = [*parser.prog.split(), *typed]
  content = {}
  status = commands.run(lambda: content.update(run(arguments)))
  if status:
    return status
  if not content.get("rows", True):
    print(
        "error: nothing was measured. Choose more, or a larger --budget.",
        file=sys.stderr,
    )
    return 1
  return 1 if content.get("failed") else 0


def choices(
    arguments, *, may_be_empty=(), **allowed
) -> dict[str, tuple[str, ...]]:
  """{option: the names that it lists}, of options that list names.

  Args:
    arguments: of the command line.
    may_be_empty: options that need list none.
    **allowed: what each may list.

  Raises:
    ValueError: another name, or none.
  """
  found = {}
  for option, names in allowed.items():
    found[option] = tuple(filter(None, getattr(arguments, option).split(",")))
    if not found[option] and option not in may_be_empty:
      raise ValueError(f"--{option} names none of {', '.join(names)}.")
    for name in found[option]:
      check_choice(f"--{option}", name, names)
  return found


def check_least(arguments, **least):
  """ValueError where an option is less than it may be."""
  for option, bound in least.items():
    given = getattr(arguments, option)
    if given < bound:
      raise ValueError(f"--{option} is at least {bound}, but is {given}.")


# Errors


def relative(found, wanted) -> float:
  """|found - wanted| / |wanted| over all leaves, in float64; NaN stays."""
  pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(wanted)))
  difference = sum(_square(np.float64(f) - np.float64(w)) for f, w in pairs)
  size = sum(_square(np.float64(w)) for _, w in pairs)
  return math.sqrt(difference / size) if size else math.sqrt(difference)


def largest(found, wanted) -> float:
  """The largest difference, in units of the largest value where above 1."""
  found, wanted = (np.asarray(x, np.float64) for x in (found, wanted))
  return float(np.abs(found - wanted).max() / max(1, np.abs(wanted).max()))


def psnr(found, wanted) -> float:
  """dB; the peak is 1, or the largest value above. 200 where they are equal."""
  peak = max(1, np.abs(np.float64(wanted)).max())
  mse = np.square((np.float64(found) - np.float64(wanted)) / peak).mean()
  return float(-10 * np.log10(max(mse, 1e-20)))


def _square(x):
  return float(np.square(x).sum())


def check(error: float, bound: float, **more) -> dict:
  """A row of the report that says whether the error is in its bound."""
  return {"error": error, "bound": bound, "ok": bool(error <= bound), **more}


# Time


def compile_program(function, *args, count=True):
  """(program, seconds of tracing and compiling, work, bytes it reserves).

  Args:
    function: one that is jitted already is taken as it is.
    *args: its arguments.
    count: whether to count its multiply-accumulates, for which it is traced
      once more.
  """
  if not hasattr(function, "lower"):
    function = jax.jit(function)
  start = time.perf_counter()
  trace = function.trace(*args)
  lowered = trace.lower()
  traced = time.perf_counter()
  program = lowered.compile()
  compiled = time.perf_counter()
  about = {"trace_s": traced - start, "compile_s": compiled - traced}
  if count:
    about["macs"] = tracing.count_macs(function, *args).total()
  memory = program.memory_analysis()
  if memory is not None:
    about["memory"] = {
        kind: getattr(memory, f"{kind}_size_in_bytes")
        for kind in ("argument", "output", "temp", "alias")
    }
    about["program_bytes"] = (
        sum(about["memory"].values()) - 2 * about["memory"]["alias"]
    )
  return program, about


def alternate(
    sides: Mapping[str, Callable[[], object]],
    repeats: int,
    *,
    warmup: int = 3,
    before: int = 0,
    limit: float = math.inf,
) -> dict[str, dict]:
  """Times calls that wait for their result, the sides in turns.

  Args:
    sides: a call by name.
    repeats: timed calls of each.
    warmup: calls of each before, whose first is kept as `first_s`.
    before: calls of a side before each that is timed, where one side leaves the
      allocator in a state that the next would pay for.
    limit: seconds; where all that would take longer, fewer calls are timed, but
      never fewer than two.

  Returns:
    For each side what `summary` gives, and `first_s`.
  """
  first, seconds = {}, {name: [] for name in sides}
  start = time.perf_counter()
  each = 0.0
  for name, call in sides.items():
    first[name] = _clock(call)
    last = _clock(call) if warmup > 1 else first[name]
    for _ in range(2, warmup):
      if len(sides) * warmup * last > limit:
        break
      last = _clock(call)
    each += last
  left = limit - (time.perf_counter() - start)
  repeats = max(2, int(min(repeats, left / each / (1 + before))))
  for _ in range(repeats):
    for name, call in sides.items():
      for _ in range(before):
        call()
      seconds[name].append(_clock(call))
  return {
      name: {**summary(times), "first_s": first[name]}
      for name, times in seconds.items()
  }


def summary(seconds: list[float]) -> dict:
  """Median, quartiles, extremes and the times themselves."""
  low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
  return {
      "median_s": statistics.median(seconds),
      "quartiles_s": [low, high],
      "min_s": min(seconds),
      "max_s": max(seconds),
      "seconds": seconds,
  }


def waited(program, *args):
  """What `program(*args)` gives, when it is there."""
  return jax.block_until_ready(program(*args))


def _clock(call):
  start = time.perf_counter()
  call()
  return time.perf_counter() - start


# The report


class Report:
  """Rows that are printed and written as they come.

  A row that fails is noted and the next one runs; rows that the budget leaves
  no time for are named as skipped.

  Attributes:
    content: what the JSON holds: `machine`, `rows`, `failed`, `skipped`.
    repeats: how often a side of a row is timed.
    row_limit: seconds that they may take, but for two of each.
  """

  def __init__(
      self, path, budget: float, about: dict, repeats: int = 15,
      row_limit: float = math.inf,
  ):
    """Starts the clock of `budget` seconds; `path` None writes nothing."""
    self._path, self._budget, self.repeats = path, budget, repeats
    self.row_limit = row_limit
    self._start = time.perf_counter()
    self.content = {**about, "rows": [], "failed": [], "skipped": []}

  @property
  def left(self) -> float:
    """Seconds of the budget that are left."""
    return self._budget - (time.perf_counter() - self._start)

  def row(self, name: str, function: Callable[[], dict]) -> dict | None:
    """Adds what `function` returns; what stops it, or `ok` False, fails."""
    if self.left <= 0:
      self.content["skipped"].append(name)
      print(f"{name}: skipped, the budget is used up", flush=True)
      self.write()
      return None
    start = time.perf_counter()
    try:
      found = _finite(function())
    # Whatever a driver, a compiler or the other library may raise.
    except Exception as error:
      traceback.print_exc()
      text = f"{type(error).__name__}: {error}"
      found = {"ok": False, "raised": text[:2000]}
    found = {"name": name, **found, "row_s": time.perf_counter() - start}
    self.content["rows"].append(found)
    if not found.get("ok", True):
      self.content["failed"].append(name)
    print(_line(found), flush=True)
    self.write()
    return found

  def write(self):
    """Writes the JSON, so that a run that is killed leaves what it had."""
    if self._path:
      self.content["elapsed_s"] = time.perf_counter() - self._start
      commands.write_json(self._path, self.content)


def _finite(value):
  """The value with None for NaN and infinity, which JSON does not have."""
  if isinstance(value, Mapping):
    return {key: _finite(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_finite(item) for item in value]
  if isinstance(value, (float, np.floating)):
    return float(value) if math.isfinite(value) else None
  return value


def _line(row):
  """A row as a line of text."""
  parts = []
  if "raised" in row:
    parts.append(row["raised"].splitlines()[0][:200])
  if row.get("bound") is not None:
    error = "not finite" if row["error"] is None else f"{row['error']:.2g}"
    parts.append(f"error {error} (bound {row['bound']:.2g})")
  for side, times in row.get("sides", {}).items():
    parts.append(
        f"{side} {1e3 * times['median_s']:.2f} ms"
        f" ({1e3 * times['min_s']:.2f} to {1e3 * times['max_s']:.2f})"
    )
  parts += [
      f"{key} {row[key]:.4g}"
      for key in (
          "ratio", "psnr", "gradient_error", "tflops", "trace_s", "compile_s"
      )
      if row.get(key) is not None
  ]
  verdict = "" if row.get("ok", True) else "FAILED "
  return f"{verdict}{row['name']}: {'; '.join(parts)} [{row['row_s']:.1f} s]"
