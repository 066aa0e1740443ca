"""A small NCFL on procedural clips: the README's first command.

  python -m experiments.main --config=configs/ncfl_demo.py --workdir=DIR

Needs no data and no accelerator. It pretrains a small SpyNet, trains in two
stages, measures held-out procedural clips and leaves a report; numbers on real
frames are in the README. `:twenty_minutes` trains longer.

The paper's network with fewer channels and three U-Net scales, at half the
resolution on frames folded by 2, where two CPU cores are fastest; and with the
shortcuts below, which the paper's 100,000 iterations can do without. The
variants `:synthetic` of the other NCFL configs start from the same recipe.
"""

import ml_collections

from configs import common, spynet_procedural

VARIANTS = ("", "twenty_minutes")


def small(
    *,
    steps: int,
    flow: str = "twenty_minutes",
    patch_size: int = 64,
    widths: tuple[int, ...] = (32, 64, 96),
    feature_channels: int = 16,
    channels: int = 3,
    noise_map: bool = False,
    residual: bool = False,
    degradation: dict | None = None,
) -> ml_collections.ConfigDict:
  """A config whose network trains in minutes on two cores, but for its data.

  Args:
    steps: of training, of which half have a rate and a quarter frozen flow.
    flow: variant of `spynet_procedural` that is trained first.
    patch_size: side of the clips it trains on, a multiple of 8; of packed
      planes where they are raw.
    widths: of the U-Net's scales; two more or fewer change its cost most.
    feature_channels: of the feature, on which the coder's widths depend.
    channels: 3 for RGB, 4 for packed raw.
    noise_map: whether the network is told the noise level.
    residual: whether its output is added to the frame. Without, the feature
      holds the restored frame itself rather than the noise, so that the next
      step soon finds something to use in it.
    degradation: of the task; None where the data brings degraded clips.
  """
  config = common.base()
  config.steps = steps
  config.batch_size = 4
  config.patch_size = patch_size
  config.ema_decay = 0.99
  config.log_every = 20
  config.eval_every = 0  # Minutes of training are measured at their end.
  config.checkpoint_every = 200

  config.pretrain = {"motion": spynet_procedural.get_config(flow)}
  config.model = {
      "name": "ncfl",
      "init_from": {"motion": ""},
      "channels": channels,
      "fold": 2,
      "widths": widths,
      "reduction": 8,
      "attention_widths": (16, 32, 48),
      "attention_blocks": 1,
      "attention_middle_blocks": 2,
      "motion_channels": 16,
      "feature_channels": feature_channels,
      "hidden_channels": 4 * feature_channels,
      "latent_channels": 16 * feature_channels,
      "prior_channels": (32, 48),
      "motion": dict(spynet_procedural.SMALL),
      # A short run has no time to learn first to pass on flow and feature, and
      # only then to gain from them: its refiner adds to the flow, its coder
      # starts as the identity with fine steps.
      "motion_residual": True,
      "identity_start": True,
      "step_start": 0.1,
      "step_minimum": 0.05,
      "residual": residual,
      "noise_map": noise_map,
  }
  config.task = {
      "name": "restoration",
      "degradation": degradation,
      # The paper's 1 / 2048 empties the latent within the first hundred steps,
      # before anything in it has proved useful.
      "rate_weight": 1e-5,
      "rate_steps": steps // 2,
  }
  # The paper's rates are for 100,000 steps; these for some hundreds.
  config.optimizer = common.adamw(
      1.5e-3,
      final_learning_rate=1e-6,
      warmup_steps=30,
      b2=0.99,
      weight_decay=0.0,
      groups={
          "motion": {"learning_rate": 1e-4, "frozen_steps": steps // 4}
      },
  )
  config.data.workers = 0  # A thread draws 140 clips a second; a step takes 4.
  return config


def on_clips(config, *, steps: int, batch_size: int, ema_decay: float):
  """Makes a config one of minutes on two cores, on procedural clips.

  Args:
    config: is changed; its clip length and patch size are those of the clips.
    steps: of the run.
    batch_size: clips of a step.
    ema_decay: of the average that is measured and released.
  """
  config.steps, config.batch_size = steps, batch_size
  config.ema_decay = ema_decay
  config.log_every = 20
  config.eval_every = 0  # Minutes of training are measured at their end.
  config.checkpoint_every = 200
  config.data.workers = 0  # A thread draws more clips than a step takes.
  config.data.train, config.eval.data = clips(config)
  config.eval.sigmas = (10, 30, 50)


def clips(config, *, train: int = 0, test: int = 192) -> tuple[dict, dict]:
  """Procedural clips to train on, and others to measure on.

  As slow as hand-held and street scenes are; faster motion needs a better
  flow than minutes can train.

  Args:
    config: made by `small`; gives the size of a patch.
    train: side of the clips of training; 0 for that of a patch.
    test: side of the clips to measure on.

  Returns:
    `config.data.train` and `config.eval.data`.
  """
  source = {"name": "procedural", "flow": False, "max_speed": 3.0}
  side = train or config.patch_size
  return (
      source
      | {
          "size": 1_000_000,
          "seed": 1,
          "length": config.clip_length,
          "height": side,
          "width": side,
      },
      source
      | {"size": 4, "seed": 2, "length": 10, "height": test, "width": test},
  )


def degraded_clips(config, degradation: dict, **changes):
  """Trains on procedural clips that are degraded, and measures on others.

  Args:
    config: made by `small`; is changed.
    degradation: name and arguments, of the pipeline unless the task has it.
    **changes: further arguments of the source of procedural clips.
  """
  config.data.train, source = (part | changes for part in clips(config))
  if config.task.degradation is None:
    config.data.degradation = degradation
  common.degraded_eval(config, source, degradation)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; `variant` is "" or "twenty_minutes"."""
  common.check_variant("ncfl_demo", variant, VARIANTS)
  config = small(
      steps={"": 500, "twenty_minutes": 1_700}[variant],
      flow=variant or "demo",
      noise_map=True,
      degradation=common.awgn(5, 55),
  )
  config.data.train, config.eval.data = clips(config)
  config.eval.sigmas = (10, 30, 50)
  return config
