"""A ConvLSTM that predicts video: a start for that of time distillation.

  python -m experiments.main --config=configs/conv_lstm_prediction.py \\
      --workdir=DIR

Trained on Vimeo-90K's septuplets that come a frame late, so that restoring them
is prediction; measured on Vid4 in the same way, beside the frame before itself
("degraded"). DIR/model then starts a ConvLSTM of configs/std_vimeo.py:
--config.task.conv_lstm.init_from=DIR/model. How the paper pretrained its own is
not said (table 1 of its supplementary has what came of it).

Variant: `demo`, a small one on procedural clips, in minutes.
"""

import ml_collections

from configs import common, ncfl_demo

VARIANTS = ("", "demo")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; see the module's docstring for the variants."""
  common.check_variant("conv_lstm_prediction", variant, VARIANTS)
  config = common.base()
  config.steps = 100_000
  config.patch_size = 64
  config.model = {
      "name": "conv_lstm",
      "init_from": {},
      "embedding": 64,
      "hidden": 64,
      "remat": "step",
  }
  config.task = {"name": "restoration", "degradation": None, "error": "mse"}
  config.optimizer = common.adamw(1e-3, weight_decay=0.0)
  common.vimeo_to_vid4(config)
  if variant == "demo":
    config.model.update(hidden=8, remat="none")
    config.patch_size = 32
    ncfl_demo.on_clips(config, steps=300, batch_size=8, ema_decay=0.98)
  late(config)
  return config


def late(config):
  """Makes the clips of a config late by a frame, and measures prediction.

  Args:
    config: is changed.
  """
  config.clip_length -= 1  # The first frame has none before it.
  config.data.train = {"name": "late", "source": config.data.train, "count": 1}
  common.paired_eval(config)
  config.eval.data = {"name": "late", "source": config.eval.data, "count": 1}
  config.eval.baselines = ("degraded",)
