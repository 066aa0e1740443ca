"""Space-time distillation in minutes: a small EDVR teaches a smaller student.

  python -m experiments.main --config=configs/std_demo.py --workdir=DIR

On procedural clips, without download or accelerator. The command trains the
teacher (DIR/pretrain/teacher), the student alone (DIR/pretrain/base), and the
same student from the same start, on the same clips and for as many steps, with
its teacher; the report has all three beside the bicubic. Single stages are the
variants `teacher` and `base`.

Measured, one seed, by that command (16 minutes of two cores, 19 minutes of CPU
time; a second run, of single stages, gave the same numbers); protocol sr_y,
PSNR / SSIM, and the gain of distillation with its 95 % over clips, of which two
say little:

                vid4_city      vid4_walk      eight procedural clips
  bicubic       25.16 / .6028  26.10 / .7974
  base          25.53 / .6361  27.24 / .8325  32.20 / .8721
  distilled     25.54 / .6354  27.20 / .8309  32.19 / .8711
  teacher       25.73 / .6534  27.34 / .8371  32.41 / .8797
  distilled over base    -0.02 (-0.04 to 0.00)   -0.01 (-0.07 to +0.08)

No gain, then, of this setting; it was the third. Two with maps as they are
(weights of 5e-3 and 0.18, of 1 and 10) were stopped after 240 and some 300
steps, when their L_rec was behind the lone student's (.0267 against .0249
at step 220), and never measured on clips. Weighted, L_TD fell from a fifth of
L_rec (steps 1 to 20) to 0.4 % by step 100: it can have taught little since.
Whether ConvLSTM, adapter or student made it small was not told apart
(config.task.conv_lstm.trained=false would), nor was another seed tried.

  python -m experiments.evaluate --data=CLIPS --protocol=sr_y --scale=4 \\
      --model=DIR/pretrain/base/model,DIR/model,DIR/pretrain/teacher/model
"""

import ml_collections

from configs import common, edvr_vimeo, ncfl_demo, std_vimeo

VARIANTS = ("", "teacher", "base")
STEPS = {"teacher": 1_200, "student": 1_000}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; see the module's docstring for the variants."""
  common.check_variant("std_demo", variant, VARIANTS)
  if variant == "teacher":
    return _teacher()
  config = _small(STEPS["student"], batch_size=2)
  config.model = {
      **std_vimeo.STUDENTS["fastdvdnet"],
      "init_from": {},
      "widths": (16, 32, 48),
      "interm": 8,
      "hr_channels": 16,
      # Statistics of a few small clips are not those of a frame.
      "batch_norm": False,
  }
  weights = (0, 0) if variant == "base" else (4.5e-3, 0.18)
  teacher = _teacher().model.to_dict()
  del teacher["init_from"]
  config.task = std_vimeo.task(*weights, teacher=teacher, features=8)
  if variant == "":
    config.task.conv_lstm.remat = "none"
    # A student trained alone has maps thirteen times the teacher's (root mean
    # squares of one batch), so that L_SD of raw ones is about scale first.
    config.task.normalize = "l2"
    config.pretrain = {"teacher": _teacher(), "base": get_config("base")}
    config.eval.beside = {"base": "", "teacher": ""}
  return config


def _teacher():
  config = _small(STEPS["teacher"], batch_size=4)
  config.model = edvr_vimeo.network() | {
      "init_from": {},
      "width": 16,
      "extraction_blocks": 1,
      "reconstruction_blocks": 3,
      "deformable_groups": 4,
      "upsample": "bicubic",
  }
  config.task = edvr_vimeo.get_config().task
  return config


def _small(steps: int, batch_size: int):
  """A config of minutes but for model and task."""
  config = common.base()
  config.clip_length = 7
  config.patch_size = 64
  config.optimizer = common.adamw(
      1e-3,
      final_learning_rate=1e-6,
      warmup_steps=20,
      b2=0.99,
      weight_decay=0.0,
  )
  ncfl_demo.on_clips(
      config, steps=steps, batch_size=batch_size, ema_decay=0.99
  )
  common.super_resolution(config)
  return config
