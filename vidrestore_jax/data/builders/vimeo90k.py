"""Vimeo-90K septuplets: 72,436 clips of 7 frames of 448x256 -> array_record.

Data card
  What: seven frames each of videos from vimeo.com, 8-bit PNG. The archive
    holds 91,701 clips, of which the lists name those below.
  Source: Xue, Chen, Wu, Wei and Freeman, Video Enhancement with Task-Oriented
    Flow, IJCV 2019, arXiv:1711.09078; http://toflow.csail.mit.edu.
  Licence: none is stated for the frames; the videos stay with their owners and
    are offered for research. Read the website's terms.
  Splits: train 64,612 clips, test 7,824; test700 is 700 of test, drawn by
    `numpy.random.default_rng(0).choice(sorted(names), 700, replace=False)`
    (FITVNet tests on 700 that it does not name). A list of names selects
    others: `build(split="test", names=FILE)`, for example the fast, medium and
    slow thirds, meta_info_Vimeo90K_test_{fast,medium,slow}_GT.txt of
    github.com/XPixelGroup/BasicSR, basicsr/data/meta_info.
  Get it: vimeo_septuplet.zip (82 GB) from toflow.csail.mit.edu. Unpacked or
    not, then type
      vidrestore data prepare vimeo90k --from=FOLDER_OR_ZIP
  Layout read: sep_trainlist.txt, sep_testlist.txt and
    sequences/00001/0001/im1.png to im7.png, as in github.com/tarun005/FLAVR,
    dataset/vimeo90k_septuplet.py.
"""

import pathlib

import numpy as np

from vidrestore_jax.data import folders, prepared

_LISTS = {"train": "sep_trainlist.txt", "test": "sep_testlist.txt"}
_ARCHIVE = "vimeo_septuplet.zip"


def _test700(names):
  if len(names) < 700:
    raise ValueError(
        "test700 draws 700 clips of Vimeo-90K's official test list, but only"
        f" {len(names)} of it were prepared. Prepare the whole list."
    )
  chosen = np.random.default_rng(0).choice(sorted(names), 700, replace=False)
  return chosen.tolist()


class Vimeo90k(prepared.Dataset):
  """Septuplets of Vimeo-90K; see the module's data card."""

  TITLE = "Vimeo-90K"
  HOMEPAGE = "http://toflow.csail.mit.edu"
  SPLITS = {
      "train": prepared.Split(
          sequences=64612, frames=7, size=(448, 256), archive=_ARCHIVE
      ),
      "test": prepared.Split(
          sequences=7824, frames=7, size=(448, 256), archive=_ARCHIVE
      ),
  }
  SUBSETS = {"test700": ("test", _test700)}


def prepare(source_path, data_dir=None, *, partial=False) -> dict[str, int]:
  """Writes the listed septuplets under `source_path`; see prepared.prepare.

  Args:
    source_path: the folder of sequences/ and the lists, or the archive.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: leave out listed clips that are not there; accept other sizes.

  Returns:
    Split -> number of clips, of the splits whose list is there.

  Raises:
    FileNotFoundError: neither list is there, or a listed frame is missing.
    ValueError: a list of the wrong length, a damaged frame or another size.
  """
  path = pathlib.Path(source_path).expanduser()
  found = {}
  for split, file in _LISTS.items():
    trees = prepared.find_trees(
        path, file, archives=[_ARCHIVE], inner=("", "vimeo_septuplet")
    )
    if trees:
      found[split] = _sequences(trees[0], file, partial)
  if not found:
    raise FileNotFoundError(
        f"Found no Vimeo-90K in {path}: looked for sep_trainlist.txt and"
        f" sep_testlist.txt in it and in {_ARCHIVE}. Get it from"
        f" {Vimeo90k.HOMEPAGE}."
    )
  return prepared.prepare(Vimeo90k, found, data_dir, partial=partial)


def _sequences(tree, file, partial):
  """The listed clips. Folders are not listed: an archive has 91,701."""
  sequences = []
  for name in (tree / file).read_text().split():
    frames = [tree / f"sequences/{name}/im{i}.png" for i in range(1, 8)]
    missing = [frame for frame in frames if not frame.is_file()]
    if partial and len(missing) == len(frames):
      continue
    if missing:
      raise FileNotFoundError(
          f"{file} lists {name}, but {missing[0]} is missing. The copy is"
          " incomplete: unpack or download it again."
      )
    sequences.append(prepared.Sequence(name, frames))
  return sequences


def build(
    *, data_dir=None, split="train", length=5, stride=1, names=None
) -> prepared.PreparedClips:
  """The source for `data.build("vimeo90k", ...)`; see prepared.build.

  Args:
    data_dir: as `prepare` was given.
    split: train, test or test700.
    length: frames per window, at most 7; None for all 7.
    stride: frames from one window's start to the next.
    names: a text file that starts each line with the name of a clip, such as
      00001/0266; only these are read.

  Raises:
    FileNotFoundError: the split or the file `names` is not there.
    ValueError: no such split, or a name that the split does not have.
  """
  return prepared.build(
      Vimeo90k, data_dir=data_dir, split=split, length=length, stride=stride,
      names=None if names is None else folders.listed(names),
  )
