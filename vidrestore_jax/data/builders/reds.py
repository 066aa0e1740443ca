"""REDS, sharp: 270 videos of 100 frames of 1280x720 -> array_record.

Data card
  What: realistic and dynamic scenes made with a GoPro at 120 frames a second;
    the sharp frames, at 24 a second, 8-bit PNG.
  Source: Nah et al., NTIRE 2019 Challenge on Video Deblurring and
    Super-Resolution: Dataset and Study, CVPR Workshops 2019;
    https://seungjunnah.github.io/Datasets/reds.html.
  Licence: CC BY 4.0.
  Splits: train 240 sequences (000 to 239), val 30 (000 to 029); reds4 is the
    four of train that EDVR tests on, train_but_reds4 the other 236.
  Get it: train_sharp.zip (34 GB) and val_sharp.zip. Unpacked or not, both in
    one folder or one alone, then type
      vidrestore data prepare reds --from=FOLDER_OR_ZIP
  Layout read: train_sharp/000/00000000.png and val_sharp/..., also below
    train/ and val/, where the archives put them
    (github.com/SeungjunNah/DeepDeblur-PyTorch, src/data/reds.py); or both
    regrouped in train_sharp, val as 240 to 269 (github.com/XPixelGroup/BasicSR,
    scripts/data_preparation/regroup_reds_dataset.py). REDS4: BasicSR,
    basicsr/data/reds_dataset.py.
"""

import pathlib

from vidrestore_jax.data import prepared

REDS4 = ("000", "011", "015", "020")
_TRAIN = 240  # Sequences; regrouped, the numbers of val start here.
_FOLDERS = {"train": "train_sharp", "val": "val_sharp"}


def _reds4(names):
  return [name for name in names if name in REDS4]


def _but_reds4(names):
  return [name for name in names if name not in REDS4]


class Reds(prepared.Dataset):
  """Sharp frames of REDS; see the module's data card."""

  TITLE = "REDS"
  HOMEPAGE = "https://seungjunnah.github.io/Datasets/reds.html"
  SPLITS = {
      "train": prepared.Split(
          sequences=_TRAIN, frames=100, size=(1280, 720),
          archive="train_sharp.zip",
      ),
      "val": prepared.Split(
          sequences=30, frames=100, size=(1280, 720), archive="val_sharp.zip"
      ),
  }
  SUBSETS = {
      "reds4": ("train", _reds4), "train_but_reds4": ("train", _but_reds4)
  }


def prepare(source_path, data_dir=None, *, partial=False) -> dict[str, int]:
  """Writes what is found of REDS under `source_path`; see prepared.prepare.

  Args:
    source_path: train_sharp, val_sharp, a folder that holds them or their
      archives, or one archive.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept fewer sequences, other numbers of frames and other sizes.

  Returns:
    Split -> number of sequences, of the splits found.

  Raises:
    FileNotFoundError: nothing of REDS is there, or a folder without frames.
    ValueError: other numbers or sizes, or a damaged frame.
  """
  path = pathlib.Path(source_path).expanduser()
  folders = {}  # Split -> (name, folder) of its sequences.
  for split, home in _FOLDERS.items():
    trees = [
        tree / home for tree in prepared.find_trees(
            path, home, archives=[f"{home}.zip"], inner=("", split)
        )
    ]
    if path.name == home:
      trees.append(path)
    for folder in prepared.subfolders(trees[0]) if trees else ():
      if folder.name.isdecimal():
        number = int(folder.name)
        regrouped = split == "train" and number >= _TRAIN
        folders.setdefault("val" if regrouped else split, []).append(
            (f"{number - _TRAIN * regrouped:03d}", folder)
        )
  if not folders:
    raise FileNotFoundError(
        f"Found no REDS in {path}: looked for train_sharp/000 and"
        " val_sharp/000 in it, below train/ and val/, and in train_sharp.zip"
        f" and val_sharp.zip. Get them from {Reds.HOMEPAGE}."
    )
  found = {
      split: [
          prepared.Sequence(name, prepared.numbered_frames(folder))
          for name, folder in pairs
      ]
      for split, pairs in folders.items()
  }
  return prepared.prepare(Reds, found, data_dir, partial=partial)


def build(
    *, data_dir=None, split="train", length=5, stride=1
) -> prepared.PreparedClips:
  """The source for `data.build("reds", ...)`; see prepared.build.

  Args:
    data_dir: as `prepare` was given.
    split: train, val, reds4 or train_but_reds4.
    length: frames per window; None for one window per sequence, all of it.
    stride: frames from one window's start to the next.
  """
  return prepared.build(
      Reds, data_dir=data_dir, split=split, length=length, stride=stride
  )
