"""Any folder of clips, clean or paired -> array_record.

Data card
  What: frames of your own, PNG or JPEG, 8 or 16 bit. `folders` reads the same
    without preparation; prepared, a million small files become a few large
    ones, which is what shared and network disks are fast with.
  Splits: named by `--split`; each is prepared by a call of its own, and
    `--name` tells one set from another.
  Get it: type
      vidrestore data prepare clip_folders --from=CLEAN --name=me --split=train
    and add --degraded=FOLDER for pairs.
  Layout read: a folder of folders of frames, or one folder of frames, with the
    same names below --degraded (vidrestore_jax/data/folders.py).
"""

import re

from vidrestore_jax.data import folders, prepared


class ClipFolders(prepared.Dataset):
  """Folders of frames; see the module's data card."""

  TITLE = "clip_folders"


def prepare(
    source_path, data_dir=None, *, partial=False, dataset="me", split="train",
    degraded=None,
) -> dict[str, int]:
  """Writes the clips under `source_path`; see prepared.prepare.

  Args:
    source_path: one clip's folder or a folder of clip folders.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: leave out clips that have no partner in `degraded`.
    dataset: name of the set; letters, digits and underscores.
    split: name of the split; the same.
    degraded: a folder laid out alike, for pairs.

  Returns:
    {split: number of clips}.

  Raises:
    FileNotFoundError: a folder is missing or holds no frames.
    ValueError: a name that is none, clips or frames that do not pair, a
      damaged frame, frames of different sizes in a clip.
  """
  clean = folders.find_clips(source_path)
  if degraded is None:
    found = [prepared.Sequence(clip, frames) for clip, frames in clean]
  else:
    other = folders.find_clips(degraded)
    if partial:
      theirs = {clip for clip, _ in other}
      ours = {clip for clip, _ in clean}
      clean = [pair for pair in clean if pair[0] in theirs]
      other = [pair for pair in other if pair[0] in ours]
      if not clean:
        raise ValueError(
            f"No clip of {source_path} has a partner in {degraded}. Clean and"
            " degraded clips need the same folder names."
        )
    found = [
        prepared.Sequence(clip, frames, [partners])
        for clip, frames, partners in folders.check_pairs(
            clean, other, source_path, degraded
        )
    ]
  counts = prepared.prepare(
      ClipFolders, {_key(dataset, split): found}, data_dir, partial=partial
  )
  return {split: counts[_key(dataset, split)]}


def build(
    *, data_dir=None, dataset="me", split="train", length=5, stride=1
) -> prepared.PreparedClips:
  """The source for `data.build("clip_folders", ...)`; see prepared.build.

  Args:
    data_dir, dataset, split: as `prepare` was given.
    length: frames per window; None for one window per clip, all of it.
    stride: frames from one window's start to the next.
  """
  return prepared.build(
      ClipFolders, data_dir=data_dir, split=_key(dataset, split), length=length,
      stride=stride, options=f" --name={dataset} --split={split}",
  )


def _key(dataset, split):
  """The split of ClipFolders that holds `split` of the set `dataset`."""
  for what, given in (("name of a set", dataset), ("name of a split", split)):
    if not re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", given):
      raise ValueError(
          f"The {what} is letters and digits, single underscores between them,"
          f" but got {given!r}."
      )
  return f"{dataset}__{split}"
