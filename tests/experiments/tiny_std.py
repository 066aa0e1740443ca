"""A config for tests: space-time distillation that trains in seconds."""

from configs import common, conv_lstm_prediction, std_vimeo


def get_config(variant: str = ""):
  """Variants: "", which pretrains "teacher", "base" and "conv_lstm", and
  "unweighted", which is "" before its weights were measured.
  """
  config = common.base()
  config.steps = 4
  config.batch_size = 2
  config.clip_length = 3
  config.patch_size = 16
  config.log_every = 1
  config.eval_every = 0
  config.checkpoint_every = 1
  config.ema_decay = 0.5
  config.optimizer = common.adamw(1e-2)
  clips = {
      "name": "procedural",
      "size": 8,
      "length": 3,
      "height": 16,
      "width": 16,
      "flow": False,
  }
  config.data.update(train=clips, workers=0)
  config.eval.data = clips | {"size": 2, "seed": 1}
  student = {"name": "vdsr", "depth": 2, "width": 3}
  teacher = student | {"width": 4}
  alone = std_vimeo.task(0, 0, teacher=teacher, features=2)
  if variant == "conv_lstm":
    config.model = {
        "name": "conv_lstm", "init_from": {}, "embedding": 4, "hidden": 2
    }
    config.task = {"name": "restoration", "degradation": None}
    conv_lstm_prediction.late(config)
    return config
  common.super_resolution(config)
  config.model = {"init_from": {}} | (
      teacher if variant == "teacher" else student
  )
  config.task = alone
  if variant in ("", "unweighted"):
    weights = (None, None) if variant else (1e-2, 1.0)
    config.task = std_vimeo.task(*weights, teacher=teacher, features=2)
    config.pretrain = {
        stage: get_config(stage) for stage in ("teacher", "base", "conv_lstm")
    }
    config.eval.beside = {"base": "", "teacher": ""}
  return config
