"""Lists of clips that a data set is divided into, such as Vimeo-90K's thirds.

A list is a text file; each line starts with the name of a clip, which is its
folder's place in the data set: `00001/0266`. What else a line holds is not
read. The fast, medium and slow thirds of Vimeo-90K's test set (1,225, 4,977 and
1,613 clips) are meta_info_Vimeo90K_test_{fast,medium,slow}_GT.txt of
github.com/XPixelGroup/BasicSR, basicsr/data/meta_info.
"""

import pathlib
from collections.abc import Iterator

from vidrestore_jax.data import folders


def read(text: str) -> dict[str, list[str]]:
  """The clips of each list of "fast=FILE,slow=FILE", in the files' order.

  Raises:
    FileNotFoundError: a list is not there.
    ValueError: another text, a list without clips, or a clip in two places.
  """
  lists, places = {}, {}
  for part in text.split(","):
    name, equals, path = part.partition("=")
    if not (name and equals and path) or name in lists:
      raise ValueError(
          f"--lists is NAME=FILE[,NAME=FILE...], each name once, but got"
          f" {text!r}."
      )
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
      raise FileNotFoundError(f"--lists names {path}, which is no file.")
    lists[name] = folders.listed(path)
    if not lists[name]:
      raise ValueError(f"The list {path} names no clip.")
    for clip in lists[name]:
      if clip in places:
        raise ValueError(
            f"Clip {clip} is listed twice, in {places[clip]} and in {path}. It"
            " would count twice in the mean; take it out of one."
        )
      places[clip] = path
  return lists


def find(data, lists: dict[str, list[str]]) -> list[tuple[str, list]]:
  """The listed clips as (name, frame paths), list by list, nothing decoded.

  Args:
    data: the folder that names are places in; where it has a folder
      `sequences`, as Vimeo-90K's archive does, that one.
    lists: as `read` returns them.

  Raises:
    FileNotFoundError: a listed clip is not there.
    ValueError: as `folders.find_clips`.
  """
  root = pathlib.Path(data).expanduser()
  if (root / "sequences").is_dir():
    root /= "sequences"
  found = []
  for name, clips in lists.items():
    for clip in clips:
      if not (root / clip).is_dir():
        raise FileNotFoundError(
            f"The list {name} names clip {clip}, but there is no folder"
            f" {root / clip}. The copy is incomplete, or --data is another set."
        )
      ((_, frames),) = folders.find_clips(root / clip)
      found.append((clip, frames))
  return found


def clips(found) -> Iterator[dict]:
  """What `find` found as a source's items, read one at a time."""
  for name, paths in found:
    clean, max_value = folders.read_frames(paths)
    yield dict(name=name, clean=clean, max_value=max_value)
