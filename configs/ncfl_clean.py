"""NCFL's compression alone on clean frames: AdapQ against NoQ, section 4.3.

  python -m experiments.main --config=configs/ncfl_clean.py --workdir=DIR/adapq
  python -m experiments.main --config=configs/ncfl_clean.py:noq \\
      --workdir=DIR/noq

Clean frames of DAVIS are input and target (vidrestore data prepare davis ...):
what does quantisation cost where there is no noise to take away?

Expected: AdapQ 30.37 dB, NoQ 30.39 dB. Compare the gap of 0.02 dB only: what
surrounds the module, how long it is trained and on what it is measured are not
said, and 64 channels at a quarter of the resolution hold four values for each
pixel, so that far higher levels are within reach.

Variants `synthetic` and `synthetic_noq` are the same on procedural clips, in
minutes.
"""

import ml_collections

from configs import common, ncfl_demo

VARIANTS = ("", "noq", "synthetic", "synthetic_noq")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; see the module's docstring for the variants."""
  common.check_variant("ncfl_clean", variant, VARIANTS)
  synthetic = variant.startswith("synthetic")
  config = common.base()
  config.steps = 2_000 if synthetic else 100_000
  config.batch_size = 4 if synthetic else 16
  config.patch_size = 64 if synthetic else 128
  config.model = {
      "name": "ncfl_clean",
      "init_from": {},
      "channels": 3,
      "feature_refiner": "noq" if variant.endswith("noq") else "ncfl",
      "feature_channels": 32,
      "hidden_channels": 64,
      "latent_channels": 64,
      "prior_channels": (64, 128),
      "distribution": "laplace",
      "add_mean_back": True,
  }
  config.task = {
      "name": "restoration",
      "degradation": common.awgn(0, 0),  # Clean frames in.
      "rate_weight": 1 / 2048,
      "rate_steps": config.steps // 2,
  }
  config.optimizer = common.adamw(2e-4)
  if synthetic:
    config.optimizer.learning_rate = 1e-3
    config.ema_decay = 0.99
    config.log_every = 20
    config.eval_every = 0
    config.data.workers = 0
    config.data.train, config.eval.data = ncfl_demo.clips(config)
  else:
    config.data.train = {
        "name": "davis",
        "data_dir": "",
        "split": "trainval",
        "length": config.clip_length,
        "stride": 1,
    }
    config.eval.data = {
        "name": "davis",
        "data_dir": "",
        "split": "test_dev",
        "length": None,
    }
  config.eval.sigmas = (0,)
  config.eval.baselines = ()  # The input is the truth.
  return config
