"""The model that `vidrestore restore` comes with: blind through its estimate.

  python -m experiments.main --config=configs/restore_default.py --workdir=DIR

FastDVDnet at half its widths (0.6 million parameters, 2.5 MB), told the noise
level: on a video it is the estimate's, so that no level is too far from those
of training. Trained on procedural clips alone, at sigma 0 to 75, with noise
that is clipped to [0, 1] as files hold it.

Measured on clips degraded the same way, at sigma 30. The model in the package
was trained by this config in some eight minutes on an H200, whose 16 CPU cores
could draw no more clips; on two cores alone it takes some 14 hours.
"""

import ml_collections

from configs import common, fastdvdnet_davis, ncfl_demo

VARIANTS = ("",)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; it has no variants."""
  common.check_variant("restore_default", variant, VARIANTS)
  config = fastdvdnet_davis.paper()
  config.patch_size = 96
  ncfl_demo.on_clips(config, steps=11_000, batch_size=32, ema_decay=0.999)
  # Street scenes, sports and hand-held cameras in one; colours from pale to
  # vivid.
  config.data.train.update(max_speed=6.0, saturation=(0.8, 1.5))
  config.data.workers = 14  # A GPU waits for fewer.
  config.eval_every, config.log_every = 0, 100
  config.checkpoint_every = 4_000
  # Without batch statistics, which a clip of one noise level does not share
  # with a batch of all levels.
  config.model = fastdvdnet_davis.network(
      widths=(16, 32, 64), interm=16, identity_start=True, batch_norm=False
  )
  config.task = fastdvdnet_davis.task({
      "name": "noise.gaussian_clipped", "sigma": (0.0, 75 / 255)
  })
  # The square would leave little weight to weak noise.
  config.task.error = "charbonnier"
  config.optimizer = common.adamw(
      2e-3,
      final_learning_rate=1e-6,
      warmup_steps=300,
      weight_decay=0.0,
      clip_norm=0.0,
  )
  config.eval.data = {
      "name": "degraded",
      "source": config.eval.data.to_dict(),
      "degradation": {
          "name": "noise.gaussian_clipped", "sigma": (30 / 255, 30 / 255)
      },
      "seed": 0,
  }
  config.eval.sigmas = (30,)
  return config
