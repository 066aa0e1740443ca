"""RainSynLight25: light rain streaks on real videos -> array_record.

Data card
  What: clips of 9 frames of natural videos with light streaks from a
    probabilistic rain model added; 8-bit, PNG or JPEG.
  Source: Liu, Yang, Yang and Guo, Erase or Fill? Deep Joint Recurrent Rain
    Removal and Reconstruction in Videos, CVPR 2018;
    github.com/flyywh/J4RNet-Deep-Video-Deraining-CVPR-2018.
  Licence: none is stated; offered for research, with the paper cited.
  Splits: train 190 pairs, test 27 pairs (25 is in the name only).
  Get it: from the link in the repository. Unpack it, then type
      vidrestore data prepare rainsynlight25 --from=FOLDER
  Layout read: one of the two that the archive was released in,
    video_rain_light/{train,test}/{input,processed}/<clip>/1.png
      (github.com/sunshangquan/RTRWNet, lists/rainsynlight25_{train,test}.txt;
      the truth is called gt in github.com/HDCVLab/Enhanced-Spatio-Temporal-
      Interaction-Learning-for-Video-Deraining, scripts/gen_json_light.py and
      code/data/frames_light_{train,test}_PNG.json), or
    frames_light_{train,test}_JPEG/<clip>/{rfc,gtc}-1.jpg, rainy and clean in
      colour (scripts/gen_json_heavy.py there; rf and gt are not read).
  Checked: every clip and its pair, 9 frames each, numbers without a gap from
    1, one size in a pair. Training clip 153 may be missing: the lists of
    RTRWNet leave it out. Not checked, since it is not published: the sizes.
"""

from vidrestore_jax.data import prepared

HOMEPAGE = "https://github.com/flyywh/J4RNet-Deep-Video-Deraining-CVPR-2018"
# Split -> (clips that it has, those of them that some releases lack).
_CLIPS = {"train": (range(1, 191), {153}), "test": (range(1, 28), set())}


class RainSynLight25(prepared.Dataset):
  """Pairs of RainSynLight25; see the module's data card."""

  TITLE = "RainSynLight25"
  HOMEPAGE = HOMEPAGE
  SPLITS = {
      split: prepared.Split(frames=9, takes=1, archive="video_rain_light")
      for split in _CLIPS
  }


def find(source_path, kind, title, clips, *, partial):
  """Pairs of either set of this paper: split -> sequences.

  Args:
    source_path: as for `prepare`.
    kind: "light" or "heavy", as folders are called.
    title: of the set, which is looked into too.
    clips: split -> (numbers of its clips, those that may be missing).
    partial: whether all may be missing.

  Raises:
    FileNotFoundError: nothing is there, or a clip or a frame is missing.
    ValueError: a frame without partner.
  """
  inner = ("", f"video_rain_{kind}", title, f"{title}/video_rain_{kind}")
  found = {}
  for split, (numbers, lacking) in clips.items():
    names = [str(number) for number in numbers]
    optional = names if partial else {str(number) for number in lacking}
    folder = f"frames_{kind}_{split}_JPEG"
    roots = prepared.find_trees(source_path, f"{split}/input", inner=inner)
    if roots:
      rain = roots[0] / split / "input"
      truth = roots[0] / split / "processed"
      if not truth.is_dir():
        truth = roots[0] / split / "gt"
      wanted = [(name, truth / name, rain / name) for name in names]
      found[split] = prepared.pairs(
          wanted, (".png", ".jpg"), first=1, optional=optional
      )
      continue
    roots = prepared.find_trees(source_path, folder, inner=("", title))
    if roots:
      wanted = [
          (name, roots[0] / folder / name, roots[0] / folder / name)
          for name in names
      ]
      found[split] = prepared.pairs(
          wanted, (".jpg", ".png"), first=1, optional=optional,
          prefixes=("gtc-", "rfc-"),
      )
  if not found:
    raise FileNotFoundError(
        f"Found no {title} in {source_path}: looked for"
        f" video_rain_{kind}/train/input, frames_{kind}_train_JPEG and the"
        f" like. Get it from {HOMEPAGE} and unpack it."
    )
  return found


def prepare(source_path, data_dir=None, *, partial=False) -> dict[str, int]:
  """Writes the pairs that `source_path` holds; prepared.prepare says how.

  Args:
    source_path: the unpacked folder, or the one that holds it.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept that clips are missing, and other numbers of frames.

  Returns:
    Split -> number of pairs, of the splits found.

  Raises:
    FileNotFoundError: no RainSynLight25 is there, or a clip or a frame is
      missing.
    ValueError: other numbers than the official ones, pairs that do not match,
      or a damaged frame.
  """
  found = find(
      source_path, "light", RainSynLight25.TITLE, _CLIPS, partial=partial
  )
  return prepared.prepare(RainSynLight25, found, data_dir, partial=partial)


def build(*, data_dir=None, split="train", length=5, stride=1):
  """The source for `data.build("rainsynlight25", ...)`.

  Args:
    data_dir: as `prepare` was given.
    split: train or test.
    length: frames per window; None for one window per clip, all of it.
    stride: frames from one window's start to the next.
  """
  return prepared.build(
      RainSynLight25, data_dir=data_dir, split=split, length=length,
      stride=stride,
  )
