"""Trains a model, measures it and releases it: one command, which resumes.

  python -m experiments.main --config=configs/ncfl_davis.py:m_d --workdir=DIR \\
      [--config.section.key=value ...] [--mode=eval] [--profile]

DIR ends with config.json, checkpoints/, metrics.jsonl, TensorBoard events,
summary.json, report/ and model/. The same command goes on where the run was
stopped; --mode=eval measures its newest checkpoint. --profile traces five steps
into DIR/profile, for TensorBoard or Perfetto.

Several processes (Slurm, Open MPI, GKE, a TPU pod with --multihost, or
JAX_COORDINATOR_ADDRESS with JAX_NUM_PROCESSES and JAX_PROCESS_ID) share the
work and one DIR. SIGTERM saves, and ends with status 143.
"""

# Grain's worker processes import this file again, so that what takes seconds
# to import is imported by the functions that use it.
import argparse
import pathlib
import shlex
import sys


def run(argv: list[str]):
  """Does what the command line asks for."""
  parser = argparse.ArgumentParser(
      prog="python -m experiments.main",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,  # --config.key must not be taken for --config.
  )
  parser.add_argument("--config", required=True, metavar="FILE.py[:variant]")
  parser.add_argument("--workdir", required=True, type=pathlib.Path)
  parser.add_argument(
      "--mode", default="train_and_eval", choices=("train_and_eval", "eval")
  )
  parser.add_argument(
      "--profile",
      action="store_true",
      help="trace five steps into DIR/profile",
  )
  parser.add_argument(
      "--multihost",
      action="store_true",
      help="join the other hosts of a TPU pod",
  )
  flags, overrides = parser.parse_known_args(argv)
  if flags.profile and flags.mode == "eval":
    raise ValueError(
        "--profile traces steps of training, but --mode=eval takes none. Leave"
        " out one of the two."
    )

  from experiments import configuration

  config = configuration.load(
      flags.config, configuration.parse_overrides(overrides)
  )
  from experiments import preemption, processes, train
  from vidrestore_jax import compilation_cache

  processes.join(flags.multihost)
  compilation_cache.enable()
  with preemption.listening() as notice, processes.ending_together():
    train.run(
        config,
        flags.workdir,
        command=shlex.join(["python", "-m", "experiments.main", *argv]),
        training=flags.mode == "train_and_eval",
        profile=flags.profile,
        notice=notice,
    )


def main(argv: list[str] | None = None) -> int:
  """Runs; returns the exit status of `commands.run`."""
  from experiments import commands, preemption

  argv = sys.argv[1:] if argv is None else argv
  status = commands.run(lambda: run(argv), stopped="The same command goes on.")
  if status not in (0, preemption.STATUS):
    from experiments import processes

    processes.leave(status)
  return status


if __name__ == "__main__":
  from experiments import commands

  commands.end(main())
