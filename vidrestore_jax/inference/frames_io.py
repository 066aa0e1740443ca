"""Writing frames as PNG, 8 or 16 bits deep, each file whole or not at all."""

import os
import pathlib
import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # Channels to PNG's colour type.
# Level 3 writes noisy and natural frames within 5 % of level 6's size.
_LEVEL = 3


def to_integers(frame, max_value: int):
  """Frames in [0, 1] as integers: clipped, scaled and rounded, not truncated.

  Args:
    frame: floats, any shape, white is 1.
    max_value: value of white, 255 or 65535.

  Returns:
    uint8 or uint16 of the same shape.

  Raises:
    ValueError: another `max_value`, or values that are not finite.
  """
  dtypes = {255: np.uint8, 65535: np.uint16}
  if max_value not in dtypes:
    raise ValueError(
        "Frames are written with 8 or 16 bits (white 255 or 65535), but got a"
        f" white of {max_value}."
    )
  frame = np.asarray(frame)
  if not np.isfinite(frame).all():
    raise ValueError(
        "The frame to write holds NaN or infinite values; the model or its"
        " input is broken."
    )
  scaled = np.clip(frame.astype(np.float64), 0.0, 1.0) * max_value
  return np.rint(scaled).astype(dtypes[max_value])


def write_png(path, frame):
  """Writes `frame` `[H, W, C]`, uint8 or uint16, as PNG.

  Pillow has no 16-bit RGB, so the file is assembled here. It is written beside
  its place and renamed, so a file of that name is always a whole one.

  Args:
    path: of the file; its folder exists.
    frame: 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA) channels.

  Raises:
    ValueError: another dtype or shape.
    OSError: it could not be written, for example because the disk is full.
  """
  data = encode_png(frame)
  path = pathlib.Path(path)
  beside = path.with_name(path.name + ".partial")
  try:
    beside.write_bytes(data)
    os.replace(beside, path)
  except OSError:
    beside.unlink(missing_ok=True)
    raise


def encode_png(frame) -> bytes:
  """The bytes of a PNG file (ISO/IEC 15948); see `write_png`."""
  frame = np.asarray(frame)
  if frame.dtype not in (np.uint8, np.uint16):
    raise ValueError(
        f"PNG frames are uint8 or uint16, but got {frame.dtype}; see"
        " to_integers."
    )
  if frame.ndim != 3 or frame.shape[-1] not in _COLOUR_TYPES or not frame.size:
    raise ValueError(
        f"PNG frames are [H, W, C] with 1 to 4 channels, but got {frame.shape}."
    )
  height, width, channels = frame.shape
  depth = frame.dtype.itemsize
  rows = frame.astype(">u2" if depth == 2 else "u1").view(np.uint8)
  rows = rows.reshape(height, -1)
  # Filter 2, "up": each byte minus the one above it, modulo 256.
  filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
  filtered[:, 0] = 2
  filtered[0, 1:] = rows[0]
  np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
  header = struct.pack(
      ">IIBBBBB", width, height, 8 * depth, _COLOUR_TYPES[channels], 0, 0, 0
  )
  return b"".join((
      _SIGNATURE,
      _chunk(b"IHDR", header),
      _chunk(b"IDAT", zlib.compress(filtered, _LEVEL)),
      _chunk(b"IEND", b""),
  ))


def _chunk(kind: bytes, data: bytes) -> bytes:
  checked = kind + data
  return struct.pack(">I", len(data)) + checked + struct.pack(
      ">I", zlib.crc32(checked)
  )
