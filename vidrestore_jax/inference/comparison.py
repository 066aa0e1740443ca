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
from vidrestore_jax.shapes import check_choice

LAYOUTS = ("split", "side")
_STRIP = 4  # Frames in the strip.


def files(path) -> tuple[pathlib.Path, pathlib.Path]:
  """The video that was asked for, and the picture beside it."""
  path = pathlib.Path(path)
  return path, path.with_suffix(".png")


def choose(path, description, size, layout: str):
  """How to encode the video; ValueError where it cannot be made.

  Args:
    path: of it; its suffix says which container.
    description: of the source.
    size: (width, height) of a restored frame.
    layout: one of LAYOUTS.
  """
  check_choice("The layout of a comparison", layout, LAYOUTS)
  return video_encoding.choose(description, path, size=_size(size, layout))


def _size(size, layout):
  """(width, height) of the video, of a frame's."""
  return (2 * size[0] if layout == "side" else size[0]), size[1]


def write(
    video, strip, before, after, scale: int, *, form, layout: str = "split"
):
  """Writes a video of both, and a PNG of a few frames.

  Args:
    video: path of the video.
    strip: path of the picture.
    before: source of the frames as they were, as a `VideoReader`.
    after: the same of those restored, `scale` times as large.
    scale: the model's.
    form: a path whose suffix says the video's container.
    layout: "split" (left half before, right half after) or "side" (both
      whole, side by side).
  """
  video, strip = pathlib.Path(video), pathlib.Path(strip)
  description = after.description
  encoding = choose(form, description, description.size, layout)
  beside = video.with_name(video.name + ".mkv")
  shown = set(np.linspace(0, (description.frames or 1) - 1, _STRIP).astype(int))
  rows, stamps, end = [[], []], [], 0
  try:
    encoder = video_encoding.Encoder(
        beside, encoding, description, _size(description.size, layout)
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
    video_joining.join(video, [segment], description, encoding, form=form)
  finally:
    beside.unlink(missing_ok=True)
  title = f"{before.description.name}, and below it as restored"
  sheet = contact_sheet.draw(title, [("", rows)])
  frames_io.write_png(strip, sheet)


def _beside(old, new, layout):
  """One picture of two of one size."""
  if layout == "side":
    return np.concatenate([old, new], 1)
  middle = old.shape[1] // 2
  both = np.concatenate([old[:, :middle], new[:, middle:]], 1)
  both[:, max(middle - 1, 0) : middle + 1] = 1.0
  return both
