"""Video files (PyAV), read from one end to the other as samples.

Whatever FFmpeg reads is read; frames come as the integers that the decoder
made, with their exact time stamps, and what they mean (range, matrix, siting
of chroma) beside them. `data.videos` reads windows at random for training; this
reads every frame once, for restoring.

Damage that the decoder reports ends the reading; some decoders (H.264's among
them) patch over a damaged part of a frame without a word.
"""

import contextlib
import dataclasses
import fractions
import io
import itertools
import pathlib
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from vidrestore_jax.inference import pixel_formats, video_colour
from vidrestore_jax.inference.video_colour import Layout

# No frame of a video: 16384 x 8192. A header that claims more is a trap.
MAX_PIXELS = 1 << 27
# AVColorRange; AVChromaLocation -> siting (across, down), in luma samples.
_FULL = 2
_LEFT, _CENTRE, _TOP_LEFT = 1, 2, 3
_SITINGS = {
    _LEFT: (0.0, 0.5), _CENTRE: (0.5, 0.5), _TOP_LEFT: (0.0, 0.0),
    4: (0.5, 0.0),
}
_BT2020 = 9


class Picture(NamedTuple):
  """One frame as a file holds it.

  Attributes:
    planes: samples, `[H, W]` each, in the order of `Layout`.
    pts: when it is shown, in the source's time base.
    duration: for how long, in the same; 0 where the file does not say.
  """

  planes: tuple
  pts: int
  duration: int


@dataclasses.dataclass(frozen=True)
class Tags:
  """How a file says its samples are to be shown, in FFmpeg's numbers.

  Attributes:
    matrix, primaries, transfer: of ITU-T H.273; 2 is unspecified.
    range: 0 unspecified, 1 limited, 2 full.
    siting: of chroma: 0 unspecified, 1 left, 2 centre, 3 top left, 4 top.
    mastering: an HDR display's primaries, white and luminance, as fractions in
      the order Rx, Ry, Gx, Gy, Bx, By, Wx, Wy, min, max; or None.
    light: (MaxCLL, MaxFALL), or None.
  """

  matrix: int = 2
  primaries: int = 2
  transfer: int = 2
  range: int = 0
  siting: int = 0
  mastering: tuple | None = None
  light: tuple | None = None


@dataclasses.dataclass(frozen=True)
class Description:
  """What a source of frames says of itself.

  Attributes:
    name: what messages call it.
    size: (width, height).
    pixel_format: FFmpeg's name, as decoded.
    layout: what the samples mean.
    tags: as the file has them, for the file that is written.
    time_base: seconds per unit of time stamps.
    rate: frames per second, on average; None where the file does not say.
    frames: how many there are, or about as many; None where unknown.
    aspect: width of a pixel per its height.
    display_matrix: nine integers that turn the picture, or None.
    variable: whether frames are shown for different times.
  """

  name: str
  size: tuple[int, int]
  pixel_format: str
  layout: Layout
  tags: Tags
  time_base: fractions.Fraction
  rate: fractions.Fraction | None
  frames: int | None
  aspect: fractions.Fraction = fractions.Fraction(1)
  display_matrix: tuple[int, ...] | None = None
  variable: bool = False


class VideoReader:
  """A video file's frames, in the order in which they are shown.

  Attributes:
    path: of the file.
    description: see `Description`.
  """

  def __init__(
      self, path, *, start=None, duration=None, progressive=False, salvage=False
  ):
    """Looks at every packet and decodes the first frame.

    Args:
      path: of the file.
      start: seconds from its start to the first frame to read; None is 0.
      duration: seconds to read; None is to the end.
      progressive: take frames that are flagged as interlaced for progressive.
      salvage: pass over what is damaged, where else it is an error.

    Raises:
      FileNotFoundError, PermissionError: as they say.
      ModuleNotFoundError: PyAV is not installed.
      ValueError: no video, damaged, cut short, interlaced, or of a format that
        is not supported.
    """
    self.path = pathlib.Path(path)
    self._progressive, self._salvage = progressive, salvage
    with opened(self.path) as (container, stream):
      siting = _siting(stream)
      self._limits = self._entry = None
      if start is not None or duration is not None:
        origin = (stream.start_time or 0) * stream.time_base
        begin = origin + fractions.Fraction(start or 0)
        end = None if duration is None else begin + fractions.Fraction(duration)
        self._limits = begin, end
      stamps = self._stamps(container, stream)
    with opened(self.path) as (container, stream):
      first = next(self._decoded(container, stream), None)
      if first is None:
        raise ValueError(f"{self.path} holds no frame that can be decoded.")
      self.description = self._describe(stream, first, siting, stamps)

  @property
  def window(self):
    """The part that is read, (start, end) in seconds of time stamps, or None.

    An end of None is the file's.
    """
    return self._limits

  def pictures(self, first: int = 0, mark=None) -> Iterator[Picture]:
    """The frames from number `first` on.

    Args:
      first: frames before it are left out.
      mark: (time stamp, `checksum`) of that frame, from an earlier run, which
        then need not decode what lies before. Where nothing is found by it,
        all is decoded.

    Raises:
      ValueError: damage; the message says where.
    """
    if first and mark is not None:
      found = self._from_mark(*mark)
      if found is not None:
        yield from found
        return
    with contextlib.ExitStack() as closing:
      frames = self._from_entry(closing)
      if frames is None:
        decoded = self._decoded(*closing.enter_context(opened(self.path)))
        frames = self._inside(self._stamped(decoded))
      for frame, pts in itertools.islice(frames, first, None):
        yield self._picture(frame, pts)

  def _stamped(self, frames, last=None):
    """Frames with time stamps that grow: some files lack or repeat them."""
    described = self.description
    step = max(round(1 / ((described.rate or 25) * described.time_base)), 1)
    for frame in frames:
      pts = frame.pts
      if pts is None:
        pts = 0 if last is None else last + step
      if last is not None and pts <= last:
        pts = last + 1
      last = pts
      yield frame, pts

  def _inside(self, frames):
    """Those of the window."""
    begin, end = self._limits or (None, None)
    base = self.description.time_base
    for frame, pts in frames:
      if end is not None and pts * base >= end:
        return
      if begin is None or pts * base >= begin:
        yield frame, pts

  def _from_entry(self, closing):
    """The window's frames without all that is before it, or None."""
    if self._entry is None:
      return None
    entry, begin = self._entry
    container, stream = closing.enter_context(opened(self.path))
    try:
      container.seek(entry, stream=stream)
      packets = itertools.dropwhile(
          lambda packet: packet.pts != entry, container.demux(stream)
      )
      decoded = self._decoded(container, stream, packets)
      frames = self._inside(self._stamped(decoded))
      first = next(frames, None)
    except (OSError, ValueError):
      return None  # As in `_from_mark`.
    # From some key frames it takes several frames to get to a whole one.
    if first is None or first[1] != begin or first[0].is_corrupt:
      return None
    return itertools.chain([first], frames)

  def _from_mark(self, pts, check):
    """Frames from that with a time stamp and a checksum on, or None."""
    closing = contextlib.ExitStack()
    container, stream = closing.enter_context(opened(self.path))
    try:
      container.seek(pts, stream=stream)
      frames = self._decoded(container, stream)
      for frame in frames:
        if frame.pts is None or frame.pts > pts:
          break
        if frame.pts == pts:
          picture = self._picture(frame, pts)
          if checksum(picture.planes) != check:
            break
          return self._rest(closing, picture, frames)
    except (OSError, ValueError):
      pass  # A file that cannot be searched is read from its start.
    closing.close()
    return None

  def _rest(self, closing, picture, frames):
    with closing:
      yield picture
      for frame, pts in self._inside(self._stamped(frames, picture.pts)):
        yield self._picture(frame, pts)

  def _stamps(self, container, stream):
    """Time stamps of the frames that the packets hold, None where one lacks.

    Notes where to enter the file for the window, too.
    """
    packets, stamps, entries = 0, [], []
    promised = stream.frames
    with _named(self.path, "while its packets were read", self._salvage):
      for packet in container.demux(stream):
        if packet.size or packet.dts is not None:
          packets += 1
          if packet.size and self._is_inside(packet):
            stamps.append(packet.pts)
          if packet.size and self._limits is not None:
            entries.append((packet.pts, packet.is_keyframe))
    if packets < promised and not self._salvage:
      raise ValueError(
          f"{self.path} is cut short: {packets} of its {promised} frames are"
          " there. Copy it again, or restore what there is with --salvage."
      )
    if not stamps:
      where = " in that part of it" if self._limits and packets else ""
      raise ValueError(f"{self.path} holds no frame{where}.")
    if entries:
      entry = _entry(entries, self._limits[0] / stream.time_base)
      self._entry = None if entry is None else (entry, min(stamps))
    return stamps

  def _is_inside(self, packet):
    if packet.is_discard or self._limits is None or packet.pts is None:
      return not packet.is_discard
    begin, end = self._limits
    time = packet.pts * packet.time_base
    return begin <= time and (end is None or time < end)

  def _decoded(self, container, stream, packets=None):
    """Every frame, or those of packets, as PyAV has it; damage raises."""
    stream.thread_type = "AUTO"
    count, good = 0, False
    if packets is None:
      packets = container.demux(stream)
    while True:
      with _named(self.path, f"near frame {count}", self._salvage):
        packet = next(packets, None)
      if packet is None:
        return
      frames = []
      with _named(self.path, f"near frame {count}", self._salvage):
        frames = stream.decode(packet if packet.size else None)
      for frame in frames:
        if frame.is_corrupt and not self._salvage and good:
          raise _damaged(
              self.path, f"near frame {count}", "it lacks parts of a frame"
          )
        # A recording may start between key frames; that is no damage.
        good = good or not frame.is_corrupt
        count += 1
        yield frame
      if not packet.size:
        return

  def _picture(self, frame, pts):
    described = self.description
    if (frame.width, frame.height) != described.size:
      raise ValueError(
          f"{self.path} changes its size from {described.size[0]}x"
          f"{described.size[1]} to {frame.width}x{frame.height} at second"
          f" {frame.time}. Cut it there."
      )
    if frame.format.name != described.pixel_format:
      raise ValueError(
          f"{self.path} changes its pixel format from {described.pixel_format}"
          f" to {frame.format.name} at second {frame.time}. Cut it there."
      )
    planes, alpha = pixel_formats.read(frame)
    if alpha is not None and (alpha != (1 << described.layout.depth) - 1).any():
      raise ValueError(
          f"{self.path} has transparent pixels, so its colours are not known"
          " everywhere. Flatten it onto a background first."
      )
    return Picture(planes, pts, frame.duration)

  def _describe(self, stream, frame, siting, stamps):
    if frame.interlaced_frame and not self._progressive:
      raise ValueError(
          f"{self.path} is interlaced: a frame holds two moments, which models"
          f" do not know. Deinterlace it first: ffmpeg -i {self.path.name} -map"
          " 0 -c copy -c:v ffv1 -vf bwdif OUT.mkv; or pass --progressive where"
          " only the flag is wrong."
      )
    tags = Tags(
        int(frame.colorspace), int(frame.color_primaries),
        int(frame.color_trc), int(frame.color_range), siting, *_hdr(frame),
    )
    name = frame.format.name
    layout = pixel_formats.layout_of(name)
    if layout.family != "rgb":
      video_colour.check_matrix(tags.matrix, self.path)
    rate = stream.average_rate or stream.guessed_rate
    matrix = None
    kinds = _side_data(frame)
    if "DISPLAYMATRIX" in kinds:
      matrix = struct.unpack("=9i", bytes(kinds["DISPLAYMATRIX"]))
    return Description(
        name=str(self.path),
        size=(frame.width, frame.height),
        pixel_format=name,
        layout=_meaning(layout, tags, stream.codec_context.name),
        tags=tags,
        time_base=stream.time_base,
        rate=rate or None,
        frames=len(stamps),
        aspect=stream.sample_aspect_ratio or fractions.Fraction(1),
        display_matrix=matrix,
        variable=_is_variable(stamps),
    )


def checksum(planes) -> int:
  """A checksum of a frame's samples, to know it again."""
  result = 0
  for plane in planes:
    result = zlib.crc32(plane.tobytes(), result)
  return result


def _is_variable(stamps):
  """Whether frames differ in how long they are shown, but for rounding."""
  stamps = sorted(stamp for stamp in stamps if stamp is not None)
  steps = [after - before for before, after in itertools.pairwise(stamps)]
  return bool(steps) and max(steps) - min(steps) > 1


def _meaning(layout, tags, codec):
  """The layout with what the tags say, or where they do not, is usual."""
  full = layout.full or tags.range == _FULL
  if layout.family == "rgb":
    full = tags.range != 1
  siting = tags.siting
  if siting not in _SITINGS:
    siting = _TOP_LEFT if tags.matrix == _BT2020 else _LEFT
    if codec in ("mjpeg", "mpeg1video"):
      siting = _CENTRE
  return dataclasses.replace(
      layout, full=full, matrix=tags.matrix, siting=_SITINGS[siting]
  )


def _siting(stream) -> int:
  """AVChromaLocation of a stream, 0 where it says none.

  PyAV does not tell it, but FFmpeg's Matroska writer does: in a file of one
  track and no frame, elements 55B7 and 55B8 hold it (RFC 9559, 5.1.4.1.28.23).
  """
  import av

  file = io.BytesIO()
  try:
    with av.open(file, "w", format="matroska") as container:
      container.add_stream_from_template(stream, opaque=True)
      container.start_encoding()
  except (ValueError, OSError):
    return 0
  written = file.getvalue()
  across, down = (
      written[at + 3] if (at := written.find(element)) >= 0 else 0
      for element in (b"\x55\xb7\x81", b"\x55\xb8\x81")
  )
  # 1 is on the first sample, 2 midway to the second.
  return {(1, 2): 1, (2, 2): 2, (1, 1): 3, (2, 1): 4}.get((across, down), 0)


def _side_data(frame) -> dict:
  """What comes with a frame, by kind."""
  # Iterated over, PyAV 18 gives the items and PyAV 19 their kinds.
  found = frame.side_data
  items = (item if hasattr(item, "type") else found[item] for item in found)
  return {item.type.name: item for item in items}


def _hdr(frame):
  """Mastering display and content light level, as `Tags` has them."""
  kinds = _side_data(frame)
  mastering = light = None
  if "MASTERING_DISPLAY_METADATA" in kinds:
    *numbers, primaries, luminance = struct.unpack(
        "=22i", bytes(kinds["MASTERING_DISPLAY_METADATA"])
    )
    if primaries and luminance and all(numbers[1::2]):
      mastering = tuple(map(
          fractions.Fraction, numbers[::2], numbers[1::2]
      ))
  if "CONTENT_LIGHT_LEVEL" in kinds:
    light = struct.unpack("=2I", bytes(kinds["CONTENT_LIGHT_LEVEL"])[:8])
  return mastering, light


def _entry(packets, begin):
  """Where to enter a file for the frames from a time on.

  Args:
    packets: (time stamp, whether it is a key frame) of all, in the file's
      order.
    begin: the time, in their units.

  Returns:
    The time stamp of the last key frame that is shown by then and has none of
    those frames before it; None where there is no way but the file's start.
  """
  stamps = [pts for pts, _ in packets]
  if None in stamps or len(set(stamps)) < len(stamps):
    return None  # They would be mended, which takes all of them.
  entry, before = None, stamps[0]
  for pts, is_key in packets[1:]:
    if before >= begin:
      break
    if is_key and pts <= begin:
      entry = pts
    before = max(before, pts)
  return entry


# PyAV


def import_av():
  """The module `av`; ModuleNotFoundError says how to get it."""
  try:
    import av
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "Video files are read and written by PyAV, which is not installed:"
        " pip install 'vidrestore_jax[video]'"
    ) from error
  return av


@contextlib.contextmanager
def opened(path) -> Iterator[tuple[Any, Any]]:
  """The pair (container, video stream) of a file; errors name it."""
  av = import_av()
  path = pathlib.Path(path)
  if not path.exists():
    raise FileNotFoundError(
        f"There is no file {path} (looked from {pathlib.Path.cwd()})."
    )
  with _named(path, "(at its start, or cut short before its index)"):
    # A name may hold colons, which FFmpeg takes for a protocol; and a playlist
    # must not reach for the network.
    older = int(av.__version__.split(".")[0]) < 19
    container = av.open(
        f"file:{path.resolve()}",
        options={
            "protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)
        },
        # Of tags that are no UTF-8, whose bytes PyAV 19 keeps.
        **({"metadata_errors": "replace"} if older else {}),
    )
  with container:
    yield container, video_stream(container, path)


def video_stream(container, path):
  """The stream that is restored: the first that is no cover picture."""
  av = import_av()
  streams = [
      stream for stream in container.streams.video
      if not stream.disposition & av.stream.Disposition.attached_pic
  ]
  if not streams:
    raise ValueError(f"{path} holds no video stream.")
  if streams[0].codec_context is None:
    raise ValueError(f"{path} has a video codec that FFmpeg cannot decode.")
  return streams[0]


@contextlib.contextmanager
def _named(path, where, salvage=False):
  """Turns PyAV's errors into one that names the file."""
  av = import_av()
  try:
    yield
  except av.error.FFmpegError as error:
    if isinstance(error, FileNotFoundError | PermissionError | MemoryError):
      raise
    if not salvage:
      raise _damaged(path, where, error) from error


def _damaged(path, where, error):
  way_out = " or restore what there is with --salvage"
  return ValueError(
      f"{path} is no video or is damaged {where}: {error}. Copy it again"
      f"{way_out if 'frame' in where else ''}."
  )
