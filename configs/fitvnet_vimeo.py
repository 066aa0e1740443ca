"""FITVNet on Vimeo-90K: tables 1 and 4 of arXiv:2001.00346.

  python -m experiments.main --config=configs/fitvnet_vimeo.py:jsc --workdir=DIR

Vimeo-90K's septuplets are read from $TFDS_DATA_DIR (~/tensorflow_datasets); to
put them there: vidrestore data prepare vimeo90k --from=vimeo_septuplet.zip

Variants, the paper's four models, trained on Gaussian noise of sigma 5 to 80,
and what table 4 expects of them on 700 test clips (PSNR / SSIM):

                sigma 15      25            35            45            55
  base          30.73/.8664   35.21/.9248   33.78/.9118   32.64/.8935   31.73/.8760
  jsn           36.76/.9475   34.80/.9270   33.41/.9078   32.34/.8896   31.44/.8723
  jsc           37.70/.9552   35.45/.9326   33.89/.9118   32.68/.8926   31.72/.8744
  unsupervised  34.23/.8944   32.79/.8743   31.72/.8557   30.83/.8377   30.02/.8202
"""

import ml_collections

from configs import common, fastdvdnet_vimeo, ncfl_demo

# What the two stages are trained towards; see tasks/first_image_then_video.py.
DESIGNS = {
    "base": {"first_target": "none"},
    "jsn": {"first_target": "second_noisy"},
    "jsc": {"first_target": "clean"},
    "unsupervised": {
        "first_target": "second_noisy",
        "final_target": "psi",
        "alpha": 10.0,
    },
}
MIXED = {"name": "noise.mixed_toflow", "sigma": 25.5 / 255, "probability": 0.1}
VARIANTS = (
    "",
    *DESIGNS,
    "mixed",
    "mixed_base",
    *("demo", "demo_base", "demo_jsn", "demo_unsupervised", "demo_mixed"),
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; see the module's docstring for the variants."""
  common.check_variant("fitvnet_vimeo", variant, VARIANTS)
  words = variant.split("_")
  design = words[-1] if words[-1] in DESIGNS else "jsc"
  config = fastdvdnet_vimeo.get_config()
  config.model = {
      "name": "fitvnet",
      "init_from": {"image": "", "video": ""},
      "noise_map": "sigma",
      "image": {"width": 48, "output_widths": (64, 32)},
      "video": {"widths": (32, 64, 128), "interm": 30, "batch_norm": True},
  }
  config.task = {
      "name": "first_image_then_video",
      "degradation": common.awgn(5, 80),
      "steps_per_epoch": fastdvdnet_vimeo.STEPS_PER_EPOCH,
      "first_target": "clean",
      "final_target": "clean",
      "alpha": 1.0,
      "l2": "mse",
  } | DESIGNS[design]
  config.eval.published_as = design
  if "demo" in words:
    _demo(config)
  if "mixed" in words:
    config.task.degradation = MIXED
  return config


def _demo(config, steps: int = 600):
  """Half the widths, on procedural clips, and a rate for hundreds of steps."""
  config.steps = steps
  config.batch_size = 4
  config.patch_size = 64
  config.ema_decay = 0.99
  config.log_every = 20
  config.eval_every = 0
  config.checkpoint_every = 200
  config.model.image = {"width": 16, "output_widths": (24, 16)}
  config.model.video.update(widths=(16, 32, 64), interm=8)
  config.task.steps_per_epoch = max(steps // 40, 1)
  config.optimizer = common.adamw(
      1.5e-3,
      final_learning_rate=1e-6,
      warmup_steps=20,
      weight_decay=0.0,
      b2=0.99,
  )
  config.data.workers = 0
  config.data.train, config.eval.data = ncfl_demo.clips(config)
  config.eval.sigmas = (10, 30, 50)
  config.eval.published = config.eval.published_as = ""
