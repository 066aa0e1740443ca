"""What the prepared data sets share: checks, array_record, and reading it.

A set is a file in data/builders/. It finds the authors' files and says what
they should be; here they are checked, written and read.

  class Set8(prepared.Dataset):
    SPLITS = {"test": prepared.Split(sequences=8, size=(960, 540))}
    ...

On disk a set is a TFDS data set in array_record. Each record is one frame: the
bytes of the authors' own file, and its name. A sequence's frames follow one
another, first the clean ones, then each degraded take; the index of the
sequences is in the set's metadata.json. So opening a set reads no record, and
a clip costs its own frames, however long the sequence is. (With a sequence per
record, five frames of REDS would read a hundred.)
"""

import bisect
import collections
import contextlib
import dataclasses
import functools
import io
import itertools
import os
import pathlib
import shlex
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import decode as tfds_decode
from tensorflow_datasets.core import example_parser
from tensorflow_datasets.core import utils as tfds_utils

from vidrestore_jax.data import folders
from vidrestore_jax.data.lazy import LazyClip

# TFDS keeps the frames of the shard that it writes in memory.
_SHARD_BYTES = 128 << 20


@dataclasses.dataclass(frozen=True)
class Sequence:
  """One video as it lies in the authors' files.

  Attributes:
    name: unique in its split.
    clean: frame files in order, each a pathlib.Path or a zipfile.Path.
    takes: degraded versions of the video, each as many files as `clean` and
      in the same order; empty where the set has none.
  """

  name: str
  clean: list
  takes: list[list] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Split:
  """What a whole split holds; None where that varies or is not published.

  Attributes:
    sequences: how many.
    frames: of every sequence, or by the sequence's name.
    size: (width, height) of every frame in pixels, or by the sequence's name.
    takes: degraded versions of each sequence.
    part: the TFDS configuration, that is what is prepared at one go; by
      default the split's own name.
    archive: what is downloaded and given to `--from`, for errors.
  """

  sequences: int | None = None
  frames: int | Mapping[str, int] | None = None
  size: tuple[int, int] | Mapping[str, tuple[int, int]] | None = None
  takes: int | None = 0
  part: str = ""
  archive: str = "FOLDER"


_ANY = Split(takes=None)  # A split that a person names.


class Dataset(tfds.core.ShardBasedBuilder, skip_registration=True):
  """A TFDS builder of frames; a set is a subclass of constants.

  It is based on shards since TFDS's other writer sorts what exceeds a
  gigabyte with tensorflow.

  Attributes:
    TITLE: what errors call the set.
    HOMEPAGE: where to get it.
    VERSION: of the layout on disk.
    SPLITS: name -> Split; empty where a person names the splits.
    JOINED: name -> splits that are read as one.
    SUBSETS: name -> (split, function from the names of its sequences to those
      that are read).
  """

  # TFDS would find the file by importlib_resources, which it uses but does
  # not install.
  code_path = epath.Path(__file__)
  TITLE = ""
  HOMEPAGE = ""
  VERSION = tfds.core.Version("1.0.0")
  SPLITS: Mapping[str, Split] = {}
  JOINED: Mapping[str, tuple[str, ...]] = {}
  SUBSETS: Mapping[str, tuple[str, Callable[[list[str]], list[str]]]] = {}

  @staticmethod
  def encode(content: bytes, name) -> bytes:
    """A file's content as PNG or JPEG: where it is neither, its lossless twin.

    Args:
      content: of the file.
      name: what errors call it.
    """
    del name
    return content

  def __init__(self, *, found=None, partial=False, **kwargs):
    """`found` is split -> sequences to write, all of one part."""
    self._found, self._partial = found or {}, partial
    self._per_shard, self._layouts = 1, {}
    self.progress = contextlib.ExitStack()  # Closes the bars.
    super().__init__(**kwargs)

  def _create_builder_config(self, builder_config, version=None):
    """The given one; TFDS warns of those that no list in the class has."""
    del version
    return builder_config

  def _info(self) -> tfds.core.DatasetInfo:
    depth, channels = 8, 3
    for sequences in self._found.values():
      first = sequences[0].clean[0]
      encoded = self.encode(_read(first), first)
      pixels = folders.decode_native(encoded, first)
      depth, channels = 8 * pixels.dtype.itemsize, pixels.shape[-1]
      self._per_shard = max(1, _SHARD_BYTES // len(encoded))
      break
    image = tfds.features.Image(
        shape=(None, None, channels),
        dtype=np.uint16 if depth == 16 else np.uint8,
    )
    return tfds.core.DatasetInfo(
        builder=self,
        description=self.TITLE,
        homepage=self.HOMEPAGE,
        features=tfds.features.FeaturesDict({"frame": image, "file": np.str_}),
        disable_shuffling=True,  # Frames stay beside one another.
        metadata=tfds.core.MetadataDict(
            partial=self._partial,
            index={s: _index(found) for s, found in self._found.items()},
        ),
    )

  def _shard_iterators_per_split(self, dl_manager):
    del dl_manager  # Licences and forms want a person to download.
    shards = {}
    for split, sequences in self._found.items():
      frames = [
          (split, sequence, file)
          for sequence in sequences
          for files in (sequence.clean, *sequence.takes)
          for file in files
      ]
      bar = tfds_utils.tqdm(
          desc=f"{self.TITLE}, {split}",
          total=len(frames),
          unit=" frames",
          mininterval=1.0 if sys.stderr.isatty() else 10.0,
      )
      self.progress.callback(bar.close)
      shards[split] = [
          lambda first=first, frames=frames, bar=bar: (
              self._examples(first, frames, bar)
          )
          for first in range(0, len(frames), self._per_shard)
      ]
    return shards

  def _examples(self, first, frames, bar):
    """Records of one shard; reading and checking run ahead in threads."""
    shard = frames[first : first + self._per_shard]
    files = _ahead(self._checked, [file for _, _, file in shard])
    for key, ((split, sequence, file), (encoded, layout)) in enumerate(
        zip(shard, files), first
    ):
      self._check_layout(split, sequence, file, layout)
      bar.update()
      yield key, {"frame": encoded, "file": f"{sequence.name}/{file.name}"}

  def _checked(self, file):
    encoded = self.encode(_read(file), file)
    return encoded, folders.check(encoded, file)

  def _check_layout(self, split, sequence, file, layout):
    width, height, depth = layout
    official = _of(self.SPLITS.get(split, _ANY).size, sequence.name)
    if official and (width, height) != official and not self._partial:
      raise ValueError(
          f"{file} is {width}x{height}, but frames of {sequence.name} of"
          f" {self.TITLE} are {official[0]}x{official[1]}. {_PARTIAL}"
      )
    known = self._layouts.setdefault((split, sequence.name), layout)
    if known != layout:
      raise ValueError(
          f"{file} is {width}x{height} with {depth} bits, but"
          f" {sequence.clean[0].name} of sequence {sequence.name} is"
          f" {known[0]}x{known[1]} with {known[2]}. All frames of a sequence,"
          " clean or degraded, need one size and depth."
      )
    layouts = self.info.metadata.setdefault("layouts", {}).setdefault(split, {})
    text = f"{width}x{height}, {depth} bit"
    layouts[text] = layouts.get(text, 0) + 1


_PARTIAL = (
    "Get the official files, or allow it with --partial (in Python:"
    " partial=True)."
)


def _of(official, name):
  """An official number of the sequence `name`."""
  return official.get(name) if isinstance(official, Mapping) else official


def _index(sequences):
  return {
      "names": [s.name for s in sequences],
      "frames": [len(s.clean) for s in sequences],
      "takes": [len(s.takes) for s in sequences],
  }


def _read(file) -> bytes:
  try:
    return file.read_bytes()
  except zipfile.BadZipFile as error:
    raise ValueError(
        f"{file} is damaged ({error}). Download the archive again."
    ) from error


def _ahead(function, items) -> Iterator:
  """`map` with a few threads, in order, holding a few results."""
  threads = min(8, os.cpu_count() or 1)
  with futures.ThreadPoolExecutor(threads) as pool:
    pending = collections.deque()
    for item in items:
      pending.append(pool.submit(function, item))
      if len(pending) > 2 * threads:
        yield pending.popleft().result()
    while pending:
      yield pending.popleft().result()


# Finding the authors' files


def find_trees(path, marker: str, *, archives=(), inner=("",)) -> list:
  """Folders that hold `marker`, in `path` and in the zip archives there.

  Args:
    path: a folder, or a zip archive.
    marker: what a tree is known by: the path of a file or folder in it; ""
      takes any folder.
    archives: names of zip archives that are looked into where they lie in the
      folder `path`.
    inner: folders below `path`, or below an archive's root, that may be the
      tree; "" is the root itself.

  Returns:
    Trees, unpacked ones first, each a pathlib.Path or a zipfile.Path.

  Raises:
    FileNotFoundError: there is no such path.
    ValueError: a file that is no whole zip archive.
  """
  path = pathlib.Path(path).expanduser()
  if not path.exists():
    raise FileNotFoundError(f"No file or folder {path}.")
  if path.is_file():
    roots = [_archive(path)]
  else:
    present = [path / name for name in archives if (path / name).is_file()]
    roots = [path, *map(_archive, present)]
  trees = [root / name if name else root for root in roots for name in inner]
  # The root of an archive is a folder, but "exists" only below it.
  return [
      tree for tree in trees
      if ((tree / marker).exists() if marker else tree.is_dir())
  ]


def _archive(path):
  try:
    return zipfile.Path(path)
  except zipfile.BadZipFile as error:
    raise ValueError(
        f"{path} is not a whole zip archive ({error}). Download it again, or"
        " unpack it and name the folder."
    ) from error


def frames(folder, suffixes=(".png",)) -> list:
  """Frame files of a folder in natural order: 10.png follows 9.png.

  Args:
    folder: a pathlib.Path or a zipfile.Path.
    suffixes: of frame files, in lower case.

  Raises:
    FileNotFoundError: the folder is missing or holds no frame.
  """
  found = [
      entry for entry in (folder.iterdir() if folder.is_dir() else ())
      if entry.name.lower().endswith(tuple(suffixes))
      and not entry.name.startswith(".")  # The file manager's: ._0001.png.
  ]
  if not found:
    raise FileNotFoundError(
        f"{folder} holds no frame ({', '.join(suffixes)}). The copy is"
        " incomplete: unpack or download it again."
    )
  return sorted(found, key=folders.natural)


def subfolders(folder) -> list:
  """Folders in a folder, in natural order, hidden ones left out."""
  found = [
      entry for entry in (folder.iterdir() if folder.is_dir() else ())
      if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
  ]
  return sorted(found, key=folders.natural)


def paired(clean, degraded, key=lambda file: file.name.rpartition(".")[0]):
  """`degraded` in the order of `clean`, one for each.

  Args:
    clean, degraded: frame files.
    key: what a file and its partner have in common; by default the name
      without suffix.

  Raises:
    ValueError: a file without partner; names it.
  """
  ours, theirs = {key(f): f for f in clean}, {key(f): f for f in degraded}
  for one, other, there in (
      (ours, theirs, degraded), (theirs, ours, clean)
  ):
    lonely = [file for k, file in one.items() if k not in other]
    if lonely:
      where = there[0].parent if there else "the other folder"
      raise ValueError(
          f"{lonely[0]} has no partner in {where} ({len(clean)} clean,"
          f" {len(degraded)} degraded frames). The copy is incomplete: unpack"
          " or download it again."
      )
  return [theirs[key(file)] for file in clean]


def pairs(
    wanted, suffixes, *, first, optional=(), prefixes=("", "")
) -> list[Sequence]:
  """Pairs of folders whose frames are numbered without a gap.

  Args:
    wanted: (name, folder of clean frames, folder of degraded ones) of each
      sequence; the two may be one folder.
    suffixes: of frame files, in lower case.
    first: number of a folder's first frame.
    optional: names that may be missing altogether.
    prefixes: before the number, of clean and of degraded frames.

  Returns:
    The sequences that are there, with one degraded take each.

  Raises:
    FileNotFoundError: a folder is missing or holds no frame, or the numbers
      have a gap.
    ValueError: a frame without partner, or one that is there twice.
  """
  sequences = []
  for name, clean, degraded in wanted:
    missing = [folder for folder in (clean, degraded) if not folder.is_dir()]
    if name in optional and len(missing) == 2:
      continue
    if missing:
      raise FileNotFoundError(
          f"{missing[0]} holds no frame ({', '.join(suffixes)}). {_PARTIAL}"
      )
    ours, theirs = (
        _numbered(folder, suffixes, first, prefix)
        for folder, prefix in zip((clean, degraded), prefixes)
    )
    number = {file: n for n, file in [*ours.items(), *theirs.items()]}
    partners = paired(list(ours.values()), list(theirs.values()), number.get)
    for folder, numbered in ((clean, ours), (degraded, theirs)):
      missing = set(range(first, max(numbered) + 1)) - set(numbered)
      if missing:
        raise FileNotFoundError(
            f"{folder} lacks frame {min(missing)} (it has {min(numbered)} to"
            f" {max(numbered)}). Unpack or download it again."
        )
    sequences.append(Sequence(name, list(ours.values()), [partners]))
  return sequences


def _numbered(folder, suffixes, first, prefix):
  """Frame files of a folder by their number, in order."""
  numbered = {}
  for file in frames(folder, suffixes):
    number = file.name.rpartition(".")[0].removeprefix(prefix)
    if file.name.startswith(prefix) and number.isdecimal():
      if int(number) in numbered:
        raise ValueError(
            f"{folder} holds frame {int(number)} twice:"
            f" {numbered[int(number)].name} and {file.name}. Keep one."
        )
      numbered[int(number)] = file
  if not numbered:
    raise FileNotFoundError(
        f"{folder} holds no frame {prefix}{first}{suffixes[0]} or the like."
        " The copy is incomplete: unpack or download it again."
    )
  return numbered


# Writing


def prepare(
    dataset, found, data_dir=None, *, partial=False
) -> dict[str, int]:
  """Checks what was found and writes it; nothing half-written looks finished.

  What was prepared before is kept as it is.

  Args:
    dataset: the set's class.
    found: split -> sequences.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept other numbers and sizes than the official ones.

  Returns:
    Split -> number of sequences.

  Raises:
    ValueError: other numbers or sizes than the official ones, pairs that do
      not match, a damaged frame; or something else was prepared before.
  """
  for split, sequences in found.items():
    _check_split(dataset, split, sequences, partial)
  parts = {}
  for split, sequences in found.items():
    part = _part(dataset, split)
    parts.setdefault(part, {})[split] = sequences
  for part, held in parts.items():
    folder = _folder(dataset, part, data_dir)
    if (folder / "dataset_info.json").is_file():
      _check_same(dataset, folder, held)
      continue
    builder = dataset(
        found=held,
        partial=partial,
        config=tfds.core.BuilderConfig(
            name=part, version=dataset.VERSION, description=", ".join(held)
        ),
        data_dir=str(_home(data_dir)),
        file_format="array_record",
    )
    with (
        tempfile.TemporaryDirectory() as downloads,
        # TFDS says that it downloads something of unknown size.
        contextlib.redirect_stdout(io.StringIO()),
        builder.progress,
    ):
      builder.download_and_prepare(download_dir=downloads)
  return {split: len(sequences) for split, sequences in found.items()}


def _check_split(dataset, split, sequences, partial):
  """Finds a wrong number before anything is written."""
  official = dataset.SPLITS.get(split, _ANY)
  title = f"{split} of {dataset.TITLE}"
  if not sequences:
    raise FileNotFoundError(f"Found no sequence of {title}.")
  names = collections.Counter(s.name for s in sequences)
  name, count = names.most_common(1)[0]
  if count > 1:
    raise ValueError(f"{title} has {count} sequences called {name}.")
  if not partial and official.sequences not in (None, len(sequences)):
    raise ValueError(
        f"Found {len(sequences)} sequences of {title}, which has"
        f" {official.sequences}. {_PARTIAL}"
    )
  for sequence in sequences:
    given = len(sequence.clean)
    expected = _of(official.frames, sequence.name)
    where = sequence.clean[0].parent
    if not partial and expected not in (None, given):
      raise ValueError(
          f"{where} holds {given} frames, but sequence {sequence.name} of"
          f" {title} has {expected}. {_PARTIAL}"
      )
    if not partial and official.takes not in (None, len(sequence.takes)):
      raise ValueError(
          f"Sequence {sequence.name} of {title} has {len(sequence.takes)}"
          f" degraded takes (clean frames: {where}), but officially"
          f" {official.takes}. {_PARTIAL}"
      )
    for take in sequence.takes:
      if len(take) != given:
        raise ValueError(
            f"{take[0].parent if take else where} holds {len(take)} degraded"
            f" frames of sequence {sequence.name}, but {where} {given} clean"
            " ones. Pairs need the same number."
        )


def _check_same(dataset, folder, held):
  """ValueError unless `folder` was prepared from the same sequences."""
  metadata = tfds.builder_from_directory(str(folder)).info.metadata
  before = metadata["index"]
  for split, sequences in held.items():
    if before.get(split) != _index(sequences):
      count = len(before.get(split, {"names": ()})["names"])
      raise ValueError(
          f"{folder} was prepared before from other files: {count} sequences"
          f" in {split}, while {len(sequences)} were found now. Remove it to"
          f" prepare {dataset.TITLE} anew."
      )


def _part(dataset, split):
  return dataset.SPLITS.get(split, _ANY).part or split


def _home(data_dir) -> pathlib.Path:
  default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  return pathlib.Path(data_dir or default).expanduser()


def _folder(dataset, part, data_dir) -> pathlib.Path:
  return _home(data_dir) / dataset.name / part / str(dataset.VERSION)


# Reading


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
  for part in dict.fromkeys(_part(dataset, split) for split in splits):
    folder = _folder(dataset, part, data_dir)
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
      [(builders[_part(dataset, split)], split) for split in splits],
      length=length, stride=stride, name=split, choose=choose, names=names,
      seed=seed, draws=draws, decode=decode, max_value=max_value, extra=extra,
  )


def _unprepared(dataset, split, folder, data_dir, options):
  command = dataset.__module__.rpartition(".")[2]
  archive = dataset.SPLITS.get(split, _ANY).archive
  get = f"Download {archive} from {dataset.HOMEPAGE} and type"
  if data_dir:
    options += f" --data-dir={shlex.quote(str(_home(data_dir)))}"
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
    first = self.encoded(sequence, times[0])
    try:
      width, height, depth = folders.header(first, name)
    except folders.CorruptRecord as error:
      raise self._corrupt(sequence, times[0], None, error) from error
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
    index = int(index)
    if not 0 <= index < len(self):
      raise IndexError(f"clip {index} of {len(self)}")
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
