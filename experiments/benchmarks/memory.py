"""How much memory does a training step take, by policy, and how much time?

  python -m experiments.benchmarks.memory [--models=ncfl,fastdvdnet] \\
      [--policies=none,block,step,none/2,...] [--size=96] [--batch=4] \\
      [--frames=5] [--threads=2] [--repeats=5] [--budget=3600] [--small] \\
      [--json=OUT]

A policy is what config.model.remat says (none, step or block), and after
slashes, in any order, parts of the batch that are computed one after another
(config.accumulate), `bfloat16`, and `unrolled` for a recurrent model without a
loop over time (config.model.unroll): step/2/bfloat16/unrolled.

Of each, the step that training compiles, with Adam, of clips of --frames frames
of --size pixels. --size=128 --batch=16 is that of NCFL's paper; on an
accelerator it is the default. Two numbers:

  program   what the compiled program says itself that it needs: arguments,
            results and temporaries, what is donated counted once
  measured  on a CPU, by how much the resident memory of a process that does
            nothing else grows to its peak in three steps, from when there is no
            state; it has compiled and run a step before, and what that took is
            not in it. On an accelerator, the most that JAX has held there in
            such a process, the choice of algorithms included

Each policy has a process of its own; for the clock it takes turns with that of
`none`, so that what else the machine does befalls both. The table says what
share of `none` each takes, and names the least of memory at under 1.4 times the
time. --small runs tiny networks, to try the script.
"""

import contextlib
import ctypes
import functools
import gc
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

# Two processes share a card, and its allocator is asked for its peak.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import optax

from experiments import commands
from experiments.benchmarks import measuring, subjects
from vidrestore_jax import models
from vidrestore_jax.layers.recomputation import POLICIES
from vidrestore_jax.shapes import DTYPES, check_choice
from vidrestore_jax.training import sharding
from vidrestore_jax.training import step as training

_MODELS = ("ncfl", "fastdvdnet")
_BOTH = "none,block,step,none/2,block/2,step/2,none/4"
_DEFAULTS = {
    "cpu": {"size": 96, "batch": 4, "policies": _BOTH},
    None: {
        "size": 128,
        "batch": 16,
        "policies": f"{_BOTH},none/bfloat16,block/bfloat16,step/bfloat16,"
        "none/unrolled,step/unrolled",
    },
}
LONGER = 1.4  # What the leanest policy may take, of `none`.
_SPEC = "--policy"  # Makes a process the one of a policy.


class Policy(NamedTuple):
  """How a step is computed."""

  remat: str = "none"
  accumulate: int = 1
  dtype: str = "float32"
  unrolled: bool = False

  @classmethod
  def parse(cls, text: str):
    """Of "step/2/bfloat16/unrolled".

    Raises:
      ValueError: a part that says nothing, or no remat in front.
    """
    remat, *rest = text.split("/")
    check_choice("--policies: what is computed anew", remat, POLICIES)
    policy = cls(remat)
    for part in rest:
      if part.isdecimal() and int(part) > 0:
        policy = policy._replace(accumulate=int(part))
      elif part in DTYPES:
        policy = policy._replace(dtype=part)
      elif part == "unrolled":
        policy = policy._replace(unrolled=True)
      else:
        raise ValueError(
            f"--policies: {text} has {part!r}, which is no number of parts, no"
            f" dtype ({', '.join(DTYPES)}) and not 'unrolled'."
        )
    return policy


# The process of a policy


def serve(spec: dict):
  """Compiles a step, says what it needs, and runs it when told.

  Prints a line of JSON: what the program says, then what is measured; then an
  empty one after each step that a line on stdin asks for.

  Args:
    spec: `model`, `policy`, `batch`, `size`, `frames` and `small`.
  """
  policy = Policy(*spec["policy"])
  name, arguments = subjects.case(spec["model"], spec["small"])
  changes = {"remat": policy.remat, "dtype": policy.dtype}
  if policy.unrolled:
    changes["unroll"] = spec["frames"]
  model = models.build(name, **dict(arguments) | changes)
  batch = subjects.training_batch(
      model, spec["batch"], spec["size"], spec["frames"]
  )
  tx = optax.adam(1e-3)
  step = functools.partial(
      training.train_step,
      task=subjects.restoration(model),
      tx=tx,
      ema_decay=0.0,
      accumulate=policy.accumulate,
  )
  start = functools.partial(subjects.training_state, model, tx=tx)
  variables = subjects.weights(name, arguments)
  mesh = sharding.data_mesh(
      spec["batch"], jax.devices()[:1], parts=policy.accumulate
  )
  program, about = measuring.compile_program(
      sharding.jit_step(step, mesh), jax.eval_shape(start, variables), batch,
      count=False,
  )
  print(json.dumps(about), flush=True)

  batch = sharding.to_devices(batch, mesh)

  def steps(count):
    state = sharding.replicate(start(variables), mesh)
    for _ in range(count):
      state, metrics = jax.block_until_ready(program(state, batch))
    return state, metrics

  steps(1)  # Leaves what the runtime keeps for itself.
  gc.collect()
  _return_freed_memory()
  meter = _Resident() if jax.default_backend() == "cpu" else _Allocated()
  state, metrics = steps(3)
  measured = meter.read() | {"loss": float(metrics["loss"])}
  print(json.dumps(measured), flush=True)
  for _ in sys.stdin:
    state, metrics = jax.block_until_ready(program(state, batch))
    print(flush=True)


class _Resident:
  """Growth of the process's resident memory since this was made."""

  def __init__(self):
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # The peak, anew.
    self._before = self._status("VmRSS")

  def read(self) -> dict:
    """Bytes before, and by how many more there were at the peak."""
    grown = self._status("VmHWM") - self._before
    return {"measured_bytes": grown, "resident_before_bytes": self._before}

  def _status(self, key: str) -> int:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
      if line.startswith(key):
        return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status does not tell {key}.")


class _Allocated:
  """What JAX's allocator has held on the first device."""

  def __init__(self):
    self._device = jax.devices()[0]

  def read(self) -> dict:
    """The most bytes so far."""
    stats = self._device.memory_stats() or {}
    return {"measured_bytes": stats.get("peak_bytes_in_use")}


def _return_freed_memory():
  """What compiling took and freed goes back to the system, with glibc."""
  with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(None).malloc_trim(0)


# The process that asks


class Worker:
  """The process of one policy, seen from outside.

  Attributes:
    about: what its program says, and what was measured.
  """

  def __init__(self, spec: dict):
    command = [sys.executable, "-m", __spec__.name, _SPEC, json.dumps(spec)]
    self._process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
      self.about = json.loads(self._answer()) | json.loads(self._answer())
    except BaseException:
      self.close()
      raise

  def step(self):
    """One more step, from start to end."""
    self._process.stdin.write("\n")
    self._process.stdin.flush()
    self._answer()

  def close(self):
    """Ends it."""
    self._process.kill()
    self._process.communicate()

  def _answer(self) -> str:
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError(
          f"The process of a policy ended with {self._process.wait()}."
      )
    return line


def measure(report, spec: dict, policies: dict) -> list[dict]:
  """The rows of one model: `none` first, then each beside it.

  Args:
    report: a `measuring.Report`.
    spec: of the processes, but for the policy.
    policies: by name.
  """
  rows, reference = [], None

  def row(name, policy):
    nonlocal reference
    worker = Worker({**spec, "policy": policy})
    sides = {name: worker.step}
    if reference is None:
      reference = worker
    else:
      sides = {"none": reference.step, **sides}
    try:
      times = measuring.alternate(sides, report.repeats, warmup=1)
    finally:
      if worker is not reference:
        worker.close()
    own, beside = worker.about, reference.about
    return {
        **spec,
        "policy": name,
        **policy._asdict(),
        "sides": times,
        "ratio": times[name]["median_s"]
        / times[next(iter(times))]["median_s"],
        **own,
        **{
            f"{kind}_share": own[f"{kind}_bytes"] / beside[f"{kind}_bytes"]
            for kind in ("program", "measured")
            if own.get(f"{kind}_bytes") and beside.get(f"{kind}_bytes")
        },
    }

  try:
    for name, policy in policies.items():
      label = f"{spec['model']} {name}"
      rows.append(report.row(label, functools.partial(row, name, policy)))
      if reference is None:  # Nothing to compare with.
        break
  finally:
    if reference is not None:
      reference.close()
  return [row for row in rows if row and "ratio" in row]


def leanest(rows: list[dict]) -> dict | None:
  """The row of the least memory at under 1.4 times the time of `none`."""
  fast = [row for row in rows if row["ratio"] < LONGER]
  return min(fast, key=lambda row: row["program_bytes"], default=None)


def title(rows: list[dict]) -> str:
  """What the rows of one model are of, in words."""
  row = rows[0]
  small = "tiny " * row["small"]
  return (
      f"{small}{row['model']}, {row['batch']} clips of {row['frames']} frames,"
      f" {row['size']}x{row['size']}"
  )


def lines(rows: list[dict]) -> list[list[str]]:
  """What the rows of one model say, as cells, of which the first are the head.

  Args:
    rows: of a report, those that were measured.
  """

  def mebibytes(row, kind):
    if row.get(f"{kind}_bytes") is None:
      return ["-", "-"]
    share = row.get(f"{kind}_share")
    return [
        f"{row[f'{kind}_bytes'] / 2**20:.0f}",
        "-" if share is None else f"{share:.2f}",
    ]

  head = ["policy", "program MiB", "of none", "measured MiB", "of none"]
  found = [[*head, "step s", "min to max", "of none", "compile s"]]
  for row in rows:
    times = row["sides"][row["policy"]]
    found.append([
        row["policy"],
        *mebibytes(row, "program"),
        *mebibytes(row, "measured"),
        f"{times['median_s']:.3f}",
        f"{times['min_s']:.3f} to {times['max_s']:.3f}",
        f"{row['ratio']:.2f}",
        f"{row['compile_s']:.0f}",
    ])
  return found


def markdown(rows: list[dict]) -> str:
  """The same as a table; imports nothing that an accelerator may lack."""
  head, *body = lines(rows)
  return "\n".join(
      f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body)
  )


def run(arguments) -> dict:
  """Measures what the command line asks for; returns what the JSON holds."""
  named = measuring.choices(arguments, models=_MODELS)["models"]
  measuring.bind_threads(arguments.threads)
  usual = _DEFAULTS.get(jax.default_backend(), _DEFAULTS[None])
  size = usual["size"] if arguments.size is None else arguments.size
  batch = usual["batch"] if arguments.batch is None else arguments.batch
  for option, given in (("size", size), ("batch", batch)):
    if given < 1:
      raise ValueError(f"--{option} is at least 1, but is {given}.")
  texts = filter(None, (arguments.policies or usual["policies"]).split(","))
  policies = {"none": Policy()} | {text: Policy.parse(text) for text in texts}
  for text, policy in policies.items():
    if batch % policy.accumulate:
      raise ValueError(
          f"--policies: {text} splits a batch of {batch} into"
          f" {policy.accumulate} parts. Use another --batch."
      )
  measuring.check_least(arguments, frames=1, repeats=2)
  commands.check_json(arguments.json)
  report = measuring.Report(
      arguments.json,
      arguments.budget,
      {"command": arguments.command, **measuring.surroundings()},
      arguments.repeats,
  )
  report.content["leanest"] = {}
  tables = []
  for name in named:
    built = models.build(name)
    spec = {
        "model": name,
        "batch": batch,
        "size": size,
        "frames": arguments.frames if built.recurrent else 5,
        "small": arguments.small,
    }
    # What has no loop over time has none to unroll either.
    chosen = {
        text: policy
        for text, policy in policies.items()
        if built.recurrent or not policy.unrolled
    }
    rows = measure(report, spec, chosen)
    least = leanest(rows)
    if least:
      report.content["leanest"][name] = least["policy"]
    if rows:
      tables += [title(rows), markdown(rows)]
    if least:
      tables.append(
          f"Leanest at under {LONGER} times the time: {least['policy']}."
      )
  report.write()
  print("\n" + "\n\n".join(tables))
  return report.content


def main(argv=None) -> int:
  """Runs the command; returns its exit status, 1 where a row failed."""
  typed = sys.argv[1:] if argv is None else argv
  if typed[:1] == [_SPEC]:
    serve(json.loads(typed[1]))
    return 0
  parser = measuring.parser("memory", __doc__, budget=3600, repeats=5)
  parser.add_argument("--models", default=",".join(_MODELS), metavar="LIST")
  parser.add_argument("--policies", default=None, metavar="LIST")
  parser.add_argument("--size", type=int, default=None, metavar="PIXELS")
  parser.add_argument("--batch", type=int, default=None)
  parser.add_argument("--frames", type=int, default=5)
  measuring.add_threads(parser)
  parser.add_argument("--small", action="store_true")
  return measuring.command(parser, run, typed)


if __name__ == "__main__":
  sys.exit(main())
