"""Space-time distillation on Vimeo-90K: table 2 of its supplementary.

  python -m experiments.main --config=configs/std_vimeo.py:fastdvdnet_std \\
      --config.task.teacher.init_from=EDVR --workdir=DIR \\
      --config.task.lambda_sd=SD --config.task.lambda_td=TD

EDVR is a released folder: what configs/edvr_vimeo.py left, or converted weights
(vidrestore convert). Any model of super-resolution by 4 that tells its features
can stand there; the run takes its architecture from the folder.

Variants are STUDENT_SCHEME:

  student   fastdvdnet (7 frames), vdsr (1), vespcn (3), vsrnet (7)
  scheme    base (no teacher), sd (space alone), td (time alone), std (both)

"" is fastdvdnet_std. Xiao et al., CVPR 2021, have SSIM on luminance of

                     Vid4   Vimeo-90K
  fastdvdnet_base    .7829      .9148
  fastdvdnet_std     .8029      .9348
  vdsr_base          .6869      .8945
  vdsr_std           .7065      .9064
  vespcn_base        .7107      .9060   (its mean is printed as .7157)
  vespcn_std         .7293      .9101
  vsrnet_base        .6819      .8979
  vsrnet_std         .6973      .9020

beside a bicubic of .6347 and .8568; the whole table, of finished runs: python
-m experiments.std_tables. Its table 1, the ConvLSTM's start (25.87, 25.79 and
25.86 dB on Vid4), does not say of what; most likely it is fastdvdnet_td and

  (a) random, trained       as it is
  (b) pretrained, frozen    --config.task.conv_lstm.init_from=PREDICTOR
                            --config.task.conv_lstm.trained=false
  (c) pretrained, trained   --config.task.conv_lstm.init_from=PREDICTOR

with PREDICTOR of configs/conv_lstm_prediction.py. The paper's main text was not
at hand: patch, batch, rate and iterations here are choices. The two weights, SD
and TD, depend on teacher and student, both trained: they are None here, which
nothing trains with, and this command, before the first, measures and prints
them (BASE is a student that was trained alone for a while):

  python -m experiments.distillation_weights --config=configs/std_vimeo.py \\
      --config.task.teacher.init_from=EDVR --config.init_from=BASE

(configs/std_demo.py has a pair whose maps differ so much in scale that they had
better be normalised: --config.task.normalize=l2.)

VESPCN and VSRNet of the paper's table cost as much as VDSR, which the published
networks do not: see their modules, and --config.model.preset.
"""

import ml_collections

from configs import common, edvr_vimeo

STUDENTS = {
    "fastdvdnet": {
        "name": "fastdvdnet_vsr",
        "head": "b",
        "hr_channels": 64,
        "widths": (32, 64, 128),
        "interm": 30,
        "batch_norm": True,
        "identity_start": True,  # As the other students start: bicubic.
        "remat": "none",
    },
    "vdsr": {"name": "vdsr", "depth": 20, "width": 64, "bias": True},
    "vespcn": {"name": "vespcn", "preset": "std_scale"},
    "vsrnet": {"name": "vsrnet", "preset": "std_scale", "motion": False},
}
# Weights of space and time; None is one that is to be measured.
SCHEMES = {
    "base": (0.0, 0.0),
    "sd": (None, 0.0),
    "td": (0.0, None),
    "std": (None, None),
}
VARIANTS = ("", *(f"{s}_{scheme}" for s in STUDENTS for scheme in SCHEMES))


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; see the module's docstring for the variants."""
  common.check_variant("std_vimeo", variant, VARIANTS)
  student, scheme = (variant or "fastdvdnet_std").split("_")
  config = common.base()
  config.steps = 300_000
  config.batch_size = 16
  config.patch_size = 128  # 32 of the small frames.
  config.model = STUDENTS[student] | {"init_from": {}}
  config.optimizer = common.adamw(2e-4, b2=0.99, weight_decay=0.0)
  common.super_resolution(config)
  common.vimeo_to_vid4(config)
  config.task = task(
      *SCHEMES[scheme], teacher=edvr_vimeo.network(), features=64
  )
  return config


def task(
    lambda_sd: float | None,
    lambda_td: float | None,
    *,
    teacher: dict,
    features: int,
) -> dict:
  """`config.task`: distillation, or the student alone where no weight is.

  Alone it is trained on the very same frames by the same reconstruction loss.

  Args:
    lambda_sd: weight of the space distillation; None: to be measured.
    lambda_td: weight of the time distillation; None: to be measured.
    teacher: name and arguments of a model.
    features: channels of the ConvLSTM.
  """
  if lambda_sd == lambda_td == 0:
    return {
        "name": "restoration",
        "degradation": None,
        "error": "charbonnier",
        "windows": "all",
    }
  return {
      "name": "distillation",
      "teacher": {"init_from": "", **teacher},
      "conv_lstm": {
          "init_from": "",
          "features": features,
          "remat": "step",
          "trained": True,
      },
      "lambda_sd": lambda_sd,
      "lambda_td": lambda_td,
      "normalize": "none",
  }
