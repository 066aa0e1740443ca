"""PISR on Vimeo-90K: a student that its teacher tells of the large frame.

  python -m experiments.main --config=configs/pisr_vimeo.py --workdir=DIR

One command for both stages of Lee et al., ECCV 2020, arXiv:2007.07524: the
teacher (DIR/pretrain/teacher), which is given the large frame and encodes it
itself, and then the student, which starts from the teacher's decoder. The
released model is the student alone. The teacher's own PSNR, of frames that it
was given, says how much it can tell.

Vimeo-90K and Vid4 are read from $TFDS_DATA_DIR (~/tensorflow_datasets); to put
them there: vidrestore data prepare vimeo90k --from=vimeo_septuplet.zip

Variants:
  ""            VDSR, as in the table of space-time distillation (CVPR 2021),
                SSIM on Vid4 and on Vimeo-90K: alone .6869 and .8945, so taught
                .7012 and .8952, by space-time distillation .7065 and .9064
  fsrcnn        FSRCNN, the paper's student, with the release's recipe
  demo          a small VDSR and its teacher on procedural clips, in minutes on
                two cores, without download; measured, 300 steps for each: 35.65
                dB / .9372 on luminance, bicubic 34.10 / .9221

Where the release trains on DIV2K, its recipe is taken for single frames of
Vimeo-90K: patches of 192, batches of 16, a thousand steps for each of its 1000
epochs, Adam at 1e-3 for the teacher and 1e-4 for the student, down to 1e-5. The
table's student, a VDSR, does not fit it: twenty layers need a smaller rate. It
gets the steps, the patch and the rate that configs/std_vimeo.py gives it.
"""

import ml_collections

from configs import common, ncfl_demo

DECODERS = {
    "vdsr": {
        "name": "vdsr", "scale": 4, "depth": 20, "width": 64, "bias": True
    },
    "fsrcnn": {
        "name": "fsrcnn", "scale": 4, "width": 56, "shrunk": 12, "depth": 4
    },
}
VARIANTS = ("", "fsrcnn", "demo")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """The config; see the module's docstring for the variants."""
  common.check_variant("pisr_vimeo", variant, VARIANTS)
  name, demo = variant if variant == "fsrcnn" else "vdsr", variant == "demo"
  decoder = dict(DECODERS[name])
  if demo:
    decoder.update(depth=6, width=24)
  teacher = _stage(name, demo, first=True)
  kwargs = {
      "decoder": decoder,
      "channels": 3,
      "width": 24 if demo else 56,
      "shrunk": 12,
  }
  teacher.model = {"name": "pisr", "init_from": {}, **kwargs}
  # A short run has no time to drift from images that the student's start must
  # be able to take for its input, and back.
  weight = 1.0 if demo else 1e-4
  teacher.task = {"name": "privileged_teacher", "weight": weight}
  # It is given what it restores: clean frames, to which no noise is added.
  teacher.eval.protocol = "fastdvdnet"
  teacher.eval.sigmas = (0,)
  teacher.eval.baselines = ()

  config = _stage(name, demo, first=False)
  config.pretrain = {"teacher": teacher}
  config.model = {"init_from": {}, "channels": 3, **decoder}
  config.task = {
      "name": "privileged_student",
      "teacher": {"name": "pisr", "init_from": "", **kwargs},
      "weight": 1e-6,
  }
  return config


def _stage(name: str, demo: bool, *, first: bool):
  """Data and training of a stage, all but model and task."""
  config = common.base()
  config.batch_size = 16
  if name == "fsrcnn":
    config.steps, config.patch_size = 1_000_000, 192
    rate, final = 1e-3 if first else 1e-4, 1e-5
  else:
    config.steps, config.patch_size = 300_000, 128
    rate, final = 2e-4, 1e-7
  if demo:
    config.patch_size, rate, final = 64, 1e-3, 1e-5
  config.optimizer = common.adamw(
      rate,
      final_learning_rate=final,
      warmup_steps=20 if demo else 0,
      weight_decay=0.0,
  )
  common.super_resolution(config)
  common.vimeo_to_vid4(config)
  config.clip_length = 1  # Frames by themselves.
  if demo:
    ncfl_demo.on_clips(config, steps=300, batch_size=8, ema_decay=0.99)
    common.super_resolution(config)
  return config
