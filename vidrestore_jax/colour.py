"""RGB and the YUV of video files: one conversion, for reading and writing.

The matrix and the range are those that a frame is tagged with. Where it names
none, the matrix is BT.709 for frames of 720 lines or more and BT.601 below, and
the range is limited (16 .. 235), as players take them. libswscale converts,
with full chroma interpolation and accurate rounding, within half a level; its
defaults are off by one level on average, and take BT.601 whatever the size.

Functions take PyAV's frames and reformatters; importing this needs no PyAV.
"""

import numpy as np

# AVColorSpace (ITU-T H.273) -> libswscale's name of the matrix.
_MATRICES = {
    1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M",
    9: "BT2020",
}
_UNSPECIFIED = (2, 3)
# What is written: by its number of lines, a frame's AVColorSpace.
_BT709, _BT601 = 1, 6
_LIMITED, _FULL = 1, 2  # AVColorRange.
# SWS_BICUBIC, SWS_FULL_CHR_H_INT, SWS_FULL_CHR_H_INP and SWS_ACCURATE_RND of
# libswscale/swscale.h, which PyAV names from version 18 on.
_FLAGS = 0x4 | 0x2000 | 0x4000 | 0x40000


def tags_for(lines: int) -> tuple[int, int]:
  """AVColorSpace and AVColorRange of what `to_yuv` makes of so many lines."""
  return (_BT709 if lines >= 720 else _BT601), _LIMITED


def of_frame(frame, name) -> tuple[str, bool]:
  """libswscale's name of a frame's matrix, and whether its range is full.

  Args:
    frame: an `av.VideoFrame` as it was decoded.
    name: what errors call its file.

  Raises:
    ValueError: a matrix that libswscale does not have.
  """
  if frame.format.is_rgb:
    return "ITU709", True
  full_range = frame.color_range == _FULL or frame.format.name.startswith(
      "yuvj"
  )
  space = int(frame.colorspace)
  if space in _UNSPECIFIED:
    space, _ = tags_for(frame.height)
  if space not in _MATRICES:
    raise ValueError(
        f"{name} has the colour matrix {frame.colorspace} (of ITU-T H.273),"
        " which is not supported; BT.601, BT.709, BT.2020 and RGB are. Convert"
        " it first."
    )
  return _MATRICES[space], full_range


def to_rgb(reformatter, frame, matrix: str, full_range: bool) -> np.ndarray:
  """A frame, or a part of one, as uint8 `[H, W, 3]`.

  Args:
    reformatter: an `av.video.reformatter.VideoReformatter`, which keeps what
      it needs from frame to frame.
    frame: an `av.VideoFrame`.
    matrix, full_range: as `of_frame` gives them for the whole frame.
  """
  return reformatter.reformat(
      frame,
      format="rgb24",
      src_colorspace=matrix,
      src_color_range="JPEG" if full_range else "MPEG",
      dst_color_range="JPEG",
      interpolation=_FLAGS,
      threads=1,
  ).to_ndarray()


def to_yuv(reformatter, pixels):
  """RGB as a tagged frame of 8 bits with chroma at half resolution (4:2:0).

  Args:
    reformatter: as in `to_rgb`.
    pixels: uint8 `[H, W, 3]`, H and W even.

  Returns:
    An `av.VideoFrame` in yuv420p, limited range, the matrix by its lines.
  """
  import av

  space, color_range = tags_for(pixels.shape[0])
  frame = reformatter.reformat(
      av.VideoFrame.from_ndarray(pixels, format="rgb24"),
      format="yuv420p",
      dst_colorspace=_MATRICES[space],
      src_color_range="JPEG",
      dst_color_range="MPEG",
      interpolation=_FLAGS,
      threads=1,
  )
  frame.colorspace, frame.color_range = space, color_range
  return frame
