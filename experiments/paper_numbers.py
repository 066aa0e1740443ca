"""Published numbers to put beside ours, as data.

Source, but for vimeo700: Huang et al., "Neural Compression-Based Feature
Learning for Video Restoration", CVPR 2022, supplementary. They belong beside
ours only where the same sets are measured:

  davis           table 3: DAVIS test set, 30 sequences, Gaussian noise,
                  protocol "fastdvdnet" on sequences of at most 85 frames
  set8            table 5: the same on Set8; FastDVDnet's row and those below
                  it are of the README of grishavak/PaCNet-denoiser
  set8_ablation   table 1: M_a to M_f, Set8 at sigma 50
  set8_lambda     table 2: the weight of the rate, Set8 at sigma 50
  nturain, rainsynlight25   table 4: deraining, PSNR / SSIM. Whether its quoted
                  rows are of RGB or of luminance is not said; ours give both
  vimeo700        table 4 of Wang et al., arXiv:2001.00346 (FITVNet): 700 clips
                  of Vimeo-90K's test list, which it does not name; the middle
                  frame of each; all but TOFlow trained on noise of 5 to 80
  vimeo700_mixed  its table 1: the same clips, trained on the mixed noise, with
                  Gaussian noise of 25 and, where no sigma is, the mixed noise

DEVIATION and SECONDS are that paper's tables 2 and 3, and NOTES what does not
fit together in all of them.

STD and STD_START are tables 2 and 1 of Xiao et al., "Space-Time Distillation
for Video Super-Resolution", CVPR 2021, supplementary: SSIM of luminance at x4,
and PSNR. STD_IMPLIED and STD_NOTES say what of them does not fit together.

The tables on RainSynComplex25, RainSynAll100, CRVD and REVIDE stand in the
paper itself, of which no copy was at hand: UNKNOWN. They are not guessed here.

The median rows of table 5 stand here as printed, but do not reproduce: a noisy
frame at sigma 50 has 14.15 dB, and a 3x3 median of it gains more than the
1.8 dB that the table has it gain.
"""

SOURCE = "Huang et al., CVPR 2022, supplementary"
# Tables that are not, or not all, of that source.
_SOURCES = {
    "set8": f"{SOURCE}; README of grishavak/PaCNet-denoiser",
    "vimeo700": "Wang et al., arXiv:2001.00346, table 4",
    "vimeo700_mixed": "Wang et al., arXiv:2001.00346, table 1",
}

# Sets of the paper whose numbers are not in the supplementary.
UNKNOWN = ("rainsyncomplex25", "rainsynall100", "crvd", "revide")

_SIGMAS = (10, 20, 30, 40, 50)  # 8-bit units; the columns below.

# PSNR/SSIM.
_DAVIS = """
  VNLnet      35.83/.9473  34.49/.9231  33.42/.9086  32.32/.8974  31.43/.8761
  DVDNet      38.13/.9679  35.70/.9470  34.08/.9255  32.86/.9040  31.85/.8829
  FastDVDNet  38.71/.9702  35.77/.9468  34.04/.9252  32.82/.9047  31.86/.8851
  EMVD-L      38.57/.9695  35.39/.9413  33.89/.9210  32.40/.8941  31.47/.8747
  EMVD-S      36.90/.9512  33.58/.9023  31.94/.8878  30.66/.8508  29.88/.8273
  EDVR        39.23/.9732  36.33/.9516  34.62/.9311  33.40/.9113  32.41/.8937
  BasicVSR    39.55/.9758  36.65/.9558  35.07/.9389  33.73/.9207  32.81/.9046
  BasicVSR++  39.71/.9761  36.75/.9565  35.21/.9403  33.96/.9229  32.93/.9056
  NCFL        39.67/.9782  36.78/.9596  35.24/.9435  34.06/.9267  33.11/.9107
"""

# PSNR only.
_SET8 = """
  median3  27.87  22.45  19.91  18.34  15.95
  median5  26.63  21.80  19.43  17.92  15.65
  NCFL     37.12  34.22  32.57  31.39  30.45
  FastDVDNet  36.44  33.43  31.68  30.46  29.53
  DVDNet      36.08  33.49  31.79  30.55  29.56
  VNLB        37.26  33.72  31.74  30.39  29.24
  V-BM4D      36.05  32.19  30.00  28.48  27.33
"""

# PSNR/SSIM.
_VIMEO700 = """
  TOFlow        31.64/.8719  33.14/.9195  32.70/.8849  30.70/.8352  28.59/.7732
  FastDVDNet    33.85/.9114  32.13/.8754  30.77/.8387  29.63/.7990  28.70/.7589
  base          30.73/.8664  35.21/.9248  33.78/.9118  32.64/.8935  31.73/.8760
  jsn           36.76/.9475  34.80/.9270  33.41/.9078  32.34/.8896  31.44/.8723
  jsc           37.70/.9552  35.45/.9326  33.89/.9118  32.68/.8926  31.72/.8744
  unsupervised  34.23/.8944  32.79/.8743  31.72/.8557  30.83/.8377  30.02/.8202
"""

# Of models trained on the mixed noise: on sigma 25, then on the mixed noise.
_VIMEO700_MIXED = """
  TOFlow  33.14/.9119  33.40/.9126
  base    33.17/.89    32.62/.88
  jsc     34.33/.9208  33.93/.9168
"""

# {method: (AD_avg, AD_max, #AD)}, 700 images.
DEVIATION = {
    "TOFlow": (0.0263, 0.0617, 304),
    "jsc": (0.0260, 0.0585, 298),
}

# Seconds for a frame of 256x448 on an NVIDIA 2080 Ti.
SECONDS = {"TOFlow": 0.2460, "jsc": 0.0466}

# What a reader of FITVNet's tables should know, by their numbers.
NOTES = {
    1: (
        "The models are trained on the mixed noise; those of table 4 on"
        " Gaussian noise, hence its other numbers for sigma 25.",
        "TOFlow has the PSNR of table 4, but not its SSIM (.9119 here, .9195"
        " there): one of the two is wrong.",
        "The mixed noise is TOFlow's generator, whose replaced pixels have"
        " random colours; the paper calls it salt and pepper.",
    ),
    2: (
        "Which noise the images had is not said; here it is the mixed noise.",
        "#AD counts the images whose AD lies above the method's own AD_avg, of"
        " 700 in the paper; that the average is the method's own is a reading.",
    ),
    3: (
        "The paper does not say what it timed: whether frames were handed over,"
        " or whether the first stage ran once for each frame or five times.",
    ),
    4: (
        "Models trained on Gaussian noise; TOFlow is its released model,"
        " trained on the mixed noise.",
        "The base model at sigma 15 is a failure that its authors admit.",
        "The FastDVDnet row looks under-trained: that network's own paper has"
        " 34.04 dB at sigma 30 on DAVIS, and these clips are easier.",
        "The unsupervised loss is least where the second stage changes nothing,"
        " so that variant can at best equal its own first stage.",
    ),
}


# PSNR at sigma 50. NCFL is M_f and 1/2048: the same network.
_ABLATION = """
  M_a  29.75
  M_b  29.87
  M_c  29.79
  M_d  30.29
  M_e  29.93
  M_f  30.45
"""
# For a frame of 960x540, from the same table.
GFLOPS = {
    "M_a": 534, "M_b": 548, "M_c": 557, "M_d": 613, "M_e": 639, "M_f": 771
}
_LAMBDA = """
  1/256   30.25
  1/512   30.29
  1/1024  30.35
  1/2048  30.45
  1/4096  30.40
"""

# PSNR/SSIM on NTU-Rain, then on RainSynLight25.
_DERAINING = """
  MS-CSC      27.31/.7870  25.58/.8089
  SE          25.73/.7614  26.56/.8006
  SpacCNN     33.11/.9474  32.78/.9239
  FastDerain  30.32/.9262  29.42/.8683
  J4RNet-P    32.14/.9480  32.96/.9434
  FCRVD       36.05/.9676  35.80/.9622
  RMFD        38.92/.9764  36.99/.9760
  BasicVSR++  39.48/.9776  38.56/.9813
  NCFL        40.22/.9811  39.17/.9872
"""

# SSIM as printed: Vid4's calendar, city, foliage, walk and average, then
# Vimeo-90K's fast, medium, slow and average.
_STD = """
  Bicubic         .5720 .6028 .5666 .7974 .6347  .8930 .8592 .8212 .8568
  TOFlow          .7273 .7446 .7118 .8799 .7659  .9420 .9250 .8890 .9202
  VSR-DUF         .8110 .8235 .7709 .9141 .8318  .9490 .9430 .9090 .9369
  EDVR            .8056 .8313 .7695 .9077 .8286  .9602 .9477 .9192 .9438
  VDSR            .6351 .6473 .6250 .8400 .6869  .9233 .8969 .8647 .8945
  VDSR+PISR       .6501 .6623 .6406 .8517 .7012  .9223 .8969 .8694 .8952
  VDSR+STD        .6683 .6640 .6390 .8546 .7065  .9321 .9088 .8792 .9064
  VESPCN          .6685 .6785 .6435 .8523 .7157  .9344 .9078 .8787 .9060
  VESPCN+STD      .7057 .6847 .6577 .8699 .7293  .8409 .9121 .8805 .9101
  VSRNet          .6200 .6425 .6295 .8354 .6819  .8979 .9006 .8685 .8979
  VSRNet+STD      .6479 .6553 .6394 .8468 .6973  .9281 .9048 .8734 .9020
  FastDVDnet      .7534 .7811 .7234 .8738 .7829  .9364 .9177 .8890 .9148
  FastDVDnet+STD  .7731 .8105 .7401 .8879 .8029  .9545 .9375 .9108 .9348
"""
# Frames, "FLOPs (T)", milliseconds.
_STD_COST = """
  Bicubic         1  -     -
  TOFlow          7  0.81  632.0
  VSR-DUF         7  0.62  496.0
  EDVR            7  0.93  86.0
  VDSR            1  0.22  11.5
  VDSR+PISR       1  0.22  11.5
  VDSR+STD        1  0.22  11.5
  VESPCN          3  0.26  21.3
  VESPCN+STD      3  0.26  21.3
  VSRNet          7  0.23  11.3
  VSRNet+STD      7  0.23  11.3
  FastDVDnet      7  0.06  17.5
  FastDVDnet+STD  7  0.06  17.5
"""
STD_COLUMNS = {
    "vid4": ("calendar", "city", "foliage", "walk", "average"),
    "vimeo": ("fast", "medium", "slow", "average"),
}
# What the other numbers of its row make of one that does not fit to them.
STD_IMPLIED = {
    ("VSR-DUF", "vid4", "city"): 0.8312,
    ("VESPCN", "vid4", "average"): 0.7107,
    ("VESPCN+STD", "vimeo", "fast"): 0.9409,
    ("VSRNet", "vimeo", "fast"): 0.9256,
}
# PSNR on Vid4 of a student with time distillation, by the ConvLSTM's start.
STD_START = {"random": 25.87, "frozen": 25.79, "trained": 25.86}
STD_NOTES = (
    "In brackets: what the other numbers of the row imply, where the printed"
    " one does not fit to them. Vid4's average is the mean of four clips; that"
    " of Vimeo-90K weighs fast, medium and slow by their 1,225, 4,977 and 1,613"
    " clips.",
    "VSR-DUF's .8235 for city is likely .8313, EDVR's: .8312 is what its own"
    " average implies. Its row is of a model for blurred frames (BD), the"
    " others are of bicubic ones (BI).",
    "+PISR and +STD are marked by a club and a star in the paper. VESPCN+STD's"
    " .8409 lacks a digit; VSRNet's .8979 repeats its average.",
    "FLOPs are multiply-accumulates for a frame of 180x120: TOFlow, VSR-DUF,"
    " EDVR (without its deformable convolutions) and VDSR count so to the last"
    " digit. VESPCN and VSRNet of the table are not the published networks,"
    " which cost 0.0012 and 0.16; what they are is not said. FastDVDnet's 0.06"
    " is not unique (models/fastdvdnet_vsr.py).",
    "The times of VDSR, VSRNet and EDVR are shorter than their FLOPs take at"
    " the peak of a GTX 1080 Ti: they are no targets.",
)


def _parse_std():
  """{method: {"frames", "flops" (T), "ms", "vid4", "vimeo"}}."""
  table = {}
  for line, costs in zip(_STD.split("\n")[1:-1], _STD_COST.split("\n")[1:-1]):
    method, *ssim = line.split()
    name, frames, *rest = costs.split()
    assert name == method, (name, method)
    flops, ms = (None if cell == "-" else float(cell) for cell in rest)
    row = {"frames": int(frames), "flops": flops, "ms": ms}
    for part, columns in STD_COLUMNS.items():
      row[part] = dict(zip(columns, map(float, ssim)))
      ssim = ssim[len(columns) :]
    table[method] = row
  return table


STD = _parse_std()


def _parse(text, columns):
  """{column: {method: (PSNR, SSIM or None)}} of a table above."""
  parsed = {column: {} for column in columns}
  for line in text.split("\n")[1:-1]:
    method, *cells = line.split()
    for column, cell in zip(columns, cells):
      psnr, _, ssim = cell.partition("/")
      parsed[column][method] = (float(psnr), float(ssim) if ssim else None)
  return parsed


_NTURAIN, _LIGHT25 = _parse(_DERAINING, ("nturain", "light25")).values()
# {table: {sigma in 8-bit units, or None: {method: (PSNR, SSIM or None)}}}
TABLES = {
    "davis": _parse(_DAVIS, _SIGMAS),
    "set8": _parse(_SET8, _SIGMAS),
    "set8_ablation": _parse(_ABLATION, (50,)),
    "set8_lambda": _parse(_LAMBDA, (50,)),
    "nturain": {None: _NTURAIN},
    "rainsynlight25": {None: _LIGHT25},
    "vimeo700": _parse(_VIMEO700, (15, 25, 35, 45, 55)),
    "vimeo700_mixed": _parse(_VIMEO700_MIXED, (25, None)),
}


def source(table: str) -> str:
  """Where the numbers of a table are printed."""
  return _SOURCES.get(table, SOURCE)


def column(
    table: str, sigma: float | None
) -> dict[str, tuple[float, float | None]]:
  """{method: (PSNR, SSIM or None)} of a table at a noise level.

  Args:
    table: one of TABLES.
    sigma: in 8-bit units; None where the clips come degraded.

  Raises:
    ValueError: no such table, or a sigma that the paper does not measure.
  """
  if table in UNKNOWN:
    raise ValueError(
        f"The paper's numbers on {table} are not in its supplementary and not"
        f" known here; there are {', '.join(TABLES)}."
    )
  if table not in TABLES:
    raise ValueError(
        f"No published table {table!r}; there are {', '.join(TABLES)}."
    )
  columns = TABLES[table]
  if sigma not in columns:
    if set(columns) == {None}:
      raise ValueError(
          f"{table} comes degraded, its numbers are of no noise level; leave"
          f" out the sigma, {sigma:g}."
      )
    given = "none (--sigma=30)" if sigma is None else f"{sigma:g}"
    raise ValueError(
        "The paper measures sigma"
        f" {', '.join(str(s) for s in columns if s is not None)}, but got"
        f" {given}."
    )
  return columns[sigma]
