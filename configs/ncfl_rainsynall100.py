"""NCFL, deraining on RainSynAll100: a table of the paper itself.

  python -m experiments.main --config=configs/ncfl_rainsynall100.py \\
      --workdir=DIR --config.model.init_from.motion=SPYNET/model

RainSynAll100 is read from $TFDS_DATA_DIR (~/tensorflow_datasets);
to put it there:

  vidrestore data prepare rainsynall100 --from=FOLDER

SPYNET is a run of configs/spynet_procedural.py, or converted weights.

Expected: the paper's number is not in its supplementary and not known here; the
report has no published column. (A later repository, StephenLockhart/FLAME,
lists BasicVSR++ at 27.67 dB on this set.)

Variant `synthetic` needs no download: a small network on procedural clips in
rain of this kind, trained in minutes on two cores. Whatever it reaches on its
own held-out clips, measure it on real pairs that it never saw:

  python -m experiments.evaluate --model=degraded,affine,DIR/model \\
      --data=RAINY --truth=CLEAN --protocol=rgb_uint8,y_uint8 --pictures=OUT
"""

import ml_collections

from configs import common, ncfl_davis, ncfl_demo

VARIANTS = ("", "synthetic")

# Streaks, the veil of accumulated rain, and occlusion.
RAIN = {"name": "rain.streaks", "preset": "all"}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; `variant` is "" or "synthetic"."""
  common.check_variant("ncfl_rainsynall100", variant, VARIANTS)
  if variant == "synthetic":
    config = ncfl_demo.small(steps=600, residual=True)
    ncfl_demo.degraded_clips(config, RAIN)
    return config
  # The paper trains this set for 250,000 iterations, the first 50,000 with
  # the rate.
  config = ncfl_davis.paper(steps=250_000)
  common.paired_set(config, "rainsynall100")
  return config
