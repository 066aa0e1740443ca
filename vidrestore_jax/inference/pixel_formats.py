"""FFmpeg's pixel formats: where the samples of a frame lie in its memory.

Samples are read from and written into a PyAV frame's planes here, exactly;
libswscale is asked only for formats with a palette or less than 8 bits, which
it unfolds without loss. What the samples mean is `video_colour`'s.
"""

import functools
import re

import numpy as np

from vidrestore_jax.inference.video_colour import Layout

# Interleaved formats of 8 or 16 bits a component -> the order in memory;
# x is padding.
_INTERLEAVED = {
    **{f"{order}24": order for order in ("rgb", "bgr")},
    **{f"{order}48": order for order in ("rgb", "bgr")},
    **{f"{order}64": order for order in ("rgba", "bgra", "ayuv")},
    **{order: order for order in ("rgba", "bgra", "argb", "abgr")},
    "rgb0": "rgbx", "bgr0": "bgrx", "0rgb": "xrgb", "0bgr": "xbgr",
    "ya8": "ya", "ya16": "ya", "vuya": "vuya", "vuyx": "vuyx", "ayuv": "ayuv",
    "uyva": "uyva", "vyu444": "vyu", "yuyv422": "yuyv", "uyvy422": "uyvy",
    "yvyu422": "yvyu", "y210": "yuyv", "y212": "yuyv", "y216": "yuyv",
    "xv36": "uyvx", "xv48": "uyvx",
}
# Two planes, chroma interleaved -> its order.
_HALF_PLANAR = re.compile(r"(nv12|nv16|nv20|nv24|p[024]1[026])|(nv21|nv42)")
# Of 16-bit words, those whose samples are in the upper bits.
_UPPER = re.compile(r"p[024]1[02]|y21[02]|xv36")
_PLANAR = re.compile(r"yuvj?a?4\d\dp\d*|gbra?p\d*|gray\d*")
# What libswscale unfolds without loss.
_UNFOLDED = {
    **dict.fromkeys(("pal8", "rgb8", "bgr8", "rgb4", "bgr4", "rgb4_byte",
                     "bgr4_byte", "rgb565", "bgr565", "rgb555", "bgr555",
                     "rgb444", "bgr444"), "rgb24"),
    "monow": "gray", "monob": "gray",
}


def layout_of(name: str, **meaning) -> Layout:
  """The layout of a pixel format.

  Args:
    name: FFmpeg's, such as "yuv420p10le".
    **meaning: `Layout`'s full, matrix and siting.

  Raises:
    ValueError: a format that is not supported.
  """
  stem = _stem(name)
  if stem in _UNFOLDED:
    stem = _UNFOLDED[stem]
  if not _is_known(stem):
    raise ValueError(
        f"The pixel format {name} is not supported; YUV, RGB and grey of 8 to"
        " 16 bits are. Convert it first: ffmpeg -i IN -pix_fmt gbrp16le -c:v"
        " ffv1 OUT.mkv"
    )
  components, subsampling = _described(stem)
  if stem.startswith("yuvj"):
    meaning["full"] = True
  family = {"g": "gray", "r": "rgb", "y": "yuv"}[_family(stem)]
  if family != "yuv":
    subsampling = (0, 0)
  return Layout(family, components[0], subsampling, **meaning)


def is_supported(name: str) -> bool:
  """Whether samples of that pixel format can be read."""
  stem = _stem(name)
  return stem in _UNFOLDED or _is_known(stem)


def has_alpha(name: str) -> bool:
  """Whether a pixel format has an alpha channel."""
  return "a" in _letters(_stem(name))


def read(frame):
  """The samples of an `av.VideoFrame`.

  Returns:
    The pair of planes, uint8 or uint16 `[H, W]` each in the order of `Layout`,
    and alpha, or None.

  Raises:
    ValueError: a pixel format that is not supported.
  """
  stem = _stem(frame.format.name)
  if stem in _UNFOLDED:
    frame = frame.reformat(format=_UNFOLDED[stem], threads=1)
    stem = _stem(frame.format.name)
  layout = layout_of(frame.format.name)
  views = _views(frame, layout)
  planes = []
  for view in views.values():
    plane = view.astype(layout.dtype)  # A copy: the frame's memory goes.
    if _UPPER.fullmatch(stem):
      plane >>= 16 - layout.depth
    planes.append(plane)
  alpha = planes.pop() if has_alpha(stem) else None
  return tuple(planes), alpha


def write(planes, name: str):
  """Samples as a new `av.VideoFrame`; undoes `read`.

  Args:
    planes: uint8 or uint16 `[H, W]` each, in the order of `Layout`.
    name: the pixel format; alpha, if it has any, becomes opaque.
  """
  import av

  height, width = planes[0].shape
  frame = av.VideoFrame(width, height, name)
  layout, stem = layout_of(name), _stem(name)
  views = _views(frame, layout)
  if "a" in views:
    views.pop("a")[:] = (1 << layout.depth) - 1
  for view, plane in zip(views.values(), planes):
    shift = 16 - layout.depth if _UPPER.fullmatch(stem) else 0
    view[:] = plane.astype(view.dtype) << shift
  return frame


def _views(frame, layout):
  """The samples in the frame's memory, by letter, alpha last."""
  name = frame.format.name
  stem = _stem(name)
  kind = "u1" if layout.depth == 8 else ">u2" if name.endswith("be") else "<u2"
  rows = [_rows(plane, kind) for plane in frame.planes]
  small = layout.chroma_size(frame.height, frame.width)
  views = {}
  for letter in _letters(stem):
    height, width = small if letter in "uv" else (frame.height, frame.width)
    plane, offset, step = _place(stem, letter)
    end = offset + step * (width - 1) + 1
    views[letter] = rows[plane][:height, offset:end:step]
  return views


def _rows(plane, kind):
  """A plane's memory as `[rows, samples in a row]`, top row first."""
  line = abs(plane.line_size)
  bytes_ = np.frombuffer(plane, np.uint8)
  rows = bytes_[: bytes_.size // line * line].reshape(-1, line)
  if plane.line_size < 0:  # Bottom up, as in uncompressed AVI.
    rows = rows[::-1]
  size = np.dtype(kind).itemsize
  return rows[:, : line // size * size].view(kind)


@functools.cache
def _place(stem, letter):
  """(plane, first sample, samples from one to the next) of a component."""
  if stem in _INTERLEAVED:
    order = _INTERLEAVED[stem]
    step = len(order) // order.count(letter)
    return 0, order.index(letter), step
  match = _HALF_PLANAR.fullmatch(stem)
  if match and letter != "y":
    return 1, ("uv" if match[1] else "vu").index(letter), 2
  if match:
    return 0, 0, 1
  order = "gbra" if stem.startswith("gbr") else "yuva"
  return order.index(letter), 0, 1


def _letters(stem):
  """The components in the order of `Layout`, alpha last."""
  if stem in _INTERLEAVED:
    order = _INTERLEAVED[stem]
    alpha = "a" * ("a" in order)
    for letters in ("rgb", "yuv", "y"):
      if set(letters) <= set(order):
        return letters + alpha
  if stem.startswith("gray"):
    return "y"
  if _HALF_PLANAR.fullmatch(stem):
    return "yuv"
  alpha = "a" * ("a" in stem)
  return ("rgb" if stem.startswith("gbr") else "yuv") + alpha


def _family(stem):
  letters = _letters(stem).removesuffix("a")
  return "g" if letters == "y" else letters[0]


@functools.cache
def _is_known(stem):
  return bool(
      stem in _INTERLEAVED
      or _HALF_PLANAR.fullmatch(stem)
      or _PLANAR.fullmatch(stem)
  )


@functools.cache
def _described(stem):
  """Bits of the components, and log2 of the subsampling (across, down)."""
  import av

  try:
    described = av.VideoFormat(stem, 64, 64)
  except ValueError:  # Then the name has an end for the order of bytes.
    described = av.VideoFormat(f"{stem}le", 64, 64)
  across = 64 // max(described.chroma_width(64), 1)
  down = 64 // max(described.chroma_height(64), 1)
  return (
      [component.bits for component in described.components],
      (across.bit_length() - 1, down.bit_length() - 1),
  )


def _stem(name):
  """A format's name without its order of bytes."""
  return re.sub(r"(?<=[\dp])(le|be)$", "", name)
