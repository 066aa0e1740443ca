"""Bayer mosaics in files: 16-bit greyscale PNG or TIFF, as CRVD has them.

Files hold the camera's digital numbers (DN): 12 bits in 16, GBRG, black 240
and white 4095. What is read is max(DN - 240, 0), so that black is 0 and white
3855; `vidrestore_jax.data.raw` says more.
"""

import io
import pathlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from vidrestore_jax.data import folders, raw

SUFFIXES = (".png", ".tif", ".tiff")


def decode(content: bytes, name) -> np.ndarray:
  """The mosaic `[H, W]` in a file, uint16, in DN as they are stored.

  Args:
    content: of the file, a TIFF or a PNG.
    name: what errors call it.

  Raises:
    ValueError: neither, one that is cut short, or not 12 bits in 16.
  """
  try:
    with Image.open(io.BytesIO(content), formats=("TIFF", "PNG")) as image:
      mosaic = np.asarray(image)
  except Image.DecompressionBombError as error:
    raise folders.too_large(name) from error
  except (OSError, SyntaxError, ValueError, TypeError, EOFError) as error:
    # Where a file is cut decides what Pillow finds wrong with it.
    cause = f": {error}" * (not isinstance(error, UnidentifiedImageError))
    raise folders.CorruptRecord(
        f"{name} is no TIFF or PNG, or damaged or cut short{cause}"
        f" ({len(content)} bytes). Unpack or download it again."
    ) from error
  if mosaic.ndim != 2 or mosaic.dtype.kind != "u" or mosaic.itemsize != 2:
    raise ValueError(
        f"{name} holds {mosaic.dtype} {mosaic.shape}, but a mosaic is greyscale"
        " of 16 bits. Get the original files."
    )
  if mosaic.max() > raw.WHITE:
    raise ValueError(
        f"{name} holds the value {mosaic.max()}, but the white level is"
        f" {raw.WHITE}. Get the original files, not a scaled copy."
    )
  return mosaic


def above_black(mosaic) -> np.ndarray:
  """DN above the black level, at least 0, of the same shape and type."""
  return np.maximum(mosaic, raw.BLACK) - np.uint16(raw.BLACK)


def find_clips(path) -> list[tuple[str, list[pathlib.Path]]]:
  """`folders.find_clips` for files of mosaics."""
  return folders.find_clips(path, suffixes=SUFFIXES)


def read(paths) -> np.ndarray:
  """A clip of mosaics, `[T, H, W, 1]` uint16, black 0 and white 3855.

  Args:
    paths: its files, in order.

  Raises:
    ValueError: as `decode`, or files of different sizes or of odd sides.
  """
  clip = []
  for path in paths:
    clip.append(decode(pathlib.Path(path).read_bytes(), path))
    height, width = clip[-1].shape
    if clip[-1].shape != clip[0].shape or height % 2 or width % 2:
      first = "x".join(map(str, clip[0].shape[::-1]))
      raise ValueError(
          f"{path} is {width}x{height}, but the mosaics of a clip need one size"
          f" of even sides ({pathlib.Path(paths[0]).name} is {first})."
      )
  return above_black(np.stack(clip))[..., None]
