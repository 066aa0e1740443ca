"""The samples of video files and RGB in floats, each way, and nothing lost.

`from_rgb(to_rgb(planes))` gives every sample back: RGB is not clamped between,
so that what lies beyond black, white or the cube of colours survives, and the
filter that thins chroma out undoes the one that interpolated it. The two form
a biorthogonal pair (thinning after interpolating is the identity, ends
included, since both mirror alike). Between them a restored frame's chroma is
low-passed, not sampled, so that it does not alias.

Functions take numpy or JAX arrays and keep their kind. Transfer curves are left
alone: models work on samples as they are coded, and so do displays.
"""

import dataclasses

import numpy as np

from vidrestore_jax import colour
from vidrestore_jax.shapes import check_choice

FAMILIES = ("yuv", "rgb", "gray")
# AVColorSpace (ITU-T H.273, table 4) -> the weights of red and blue in luma.
_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
}
_YCGCO = 8
_UNSPECIFIED = 2
# Co-sited chroma: the 9/7-M pair (Adams and Ward, "Wavelet transforms in the
# JPEG-2000 standard", 2001). An interpolated sample between two, and what
# thinning weighs at distances 0 to 4.
_BETWEEN = (-1 / 16, 9 / 16, 9 / 16, -1 / 16)
_THIN_CO_SITED = (46 / 64, 16 / 64, -8 / 64, 0.0, 1 / 64)
# Chroma midway between two luma samples: interpolation reproduces straight
# lines and is zero at the highest frequency; thinning is its one dual of six
# taps, of gain 1.05 at most.
_BESIDE = (3 / 16, 14 / 16, -1 / 16)
_THIN_MIDWAY = (28 / 48, -3 / 48, -1 / 48)


@dataclasses.dataclass(frozen=True)
class Layout:
  """What the planes of a frame mean.

  Attributes:
    family: "yuv" (planes Y, Cb, Cr), "rgb" (R, G, B) or "gray".
    depth: bits of a sample, 8 to 16.
    subsampling: log2 of the luma samples that a chroma sample stands for,
      (horizontally, vertically); (1, 1) is 4:2:0.
    full: the range is full; else limited (16 .. 235 in 8 bits).
    matrix: AVColorSpace; 2 is unspecified and then guessed by `lines`.
    siting: where the first chroma sample lies, (horizontally, vertically), in
      luma samples: 0.0 on the first luma sample, 0.5 midway to the second.
  """

  family: str
  depth: int
  subsampling: tuple[int, int] = (0, 0)
  full: bool = False
  matrix: int = _UNSPECIFIED
  siting: tuple[float, float] = (0.0, 0.5)

  @property
  def dtype(self):
    """What holds a sample."""
    return np.uint8 if self.depth == 8 else np.uint16

  def chroma_size(self, height: int, width: int) -> tuple[int, int]:
    """(height, width) of a chroma plane."""
    across, down = self.subsampling
    return -(-height // (1 << down)), -(-width // (1 << across))


def check_matrix(matrix: int, name):
  """ValueError unless the matrix is one that `to_rgb` has; `name` the file."""
  if matrix not in (*_WEIGHTS, _YCGCO, _UNSPECIFIED, 3):
    raise ValueError(
        f"{name} has the colour matrix {matrix} (of ITU-T H.273), which is not"
        " supported; BT.601, BT.709, BT.2020 (non-constant luminance), YCgCo"
        " and RGB are. Convert it first: ffmpeg -i IN -vf"
        " scale=out_color_matrix=bt709 -c:v ffv1 OUT.mkv"
    )


def guessed_matrix(matrix: int, lines: int) -> int:
  """The matrix, or what players take where none is specified."""
  return colour.tags_for(lines)[0] if matrix in (2, 3) else matrix


def to_rgb(planes, layout: Layout):
  """Samples as RGB.

  Args:
    planes: integers, Y, Cb, Cr or R, G, B or gray, `[H, W]` each; chroma is
      `layout.chroma_size(H, W)`.
    layout: what they mean.

  Returns:
    float32 `[H, W, 3]`, black 0 and white 1, not clamped.
  """
  check_choice("A layout's family", layout.family, FAMILIES)
  xp = planes[0].__array_namespace__()
  planes = [plane.astype(np.float32) for plane in planes]
  black, span = _luma_range(layout)
  if layout.family != "yuv":
    channels = [(plane - black) * np.float32(1 / span) for plane in planes]
    return xp.stack(channels * (3 // len(channels)), -1)
  height, width = planes[0].shape
  middle = np.float32(1 << layout.depth - 1)
  luma, chroma = planes[0] - black, [
      _interpolated(plane - middle, layout, height, width, xp)
      for plane in planes[1:]
  ]
  inverse = np.linalg.inv(_matrix(layout, height)) / _spans(layout)
  return xp.stack([_weighed(row, (luma, *chroma)) for row in inverse], -1)


def from_rgb(rgb, layout: Layout):
  """RGB as samples; undoes `to_rgb`.

  Args:
    rgb: float32 `[H, W, 3]`, finite.
    layout: what the samples shall mean. Gray is the luma of `layout.matrix`.

  Returns:
    A tuple of planes, `layout.dtype`, rounded and clamped to what the depth
    holds; limited range keeps its foot- and headroom.
  """
  check_choice("A layout's family", layout.family, FAMILIES)
  xp = rgb.__array_namespace__()
  channels = [rgb[..., i] for i in range(3)]
  black, span = _luma_range(layout)
  if layout.family == "rgb":
    return tuple(
        _integers(channel * np.float32(span) + black, layout, xp)
        for channel in channels
    )
  rows = _matrix(layout, rgb.shape[0]) * _spans(layout)[:, None]
  luma = _integers(_weighed(rows[0], channels) + black, layout, xp)
  if layout.family == "gray":
    return (luma,)
  middle = np.float32(1 << layout.depth - 1)
  chroma = (
      _thinned(_weighed(row, channels), layout, xp) + middle for row in rows[1:]
  )
  return luma, *(_integers(plane, layout, xp) for plane in chroma)


def _luma_range(layout):
  """The code of black, and how many codes above it white is."""
  if layout.full:
    return np.float32(0), (1 << layout.depth) - 1
  unit = 1 << layout.depth - 8
  return np.float32(16 * unit), 219 * unit


def _spans(layout):
  """Codes per unit of Y, Cb and Cr."""
  _, span = _luma_range(layout)
  unit = 224 << layout.depth - 8
  return np.array([span, *([span] * 2 if layout.full else [unit] * 2)])


def _matrix(layout, height):
  """RGB to Y in [0, 1] and Cb, Cr in [-0.5, 0.5], float64 `[3, 3]`."""
  matrix = guessed_matrix(layout.matrix, height)
  if matrix == _YCGCO:
    return np.array([[1, 2, 1], [-1, 2, -1], [2, 0, -2]]) / 4
  red, blue = _WEIGHTS[matrix]
  luma = np.array([red, 1 - red - blue, blue])
  # In H.273's words: E'PB = 0.5 (E'B - E'Y) / (1 - KB).
  to_blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
  to_red = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
  return np.stack([luma, to_blue, to_red])


def _weighed(weights, planes):
  """The sum of planes, each times its weight."""
  return sum(
      plane * np.float32(weight)
      for weight, plane in zip(weights, planes)
      if abs(weight) > 1e-9
  )


def _integers(plane, layout, xp):
  top = (1 << layout.depth) - 1
  return xp.clip(xp.rint(plane), 0, top).astype(layout.dtype)


# Chroma


def _interpolated(plane, layout, height, width, xp):
  """A chroma plane at the size of luma; rows first."""
  for axis, size in ((0, height), (1, width)):
    halvings = layout.subsampling[1 - axis]
    for level in range(halvings - 1, -1, -1):
      wanted = -(-size // (1 << level))
      plane = _double(plane, wanted, layout.siting[1 - axis], axis, xp)
  return plane


def _thinned(plane, layout, xp):
  """Undoes `_interpolated`."""
  for axis in (1, 0):
    for _ in range(layout.subsampling[1 - axis]):
      plane = _halve(plane, layout.siting[1 - axis], axis, xp)
  return plane


def _double(plane, size, siting, axis, xp):
  """Twice as many samples along `axis`, `size` of them."""
  count = plane.shape[axis]
  # Luma is mirrored at both ends; these are the same mirrors seen by chroma.
  ends = ("reflect" if siting == 0 else "symmetric",
          "reflect" if size % 2 else "symmetric")
  padded = _padded(plane, (1, 2) if siting == 0 else (1, 1), ends, axis, xp)

  def tap(offset):
    return _part(padded, slice(1 + offset, 1 + offset + count), axis)

  if siting == 0:
    even = plane
    odd = _weighed(_BETWEEN, [tap(k) for k in (-1, 0, 1, 2)])
  else:
    even = _weighed(_BESIDE, [tap(k) for k in (-1, 0, 1)])
    odd = _weighed(_BESIDE, [tap(k) for k in (1, 0, -1)])
  both = xp.stack([even, odd], axis + 1)
  shape = list(plane.shape)
  shape[axis] = 2 * count
  return _part(both.reshape(shape), slice(size), axis)


def _halve(plane, siting, axis, xp):
  """Every second sample along `axis`, low-passed; undoes `_double`."""
  size = plane.shape[axis]
  count = -(-size // 2)
  if siting == 0:
    padded = _padded(plane, (4, 4), ("reflect",) * 2, axis, xp)
    taps = [(4 + d, w) for d, w in enumerate(_THIN_CO_SITED)]
    taps += [(4 - d, w) for d, w in enumerate(_THIN_CO_SITED) if d]
  else:
    padded = _padded(plane, (2, 3), ("symmetric",) * 2, axis, xp)
    taps = [(3 + d, w) for d, w in enumerate(_THIN_MIDWAY)]
    taps += [(2 - d, w) for d, w in enumerate(_THIN_MIDWAY)]
  return _weighed(
      [weight for _, weight in taps],
      [
          _part(padded, slice(start, start + 2 * count - 1, 2), axis)
          for start, _ in taps
      ],
  )


def _padded(plane, amounts, ends, axis, xp):
  """The plane with samples mirrored before and after it along `axis`."""
  for which, (amount, mode) in enumerate(zip(amounts, ends)):
    widths = [(0, 0), (0, 0)]
    widths[axis] = (0, amount) if which else (amount, 0)
    plane = xp.pad(plane, widths, mode=mode)
  return plane


def _part(plane, part, axis):
  return plane[part] if axis == 0 else plane[:, part]
