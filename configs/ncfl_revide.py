"""NCFL, dehazing on REVIDE: a table of the paper itself.

  python -m experiments.main --config=configs/ncfl_revide.py --workdir=DIR \\
      --config.model.init_from.motion=SPYNET/model

REVIDE is read from $TFDS_DATA_DIR (~/tensorflow_datasets); to put it there:
vidrestore data prepare revide --from=REVIDE_indoor. SPYNET is a run of
configs/spynet_procedural.py, or converted weights.

Expected: the paper's number is not in its supplementary and not known here; the
report has no published column. Measured on whole frames of 2708x1800.

Variant `synthetic` needs no download: a small network on procedural clips in
procedural haze, trained in a quarter of an hour on two cores. Measure it on
real pairs that it never saw:

  python -m experiments.evaluate --model=degraded,affine,DIR/model \\
      --data=HAZY --truth=CLEAN --protocol=rgb_uint8,y_uint8 --pictures=OUT

Measured on a real RGB-D room (15 frames, t = exp(-0.6 d), A = 0.85), RGB, PSNR
/ SSIM: hazy 10.8/.716, the clip's best gain and offset, which see the truth,
19.8/.886, `synthetic` 21.0/.903. It was not trained on, but some twenty designs
and trainings were compared on it. What helped, of 17.9: one airlight for all of
a frame (a map of it stands in for depth, and white walls come out grey), cues
of haze in the place of pixels, colours as vivid as things in rooms have.
"""

import ml_collections

from configs import common, ncfl_davis, ncfl_demo

VARIANTS = ("", "synthetic")

# Rooms, as in the set.
HAZE = {"name": "haze.scattering", "preset": "indoor"}


def synthetic() -> ml_collections.ConfigDict:
  """A small network that says how much haze there is, not what lies behind."""
  # Haze and paleness are told apart by a whole scene, not by a patch of it:
  # large clips, at an eighth of the resolution.
  config = ncfl_demo.small(
      steps=1_700, flow="demo", patch_size=256, widths=(32, 48, 64)
  )
  config.clip_length = 2
  config.model.fold = 8
  config.model.scattering = True
  # About those of such clips.
  config.model.standardize = (0.73, 0.12)
  # Rooms hold things of any colour; the textures alone are rather pale.
  ncfl_demo.degraded_clips(
      config, HAZE, auto_exposure=True, saturation=(0.6, 2.4)
  )
  return config


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; `variant` is "" or "synthetic"."""
  common.check_variant("ncfl_revide", variant, VARIANTS)
  if variant == "synthetic":
    return synthetic()
  # 50,000 iterations in total are, on the other sets, the length of stage one:
  # stage two would be empty. So half of them have the rate.
  config = ncfl_davis.paper(steps=50_000, rate_steps=25_000)
  config.patch_size = 384
  # Nine times the pixels of the other sets: a step's activations are computed
  # twice rather than kept.
  config.model.remat = "step"
  common.paired_set(config, "revide")
  return config
