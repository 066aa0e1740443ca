"""What a set is: its official numbers, and the TFDS builder of its records."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import utils as tfds_utils

from vidrestore_jax.data import folders

# TFDS keeps the frames of the shard that it writes in memory.
_SHARD_BYTES = 128 << 20

# The way out of an error about numbers.
PARTIAL = (
    "Get the official files, or allow it with --partial (in Python:"
    " partial=True)."
)


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


ANY = Split(takes=None)  # A split that a person names.


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
    dtype, channels = np.uint8, 3
    if self._found:
      first = next(iter(self._found.values()))[0].clean[0]
      encoded = self.encode(_read(first), first)
      self._per_shard = max(1, _SHARD_BYTES // len(encoded))
      pixels = folders.decode_native(encoded, first)
      dtype, channels = pixels.dtype.type, pixels.shape[-1]
    image = tfds.features.Image(shape=(None, None, channels), dtype=dtype)
    return tfds.core.DatasetInfo(
        builder=self,
        description=self.TITLE,
        homepage=self.HOMEPAGE,
        features=tfds.features.FeaturesDict({"frame": image, "file": np.str_}),
        disable_shuffling=True,  # Frames stay beside one another.
        metadata=tfds.core.MetadataDict(
            partial=self._partial,
            index={s: index_of(found) for s, found in self._found.items()},
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
    official = official_of(self.SPLITS.get(split, ANY).size, sequence.name)
    if official and (width, height) != official and not self._partial:
      raise ValueError(
          f"{file} is {width}x{height}, but frames of {sequence.name} of"
          f" {self.TITLE} are {official[0]}x{official[1]}. {PARTIAL}"
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


def official_of(official, name):
  """An official number of the sequence `name`."""
  return official.get(name) if isinstance(official, Mapping) else official


def index_of(sequences):
  """What metadata.json keeps of them, in the order of the records.

  `bytes` are those of all files of a sequence as the authors give them, before
  `encode`. Sets that were written by an older version lack it.
  """
  return {
      "names": [s.name for s in sequences],
      "frames": [len(s.clean) for s in sequences],
      "takes": [len(s.takes) for s in sequences],
      "bytes": [
          sum(_size(f) for files in (s.clean, *s.takes) for f in files)
          for s in sequences
      ],
  }


def _size(file) -> int:
  """Bytes of a file; of one in an archive, those that it unpacks to."""
  if isinstance(file, zipfile.Path):
    return file.root.getinfo(file.at).file_size
  return file.stat().st_size


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


# Where sets lie


def part_of(dataset, split) -> str:
  """The TFDS configuration that holds a split."""
  return dataset.SPLITS.get(split, ANY).part or split


def home(data_dir) -> pathlib.Path:
  """`data_dir`, or where TFDS keeps data sets."""
  default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  return pathlib.Path(data_dir or default).expanduser()


def folder_of(dataset, part, data_dir) -> pathlib.Path:
  """Where TFDS puts a configuration of a set."""
  return home(data_dir) / dataset.name / part / str(dataset.VERSION)
