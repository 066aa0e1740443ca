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

import pathlib

import tensorflow_datasets as tfds

from vidrestore_jax.data import prepared

_ARCHIVES = ("DAVIS-2017-trainval-480p.zip", "DAVIS-2017-test-dev-480p.zip")
_LISTS = "ImageSets/2017"
_FILES = {"train": "train.txt", "val": "val.txt", "test_dev": "test-dev.txt"}


class Davis2017(prepared.Dataset):
  """DAVIS 2017 480p frames; see the module's data card.

  Trainval and test-dev are parts of their own, because they come as archives
  of their own: either can be prepared without the other.
  """

  TITLE = "DAVIS 2017"
  HOMEPAGE = "https://davischallenge.org"
  VERSION = tfds.core.Version("2.0.0")  # 1.0.0 had a sequence per record.
  SPLITS = {
      "train": prepared.Split(
          sequences=60, part="trainval_480p", archive=_ARCHIVES[0]
      ),
      "val": prepared.Split(
          sequences=30, part="trainval_480p", archive=_ARCHIVES[0]
      ),
      "test_dev": prepared.Split(
          sequences=30, part="test_dev_480p", archive=_ARCHIVES[1]
      ),
  }
  JOINED = {"trainval": ("train", "val")}


def prepare(source_path, data_dir=None, *, partial=False) -> dict[str, int]:
  """Writes what is found of DAVIS 2017 480p under `source_path` to TFDS.

  Args:
    source_path: the DAVIS folder, the folder that holds it or the official
      zip archives, or one such archive.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept lists of other lengths than the official ones.

  Returns:
    Split -> number of sequences, of the splits found.

  Raises:
    FileNotFoundError: nothing of DAVIS is there, or a listed sequence, one of
      its frames from 00000 on or the second list of trainval is missing.
    ValueError: a damaged frame or archive, or a list of the wrong length.
  """
  path = pathlib.Path(source_path).expanduser()
  trees = {}  # Split -> the first tree that lists it.
  for tree in prepared.find_trees(
      path, _LISTS, archives=_ARCHIVES, inner=("", "DAVIS")
  ):
    for split, file in _FILES.items():
      if (tree / _LISTS / file).is_file():
        trees.setdefault(split, tree)
  if not trees:
    raise FileNotFoundError(
        f"Found no DAVIS 2017 in {path}: looked for DAVIS/{_LISTS}/train.txt,"
        f" val.txt or test-dev.txt in it and in {' and '.join(_ARCHIVES)}."
        f" Download them from {Davis2017.HOMEPAGE}."
    )
  lacking = {"train", "val"} - set(trees)
  if len(lacking) == 1:
    (tree,) = {trees[split] for split in ("train", "val") if split in trees}
    raise FileNotFoundError(
        f"{tree / _LISTS} lacks {_FILES[lacking.pop()]}. The copy is"
        " incomplete: unpack or download it again."
    )
  found = {
      split: _sequences(trees[split], split, partial)
      for split in _FILES if split in trees
  }
  return prepared.prepare(Davis2017, found, data_dir, partial=partial)


def _sequences(tree, split, partial):
  """The sequences of a split's official list."""
  file = tree / _LISTS / _FILES[split]
  names = file.read_text().split()
  official = Davis2017.SPLITS[split].sequences
  if len(names) != official and not partial:
    raise ValueError(
        f"{file} lists {len(names)} sequences, but {split} of DAVIS 2017 has"
        f" {official}. Get the official list, or allow it with --partial (in"
        " Python: partial=True)."
    )
  sequences = []
  for name in names:
    try:
      frames = prepared.numbered_frames(
          tree / f"JPEGImages/480p/{name}", (".jpg",), first=0
      )
    except FileNotFoundError as error:
      raise FileNotFoundError(
          f"{file.name} lists the sequence {name}, but {error}"
      ) from error
    sequences.append(prepared.Sequence(name, frames))
  return sequences


def build(
    *, data_dir=None, split="train", length=5, stride=1
) -> prepared.PreparedClips:
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
  return prepared.build(
      Davis2017, data_dir=data_dir, split=split, length=length, stride=stride
  )
