"""NCFL on clips of one's own: trained anew, or fine-tuned from a model.

Clean clips, to which Gaussian noise is added:

  python -m experiments.main --config=configs/ncfl_folder.py --workdir=DIR \\
      --config.data.train.clean=CLIPS [--config.init_from=MODEL]

Pairs of degraded and clean clips (rain, haze, a real camera), by `:pairs`:

  python -m experiments.main --config=configs/ncfl_folder.py:pairs \\
      --workdir=DIR --config.data.train.clean=CLEAN_CLIPS \\
      --config.data.train.degraded=DEGRADED_CLIPS

CLIPS is one clip's folder of PNG or JPEG frames, or a folder of such folders;
pairs have equal names. MODEL is a released or converted model; the whole
architecture is taken from its model.json in place of `config.model`, but for
dtype, unroll and remat. `:pairs` is blind, so its MODEL must have no noise map.

Numbers are measured on the same clips unless --config.eval.data.clean (and
.degraded) name others, which they should: a model fits what it was shown.
"""

import ml_collections

from configs import common

VARIANTS = ("", "pairs")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; `variant` is "" for clean clips or "pairs"."""
  common.check_variant("ncfl_folder", variant, VARIANTS)
  pairs = variant == "pairs"
  config = common.base()
  # Fine-tuning or a small set of clips: a fifth of the paper's iterations,
  # with its learning rates, freeze and two stages in proportion.
  config.steps = 20_000
  config.eval_every = 1_000
  config.model = {
      "name": "ncfl",
      "init_from": {"motion": ""},
      "noise_map": not pairs,
      "motion": {"levels": 6},
  }
  config.task = {
      "name": "restoration",
      "degradation": None if pairs else common.awgn(5, 55),
      "rate_weight": 1 / 2048,
      "rate_steps": config.steps // 2,
  }
  config.optimizer = common.adamw(
      2e-4,
      groups={
          "motion": {
              "learning_rate": 2.5e-5,
              "frozen_steps": config.steps // 40,
          }
      },
  )
  clips = {"name": "folders", "clean": ""}
  if pairs:
    clips["degraded"] = ""
  # A window of clip_length frames starts at every second frame.
  config.data.train = {**clips, "length": config.clip_length, "stride": 2}
  config.eval.data = dict(clips)
  config.eval.sigmas = (10, 30, 50)
  if pairs:
    common.paired_eval(config)
  config.eval.frames = 30
  return config
