"""From restored frames to numbers, as a `Protocol` says.

Rounding, colour, border, frames and averaging each move PSNR by tenths of a
dB, so a number means something only together with its `Protocol`. The records
themselves are in `metrics.records`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from vidrestore_jax.metrics import deviation, image, raw, temporal
from vidrestore_jax.metrics.records import RECORDS, Noise, Protocol

__all__ = [
    "FURTHER", "MAX_PSNR", "Noise", "Protocol", "as_dict", "available", "clamp",
    "further", "get", "of_images", "perceptual", "pool", "score",
]

# What two equal frames count as, since one `inf` would swallow a clip's mean.
MAX_PSNR = 100.0

_PROTOCOLS = {record.name: record for record in RECORDS}
_SSIM = {"gaussian11": image.ssim, "uniform7": image.ssim_uniform}


def _deviation(frames, truth, *, crop):
  return np.mean([
      deviation.average_deviation(crop(frame), crop(true)).index
      for frame, true in zip(frames, truth)
  ])


def _warping_error(frames, truth, *, crop):
  del crop  # Its definition has none.
  return temporal.warping_error(frames, truth)


# Numbers of a whole clip beside PSNR and SSIM: functions of (frames, truth) in
# [0, 1] and of `crop`, which takes the part of an image that counts.
FURTHER = {
    "ad": _deviation,
    "tof": temporal.tof,
    "warping_error": _warping_error,
}


def available() -> list[str]:
  """Names that `get` knows."""
  return sorted(_PROTOCOLS)


def of_images() -> list[str]:
  """Names of the protocols that measure RGB frames, not packed planes."""
  return [n for n in available() if _PROTOCOLS[n].colour in ("rgb", "y601")]


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
  """PSNR and SSIM of each frame of a clip that counts under a protocol.

  Nothing is clamped here unless the protocol rounds: clamping is the last
  step of a restorer (`clamp`), and the degraded input is measured as it is.

  Args:
    frames: `[T, H, W, C]`, white is 1.
    truth: the same shape, white is 1.
    protocol: which numbers.
    camera: arguments of `raw.isp` of the camera that took the clip, for
      protocols that render raw frames; None is CRVD's.

  Returns:
    `{"psnr": [t], "ssim": [t]}`, float64, of the t = T - 2 `drop_ends` frames
    that count. Equal frames count as 100 dB.

  Raises:
    ValueError: shapes differ, values are not finite, or the protocol cannot
      measure such frames.
  """
  frames, truth = _counted(frames, truth, protocol)
  result = {"psnr": np.empty(len(frames)), "ssim": np.empty(len(frames))}
  for t, (frame, true) in enumerate(zip(frames, truth)):
    pair = [_prepare(side, protocol, camera or {}) for side in (frame, true)]
    value = image.psnr(*pair, peak=protocol.peak)
    result["psnr"][t] = min(value, MAX_PSNR)
    peak = protocol.peak
    if protocol.ssim_range == "restored":
      # As released; of a flat frame it is 0, and so SSIM 0 / 0 there.
      peak = np.ptp(pair[0]) or protocol.peak
    result["ssim"][t] = _SSIM[protocol.ssim](*pair, peak=peak)
  return result


def pool(
    scores: Mapping[str, np.ndarray], protocol: Protocol
) -> dict[str, float]:
  """What a clip's `score` comes to: one number for each key.

  The mean over frames, but for the PSNR of "sequence_clip_set": that of the
  mean squared error of all frames (`image.sequence_psnr`), in which equal
  frames count with the 1e-10 of white squared that 100 dB are.
  """
  numbers = {key: float(np.mean(values)) for key, values in scores.items()}
  if protocol.pooling == "sequence_clip_set":
    errors = 10 ** (-np.asarray(scores["psnr"]) / 10)
    numbers["psnr"] = float(-10 * np.log10(errors.mean()))
  return numbers


def further(
    frames,
    truth,
    protocol: Protocol,
    functions: Mapping[str, Callable] | None = None,
) -> dict[str, float]:
  """The numbers of a clip beside PSNR and SSIM.

  Args:
    frames: `[T, H, W, 3]`, white is 1.
    truth: the same shape.
    protocol: whose rounding, frames and crop hold, on all three channels; its
      own `further` is measured.
    functions: what else to measure, by name: functions as in FURTHER.

  Raises:
    ValueError: the frames are not RGB, or too few or too small.
    ImportError: an extra is missing.
  """
  wanted = {name: FURTHER[name] for name in protocol.further}
  wanted |= functions or {}
  if not wanted:
    return {}
  pair = _counted(frames, truth, protocol)
  if pair[0].shape[-1] != 3:
    raise ValueError(
        f"{', '.join(wanted)} needs RGB clips [T, H, W, 3], but got shape"
        f" {pair[0].shape}. Ask for PSNR and SSIM alone."
    )
  pair = [_round(clip, protocol).astype(np.float32) for clip in pair]
  crop = functools.partial(_crop, protocol=protocol)
  return {n: float(f(*pair, crop=crop)) for n, f in wanted.items()}


def perceptual(distance: Callable) -> dict[str, Callable]:
  """LPIPS and tLP as `further` takes them, by a distance of two images.

  Args:
    distance: of two images `[H, W, 3]` in [0, 1], a number, such as LPIPS.
  """

  def with_crop(measure):
    def cropped(frames, truth, *, crop):
      pair = [np.stack([crop(f) for f in clip]) for clip in (frames, truth)]
      return measure(*pair, distance=distance)

    return cropped

  return {
      "lpips": with_crop(temporal.perceptual_distance),
      "tlp100": with_crop(temporal.tlp),
  }


def clamp(frames):
  """Restored frames as protocols take them: float32, in [0, 1]."""
  return np.clip(np.asarray(frames, np.float32), 0.0, 1.0)


def _counted(frames, truth, protocol):
  """The frames that count, checked."""
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
  drop = protocol.drop_ends
  if len(frames) <= 2 * drop:
    raise ValueError(
        f"Protocol {protocol.name} leaves out {drop} frames at either end of a"
        f" clip and needs {2 * drop + 1} or more, but got {len(frames)}. Give"
        " longer clips, or choose another protocol."
    )
  kept = slice(drop, len(frames) - drop)
  return frames[kept], truth[kept]


def _prepare(frame, protocol, camera):
  """`[H, W, C]` with white 1 as the image that the protocol compares."""
  frame = _crop(np.asarray(frame, np.float64), protocol)
  if protocol.colour in ("bayer", "isp") and frame.shape[-1] != 4:
    raise ValueError(
        f"Protocol {protocol.name} measures packed Bayer planes [T, h, w, 4],"
        f" but a frame has shape {frame.shape}. Pack a mosaic with"
        " vidrestore_jax.data.raw.pack, or choose a protocol for images."
    )
  if protocol.colour == "isp":
    frame = raw.isp(frame, **camera)
  frame = _round(frame, protocol)
  if protocol.colour == "y601":
    return image.luminance(frame) * (protocol.peak / 255.0)
  return frame * protocol.peak


def _crop(frame, protocol):
  frame = image.crop_border(frame, protocol.border)
  if protocol.centre:
    frame = image.crop_centre(frame, protocol.centre)
  return frame


def _round(frame, protocol):
  """`frame`, of any shape, clamped and rounded as the protocol says."""
  frame = np.asarray(frame, np.float64)
  if protocol.rounding == "dn12_truncate":
    return raw.truncate(frame)
  if protocol.rounding == "none":
    return frame
  frame = np.clip(frame, 0.0, 1.0)
  if protocol.rounding == "clamp":
    return frame
  to_whole = {
      "uint8": np.round,
      "uint8_half_up": lambda levels: np.floor(levels + 0.5),
      "uint8_truncate": np.floor,
  }[protocol.rounding]
  return to_whole(frame * 255.0) / 255.0
