"""TIFF frames of 8 and 16 bits, read and written by FFmpeg's coder (PyAV).

Pillow, which reads PNG and JPEG here, has no TIFF of 16-bit colour.
"""

import numpy as np

from vidrestore_jax.inference import pixel_formats
from vidrestore_jax.inference.video_reader import MAX_PIXELS, import_av

SUFFIXES = (".tif", ".tiff")


def decode(encoded: bytes, name) -> np.ndarray:
  """Pixels of a TIFF file: uint8 or uint16 `[H, W, 3]`, grey repeated.

  Args:
    encoded: the file's content; of several images, the first.
    name: what errors call it.

  Raises:
    ValueError: it is no TIFF, damaged, of a kind that is not supported, or
      has transparent pixels.
  """
  av = import_av()
  context = av.CodecContext.create("tiff", "r")
  context.options = {"max_pixels": str(MAX_PIXELS)}
  try:
    frames = [*context.decode(av.Packet(encoded)), *context.decode(None)]
  except (av.error.FFmpegError, ValueError) as error:
    raise ValueError(
        f"{name} is no TIFF image, or damaged, or of a kind that is not"
        f" supported: {error}. Replace or convert it."
    ) from error
  if not frames:
    raise ValueError(f"{name} is no TIFF image, or cut short.")
  try:
    layout = pixel_formats.layout_of(frames[0].format.name)
  except ValueError as error:
    raise ValueError(f"{name}: {error}") from error
  if layout.family == "yuv" or layout.depth not in (8, 16):
    raise ValueError(
        f"{name} is {frames[0].format.name}; frames are greyscale or RGB of 8"
        " or 16 bits. Convert it first."
    )
  planes, alpha = pixel_formats.read(frames[0])
  if alpha is not None and (alpha != np.iinfo(alpha.dtype).max).any():
    raise ValueError(
        f"{name} has transparent pixels, so its colours are not known"
        " everywhere. Flatten it onto a background first."
    )
  return np.stack(planes * (3 // len(planes)), -1)


def encode(frame) -> bytes:
  """A TIFF file of `[H, W, 3]`, uint8 or uint16, compressed without loss."""
  av = import_av()
  height, width, _ = frame.shape
  context = av.CodecContext.create("tiff", "w")
  context.width, context.height = width, height
  context.pix_fmt = "rgb24" if frame.dtype == np.uint8 else "rgb48le"
  context.time_base = 1
  context.options = {"compression_algo": "deflate"}
  planes = list(np.moveaxis(frame, -1, 0))
  picture = pixel_formats.write(planes, context.pix_fmt)
  picture.pts = 0
  return b"".join(map(bytes, context.encode(picture)))
