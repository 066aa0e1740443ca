"""Is a training step on this machine as fast as PyTorch's? Side by side.

  python -m experiments.benchmarks.training \\
      [--models=fastdvdnet,ncfl,ncfl_unrolled] [--batch=4] [--side=96] \\
      [--forms=float32] \\
      [--torch=eager,channels_last,compile] [--threads=2] [--repeats=7] \\
      [--budget=1800] [--small] [--json=OUT]

A step of the full-size network: --batch clips of 5 frames of --side pixels,
Gaussian noise of a level of its own for each clip, drawn in the step, mean
squared error, Adam. Loss and gradients of the two sides, of given noise, are
compared first: losses to 1e-4, gradients to 2e-2 of their norm (FastDVDnet's in
float32 are some 4e-3 from float64's in PyTorch itself); NCFL's quantiser is off
for that, since a symbol near a half may fall to either side, and on for the
clock. Then the sides take turns; `ratio` is the fastest form of PyTorch over
ours: above 1, ours is faster.

ncfl_unrolled is NCFL without its loop over time (config.model.unroll), which
may take less time for a step, and takes more to compile and to start again.

--threads binds this process to that many processors, which XLA then takes, and
gives PyTorch as many threads. The step is over all devices that JAX sees and
the batch splits over, as in experiments.main: on a CPU one, or more with
JAX_NUM_CPU_DEVICES, which then share the processors. --small runs tiny
networks, to try the script with.
"""

import sys

from experiments import commands
from experiments.benchmarks import beside_torch, measuring, subjects

_MODELS = {  # By label, the model and its arguments.
    "fastdvdnet": ("fastdvdnet", ()),
    "ncfl": ("ncfl", ()),
    "ncfl_unrolled": ("ncfl", (("unroll", 8),)),
}
_TORCH = ("eager", "channels_last", "compile")


def run(arguments) -> dict:
  """Measures what the command line asks for; returns what the JSON holds."""
  chosen = measuring.choices(
      arguments, models=_MODELS, forms=subjects.FORMS, torch=_TORCH,
      may_be_empty=("torch",),
  )
  measuring.check_least(arguments, batch=1, side=32, repeats=2)
  commands.check_json(arguments.json)
  peer = beside_torch.bound(arguments.threads, chosen["torch"])
  report = measuring.Report(
      arguments.json,
      arguments.budget,
      {"command": arguments.command, **measuring.surroundings()},
      arguments.repeats,
  )
  for label in chosen["models"]:
    name, kwargs = _MODELS[label]
    if arguments.small:
      kwargs = (*subjects.TINY[name], *kwargs)
    how = (name, kwargs, peer)
    same = beside_torch.gradients(report, *how, arguments.side, label=label)
    beside_torch.train(
        report, *how, (arguments.batch, arguments.side), chosen["forms"],
        chosen["torch"], label=label, same=same, everywhere=True,
    )
  return report.content


def main(argv=None) -> int:
  """Runs the command; returns its exit status, 1 where the sides differ."""
  parser = measuring.parser("training", __doc__, budget=1800, repeats=7)
  parser.add_argument("--models", default=",".join(_MODELS), metavar="LIST")
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--side", type=int, default=96)
  parser.add_argument("--forms", default="float32", metavar="LIST")
  parser.add_argument("--torch", default=",".join(_TORCH), metavar="LIST")
  measuring.add_threads(parser)
  parser.add_argument("--small", action="store_true")
  return measuring.command(parser, run, argv)


if __name__ == "__main__":
  sys.exit(main())
