"""Video files (PyAV), read at random: only from the key frame before a window.

Opening a source reads each file's packets once, without decoding, and keeps
the time stamps of all frames and of the key frames. A window of frames then
costs the frames from the key frame before it to its end, and its frames are
those of decoding the file from the start.

Colours are converted by the matrix and the range that the stream names, as
`vidrestore_jax.colour` says. Frames of more than 8 bits are rounded to 8,
transfer curves (HDR) are left as they are, and frames are not turned as the
file's display matrix says.

Frames are counted, not timed: with a variable frame rate a window holds
consecutive frames whatever time lies between them.
"""

import bisect
import collections
import contextlib
import dataclasses
import itertools
import pathlib
import threading

import numpy as np

from vidrestore_jax import colour
from vidrestore_jax.data import folders
from vidrestore_jax.data.folders import CorruptRecord
from vidrestore_jax.data.lazy import LazyClip

# What is taken for a video in a folder; a file that is named may be any.
SUFFIXES = (
    ".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".ts", ".webm",
)

# Files that one thread keeps open: a folder of many is read at random.
_OPEN = 8
# Planar formats that can be cut before they are converted -> bytes a sample.
_PLANAR = {
    **{f"yuv{j}{s}p": 1 for j in ("", "j") for s in (420, 422, 444)},
    **{f"yuv{s}p10le": 2 for s in (420, 422, 444)},
}
# Chroma samples beside a patch that interpolation looks at (bicubic: 2), in
# luma pixels.
_MARGIN = 4


@dataclasses.dataclass(frozen=True)
class Index:
  """Where the frames of a file are, in the stream's time base.

  Attributes:
    file: the file.
    pts: time stamps of all frames in the order of display, int64 `[N]`.
    keys: `[(pts, dts or None)]` of the key frames, in the same order.
    size: (width, height) in pixels.
    damage: why none of its frames can be found; then there are none here.
  """

  file: pathlib.Path
  pts: np.ndarray
  keys: list
  size: tuple[int, int]
  damage: str = ""


class VideoClips:
  """Windows of `length` frames from one video file or a folder of them.

  Safe to be used by several threads, and to be sent to other processes: each
  thread opens files of its own. A file whose frames cannot be found stands for
  one window, which raises CorruptRecord when it is asked for.

  Attributes:
    videos: an `Index` per file.
    damaged: what is wrong with each file whose frames cannot be found.
  """

  def __init__(self, path, *, length: int | None = 5, stride: int = 1):
    for name, given in (("length", length), ("stride", stride)):
      if given is not None and given < 1:
        raise ValueError(f"{name} needs to be at least 1, but is {given}.")
    _import_av()
    self.videos = [_scan_or_damage(file) for file in find_videos(path)]
    self.damaged = [video.damage for video in self.videos if video.damage]
    if len(self.damaged) == len(self.videos):
      raise CorruptRecord(self.damaged[0])
    for video in self.videos:
      if length is not None and not video.damage and len(video.pts) < length:
        raise ValueError(
            f"{video.file} has {len(video.pts)} frames, but clips of length"
            f" {length} are asked for. Lower the length or remove it."
        )
    self.length, self.stride, self._path = length, stride, path
    windows = [
        1 if length is None or video.damage
        else (len(video.pts) - length) // stride + 1
        for video in self.videos
    ]
    self._ends = list(itertools.accumulate(windows))
    self._local = threading.local()

  def __len__(self) -> int:
    return self._ends[-1]

  def __repr__(self) -> str:
    return (
        f"VideoClips({str(self._path)!r}, length={self.length},"
        f" stride={self.stride})"
    )

  def __getstate__(self) -> dict:
    return {k: v for k, v in self.__dict__.items() if k != "_local"}

  def __setstate__(self, state: dict):
    self.__dict__.update(state, _local=threading.local())

  def __getitem__(self, index) -> dict:
    """Window `index`: `clean` uint8 [T, H, W, 3]."""
    item = self.open(index)
    return dict(item, clean=np.asarray(item["clean"]))

  def open(self, index) -> dict:
    """As `self[index]`, but `clean` is a `LazyClip`."""
    index = range(len(self))[index]
    which = bisect.bisect_right(self._ends, index)
    video = self.videos[which]
    if video.damage:
      raise CorruptRecord(video.damage)
    before = self._ends[which - 1] if which else 0
    start = (index - before) * self.stride
    length, name = self.length, video.file.name
    if length is None:
      length = len(video.pts)
    else:
      name += f"/{start:05d}"
    width, height = video.size
    clean = LazyClip(
        lambda first, end, box: self._reader(which).read(first, end, box),
        (length, height, width, 3), np.uint8, first=start,
    )
    return dict(clean=clean, max_value=255, name=name)

  def _reader(self, which: int) -> "_Reader":
    """This thread's reader of a file; the longest unused is closed."""
    if not hasattr(self._local, "readers"):
      self._local.readers = collections.OrderedDict()
    readers = self._local.readers
    if which not in readers:
      if len(readers) == _OPEN:
        readers.popitem(last=False)[1].close()
      readers[which] = _Reader(self.videos[which])
    readers.move_to_end(which)
    return readers[which]


# Finding


def find_videos(path) -> list[pathlib.Path]:
  """The file `path`, or the video files in the folder `path`, sorted.

  Raises:
    FileNotFoundError: nothing there, or no video in the folder.
    ValueError: the path is empty.
  """
  if not str(path):  # pathlib takes it for the current folder.
    raise ValueError("No video was named: the path is empty.")
  path = pathlib.Path(path).expanduser()
  if path.is_file():
    return [path]
  if not path.is_dir():
    raise FileNotFoundError(
        f"No video file or folder {path} (looked from {pathlib.Path.cwd()})."
    )
  files = [
      file for file in path.iterdir()
      if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
  ]
  if not files:
    raise FileNotFoundError(
        f"{path} holds no video ({', '.join(SUFFIXES)}). For folders of frames"
        " use the source folders."
    )
  return sorted(files, key=folders.natural)


def scan(file) -> Index:
  """The index of a file, from its packets alone.

  Raises:
    ValueError: no video, damaged or cut short, or frames without time stamps
      or with equal ones, which cannot be told apart.
  """
  frames, keys, packets = [], [], 0
  with _open(file) as (container, stream):
    size = stream.codec_context.width, stream.codec_context.height
    promised = stream.frames
    with _named(file, "while its packets were read"):
      for packet in container.demux(stream):
        if not packet.size:
          continue  # The end of the stream.
        packets += 1
        if packet.pts is None:
          raise ValueError(
              f"{file} has frames without a time stamp, so that a frame can"
              " only be found by decoding all before it. Write them anew:"
              f" ffmpeg -fflags +genpts -i {pathlib.Path(file).name} -c copy"
              " OUT.mkv"
          )
        if packet.is_keyframe:
          keys.append((packet.pts, packet.dts))
        if not packet.is_discard:  # An edit list cuts these off.
          frames.append(packet.pts)
  if packets < promised:
    raise CorruptRecord(
        f"{file} is cut short: {packets} of its {promised} frames are there."
        " Copy it again or remove it."
    )
  if not frames:
    raise CorruptRecord(f"{file} holds no frame. Remove it.")
  pts = np.unique(np.array(frames, np.int64))
  if len(pts) < len(frames):
    raise ValueError(
        f"{file} has {len(frames) - len(pts)} frames with the time stamp of"
        " another, so that frames cannot be told apart. Encode it anew."
    )
  return Index(pathlib.Path(file), pts, sorted(keys, key=lambda k: k[0]), size)


def _scan_or_damage(file) -> Index:
  """`scan`, or what it found to be damaged."""
  try:
    return scan(file)
  except CorruptRecord as error:
    return Index(file, np.empty(0, np.int64), [], (0, 0), damage=str(error))


# Reading


class _Reader:
  """An open file. One thread's: decoders keep state."""

  def __init__(self, index: Index):
    self._index = index
    self._closing = contextlib.ExitStack()
    self._container, self._stream = self._closing.enter_context(
        _open(index.file)
    )
    # Several clips are read at a time, which pays better than several threads
    # on one clip. It also makes `skip_frame` mean the packet at hand.
    self._stream.thread_type = "NONE"
    self._to_rgb = _ToRgb(index)

  def close(self):
    self._closing.close()

  def read(self, first: int, end: int, box) -> np.ndarray:
    """Frames first .. end - 1, cut to (top, bottom, left, right), as RGB."""
    top, bottom, left, right = box
    frames = np.empty((end - first, bottom - top, right - left, 3), np.uint8)
    for i, frame in enumerate(self._frames(first, end)):
      frames[i] = self._to_rgb(frame, box)
    return frames

  def _frames(self, first: int, end: int) -> list:
    wanted = self._index.pts[first:end].tolist()
    # The key frame before the window, then earlier starts, since a key frame
    # need not be a clean entry (a decoder may want the one before it).
    key = bisect.bisect_right(self._index.keys, wanted[0], key=lambda k: k[0])
    starts = self._index.keys[max(key - 2, 0) : key][::-1]
    for start in [*starts, None]:
      with _named(self._index.file, f"near frame {first}"):
        found = self._decode(start, wanted)
      if len(found) == len(wanted):
        return [found[pts] for pts in wanted]
    raise CorruptRecord(
        f"{self._index.file} is damaged near frame {first}: only {len(found)}"
        f" of frames {first} to {end - 1} can be decoded. Copy it again or"
        " remove it."
    )

  def _decode(self, start, wanted) -> dict:
    """{pts: frame} of the wanted ones, decoding from a key frame on."""
    found, context = {}, self._stream.codec_context
    missing = set(wanted)
    # In H.264 a packet says whether others refer to its frame; those before
    # the window that none refers to are not decoded.
    can_skip = context.name == "h264"
    for packet in self._packets_from(start):
      if can_skip:
        early = packet.pts is not None and packet.pts < wanted[0]
        context.skip_frame = "NONREF" if early else "DEFAULT"
      for frame in context.decode(packet if packet.size else None):
        if frame.pts in missing and not frame.is_corrupt:
          found[frame.pts] = frame
          missing.remove(frame.pts)
        if frame.pts is not None and frame.pts >= wanted[-1]:
          return found
    return found

  def _packets_from(self, start):
    """Packets from a key frame (pts, dts) on; None is the file's start."""
    if start is None:
      self._container.seek(0, backward=True)
      yield from self._container.demux(self._stream)
      return
    # Some formats seek by pts, others by dts, where the first may arrive late.
    for target in start:
      if target is None:
        continue
      self._container.seek(target, stream=self._stream)
      packets = self._container.demux(self._stream)
      for packet in packets:
        if packet.is_keyframe:
          break
      else:
        continue
      if packet.pts is not None and packet.pts <= start[0]:
        yield packet
        yield from packets
        return


class _ToRgb:
  """Converts frames, or a part of each, to RGB."""

  def __init__(self, index: Index):
    from av.video.reformatter import VideoReformatter

    self._index = index
    self._convert = VideoReformatter()
    self._shrink = VideoReformatter()
    self._parts = {}  # (size, format) -> frame to hold a part.

  def __call__(self, frame, box) -> np.ndarray:
    """The part (top, bottom, left, right) of a frame, uint8 `[h, w, 3]`."""
    width, height = self._index.size
    if (frame.width, frame.height) != (width, height):
      raise ValueError(
          f"{self._index.file} changes its size from {width}x{height} to"
          f" {frame.width}x{frame.height}. Cut it there."
      )
    top, bottom, left, right = box
    outer = (0, height, 0, width)
    if frame.format.name in _PLANAR:
      # Patches start at even pixels, where chroma samples do.
      outer = (
          max(0, top - _MARGIN) // 2 * 2,
          min(height, (bottom + _MARGIN + 1) // 2 * 2),
          max(0, left - _MARGIN) // 2 * 2,
          min(width, (right + _MARGIN + 1) // 2 * 2),
      )
    rgb = colour.to_rgb(
        self._convert, self._cut(frame, outer),
        *colour.of_frame(frame, self._index.file),
    )
    rows = slice(top - outer[0], bottom - outer[0])
    return rgb[rows, left - outer[2] : right - outer[2]]

  def _cut(self, frame, box):
    """A part of a planar frame as a frame of its own, valid until the next."""
    top, bottom, left, right = box
    size = right - left, bottom - top
    if size == (frame.width, frame.height):
      return frame
    key = *size, frame.format.name
    if key not in self._parts:
      # Scaled down, and not made anew, it keeps where chroma samples lie.
      self._parts[key] = self._shrink.reformat(
          frame, width=size[0], height=size[1], interpolation="POINT",
          threads=1,
      )
    part = self._parts[key]
    sample = _PLANAR[frame.format.name]
    for source, target in zip(frame.planes, part.planes):
      step_x = 1 if source.width == frame.width else 2
      step_y = 1 if source.height == frame.height else 2
      rows, columns = target.height, target.width * sample
      y, x = top // step_y, left // step_x * sample
      pixels = _bytes(source)[y : y + rows, x : x + columns]
      _bytes(target)[:rows, :columns] = pixels
    return part


def _bytes(plane) -> np.ndarray:
  """A plane's memory, uint8 `[rows, bytes of a row]`."""
  return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)


# PyAV


def _import_av():
  try:
    import av
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "Video files are read by PyAV, which is not installed:"
        " pip install 'vidrestore_jax[video]'"
    ) from error
  return av


@contextlib.contextmanager
def _open(file):
  """The pair (container, video stream) of a file."""
  av = _import_av()
  # An mp4 may have its index at its end: cut short, it cannot be opened.
  with _named(file, "(at its start, or cut short before its index)"):
    container = av.open(str(file))
  with container:
    streams = [
        stream for stream in container.streams.video
        if "attached_pic" not in str(stream.disposition)  # A cover picture.
    ]
    if not streams:
      raise ValueError(f"{file} holds no video stream.")
    yield container, streams[0]


@contextlib.contextmanager
def _named(file, where: str):
  """Turns PyAV's errors into a CorruptRecord that names the file."""
  av = _import_av()
  try:
    yield
  except av.error.FFmpegError as error:
    if isinstance(error, FileNotFoundError | PermissionError):
      raise
    raise CorruptRecord(
        f"{file} is no video or is damaged {where}: {error}. Copy it again or"
        " remove it."
    ) from error


def build(path, *, length: int | None = 5, stride: int = 1) -> VideoClips:
  """The source for `data.build("videos", ...)`.

  Args:
    path: a video file, or a folder of video files.
    length: frames per window; None for one window per file, all of it.
    stride: frames from one window's start to the next.

  Raises:
    FileNotFoundError: nothing there, or no video in the folder.
    ModuleNotFoundError: PyAV is not installed.
    ValueError: a file that cannot be read at random, a window that a file
      does not hold, or (CorruptRecord) no file that is whole.
  """
  return VideoClips(path, length=length, stride=stride)
