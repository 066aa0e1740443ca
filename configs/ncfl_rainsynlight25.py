"""NCFL, deraining on RainSynLight25: row "Ours" of the supplementary's table 4.

  python -m experiments.main --config=configs/ncfl_rainsynlight25.py \\
      --workdir=DIR --config.model.init_from.motion=SPYNET/model

RainSynLight25 is read from $TFDS_DATA_DIR (~/tensorflow_datasets);
to put it there:

  vidrestore data prepare rainsynlight25 --from=FOLDER

SPYNET is a run of configs/spynet_procedural.py, or converted weights.

Expected (PSNR / SSIM, mean over the test clips): 39.17/.9872. Which colour the
table is of is not said; both RGB and luminance are measured.

Variant `synthetic` needs no download: a small network on procedural clips in
rain of this kind, trained in minutes on two cores. Whatever it reaches on its
own held-out clips, measure it on real pairs that it never saw:

  python -m experiments.evaluate --model=degraded,affine,DIR/model \\
      --data=RAINY --truth=CLEAN --protocol=rgb_uint8,y_uint8 --pictures=OUT
"""

import ml_collections

from configs import common, ncfl_davis, ncfl_demo

VARIANTS = ("", "synthetic")

# Sparse streaks, added light, unrelated from frame to frame, which is what a
# short exposure gives: a drop has left before the next frame.
RAIN = {"name": "rain.streaks", "preset": "light"}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; `variant` is "" or "synthetic"."""
  common.check_variant("ncfl_rainsynlight25", variant, VARIANTS)
  if variant == "synthetic":
    config = ncfl_demo.small(steps=600, residual=True)
    ncfl_demo.degraded_clips(config, RAIN)
    return config
  # The paper trains this set for 200,000 iterations, the first 50,000 with
  # the rate.
  config = ncfl_davis.paper(steps=200_000)
  common.paired_set(config, "rainsynlight25", published="rainsynlight25")
  return config
