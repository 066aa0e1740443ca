"""Finding the authors' files, unpacked or in a zip archive."""

import itertools
import pathlib
import re
import zipfile

from vidrestore_jax.data import folders
from vidrestore_jax.data.prepared.dataset import PARTIAL, Sequence


def find_trees(path, marker: str, *, archives=(), inner=("",)) -> list:
  """Folders that hold `marker`, in `path` and in the zip archives there.

  Args:
    path: a folder, or a zip archive.
    marker: what a tree is known by: the path of a file or folder in it; ""
      takes any folder.
    archives: names of zip archives that are looked into where they lie in the
      folder `path`.
    inner: folders below `path`, or below an archive's root, that may be the
      tree; "" is the root itself.

  Returns:
    Trees, unpacked ones first, each a pathlib.Path or a zipfile.Path.

  Raises:
    FileNotFoundError: there is no such path.
    ValueError: a file that is no whole zip archive.
  """
  path = pathlib.Path(path).expanduser()
  if not path.exists():
    raise FileNotFoundError(f"No file or folder {path}.")
  if path.is_file():
    roots = [_archive(path)]
  else:
    present = [path / name for name in archives if (path / name).is_file()]
    roots = [path, *map(_archive, present)]
  trees = [root / name if name else root for root in roots for name in inner]
  # The root of an archive is a folder, but "exists" only below it.
  return [
      tree for tree in trees
      if ((tree / marker).exists() if marker else tree.is_dir())
  ]


def _archive(path):
  try:
    return zipfile.Path(path)
  except zipfile.BadZipFile as error:
    raise ValueError(
        f"{path} is not a whole zip archive ({error}). Download it again, or"
        " unpack it and name the folder."
    ) from error


def frames(folder, suffixes=(".png",)) -> list:
  """Frame files of a folder in natural order: 10.png follows 9.png.

  Args:
    folder: a pathlib.Path or a zipfile.Path.
    suffixes: of frame files, in lower case.

  Raises:
    FileNotFoundError: the folder is missing or holds no frame.
  """
  found = [
      entry for entry in (folder.iterdir() if folder.is_dir() else ())
      if entry.name.lower().endswith(tuple(suffixes))
      and not entry.name.startswith(".")  # The file manager's: ._0001.png.
  ]
  if not found:
    raise FileNotFoundError(
        f"{folder} holds no frame ({', '.join(suffixes)}). The copy is"
        " incomplete: unpack or download it again."
    )
  return sorted(found, key=folders.natural)


def numbered_frames(folder, suffixes=(".png",), *, first=None) -> list:
  """Frame files of a folder by the number that ends their names, all of them.

  Args:
    folder: a pathlib.Path or a zipfile.Path.
    suffixes: of frame files, in lower case.
    first: number of the first frame; None takes the lowest there is.

  Raises:
    FileNotFoundError: the folder is missing or holds no frame, or the numbers
      have a gap.
    ValueError: a frame without number, or one that is there twice.
  """
  numbers = {}
  for file in frames(folder, suffixes):
    digits = re.search(r"[0-9]+$", file.name.rpartition(".")[0])
    if not digits:
      raise ValueError(
          f"{file} has no number at the end of its name, as frames have. Remove"
          " it, or get the official files."
      )
    _add(numbers, int(digits[0]), file)
  _check_gap(folder, numbers, min(numbers) if first is None else first)
  return [numbers[number] for number in sorted(numbers)]


def subfolders(folder) -> list:
  """Folders in a folder, in natural order, hidden ones left out."""
  found = [
      entry for entry in (folder.iterdir() if folder.is_dir() else ())
      if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
  ]
  return sorted(found, key=folders.natural)


def paired(clean, degraded, key=lambda file: file.name.rpartition(".")[0]):
  """`degraded` in the order of `clean`, one for each.

  Args:
    clean, degraded: frame files.
    key: what a file and its partner have in common; by default the name
      without suffix.

  Raises:
    ValueError: a file without partner; names it.
  """
  ours, theirs = {key(f): f for f in clean}, {key(f): f for f in degraded}
  for one, other, there in (
      (ours, theirs, degraded), (theirs, ours, clean)
  ):
    lonely = [file for k, file in one.items() if k not in other]
    if lonely:
      where = there[0].parent if there else "the other folder"
      raise ValueError(
          f"{lonely[0]} has no partner in {where} ({len(clean)} clean,"
          f" {len(degraded)} degraded frames). The copy is incomplete: unpack"
          " or download it again."
      )
  return [theirs[key(file)] for file in clean]


def pairs(
    wanted, suffixes, *, first, optional=(), prefixes=("", "")
) -> list[Sequence]:
  """Pairs of folders whose frames are numbered without a gap.

  Args:
    wanted: (name, folder of clean frames, folder of degraded ones) of each
      sequence; the two may be one folder.
    suffixes: of frame files, in lower case.
    first: number of a folder's first frame.
    optional: names that may be missing altogether.
    prefixes: before the number, of clean and of degraded frames.

  Returns:
    The sequences that are there, with one degraded take each.

  Raises:
    FileNotFoundError: a folder is missing or holds no frame, or the numbers
      have a gap.
    ValueError: a frame without partner, or one that is there twice.
  """
  sequences = []
  for name, clean, degraded in wanted:
    missing = [folder for folder in (clean, degraded) if not folder.is_dir()]
    if name in optional and len(missing) == 2:
      continue
    if missing:
      raise FileNotFoundError(
          f"{missing[0]} holds no frame ({', '.join(suffixes)}). {PARTIAL}"
      )
    ours, theirs = (
        _numbered(folder, suffixes, first, prefix)
        for folder, prefix in zip((clean, degraded), prefixes)
    )
    number = {file: n for n, file in [*ours.items(), *theirs.items()]}
    partners = paired(list(ours.values()), list(theirs.values()), number.get)
    for folder, numbered in ((clean, ours), (degraded, theirs)):
      _check_gap(folder, numbered, first)
    sequences.append(Sequence(name, list(ours.values()), [partners]))
  return sequences


def _numbered(folder, suffixes, first, prefix):
  """Frame files of a folder by their number, in order."""
  numbered = {}
  for file in frames(folder, suffixes):
    number = file.name.rpartition(".")[0].removeprefix(prefix)
    if file.name.startswith(prefix) and number.isdecimal():
      _add(numbered, int(number), file)
  if not numbered:
    raise FileNotFoundError(
        f"{folder} holds no frame {prefix}{first}{suffixes[0]} or the like."
        " The copy is incomplete: unpack or download it again."
    )
  return numbered


def _add(numbered, number, file):
  if number in numbered:
    raise ValueError(
        f"{file.parent} holds frame {number} twice: {numbered[number].name} and"
        f" {file.name}. Keep one."
    )
  numbered[number] = file


def _check_gap(folder, numbered, first):
  """FileNotFoundError unless no number is missing from `first` to the last."""
  # Counting stops at the gap: a date for a number is no list of its size.
  missing = next(n for n in itertools.count(first) if n not in numbered)
  if missing < max(numbered):
    raise FileNotFoundError(
        f"{folder} lacks frame {missing} (it has {min(numbered)} to"
        f" {max(numbered)}). Unpack or download it again."
    )
