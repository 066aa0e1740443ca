"""YUV4MPEG2: raw frames in a pipe, as FFmpeg and VapourSynth speak it.

A line of text says the size, the rate and the format; a line `FRAME` stands
before each frame's planes. Needs no video library.
"""

import dataclasses
import fractions
import re

import numpy as np

from vidrestore_jax.inference.video_colour import Layout
from vidrestore_jax.inference.video_reader import (
    MAX_PIXELS,
    Description,
    Picture,
    Tags,
)

_SUBSAMPLINGS = {
    "420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1), "411": (2, 0),
    "410": (2, 2),
}
# Names of 8 bits that say where chroma lies -> AVChromaLocation, siting.
_SITED = {
    "420jpeg": (2, (0.5, 0.5)), "420": (2, (0.5, 0.5)),
    "420mpeg2": (1, (0.0, 0.5)), "420paldv": (3, (0.0, 0.0)),
}
_FULL, _LIMITED = 2, 1  # AVColorRange.
_LINE = 4096  # A header's line is not longer.


class Y4mReader:
  """Frames of a stream, which is read once, from where it stands.

  Attributes:
    description: see `Description`.
  """

  def __init__(self, file, name: str, *, progressive=False):
    """Reads the header and waits for the first frame.

    Args:
      file: binary, such as `sys.stdin.buffer`; nothing has been read of it.
      name: what messages call it.
      progressive: as in `VideoReader`.

    Raises:
      ValueError: no YUV4MPEG2, of a kind that is not supported, or without a
        frame.
    """
    # Read by a thread that may be stuck in it at the process's end, of which a
    # buffer with its lock would make a crash. Nothing has been buffered yet.
    self._given = file  # Which closes what is below it as it goes.
    file = getattr(file, "raw", file)
    self._file, self._name = file, name
    words = (_line(file, name) or "").split(" ")
    if words[0] != "YUV4MPEG2":
      raise ValueError(
          f"{name} is no YUV4MPEG2 stream, which begins with that word. Make"
          " one: ffmpeg -i IN -f yuv4mpegpipe -strict -1 -"
      )
    self.description = _described(words[1:], name, progressive)
    # Before anybody writes a header of their own.
    self._line = _line(file, name)
    if self._line is None:
      raise ValueError(f"{name} holds no frame: it ends after its header.")

  def pictures(self, first: int = 0, mark=None):
    """The frames; `first` and `mark` are for files, not for streams."""
    del mark
    layout, (width, height) = self.description.layout, self.description.size
    shapes = [(height, width)]
    if layout.family == "yuv":
      shapes += [layout.chroma_size(height, width)] * 2
    kind = np.dtype(layout.dtype).newbyteorder("<")
    index, line = 0, self._line
    while line is not None:
      if not line.startswith("FRAME"):
        raise ValueError(
            f"{self._name} is damaged after frame {index}: the word FRAME is"
            " missing."
        )
      planes = []
      for shape in shapes:
        size = shape[0] * shape[1] * kind.itemsize
        data = _read(self._file, size)
        if len(data) < size:
          raise ValueError(f"{self._name} is cut short in frame {index}.")
        plane = np.frombuffer(data, kind).reshape(shape)
        planes.append(plane.astype(layout.dtype))
      if index >= first:
        yield Picture(tuple(planes), index, 1)
      index += 1
      line = _line(self._file, self._name)


class Y4mWriter:
  """Writes frames into a stream."""

  def __init__(self, file, layout: Layout, size, rate, aspect):
    """Writes the header.

    Args:
      file: binary, such as `sys.stdout.buffer`.
      layout: of the frames.
      size: (width, height).
      rate: frames per second, a Fraction.
      aspect: width of a pixel per its height, a Fraction.
    """
    self._file = file
    self._kind = np.dtype(layout.dtype).newbyteorder("<")
    words = [
        "YUV4MPEG2", f"W{size[0]}", f"H{size[1]}",
        f"F{rate.numerator}:{rate.denominator}", "Ip",
        f"A{aspect.numerator}:{aspect.denominator}", f"C{_name_of(layout)}",
        f"XCOLORRANGE={'FULL' if layout.full else 'LIMITED'}",
    ]
    file.write(" ".join(words).encode() + b"\n")

  def write(self, planes):
    """Writes a frame's samples."""
    self._file.write(b"FRAME\n")
    for plane in planes:
      self._file.write(plane.astype(self._kind).tobytes())

  def close(self):
    self._file.flush()


def layout_for(layout: Layout) -> Layout:
  """What a stream holds of frames of a layout: RGB becomes 4:4:4.

  The matrix is then guessed by the number of lines, as elsewhere.
  """
  if layout.family == "rgb":
    return Layout("yuv", layout.depth, siting=(0.0, 0.5))
  return layout


def _described(words, name, progressive):
  fields = {word[:1]: word[1:] for word in words if word[:1] != "X"}
  extra = dict(
      word[1:].split("=", 1) for word in words
      if word[:1] == "X" and "=" in word
  )
  try:
    width, height = int(fields["W"]), int(fields["H"])
    rate = _ratio(fields.get("F", "25:1"))
    aspect = _ratio(fields.get("A", "1:1"))
  except (KeyError, ValueError) as error:
    raise ValueError(
        f"{name} has a header that makes no sense: {' '.join(words)[:80]}."
    ) from error
  if width < 1 or height < 1 or width * height > MAX_PIXELS:
    raise ValueError(f"{name} declares frames of {width}x{height} pixels.")
  if fields.get("I", "p") not in ("p", "?") and not progressive:
    raise ValueError(
        f"{name} is interlaced. Deinterlace it first (FFmpeg: -vf bwdif), or"
        " pass --progressive where only the flag is wrong."
    )
  layout, siting = _layout_of(fields.get("C", "420jpeg"), name)
  full = extra.get("COLORRANGE") == "FULL"
  layout = dataclasses.replace(layout, full=full)
  tags = Tags(
      range={"FULL": _FULL, "LIMITED": _LIMITED}.get(
          extra.get("COLORRANGE"), 0
      ),
      siting=siting,
  )
  rate = rate or fractions.Fraction(25)
  return Description(
      name, (width, height), _format_of(layout), layout, tags,
      1 / rate, rate, None, aspect or fractions.Fraction(1),
  )


def _layout_of(name, stream):
  """(Layout, AVChromaLocation) of a colour space's name."""
  if name in _SITED:
    location, siting = _SITED[name]
    return Layout("yuv", 8, (1, 1), siting=siting), location
  match = re.fullmatch(r"mono(\d*)", name)
  if match and (depth := int(match[1] or 8)) in range(8, 17):
    return Layout("gray", depth), 0
  match = re.fullmatch(r"(4\d\d)(?:p(\d+))?", name)
  if match and match[1] in _SUBSAMPLINGS:
    depth = int(match[2] or 8)
    if depth in range(8, 17):
      return Layout("yuv", depth, _SUBSAMPLINGS[match[1]]), 0
  raise ValueError(
      f"{stream} has the colour space {name[:20]}, which is not supported;"
      " mono, 420, 422, 444, 440, 411 and 410 of 8 to 16 bits are."
  )


def _name_of(layout):
  depth = "" if layout.depth == 8 else str(layout.depth)
  if layout.family == "gray":
    return f"mono{depth}"
  names = {value: key for key, value in _SUBSAMPLINGS.items()}
  if not depth and layout.subsampling == (1, 1):
    return {
        siting: key for key, (_, siting) in _SITED.items() if key != "420"
    }.get(layout.siting, "420jpeg")
  return names[layout.subsampling] + (f"p{depth}" if depth else "")


def _format_of(layout):
  """FFmpeg's name of a layout."""
  end = "" if layout.depth == 8 else f"{layout.depth}le"
  if layout.family == "gray":
    return f"gray{end}"
  names = {value: key for key, value in _SUBSAMPLINGS.items()}
  return f"yuv{names[layout.subsampling]}p{end}"


def _ratio(text):
  over, under = map(int, text.split(":"))
  return fractions.Fraction(over, under) if over > 0 and under > 0 else None


def _line(file, name):
  """A line of text, or None at the end."""
  line = file.readline(_LINE)
  if not line:
    return None
  if not line.endswith(b"\n"):
    raise ValueError(f"{name} is damaged or cut short in a header.")
  return line[:-1].decode("ascii", "replace")


def _read(file, size):
  """`size` bytes, fewer only at the end: a pipe gives them in pieces."""
  pieces, left = [], size
  while left and (piece := file.read(left)):
    pieces.append(piece)
    left -= len(piece)
  return b"".join(pieces)
