"""Reading a prepared set: windows of frames, at random."""

import bisect
import collections
import functools
import itertools
import shlex

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import decode as tfds_decode
from tensorflow_datasets.core import example_parser

from vidrestore_jax.data import folders
from vidrestore_jax.data.lazy import LazyClip
from vidrestore_jax.data.prepared.dataset import ANY, folder_of, home, part_of


def build(
    dataset,
    *,
    data_dir=None,
    split,
    length=5,
    stride=1,
    seed=None,
    draws=1,
    decode=folders.decode,
    max_value=None,
    extra=None,
    names=None,
    options="",
) -> "PreparedClips":
  """The source that a set's `build` returns.

  Args:
    dataset: the set's class.
    data_dir: as `prepare` was given.
    split: one of SPLITS, JOINED or SUBSETS of the set.
    length: frames per window; None for one window per sequence, all of it.
    stride: frames from one window's start to the next.
    seed: of the degraded take of each frame, where a set has several: clip i
      draws from `default_rng([seed, i])`. None reads the first take.
    draws: how often the windows are gone through, each time with other takes.
    decode: function (bytes, name) -> pixels `[H, W, C]`.
    max_value: value of white; None is that of the pixels' integer type.
    extra: further entries of every item.
    names: sequences to read of the split, in any order; None is all.
    options: of the command that an error tells to type.

  Raises:
    FileNotFoundError: the split was not prepared; says where it looked and
      what to type.
    ValueError: an unknown split or name, or a window that no sequence holds.
  """
  splits, choose = (split,), None
  if split in dataset.JOINED:
    splits = dataset.JOINED[split]
  elif split in dataset.SUBSETS:
    only, choose = dataset.SUBSETS[split]
    splits = (only,)
  elif dataset.SPLITS and split not in dataset.SPLITS:
    known = sorted([*dataset.SPLITS, *dataset.JOINED, *dataset.SUBSETS])
    raise ValueError(
        f"{dataset.TITLE} has no split {split!r}; it has {known}."
    )
  builders = {}
  for part in dict.fromkeys(part_of(dataset, split) for split in splits):
    folder = folder_of(dataset, part, data_dir)
    if not (folder / "dataset_info.json").is_file():
      raise FileNotFoundError(
          _unprepared(dataset, splits[0], folder, data_dir, options)
      )
    builders[part] = tfds.builder_from_directory(str(folder))
    for info in builders[part].info.splits.values():
      for shard in info.filepaths:
        if not shard.is_file():
          raise FileNotFoundError(
              f"{shard} is missing. Remove {folder} and prepare"
              f" {dataset.TITLE} again."
          )
  return PreparedClips(
      dataset.TITLE,
      [(builders[part_of(dataset, split)], split) for split in splits],
      length=length, stride=stride, name=split, choose=choose, names=names,
      seed=seed, draws=draws, decode=decode, max_value=max_value, extra=extra,
  )


def _unprepared(dataset, split, folder, data_dir, options):
  command = dataset.__module__.rpartition(".")[2]
  archive = dataset.SPLITS.get(split, ANY).archive
  get = f"Download {archive} from {dataset.HOMEPAGE} and type"
  if data_dir:
    options += f" --data-dir={shlex.quote(str(home(data_dir)))}"
  return (
      f"{dataset.TITLE} is not prepared: looked in {folder}."
      f" {get if dataset.HOMEPAGE else 'Type'}: vidrestore data prepare"
      f" {command} --from={shlex.quote(archive)}{options}"
  )


class PreparedClips:
  """Windows of `length` frames; only their frames are read and decoded.

  Attributes:
    names: of the sequences, in order.
    frame_counts: frames of each sequence.
    length, stride: of the windows, in frames; length None is the whole.
    layouts: "WIDTHxHEIGHT, DEPTH bit" -> number of stored files of the splits,
      degraded ones too.
    partial: whether the set was prepared with --partial.
  """

  def __init__(
      self, title, parts, *, length, stride, name, choose=None, names=None,
      seed=None, draws=1, decode=folders.decode, max_value=None, extra=None,
  ):
    for argument, given in (
        ("length", length), ("stride", stride), ("draws", draws),
    ):
      if given is not None and given < 1:
        raise ValueError(f"{argument} needs to be at least 1, but is {given}.")
    self._title, self._name = title, name
    self._seed, self._draws = seed, draws
    self._decode, self._max_value = decode, max_value
    self._extra = dict(extra or {})
    self.length, self.stride = length, stride
    self.layouts, self.partial = collections.Counter(), False
    self._sources = [_Records(builder, split) for builder, split in parts]
    self._sequences = []  # (source, first record, frames, takes)
    self._headers = {}  # (width, height, depth) of sequences looked into.
    self.names, self.frame_counts = [], []
    for number, (builder, split) in enumerate(parts):
      metadata = builder.info.metadata
      self.partial |= metadata["partial"]
      self.layouts.update(metadata["layouts"][split])
      index = metadata["index"][split]
      kept = set(choose(index["names"]) if choose else index["names"])
      if names is not None:
        kept &= set(names)
      first = 0
      for sequence, frames, takes in zip(
          index["names"], index["frames"], index["takes"]
      ):
        if sequence in kept:
          self._sequences.append((number, first, frames, takes))
          self.names.append(sequence)
          self.frame_counts.append(frames)
        first += frames * (1 + takes)
    unknown = sorted(set(names or ()) - set(self.names))
    if unknown:
      raise ValueError(
          f"Split {name} of {title} has no sequence {unknown[0]}"
          f" ({len(unknown)} of {len(names)} names are unknown)."
      )
    if not self.names:
      raise ValueError(
          f"Split {name} of {title} has no sequence in what was prepared."
          " Prepare the whole set."
      )
    short = min(self.frame_counts)
    if length is not None and short < length:
      raise ValueError(
          f"Sequence {self.names[self.frame_counts.index(short)]} of {title}"
          f" has {short} frames, but clips of length {length} are asked for."
          " Lower the length."
      )
    windows = [
        1 if length is None else (n - length) // stride + 1
        for n in self.frame_counts
    ]
    self._ends = list(itertools.accumulate(windows))

  def __len__(self) -> int:
    return self._ends[-1] * self._draws

  def __repr__(self) -> str:
    seed = ""
    if self._seed is not None:
      seed = f", seed={self._seed}, draws={self._draws}"
    return (
        f"PreparedClips({self._title!r}, {self._name!r}, length={self.length},"
        f" stride={self.stride}{seed})"
    )

  def __getitem__(self, index) -> dict:
    """Window `index`: `clean`, and `degraded` if there is, `[T, H, W, C]`.

    Raises:
      CorruptRecord: a frame cannot be read; names set, sequence and frame.
    """
    sequence, times, takes, name = self._window(index)
    return dict(self.frames(sequence, times, takes), name=name)

  def open(self, index) -> dict:
    """As `self[index]`, but with `LazyClip`s where pixels are read as stored.

    Raises:
      CorruptRecord: as `self[index]`, here or when a clip is read.
    """
    if self._decode is not folders.decode:
      return self[index]
    sequence, times, takes, name = self._window(index)
    if sequence not in self._headers:  # One for all frames of a sequence.
      first = self.encoded(sequence, times[0])
      try:
        self._headers[sequence] = folders.header(first, name)
      except folders.CorruptRecord as error:
        raise self._corrupt(sequence, times[0], None, error) from error
    width, height, depth = self._headers[sequence]
    white = int(np.iinfo(f"uint{depth}").max)
    item = dict(max_value=self._max_value or white, **self._extra, name=name)
    sides = {"clean": [None] * len(times)}
    if self._sequences[sequence][-1]:
      sides["degraded"] = [0] * len(times) if takes is None else takes
    for key, chosen in sides.items():
      item[key] = LazyClip(
          functools.partial(self._patch, sequence, times, chosen),
          (len(times), height, width, 3),
          f"uint{depth}",
      )
    return item

  def _window(self, index):
    """(sequence, frame numbers, their takes or None, name) of a clip."""
    index = range(len(self))[index]
    window = index % self._ends[-1]
    sequence = bisect.bisect_right(self._ends, window)
    before = self._ends[sequence - 1] if sequence else 0
    start = (window - before) * self.stride
    frames = self.frame_counts[sequence]
    times = range(start, start + (self.length or frames))
    takes = None
    if self._seed is not None:
      random = np.random.default_rng([self._seed, index])
      takes = random.integers(
          max(self._sequences[sequence][-1], 1), size=len(times)
      )
    name = self.names[sequence]
    if self.length is not None:
      name += f"/{start:05d}"
    return sequence, times, takes, name

  def _patch(self, sequence, times, takes, first, end, box):
    """A part of a window, as LazyClip asks for it."""
    return np.stack([
        self._frame(sequence, times[t], takes[t], box)
        for t in range(first, end)
    ])

  def frames(self, sequence: int, times, takes=None) -> dict:
    """Any frames of a sequence, as an item without name.

    Args:
      sequence: its number, as in `names`.
      times: frame numbers.
      takes: the degraded take of each frame; None is the first.

    Raises:
      CorruptRecord: a frame cannot be read; names set, sequence and frame.
    """
    clean = np.stack([self._frame(sequence, t) for t in times])
    item = dict(
        clean=clean,
        max_value=self._max_value or int(np.iinfo(clean.dtype).max),
        **self._extra,
    )
    if self._sequences[sequence][-1]:
      takes = [0] * len(times) if takes is None else takes
      item["degraded"] = np.stack([
          self._frame(sequence, t, take) for t, take in zip(times, takes)
      ])
    return item

  def encoded(self, sequence: int, frame: int, take: int | None = None):
    """The stored bytes of a frame: those of the authors' file.

    Args:
      sequence: its number, as in `names`.
      frame: its number in the sequence.
      take: which degraded take; None is the clean frame.

    Raises:
      CorruptRecord: the record cannot be read.
    """
    source, first, frames, _ = self._sequences[sequence]
    record = first + frame + (0 if take is None else frames * (1 + int(take)))
    try:
      file, encoded = self._sources[source][record]
    except (ValueError, RuntimeError, OSError, TypeError, KeyError) as error:
      raise self._corrupt(sequence, frame, take, error) from error
    if file.rpartition("/")[0] != self.names[sequence]:
      raise self._corrupt(sequence, frame, take, f"its record holds {file}")
    return encoded

  def _frame(self, sequence, frame, take=None, box=None):
    encoded = self.encoded(sequence, frame, take)
    name = self.names[sequence]
    try:
      if box is not None:
        return folders.decode(encoded, name, box)
      return self._decode(encoded, name)
    except folders.CorruptRecord as error:
      cause = f"{len(encoded)} bytes that are no whole image"
      raise self._corrupt(sequence, frame, take, cause) from error

  def _corrupt(self, sequence, frame, take, cause):
    which = "" if take is None else f" (degraded, take {take})"
    source = self._sources[self._sequences[sequence][0]]
    return folders.CorruptRecord(
        f"Frame {frame}{which} of sequence {self.names[sequence]} in"
        f" {source.split} of {self._title} is damaged:"
        f" {' '.join(str(cause).split())}. Remove {source.folder} and prepare"
        " the set again."
    )


class _Records:
  """The frames of a split as (file name, bytes), by record number."""

  def __init__(self, builder, split):
    self.split, self.folder = split, str(builder.data_path)
    self._source = builder.as_data_source(
        split, deserialize_method=tfds_decode.DeserializeMethod.RAW_BYTES
    )
    self._parser = example_parser.ExampleParserNp(
        builder.info.features.get_serialized_info()
    )

  def __getitem__(self, record) -> tuple[str, bytes]:
    example = self._parser.parse_example(self._source[record])
    if example["frame"] is None:
      raise ValueError("its record is cut short")
    return bytes(example["file"]).decode(), bytes(example["frame"])
