"""What most configs share; a config file changes what its row needs.

Every key that a config may hold is here, so that a mistyped one is an error.
"""

import ml_collections


def base() -> ml_collections.ConfigDict:
  """A config without model, task and data of its own.

  Noise levels are in [0, 1] units where the library draws noise
  (`task.degradation`), in 8-bit units where papers state them (`eval.sigmas`).
  """
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.steps = 100_000
  config.batch_size = 16  # Over all devices.
  config.parallel = "jit"  # Or "pmap": how devices share the batch.
  # Parts in which a batch is computed, one after another, to save memory.
  config.accumulate = 1
  config.clip_length = 5
  config.patch_size = 128
  config.dtype = "float32"  # Of the computation; parameters stay float32.
  config.ema_decay = 0.999  # 0 keeps none; else the released model is the EMA.
  # A released folder to fine-tune. Its model.json then replaces `model` (but
  # for dtype, unroll, remat), and no part is pretrained or taken elsewhere.
  config.init_from = ""
  # {name: config of a job}, run first. Its released model goes wherever that
  # name is asked for: model.init_from, a section of task, eval.beside.
  config.pretrain = {}

  config.log_every = 100
  config.eval_every = 2_500
  config.checkpoint_every = 500
  config.keep = 3  # Newest checkpoints; the best one stays as well.

  # init_from: {part of the model: released folder}, such as motion=SPYNET.
  config.model = {"name": "", "init_from": {}}
  config.task = {"name": "restoration"}
  config.data = {
      "train": {"name": ""},
      "workers": 2,  # Processes that read; 0 reads in threads.
      "augment": True,
      # What the pipeline does to clean clips, such as {"name":
      # "rain.streaks"}; `task.degradation` is then None.
      "degradation": None,
      "on_corrupt": "stop",  # Or "skip": a damaged record is passed over.
  }
  config.optimizer = adamw(2e-4)
  config.eval = {
      "data": {"name": ""},
      "protocol": "fastdvdnet",
      "also": (),  # Protocols whose numbers are given beside.
      "sigmas": (10, 20, 30, 40, 50),  # () where the clips come degraded.
      "frames": 0,  # Of each clip, 0 for as many as the protocol takes.
      "examples": 2,  # Clips that the report shows.
      "look": "",  # Degraded clips without truth, shown in the report as well.
      "baselines": ("noisy", "median3", "median5"),
      "beside": {},  # {name: released folder} of models to measure as well.
      "published": "",  # Table of experiments/paper_numbers.py on these clips,
      "published_as": "",  # and the row in it that this model is.
      # What is measured every `eval_every` steps, at the middle sigma.
      "watch": {"clips": 2, "frames": 5},
  }
  return config


def adamw(learning_rate: float, **changes) -> dict:
  """`config.optimizer`; see `vidrestore_jax.training.optimizer.build`."""
  return {
      "learning_rate": learning_rate,
      "final_learning_rate": 1e-7,
      "warmup_steps": 0,
      "drops": (),  # ((step, factor of learning_rate), ...): no cosine then.
      "b1": 0.9,
      "b2": 0.999,
      "weight_decay": 1e-2,
      "clip_norm": 1.0,
      "orthogonal_every": 0,  # Steps between projections of kernels; 0: none,
      "orthogonal_steps": 0,  # and for how many steps.
      "groups": {},
  } | changes


def awgn(low: float, high: float) -> dict:
  """`config.task.degradation`: Gaussian noise of a level in 8-bit units."""
  return {"name": "noise.gaussian", "sigma": (low / 255, high / 255)}


def check_variant(name: str, variant: str, variants):
  """Raises ValueError unless the config `name` has the variant."""
  if variant not in variants:
    named = ", ".join(filter(None, variants)) or "none"
    raise ValueError(f"{name} has no variant {variant!r}. It has: {named}.")


def paired_set(config, name: str, published: str = ""):
  """A prepared set whose clips come degraded, beside their truth.

  Args:
    config: is changed.
    name: of the set, whose splits are train and test.
    published: table of experiments/paper_numbers.py, or "".
  """
  # An empty data_dir is $TFDS_DATA_DIR or ~/tensorflow_datasets.
  config.data.train = {
      "name": name,
      "data_dir": "",
      "split": "train",
      "length": config.clip_length,
      "stride": 1,
  }
  config.eval.data = {
      "name": name,
      "data_dir": "",
      "split": "test",
      "length": None,  # Whole clips.
  }
  paired_eval(config, published)


def paired_eval(config, published: str = ""):
  """`config.eval` for clips that come with their truth: rain, haze.

  On RGB, and on luminance beside it, since papers quote either; against the
  best correction of colours, which needs no network.

  Args:
    config: is changed.
    published: table of experiments/paper_numbers.py, or "".
  """
  config.eval.protocol = "rgb_uint8"
  config.eval.also = ("y_uint8",)
  config.eval.sigmas = ()
  config.eval.baselines = ("degraded", "affine", "affine_rgb")
  config.eval.published = published
  config.eval.published_as = "NCFL" if published else ""


def degraded_eval(config, source: dict, degradation: dict):
  """`config.eval` for clips of a source that are degraded as in training."""
  paired_eval(config)
  config.eval.data = {
      "name": "degraded",
      "source": source,
      "degradation": degradation,
      "seed": 0,
  }


def super_resolution(config, scale: int = 4):
  """Small clips made of clean ones by MATLAB's bicubic ("BI"), to enlarge.

  Training makes them after the crop, in the pipeline; measuring makes them of
  the clean clips of `config.eval.data`, by the model's scale.

  Args:
    config: is changed.
    scale: how many times smaller.
  """
  config.data.degradation = {"name": "resize.bicubic_down", "scale": scale}
  config.eval.protocol = "sr_y"
  config.eval.sigmas = ()
  config.eval.baselines = ("bicubic",)


def vimeo_to_vid4(config):
  """Trains on the septuplets of Vimeo-90K, and measures on Vid4.

  Args:
    config: is changed; its `clip_length` is seven.
  """
  config.clip_length = 7
  config.data.train = {
      "name": "vimeo90k",
      "data_dir": "",  # Empty: $TFDS_DATA_DIR or ~/tensorflow_datasets.
      "split": "train",
      "length": None,
  }
  config.eval.data = {
      "name": "vid4", "data_dir": "", "split": "test", "length": None
  }
