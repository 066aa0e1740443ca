"""Long restorations that survive being killed: a journal beside the output.

A video is restored in segments of a fixed number of frames, each encoded into
a file of its own in the folder `OUT.vidrestore`. A segment counts when its card
is there, which is written after all that it speaks of has reached the disk; so
the same command goes on after the last segment, whatever stopped it, and what
it makes equals what a run that never stopped makes. A recurrent model's state
at a segment's end lies beside it; a windowed model reads again the frames that
it looks back at. Joined, the segments become the output, and the folder goes.
"""

import collections
import contextlib
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from vidrestore_jax.inference import streaming, video_colour, video_encoding
from vidrestore_jax.inference.overlap import ahead
from vidrestore_jax.inference.video_encoding import Encoding
from vidrestore_jax.inference.video_joining import Segment
from vidrestore_jax.inference.video_reader import checksum

# Frames between decoding and computing, and between computing and encoding.
_DEPTH = 4
_HEADER, _END, _JOINED = "journal.json", "ended.json", "joined.partial"
_FORMAT = 1  # Raised when a journal of today could no longer be read.


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
    return sum(len(card["pts"]) for card in self.segments)

  def commit(self, card, state):
    """Counts the segment whose video has been written."""
    index = len(self.segments)
    sync(self.video(index))
    if state is not None:
      leaves = {
          f"leaf_{i}": np.asarray(leaf)
          for i, leaf in enumerate(jax.tree.leaves(state))
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
        Segment(self.video(index), card["pts"], card["end"])
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

  def end(self, output):
    """Puts what has been joined in its place and removes the folder."""
    _write(self.folder / _END, json.dumps({"frames": self.done}).encode())
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
  """Removes what a job that has ended leaves; returns its number of frames."""
  folder = _folder(output)
  frames = json.loads((folder / _END).read_text())["frames"]
  for path in sorted(folder.iterdir(), key=lambda path: path.name == _END):
    path.unlink()  # What says that it has ended goes last.
  folder.rmdir()
  return frames


def _folder(output):
  output = pathlib.Path(output)
  return output.with_name(output.name + ".vidrestore")


def _plain(identity):
  return json.loads(json.dumps(dict(identity, format=_FORMAT)))


def identity_of(path) -> dict[str, Any]:
  """What makes a file the same one: its length, its start and its end.

  Of a folder, the names and lengths of its files.
  """
  if os.path.isdir(path):
    files = sorted((entry.name, entry.stat().st_size)
                   for entry in os.scandir(path))
    digest = hashlib.sha256(json.dumps(files).encode())
    return {"files": len(files), "sha256_of_names": digest.hexdigest()}
  size = os.path.getsize(path)
  digest = hashlib.sha256()
  with open(path, "rb") as file:
    digest.update(file.read(1 << 20))
    file.seek(max(size - (1 << 20), 0))
    digest.update(file.read(1 << 20))
  return {"bytes": size, "sha256_of_ends": digest.hexdigest()}


def run(
    journal: Journal,
    source,
    model,
    variables,
    encoding: Encoding,
    *,
    sigma: float | None = None,
    length: int = 250,
    told: Callable[[int], None] = lambda done: None,
):
  """Restores and encodes what of a job is not yet done.

  Args:
    journal: of the job.
    source: what has a `description` and `pictures`, as a `VideoReader`.
    model: a restoration model.
    variables: its variables.
    encoding: how to encode.
    sigma: standard deviation of the noise in [0, 1] units.
    length: frames in a segment.
    told: called after each frame with the number that are done.
  """
  description = source.description
  size = tuple(side * model.scale for side in description.size)
  done = journal.done
  seen = collections.deque()  # (pts, duration, checksum) of those on the way.
  stream = _results(journal, source, model, variables, sigma, seen)
  marks = collections.deque(maxlen=max(_look_back(model), 1))
  if journal.segments:
    marks.extend(journal.segments[-1]["marks"])
  writer = None
  with contextlib.closing(ahead(stream, _DEPTH)) as results:
    try:
      for index, result in enumerate(results, done):
        pts, duration, check = seen.popleft()
        marks.append((index, pts, check))
        if writer is None:
          stamps = []
          writer = video_encoding.Encoder(
              journal.video(len(journal.segments)), encoding, description, size
          )
        writer.write(samples(result.frames, encoding.layout), pts)
        stamps.append(pts)
        told(index + 1)
        if len(stamps) == length:
          _commit(journal, writer, stamps, duration, marks, result)
          writer = None
      if writer is not None:
        _commit(journal, writer, stamps, duration, marks, result)
        writer = None
    finally:
      if writer is not None:
        writer.abandon()


def _commit(journal, writer, stamps, duration, marks, result):
  writer.close()
  journal.commit(
      dict(pts=stamps, end=stamps[-1] + duration, marks=list(marks)),
      result.aux.get("state"),
  )


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


def _look_back(model):
  """How many frames before one its result depends on, without a state."""
  return 0 if model.recurrent else model.radius


def _results(journal, source, model, variables, sigma, seen):
  """Results of the frames that are not yet done."""
  done, lead = journal.done, 0
  first, mark = 0, None
  if done and not getattr(model, "bidirectional", False):
    first, *mark = journal.segments[-1]["marks"][0]
    lead = min(done, _look_back(model))
  elif done:  # Each frame depends on all: only encoding is saved.
    lead = done
  description = source.description
  pictures = ahead(_read(source, first, mark, done - lead), _DEPTH)

  def frames():
    for picture, check in pictures:
      seen.append((picture.pts, picture.duration, check))
      yield to_rgb(picture.planes, description.layout)

  with contextlib.closing(pictures):
    restored = streaming.restore_stream(
        model, variables, frames(), sigma=sigma, aux=("state",),
        state=journal.state(),
    )
    for index, result in enumerate(restored):
      if index < lead:
        seen.popleft()
        continue
      yield result


def _read(source, first, mark, wanted) -> Iterator:
  """Pictures from number `wanted` on, read from number `first` on."""
  for index, picture in enumerate(source.pictures(first, mark), first):
    if index >= wanted:
      yield picture, checksum(picture.planes)


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
