"""Restoring whatever holds frames: arrays, generators, files, pipes."""

import contextlib
import dataclasses
import fractions
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from vidrestore_jax import released
from vidrestore_jax.inference import (
    comparison,
    frames_io,
    jobs,
    noise_estimation,
    pipeline,
    video_encoding,
    video_joining,
    y4m,
)
from vidrestore_jax.inference.overlap import ahead
from vidrestore_jax.inference.pipeline import Settings
from vidrestore_jax.inference.video_reader import VideoReader

# More than noise adds to white: a frame that holds it is in other units.
_WHITEST = 10.0
_AHEAD = 4  # Frames between reading, computing and writing.


@dataclasses.dataclass(frozen=True)
class Options(Settings):
  """How a video file is restored; see `vidrestore restore --help`.

  Attributes:
    sigma and others: of `Settings`.
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


class Outcome(NamedTuple):
  """What became of frames.

  Attributes:
    frames: how many there are.
    noise: estimates of theirs, `NoiseEstimate` or None where none was made.
  """

  frames: int
  noise: list


def restore(frames, model=None, *, output=None, **options):
  """Restores frames: an array, an iterable, or a file.

  Args:
    frames: a clip `[T, H, W, C]`; or an iterable of frames `[H, W, C]`; or the
      path of a video file. Floats are in [0, 1]; uint8 and uint16 are taken
      from black 0 to white 255 or 65535, and given back as such.
    model: a released model's folder, or the pair (model, variables); None: the
      model that the package brings.
    output: path of the video to write; only for files.
    **options: of `pipeline.Settings`, such as sigma, which is estimated where
      it is not stated and the model is told it; for files also of `Options`.

  Returns:
    An array for an array. For an iterable, or a file without `output`, a
    generator of frames, at constant memory. The path of `output` otherwise.

  Raises:
    ValueError: as `pipeline.restored`, or an argument does not suit what is
      restored.
  """
  known = [field.name for field in dataclasses.fields(Options)]
  if unknown := options.keys() - set(known):
    raise ValueError(
        f"restore has no option {', '.join(sorted(unknown))}. It has"
        f" {', '.join(known)}."
    )
  is_path = isinstance(frames, str | os.PathLike)
  shared = {field.name for field in dataclasses.fields(Settings)}
  settings = {key: options[key] for key in shared & options.keys()}
  options = {key: options[key] for key in options.keys() - shared}
  if not is_path and (output is not None or options):
    given = ["output"] * (output is not None) + sorted(options)
    raise ValueError(
        f"{', '.join(given)} are for files; arrays and generators come back as"
        " such."
    )
  model, variables = _loaded(model)
  if is_path and output is not None:
    options = Options(**settings, **options)
    restore_file(frames, output, model, variables, options)
    return pathlib.Path(output)
  settings = Settings(**settings)
  if is_path:
    source = open_video(frames, Options(**options))
    layout = source.description.layout
    return _stream(model, variables, (
        jobs.to_rgb(picture.planes, layout) for picture in source.pictures()
    ), settings)
  if hasattr(frames, "ndim") and (frames.ndim != 4 or not len(frames)):
    raise ValueError(
        "A clip is [T, H, W, C] with at least one frame, but has shape"
        f" {tuple(frames.shape)}."
    )
  restored = _stream(model, variables, frames, settings)
  return np.stack(list(restored)) if hasattr(frames, "ndim") else restored


def _loaded(model):
  if model is None or isinstance(model, str | os.PathLike):
    return released.load(model)
  return model


def _stream(model, variables, frames, settings):
  """Restored frames, of the type of those given."""
  whites, noise = [], []

  def floats():
    for frame in frames:
      kind = _checked_kind(frame)
      whites.append(np.iinfo(kind).max if kind.kind == "u" else None)
      yield frame if whites[-1] is None else (
          np.asarray(frame, np.float32) / whites[-1]
      )

  for result in pipeline.restored(model, variables, floats(), settings):
    white = whites.pop(0)
    noise.append(result.known.estimate)
    yield result.frame if white is None else frames_io.to_integers(
        result.frame, white
    )
  _plot_beside(settings, noise)


def _checked_kind(frame) -> np.dtype:
  """A frame's type; ValueError where white is not known from it."""
  kind = np.dtype(frame.dtype)
  # A bfloat16 has no kind of its own.
  if kind.kind in "biOSU" or (kind.kind == "u" and kind.itemsize > 2):
    raise ValueError(
        f"Frames are uint8, uint16 or floats in [0, 1], but got {kind}."
    )
  if kind.kind != "u" and (most := float(np.max(frame))) > _WHITEST:
    raise ValueError(
        f"Frames of floats are in [0, 1], but one holds {most:g}. Divide by"
        " the value of white, such as 255."
    )
  return kind


def _plot_beside(settings, noise, times=None):
  """Draws the noise over time where that is wanted and known."""
  if settings.plot_noise is None or not noise:
    return
  path = pathlib.Path(settings.plot_noise)
  beside = path.with_name(path.name + ".partial")
  _plot(beside, settings, noise, times)
  beside.replace(path)


def _plot(path, settings, noise, times):
  """Draws what was estimated; of Gaussian noise, its level alone."""
  # A run that did not ask for it may have done the first part of a job.
  nothing = noise_estimation.NoiseEstimate(*[float("nan")] * 3)
  noise = [nothing if found is None else found for found in noise]
  if settings.noise == "gaussian":
    noise = [found.sigma for found in noise]
  noise_estimation.plot(path, noise, times)


# Files


def check_output(sources: Iterable, output, overwrite: bool):
  """Refuses an output that would cost somebody a file.

  Raises:
    ValueError: it is one of the sources, by whatever name.
    FileExistsError: it exists.
  """
  output = pathlib.Path(output)
  for source in sources:
    if output.resolve() == pathlib.Path(source).resolve() or (
        output.exists() and os.path.exists(source)
        and os.path.samefile(source, output)
    ):
      raise ValueError(
          f"The output {output} is the input {source} itself; name another."
      )
  if output.is_dir():
    raise FileExistsError(f"{output} is a folder; name a file in it.")
  if not output.parent.is_dir():
    raise FileNotFoundError(
        f"There is no folder {output.parent} to write {output.name} to. Make"
        " it, or name another."
    )
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
    told: Callable[[int, pipeline.Known], None] = lambda done, known: None,
    note: Callable[[str], None] = pipeline.warn,
) -> Outcome:
  """Restores a video file into another, as a job that can be killed.

  Args:
    path: of the video.
    output: path of the file to make; its suffix says which container.
    model: a restoration model.
    variables: its variables.
    options: see `Options`.
    source: the video, of `open_video`; or frames from elsewhere, of which
      `path` is the folder: what has a `description` and `pictures`. None
      opens the video.
    model_sha256: of the released weights; computed where it is None.
    begun: called with the frames that an earlier run has done, those there
      are, and notes for the person who waits.
    told: called after each frame with the number that are done and what is
      known of it.
    note: as `pipeline.restored` has it.

  Returns:
    What the file has; no estimates where the job had ended but for its folder.
  """
  output = pathlib.Path(output)
  check_output([path], output, options.overwrite or jobs.has_ended(output))
  _check_beside(path, output, options)
  pipeline.check(model, options)
  if source is None:
    source = open_video(path, options)
  video, window = None, None
  if isinstance(source, VideoReader):
    video = path
    window = source.window and video_joining.Window(*source.window)
  description = source.description
  size = tuple(side * model.scale for side in description.size)
  encoding = video_encoding.choose(
      description, output, size=size, codec=options.codec, crf=options.crf,
      pixel_format=options.pixel_format, lossless=options.lossless,
  )
  if options.compare is not None:
    comparison.choose(options.compare, description, size, options.compare_as)
  left_out = {}
  if video is not None:
    left_out = video_joining.check_streams(video, output, options.drop)
  identity = _identity(path, model, variables, options, encoding, model_sha256)
  if jobs.has_ended(output):
    if jobs.is_of(output, identity):
      return Outcome(jobs.clear_away(output), [])
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
        journal, source, model, variables, encoding, options,
        length=options.segment, told=told, note=note,
    )
    frames = journal.frames()
    noise = [frame.estimate for frame in frames]
    times = [float(frame.pts * description.time_base) for frame in frames]
    joined, beside = journal.joined, []
    video_joining.join(
        joined, journal.files(), description, encoding, video, form=output,
        window=window, drop=options.drop, left_out=left_out,
    )
    jobs.sync(joined)
    if options.compare is not None:
      video, strip = (
          journal.folder / f"{name}.partial" for name in ("compare", "strip")
      )
      comparison.write(
          video, strip, source, VideoReader(joined), model.scale,
          form=options.compare, layout=options.compare_as,
      )
      beside += zip((video, strip), comparison.files(options.compare))
    if options.plot_noise is not None and noise:
      plot = journal.folder / "plot.partial"
      _plot(plot, options, noise, times)
      beside.append((plot, options.plot_noise))
    journal.end(output, beside)
  finally:
    journal.close()
  return Outcome(len(frames), noise)


def open_video(path, options: Options) -> VideoReader:
  """The video of which a part or all is restored."""
  return VideoReader(
      path, start=options.start, duration=options.duration,
      progressive=options.progressive, salvage=options.salvage,
  )


def _check_beside(path, output, options):
  """Refuses what is made beside the output where it would cost a file."""
  made = []
  if options.compare is not None:
    made += zip(
        ("The comparison", "The comparison's picture"),
        comparison.files(options.compare),
    )
  if options.plot_noise is not None:
    made.append(("The plot of the noise", pathlib.Path(options.plot_noise)))
  taken = {pathlib.Path(path).resolve(): "the input"}
  taken[output.resolve()] = "the output"
  for what, place in made:
    if (other := taken.get(place.resolve())) is not None:
      raise ValueError(f"{what}, {place}, is {other} too; name another file.")
    taken[place.resolve()] = what[0].lower() + what[1:]
    check_output([path], place, options.overwrite)


def _identity(path, model, variables, options, encoding, model_sha256):
  """All that the result depends on."""
  if model_sha256 is None:
    model_sha256 = released.params_sha256(variables)
  return {
      "source": jobs.identity_of(path),
      "model": {"is": repr(model), "weights_sha256": model_sha256},
      **options.identity(),
      "encoding": {
          "codec": encoding.codec,
          "pixel_format": encoding.pixel_format,
          **encoding.options,
      },
      "segment": options.segment,
      "part": [str(options.start), str(options.duration)],
      "progressive": options.progressive,
  }


def restore_frames(
    source,
    write: Callable[[Any], None],
    model,
    variables,
    settings: Settings,
    *,
    told: Callable[[int, pipeline.Known], None] = lambda done, known: None,
    note: Callable[[str], None] = pipeline.warn,
) -> Outcome:
  """Restores the frames of a source for whoever writes them.

  Args:
    source: what has a `description` and `pictures`.
    write: called with each restored frame, float32 RGB `[H, W, 3]`, in order.
    model: a restoration model.
    variables: its variables.
    settings: how.
    told: called after each frame with the number that are done and what is
      known of it.
    note: as `pipeline.restored` has it.
  """
  layout, base = source.description.layout, source.description.time_base
  times, noise = None if source.description.rate is None else [], []

  def frames():
    for picture in ahead(source.pictures(), _AHEAD):
      if times is not None:
        times.append(float(picture.pts * base))
      yield jobs.to_rgb(picture.planes, layout)

  results = pipeline.restored(model, variables, frames(), settings, note=note)
  with contextlib.closing(ahead(results, _AHEAD)) as results:
    for result in results:
      write(result.frame)
      noise.append(result.known.estimate)
      told(len(noise), result.known)
  _plot_beside(settings, noise, times)
  return Outcome(len(noise), noise)


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
