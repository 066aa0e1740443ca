"""Vid4: calendar, city, foliage and walk -> array_record.

Data card
  What: the test set of video super-resolution: 41, 34, 49 and 47 frames of
    720x576, 704x576, 720x480 and 720x480, 8-bit PNG. Only the ground truth is
    stored: low resolution follows from it (`vidrestore_jax.degradations`).
  Source: Liu and Sun, On Bayesian Adaptive Video Super Resolution, TPAMI 2014.
  Licence: none is stated; in use for research since 2011.
  Splits: test, 4 sequences, 171 frames.
  Get it: Vid4.zip from the link in github.com/open-mmlab/mmagic,
    tools/dataset_converters/vid4/README.md. Unpacked or not, then type
      vidrestore data prepare vid4 --from=FOLDER_OR_ZIP
  Layout read: GT/<name>/*.png with the numbers and sizes above, as that README
    has it; also without GT/, as github.com/XPixelGroup/BasicSR,
    basicsr/data/video_test_dataset.py, takes any root of such folders.
"""

import pathlib

from vidrestore_jax.data import prepared

_FRAMES = {"calendar": 41, "city": 34, "foliage": 49, "walk": 47}
_SIZES = {
    "calendar": (720, 576),
    "city": (704, 576),
    "foliage": (720, 480),
    "walk": (720, 480),
}


class Vid4(prepared.Dataset):
  """Vid4; see the module's data card."""

  TITLE = "Vid4"
  HOMEPAGE = "https://github.com/open-mmlab/mmagic"
  SPLITS = {
      "test": prepared.Split(
          sequences=4, frames=_FRAMES, size=_SIZES, archive="Vid4.zip"
      )
  }


def prepare(source_path, data_dir=None, *, partial=False) -> dict[str, int]:
  """Writes the truth of Vid4 under `source_path`; see prepared.prepare.

  Args:
    source_path: a folder or zip archive with GT/<name>/*.png or <name>/*.png.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept fewer sequences, other numbers of frames and other sizes.

  Returns:
    {"test": number of sequences}.

  Raises:
    FileNotFoundError: no Vid4 is there, or a sequence is missing.
    ValueError: other numbers or sizes, or a damaged frame.
  """
  path = pathlib.Path(source_path).expanduser()
  inner = ("GT", "Vid4/GT", "", "Vid4")
  trees = [
      tree for name in _FRAMES
      for tree in prepared.find_trees(
          path, name, archives=("Vid4.zip",), inner=inner
      )
  ]
  if not trees:
    raise FileNotFoundError(
        f"Found no Vid4 in {path}: looked for GT/{', GT/'.join(_FRAMES)}. Get"
        f" Vid4.zip by the links of {Vid4.HOMEPAGE}."
    )
  sequences = [
      prepared.Sequence(name, prepared.numbered_frames(trees[0] / name))
      for name in _FRAMES
      if not partial or (trees[0] / name).is_dir()
  ]
  return prepared.prepare(Vid4, {"test": sequences}, data_dir, partial=partial)


def build(
    *, data_dir=None, split="test", length=5, stride=1
) -> prepared.PreparedClips:
  """The source for `data.build("vid4", ...)`; see prepared.build.

  Args:
    data_dir: as `prepare` was given.
    split: test.
    length: frames per window; None for one window per sequence, all of it.
    stride: frames from one window's start to the next.
  """
  return prepared.build(
      Vid4, data_dir=data_dir, split=split, length=length, stride=stride
  )
