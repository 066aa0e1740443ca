"""Before and after in one picture: a video, and a strip of some frames."""

import pathlib

import numpy as np

from vidrestore_jax.inference import (
    contact_sheet,
    frames_io,
    video_colour,
    video_encoding,
    video_joining,
)
from vidrestore_jax.layers.resample import bicubic_resize

LAYOUTS = ("split", "side")
_STRIP = 4  # Frames in the strip.


def write(path, before, after, scale: int, layout: str = "split"):
  """Writes a video of both, and beside it a PNG of a few frames.

  Args:
    path: of the video; the picture's name has the suffix .png.
    before: source of the frames as they were, as a `VideoReader`.
    after: the same of those restored, `scale` times as large.
    scale: the model's.
    layout: "split" (left half before, right half after) or "side" (both
      whole, side by side).
  """
  path = pathlib.Path(path)
  description = after.description
  width, height = description.size
  if layout == "side":
    width *= 2
  encoding = video_encoding.choose(description, path, size=(width, height))
  beside = path.with_name(path.name + ".partial.mkv")
  joined = path.with_name(path.name + ".partial")
  shown = set(np.linspace(0, (description.frames or 1) - 1, _STRIP).astype(int))
  rows, stamps, end = [[], []], [], 0
  try:
    encoder = video_encoding.Encoder(
        beside, encoding, description, (width, height)
    )
    pairs = zip(before.pictures(), after.pictures())
    for index, (old, new) in enumerate(pairs):
      frames = [
          video_colour.to_rgb(picture.planes, source.description.layout)
          for picture, source in ((old, before), (new, after))
      ]
      if scale != 1:
        frames[0] = bicubic_resize(frames[0], scale)
      # What is padded for the coder is not shown.
      frames[1] = frames[1][: frames[0].shape[0], : frames[0].shape[1]]
      picture = _beside(*frames, layout)
      encoder.write(
          video_colour.from_rgb(picture, encoding.layout), new.pts
      )
      stamps.append(new.pts)
      end = new.pts + new.duration
      if index in shown:
        for row, frame in zip(rows, frames):
          row.append(frames_io.to_integers(frame, 255))
    encoder.close()
    segment = video_joining.Segment(beside, stamps, end)
    video_joining.join(joined, [segment], description, encoding, form=path)
    joined.replace(path)
  finally:
    beside.unlink(missing_ok=True)
    joined.unlink(missing_ok=True)
  title = f"{before.description.name}, and below it as restored"
  sheet = contact_sheet.draw(title, [("", rows)])
  frames_io.write_png(path.with_suffix(".png"), sheet)


def _beside(old, new, layout):
  """One picture of two of one size."""
  if layout == "side":
    return np.concatenate([old, new], 1)
  middle = old.shape[1] // 2
  both = np.concatenate([old[:, :middle], new[:, middle:]], 1)
  both[:, max(middle - 1, 0) : middle + 1] = 1.0
  return both
