"""EDVR on Vimeo-90K, x4 after bicubic down-sampling: the teacher of STD.

  python -m experiments.main --config=configs/edvr_vimeo.py --workdir=DIR

Vimeo-90K's septuplets and Vid4 are read from $TFDS_DATA_DIR
(~/tensorflow_datasets); to put them there: vidrestore data prepare vimeo90k
--from=vimeo_septuplet.zip, and vid4 likewise.

Variants: "" is EDVR-L, `m` the release's moderate size. The release has weights
of EDVR-L on Vimeo-90K (seven frames; `vidrestore convert`), but no recipe for
them: this one is its recipe for REDS (XPixelGroup/BasicSR, options/train/EDVR:
crops of 256, batch 32, Adam of 0.9 and 0.99 from 4e-4, 600,000 iterations,
Charbonnier), with one cosine for its four and attention from the start.

Expected, on luminance: Vid4 27.35 dB / .8264 (the release's weights), .8286 in
table 2 of STD's supplementary.
"""

import ml_collections

from configs import common

VARIANTS = ("", "m")


def network(preset: str = "l") -> dict:
  """`config.model` but for what it starts from: the release's for Vimeo-90K."""
  return {
      "name": "edvr",
      "preset": preset,
      "frames": 7,
      "extraction_blocks": 5,
      "deformable_groups": 8,
      "tsa": True,
      "upsample": "bilinear",
      # Pixels; a number bounds offsets that run away (see the metrics
      # offset_mean and offset_max), which the release can only warn of.
      "max_offset": None,
      "remat": "none",
  }


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; see the module's docstring for the variants."""
  common.check_variant("edvr_vimeo", variant, VARIANTS)
  config = common.base()
  config.steps = 600_000
  config.batch_size = 32
  config.patch_size = 256
  config.model = network(variant or "l") | {"init_from": {}}
  config.task = {
      "name": "restoration", "degradation": None, "error": "charbonnier"
  }
  config.optimizer = common.adamw(4e-4, b2=0.99, weight_decay=0.0)
  common.super_resolution(config)
  common.vimeo_to_vid4(config)
  return config
