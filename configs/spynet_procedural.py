"""SpyNet on procedural clips with exact flow: NCFL's motion estimator.

  python -m experiments.main --config=configs/spynet_procedural.py --workdir=DIR

The published weights are for non-commercial research only; these are yours.
DIR/model then starts an NCFL: --config.model.init_from.motion=DIR/model.

Measured: the end-point error on held-out clips, clean and at sigma 30 (8-bit;
15 for the small ones, which see frames folded by 2).

Variants: "" is the six-level network of configs/ncfl_davis.py; `levels_4` is
DCVC's depth; `demo` and `twenty_minutes` are the small ones that
configs/ncfl_demo.py pretrains by itself.
"""

import ml_collections

from configs import common

# Small networks on frames folded by 2: five-tap kernels and half the widths.
SMALL = {
    "levels": 3,
    "normalize": True,
    "widths": (16, 32, 16, 8),
    "kernel": 5,
}
VARIANTS = ("", "levels_4", "demo", "twenty_minutes")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; see the module's docstring for the variants."""
  common.check_variant("spynet_procedural", variant, VARIANTS)
  small = variant in ("demo", "twenty_minutes")
  config = common.base()
  config.clip_length = 2
  # Zero-flow is a plateau that small steps do not leave.
  config.optimizer = common.adamw(
      1e-3, warmup_steps=1_000, weight_decay=0.0, b2=0.99
  )
  config.steps = 100_000
  config.batch_size = 32
  config.patch_size = 128
  levels = 4 if variant == "levels_4" else 6
  motion = {"levels": levels, "normalize": False, "align_corners": False}
  sigma = 55 / 255
  if small:
    motion = dict(SMALL)
    config.steps = {"demo": 120, "twenty_minutes": 700}[variant]
    config.batch_size = 16
    # Smaller patches learn faster, but the border of so much zero padding: on
    # whole frames such a network is worse than no flow.
    config.patch_size = 64
    config.optimizer.update(
        learning_rate=2e-3, final_learning_rate=1e-5, warmup_steps=20
    )
    config.ema_decay = 0.98
    config.log_every = 20
    config.eval_every = 0
    config.checkpoint_every = 200
    config.data.workers = 0
    # Folding averages 2x2 pixels, which halves the noise the network sees.
    sigma /= 2
  config.model = {"name": "spynet", "init_from": {}, **motion}
  config.task = {"name": "optical_flow", "sigma": (0.0, sigma)}
  size = config.patch_size
  clips = {
      "name": "procedural",
      "length": 2,
      "height": size,
      "width": size,
      "restless": True,
      "max_speed": 4.0 if small else 16.0,
  }
  config.data.train = clips | {"size": 1_000_000, "seed": 1}
  config.eval.data = clips | {"size": 32, "seed": 2}
  # Clean, and at sigma 30: folding halves the noise as well.
  config.eval.sigmas = (0, 15 if small else 30)
  return config
