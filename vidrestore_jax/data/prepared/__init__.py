"""What the prepared data sets share: checks, array_record, and reading it.

A set is a file in data/builders/. It finds the authors' files and says what
they should be; here they are checked, written and read.

  class Set8(prepared.Dataset):
    SPLITS = {"test": prepared.Split(sequences=8, size=(960, 540))}
    ...

On disk a set is a TFDS data set in array_record. Each record is one frame: the
bytes of the authors' own file, and its name. A sequence's frames follow one
another, first the clean ones, then each degraded take; the index of the
sequences is in the set's metadata.json. So opening a set reads no record, and
a clip costs its own frames, however long the sequence is. (With a sequence per
record, five frames of REDS would read a hundred.)
"""

from vidrestore_jax.data.prepared.dataset import Dataset, Sequence, Split
from vidrestore_jax.data.prepared.finding import (
    find_trees,
    frames,
    numbered_frames,
    paired,
    pairs,
    subfolders,
)
from vidrestore_jax.data.prepared.reading import PreparedClips, build
from vidrestore_jax.data.prepared.writing import prepare

__all__ = [
    "Dataset",
    "PreparedClips",
    "Sequence",
    "Split",
    "build",
    "find_trees",
    "frames",
    "numbered_frames",
    "paired",
    "pairs",
    "prepare",
    "subfolders",
]
