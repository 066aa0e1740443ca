"""What FFmpeg's Matroska writer leaves out and PyAV cannot ask of it.

Elements and their numbers are those of RFC 9559, sizes those of RFC 8794.
"""

import fractions
import pathlib

_SEGMENT, _SEEK_HEAD, _TRACKS = (
    b"\x18\x53\x80\x67", b"\x11\x4d\x9b\x74",
    b"\x16\x54\xae\x6b",
)
_TRACK, _VIDEO, _TYPE = b"\xae", b"\xe0", b"\x83"
_SEEK, _SEEK_POSITION = b"\x4d\xbb", b"\x53\xac"
_VOID, _CRC = b"\xec", b"\xbf"
_WIDTH, _HEIGHT, _UNIT = b"\xb0", b"\xba", b"\x54\xb2"
_DISPLAY_WIDTH, _DISPLAY_HEIGHT = b"\x54\xb0", b"\x54\xba"


def set_aspect(path, aspect: fractions.Fraction):
  """Says in a file how wide its pixels are.

  FFmpeg's writer takes that from a field that PyAV does not set. The header is
  rewritten in place: what is added comes out of the room that the writer leaves
  behind its list of positions, so that no frame moves.

  Args:
    path: of a file that FFmpeg wrote, with one or more video tracks; the first
      is told.
    aspect: width of a pixel per its height.

  Raises:
    ValueError: the header is not as FFmpeg writes it.
  """
  with pathlib.Path(path).open("r+b") as file:
    head = bytearray(file.read(1 << 20))
    start, end = _find(head, 0, len(head), _SEGMENT, path)
    void = _find(head, start, end, _VOID, path)
    tracks = _find(head, start, end, _TRACKS, path)
    track = _video_track(head, *tracks, path)
    video = _find(head, *track, _VIDEO, path)
    added = _display(head, video, aspect, path)
    body = bytes(head[video[0]:video[1]])
    # Only a file that PyAV wrote without an aspect says that none is known.
    unknown = body.find(_UNIT + b"\x81\x04")
    if unknown >= 0:
      body = body[:unknown] + body[unknown + 4:]
    grown = len(body) + len(added) - (video[1] - video[0])
    if void[1] - void[0] < grown + 2 or grown < 0:
      raise ValueError(f"{path} has no room in its header for the aspect.")
    old = bytes(head)
    moved = old[void[1]:video[0]]
    head[void[1] - grown:video[1]] = moved + body + added
    _resize(head, void, -grown)
    for part in (tracks, track, video):
      _resize(head, (part[0] - grown, part[1] - grown), grown)
    _shift_positions(head, start, void[1], tracks[1], grown, path)
    file.seek(0)
    file.write(head)


def _display(head, video, aspect, path):
  """Elements DisplayWidth and DisplayHeight."""
  width, height = (
      int.from_bytes(head[slice(*_find(head, *video, element, path))], "big")
      for element in (_WIDTH, _HEIGHT)
  )
  # Exact: whole numbers in the ratio of the sides.
  shape = fractions.Fraction(width, height) * aspect
  while min(shape.as_integer_ratio()) and max(shape.as_integer_ratio()) > 65535:
    shape = shape.limit_denominator(shape.denominator // 2)
  scale = max(1, min(65535 // max(shape.as_integer_ratio()),
                     height // shape.denominator))
  return b"".join(
      element + b"\x82" + (side * scale).to_bytes(2, "big")
      for element, side in zip(
          (_DISPLAY_WIDTH, _DISPLAY_HEIGHT), shape.as_integer_ratio()
      )
  )


def _shift_positions(head, start, begin, end, grown, path):
  """Corrects the list of positions, and drops sums that no longer hold."""
  seek_head = _find(head, start, len(head), _SEEK_HEAD, path)
  for name, content, stop in _elements(head, *seek_head):
    if name == _SEEK:
      first, last = _find(head, content, stop, _SEEK_POSITION, path)
      position = int.from_bytes(head[first:last], "big")
      if begin <= start + position < end:
        head[first:last] = (position - grown).to_bytes(last - first, "big")
  for outer in (_SEEK_HEAD, _TRACKS):
    for name, content, _ in _elements(
        head, *_find(head, start, len(head), outer, path)
    ):
      if name == _CRC:  # A void of the same length says nothing.
        head[content - 2:content - 1] = _VOID


def _video_track(head, start, end, path):
  for name, content, stop in _elements(head, start, end):
    if name == _TRACK:
      kind = _find(head, content, stop, _TYPE, path)
      if head[kind[0]:kind[1]] == b"\x01":
        return content, stop
  raise ValueError(f"{path} has no video track.")


def _find(head, start, end, wanted, path):
  """(start, end) of the content of the first element of that name."""
  for name, content, stop in _elements(head, start, end):
    if name == wanted:
      return content, min(stop, len(head))
  raise ValueError(f"{path} has no element {wanted.hex()} where it belongs.")


def _elements(head, start, end):
  """(name, start, end) of the elements in a stretch of bytes."""
  while start < min(end, len(head)):
    length = 9 - head[start].bit_length()
    name = bytes(head[start:start + length])
    at = start + length
    size = 9 - head[at].bit_length()
    value = int.from_bytes(head[at:at + size], "big") & (1 << 7 * size) - 1
    start = at + size + value
    yield name, at + size, start


def _resize(head, content, change):
  """Writes another size before an element's content, of as many bytes."""
  start, end = content
  size = end - start + change
  for length in range(1, 9):  # Back to the first byte of the size.
    first = head[start - length]
    if first.bit_length() == 9 - length:
      old = int.from_bytes(head[start - length:start], "big")
      if old & (1 << 7 * length) - 1 == end - start:
        break
  else:
    raise ValueError("The size of an element was not found.")
  if size >= (1 << 7 * length) - 1:
    raise ValueError("The size of an element does not fit.")
  head[start - length:start] = (size | 1 << 7 * length).to_bytes(length, "big")
