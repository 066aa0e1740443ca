"""How papers measure: one frozen record each, and the code that follows it.

Rounding, colour, border, frames and averaging each move PSNR by tenths of a
dB, so a number means something only together with its `Protocol`.
"""

import dataclasses

import numpy as np

from vidrestore_jax.metrics import image, raw

# What two equal frames count as, since one `inf` would swallow a clip's mean.
MAX_PSNR = 100.0


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
class Protocol:
  """One paper's way from restored frames to a number.

  Attributes:
    name: what `get` and the command line call it.
    rounding: "none" (floats are compared), "uint8" (both sides clamped to
      [0, 1], times 255, rounded half to even as numpy does), "uint8_truncate"
      (the same, rounded down) or "dn12_truncate" (`metrics.raw.truncate`).
    colour: "rgb", "y601" (BT.601 luminance, studio range, not rounded),
      "bayer" (packed planes as they are) or "isp" (packed planes through
      `metrics.raw.isp`, before rounding).
    border: pixels left out on each side.
    peak: value of white in the images that are compared.
    frames: the first so many frames of a clip count; None for all.
    pooling: how numbers become one; "frame_clip_set" is the mean over the
      frames of a clip, then the mean over clips.
    noise: how the degraded clip is made of the clean one, or None where the
      degraded clips are files.
    source: where all this is written.
    ssim: its window, "gaussian11" (`metrics.image.ssim`) or "uniform7"
      (`metrics.raw.ssim`).
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


_PROTOCOLS = {
    p.name: p
    for p in (
        Protocol(
            name="fastdvdnet",
            rounding="none",
            colour="rgb",
            border=0,
            peak=1.0,
            # Set8 and the DAVIS test set are measured on at most 85 frames;
            # the released script's own default is 25.
            frames=85,
            pooling="frame_clip_set",
            noise=Noise(seed=1000),
            source=(
                "m-tassano/fastdvdnet utils.py:179-196, test_fastdvdnet.py,"
                " fastdvdnet.py (outputs clamped to [0, 1], inputs not); SSIM"
                " is not part of it and is taken on the same frames"
            ),
        ),
        Protocol(
            name="sr_y",
            rounding="uint8",
            colour="y601",
            border=0,
            peak=255.0,
            frames=None,
            pooling="frame_clip_set",
            noise=None,
            source=(
                "xinntao/EDVR and BasicSR on Vid4, Y channel: uint8 frames,"
                " BT.601 luminance in float, no border crop"
            ),
        ),
        # Deraining and dehazing: tables quote numbers on RGB and on luminance
        # without always saying which, so both are given.
        Protocol(
            name="rgb_uint8",
            rounding="uint8",
            colour="rgb",
            border=0,
            peak=255.0,
            frames=None,
            pooling="frame_clip_set",
            noise=None,
            source=(
                "SSIM's authors' window on each channel and PSNR over RGB, of"
                " frames as they are stored, 8 bit; BasicSR's psnr_ssim.py"
                " with crop_border 0 and test_y_channel false"
            ),
        ),
        Protocol(
            name="y_uint8",
            rounding="uint8",
            colour="y601",
            border=0,
            peak=255.0,
            frames=None,
            pooling="frame_clip_set",
            noise=None,
            source=(
                "as rgb_uint8, on BT.601 luminance in float of the 8-bit"
                " frames: csdwren/PReNet statistic/statistic_rain100L.m"
                " (MATLAB's rgb2ycbcr of doubles)"
            ),
        ),
        Protocol(
            name="crvd_raw",
            rounding="dn12_truncate",
            colour="bayer",
            border=0,
            peak=1.0,
            frames=None,
            pooling="frame_clip_set",
            noise=None,
            source=(
                "cao-cong/RViDeNet test_indoor.py and utils.py: PSNR on the"
                " mosaic truncated to integer DN, range 1; SSIM the mean of"
                " the four packed planes, scikit-image's defaults. Here truth"
                " below black counts as black"
            ),
            ssim="uniform7",
        ),
        Protocol(
            name="crvd_srgb",
            rounding="uint8_truncate",
            colour="isp",
            border=0,
            peak=1.0,
            frames=None,
            pooling="frame_clip_set",
            noise=None,
            source=(
                "as cao-cong/RViDeNet test_indoor.py (both sides through an"
                " ISP, clipped, truncated to 8 bit), but through the plain ISP"
                " of metrics/raw.py with CRVD's camera, not RViDeNet's"
                " pretrained CNN: not comparable with published numbers"
            ),
            ssim="uniform7",
        ),
    )
}

_SSIM = {"gaussian11": image.ssim, "uniform7": raw.ssim}


def available() -> list[str]:
  """Names that `get` knows."""
  return sorted(_PROTOCOLS)


def get(name: str) -> Protocol:
  """The protocol of that name; ValueError lists those that exist."""
  if name not in _PROTOCOLS:
    raise ValueError(
        f"Unknown protocol {name!r}; choose one of {', '.join(available())}."
    )
  return _PROTOCOLS[name]


def as_dict(protocol: Protocol) -> dict:
  """The record as JSON holds it, to write beside every number."""
  return dataclasses.asdict(protocol)


def score(
    frames, truth, protocol: Protocol, *, camera: dict | None = None
) -> dict[str, np.ndarray]:
  """PSNR and SSIM of each frame of a clip under a protocol.

  Nothing is clamped here unless the protocol rounds: clamping is the last
  step of a restorer (`clamp`), and the degraded input is measured as it is.

  Args:
    frames: `[T, H, W, C]`, white is 1.
    truth: the same shape, white is 1.
    protocol: which numbers.
    camera: arguments of `raw.isp` of the camera that took the clip, for
      protocols that render raw frames; None is CRVD's.

  Returns:
    `{"psnr": [T], "ssim": [T]}`, float64. Equal frames count as 100 dB.

  Raises:
    ValueError: shapes differ, values are not finite, or the protocol cannot
      measure such frames.
  """
  frames, truth = np.asarray(frames), np.asarray(truth)
  if frames.shape != truth.shape or frames.ndim != 4 or not len(frames):
    raise ValueError(
        "A clip and its truth need one shape [T, H, W, C] with T > 0, but got"
        f" {frames.shape} and {truth.shape}."
    )
  if not np.isfinite(frames).all():
    raise ValueError(
        "The clip to measure holds NaN or infinite values; a number from it"
        " would mean nothing."
    )
  result = {"psnr": np.empty(len(frames)), "ssim": np.empty(len(frames))}
  for t, (frame, true) in enumerate(zip(frames, truth)):
    pair = [_prepare(side, protocol, camera or {}) for side in (frame, true)]
    value = image.psnr(*pair, peak=protocol.peak)
    result["psnr"][t] = min(value, MAX_PSNR)
    result["ssim"][t] = _SSIM[protocol.ssim](*pair, peak=protocol.peak)
  return result


def clamp(frames):
  """Restored frames as protocols take them: float32, in [0, 1]."""
  return np.clip(np.asarray(frames, np.float32), 0.0, 1.0)


def _prepare(frame, protocol, camera):
  """`[H, W, C]` with white 1 as the image that the protocol compares."""
  frame = image.crop_border(np.asarray(frame, np.float64), protocol.border)
  if protocol.colour in ("bayer", "isp") and frame.shape[-1] != 4:
    raise ValueError(
        f"Protocol {protocol.name} measures packed Bayer planes [T, h, w, 4],"
        f" but a frame has shape {frame.shape}. Pack a mosaic with"
        " vidrestore_jax.data.raw.pack, or choose a protocol for images."
    )
  if protocol.colour == "isp":
    frame = raw.isp(frame, **camera)
  if protocol.rounding == "uint8":
    frame = np.round(np.clip(frame, 0.0, 1.0) * 255.0) / 255.0
  elif protocol.rounding == "uint8_truncate":
    frame = np.floor(np.clip(frame, 0.0, 1.0) * 255.0) / 255.0
  elif protocol.rounding == "dn12_truncate":
    frame = raw.truncate(frame)
  if protocol.colour == "y601":
    frame = image.luminance(frame) * (protocol.peak / 255.0)
  else:
    frame = frame * protocol.peak
  return frame
