"""Set8: eight short 960x540 videos -> array_record.

Data card
  What: the test set of DVDnet and FastDVDnet: tractor, touchdown, park_joy and
    sunflower of Derf's collection and hypersmooth, motorbike, rafting and
    snowboard made with a GoPro, as 8-bit PNG of 960x540. Those of Derf
    have hundreds of frames, those of the GoPro 29 to 59.
  Source: Tassano, Delon and Veit, FastDVDnet, CVPR 2020, arXiv:1907.01361;
    github.com/m-tassano/fastdvdnet.
  Licence: the GoPro sequences are copyright GoPro 2018 (the repository's
    README); Derf's are of https://media.xiph.org/video/derf, each with its own
    terms. Offered for research.
  Splits: test, 8 sequences. Papers measure the first 85 frames of each.
  Get it: the folder test_sequences that the README of the repository links to.
    Unpacked or not, then type
      vidrestore data prepare set8 --from=FOLDER_OR_ZIP
  Layout read: a folder of PNG frames under each sequence's name, in `--from`
    or up to two folders below: gopro_540p/hypersmooth/01.png is how
    github.com/m-tassano/fastdvdnet itself kept them (data_set/gopro_540p);
    Set8/Derfs/tractor and Set8/GoPro/rafting is how
    github.com/sreyas-mohan/udvd (datasets/README.md) reads them.
"""

import pathlib

from vidrestore_jax.data import prepared

NAMES = (
    "tractor", "touchdown", "park_joy", "sunflower", "hypersmooth",
    "motorbike", "rafting", "snowboard",
)


class Set8(prepared.Dataset):
  """Set8; see the module's data card."""

  TITLE = "Set8"
  HOMEPAGE = "https://github.com/m-tassano/fastdvdnet"
  SPLITS = {
      "test": prepared.Split(
          sequences=8, size=(960, 540), archive="test_sequences"
      )
  }


def prepare(source_path, data_dir=None, *, partial=False) -> dict[str, int]:
  """Writes the sequences of Set8 under `source_path`; see prepared.prepare.

  Args:
    source_path: a folder or zip archive that holds the sequences' folders.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept fewer sequences and other sizes.

  Returns:
    {"test": number of sequences}.

  Raises:
    FileNotFoundError: sequences are not there, or the numbers of one's frames
      have a gap. The first may have any number: the authors' GoPro frames
      start at 01.
    ValueError: a frame is damaged, of another size or without number.
  """
  path = pathlib.Path(source_path).expanduser()
  folders = {}  # Name -> the first folder of that name.
  level = prepared.find_trees(path, "")
  for _ in range(4):  # `path` itself, its folders and two levels below.
    for folder in level:
      if folder.name in NAMES:
        folders.setdefault(folder.name, folder)
    level = [inner for folder in level for inner in prepared.subfolders(folder)]
  if not folders:
    raise FileNotFoundError(
        f"Found no Set8 in {path}: looked for folders {', '.join(NAMES)} of"
        f" PNG frames. Get them from {Set8.HOMEPAGE}."
    )
  missing = [name for name in NAMES if name not in folders]
  if missing and not partial:
    raise FileNotFoundError(
        f"{path} lacks {', '.join(missing)} of Set8. Get the rest, or allow it"
        " with --partial (in Python: partial=True)."
    )
  sequences = [
      prepared.Sequence(name, prepared.numbered_frames(folders[name]))
      for name in NAMES if name in folders
  ]
  return prepared.prepare(Set8, {"test": sequences}, data_dir, partial=partial)


def build(
    *, data_dir=None, split="test", length=5, stride=1
) -> prepared.PreparedClips:
  """The source for `data.build("set8", ...)`; see prepared.build.

  Args:
    data_dir: as `prepare` was given.
    split: test.
    length: frames per window; None for one window per sequence, all of it.
    stride: frames from one window's start to the next.
  """
  return prepared.build(
      Set8, data_dir=data_dir, split=split, length=length, stride=stride
  )
