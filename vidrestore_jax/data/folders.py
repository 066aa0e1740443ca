"""Folders of frames: PNG and JPEG, 8 and 16 bit, read exactly.

A clip is a folder of frame files; a data set is a folder of such folders.
Frames are in natural order, so that 10.png follows 9.png. Everything that is
wrong with a file raises ValueError (FileNotFoundError where nothing is there)
with one line that names it.
"""

import collections
import functools
import io
import pathlib
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vidrestore_jax.data.lazy import LazyClip

SUFFIXES = (".png", ".jpg", ".jpeg")

# Pillow's modes that are read. It has none for 16-bit colour, which it calls
# RGB or RGBA too: see `_depth`.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16B")


class CorruptRecord(ValueError):  # noqa: N818 - it names the record.
  """A frame, or a record that holds one, that is damaged or cut short.

  The message names it. Training skips and counts such records, or stops, as
  `config.data.on_corrupt` says; any other ValueError always stops it.
  """


# Finding


def find_clips(
    path, *, suffixes=SUFFIXES
) -> list[tuple[str, list[pathlib.Path]]]:
  """Clips under `path` as (name, frame paths), sorted, nothing decoded.

  Args:
    path: one clip's folder, or a folder of clip folders.
    suffixes: of the files that are frames, in lower case.

  Raises:
    FileNotFoundError: the folder is missing, or holds no frame.
    ValueError: the path is empty, frames lie beside clip folders, a clip
      folder holds no frame, or one frame is there in two formats.
  """
  if not str(path):  # pathlib takes it for the current folder.
    raise ValueError(
        "No folder of clips was named: the path is empty. Name one, or . for"
        " the current folder."
    )
  path = pathlib.Path(path).expanduser()
  if not path.exists():
    raise FileNotFoundError(
        f"No folder {path} (looked from {pathlib.Path.cwd()})."
    )
  if not path.is_dir():
    raise FileNotFoundError(
        f"{path} is a file; give the folder that holds the frames."
    )
  frames = _frames(path, suffixes)
  folders = [
      entry for entry in path.iterdir()
      if entry.is_dir() and not entry.name.startswith(".")
  ]
  folders.sort(key=natural)
  if frames:
    inner = [folder.name for folder in folders if _frames(folder, suffixes)]
    if inner:
      raise ValueError(
          f"{path} holds frames ({frames[0].name}, ...) beside folders of"
          f" frames ({inner[0]}, ...), so it is unclear what a clip is. Move"
          " either elsewhere."
      )
    return [(path.resolve().name, frames)]
  if not folders:
    raise FileNotFoundError(
        f"{path} holds no frame ({', '.join(suffixes)}) and no folder of"
        " frames."
    )
  clips = [(folder.name, _frames(folder, suffixes)) for folder in folders]
  empty = [name for name, found in clips if not found]
  if len(empty) == len(clips):
    raise FileNotFoundError(
        f"None of the {len(clips)} folders in {path} holds a frame"
        f" ({', '.join(suffixes)}); the first is {empty[0]}."
    )
  if empty:
    raise ValueError(
        f"{path / empty[0]} holds no frame ({', '.join(suffixes)}), while"
        f" other folders beside it do ({len(empty)} of {len(clips)} are"
        " empty). Fill it or remove it."
    )
  return clips


def _frames(folder: pathlib.Path, suffixes) -> list[pathlib.Path]:
  """Frame files of one folder in natural order."""
  # Hidden files are the file manager's (._00001.png), not frames.
  frames = [
      entry for entry in folder.iterdir()
      if entry.suffix.lower() in suffixes and not entry.name.startswith(".")
  ]
  frames.sort(key=natural)
  counts = collections.Counter(frame.stem for frame in frames)
  if frames and max(counts.values()) > 1:
    stem = counts.most_common(1)[0][0]
    names = sorted(frame.name for frame in frames if frame.stem == stem)
    raise ValueError(
        f"{folder} holds one frame twice: {' and '.join(names)}. Keep one."
    )
  return frames


def natural(path: pathlib.Path):
  """Sort key in which digits compare as numbers."""
  parts = re.split(r"(\d+)", path.name)
  return [(int(p), p) if i % 2 else (0, p) for i, p in enumerate(parts)]


def listed(path) -> list[str]:
  """Names of clips in a text file: the first word of each line."""
  lines = pathlib.Path(path).expanduser().read_text().splitlines()
  return [line.split()[0] for line in lines if line.strip()]


# Reading


def read_frames(paths: Sequence) -> tuple[np.ndarray, int]:
  """Decodes frames of one clip; `decode` says how.

  Args:
    paths: frame files, in order.

  Returns:
    Frames `[T, H, W, 3]` and the value of white: uint8 and 255, or uint16 and
    65535.

  Raises:
    ValueError: no paths, a file that is no image, is cut short or is of a
      kind that is not supported, or frames that differ in size or depth.
    FileNotFoundError: a file is missing.
  """
  if not paths:
    raise ValueError("read_frames needs at least one path, but got none.")
  frames = [decode(pathlib.Path(path).read_bytes(), path) for path in paths]
  _check_alike([(p, _layout_of(f)) for p, f in zip(paths, frames)])
  return np.stack(frames), int(np.iinfo(frames[0].dtype).max)


def decode(encoded: bytes, name, box=None) -> np.ndarray:
  """Pixels of an encoded PNG or JPEG: uint8 or uint16 `[H, W, 3]`.

  Greyscale becomes three equal channels. An alpha channel is dropped where it
  is opaque everywhere and refused elsewhere: what lies behind a transparent
  pixel is unknown, so its colour cannot be restored.

  Args:
    encoded: the file's content.
    name: what errors call it.
    box: (top, bottom, left, right) of the part to return; None is all. The
      file is decoded, and so checked, to its end; but to copy the pixels of a
      whole frame takes as long as to decode them from JPEG.

  Raises:
    ValueError: the bytes are no image, are cut short, or are of a kind that
      is not supported, or hold less than the box.
  """
  pixels = decode_native(encoded, name, box)
  return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def decode_native(encoded: bytes, name, box=None) -> np.ndarray:
  """`decode`, but greyscale stays one channel: `[H, W, 1]` or `[H, W, 3]`."""
  with _open(encoded, name) as image:
    _check_mode(image, name)
    if box is not None and (box[1] > image.height or box[3] > image.width):
      raise ValueError(
          f"{name} is {image.width}x{image.height}, but rows to {box[1]} and"
          f" columns to {box[3]} of it are asked for. It has changed since it"
          " was looked at."
      )
    try:
      pixels = _pixels(image, encoded, box)
    except (OSError, SyntaxError, EOFError) as error:
      raise _cut_short(name, error, encoded) from error
  channels = pixels.shape[-1]
  if channels in (2, 4):
    alpha, pixels = pixels[..., -1], pixels[..., :-1]
    if (alpha != np.iinfo(alpha.dtype).max).any():
      raise ValueError(
          f"{name} has transparent pixels, so its colours are not known"
          " everywhere. Flatten it onto a background first."
      )
  return np.ascontiguousarray(pixels)


def check(encoded: bytes, name) -> tuple[int, int, int]:
  """Makes sure, before a frame is kept, that it can be read later.

  A PNG's checksums are compared and its pixels decoded; of a JPEG, which has
  none, the entropy code is read, the pixels only at an eighth of the size.

  Args:
    encoded: the file's content.
    name: what errors call it.

  Returns:
    Width, height and bits per channel.

  Raises:
    ValueError: as `decode`.
  """
  with _open(encoded, name) as image:
    layout = *image.size, _depth(image)
    jpeg = image.format == "JPEG"
    try:
      if jpeg:
        _check_mode(image, name)
        image.draft(None, (max(layout[0] // 8, 1), max(layout[1] // 8, 1)))
        image.load()
      else:
        image.verify()
    except (OSError, SyntaxError, EOFError) as error:
      raise _cut_short(name, error, encoded) from error
  if not jpeg:
    decode_native(encoded, name)
  return layout


def _check_mode(image, name):
  if image.mode not in _MODES:
    raise ValueError(
        f"{name} has Pillow mode {image.mode}; frames are greyscale or RGB,"
        " 8 or 16 bit. Convert it first."
    )


def _cut_short(name, error, encoded):
  return CorruptRecord(
      f"{name} is damaged, cut short or of no known kind: {error}"
      f" ({len(encoded)} bytes). Copy it again or remove it."
  )


def _open(source, name) -> Image.Image:
  """Reads the header only; `source` is a path or the file's bytes."""
  try:
    if isinstance(source, bytes):
      source = io.BytesIO(source)
    return Image.open(source, formats=("PNG", "JPEG"))
  except Image.DecompressionBombError as error:
    raise too_large(name) from error
  except (Image.UnidentifiedImageError, SyntaxError, EOFError) as error:
    raise CorruptRecord(
        f"{name} is not a PNG or JPEG image, or its first bytes are damaged."
        " Copy it again or remove it."
    ) from error
  except OSError as error:
    if isinstance(error, FileNotFoundError | PermissionError):
      raise
    raise CorruptRecord(f"{name} is damaged or cut short: {error}.") from error


def too_large(name) -> CorruptRecord:
  """What to raise where Pillow refuses the size that a header declares."""
  return CorruptRecord(
      f"{name} declares more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels, which"
      " is no frame of a video: it is damaged, or scale it down first."
  )


def _pixels(image, encoded, box=None):
  """Decodes to `[H, W, C]` with 1 to 4 channels, the last of 2 or 4 alpha."""
  top, bottom, left, right = box or (0, image.height, 0, image.width)
  part = slice(top, bottom), slice(left, right)
  transparency = "transparency" in image.info  # A colour, or a palette's.
  if _depth(image) == 16:
    if transparency:
      raise OSError("16 bit with a transparent colour is not supported")
    if image.mode.startswith("I;16"):
      pixels = np.asarray(image)[part]
      return pixels.astype(np.uint16)[..., None]  # Native order.
    return _both_bytes(image, encoded)[part]
  if transparency or image.mode == "PA":
    image = image.convert("RGBA")
  elif image.mode in ("1", "P"):
    image = image.convert("L" if image.mode == "1" else "RGB")
  if box is not None:
    image = image.crop((left, top, right, bottom))
  pixels = np.asarray(image)
  return pixels if pixels.ndim == 3 else pixels[..., None]


def _depth(image) -> int:
  """Bits per channel of an image that is not yet decoded: 8 or 16."""
  layout = image.tile[0].args if image.tile else ""
  deep = isinstance(layout, str) and layout.endswith(";16B")
  return 16 if deep or image.mode.startswith("I;16") else 8


def _both_bytes(image, encoded):
  """16-bit colour PNG as uint16 `[H, W, C]`.

  Pillow keeps the high byte of each 16-bit colour sample. Which one that is
  follows from the layout that its decoder is told; told that the file is
  little-endian, which no PNG is, it keeps the low byte. So decode twice.
  """
  layout = image.tile[0].args
  if layout == "LA;16B":
    raise OSError("16-bit greyscale with alpha is not supported")
  low = Image.open(io.BytesIO(encoded))
  low.tile = [low.tile[0]._replace(args=layout.replace(";16B", ";16L"))]
  return np.asarray(image).astype(np.uint16) << 8 | np.asarray(low)


# Checking


def _layout_of(frame):
  return frame.shape[1], frame.shape[0], 8 * frame.dtype.itemsize


def header(source, name) -> tuple[int, int, int]:
  """Width, height and bits per channel of a frame; its pixels are not decoded.

  Args:
    source: a path, or the file's content.
    name: what errors call it.

  Raises:
    ValueError: it is no PNG or JPEG.
  """
  with _open(source, name) as image:
    return *image.size, _depth(image)


def _header(path):
  return header(path, path)


def _check_alike(layouts):
  """Raises unless all (path, (width, height, depth)) agree with the first."""
  first, (width, height, depth) = layouts[0]
  for path, (w, h, d) in layouts[1:]:
    if (w, h) != (width, height):
      raise ValueError(
          f"{path} is {w}x{h}, but {pathlib.Path(first).name} of the same"
          f" clip is {width}x{height}. The frames of a clip need one size."
      )
    if d != depth:
      raise ValueError(
          f"{path} has {d} bits per channel, but {pathlib.Path(first).name} of"
          f" the same clip has {depth}. The frames of a clip need one depth."
      )


def check_pairs(clean, degraded, clean_path, degraded_path):
  """Pairs clips by folder name and their frames by stem.

  Args:
    clean: clips as `find_clips` returns them.
    degraded: the same. A single clip and a single clean one are paired
      whatever their folders are called.
    clean_path: what errors call the first.
    degraded_path: what errors call the second.

  Returns:
    `[(name, clean paths, degraded paths)]`, names and order as in `clean`.

  Raises:
    ValueError: a clip or frame without partner, or of another size or depth.
  """
  pairs = pair(clean, degraded, clean_path, degraded_path)
  for name, *sides in pairs:
    layouts = [_header(frames[0]) for frames in sides]
    _check_pair(name, *layouts, clean_path, degraded_path)
  return pairs


def pair(clean, degraded, clean_path, degraded_path):
  """`check_pairs`, but without a look into the files."""
  ours, theirs = dict(clean), dict(degraded)
  if len(ours) == len(theirs) == 1:  # Two single clips: names may differ.
    theirs = dict(zip(ours, theirs.values()))
  for one, other, path in (
      (ours, theirs, degraded_path), (theirs, ours, clean_path),
  ):
    lonely = [name for name in one if name not in other]
    if lonely:
      raise ValueError(
          f"Clip {lonely[0]} has no partner in {path} ({len(lonely)} of"
          f" {len(one)} clips have none). Clean and degraded clips need the"
          " same folder names."
      )
  for name, frames in ours.items():
    stems = {frame.stem for frame in frames}
    others = {frame.stem for frame in theirs[name]}
    if stems != others:
      odd = min(stems ^ others, key=lambda stem: natural(pathlib.Path(stem)))
      holder = "clean" if odd in stems else "degraded"
      raise ValueError(
          f"Frame {odd} of clip {name} exists only among the {holder} frames"
          f" ({len(stems)} clean, {len(others)} degraded). Pairs need the same"
          " file names, apart from the suffix."
      )
    partners = {frame.stem: frame for frame in theirs[name]}
    theirs[name] = [partners[frame.stem] for frame in frames]
  return [(name, frames, theirs[name]) for name, frames in ours.items()]


def _check_pair(name, clean, degraded, clean_path, degraded_path):
  """ValueError unless the layouts of a pair are one."""
  if clean != degraded:
    texts = ["{}x{} with {} bits".format(*side) for side in (clean, degraded)]
    raise ValueError(
        f"Clip {name} is {texts[0]} in {clean_path}, but {texts[1]} in"
        f" {degraded_path}. Pairs need one size and depth."
    )


# The source


def _read_patch(paths, first, end, box):
  """Frames first .. end - 1, cut to a box."""
  return np.stack([
      decode(path.read_bytes(), path, box) for path in paths[first:end]
  ])


class FolderClips:
  """Windows of `length` frames from a folder of clips, or of pairs.

  The headers of all frames are read once, here, so that a frame of another
  size is found now and not at step 70,000; pixels are decoded only for the
  frames that a window needs. A window with a frame that cannot be read raises
  CorruptRecord when it is asked for, also where that was found here.

  Attributes:
    damaged: what is wrong with each frame whose header cannot be read.
    names, frame_counts: of the clips.
    layouts: "WIDTHxHEIGHT, DEPTH bit" -> number of files, degraded ones too.
    partial: False; nothing says what the whole would be.
    clips: `[(name, clean paths, degraded paths or None)]`.
    windows: `[(clip, first frame)]`, one per index.
  """

  def __init__(self, clean, degraded=None, *, length=5, stride=1):
    for name, given in (("length", length), ("stride", stride)):
      if given is not None and given < 1:
        raise ValueError(f"{name} needs to be at least 1, but is {given}.")
    found = find_clips(clean)
    if degraded is None:
      self.clips = [(name, frames, None) for name, frames in found]
    else:
      self.clips = pair(found, find_clips(degraded), clean, degraded)
    self.layouts, self.partial = collections.Counter(), False
    self.damaged, self._sizes = [], []
    for name, *sides in self.clips:
      layouts = [
          self._look(name, frames, length)
          for frames in sides if frames is not None
      ]
      if degraded is not None and None not in layouts:
        _check_pair(name, *layouts, clean, degraded)
      self._sizes.append(layouts[0])
    if not self.layouts:  # Nothing can be read.
      raise CorruptRecord(self.damaged[0])
    self.names = [name for name, _, _ in self.clips]
    self.frame_counts = [len(frames) for _, frames, _ in self.clips]
    self.length = length
    self.windows = [
        (clip, start)
        for clip, (_, frames, _) in enumerate(self.clips)
        for start in (
            range(0, len(frames) - length + 1, stride) if length else (0,)
        )
    ]
    self._given = f"clean={str(clean)!r}"
    if degraded is not None:
      self._given += f", degraded={str(degraded)!r}"
    self._given += f", length={length}, stride={stride}"

  def _look(self, name, frames, length):
    """The one layout of frames that can be read, or None where none can."""
    _check_length(name, frames, length)
    found = []
    for frame in frames:
      try:
        found.append((frame, _header(frame)))
      except CorruptRecord as error:
        self.damaged.append(str(error))
    if not found:
      return None
    _check_alike(found)
    width, height, depth = layout = found[0][1]
    self.layouts[f"{width}x{height}, {depth} bit"] += len(found)
    return layout

  def __len__(self) -> int:
    return len(self.windows)

  def __repr__(self) -> str:
    return f"FolderClips({self._given})"

  def __getitem__(self, index) -> dict:
    """Window `index`: `clean` (and `degraded`) `[T, H, W, 3]`."""
    clip, start = self.windows[index]
    name, clean, _ = self.clips[clip]
    times = range(start, start + (self.length or len(clean)))
    if self.length is not None:
      name += f"/{clean[start].stem}"
    return dict(self.frames(clip, times), name=name)

  def open(self, index) -> dict:
    """As `self[index]`, but with `LazyClip`s."""
    clip, start = self.windows[index]
    name, *sides = self.clips[clip]
    if self._sizes[clip] is None:  # Raises what it raised before.
      self._sizes[clip] = _header(sides[0][start])
    width, height, depth = self._sizes[clip]
    shape = (self.length or len(sides[0]), height, width, 3)
    example = {
        key: LazyClip(
            functools.partial(_read_patch, paths), shape, f"uint{depth}", start
        )
        for key, paths in zip(("clean", "degraded"), sides)
        if paths is not None
    }
    white = int(np.iinfo(f"uint{depth}").max)
    if self.length is not None:
      name += f"/{sides[0][start].stem}"
    return dict(example, max_value=white, name=name)

  def frames(self, clip: int, times) -> dict:
    """Any frames of a clip, by their numbers, as an item without name."""
    _, clean, degraded = self.clips[clip]
    frames, max_value = read_frames([clean[t] for t in times])
    example = dict(clean=frames, max_value=max_value)
    if degraded is not None:
      example["degraded"], _ = read_frames([degraded[t] for t in times])
    return example


def _check_length(name, frames, length):
  if length is not None and len(frames) < length:
    raise ValueError(
        f"Clip {name} in {frames[0].parent.parent} has {len(frames)} frames,"
        f" but clips of length {length} are asked for. Remove it or lower the"
        " length."
    )


def build(clean, degraded=None, *, length=5, stride=1) -> FolderClips:
  """The source for `data.build("folders", ...)`.

  Args:
    clean: one clip's folder or a folder of clip folders.
    degraded: the same, with the same names, for paired data.
    length: frames per window; None for one window per clip, all of it.
    stride: frames from one window's start to the next.

  Raises:
    FileNotFoundError: a folder is missing or holds no frames.
    ValueError: frames or clips that do not fit together; the message names
      the first.
  """
  return FolderClips(clean, degraded, length=length, stride=stride)
