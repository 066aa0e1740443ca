"""Restoring whatever holds frames: arrays, generators, files, pipes."""

import contextlib
import dataclasses
import fractions
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from vidrestore_jax import released
from vidrestore_jax.inference import (
    comparison,
    frames_io,
    jobs,
    streaming,
    video_encoding,
    video_joining,
    y4m,
)
from vidrestore_jax.inference.overlap import ahead
from vidrestore_jax.inference.video_reader import VideoReader

_AHEAD = 4  # Frames between reading, computing and writing.


@dataclasses.dataclass(frozen=True)
class Options:
  """How a video file is restored; see `vidrestore restore --help`.

  Attributes:
    sigma: standard deviation of the noise in [0, 1] units, or None.
    codec, crf, pixel_format, lossless: of `video_encoding.choose`.
    start, duration: the part to restore, in seconds; None is all.
    drop: streams that are left out, by number or kind.
    segment: frames that are done again, at most, after a run was killed.
    progressive, salvage: of `VideoReader`.
    overwrite: replace a file that is there.
    restart: throw away what an unfinished run did.
    compare: path of a video of before and after, or None.
    compare_as: one of `comparison.LAYOUTS`.
  """

  sigma: float | None = None
  codec: str | None = None
  crf: int | None = None
  pixel_format: str | None = None
  lossless: bool = False
  start: fractions.Fraction | None = None
  duration: fractions.Fraction | None = None
  drop: tuple[str, ...] = ()
  segment: int = 250
  progressive: bool = False
  salvage: bool = False
  overwrite: bool = False
  restart: bool = False
  compare: str | None = None
  compare_as: str = "split"


def restore(frames, model, *, sigma=None, output=None, **options):
  """Restores frames: an array, an iterable, or a file.

  Args:
    frames: a clip `[T, H, W, C]`; or an iterable of frames `[H, W, C]`; or the
      path of a video file. Floats are in [0, 1]; uint8 and uint16 are taken
      from black 0 to white 255 or 65535, and given back as such.
    model: a released model's folder, or the pair (model, variables).
    sigma: standard deviation of the noise in [0, 1] units, for a model with a
      noise map.
    output: path of the video to write; only for files.
    **options: of `Options`; only for files.

  Returns:
    An array for an array. For an iterable, or a file without `output`, a
    generator of frames, at constant memory. The path of `output` otherwise.

  Raises:
    ValueError: as `streaming.restore_stream`, or an argument does not suit
      what is restored.
  """
  is_path = isinstance(frames, str | os.PathLike)
  if not is_path and (output is not None or options):
    given = ["output"] * (output is not None) + sorted(options)
    raise ValueError(
        f"{', '.join(given)} are for files; arrays and generators come back as"
        " such."
    )
  model, variables = _loaded(model)
  if is_path and output is not None:
    options = Options(sigma=sigma, **options)
    restore_file(frames, output, model, variables, options)
    return pathlib.Path(output)
  if is_path:
    source = VideoReader(frames, **options)
    layout = source.description.layout
    return _stream(model, variables, (
        jobs.to_rgb(picture.planes, layout) for picture in source.pictures()
    ), sigma)
  if hasattr(frames, "ndim"):
    return np.stack(list(_stream(model, variables, frames, sigma)))
  return _stream(model, variables, frames, sigma)


def _loaded(model):
  if isinstance(model, str | os.PathLike):
    return released.load(model)
  return model


def _stream(model, variables, frames, sigma):
  """Restored frames, of the type of those given."""
  whites = []

  def floats():
    for frame in frames:
      kind = np.dtype(frame.dtype)
      whites.append(np.iinfo(kind).max if kind.kind == "u" else None)
      yield frame if whites[-1] is None else (
          np.asarray(frame, np.float32) / whites[-1]
      )

  for result in streaming.restore_stream(
      model, variables, floats(), sigma=sigma, aux=()
  ):
    white = whites.pop(0)
    yield result.frames if white is None else frames_io.to_integers(
        result.frames, white
    )


# Files


def check_output(sources: Iterable, output, overwrite: bool):
  """Refuses an output that would cost somebody a file.

  Raises:
    ValueError: it is one of the sources, by whatever name.
    FileExistsError: it exists.
  """
  output = pathlib.Path(output)
  for source in sources:
    if output.exists() and os.path.samefile(source, output):
      raise ValueError(
          f"The output {output} is the input {source} itself; name another."
      )
  if output.is_dir():
    raise FileExistsError(f"{output} is a folder; name a file in it.")
  if output.exists() and not overwrite:
    raise FileExistsError(
        f"{output} exists. Name another file, or pass --overwrite to replace"
        " it."
    )


def restore_file(
    path,
    output,
    model,
    variables,
    options: Options,
    *,
    source=None,
    model_sha256: str | None = None,
    begun: Callable[[int, int | None, tuple], None] = lambda *_: None,
    told: Callable[[int], None] = lambda done: None,
) -> int:
  """Restores a video file into another, as a job that can be killed.

  Args:
    path: of the video.
    output: path of the file to make; its suffix says which container.
    model: a restoration model.
    variables: its variables.
    options: see `Options`.
    source: frames from elsewhere, of which `path` is the folder: what has a
      `description` and `pictures`. None reads the video.
    model_sha256: of the released weights; computed where it is None.
    begun: called with the frames that an earlier run has done, those there
      are, and notes for the person who waits.
    told: called after each frame with the number that are done.

  Returns:
    How many frames the file has.
  """
  output = pathlib.Path(output)
  check_output([path], output, options.overwrite or jobs.has_ended(output))
  if options.compare is not None:
    check_output([path, output], options.compare, options.overwrite)
  streaming.check_streams(model)
  streaming.check_sigma(model, options.sigma)
  video, window = None, None
  if source is None:
    video = path
    source = VideoReader(
        path, start=options.start, duration=options.duration,
        progressive=options.progressive, salvage=options.salvage,
    )
    window = source.window and video_joining.Window(*source.window)
  description = source.description
  encoding = video_encoding.choose(
      description, output,
      size=tuple(side * model.scale for side in description.size),
      codec=options.codec, crf=options.crf, pixel_format=options.pixel_format,
      lossless=options.lossless,
  )
  left_out = {}
  if video is not None:
    left_out = video_joining.check_streams(video, output, options.drop)
  identity = _identity(path, model, variables, options, encoding, model_sha256)
  if jobs.has_ended(output):
    if jobs.is_of(output, identity):
      return jobs.clear_away(output)
    jobs.clear_away(output)
    check_output([path], output, options.overwrite)
  journal = jobs.Journal(output, identity, restart=options.restart)
  try:
    notes = [*encoding.notes, *(
        f"{what} has no place in {output.suffix} and is left out"
        for what in left_out.values()
    )]
    begun(journal.done, description.frames, tuple(notes))
    jobs.run(
        journal, source, model, variables, encoding, sigma=options.sigma,
        length=options.segment, told=told,
    )
    frames = journal.done
    joined = journal.joined
    video_joining.join(
        joined, journal.files(), description, encoding, video, form=output,
        window=window, drop=options.drop, left_out=left_out,
    )
    jobs.sync(joined)
    if options.compare is not None:
      comparison.write(
          options.compare, source, VideoReader(joined), model.scale,
          options.compare_as,
      )
    journal.end(output)
  finally:
    journal.close()
  return frames


def _identity(path, model, variables, options, encoding, model_sha256):
  """All that the result depends on."""
  if model_sha256 is None:
    model_sha256 = released.params_sha256(variables)
  return {
      "source": jobs.identity_of(path),
      "model": {"is": repr(model), "weights_sha256": model_sha256},
      "sigma": options.sigma,
      "encoding": {
          "codec": encoding.codec,
          "pixel_format": encoding.pixel_format,
          **encoding.options,
      },
      "segment": options.segment,
      "part": [str(options.start), str(options.duration)],
      "progressive": options.progressive,
  }


def restore_frames(source, write: Callable[[Any, Any], None], model, variables,
                   *, sigma=None, told=lambda done: None) -> int:
  """Restores the frames of a source for whoever writes them.

  Args:
    source: what has a `description` and `pictures`.
    write: called with each restored frame, float32 RGB `[H, W, 3]`, in order.
    model: a restoration model.
    variables: its variables.
    sigma: standard deviation of the noise in [0, 1] units.
    told: called after each frame with the number that are done.

  Returns:
    How many there were.
  """
  layout = source.description.layout
  frames = (
      jobs.to_rgb(picture.planes, layout)
      for picture in ahead(source.pictures(), _AHEAD)
  )
  results = streaming.restore_stream(
      model, variables, frames, sigma=sigma, aux=()
  )
  done = 0
  with contextlib.closing(ahead(results, _AHEAD)) as results:
    for done, result in enumerate(results, 1):
      write(result.frames)
      told(done)
  return done


def y4m_writer(file, source, scale: int):
  """What `restore_frames` writes into a pipe."""
  described = source.description
  if described.variable:
    raise ValueError(
        f"The frames of {described.name} are shown for different times, but a"
        " stream of YUV4MPEG2 has one rate. Restore it into a file, or bring it"
        " to one rate first (FFmpeg: -r 25)."
    )
  layout = y4m.layout_for(described.layout)
  writer = y4m.Y4mWriter(
      file, layout, tuple(side * scale for side in described.size),
      described.rate or fractions.Fraction(25), described.aspect,
  )
  return lambda frame: writer.write(jobs.samples(frame, layout))
