"""NCFL, denoising: the rows "Ours" of the supplementary's Tables 3 and 1.

  python -m experiments.main --config=configs/ncfl_davis.py --workdir=DIR \\
      --config.model.init_from.motion=SPYNET/model

DAVIS 2017 trainval is read from $TFDS_DATA_DIR (~/tensorflow_datasets); to put
it there: vidrestore data prepare davis --from=DAVIS-2017-trainval-480p.zip
(and the same with the test-dev archive, on which the table is measured).
SPYNET is a run of configs/spynet_procedural.py, or converted weights.

Expected (Table 3, DAVIS test-dev, PSNR / SSIM): sigma 10 39.67/.9782, 20
36.78/.9596, 30 35.24/.9435, 40 34.06/.9267, 50 33.11/.9107.

Variants, one at a time (`configs/ncfl_davis.py:m_d`):
  m_a .. m_f    the ablation of Table 1; m_f is the whole network
  literal       the supplementary's text word by word (models/ncfl.py: PRESETS)
  noq           the compression module without quantisation
  gaussian      a Gaussian instead of a Laplace prior of the symbols
  no_mean       the mean is not added back after dequantisation
  blind         no noise map
  lambda_256 .. lambda_4096   the weight of the rate, Table 2
"""

import ml_collections

from configs import common

# Table 1: which parts each model of the ablation has.
ABLATION = {
    "m_a": ("none", "none", False),
    "m_b": ("mvr", "none", False),
    "m_c": ("mconv", "none", False),
    "m_d": ("mvr", "ncfl", False),
    "m_e": ("mvr", "nconv", False),
    "m_f": ("mvr", "ncfl", True),
}
MODEL_VARIANTS = {
    "": {},
    "literal": {"preset": "literal"},
    "noq": {"feature_refiner": "noq"},
    "gaussian": {"distribution": "gaussian"},
    "no_mean": {"add_mean_back": False},
    "blind": {"noise_map": False},
} | {
    name: {
        "motion_refiner": motion_refiner,
        "feature_refiner": feature_refiner,
        "attention": attention,
    }
    for name, (motion_refiner, feature_refiner, attention) in ABLATION.items()
}
RATE_VARIANTS = {f"lambda_{n}": 1 / n for n in (256, 512, 1024, 2048, 4096)}
VARIANTS = (*MODEL_VARIANTS, *RATE_VARIANTS)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; see the module's docstring for the variants."""
  if variant not in VARIANTS:
    raise ValueError(
        f"ncfl_davis has no variant {variant!r}. It has:"
        f" {', '.join(filter(None, VARIANTS))}."
    )
  config = common.base()
  config.steps = 100_000
  config.batch_size = 16
  config.clip_length = 5
  config.patch_size = 128

  # All of them values here, so that a command line can change any.
  config.model = {
      "name": "ncfl",
      "init_from": {"motion": ""},
      "preset": "table",
      "channels": 3,
      "motion_refiner": "mvr",
      "feature_refiner": "ncfl",
      "attention": True,
      "distribution": "laplace",
      "add_mean_back": True,
      "noise_map": True,
      "remat": False,
      # Six levels at full resolution give Table 1's GFLOPs.
      "motion": {"levels": 6, "align_corners": False, "normalize": False},
  }
  config.model.update(MODEL_VARIANTS.get(variant, {}))

  config.task = {
      "name": "restoration",
      # One model for all levels, told the level, as FastDVDnet: the paper
      # does not say. The tables use 10 to 50.
      "degradation": common.awgn(5, 55),
      "rate_weight": RATE_VARIANTS.get(variant, 1 / 2048),
      "rate_steps": 50_000,
  }
  config.data.train = {
      "name": "davis",
      "data_dir": "",  # Empty: $TFDS_DATA_DIR or ~/tensorflow_datasets.
      "split": "trainval",
      "length": 5,
      "stride": 1,
  }
  config.optimizer = common.adamw(
      2e-4,
      groups={"motion": {"learning_rate": 2.5e-5, "frozen_steps": 2_500}},
  )
  config.eval.data = {
      "name": "davis",
      "data_dir": "",
      "split": "test_dev",
      "length": None,  # Whole sequences; the protocol takes 85 frames.
  }
  config.eval.sigmas = (10, 20, 30, 40, 50)
  config.eval.published = "davis"
  config.eval.published_as = "NCFL"
  return config
