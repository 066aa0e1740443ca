"""NCFL with a W-Net, raw denoising on CRVD: a table of the paper itself.

  python -m experiments.main --config=configs/ncfl_crvd.py --workdir=DIR \\
      --config.model.init_from.motion=SPYNET/model

CRVD's indoor scenes are read from $TFDS_DATA_DIR (~/tensorflow_datasets); to
put them there: vidrestore data prepare crvd --from=CRVD_dataset. SPYNET is a
run of configs/spynet_procedural.py, or converted weights.

Expected: the paper's number is not in its supplementary and not known here; the
report has no published column. Measured on the mosaic (protocol crvd_raw) and,
through a plain ISP, in sRGB (crvd_srgb, which is not comparable with tables:
they use a pretrained ISP network). GFLOPs of the W-Net at packed 960x540 are
estimated at 973.

Variant `synthetic` needs no download: a small network on procedural clips,
unprocessed to raw, under CRVD's calibrated noise.
"""

import ml_collections

from configs import common, ncfl_davis, ncfl_demo

VARIANTS = ("", "synthetic")

NOISE = {
    "name": "raw.poisson_gaussian",
    "isos": (1600, 3200, 6400, 12800, 25600),
}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; `variant` is "" or "synthetic"."""
  common.check_variant("ncfl_crvd", variant, VARIANTS)
  if variant == "synthetic":
    config = _synthetic()
  else:
    # Patches of 128x128 are of packed planes, 256x256 pixels of the mosaic.
    config = ncfl_davis.paper(steps=200_000, channels=4, restoration="wnet")
    common.paired_set(config, "crvd")
  config.eval.protocol = "crvd_raw"
  config.eval.also = ("crvd_srgb",)
  config.eval.baselines = ("degraded", "median3")
  return config


def _synthetic():
  # The level is told nobody, as on CRVD.
  config = ncfl_demo.small(
      steps=600, channels=4, residual=True, degradation=NOISE
  )
  config.model.restoration = "wnet"
  # Two pixels of the mosaic for one of a patch, two more for its turns.
  train, test = ncfl_demo.clips(
      config, train=2 * config.patch_size + 2, test=256
  )
  config.data.train = {"name": "raw", "source": train, "seed": 1}
  common.degraded_eval(
      config, {"name": "raw", "source": test, "seed": 2}, NOISE
  )
  return config
