"""Long restorations that survive being killed: a journal beside the output.

A video is restored in segments of a fixed number of frames, each encoded into
a file of its own in the folder `OUT.vidrestore`. A segment counts when its card
is there, which is written after all that it speaks of has reached the disk; so
the same command goes on after the last segment, whatever stopped it, and what
it makes equals what a run that never stopped makes. A recurrent model's state
at a segment's end lies beside it; a windowed model reads again the frames that
it looks back at. Joined, the segments become the output, and the folder goes.

What is found out of a frame, its noise and whether a scene starts with it,
depends on frames before it without end: levels are averaged until they jump. So
it is not found out again but written down for each frame, with what the search
remembers after a segment's last.
"""

import collections
import contextlib
import errno
import functools
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from vidrestore_jax.inference import (
    pipeline,
    row_bands,
    video_colour,
    video_encoding,
)
from vidrestore_jax.inference.noise_estimation import NoiseEstimate
from vidrestore_jax.inference.overlap import ahead
from vidrestore_jax.inference.pipeline import Settings
from vidrestore_jax.inference.video_encoding import Encoding
from vidrestore_jax.inference.video_joining import Segment
from vidrestore_jax.inference.video_reader import checksum

# Frames between decoding and computing, and between computing and encoding.
_DEPTH = 4
_HEADER, _END, _JOINED = "journal.json", "ended.json", "joined.partial"
_FORMAT = 2  # Raised when a journal of today could no longer be read.


class FrameDone(NamedTuple):
  """What a journal says of a frame.

  Attributes:
    pts: its time stamp.
    checksum: of its samples, to find it again.
    starts_scene: of `pipeline.Known`, as is the estimate.
    estimate: of its noise, or None.
  """

  pts: int
  checksum: int
  starts_scene: bool
  estimate: NoiseEstimate | None


class Journal:
  """The folder of one job.

  Attributes:
    folder: of it.
    segments: cards of those that are finished, in order.
  """

  def __init__(self, output, identity: dict[str, Any], *, restart=False):
    """Opens a job's folder, or makes it.

    Args:
      output: path of the file to make.
      identity: all that the result depends on, JSON-able; a folder of another
        identity is refused.
      restart: throw away what an earlier run did.

    Raises:
      FileExistsError: the folder is of another job.
      BlockingIOError: another process is at this job.
    """
    self.folder = _folder(output)
    identity = _plain(identity)
    if self.folder.exists() and not self.folder.is_dir():
      raise FileExistsError(f"{self.folder} is in the way; remove it.")
    self.folder.mkdir(parents=True, exist_ok=True)
    self._lock()
    try:
      self._open(identity, restart)
    except BaseException:
      self.close()
      raise

  def _open(self, identity, restart):
    header = self.folder / _HEADER
    if restart:
      self._clear()
    if header.exists():
      self._check(header, identity)
    else:
      self._clear()  # Of a run that was killed before it had begun.
      _write(header, json.dumps(identity, indent=1).encode())
    self.segments = []
    while (card := self._card(len(self.segments))).exists():
      self.segments.append(json.loads(card.read_text()))

  def _lock(self):
    try:
      import fcntl
    except ModuleNotFoundError:  # Not on Windows.
      return
    self._locked = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR)
    try:
      fcntl.flock(self._locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      os.close(self._locked)
      raise BlockingIOError(
          f"Another process is working on {self.folder}. Wait for it, or stop"
          " it first."
      ) from error

  def _check(self, header, identity):
    try:
      found = json.loads(header.read_text())
    except ValueError:
      found = {}
    other = sorted(
        key for key in identity | found
        if identity.get(key) != found.get(key)
    )
    if other:
      raise FileExistsError(
          f"{self.folder} holds an unfinished job that differs in"
          f" {', '.join(other)}. Give that job's command to go on with it, or"
          " pass --restart to throw its work away."
      )

  def _clear(self):
    for path in self.folder.iterdir():
      if path.name == "lock":
        continue
      if path.suffix not in (".mkv", ".npz", ".json", ".partial"):
        raise FileExistsError(
            f"{self.folder} holds {path.name}, which is no part of a job."
            " Remove the folder yourself."
        )
      path.unlink()

  def _card(self, index):
    return self.folder / f"segment_{index:05}.json"

  def video(self, index) -> pathlib.Path:
    """The file of a segment's frames."""
    return self.folder / f"segment_{index:05}.mkv"

  def state(self):
    """Leaves of the model's state after the last segment, or None."""
    path = self.folder / f"state_{len(self.segments):05}.npz"
    if not self.segments or not path.exists():
      return None
    with np.load(path) as file:
      return [file[f"leaf_{i}"] for i in range(len(file.files))]

  @property
  def done(self) -> int:
    """How many frames are finished."""
    return sum(len(card["frames"]) for card in self.segments)

  def frames(self) -> list[FrameDone]:
    """All that are finished."""
    return [
        FrameDone(*fields, estimate and NoiseEstimate(*estimate))
        for card in self.segments
        for *fields, estimate in card["frames"]
    ]

  def commit(self, card, state):
    """Counts the segment whose video has been written."""
    index = len(self.segments)
    sync(self.video(index))
    if state is not None:
      leaves = {
          f"leaf_{i}": np.asarray(leaf)
          for i, leaf in enumerate(jax.tree.leaves(row_bands.whole(state)))
      }
      path = self.folder / f"state_{index + 1:05}.npz"
      with open(path, "wb") as file:
        np.savez(file, **leaves)
      sync(path)
    _write(self._card(index), json.dumps(card).encode())
    self.segments.append(card)
    # One state is enough to go on, and may be large.
    old = self.folder / f"state_{index:05}.npz"
    old.unlink(missing_ok=True)

  def files(self) -> list[Segment]:
    """The segments, for `video_joining.join`."""
    return [
        Segment(
            self.video(index), [pts for pts, *_ in card["frames"]], card["end"]
        )
        for index, card in enumerate(self.segments)
    ]

  @property
  def joined(self) -> pathlib.Path:
    """Where the output is made."""
    return self.folder / _JOINED

  def close(self):
    """Lets go of the folder, which stays."""
    if hasattr(self, "_locked"):
      os.close(self._locked)
      del self._locked

  def end(self, output, beside=()):
    """Puts what has been made in its place and removes the folder.

    Args:
      output: path of what has been joined.
      beside: pairs of a file in the folder and the path that it is for.
    """
    card = {
        "frames": self.done,
        "beside": [
            (path.name, str(pathlib.Path(place).absolute()))
            for path, place in beside
        ],
    }
    _write(self.folder / _END, json.dumps(card).encode())
    os.replace(self.joined, output)
    self.close()
    clear_away(output)


def has_ended(output) -> bool:
  """Whether a job was killed after its output had come into its place."""
  folder = _folder(output)
  return (
      pathlib.Path(output).is_file() and (folder / _END).exists()
      and not (folder / _JOINED).exists()
  )


def is_of(output, identity: dict[str, Any]) -> bool:
  """Whether the folder of an output is that of this job."""
  header = _folder(output) / _HEADER
  return header.exists() and json.loads(header.read_text()) == _plain(identity)


def clear_away(output) -> int:
  """Ends what a killed job had yet to do; returns its number of frames."""
  folder = _folder(output)
  card = json.loads((folder / _END).read_text())
  for name, place in card["beside"]:
    if (folder / name).exists():
      _move(folder / name, place)
  for path in sorted(folder.iterdir(), key=lambda path: path.name == _END):
    path.unlink()  # What says that it has ended goes last.
  folder.rmdir()
  return card["frames"]


def _move(path, place):
  """Moves a file, onto another disk too; it is never there in part."""
  try:
    os.replace(path, place)
  except OSError as error:
    if error.errno != errno.EXDEV:
      raise
    beside = pathlib.Path(place + ".partial")
    shutil.copyfile(path, beside)
    sync(beside)
    os.replace(beside, place)


def _folder(output):
  output = pathlib.Path(output)
  return output.with_name(output.name + ".vidrestore")


def _plain(identity):
  return json.loads(json.dumps(dict(identity, format=_FORMAT)))


def identity_of(path) -> dict[str, Any]:
  """What makes a file the same one: length, time of change, start and end.

  Of a folder, the names, lengths and times of its files.
  """
  if os.path.isdir(path):
    files = []
    for entry in os.scandir(path):
      status = entry.stat()
      files.append((entry.name, status.st_size, status.st_mtime_ns))
    digest = hashlib.sha256(json.dumps(sorted(files)).encode())
    return {"files": len(files), "sha256_of_names": digest.hexdigest()}
  status = os.stat(path)
  digest = hashlib.sha256()
  with open(path, "rb") as file:
    digest.update(file.read(1 << 20))
    file.seek(max(status.st_size - (1 << 20), 0))
    digest.update(file.read(1 << 20))
  return {
      "bytes": status.st_size,
      "changed_ns": status.st_mtime_ns,
      "sha256_of_ends": digest.hexdigest(),
  }


def run(
    journal: Journal,
    source,
    model,
    variables,
    encoding: Encoding,
    settings: Settings,
    *,
    length: int = 250,
    told: Callable[[int, pipeline.Known], None] = lambda done, known: None,
    note: Callable[[str], None] = pipeline.warn,
):
  """Restores and encodes what of a job is not yet done.

  Args:
    journal: of the job.
    source: what has a `description` and `pictures`, as a `VideoReader`.
    model: a restoration model.
    variables: its variables.
    encoding: how to encode.
    settings: how to restore.
    length: frames in a segment.
    told: called after each frame with the number that are done and what is
      known of it.
    note: as `pipeline.restored` has it.
  """
  description = source.description
  size = tuple(side * model.scale for side in description.size)
  seen = collections.deque()  # (pts, duration, checksum) of those on the way.
  stream = _results(journal, source, model, variables, settings, seen, note)
  writer = None
  with contextlib.closing(ahead(stream, _DEPTH)) as results:
    try:
      for done, result in enumerate(results, journal.done + 1):
        pts, duration, check = seen.popleft()
        if writer is None:
          frames = []
          writer = video_encoding.Encoder(
              journal.video(len(journal.segments)), encoding, description, size
          )
        writer.write(samples(result.frame, encoding.layout), pts)
        frames.append(FrameDone(pts, check, *result.known[:2]))
        told(done, result.known)
        if len(frames) == length:
          _commit(journal, writer, frames, duration, result)
          writer = None
      if writer is not None:
        _commit(journal, writer, frames, duration, result)
        writer = None
    finally:
      if writer is not None:
        writer.abandon()


def _commit(journal, writer, frames, duration, result):
  writer.close()
  card = dict(
      frames=frames, end=frames[-1].pts + duration, layout=result.layout,
      recent=result.known.recent,
  )
  journal.commit(card, result.state)


def sync(path):
  """Returns when a file is on the disk, not in memory alone."""
  with open(path, "rb+") as file:
    os.fsync(file.fileno())


def _write(path, data: bytes):
  """Writes a file whole or not at all, onto the disk."""
  beside = path.with_name(path.name + ".partial")
  with open(beside, "wb") as file:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
  os.replace(beside, path)
  if os.name == "posix":  # The name, too.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
      os.fsync(folder)
    finally:
      os.close(folder)


@functools.partial(jax.jit, static_argnums=1)
def _to_rgb(planes, layout):
  return video_colour.to_rgb(planes, layout)


@functools.partial(jax.jit, static_argnums=1)
def _from_rgb(frame, layout):
  return video_colour.from_rgb(frame, layout)


def _results(journal, source, model, variables, settings, seen, note):
  """Results of the frames that are not yet done."""
  first, mark, resume = 0, None, None
  frames = journal.frames()
  done = len(frames)
  if done:
    scenes = [i for i, frame in enumerate(frames) if frame.starts_scene]
    scene = scenes[-1] if scenes else 0
    again = pipeline.look_back(model, settings.chunk, done, scene)
    first = max(done - max(again, pipeline.CONTEXT), 0)
    mark = frames[first][:2]
    last = journal.segments[-1]
    known = [pipeline.Known(*frame[2:]) for frame in frames[first:]]
    recent = tuple(NoiseEstimate(*fields) for fields in last["recent"])
    known[-1] = known[-1]._replace(recent=recent)
    resume = pipeline.Resume(known, again, journal.state(), last["layout"])
  description = source.description
  pictures = ahead(source.pictures(first, mark), _DEPTH)

  def given():
    for index, picture in enumerate(pictures, first):
      if index >= done:
        check = checksum(picture.planes)
        seen.append((picture.pts, picture.duration, check))
      yield to_rgb(picture.planes, description.layout)

  with contextlib.closing(pictures):
    yield from pipeline.restored(
        model, variables, given(), settings, aux=("state",), resume=resume,
        note=note,
    )


def to_rgb(planes, layout):
  """`video_colour.to_rgb`, compiled, on the device."""
  return _to_rgb(tuple(planes), layout)


def samples(frame, layout):
  """`video_colour.from_rgb`, compiled, of a frame that has to be finite."""
  if not np.isfinite(frame).all():
    raise ValueError(
        "A restored frame holds NaN or infinite values; the model or its input"
        " is broken."
    )
  return [np.asarray(plane) for plane in _from_rgb(frame, layout)]
