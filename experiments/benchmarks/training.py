"""Is a training step on this machine as fast as PyTorch's? Side by side.

  python -m experiments.benchmarks.training [--models=fastdvdnet,ncfl] \\
      [--batch=4] [--side=96] [--forms=float32] \\
      [--torch=eager,channels_last,compile] [--threads=2] [--repeats=7] \\
      [--budget=1800] [--small] [--json=OUT]

A step of the full-size network: --batch clips of 5 frames of --side pixels,
Gaussian noise of a level of its own for each clip, drawn in the step, mean
squared error, Adam. Loss and gradients of the two sides, of given noise, are
compared first: losses to 1e-4, gradients as the accelerator's benchmark says;
NCFL's quantiser is off for that, since a symbol near a half may fall to either
side, and on for the clock. Then the sides take turns; `ratio` is the fastest
form of PyTorch over ours: above 1, ours is faster.

--threads binds this process to that many processors, which XLA then takes, and
gives PyTorch as many threads. --small runs tiny networks, to try the script.
"""

import argparse
import sys

from experiments import commands
from experiments.benchmarks import beside_torch, measuring, subjects
from vidrestore_jax.shapes import check_choice

_MODELS = ("fastdvdnet", "ncfl")
_TORCH = ("eager", "channels_last", "compile")


def run(arguments) -> dict:
  """Measures what the command line asks for; returns what the JSON holds."""
  chosen = {}
  for option, allowed in (
      ("models", _MODELS), ("forms", subjects.FORMS), ("torch", _TORCH)
  ):
    chosen[option] = tuple(filter(None, getattr(arguments, option).split(",")))
    for name in chosen[option]:
      check_choice(f"--{option}", name, allowed)
  for option, least in (("batch", 1), ("side", 32), ("repeats", 2)):
    if getattr(arguments, option) < least:
      raise ValueError(
          f"--{option} is at least {least}, but is"
          f" {getattr(arguments, option)}."
      )
  commands.check_json(arguments.json)
  measuring.bind_threads(arguments.threads)
  peer = None
  if chosen["torch"]:
    peer = beside_torch.Torch()
    peer.torch.set_num_threads(arguments.threads)
  report = measuring.Report(
      arguments.json,
      arguments.budget,
      {"command": arguments.command, **measuring.surroundings()},
      arguments.repeats,
  )
  for name in chosen["models"]:
    kwargs = subjects.TINY[name] if arguments.small else ()
    beside_torch.train(
        report, name, kwargs, peer, (arguments.batch, arguments.side),
        chosen["forms"], chosen["torch"],
    )
  return report.content


def main(argv=None) -> int:
  """Runs the command; returns its exit status, 1 where the sides differ."""
  typed = sys.argv[1:] if argv is None else argv
  parser = argparse.ArgumentParser(
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
  )
  parser.add_argument("--models", default=",".join(_MODELS), metavar="LIST")
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--side", type=int, default=96)
  parser.add_argument("--forms", default="float32", metavar="LIST")
  parser.add_argument("--torch", default=",".join(_TORCH), metavar="LIST")
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--repeats", type=int, default=7)
  parser.add_argument("--budget", type=float, default=1800, metavar="SECONDS")
  parser.add_argument("--small", action="store_true")
  parser.add_argument("--json", default=None, metavar="OUT")
  arguments = parser.parse_args(typed)
  arguments.command = [
      "python", "-m", "experiments.benchmarks.training", *typed
  ]
  content = {}
  status = commands.run(lambda: content.update(run(arguments)))
  return status or (1 if content.get("failed") else 0)


if __name__ == "__main__":
  sys.exit(main())
