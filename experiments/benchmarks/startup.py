"""Where does the start of a command go, and what does the second one save?

  python -m experiments.benchmarks.startup [--cases=restore,demo,...] \\
      [--repeats=3] [--budget=900] [--json=OUT]

  restore      vidrestore restore, a short video by the package's model
  demo         experiments.main, the demo's config: two steps of SpyNet and two
               of NCFL, and what is measured of either
  fastdvdnet   likewise a FastDVDnet of the released size, on procedural clips
  ncfl         likewise the paper's NCFL

Each start is a process of its own: the first with an empty cache of compiled
programs, the second with what that one left. Its time is told apart:

  python    until the interpreter runs the command
  imports   in import statements, JAX's start of the device among them
  tracing   functions to jaxprs, and those to StableHLO
  compile   XLA, or reading what it made before
  first     until the first frame is restored, or the first step is made
  whole     until the command ends

and `tracing` and `compile` are of the whole command. What is left is reading,
computing and writing. It is done when the second start takes at most a quarter
of the first one's compile time; the exit status is 1 where it does not.
"""

# A file of configs as well, and what the processes run: standard library only,
# and all else where it is used, so that no import escapes the clock.
import builtins
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

_ROOT = pathlib.Path(__file__).parents[2]
_BOUND = 0.25  # Of the first start's compile time.
_SHORT = (
    "--config.steps=2", "--config.log_every=1", "--config.eval.sigmas=30",
    "--config.eval.frames=3",
)
_THIS = "experiments/benchmarks/startup.py"
# What is started: the module whose `main` it is, its arguments, and the method
# that is first called when there is a first result.
_TRAIN = ("experiments.main", "vidrestore_jax.training.progress", "add")
_CASES = {
    "restore": (
        "vidrestore_jax.cli", "vidrestore_jax.cli_output", "advance",
        "restore", "{data}/video.mp4", "{out}/restored.mp4",
    ),
    **{
        name: (
            *_TRAIN, f"--config={config}", "--workdir={out}/run", *_SHORT, *more
        )
        for name, (config, *more) in {
            "demo": (
                "configs/ncfl_demo.py", "--config.pretrain.motion.steps=2"
            ),
            "fastdvdnet": (f"{_THIS}:fastdvdnet",),
            "ncfl": (f"{_THIS}:ncfl",),
        }.items()
    },
}
_KINDS = {
    "imports": (),
    "compile": ("/jax/core/compile/backend_compile_duration",),
    "tracing": (
        "/jax/core/compile/jaxpr_trace_duration",
        "/jax/core/compile/jaxpr_to_mlir_module_duration",
    ),
}


def get_config(variant: str):
  """A published network on procedural clips: it compiles as on its own data."""
  from configs import fastdvdnet_davis, ncfl_davis, ncfl_demo

  published = {"fastdvdnet": fastdvdnet_davis, "ncfl": ncfl_davis}[variant]
  config = published.get_config()
  ncfl_demo.on_clips(config, steps=2, batch_size=1, ema_decay=config.ema_decay)
  config.eval.published = config.eval.published_as = ""
  return config


# In the process that is started


class _Clock:
  """Notes when this process imports, traces and compiles, and its first result.

  Attributes:
    spans: {kind: [(start, end)]}, seconds since the epoch.
    events: how often each of JAX's events happened.
    first: when the first result was there, or None.
  """

  def __init__(self):
    self.spans = {kind: [] for kind in _KINDS}
    self.events, self.first = {}, None
    self._thread, self._nested = threading.get_ident(), False
    builtins.__import__ = self._watched(builtins.__import__)
    importlib.import_module = self._watched(importlib.import_module)

  def _watched(self, function):
    """An import function, whose outermost calls are noted."""

    def call(*args, **kwargs):
      if self._nested or threading.get_ident() != self._thread:
        return function(*args, **kwargs)
      start, self._nested = time.time(), True
      try:
        return function(*args, **kwargs)
      finally:
        self._nested = False
        self.spans["imports"].append((start, time.time()))

    return call

  def watch_jax(self):
    """Notes what JAX tells from now on."""
    import jax

    kinds = {event: kind for kind in _KINDS for event in _KINDS[kind]}

    def span(event, start, end, **_):
      if event in kinds:
        self.spans[kinds[event]].append((start, end))

    def count(event, **_):
      self.events[event] = self.events.get(event, 0) + 1

    jax.monitoring.register_event_time_span_listener(span)
    jax.monitoring.register_event_listener(count)

  def watch_first(self, module, method):
    """Notes when `Progress.method` of a module is first called."""
    progress = importlib.import_module(module).Progress
    function = getattr(progress, method)

    def call(*args, **kwargs):
      self.first = self.first or time.time()
      return function(*args, **kwargs)

    setattr(progress, method, call)


def told_apart(spans) -> dict[str, float]:
  """Seconds of each kind, each moment counted once, for the kind named first.

  Args:
    spans: {kind: [(start, end)]}; they may overlap, and hold one another.
  """
  found, before, counted = {}, [], 0.0
  for kind, more in spans.items():
    before = before + more
    covered, last = 0.0, float("-inf")
    for start, end in sorted(before):
      covered += max(0.0, end - max(start, last))
      last = max(last, end)
    found[kind], counted = covered - counted, covered
  return found


def started(out, born, module, watched, method, *argv) -> int:
  """Runs a command in this process, and writes where its time went.

  Args:
    out: file to write.
    born: when the process was started, seconds since the epoch.
    module: whose `main` is the command.
    watched: module of the class `Progress`,
    method: whose method is called at the first result.
    *argv: what is typed after the command.

  Returns:
    The command's exit status.
  """
  born, begun, clock = float(born), time.time(), _Clock()
  clock.watch_jax()
  clock.watch_first(watched, method)
  status = importlib.import_module(module).main(list(argv))
  ended = time.time()
  found = {
      "python": begun - born,
      **told_apart(clock.spans),
      "first": clock.first - born if clock.first else None,
      "whole": ended - born,
      "programs": len(clock.spans["compile"]),
      "found_compiled": clock.events.get(
          "/jax/compilation_cache/cache_hits", 0
      ),
  }
  pathlib.Path(out).write_text(json.dumps(found))
  return status


# In the process that measures


def measure(name: str, data, repeats: int) -> dict:
  """Starts a case twice, again and again; a row of the report.

  Args:
    name: of `_CASES`.
    data: folder with the video.
    repeats: pairs of starts, each with a cache of its own.
  """
  runs = {"first": [], "second": []}
  for _ in range(repeats):
    with tempfile.TemporaryDirectory() as folder:
      for start, found in runs.items():
        out = pathlib.Path(folder) / start
        out.mkdir()
        found.append(_start(_CASES[name], data, out, f"{folder}/programs"))
      kept = pathlib.Path(folder, "programs").iterdir()
      sizes = [path.stat().st_size for path in kept]
  median = {
      start: {key: statistics.median(r[key] for r in found) for key in found[0]}
      for start, found in runs.items()
  }
  compile_ratio = median["second"]["compile"] / median["first"]["compile"]
  return {
      "starts": median, "runs": runs, "compile_ratio": compile_ratio,
      "ok": compile_ratio <= _BOUND, "cache_bytes": sum(sizes),
  }


def _start(case, data, out, programs) -> dict:
  """What one process wrote."""
  case = [word.format(data=data, out=out) for word in case]
  told = out / "told.json"
  code = (
      "import sys; from experiments.benchmarks import startup;"
      " sys.exit(startup.started(*sys.argv[1:]))"
  )
  done = subprocess.run(
      [sys.executable, "-c", code, told, repr(time.time()), *case],
      cwd=_ROOT, env=os.environ | {"JAX_COMPILATION_CACHE_DIR": programs},
      capture_output=True, text=True, check=False,
  )
  if done.returncode:
    raise RuntimeError(
        f"{' '.join(case)} ended with {done.returncode}: {done.stderr[-2000:]}"
    )
  return json.loads(told.read_text())


def table(rows) -> str:
  """The starts of each case, medians in seconds."""
  kinds = ("python", *_KINDS, "first", "whole")
  lines = [["", *kinds, "programs", "found compiled"]]
  for row in rows:
    for start, found in row.get("starts", {}).items():
      lines.append([
          f"{row['name']}, {start} start",
          *(f"{found[kind]:.2f}" for kind in kinds),
          f"{found['programs']:.0f}", f"{found['found_compiled']:.0f}",
      ])
  from experiments import evaluation

  return evaluation.markdown(lines)


def run(arguments) -> dict:
  """Measures what the command line asks for; returns what the JSON holds."""
  from experiments import commands
  from experiments.benchmarks import measuring, restore_speed

  commands.check_json(arguments.json)
  cases = measuring.choices(arguments, cases=tuple(_CASES))["cases"]
  measuring.check_least(arguments, repeats=1)
  about = {"command": arguments.command, **measuring.surroundings()}
  report = measuring.Report(arguments.json, arguments.budget, about)
  with tempfile.TemporaryDirectory() as data:

    def row(name):
      if name == "restore":
        restore_speed.write_video(
            pathlib.Path(data) / "video.mp4",
            restore_speed.noisy_clip((320, 180), 8),
        )
      return measure(name, data, arguments.repeats)

    for name in cases:
      report.row(name, lambda name=name: row(name))
  print(table(report.content["rows"]))
  for row in report.content["rows"]:
    if "compile_ratio" in row:
      print(
          f"{row['name']}: the second start takes"
          f" {100 * row['compile_ratio']:.0f} % of the first one's compile"
          f" time; the cache holds {row['cache_bytes'] / 1e6:.1f} MB."
      )
  return report.content


def main(argv=None) -> int:
  """Runs the command; returns its exit status, 1 where a start is slow."""
  from experiments.benchmarks import measuring

  parser = measuring.parser("startup", __doc__, budget=900, repeats=3)
  parser.add_argument("--cases", default=",".join(_CASES), metavar="LIST")
  return measuring.command(parser, run, argv)


if __name__ == "__main__":
  sys.exit(main())
