"""RainSynAll100: streaks, accumulation and occlusion -> array_record.

Data card
  What: short clips of real videos (7 frames or so, of many sizes) onto which
    rain was rendered with all its factors: streaks, the veil of accumulated
    rain, and occlusion; 8-bit JPEG frames.
  Source: Yang, Liu and Feng, Frame-Consistent Recurrent Video Deraining with
    Dual-Level Flow, CVPR 2019; released with Yang, Tan, Feng, Wang and Liu,
    Recurrent Multi-Frame Deraining, TPAMI 2022;
    github.com/flyywh/Recurrent-Multi-Frame-Deraining.
  Licence: none is stated; offered for research, with the papers cited.
  Splits: train 899 pairs (0001 to 0899), test 100 pairs (0900 to 0999).
  Get it: the training and the testing set from the links in the repository.
    Unpack both into one folder, then type
      vidrestore data prepare rainsynall100 --from=FOLDER
    Either may be prepared without the other.
  Layout read: Video_rain_synthesis_{train,test}/{Rain_Haze,GT}/0001/1.jpg, as
    the archives unpack (github.com/StephenLockhart/FLAME, README.md and
    configs/flame/flame_rainsynall100haze.py), or the same below {train,test},
    as the authors' own loader has it (Recurrent_multi_frame_deraining_w_gan/
    datasets_multiple_haze.py; clips: lists/rain_removal_haze_train.txt and
    rain_removal_test.txt). The unpacked training set repeats the test clips:
    only the listed ones are read.
  Checked: every clip and its pair, numbers without a gap from 1, one size in a
    pair. Not checked, since it is not published: how many frames a clip has,
    and their sizes.

The rainy input is Rain_Haze, with which the authors train and test
(test_video_rain.py). The folders Rain, Haze, Alpha and Trans hold the factors
one by one; some later papers test on Rain alone, which is an easier task.
"""

import pathlib

from vidrestore_jax.data import prepared

_CLIPS = {
    "train": [f"{number:04d}" for number in range(1, 900)],
    "test": [f"{number:04d}" for number in range(900, 1000)],
}


class RainSynAll100(prepared.Dataset):
  """Pairs of RainSynAll100; see the module's data card."""

  TITLE = "RainSynAll100"
  HOMEPAGE = "https://github.com/flyywh/Recurrent-Multi-Frame-Deraining"
  SPLITS = {
      split: prepared.Split(
          sequences=len(clips), takes=1,
          archive=f"Video_rain_synthesis_{split}",
      )
      for split, clips in _CLIPS.items()
  }


def prepare(source_path, data_dir=None, *, partial=False) -> dict[str, int]:
  """Writes the pairs that `source_path` holds; prepared.prepare says how.

  Args:
    source_path: the folder that both archives were unpacked into, or one of
      the two folders that they unpack to.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept that clips are missing.

  Returns:
    Split -> number of pairs, of the splits found.

  Raises:
    FileNotFoundError: no RainSynAll100 is there, or a clip or a frame is
      missing.
    ValueError: pairs that do not match, or a damaged frame.
  """
  found = {}
  for split, names in _CLIPS.items():
    official = f"Video_rain_synthesis_{split}"
    roots = prepared.find_trees(
        source_path, "Rain_Haze", inner=(official, split)
    )
    if not roots and pathlib.Path(source_path).name in (official, split):
      roots = prepared.find_trees(source_path, "Rain_Haze")
    if roots:
      root = roots[0]
      wanted = [
          (name, root / "GT" / name, root / "Rain_Haze" / name)
          for name in names
      ]
      found[split] = prepared.pairs(
          wanted, (".jpg",), first=1, optional=names if partial else ()
      )
  if not found:
    raise FileNotFoundError(
        f"Found no RainSynAll100 in {source_path}: looked for"
        " Video_rain_synthesis_train/Rain_Haze, train/Rain_Haze and the like."
        f" Get it from {RainSynAll100.HOMEPAGE} and unpack it."
    )
  return prepared.prepare(RainSynAll100, found, data_dir, partial=partial)


def build(*, data_dir=None, split="train", length=5, stride=1):
  """The source for `data.build("rainsynall100", ...)`.

  Args:
    data_dir: as `prepare` was given.
    split: train or test.
    length: frames per window; None for one window per clip, all of it.
    stride: frames from one window's start to the next.
  """
  return prepared.build(
      RainSynAll100, data_dir=data_dir, split=split, length=length,
      stride=stride,
  )
