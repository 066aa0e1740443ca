"""Checking what was found, and writing it as a whole or not at all."""

import collections
import contextlib
import io
import itertools
import tempfile

import tensorflow_datasets as tfds

from vidrestore_jax.data.prepared.dataset import (
    ANY,
    PARTIAL,
    folder_of,
    home,
    index_of,
    official_of,
    part_of,
)


def prepare(
    dataset, found, data_dir=None, *, partial=False
) -> dict[str, int]:
  """Checks what was found and writes it; nothing half-written looks finished.

  What was prepared before is kept as it is, if it is of the same files: names,
  numbers and bytes are compared, but not contents.

  Args:
    dataset: the set's class.
    found: split -> sequences.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept other numbers and sizes than the official ones.

  Returns:
    Split -> number of sequences.

  Raises:
    ValueError: other numbers or sizes than the official ones, pairs that do
      not match, a damaged frame; or something else was prepared before.
  """
  for split, sequences in found.items():
    _check_split(dataset, split, sequences, partial)
  parts = {}
  for split, sequences in found.items():
    part = part_of(dataset, split)
    parts.setdefault(part, {})[split] = sequences
  for part, held in parts.items():
    folder = folder_of(dataset, part, data_dir)
    if (folder / "dataset_info.json").is_file():
      _check_same(dataset, folder, held)
      continue
    builder = dataset(
        found=held,
        partial=partial,
        config=tfds.core.BuilderConfig(
            name=part, version=dataset.VERSION, description=", ".join(held)
        ),
        data_dir=str(home(data_dir)),
        file_format="array_record",
    )
    with (
        tempfile.TemporaryDirectory() as downloads,
        # TFDS says that it downloads something of unknown size.
        contextlib.redirect_stdout(io.StringIO()),
        builder.progress,
    ):
      builder.download_and_prepare(download_dir=downloads)
  return {split: len(sequences) for split, sequences in found.items()}


def _check_split(dataset, split, sequences, partial):
  """Finds a wrong number before anything is written."""
  official = dataset.SPLITS.get(split, ANY)
  title = f"{split} of {dataset.TITLE}"
  if not sequences:
    raise FileNotFoundError(f"Found no sequence of {title}.")
  names = collections.Counter(s.name for s in sequences)
  name, count = names.most_common(1)[0]
  if count > 1:
    raise ValueError(f"{title} has {count} sequences called {name}.")
  if not partial and official.sequences not in (None, len(sequences)):
    raise ValueError(
        f"Found {len(sequences)} sequences of {title}, which has"
        f" {official.sequences}. {PARTIAL}"
    )
  for sequence in sequences:
    given = len(sequence.clean)
    expected = official_of(official.frames, sequence.name)
    where = sequence.clean[0].parent
    if not partial and expected not in (None, given):
      raise ValueError(
          f"{where} holds {given} frames, but sequence {sequence.name} of"
          f" {title} has {expected}. {PARTIAL}"
      )
    if not partial and official.takes not in (None, len(sequence.takes)):
      raise ValueError(
          f"Sequence {sequence.name} of {title} has {len(sequence.takes)}"
          f" degraded takes (clean frames: {where}), but officially"
          f" {official.takes}. {PARTIAL}"
      )
    for take in sequence.takes:
      if len(take) != given:
        raise ValueError(
            f"{take[0].parent if take else where} holds {len(take)} degraded"
            f" frames of sequence {sequence.name}, but {where} {given} clean"
            " ones. Pairs need the same number."
        )


def _check_same(dataset, folder, held):
  """ValueError unless `folder` was prepared from the same sequences."""
  metadata = tfds.builder_from_directory(str(folder)).info.metadata
  before = metadata["index"]
  for split, sequences in held.items():
    change = _change(split, before.get(split, {"names": []}), sequences)
    if change:
      raise ValueError(
          f"{folder} was prepared before from other files: {change}. Remove it"
          f" to prepare {dataset.TITLE} anew."
      )


def _change(split, before, sequences):
  """The first difference to the index `before`, in words; "" where none is."""
  now = index_of(sequences)
  names = itertools.zip_longest(before["names"], now["names"])
  for old, new in names:
    if old != new:
      return (
          f"{len(before['names'])} sequences in {split}, while"
          f" {len(sequences)} were found now; the first that differs is"
          f" {new or old}"
      )
  for i, name in enumerate(now["names"]):
    for key, unit in (
        ("frames", "frames"),
        ("takes", "degraded takes"),
        ("bytes", "bytes in its files"),
    ):
      if key in before and before[key][i] != now[key][i]:
        return (
            f"sequence {name} of {split} had {before[key][i]} {unit}, while"
            f" {now[key][i]} were found now"
        )
  return ""
