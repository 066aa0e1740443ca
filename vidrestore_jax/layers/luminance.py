"""Luminance, which the first networks of super-resolution restore alone.

ITU-R BT.601 in studio range, 16 / 255 for black and 235 / 255 for white, as
MATLAB's rgb2ycbcr gives it, on whose output their weights were trained.
"""

_WEIGHTS = (65.481, 128.553, 24.966)  # Of R, G and B; their sum is 219.
_BLACK = 16.0


def luminance(rgb):
  """RGB `[..., 3]` in [0, 1] to `[..., 1]`."""
  weighted = sum(w * rgb[..., i : i + 1] for i, w in enumerate(_WEIGHTS))
  return (weighted + _BLACK) / 255


def with_luminance(rgb, new):
  """RGB `[..., 3]` with the luminance `new` `[..., 1]` and its own chroma.

  Chroma depends on differences of R, G and B alone, so that it keeps where the
  same is added to each of them.
  """
  return rgb + (new - luminance(rgb)) * (255 / sum(_WEIGHTS))


def split(frames):
  """What of `[..., C]` such a network restores: luminance `[..., 1]`.

  Frames of one channel are luminance themselves.
  """
  return frames if frames.shape[-1] == 1 else luminance(frames)


def join(frames, new):
  """`frames` `[..., C]` with the luminance `new`: undoes `split`."""
  return new if frames.shape[-1] == 1 else with_luminance(frames, new)
