"""RainSynComplex25: heavy rain streaks on real videos -> array_record.

Data card
  What: clips of natural videos with heavy rain added: streaks from a
    probabilistic model, sharp line streaks and sparkle noise. Training clips
    of 9 frames, test clips of 31; 8-bit, PNG or JPEG.
  Source: Liu, Yang, Yang and Guo, Erase or Fill? Deep Joint Recurrent Rain
    Removal and Reconstruction in Videos, CVPR 2018;
    github.com/flyywh/J4RNet-Deep-Video-Deraining-CVPR-2018.
  Licence: none is stated; offered for research, with the paper cited.
  Splits: train 190 pairs; test 25 pairs in one release and 33 in the other
    (see the layouts). Which of the two a paper measured is seldom said.
  Get it: from the link in the repository. Unpack it, then type
      vidrestore data prepare rainsyncomplex25 --from=FOLDER
  Layout read: one of the two that the archive was released in,
    video_rain_heavy/{train,test}/{input,processed}/<clip>/1.png, test clips 1
      to 33 (github.com/sunshangquan/RTRWNet,
      lists/rainsyncomplex25_{train,test}.txt; the truth may be called gt), or
    frames_heavy_{train,test}_JPEG/<clip>/{rfc,gtc}-1.jpg, rainy and clean in
      colour, test clips 1 to 25 (github.com/HDCVLab/Enhanced-Spatio-Temporal-
      Interaction-Learning-for-Video-Deraining, scripts/gen_json_heavy.py and
      code/data/frames_heavy_{train,test}_JPEG_rgb.json; rf and gt are not
      read).
  Checked: every clip and its pair, numbers without a gap from 1, one size in a
    pair. Training clips 107, 108 and 119 may be missing, as in RTRWNet's
    lists, and test clips 26 to 33. Not checked: the numbers of frames, which
    are known of the second layout alone, and the sizes.
"""

from vidrestore_jax.data import prepared
from vidrestore_jax.data.builders import rainsynlight25

# Split -> (clips that it has, those of them that some releases lack).
_CLIPS = {
    "train": (range(1, 191), {107, 108, 119}),
    "test": (range(1, 34), set(range(26, 34))),
}


class RainSynComplex25(prepared.Dataset):
  """Pairs of RainSynComplex25; see the module's data card."""

  TITLE = "RainSynComplex25"
  HOMEPAGE = rainsynlight25.HOMEPAGE
  SPLITS = {
      split: prepared.Split(takes=1, archive="video_rain_heavy")
      for split in _CLIPS
  }


def prepare(source_path, data_dir=None, *, partial=False) -> dict[str, int]:
  """Writes the pairs that `source_path` holds; prepared.prepare says how.

  Args:
    source_path: the unpacked folder, or the one that holds it.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept that clips are missing.

  Returns:
    Split -> number of pairs, of the splits found.

  Raises:
    FileNotFoundError: no RainSynComplex25 is there, or a clip or a frame is
      missing.
    ValueError: pairs that do not match, or a damaged frame.
  """
  found = rainsynlight25.find(
      source_path, "heavy", RainSynComplex25.TITLE, _CLIPS, partial=partial
  )
  return prepared.prepare(RainSynComplex25, found, data_dir, partial=partial)


def build(*, data_dir=None, split="train", length=5, stride=1):
  """The source for `data.build("rainsyncomplex25", ...)`.

  Args:
    data_dir: as `prepare` was given.
    split: train or test.
    length: frames per window; None for one window per clip, all of it.
    stride: frames from one window's start to the next.
  """
  return prepared.build(
      RainSynComplex25, data_dir=data_dir, split=split, length=length,
      stride=stride,
  )
