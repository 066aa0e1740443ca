"""DnCNN on the frames of DAVIS 2017: what one frame alone tells of itself.

  python -m experiments.main --config=configs/dncnn_davis.py --workdir=DIR

The image denoiser beside the video denoisers, on their clips, each frame by
itself. DAVIS is prepared as for configs/ncfl_davis.py.

Patches, batches and numbers of steps are the paper's (arXiv:1608.03981, section
4.2), whose own training set is 400 grey crops of BSD500. It trains by SGD; the
rates here are Adam's of the authors' later release (cszn/DnCNN, TrainingCodes,
DnCNN_init_model_64_25_Res_Bnorm_Adam.m): 1e-3 for 30 epochs of 50, then a
tenth. No number of it on DAVIS is published.

Variants:
  ""      DnCNN-B: 20 convolutions, sigma 0 to 55
  s25     DnCNN-S: 17 convolutions, for sigma 25 alone
  demo    small, on procedural clips: minutes on two cores, no download
"""

import ml_collections

from configs import common, ncfl_demo

VARIANTS = ("", "s25", "demo")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; see the module's docstring for the variants."""
  common.check_variant("dncnn_davis", variant, VARIANTS)
  blind = variant != "s25"
  config = common.base()
  # Batches of an epoch: 128 x 1,600 patches, or 128 x 3,000.
  epoch = 3_000 if blind else 1_600
  config.steps = 50 * epoch
  config.batch_size = 128
  config.clip_length = 1
  config.patch_size = 50 if blind else 40
  config.ema_decay = 0.0
  config.eval_every = epoch
  config.model = {
      "name": "dncnn",
      "init_from": {},
      "depth": 20 if blind else 17,
      "width": 64,
      "channels": 3,
      "bias": True,
      "batch_norm": True,
      "residual": True,
      "noise_map": False,
  }
  config.task = {
      "name": "restoration",
      "degradation": common.awgn(0, 55) if blind else common.awgn(25, 25),
      "error": "half_sse",
  }
  config.optimizer = common.adamw(
      1e-3,
      drops=((30 * epoch, 1e-1),),
      weight_decay=0.0,
      clip_norm=0.0,
  )
  # An empty data_dir is $TFDS_DATA_DIR or ~/tensorflow_datasets.
  davis = {"name": "davis", "data_dir": ""}
  config.data.train = davis | {"split": "trainval", "length": 1, "stride": 1}
  config.eval.data = davis | {"split": "test_dev", "length": None}
  if not blind:
    config.eval.sigmas = (25,)
  if variant == "demo":
    ncfl_demo.on_clips(config, steps=600, batch_size=16, ema_decay=0.98)
    config.model.update(depth=8, width=32)
    config.optimizer = common.adamw(
        1e-3,
        final_learning_rate=1e-6,
        warmup_steps=20,
        weight_decay=0.0,
        clip_norm=0.0,
    )
  return config
