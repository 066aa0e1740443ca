"""Is inference on this machine as fast as PyTorch's? FastDVDnet, side by side.

  python -m experiments.benchmarks.inference [--sizes=640x360,854x480] \\
      [--programs=window,stream] [--forms=float32] \\
      [--torch=eager,channels_last,compile] [--threads=2] [--repeats=10] \\
      [--budget=600] [--json=OUT]

The released network with the same weights on both sides, whose outputs are
compared first; in float32 they are at most 1e-4 apart. Then the sides take
turns; the table has medians, extremes and `ratio`, the fastest form of PyTorch
over ours: above 1, ours is faster.

  window  a call: five frames to one, what a PyTorch user runs
  stream  one more frame of a stream, each stage once: the first stage's
          results are kept, which we do and a PyTorch user would have to write

--threads binds this process to that many processors, which XLA then takes, and
gives PyTorch as many threads. glibc returns large buffers to the system with
every call and takes them anew: PyTorch, which allocates each layer's output,
gains 5 to 27 % where it does not, XLA next to nothing. To see that, set
MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184; the JSON
says what was set.
"""

import argparse
import os
import sys

from experiments import commands
from experiments.benchmarks import beside_torch, measuring, subjects
from vidrestore_jax.shapes import check_choice

_PROGRAMS = {"window": beside_torch.windows, "stream": beside_torch.streams}
_TORCH = ("eager", "channels_last", "compile")


def run(arguments) -> dict:
  """Measures what the command line asks for; returns what the JSON holds."""
  sizes = [  # (height, width)
      commands.parse_size(size)[::-1] for size in arguments.sizes.split(",")
  ]
  chosen = {}
  for option, allowed in (
      ("programs", _PROGRAMS), ("forms", subjects.FORMS), ("torch", _TORCH)
  ):
    chosen[option] = tuple(filter(None, getattr(arguments, option).split(",")))
    for name in chosen[option]:
      check_choice(f"--{option}", name, allowed)
  commands.check_json(arguments.json)
  if arguments.repeats < 2:
    raise ValueError(
        f"--repeats is at least 2, for a spread, but is {arguments.repeats}."
    )
  processors = sorted(os.sched_getaffinity(0))
  if not 1 <= arguments.threads <= len(processors):
    raise ValueError(
        f"--threads is between 1 and {len(processors)} here, but is"
        f" {arguments.threads}."
    )
  # Before JAX counts them.
  os.sched_setaffinity(0, processors[: arguments.threads])
  peer = None
  if chosen["torch"]:
    peer = beside_torch.Torch()
    peer.torch.set_num_threads(arguments.threads)
  about = {
      "command": arguments.command,
      "machine": measuring.machine(),
      "malloc": {k: v for k, v in os.environ.items() if "MALLOC" in k},
  }
  print(about["machine"]["cpu"], about["machine"]["devices"])
  print(about["machine"]["versions"], f"{arguments.threads} threads each")
  report = measuring.Report(
      arguments.json, arguments.budget, about, arguments.repeats
  )
  for size in sizes:
    for program in chosen["programs"]:
      _PROGRAMS[program](
          report, (), peer, size, chosen["forms"], chosen["torch"], "inference"
      )
  return report.content


def main(argv=None) -> int:
  """Runs the command; returns its exit status, 1 where outputs differ."""
  typed = sys.argv[1:] if argv is None else argv
  parser = argparse.ArgumentParser(
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
  )
  parser.add_argument("--sizes", default="640x360,854x480", metavar="LIST")
  parser.add_argument("--programs", default="window,stream", metavar="LIST")
  parser.add_argument("--forms", default="float32", metavar="LIST")
  parser.add_argument("--torch", default=",".join(_TORCH), metavar="LIST")
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--repeats", type=int, default=10)
  parser.add_argument("--budget", type=float, default=600, metavar="SECONDS")
  parser.add_argument("--json", default=None, metavar="OUT")
  arguments = parser.parse_args(typed)
  arguments.command = [
      "python", "-m", "experiments.benchmarks.inference", *typed
  ]
  content = {}
  status = commands.run(lambda: content.update(run(arguments)))
  return status or (1 if content.get("failed") else 0)


if __name__ == "__main__":
  sys.exit(main())
