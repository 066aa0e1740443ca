"""NTU-Rain: rain rendered onto real videos -> array_record.

Data card
  What: street scenes from a slowly moving camera (group a), a fast one (group
    b) and for training (t), with rain made in Adobe After Effects; 8-bit JPEG
    frames (640x480 in a1), a hundred and more a clip (250 in b4).
  Source: Chen, Tan, Hou, Chau and Li, Robust Video Content Alignment and
    Compensation for Rain Removal in a CNN Framework, CVPR 2018,
    arXiv:1803.10433; github.com/hotndy/SPAC-SupplementaryMaterials.
  Licence: none is stated; the authors ask to cite the paper and After Effects.
  Splits: train 25 pairs (8 scenes with three rains each, t7 with four), test 8
    pairs. The real rain of the archive has no truth and is not read.
  Get it: clone the repository, unpack every .rar of Dataset_Training_Synthetic
    and Dataset_Testing_Synthetic where it lies, then type
      vidrestore data prepare nturain --from=SPAC-SupplementaryMaterials
  Layout read: Dataset_Training_Synthetic/{t1_Rain_01,t1_GT}/00001.jpg and
    Dataset_Testing_Synthetic/{a1_Rain,a1_GT}/00001.jpg, or these clip folders
    side by side in one folder. Frames: github.com/zsyOAOA/S2VD,
    makedata/preparedata_NTU.py; clips: github.com/sunshangquan/RTRWNet,
    lists/nturain_{train,test}.txt; the first number:
    github.com/flyywh/CVPR-2020-Self-Rain-Removal, SLDNet_code/
    test_video_rain.py.
  Checked: every clip and its pair, numbers without a gap from 1, one size and
    depth in a pair. Not checked, since it is not published in one place: how
    many frames a clip has, and their size.
"""

from vidrestore_jax.data import prepared

# t7 alone has a fourth rain.
_TRAIN = [
    (f"t{scene}_Rain_{rain:02d}", f"t{scene}_GT")
    for scene in range(1, 9)
    for rain in range(1, 5 if scene == 7 else 4)
]
_TEST = [
    (f"{group}{scene}_Rain", f"{group}{scene}_GT")
    for group in "ab" for scene in range(1, 5)
]
# Split -> (its folder in the authors' repository, its pairs).
_PAIRS = {
    "train": ("Dataset_Training_Synthetic", _TRAIN),
    "test": ("Dataset_Testing_Synthetic", _TEST),
}
_CLONE = "SPAC-SupplementaryMaterials"


class NtuRain(prepared.Dataset):
  """Pairs of NTU-Rain; see the module's data card."""

  TITLE = "NTU-Rain"
  HOMEPAGE = "https://github.com/hotndy/SPAC-SupplementaryMaterials"
  SPLITS = {
      "train": prepared.Split(sequences=25, takes=1, archive=_CLONE),
      "test": prepared.Split(sequences=8, takes=1, archive=_CLONE),
  }


def prepare(source_path, data_dir=None, *, partial=False) -> dict[str, int]:
  """Writes the pairs that `source_path` holds; prepared.prepare says how.

  Args:
    source_path: the repository's folder, or one with clip folders in it.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept that clips are missing.

  Returns:
    Split -> number of pairs, of the splits found.

  Raises:
    FileNotFoundError: no NTU-Rain is there, or a clip or a frame is missing.
    ValueError: pairs that do not match, or a damaged frame.
  """
  found = {}
  for split, (folder, pairs) in _PAIRS.items():
    for root in prepared.find_trees(source_path, "", inner=(folder, "")):
      wanted = [(rain, root / clean, root / rain) for rain, clean in pairs]
      if partial:  # Scenes have several rains, so that truths are no sign.
        wanted = [pair for pair in wanted if pair[2].is_dir()]
      if any(side.is_dir() for _, *sides in wanted for side in sides):
        found[split] = prepared.pairs(wanted, (".jpg",), first=1)
        break
  if not found:
    raise FileNotFoundError(
        f"Found no NTU-Rain in {source_path}: looked for"
        f" {_PAIRS['train'][0]}/t1_GT, {_PAIRS['test'][0]}/a1_GT and the like."
        f" Get them from {NtuRain.HOMEPAGE} and unpack the .rar archives."
    )
  return prepared.prepare(NtuRain, found, data_dir, partial=partial)


def build(*, data_dir=None, split="train", length=5, stride=1):
  """The source for `data.build("nturain", ...)`; prepared.build says more.

  Args:
    data_dir: as `prepare` was given.
    split: train or test.
    length: frames per window; None for one window per clip, all of it.
    stride: frames from one window's start to the next.
  """
  return prepared.build(
      NtuRain, data_dir=data_dir, split=split, length=length, stride=stride
  )
