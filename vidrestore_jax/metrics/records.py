"""How papers measure, as data: a frozen `Protocol` each, with its source.

`metrics.protocols` is the code that follows them. A source is a repository (at
a commit, where lines are given), file and lines or functions.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Noise:
  """Gaussian noise that anyone with numpy can draw again.

  Attributes:
    seed: of `recipe`.
    recipe: how it is drawn, in words, for the record; sigma in 8-bit units.
  """

  seed: int
  recipe: str = (
      "numpy.random.default_rng(seed + round(sigma)).normal(0, sigma / 255,"
      " [T, C, H, W]) for each clip anew, as float32, added without clipping"
  )

  def draw(self, shape: tuple[int, int, int, int], sigma: float):
    """Noise for a clip of `shape` [T, H, W, C], float32, in [0, 1] units.

    Args:
      shape: of the clip; drawing fewer frames gives the first of the same.
      sigma: standard deviation in 8-bit units.
    """
    frames, height, width, channels = shape
    generator = np.random.default_rng(self.seed + round(sigma))
    noise = np.empty(shape, np.float32)
    # Frame by frame is the same stream as all at once, without the float64
    # copy of the whole clip.
    for t in range(frames):
      drawn = generator.normal(0, sigma / 255, (channels, height, width))
      noise[t] = np.moveaxis(drawn, 0, -1)
    return noise


@dataclasses.dataclass(frozen=True)
class RandomStateNoise(Noise):
  """Gaussian noise of numpy's legacy generator, whose stream is frozen."""

  recipe: str = (
      "numpy.random.RandomState(seed).randn(T, H, W, C) * sigma / 255 for each"
      " clip anew, as float32, added without clipping"
  )

  def draw(self, shape: tuple[int, int, int, int], sigma: float):
    """As `Noise.draw`."""
    generator = np.random.RandomState(self.seed)
    noise = np.empty(shape, np.float32)
    for frame in noise:
      frame[:] = sigma / 255 * generator.randn(*shape[1:])
    return noise


@dataclasses.dataclass(frozen=True)
class Protocol:
  """One paper's way from restored frames to a number.

  Attributes:
    name: what `protocols.get` and the command line call it.
    rounding: "none" (floats are compared), "clamp" (floats clamped to [0, 1]),
      "uint8" (both sides clamped to [0, 1], times 255, rounded half to even as
      numpy does), "uint8_half_up" (the same, halves up), "uint8_truncate" (the
      same, rounded down) or "dn12_truncate" (`metrics.raw.truncate`).
    colour: "rgb", "y601" (BT.601 luminance, studio range, not rounded),
      "bayer" (packed planes as they are) or "isp" (packed planes through
      `metrics.raw.isp`, before rounding).
    border: pixels left out on each side.
    peak: value of white in the images that are compared.
    frames: the first so many frames of a clip count; None for all.
    pooling: how numbers become one; "frame_clip_set" is the mean over the
      frames of a clip, then the mean over clips; "sequence_clip_set" takes a
      clip's PSNR from the one mean squared error of its frames, and all else
      as before.
    noise: how the degraded clip is made of the clean one, or None where the
      degraded clips are files.
    source: where all this is written.
    ssim: its window, "gaussian11" (`metrics.image.ssim`) or "uniform7"
      (`metrics.image.ssim_uniform`).
    ssim_range: what SSIM's constants are fractions of: "peak", or "restored",
      the restored image's maximum less its minimum.
    drop_ends: frames left out of the numbers at either end of a clip; they are
      restored all the same.
    centre: the middle of sides that are multiples of so many pixels counts
      (`metrics.image.crop_centre`); 0 for the whole frame.
    further: what of `protocols.FURTHER` belongs to it beside PSNR and SSIM.
  """

  name: str
  rounding: str
  colour: str
  border: int
  peak: float
  frames: int | None
  pooling: str
  noise: Noise | None
  source: str
  ssim: str = "gaussian11"
  ssim_range: str = "peak"
  drop_ends: int = 0
  centre: int = 0
  further: tuple[str, ...] = ()


# RGB frames as files hold them: what most records change in a point or two.
_RGB_UINT8 = Protocol(
    name="rgb_uint8",
    rounding="uint8",
    colour="rgb",
    border=0,
    peak=255.0,
    frames=None,
    pooling="frame_clip_set",
    noise=None,
    source=(
        "SSIM's authors' window on each channel and PSNR over RGB, of frames as"
        " they are stored, 8 bit; BasicSR's psnr_ssim.py with crop_border 0 and"
        " test_y_channel false"
    ),
)

_FASTDVDNET = Protocol(
    name="fastdvdnet",
    rounding="none",
    colour="rgb",
    border=0,
    peak=1.0,
    # Set8 and the DAVIS test set are measured on at most 85 frames; the
    # released script's own default is 25.
    frames=85,
    pooling="frame_clip_set",
    noise=Noise(seed=1000),
    source=(
        "m-tassano/fastdvdnet utils.py:179-196, test_fastdvdnet.py,"
        " fastdvdnet.py (outputs clamped to [0, 1], inputs not); SSIM is not"
        " part of it and is taken on the same frames"
    ),
)

_CRVD_RAW = dataclasses.replace(
    _RGB_UINT8,
    name="crvd_raw",
    rounding="dn12_truncate",
    colour="bayer",
    peak=1.0,
    ssim="uniform7",
    source=(
        "cao-cong/RViDeNet test_indoor.py and utils.py: PSNR on the mosaic"
        " truncated to integer DN, range 1; SSIM the mean of the four packed"
        " planes, scikit-image's defaults. Here truth below black counts as"
        " black"
    ),
)

RECORDS = (
    _FASTDVDNET,
    dataclasses.replace(
        _FASTDVDNET,
        name="fitvnet",
        frames=None,
        source=(
            "Wang et al., arXiv:2001.00346, section 4.1, which names PSNR and"
            " SSIM and no more, and no code was released: RGB floats in [0, 1],"
            " outputs clamped and inputs not, as FastDVDnet, whose method it"
            " compares with; SSIM with its authors' window"
        ),
    ),
    dataclasses.replace(
        _RGB_UINT8,
        name="basicsr",
        source=(
            "XPixelGroup/BasicSR basicsr/metrics/psnr_ssim.py (calculate_psnr,"
            " calculate_ssim), utils/img_util.py (tensor2img: clamped, rounded"
            " to 8 bits), models/video_base_model.py (mean over a folder's"
            " frames, then over folders), options/test/EDVR (crop_border 0,"
            " test_y_channel false; on luminance it is sr_y)"
        ),
    ),
    dataclasses.replace(
        _FASTDVDNET,
        name="vnlnet",
        # Files are written and measured; PSNR with a range of 255.
        rounding="uint8_half_up",
        peak=255.0,
        frames=None,
        pooling="sequence_clip_set",
        noise=RandomStateNoise(seed=2018),
        ssim="uniform7",
        source=(
            "axeldavy/vnlnet@3170b6f psnr.py:49-61 (the second of its two"
            " PSNRs, of one squared error for the sequence), @c4c70a3"
            " ssim.py:51 (scikit-image's defaults, mean over frames), @7c1f02d"
            " test.py:87-91,120,145 (PNG by floor(x + 0.5), noise); RGB, as its"
            " colour networks"
        ),
    ),
    dataclasses.replace(
        _RGB_UINT8,
        name="mmagic",
        rounding="clamp",
        source=(
            "open-mmlab/mmagic mmagic/evaluation/metrics/psnr.py, ssim.py,"
            " base_sample_wise_metric.py (mean over a clip's frames, then over"
            " clips), models/data_preprocessors/data_preprocessor.py (destruct:"
            " clamped to [0, 255], not rounded),"
            " configs/basicvsr/basicvsr_2xb4_reds4.py (RGB). It computes in"
            " float32, here in float64"
        ),
    ),
    dataclasses.replace(
        _RGB_UINT8,
        name="mmagic_y",
        rounding="clamp",
        colour="y601",
        source=(
            "as mmagic, with convert_to='Y':"
            " configs/basicvsr/basicvsr_2xb4_vimeo90k-bd.py (Vimeo-90K, Vid4)"
        ),
    ),
    dataclasses.replace(
        _RGB_UINT8,
        name="tecogan",
        colour="y601",
        ssim="uniform7",
        ssim_range="restored",
        drop_ends=2,
        centre=32,
        further=("tof",),
        source=(
            "thunil/TecoGAN@dfee612 metrics.py:37-92 (luminance of 8-bit files,"
            " SSIM with the range of the prediction, crop), 117-199 (two frames"
            " left out at either end, tOF on whole frames, cropped), 206-232"
            " (its FolderAvg; FrameAvg weighs clips by their frames). LPIPS and"
            " tLP are in metrics/temporal.py, without the network"
        ),
    ),
    dataclasses.replace(
        _RGB_UINT8,
        name="sr_y",
        colour="y601",
        source=(
            "xinntao/EDVR and BasicSR on Vid4, Y channel: uint8 frames, BT.601"
            " luminance in float, no border crop"
        ),
    ),
    # Deraining and dehazing: tables quote numbers on RGB and on luminance
    # without always saying which, so both are given.
    _RGB_UINT8,
    dataclasses.replace(
        _RGB_UINT8,
        name="y_uint8",
        colour="y601",
        source=(
            "as rgb_uint8, on BT.601 luminance in float of the 8-bit frames:"
            " csdwren/PReNet statistic/statistic_rain100L.m (MATLAB's rgb2ycbcr"
            " of doubles)"
        ),
    ),
    _CRVD_RAW,
    dataclasses.replace(
        _CRVD_RAW,
        name="crvd_srgb",
        rounding="uint8_truncate",
        colour="isp",
        source=(
            "as cao-cong/RViDeNet test_indoor.py (both sides through an ISP,"
            " clipped, truncated to 8 bit), but through the plain ISP of"
            " metrics/raw.py with CRVD's camera, not RViDeNet's pretrained CNN:"
            " not comparable with published numbers"
        ),
    ),
)
