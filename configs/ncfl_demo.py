"""A small NCFL on procedural clips: the README's first command.

  python -m experiments.main --config=configs/ncfl_demo.py --workdir=DIR

Needs no data and no accelerator. It pretrains a small SpyNet, trains in two
stages, measures held-out procedural clips and leaves a report; numbers on real
frames are in the README. `:twenty_minutes` trains longer.

The paper's network with fewer channels and three U-Net scales, at half the
resolution on frames folded by 2, where two CPU cores are fastest; and with the
shortcuts below, which the paper's 100,000 iterations can do without.
"""

import ml_collections

from configs import common, spynet_procedural

VARIANTS = ("", "twenty_minutes")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; `variant` is "" or "twenty_minutes"."""
  if variant not in VARIANTS:
    raise ValueError(
        f"ncfl_demo has no variant {variant!r}. It has: twenty_minutes (or"
        " none)."
    )
  config = common.base()
  config.steps = {"": 500, "twenty_minutes": 1_700}[variant]
  config.batch_size = 4
  config.patch_size = 64
  config.ema_decay = 0.99
  config.log_every = 20
  config.eval_every = 0  # Two minutes of training are measured at their end.
  config.checkpoint_every = 200

  config.pretrain = {
      "motion": spynet_procedural.get_config(variant or "demo")
  }
  config.model = {
      "name": "ncfl",
      "init_from": {"motion": ""},
      "fold": 2,
      "widths": (32, 64, 96),
      "reduction": 8,
      "attention_widths": (16, 32, 48),
      "attention_blocks": 1,
      "attention_middle_blocks": 2,
      "motion_channels": 16,
      "feature_channels": 16,
      "hidden_channels": 64,
      "latent_channels": 256,
      "prior_channels": (32, 48),
      "motion": dict(spynet_procedural.SMALL),
      # A short run has no time to learn first to pass on flow and feature, and
      # only then to gain from them: its refiner adds to the flow, its coder
      # starts as the identity with fine steps, its feature holds the frame.
      "motion_residual": True,
      "identity_start": True,
      "step_start": 0.1,
      "step_minimum": 0.05,
      "residual": False,
  }
  config.task = {
      "name": "restoration",
      "degradation": common.awgn(5, 55),
      # The paper's 1 / 2048 empties the latent within the first hundred steps,
      # before anything in it has proved useful.
      "rate_weight": 1e-5,
      "rate_steps": config.steps // 2,
  }
  # The paper's rates are for 100,000 steps; these for some hundreds.
  config.optimizer = common.adamw(
      1.5e-3,
      final_learning_rate=1e-6,
      warmup_steps=30,
      b2=0.99,
      weight_decay=0.0,
      groups={
          "motion": {
              "learning_rate": 1e-4,
              "frozen_steps": config.steps // 4,
          }
      },
  )
  # As slow as hand-held and street scenes are; faster motion needs a better
  # flow than these minutes can train.
  clips = {"name": "procedural", "flow": False, "max_speed": 3.0}
  config.data.workers = 0  # A thread draws 140 clips a second; a step takes 4.
  config.data.train = clips | {
      "size": 1_000_000,
      "seed": 1,
      "length": 5,
      "height": 64,
      "width": 64,
  }
  config.eval.data = clips | {
      "size": 4,
      "seed": 2,
      "length": 10,
      "height": 192,
      "width": 192,
  }
  config.eval.sigmas = (10, 30, 50)
  return config
