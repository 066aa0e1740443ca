"""DAVIS 2017 at 480p: the official tree or archives -> array_record.

Data card
  What: 120 short videos of moving objects, JPEG frames of 480 lines (mostly
    854x480), about 25 to 100 frames each. Only the frames are read here, not
    the segmentation masks.
  Source: Pont-Tuset et al., The 2017 DAVIS Challenge on Video Object
    Segmentation, arXiv:1704.00675; https://davischallenge.org.
  Licence: the website states no single licence for the frames; the videos
    stay with their owners and are offered for research. Read its terms.
  Splits: train 60 sequences, val 30, test_dev 30; `trainval` reads the first
    two as one. Denoising papers train on trainval and test on test_dev.
  Get it: from davischallenge.org, DAVIS-2017-trainval-480p.zip and, for
    test_dev, DAVIS-2017-test-dev-480p.zip. Unpacked or not, then type
      vidrestore data prepare davis --from=FOLDER_OR_ZIP
  Layout read: DAVIS/JPEGImages/480p/<sequence>/<frame>.jpg and
    DAVIS/ImageSets/2017/{train,val,test-dev}.txt, as in the official loader,
    github.com/davisvideochallenge/davis2017-evaluation,
    davis2017/davis.py.
"""

import bisect
import io
import itertools
import os
import pathlib
import shlex
import zipfile

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image
from tensorflow_datasets.core import decode, example_parser

from vidrestore_jax.data import folders

# Split -> (configuration that holds it, official list, sequences in it).
SPLITS = {
    "train": ("trainval_480p", "train.txt", 60),
    "val": ("trainval_480p", "val.txt", 30),
    "test_dev": ("test_dev_480p", "test-dev.txt", 30),
}
_ARCHIVES = ("DAVIS-2017-trainval-480p.zip", "DAVIS-2017-test-dev-480p.zip")
_LISTS = "ImageSets/2017"
_FRAMES = "JPEGImages/480p"


class Davis2017(tfds.core.GeneratorBasedBuilder):
  """DAVIS 2017 480p frames; see the module's data card.

  Trainval and test-dev are configurations of their own, because they come as
  archives of their own: either can be prepared without the other.
  """

  # TFDS would find this file by importlib_resources, which it uses but does
  # not install.
  code_path = epath.Path(__file__)
  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = [
      tfds.core.BuilderConfig(name="trainval_480p", description="train, val"),
      tfds.core.BuilderConfig(name="test_dev_480p", description="test_dev"),
  ]

  def __init__(self, *, source=None, **kwargs):
    """`source` is the DAVIS folder, a path or a zipfile.Path, to prepare."""
    self._source = source
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
        builder=self,
        description=__doc__,
        homepage="https://davischallenge.org",
        features=tfds.features.FeaturesDict({
            # The layout of TFDS's own `davis`, less the segmentations.
            "video": tfds.features.Sequence({
                "frames": tfds.features.Image(
                    shape=(None, None, 3), encoding_format="jpeg"
                )
            }),
            "metadata": {
                "num_frames": np.int64,
                "video_name": np.str_,
            },
        }),
        disable_shuffling=True,  # Sequences stay in the official order.
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # DAVIS asks to be downloaded by a person.
    return {
        split: self._generate_examples(split)
        for split, (config, _, _) in SPLITS.items()
        if config == self.builder_config.name
    }

  def _generate_examples(self, split):
    # With shuffling disabled, keys are integers in the order of the records.
    for key, name in enumerate(_listed(self._source, split)):
      frames = [
          _checked(frame) for frame in _frames(self._source, split, name)
      ]
      yield key, {
          "video": {"frames": frames},
          "metadata": {"num_frames": len(frames), "video_name": name},
      }


# Reading the official tree


def _listed(source, split):
  """Names of the sequences in a split's official list."""
  text = (source / f"{_LISTS}/{SPLITS[split][1]}").read_text()
  return [line.strip() for line in text.splitlines() if line.strip()]


def _frames(source, split, name):
  """Frame files of one sequence, in order."""
  folder = source / f"{_FRAMES}/{name}"
  frames = [
      entry for entry in (folder.iterdir() if folder.is_dir() else ())
      if entry.name.endswith(".jpg")
  ]
  if not frames:
    raise FileNotFoundError(
        f"{SPLITS[split][1]} lists the sequence {name}, but {folder} holds no"
        " .jpg frame. The copy is incomplete: unpack or download it again."
    )
  return sorted(frames, key=lambda entry: entry.name)


def _checked(frame) -> bytes:
  """A frame's own bytes, after a look that they decode to the end."""
  encoded = frame.read_bytes()
  try:
    with Image.open(io.BytesIO(encoded)) as image:
      image.draft("RGB", (image.width // 8, image.height // 8))
      image.load()  # At an eighth: all the entropy coding, half the time.
  except Image.DecompressionBombError as error:
    raise folders.too_large(frame) from error
  except (OSError, SyntaxError) as error:
    raise ValueError(
        f"{frame} is damaged or cut short: {error}. Unpack or download the"
        " archive again."
    ) from error
  return encoded


def _trees(path: pathlib.Path):
  """Every DAVIS folder that `path` leads to, in archives too."""
  if path.is_file():
    try:
      candidates = [zipfile.Path(path)]
    except zipfile.BadZipFile as error:
      raise ValueError(
          f"{path} is not a whole zip archive ({error}). Download it again."
      ) from error
  else:
    archives = [path / name for name in _ARCHIVES if (path / name).is_file()]
    candidates = [path, *itertools.chain(*map(_trees, archives))]
  trees = []
  for candidate in candidates:
    for tree in (candidate, candidate / "DAVIS"):
      if (tree / _LISTS).is_dir() or (tree / f"{_LISTS}/").is_dir():
        trees.append(tree)
  return trees


# Preparing


def prepare(source_path, data_dir=None, *, partial=False) -> dict[str, int]:
  """Writes what is found of DAVIS 2017 480p under `source_path` to TFDS.

  What was prepared before is kept as it is. Nothing unfinished is left under
  the final name.

  Args:
    source_path: the DAVIS folder, the folder that holds it or the official
      zip archives, or one such archive.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept lists of other lengths than the official ones.

  Returns:
    Split -> number of sequences, of the splits found.

  Raises:
    FileNotFoundError: nothing of DAVIS is there, or a listed sequence or the
      second list of trainval is missing.
    ValueError: a damaged frame or archive, or a list of the wrong length.
  """
  path = pathlib.Path(source_path).expanduser()
  if not path.exists():
    raise FileNotFoundError(f"No file or folder {path}.")
  trees = _trees(path)
  found = {}
  for split, (config, file, _) in SPLITS.items():
    for tree in trees:
      if (tree / f"{_LISTS}/{file}").is_file():
        found.setdefault(config, (tree, []))[1].append(split)
        break
  if not found:
    raise FileNotFoundError(
        f"Found no DAVIS 2017 in {path}: looked for DAVIS/{_LISTS}/train.txt,"
        f" val.txt or test-dev.txt in it and in {' and '.join(_ARCHIVES)}."
        " Download them from https://davischallenge.org."
    )
  counts = {}
  for config, (tree, splits) in found.items():
    expected = [s for s, (home, _, _) in SPLITS.items() if home == config]
    if splits != expected:
      lists = [SPLITS[split][1] for split in expected if split not in splits]
      raise FileNotFoundError(
          f"{tree / _LISTS} lacks {' and '.join(lists)}. The copy is"
          " incomplete: unpack or download it again."
      )
    for split in splits:
      counts[split] = _check_split(tree, split, partial)
  for config, (tree, _) in found.items():
    builder = Davis2017(
        source=tree, config=config, data_dir=_data_dir(data_dir),
        file_format="array_record",
    )
    builder.download_and_prepare()
    for split, info in builder.info.splits.items():
      counts[split] = info.num_examples
  return counts


def _check_split(tree, split, partial):
  """Finds a wrong list or an empty sequence before anything is written."""
  names = _listed(tree, split)
  official = SPLITS[split][2]
  if len(names) != official and not partial:
    raise ValueError(
        f"{tree / _LISTS}/{SPLITS[split][1]} lists {len(names)} sequences, but"
        f" {split} of DAVIS 2017 has {official}. Get the official list, or"
        " allow it with --partial (in Python: partial=True)."
    )
  for name in names:
    _frames(tree, split, name)
  return len(names)


def _data_dir(data_dir) -> str:
  default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
  return str(pathlib.Path(data_dir or default).expanduser())


# The source


class DavisClips:
  """Windows of `length` frames; only their frames are decoded.

  Attributes:
    length, stride: of the windows, in frames; length None is the whole.
    frame_counts: frames of each sequence, in the order of the split.
  """

  def __init__(self, builders_and_splits, *, length, stride, name):
    self._sources, self.frame_counts, self._names = [], [], []
    self._records = []  # Sequence -> (source, record in it).
    for builder, split in builders_and_splits:
      source = builder.as_data_source(
          split, deserialize_method=decode.DeserializeMethod.RAW_BYTES
      )
      parser = example_parser.ExampleParserNp(
          builder.info.features.get_serialized_info()
      )
      self._sources.append((source, parser))
      for record in range(len(source)):
        metadata = parser.parse_example(source[record])["metadata"]
        self._records.append((len(self._sources) - 1, record))
        self.frame_counts.append(int(metadata["num_frames"]))
        self._names.append(metadata["video_name"].decode())
    short = min(self.frame_counts)
    if length is not None and short < length:
      raise ValueError(
          f"Sequence {self._names[self.frame_counts.index(short)]} of DAVIS"
          f" has {short} frames, but clips of length {length} are asked for."
          " Lower the length."
      )
    self.length, self.stride, self._name = length, stride, name
    windows = [
        1 if length is None else (n - length) // stride + 1
        for n in self.frame_counts
    ]
    self._ends = list(itertools.accumulate(windows))

  def __len__(self) -> int:
    return self._ends[-1]

  def __repr__(self) -> str:
    return (
        f"DavisClips({self._name!r}, length={self.length},"
        f" stride={self.stride})"
    )

  def __getitem__(self, index) -> dict:
    """Window `index`: `clean` uint8 [T, H, W, 3]."""
    index = int(index)
    if not 0 <= index < len(self):
      raise IndexError(f"clip {index} of {len(self)}")
    sequence = bisect.bisect_right(self._ends, index)
    before = self._ends[sequence - 1] if sequence else 0
    start = (index - before) * self.stride
    which, record = self._records[sequence]
    source, parser = self._sources[which]
    encoded = parser.parse_example(source[record])["video"]["frames"]
    name = self._names[sequence]
    if self.length is not None:
      name += f"/{start:05d}"
    return dict(
        clean=np.stack([
            folders.decode(bytes(frame), name)
            for frame in encoded[start:][: self.length]
        ]),
        max_value=255,
        name=name,
    )


def build(*, data_dir=None, split="train", length=5, stride=1) -> DavisClips:
  """The source for `data.build("davis", ...)`.

  Args:
    data_dir: as `prepare` was given.
    split: train, val, trainval or test_dev.
    length: frames per window; None for one window per sequence, all of it.
    stride: frames from one window's start to the next.

  Raises:
    FileNotFoundError: the split was not prepared; says where it looked and
      what to type.
    ValueError: an unknown split, or a window that no sequence holds.
  """
  parts = {**{s: [s] for s in SPLITS}, "trainval": ["train", "val"]}
  if split not in parts:
    raise ValueError(f"DAVIS has no split {split!r}; it has {sorted(parts)}.")
  for name, given in (("length", length), ("stride", stride)):
    if given is not None and given < 1:
      raise ValueError(f"{name} needs to be at least 1, but is {given}.")
  config = SPLITS[parts[split][0]][0]
  home = pathlib.Path(_data_dir(data_dir))
  folder = home / Davis2017.name / config / str(Davis2017.VERSION)
  if not (folder / "dataset_info.json").is_file():
    archive = _ARCHIVES[config != "trainval_480p"]
    chosen = f" --data-dir={shlex.quote(str(home))}" if data_dir else ""
    raise FileNotFoundError(
        f"DAVIS 2017 is not prepared: looked in {folder}. Download {archive}"
        " from https://davischallenge.org and type: vidrestore data prepare"
        f" davis --from={archive}{chosen}"
    )
  builder = tfds.builder_from_directory(str(folder))
  return DavisClips(
      [(builder, part) for part in parts[split]],
      length=length, stride=stride, name=split,
  )
