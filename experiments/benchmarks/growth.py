"""How do time and memory grow: with resolution, length, batch and devices?

  python -m experiments.benchmarks.growth [--models=fastdvdnet,ncfl] \\
      [--programs=inference,training] \\
      [--axes=size,length,batch,devices,processes] [--repeats=5] \\
      [--budget=2400] [--small] [--json=OUT]

Of the networks at full size, in float32, one axis at a time:

  size       pixels: of a frame to restore, of the patches of a batch of two
  length     frames: of a stream restored from and to the host, of NCFL's clips
  batch      frames restored by one call, clips of a step
  devices    the batch of eight on 1 to 8 devices; on a CPU these are virtual
  processes  the same step by two processes with a device each, which exchange
             gradients over localhost (gloo); CPU only

Inference is a window of FastDVDnet, a step of NCFL; training is a step on clips
of 5 frames with noise and Adam. Each point is measured in a process of its own,
which compiles, waits for a call that does not count, and for each of --repeats.
Virtual devices share the machine's processors: more of them than it has compute
no faster, and the row shows what splitting costs. Points that the budget leaves
no time for are named as skipped. --small runs tiny networks on few points.
"""

import dataclasses
import functools
import json
import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile

# The processes that measure share the card with this one, which asks its name.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

from experiments import commands
from experiments.benchmarks import measuring, subjects
from vidrestore_jax.inference import streaming
from vidrestore_jax.training import sharding

_ROOT = pathlib.Path(__file__).parents[2]
_MODELS = ("fastdvdnet", "ncfl")
_AXES = ("size", "length", "batch", "devices", "processes")


@dataclasses.dataclass(frozen=True)
class Point:
  """What one process measures.

  Attributes:
    model: its name.
    program: "inference" or "training".
    size: height and width, before they are filled up to the stride.
    length: frames of a stream; of a step's clips; 0 for one call.
    batch: of all devices.
    devices: of all processes.
    processes: each with as many devices.
    small: whether the network is a tiny one.
  """

  model: str
  program: str
  size: tuple[int, int]
  length: int
  batch: int
  devices: int = 1
  processes: int = 1
  small: bool = False


@dataclasses.dataclass(frozen=True)
class _Plan:
  """Where the axes start and what they take; heights and widths."""

  base: tuple[int, int]
  length: int
  batch: int
  sizes: tuple[tuple[int, int], ...]
  lengths: tuple[int, ...]
  batches: tuple[int, ...] = (1, 2, 4, 8)
  devices: tuple[int, ...] = (1, 2, 4, 8)


_PLANS = {
    "inference": _Plan(
        (180, 320), 0, 1,
        sizes=((90, 160), (180, 320), (360, 640), (540, 960)),
        lengths=(4, 8, 16, 32),
    ),
    "training": _Plan(
        (64, 64), 5, 2,
        sizes=((32, 32), (64, 64), (96, 96), (128, 128)),
        lengths=(2, 5, 8),
    ),
}
_SMALL = {
    "inference": _Plan(
        (16, 16), 0, 1, ((16, 16), (32, 32)), (4,), (1, 2), (1, 2)
    ),
    "training": _Plan(
        (32, 32), 5, 2, ((32, 32),), (3,), (2,), (1, 2)
    ),
}


def points(models, programs, axes, small: bool) -> dict[Point, list[str]]:
  """The points to measure, each once, with the axes that it lies on."""
  found = {}
  cpu = jax.default_backend() == "cpu"
  most = float("inf") if cpu else jax.device_count()
  for program in programs:
    plan = (_SMALL if small else _PLANS)[program]
    for model in models:
      base = Point(
          model, program, plan.base, plan.length, plan.batch, small=small
      )
      whole = max(plan.batches)
      vary = functools.partial(dataclasses.replace, base)
      lines = {
          "size": [vary(size=size) for size in plan.sizes],
          "length": [vary(length=length) for length in plan.lengths],
          "batch": [vary(batch=batch) for batch in plan.batches],
          "devices": [
              vary(batch=whole, devices=count)
              for count in plan.devices if count <= most
          ],
          "processes": [
              vary(batch=whole, devices=count, processes=count)
              for count in (1, 2)
          ],
      }
      if program == "training" and model == "fastdvdnet":
        del lines["length"]  # Its window is five frames.
      if program == "inference" or not cpu:
        del lines["processes"]
      for axis in axes:
        for point in lines.get(axis, ()):
          found.setdefault(point, []).append(axis)
  return found


# In the process that measures


def measured(
    out, settings: str, repeats: str, index: str, address: str
) -> None:
  """Measures a point; the first of its processes writes a row.

  Args:
    out: file to write.
    settings: of the `Point`, as JSON.
    repeats: calls that are timed.
    index: of this process.
    address: where the processes meet.
  """
  point = Point(**json.loads(settings))
  if point.processes > 1:
    jax.distributed.initialize(address, point.processes, int(index))
  arguments = subjects.TINY[point.model] if point.small else ()
  model, variables = subjects.build(point.model, arguments, "float32")
  if point.program == "training":
    call, about = _step(point, model, variables)
    frames = point.batch * (point.length if model.recurrent else 1)
  elif point.length:
    call, about = _stream(point, model, variables), {}
    frames = point.length
  else:
    call, about = _call(point, model, variables)
    frames = point.batch
  times = measuring.alternate({"jax": call}, int(repeats), warmup=1)
  row = {
      "sides": times, "frames": frames,
      "frames_per_second": frames / times["jax"]["median_s"],
      # Linux counts in KiB, macOS in bytes.
      "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
      * (1 if sys.platform == "darwin" else 1024),
      **about, **subjects.peak_bytes(),
  }
  if jax.process_index() == 0:
    pathlib.Path(out).write_text(json.dumps(row))


def _mesh(point):
  devices = jax.devices()[: point.devices]
  return sharding.data_mesh(point.batch, devices)


def _call(point, model, variables):
  """A call that restores a frame of each clip, split over the devices."""
  clip, noise = subjects.inputs(model, point.size, batch=point.batch)
  mesh = _mesh(point)
  variables = sharding.replicate(variables, mesh)
  clip, noise = sharding.to_devices((clip, noise), mesh)
  with subjects.precision("float32"):
    if model.recurrent:
      frame = clip[:, 0]
      state = jax.jit(model.init_state)(frame)
      program, about = measuring.compile_program(
          functools.partial(subjects.step_of, model),
          variables, state, frame, noise, count=False,
      )
      args = (variables, state, frame, noise)
    else:
      args = (variables, clip, noise)
      program, about = measuring.compile_program(
          functools.partial(subjects.restored, model), *args, count=False
      )
  return functools.partial(measuring.waited, program, *args), about


def _stream(point, model, variables):
  """A call that restores a stream of frames from and to the host."""
  clip, noise = subjects.inputs(model, point.size, frames=point.length)
  sigma = None if noise is None else float(noise.flat[0])

  def call():
    for _ in streaming.restore_stream(
        model, variables, clip[0], sigma=sigma, aux=()
    ):
      pass

  return call


def _step(point, model, variables):
  """A call that trains for a step, the state carried on."""
  batch = subjects.training_batch(
      model, point.batch, point.size[0], frames=point.length
  )
  share = point.batch // point.processes
  first = jax.process_index() * share
  batch = jax.tree.map(lambda x: x[first : first + share], batch)
  step = subjects.Stepping(
      model, variables, batch, "float32", _mesh(point), count=False
  )
  return step, step.about


# In the process that starts the others


def measure(point: Point, repeats: int, limit: float) -> dict:
  """A row of the report: a point, measured by processes of its own.

  Args:
    point: what to measure.
    repeats: calls that are timed.
    limit: seconds after which they are ended.

  Raises:
    RuntimeError: a process failed, with the end of what it said.
    TimeoutError: they took too long.
  """
  env = dict(os.environ)
  if jax.default_backend() == "cpu":
    env["JAX_NUM_CPU_DEVICES"] = str(point.devices // point.processes)
  code = (
      "import sys; from experiments.benchmarks import growth;"
      " growth.measured(*sys.argv[1:])"
  )
  settings = json.dumps(dataclasses.asdict(point))
  with tempfile.TemporaryDirectory() as folder:
    out = pathlib.Path(folder) / "row.json"
    address = f"localhost:{_free_port()}"
    started = []
    for index in range(point.processes):
      command = [
          sys.executable, "-c", code, out, settings, str(repeats), str(index),
          address,
      ]
      log = open(pathlib.Path(folder) / f"log{index}", "w+")  # noqa: SIM115
      started.append((
          subprocess.Popen(
              command, cwd=_ROOT, env=env, stdout=log, stderr=log
          ),
          log,
      ))
    try:
      for process, log in started:
        if process.wait(limit):
          log.seek(0)
          raise RuntimeError(log.read()[-1500:])
    except subprocess.TimeoutExpired:
      raise TimeoutError(f"not done within {limit:.0f} s") from None
    finally:
      for process, log in started:
        process.kill()
        process.wait()
        log.close()
    return {
        **dataclasses.asdict(point), **json.loads(out.read_text())
    }


def _free_port() -> int:
  with socket.socket() as found:
    found.bind(("localhost", 0))
    return found.getsockname()[1]


def title(point: Point) -> str:
  """What a row is called."""
  height, width = point.size
  parts = [point.model, point.program, f"{width}x{height}"]
  if point.length:
    parts.append(f"{point.length} frames")
  parts.append(f"batch {point.batch}")
  if point.processes > 1:
    parts.append(f"{point.processes} processes")
  elif point.devices > 1:
    parts.append(f"{point.devices} devices")
  return ", ".join(parts)


def run(arguments) -> dict:
  """Measures what the command line asks for; returns what the JSON holds."""
  commands.check_json(arguments.json)
  chosen = measuring.choices(
      arguments, models=_MODELS, programs=tuple(_PLANS), axes=_AXES
  )
  measuring.check_least(arguments, repeats=2)
  about = {"command": arguments.command, **measuring.surroundings()}
  report = measuring.Report(
      arguments.json, arguments.budget, about, arguments.repeats
  )
  found = points(**chosen, small=arguments.small)
  for point, axes in found.items():
    report.row(
        title(point),
        lambda point=point, axes=axes: {
            "axes": axes,
            **measure(point, report.repeats, max(report.left, 60)),
        },
    )
  return report.content


def main(argv=None) -> int:
  """Runs the command; returns its exit status, 1 where a point failed."""
  parser = measuring.parser("growth", __doc__, budget=2400, repeats=5)
  parser.add_argument("--models", default=",".join(_MODELS), metavar="LIST")
  parser.add_argument("--programs", default=",".join(_PLANS), metavar="LIST")
  parser.add_argument("--axes", default=",".join(_AXES), metavar="LIST")
  parser.add_argument("--small", action="store_true")
  return measuring.command(parser, run, argv)


if __name__ == "__main__":
  sys.exit(main())
