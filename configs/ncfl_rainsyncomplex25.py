"""NCFL, deraining on RainSynComplex25: a table of the paper itself.

  python -m experiments.main --config=configs/ncfl_rainsyncomplex25.py \\
      --workdir=DIR --config.model.init_from.motion=SPYNET/model

RainSynComplex25 is read from $TFDS_DATA_DIR (~/tensorflow_datasets);
to put it there:

  vidrestore data prepare rainsyncomplex25 --from=FOLDER

SPYNET is a run of configs/spynet_procedural.py, or converted weights.

Expected: the paper's number is not in its supplementary and not known here; the
report has no published column.

Variant `synthetic` needs no download: a small network on procedural clips in
rain of this kind, trained in minutes on two cores. Whatever it reaches on its
own held-out clips, measure it on real pairs that it never saw:

  python -m experiments.evaluate --model=degraded,affine,DIR/model \\
      --data=RAINY --truth=CLEAN --protocol=rgb_uint8,y_uint8 --pictures=OUT
"""

import ml_collections

from configs import common, ncfl_davis, ncfl_demo

VARIANTS = ("", "synthetic")

# Dense, sharp, opaque streaks, unrelated from frame to frame.
RAIN = {"name": "rain.streaks", "preset": "complex"}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; `variant` is "" or "synthetic"."""
  common.check_variant("ncfl_rainsyncomplex25", variant, VARIANTS)
  if variant == "synthetic":
    config = ncfl_demo.small(steps=600, residual=True)
    ncfl_demo.degraded_clips(config, RAIN)
    return config
  # The paper trains this set for 200,000 iterations, the first 50,000 with
  # the rate.
  config = ncfl_davis.paper(steps=200_000)
  common.paired_set(config, "rainsyncomplex25")
  return config
