"""`vidrestore restore`: videos, pipes and folders of frames.

Importing this loads the standard library only.
"""

import argparse
import contextlib
import ctypes
import fractions
import os
import pathlib
import sys

from vidrestore_jax import cli_arguments, cli_output

_DESCRIPTION = """\
Restores videos, pipes and folders of frames, of any length and size, at
constant memory (but for a bidirectional model, which needs whole scenes unless
--chunk says otherwise).

  vidrestore restore noisy.mp4 clean.mp4
  vidrestore restore a.mov b.mkv restored/ --sigma=20
  vidrestore restore noisy/ clean/ --model=FOLDER
  ffmpeg -i IN -f yuv4mpegpipe -strict -1 - | vidrestore restore - - | ...

A model that is told how strong the noise is gets an estimate of each frame,
which is shown beside the progress. Where a scene starts, the model starts anew.
`vidrestore plan IN` says beforehand what it will take.

Of a video, sound, subtitles, chapters, attachments, metadata, time stamps, the
shape of pixels, rotation and colour tags are kept; what OUT's container cannot
hold is refused before anything runs. Without further options a video is
H.264 of 8 bits, or HEVC of 10 for deeper ones, visually lossless. What is done
is kept in OUT.vidrestore/: after a crash, Ctrl-C or power loss the same command
goes on from there.

Frames of one folder (PNG, JPEG or TIFF, 8 or 16 bits) are one clip, in the
order of their names; a folder of such folders is several. Results are PNG, or
TIFF of TIFF, of the same depth under the same names; the output folder appears
when all of them are written. A - is a stream of YUV4MPEG2, on either side.
"""
# Options of videos that are read, and of those that are made, with what they
# are where they are not given.
_OF_VIDEOS = dict(start=None, duration=None, progressive=False, salvage=False)
_TO_VIDEOS = dict(
    compare=None, compare_as="split", codec=None, crf=None, pixel_format=None,
    lossless=False, drop=[], segment=250, restart=False,
)
_VIDEOS = (".mkv", ".mp4", ".m4v", ".mov", ".webm")


def add_command(commands, command):
  """Adds `restore` to the parser."""
  sub = command(
      commands, "restore", _DESCRIPTION, run,
      "restore videos and folders of frames",
  )
  sub.formatter_class = argparse.RawDescriptionHelpFormatter
  sub.add_argument(
      "input", metavar="IN", nargs="+",
      help="video, folder of frames, or - for a stream; several, if OUT is a"
      " folder",
  )
  sub.add_argument(
      "output", metavar="OUT",
      help="video to make, folder to make, or - for a stream",
  )
  cli_arguments.add_model(sub)
  sub.add_argument(
      "--sigma", type=float,
      help=(
          "standard deviation of the noise, 0 to 255, for models that are told"
          " it; larger smooths more; default what is estimated of each frame"
      ),
  )
  sub.add_argument(
      "--noise", default="gaussian", metavar="KIND",
      help="what is estimated: gaussian, one level for a frame (default), or"
      " signal, levels that depend on how bright a pixel is",
  )
  sub.add_argument(
      "--strength", type=float, default=1.0, metavar="S",
      help="which part to take of what the model removes: 0 (nothing) to 1",
  )
  sub.add_argument(
      "--plot-noise", metavar="FILE.png",
      help="draw the estimated noise over time",
  )
  sub.add_argument(
      "--no-cuts", dest="cuts", action="store_false",
      help="all is one scene: look for no cuts",
  )
  cli_arguments.add_layout(sub)
  sub.add_argument(
      "--verify-tiles", action="store_true",
      help="say how far tiles are from whole frames, of which two are restored",
  )
  sub.add_argument(
      "--profile", metavar="FOLDER",
      help="trace five frames, for TensorBoard or Perfetto, into FOLDER",
  )
  sub.add_argument(
      "--overwrite", action="store_true",
      help="replace OUT where it holds an earlier result",
  )
  video = sub.add_argument_group("of videos")
  video.add_argument(
      "--fps", type=_rate, metavar="RATE",
      help="frames per second of a folder that becomes a video: 25, 30000/1001",
  )
  video.add_argument(
      "--start", type=_seconds, metavar="TIME",
      help="begin there: seconds, or H:MM:SS",
  )
  video.add_argument(
      "--duration", type=_seconds, metavar="TIME", help="restore only so long"
  )
  video.add_argument(
      "--compare", metavar="FILE",
      help="write a video of before and after, and a picture FILE.png",
  )
  video.add_argument(
      "--compare-as", default=_TO_VIDEOS["compare_as"],
      choices=("split", "side"),
      help="split (left half before; default) or side (both whole)",
  )
  video.add_argument(
      "--codec", metavar="NAME", help="h264, hevc, av1, vp9, prores or ffv1"
  )
  video.add_argument(
      "--crf", type=int, metavar="N",
      help="quality, smaller is better; default 16 (av1 18)",
  )
  video.add_argument(
      "--pixel-format", metavar="NAME",
      help="FFmpeg's name, such as yuv422p10le",
  )
  video.add_argument(
      "--lossless", action="store_true",
      help="FFV1 with the source's pixel format, into .mkv",
  )
  video.add_argument(
      "--drop", action="append", default=[], metavar="STREAM",
      help="leave a stream out, by its number or kind (audio, subtitle, ...);"
      " repeatable",
  )
  video.add_argument(
      "--progressive", action="store_true",
      help="frames flagged as interlaced are progressive",
  )
  video.add_argument(
      "--salvage", action="store_true",
      help="go on where the source is damaged, with what can be decoded",
  )
  video.add_argument(
      "--segment", type=int, default=_TO_VIDEOS["segment"], metavar="N",
      help="frames that are done again, at most, after a crash; default 250",
  )
  video.add_argument(
      "--restart", action="store_true",
      help="throw away what an unfinished run did",
  )


def run(arguments):
  """`vidrestore restore`."""
  if arguments.profile is None:
    arguments.tick = lambda: None
    return _run(arguments)
  from vidrestore_jax import profiling

  def say(line):
    print(line, file=sys.stderr)

  with profiling.Trace(arguments.profile, "frame", say=say) as trace:
    arguments.tick = trace.tick
    return _run(arguments)


def share_arenas():
  """Has glibc serve all threads from two arenas, unless its variable is set.

  By default it has eight for each processor, and each keeps what its threads
  once held: a tenth of the peak, which was reached after some 150 frames only.
  """
  if "MALLOC_ARENA_MAX" not in os.environ:
    # Other systems have no mallopt, or nothing to look it up in.
    with contextlib.suppress(AttributeError, OSError, TypeError):
      ctypes.CDLL(None).mallopt(-8, 2)  # M_ARENA_MAX.


def _run(arguments):
  """`run`, whose frames tick."""
  share_arenas()
  sigma = arguments.sigma
  if sigma is not None and not 0 <= sigma <= 255:
    raise ValueError(f"--sigma lies between 0 and 255, but got {sigma:g}.")
  if arguments.segment < 1:
    raise ValueError(f"--segment is 1 or more, but got {arguments.segment}.")
  given, output = arguments.input, arguments.output
  for path in given:
    if not path:
      raise ValueError(
          "No folder of clips was named: the path is empty. Name one, or . for"
          " the current folder."
      )
    if path != "-" and not pathlib.Path(path).exists():
      raise FileNotFoundError(
          f"There is no {path} (looked from {pathlib.Path.cwd()})."
      )
  folders = [path for path in given if pathlib.Path(path).is_dir()]
  if len(given) == 1 and folders:
    if pathlib.Path(output).suffix.lower() in _VIDEOS:
      _refuse(arguments, _OF_VIDEOS, "a video as input, not for frames")
      source = _clip_of_a_video(given[0], arguments.fps)
      return _restore_video(arguments, given[0], output, source=source)
    _refuse(arguments, _OF_VIDEOS, "a video as input, not for frames")
    _refuse(arguments, _TO_VIDEOS, "a video as output, not for frames")
    return _restore_folders(arguments, given[0])
  if arguments.fps is not None:
    raise ValueError("--fps is for a folder of frames; videos have their own.")
  if folders:
    raise ValueError(
        f"{folders[0]} is a folder; several inputs are video files. Restore a"
        " folder of frames by itself."
    )
  if len(given) > 1:
    return _restore_batch(arguments)
  if given[0] == "-" or given[0].lower().endswith(".y4m") or output == "-":
    _refuse(arguments, _TO_VIDEOS, "a video as output, not for a stream")
    return _restore_stream(arguments, given[0])
  if pathlib.Path(output).suffix.lower() in _VIDEOS:
    return _restore_video(arguments, given[0], output)
  if pathlib.Path(output).suffix and not pathlib.Path(output).is_dir():
    raise ValueError(
        f"OUT is a video ({', '.join(_VIDEOS)}), a folder or -, but got"
        f" {output}."
    )
  _refuse(arguments, _TO_VIDEOS, "a video as output, not for frames")
  return _restore_to_folder(arguments, given[0])


def _refuse(arguments, options, what):
  """Refuses options that are for something else."""
  for name, default in options.items():
    if getattr(arguments, name) != default:
      raise ValueError(f"--{name.replace('_', '-')} is for {what}.")


def _loaded(arguments):
  """(model, variables), once it is known to suit what is asked."""
  from vidrestore_jax import compilation_cache, released
  from vidrestore_jax.inference import pipeline

  compilation_cache.enable()
  model, variables = released.load(arguments.model)
  pipeline.check(model, _settings(arguments))
  return model, variables


def _settings(arguments):
  from vidrestore_jax.inference import pipeline

  return pipeline.Settings(**_shared(arguments))


def _shared(arguments):
  """What is asked of every door, as `pipeline.Settings` has it."""
  return dict(
      sigma=None if arguments.sigma is None else arguments.sigma / 255,
      noise=arguments.noise, strength=arguments.strength, cuts=arguments.cuts,
      tile=arguments.tile, verify_tiles=arguments.verify_tiles,
      chunk=arguments.chunk, devices=arguments.devices,
      plot_noise=arguments.plot_noise,
  )


def _level(known):
  """What the progress says of a frame's noise."""
  if known.estimate is None:
    return ""
  return f"noise {255 * known.estimate.sigma:.1f}"


def _noise(outcome):
  """What is said of the noise of all frames."""
  levels = [255 * found.sigma for found in outcome.noise if found is not None]
  if not levels:
    return ""
  mean = sum(levels) / len(levels)
  return (
      f" Noise of {mean:.1f} on average, {min(levels):.1f} to"
      f" {max(levels):.1f}."
  )


# Videos


def _options(arguments):
  from vidrestore_jax.inference import restoring

  return restoring.Options(
      **_shared(arguments), codec=arguments.codec, crf=arguments.crf,
      pixel_format=arguments.pixel_format, lossless=arguments.lossless,
      start=arguments.start, duration=arguments.duration,
      drop=tuple(arguments.drop), segment=arguments.segment,
      progressive=arguments.progressive, salvage=arguments.salvage,
      overwrite=arguments.overwrite, restart=arguments.restart,
      compare=arguments.compare, compare_as=arguments.compare_as,
  )


def _restore_video(arguments, path, output, model=None, source=None):
  """Restores a file, or a folder of frames, into a file."""
  from vidrestore_jax import released
  from vidrestore_jax.inference import jobs, restoring

  restoring.check_output(
      [path], output, arguments.overwrite or jobs.has_ended(output)
  )
  options = _options(arguments)
  if source is None:  # What is no video is told before a model is loaded.
    source = restoring.open_video(path, options)
  model = model or _loaded(arguments)
  sha256 = released.read_card(arguments.model)["weights_sha256"]
  progress, done = None, 0

  def begun(before, total, notes):
    nonlocal progress, done
    done = before
    for note in notes:
      print(f"note: {note}.", file=sys.stderr)
    if before:
      print(f"goes on after frame {before}.", file=sys.stderr)
    progress = cli_output.Progress(total, done=before)
    progress.__enter__()

  def told(count, known):
    nonlocal done
    done = count
    progress.advance(pathlib.Path(path).name, _level(known))
    arguments.tick()

  try:
    outcome = restoring.restore_file(
        path, output, *model, options, source=source,
        model_sha256=sha256, begun=begun, told=told,
        note=lambda sentence: progress.say(f"note: {sentence}."),
    )
  except KeyboardInterrupt:
    raise KeyboardInterrupt(
        f"stopped after frame {done}; the same command goes on from"
        f" {output}.vidrestore."
    ) from None
  finally:
    if progress is not None:
      progress.__exit__()
  print(f"{output}: {_count(outcome.frames)}.{_noise(outcome)}")


def _count(frames):
  return f"{frames} frame{'s' * (frames != 1)}"


def _restore_batch(arguments):
  """Restores several files into a folder; what is there is done.

  A file that cannot be restored does not keep the others from it.
  """
  from vidrestore_jax.inference import jobs, restoring

  folder = pathlib.Path(arguments.output)
  if folder.suffix.lower() in _VIDEOS or arguments.output == "-":
    raise ValueError(
        f"Several inputs need a folder as output, but got {folder}."
    )
  for option in ("compare", "plot-noise"):
    if getattr(arguments, option.replace("-", "_")):
      raise ValueError(f"--{option} takes one input at a time.")
  outputs = {}
  for path in map(pathlib.Path, arguments.input):
    suffix = path.suffix.lower()
    if arguments.lossless or suffix not in _VIDEOS:
      suffix = ".mkv"
    output = folder / f"{path.stem}{suffix}"
    if output in outputs.values():
      raise ValueError(f"Two inputs would both become {output}. Rename one.")
    outputs[path] = output
  folder.mkdir(parents=True, exist_ok=True)
  for output in outputs.values():  # Whether one exists is another question.
    restoring.check_output(outputs, output, True)
  model, failed = _loaded(arguments), []
  for path, output in outputs.items():
    if output.exists() and not arguments.overwrite and not jobs.has_ended(
        output
    ):
      print(f"{output}: is there already.")
      continue
    try:
      _restore_video(arguments, str(path), str(output), model)
    except (OSError, ValueError) as error:
      print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
      failed.append(str(path))
  if failed:
    raise ValueError(
        f"{len(failed)} of {len(outputs)} videos were not restored:"
        f" {', '.join(failed)}."
    )


# Streams and single frames


def _source(arguments, path):
  """What gives frames: a video file, or a stream of YUV4MPEG2."""
  from vidrestore_jax.inference import video_reader, y4m

  if path == "-" or path.lower().endswith(".y4m"):
    if arguments.start is not None or arguments.duration is not None:
      raise ValueError("--start and --duration are for video files.")
    # Closed with the process: it is read to its end.
    file = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115
    name = "The stream on standard input" if path == "-" else path
    return y4m.Y4mReader(file, name, progressive=arguments.progressive)
  return video_reader.VideoReader(
      path, start=arguments.start, duration=arguments.duration,
      progressive=arguments.progressive, salvage=arguments.salvage,
  )


def _restore_stream(arguments, path):
  """Restores from a pipe, or into one."""
  from vidrestore_jax.inference import restoring

  output = arguments.output
  if output != "-" and not output.lower().endswith(".y4m"):
    if pathlib.Path(output).suffix:
      raise ValueError(
          f"A stream is restored into - or a .y4m file or a folder, but got"
          f" {output}. Pipe it into an encoder: ... restore - - | ffmpeg -i -"
          f" {output}"
      )
    return _restore_to_folder(arguments, path)
  _check_plot(arguments, path)
  model, variables = _loaded(arguments)
  source = _source(arguments, path)
  if output == "-":
    _stream_into(sys.stdout.buffer, arguments, source, model, variables)
    return
  restoring.check_output(
      [path] if path != "-" else [], output, arguments.overwrite
  )
  beside = pathlib.Path(f"{output}.partial")
  try:
    with beside.open("wb") as file:
      _stream_into(file, arguments, source, model, variables)
    beside.replace(output)
  finally:
    beside.unlink(missing_ok=True)


def _check_plot(arguments, path):
  """Refuses a plot in the place of something else."""
  from vidrestore_jax.inference import restoring

  if arguments.plot_noise is not None:
    restoring.check_output(
        [path] if path != "-" else [], arguments.plot_noise,
        arguments.overwrite,
    )


def _restore_frames(arguments, source, write, model, variables, progress):
  """Restores a source's frames; returns what became of them."""
  from vidrestore_jax.inference import restoring

  name = pathlib.Path(source.description.name).name

  def told(_, known):
    progress.advance(name, _level(known))
    arguments.tick()

  return restoring.restore_frames(
      source, write, model, variables, _settings(arguments), told=told,
      note=lambda sentence: progress.say(f"note: {sentence}."),
  )


def _stream_into(file, arguments, source, model, variables):
  from vidrestore_jax.inference import restoring

  write = restoring.y4m_writer(file, source, model.scale)
  with cli_output.Progress(source.description.frames) as progress:
    outcome = _restore_frames(
        arguments, source, write, model, variables, progress
    )
  file.flush()
  print(f"{_count(outcome.frames)}.{_noise(outcome)}", file=sys.stderr)


def _restore_to_folder(arguments, path):
  """Restores a video or a stream into a folder of PNG."""
  from vidrestore_jax.inference import frames_io

  output = pathlib.Path(arguments.output)
  cli_output.check([], output, arguments.overwrite)
  _check_plot(arguments, path)
  model, variables = _loaded(arguments)
  source = _source(arguments, path)
  white = 255 if source.description.layout.depth == 8 else 65535
  with (
      cli_output.whole_folder(output) as partial,
      cli_output.Progress(source.description.frames) as progress,
  ):
    count = 0

    def write(frame):
      nonlocal count
      frames_io.write_png(
          partial / f"{count:06}.png", frames_io.to_integers(frame, white)
      )
      count += 1

    outcome = _restore_frames(
        arguments, source, write, model, variables, progress
    )
  print(f"{output}: {_count(count)}.{_noise(outcome)}")


# Folders of frames


def _restore_folders(arguments, given):
  """Restores a folder of frames, or of such folders."""
  # Everything that can be refused is refused before the model is loaded.
  clips = _find_clips(given)
  given, output = pathlib.Path(given), pathlib.Path(arguments.output)
  cli_output.check(
      [given], output, arguments.overwrite, suffixes=(".png", ".tif", ".tiff")
  )
  if arguments.plot_noise is not None and len(clips) > 1:
    raise ValueError("--plot-noise takes one clip at a time.")
  _check_plot(arguments, given)
  model, variables = _loaded(arguments)
  frames, said = sum(len(paths) for _, paths in clips), ""
  with (
      cli_output.whole_folder(output) as partial,
      cli_output.Progress(frames) as progress,
  ):
    for name, paths in clips:
      single = paths[0].parent.resolve() == given.resolve()
      folder = partial if single else partial / name
      folder.mkdir(parents=True, exist_ok=True)
      source = _Frames(name, paths)
      outcome = _restore_frames(
          arguments, source, _writer(source, paths, folder), model, variables,
          progress,
      )
      if len(clips) == 1:
        said = _noise(outcome)
  print(f"{output}: {_count(frames)} of {len(clips)} clip(s).{said}")


def _writer(source, paths, folder):
  """What writes a clip's restored frames into `folder`, named as `paths`."""
  from vidrestore_jax.inference import frames_io, tiff

  white = 255 if source.description.layout.depth == 8 else 65535
  paths = iter(paths)

  def write(frame):
    path, frame = next(paths), frames_io.to_integers(frame, white)
    if path.suffix.lower() in tiff.SUFFIXES:
      (folder / f"{path.stem}.tif").write_bytes(tiff.encode(frame))
    else:
      frames_io.write_png(folder / f"{path.stem}.png", frame)

  return write


def _clip_of_a_video(given, rate):
  """A folder of frames, which is one clip, as the source of a video."""
  if rate is None:
    raise ValueError(
        f"{given} is a folder of frames, which have no rate. Say how many are"
        " shown in a second: --fps=25."
    )
  clips = _find_clips(given)
  if len(clips) > 1:
    raise ValueError(
        f"{given} holds {len(clips)} clips, but a video is one. Name the"
        f" folder of one: {pathlib.Path(given) / clips[0][0]}."
    )
  ((_, paths),) = clips
  return _Frames(given, paths, rate)


class _Frames:
  """The frames of one clip as a source; see `VideoReader`."""

  def __init__(self, name, paths, rate=None):
    from vidrestore_jax.inference import video_colour, video_reader

    self._paths = paths
    frame, _ = _read_frame(paths[0])
    depth = 8 * frame.dtype.itemsize
    self._kind = frame.dtype
    self.description = video_reader.Description(
        str(name), frame.shape[1::-1], "gbrp" if depth == 8 else "gbrp16le",
        video_colour.Layout("rgb", depth, full=True), video_reader.Tags(),
        1 / (rate or fractions.Fraction(1)), rate, len(paths),
    )

  def pictures(self, first=0, mark=None):
    """The frames from number `first` on; none is searched for."""
    del mark
    from vidrestore_jax.inference import video_reader

    for index, path in enumerate(self._paths[first:], first):
      frame, _ = _read_frame(path)
      if frame.dtype != self._kind:
        raise ValueError(
            f"{path} has another bit depth than {self._paths[0].name}. Frames"
            " of one folder have one depth."
        )
      planes = tuple(frame[..., channel] for channel in range(3))
      yield video_reader.Picture(planes, index, 1)


def _read_frame(path):
  """A frame's pixels `[H, W, 3]` and the value of white."""
  from vidrestore_jax.data import folders
  from vidrestore_jax.inference import tiff

  if path.suffix.lower() not in tiff.SUFFIXES:
    (frame,), white = folders.read_frames([path])
    return frame, white
  frame = tiff.decode(path.read_bytes(), path)
  return frame, 255 if frame.dtype == "uint8" else 65535


def _find_clips(given):
  """The clips of the input folder, every frame's header looked at."""
  from vidrestore_jax.data import folders
  from vidrestore_jax.inference import tiff

  suffixes = (*folders.SUFFIXES, *tiff.SUFFIXES)
  clips = folders.find_clips(given, suffixes=suffixes)
  for _, paths in clips:
    _check_frames(paths)
  return clips


def _check_frames(paths):
  """Reads each file as far as finding damage needs, before an hour is spent.

  Raises:
    ValueError: a file is no image or cut short or far too large, or the sizes
      differ.
  """
  from PIL import Image

  from vidrestore_jax.data import folders
  from vidrestore_jax.inference import tiff

  first = None
  for path in paths:
    if path.suffix.lower() in tiff.SUFFIXES:
      frame, _ = _read_frame(path)  # Nothing short of decoding finds damage.
      first = _alike(path, paths, frame.shape[1::-1], first)
      continue
    try:
      with Image.open(path) as image:
        size = image.size
        if image.format == "JPEG":
          # The entropy code is read, the pixels only at an eighth of the size.
          image.draft(None, (max(size[0] // 8, 1), max(size[1] // 8, 1)))
          image.load()
        else:
          image.verify()  # A PNG's checksums; decodes nothing.
    except Image.DecompressionBombError as error:
      raise folders.too_large(path) from error
    except (OSError, SyntaxError, ValueError) as error:
      if isinstance(error, (FileNotFoundError, PermissionError)):
        raise
      raise ValueError(
          f"{path} cannot be read: {error}. It is damaged or cut short; replace"
          " or remove it. Nothing was restored."
      ) from error
    first = _alike(path, paths, size, first)


def _alike(path, paths, size, first):
  """The size of a clip's frames; ValueError unless this one has it."""
  if first is not None and size != first:
    raise ValueError(
        f"{path} is {size[0]}x{size[1]}, but {paths[0].name} beside it is"
        f" {first[0]}x{first[1]}. Frames of one folder are one clip and have"
        " one size."
    )
  return size


def _rate(text):
  """Frames per second: "25" or "30000/1001"."""
  try:
    rate = fractions.Fraction(text)
  except (ValueError, ZeroDivisionError):
    rate = fractions.Fraction(0)
  if not 0 < rate <= 1000:
    raise argparse.ArgumentTypeError(f"{text} is no rate such as 25")
  return rate


def _seconds(text):
  """Seconds of "90", "1:30" or "0:01:30.5"."""
  seconds = fractions.Fraction(0)
  try:
    for part in text.split(":"):
      seconds = 60 * seconds + fractions.Fraction(part)
  except (ValueError, ZeroDivisionError):
    seconds = fractions.Fraction(-1)
  if seconds < 0:
    raise argparse.ArgumentTypeError(f"{text} is no time such as 90 or 1:30")
  return seconds
