"""Space-time distillation in minutes: a small EDVR teaches a smaller student.

  python -m experiments.main --config=configs/std_demo.py --workdir=DIR

On procedural clips, without download or accelerator. The command trains the
teacher (DIR/pretrain/teacher), the student alone (DIR/pretrain/base), and the
same student from the same start, on the same clips and for as many steps, with
its teacher; the report has all three beside the bicubic. Single stages are the
variants `teacher` and `base`.
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
    config.task.conv_lstm.remat = False
    # The student's maps are thirteen times the teacher's: to agree in scale
    # first would empty its features.
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
