"""REVIDE: real hazy videos and their haze-free twins -> array_record.

Data card
  What: indoor scenes recorded twice along the same path, with and without
    haze; 8-bit JPEG frames of 2708x1800.
  Source: Zhang et al., Learning to Restore Hazy Video: A New Real-World
    Dataset and a New Method, CVPR 2021, pages 9239-9248;
    github.com/BookerDeWitt/REVIDE_Dataset.
  Licence: none is stated; offered for research, with the paper cited.
  Splits: train 42 pairs, test 6 pairs (C005, E005, E006, J004, L006, W002; 284
    frames).
  Get it: REVIDE-Indoor from the links in the repository. Unpack it, then type
      vidrestore data prepare revide --from=REVIDE_indoor
  Layout read: {Train,Test}/{gt,hazy}/<clip>/00000.JPG, in REVIDE_indoor or
    where it was unpacked to; github.com/jiaqixuac/MAP-Net,
    configs/dehazers/_base_/datasets/revide.py. The clips of the test split
    and their frames: github.com/zzzendurance/WavePriorNet, README.md.
  Checked: the number of clips, the frames of the test clips, that every frame
    has its partner, numbers without a gap from 0, one size in a clip. Not
    checked, since it is not published in one place: how many frames the
    training clips have, and the size as such.

Numbers differ by protocol: MAP-Net's code halves the hazy frames before it
restores them, while here whole frames are read.
"""

from vidrestore_jax.data import prepared

_FOLDERS = {"train": "Train", "test": "Test"}
_TEST_FRAMES = {
    "C005": 43, "E005": 58, "E006": 36, "J004": 57, "L006": 54, "W002": 36,
}


class Revide(prepared.Dataset):
  """Pairs of REVIDE; see the module's data card."""

  TITLE = "REVIDE"
  HOMEPAGE = "https://github.com/BookerDeWitt/REVIDE_Dataset"
  SPLITS = {
      "train": prepared.Split(sequences=42, takes=1, archive="REVIDE_indoor"),
      "test": prepared.Split(
          sequences=6, frames=_TEST_FRAMES, takes=1, archive="REVIDE_indoor"
      ),
  }


def prepare(source_path, data_dir=None, *, partial=False) -> dict[str, int]:
  """Writes the pairs that `source_path` holds; prepared.prepare says how.

  Args:
    source_path: the folder REVIDE_indoor, or the one that holds it.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept other numbers of clips and frames.

  Returns:
    Split -> number of pairs, of the splits found.

  Raises:
    FileNotFoundError: no REVIDE is there, or a clip or a frame is missing.
    ValueError: other numbers than the official ones, pairs that do not match,
      or a damaged frame.
  """
  found = {}
  for split, folder in _FOLDERS.items():
    roots = prepared.find_trees(
        source_path, folder, inner=("", "REVIDE_indoor")
    )
    if not roots:
      continue
    clean, hazy = (roots[0] / folder / side for side in ("gt", "hazy"))
    names = {
        clip.name
        for side in (clean, hazy) for clip in prepared.subfolders(side)
    }
    if split == "test" and not partial:
      names |= set(_TEST_FRAMES)
    wanted = [(name, clean / name, hazy / name) for name in sorted(names)]
    found[split] = prepared.pairs(wanted, (".jpg",), first=0)
  if not found:
    raise FileNotFoundError(
        f"Found no REVIDE in {source_path}: looked for Train/gt and Test/gt in"
        f" it and in REVIDE_indoor. Get it from {Revide.HOMEPAGE} and unpack"
        " it."
    )
  return prepared.prepare(Revide, found, data_dir, partial=partial)


def build(*, data_dir=None, split="train", length=5, stride=1):
  """The source for `data.build("revide", ...)`; prepared.build says more.

  Args:
    data_dir: as `prepare` was given.
    split: train or test.
    length: frames per window; None for one window per clip, all of it.
    stride: frames from one window's start to the next.
  """
  return prepared.build(
      Revide, data_dir=data_dir, split=split, length=length, stride=stride
  )
