"""A config for tests: the whole of NCFL at a size that trains in seconds."""

from configs import common


def get_config(variant: str = ""):
  """Variants: "", "noq", not quantised, "flow", a SpyNet, and "fastdvdnet"."""
  common.check_variant("tiny", variant, ("", "noq", "flow", "fastdvdnet"))
  config = common.base()
  config.steps = 12
  config.batch_size = 2
  config.clip_length = 2
  config.patch_size = 16
  config.log_every = 3
  config.eval_every = 0
  config.checkpoint_every = 2
  config.optimizer = common.adamw(1e-3)
  clips = {
      "name": "procedural",
      "size": 40,
      "length": 3,
      "height": 24,
      "width": 24,
      "flow": variant == "flow",
  }
  config.data.update(train=clips, workers=0)
  config.eval.data = clips | {"size": 2, "seed": 1}
  config.eval.sigmas = (30,)
  motion = {"levels": 2, "widths": (4, 4), "kernel": 3}
  if variant == "flow":
    config.model = {"name": "spynet", "init_from": {}, **motion}
    config.task = {"name": "optical_flow", "sigma": (0.0, 0.2)}
    return config
  if variant == "fastdvdnet":
    clips["length"] = config.clip_length = 5
    config.data.train = clips
    config.model = {
        "name": "fastdvdnet",
        "init_from": {},
        "widths": (4, 8, 8),
        "identity_start": True,
    }
    # Rounding grows with the step: fifty of 1e-3 make 1e-2 of the loss of it.
    config.optimizer = common.adamw(3e-5)
    config.task = {
        "name": "restoration",
        "degradation": common.awgn(5, 55),
        "error": "half_sse",
    }
    return config
  config.model = {
      "name": "ncfl",
      "init_from": {"motion": ""},
      "feature_refiner": variant or "ncfl",
      "widths": (8, 12),
      "feature_channels": 8,
      "attention_widths": (4, 8),
      "attention_blocks": 0,
      "attention_middle_blocks": 1,
      "hidden_channels": 8,
      "latent_channels": 8,
      "prior_channels": (8, 8),
      "motion_channels": 8,
      "reduction": 4,
      "motion": motion,
  }
  config.task = {
      "name": "restoration",
      "degradation": common.awgn(5, 55),
      "rate_weight": 1 / 2048,
      "rate_steps": 6,
  }
  config.optimizer.groups = {
      "motion": {"learning_rate": 1e-4, "frozen_steps": 4}
  }
  return config
