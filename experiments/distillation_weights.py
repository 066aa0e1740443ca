"""Weights of space-time distillation for a pair of teacher and student.

  python -m experiments.distillation_weights --config=configs/std_vimeo.py \\
      --config.task.teacher.init_from=EDVR --config.init_from=BASE \\
      [--batches=20] [--share=0.1] [--json=OUT] [--config.key=value]

The paper does not say its two weights, and what they have to be depends on the
networks: L_SD is of the fourth power of their features. This measures the mean
of L_rec, L_SD and L_TD over the first batches, without training, and says the
weights that make each of the latter `share` of L_rec. BASE is a student that
was trained alone for a while (--config=configs/std_vimeo.py:fastdvdnet_base,
--config.steps=1000); one that has just been initialised says little.

energy_ratio says how many times the student's maps of L_SD are its teacher's.
"""

import argparse
import contextlib
import functools
import pathlib
import sys
import tempfile

import jax

from experiments import commands, configuration, train
from experiments import job as jobs
from vidrestore_jax import compilation_cache
from vidrestore_jax.training import sharding

# Metrics of the task, and the arguments that weigh them.
_PARTS = {"space_loss": "lambda_sd", "time_loss": "lambda_td"}
# Beyond such a factor, L_SD is first of all about scale.
_SCALE = 4.0


def measure(config, count: int) -> dict[str, float]:
  """Means of the losses over batches.

  Args:
    config: as `jobs.resolve` gives it.
    count: of batches.

  Returns:
    `reconstruction_loss` and those of `space_loss` (with `energy_ratio`) and
    `time_loss` whose weight in the config is not 0.

  Raises:
    ValueError, OSError: the config's task is no distillation, its data or its
      released models are not there.
  """
  if config.task.name != "distillation":
    raise ValueError(
        f"config.task is {config.task.name}, which has nothing to weigh. Take a"
        " variant with a teacher, such as configs/std_vimeo.py:fastdvdnet_std."
    )
  size = config.batch_size
  mesh = sharding.data_mesh(size, sharding.fitting_devices(size))
  job = jobs.build(config)
  iterator, batch = train.batches(config)
  with contextlib.closing(iterator):
    state = sharding.jit_init(job.create_state, mesh)(batch)
    state = jobs.start_from_released(config, job, state)

    @jax.jit
    def losses(state, batch):
      key = jax.random.key(0)  # Pairs need none.
      _, (_, metrics) = job.task.loss(
          state.params, state.model_state, batch, key, state.step
      )
      return {
          name: metrics[name]
          for name in ("reconstruction_loss", *_PARTS, "energy_ratio")
          if name in metrics
      }

    sums = {}
    for _ in range(count):
      found = losses(state, sharding.to_devices(next(iterator), mesh))
      for name, value in jax.device_get(found).items():
        sums[name] = sums.get(name, 0.0) + float(value)
  return {name: value / count for name, value in sums.items()}


def with_any_weights(config):
  """The config with 1 for weights of distillation that are still None."""
  config = config.copy_and_resolve_references()
  for argument in _PARTS.values():
    if config.task.get(argument, 0) is None:
      config.task[argument] = 1.0
  return config


def weights(means: dict[str, float], share: float) -> dict[str, float]:
  """`lambda_sd`, `lambda_td` that make a loss `share` of the reconstruction's.

  Raises:
    ValueError: a loss is 0, so that no weight does.
  """
  found = {}
  for name, argument in _PARTS.items():
    if name not in means:
      continue
    if not means[name]:
      raise ValueError(
          f"{name} is 0: teacher and student have equal features, and no weight"
          " makes them differ. Take another student or teacher."
      )
    found[argument] = share * means["reconstruction_loss"] / means[name]
  return found


def run(argv: list[str]) -> dict:
  """Measures, prints and writes what the command line asks for."""
  parser = argparse.ArgumentParser(
      prog="python -m experiments.distillation_weights",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,  # --config.key must not be taken for --config.
  )
  parser.add_argument("--config", required=True, metavar="FILE.py[:variant]")
  parser.add_argument("--batches", type=int, default=20)
  parser.add_argument("--share", type=float, default=0.1)
  parser.add_argument("--json", metavar="OUT")
  args, overrides = parser.parse_known_args(argv)
  if args.batches < 1 or args.share <= 0:
    raise ValueError(
        "--batches is at least 1 and --share above 0, but got"
        f" {args.batches} and {args.share:g}."
    )
  commands.check_json(args.json)
  compilation_cache.enable()
  config = configuration.load(
      args.config, configuration.parse_overrides(overrides)
  )
  with tempfile.TemporaryDirectory() as nowhere:  # No run has started.
    config = jobs.resolve(config, pathlib.Path(nowhere))
  means = measure(with_any_weights(config), args.batches)
  found = weights(means, args.share)
  for name, value in means.items():
    print(f"{name:<20} {value:.4g}")
  print(f"\nEach {args.share:g} of the first by")
  for name, value in found.items():
    print(f"  --config.task.{name}={value:.3g}")
  ratio = means.get("energy_ratio", 1.0)
  if config.task.normalize == "none" and not 1 / _SCALE < ratio < _SCALE:
    print(
        f"\nThe student's maps are {ratio:.3g} times its teacher's: before they"
        " are alike, L_SD is about scale alone. --config.task.normalize=l2"
        " compares where they are strong."
    )
  result = {
      "config": args.config,
      "batches": args.batches,
      "share": args.share,
      "losses": means,
      "weights": found,
  }
  if args.json:
    commands.write_json(args.json, result)
  return result


def main(argv: list[str] | None = None) -> int:
  """Runs; returns the exit status of `commands.run`."""
  return commands.run(
      functools.partial(run, sys.argv[1:] if argv is None else argv)
  )


if __name__ == "__main__":
  sys.exit(main())
