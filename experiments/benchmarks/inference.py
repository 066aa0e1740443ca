"""Is inference on this machine as fast as PyTorch's? Models beside their twins.

  python -m experiments.benchmarks.inference [--models=LIST] \\
      [--sizes=640x360,854x480] [--programs=window,stream,clip,flow] \\
      [--forms=float32] [--torch=eager,channels_last,compile] [--threads=2] \\
      [--repeats=10] [--row-seconds=60] [--budget=7200] [--small] [--json=OUT]

The same weights on both sides, drawn at random, whose outputs are compared
first: in float32 they are at most 1e-4 apart, in units of the largest value
where that is above 1. Then the sides take turns; the table has medians,
extremes and `ratio`, the fastest form of PyTorch over ours: above 1, ours is
faster.

  window  a windowed model's call, such as FastDVDnet's: five frames to one,
          what a PyTorch user runs
  stream  one more frame of a stream: a recurrent model's step, and of a cascade
          of windows each stage once, whose earlier results are kept, which we
          do and a PyTorch user would have to write
  clip    a bidirectional model's call on five frames
  flow    SpyNet's, of two frames

--models names files of vidrestore_jax/models or variants of them (`--models=?`
says which). What rounds (ncfl, ncfl_clean) may round to either side, so its
bound is a wide one of relative error; the exact comparison is that of ncfl_noq
and ncfl_clean_noq, with the quantiser off.

--sizes are those of the frames that are made; what enlarges gets smaller ones.
A row takes about --row-seconds: of a slow model fewer calls are timed, but at
least two. --small takes models of a few channels, to try the script with.
--threads binds this process to that many processors, which XLA then takes, and
gives PyTorch as many threads. glibc returns large buffers to the system with
every call and takes them anew: PyTorch, which allocates each layer's output,
gains 5 to 27 % where it does not, XLA next to nothing. To see that, set
MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184; the JSON
says what was set.
"""

import sys

from experiments import commands
from experiments.benchmarks import beside_torch, measuring, subjects, twins
from vidrestore_jax import models

_TORCH = ("eager", "channels_last", "compile")
_FIRST = ("fastdvdnet", "ncfl_noq", "ncfl")  # What the budget is for.
MODELS = tuple(
    dict.fromkeys([*_FIRST, *twins.available(), *subjects.VARIANTS])
)


def run(arguments) -> dict:
  """Measures what the command line asks for; returns what the JSON holds."""
  sizes = [  # (height, width)
      commands.parse_size(size)[::-1] for size in arguments.sizes.split(",")
  ]
  chosen = measuring.choices(
      arguments, models=MODELS, programs=tuple(beside_torch.PROGRAMS),
      forms=subjects.FORMS, torch=_TORCH, may_be_empty=("torch",),
  )
  commands.check_json(arguments.json)
  measuring.check_least(arguments, repeats=2)
  peer = beside_torch.bound(arguments.threads, chosen["torch"])
  report = measuring.Report(
      arguments.json,
      arguments.budget,
      {"command": arguments.command, **measuring.surroundings()},
      arguments.repeats,
      arguments.row_seconds,
  )
  # All sizes of a model before the next one: the budget ends with the others.
  for label in chosen["models"]:
    name, options = case = subjects.case(label, arguments.small)
    model = models.build(name, **dict(options))
    for size in sizes:
      for program in subjects.programs(model):
        if program in chosen["programs"]:
          beside_torch.compare(
              report, label, case, program, peer, size, chosen["forms"],
              chosen["torch"], "inference",
          )
  report.write()
  return report.content


def main(argv=None) -> int:
  """Runs the command; returns its exit status, 1 where outputs differ."""
  parser = measuring.parser("inference", __doc__, budget=7200, repeats=10)
  parser.add_argument("--models", default=",".join(MODELS), metavar="LIST")
  parser.add_argument("--sizes", default="640x360,854x480", metavar="LIST")
  parser.add_argument(
      "--programs", default=",".join(beside_torch.PROGRAMS), metavar="LIST"
  )
  parser.add_argument("--forms", default="float32", metavar="LIST")
  parser.add_argument("--torch", default=",".join(_TORCH), metavar="LIST")
  measuring.add_threads(parser)
  parser.add_argument("--row-seconds", type=float, default=60)
  parser.add_argument("--small", action="store_true")
  return measuring.command(parser, run, argv)


if __name__ == "__main__":
  sys.exit(main())
