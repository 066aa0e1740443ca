"""The installed command `vidrestore`.

Importing this module, and asking for help, loads the standard library only.
What a person can get wrong ends in one line on stderr and exit status 2.
"""

import argparse
import ast
import contextlib
import errno
import importlib
import inspect
import os
import pathlib
import shutil
import sys
import time

_DESCRIPTION = """\
Restores video with trained models.

  vidrestore restore noisy/ clean/ --model=workdir/model --sigma=30
  vidrestore list
  vidrestore data prepare davis --from=DAVIS-2017-trainval-480p.zip
  vidrestore data show davis --split=trainval --out=davis.png
  vidrestore convert model.pth fastdvdnet/ --model=fastdvdnet
  vidrestore export-torch fastdvdnet/ model.pth
"""

_RESTORE = """\
Restores a folder of frames (PNG or JPEG, 8 or 16 bits), or a folder of such
folders, of any length and size, at constant memory. Frames of one folder are
one clip, in the order of their names. Results are PNG of the same depth under
the same names; the output folder appears when all of them are written.
"""

_LIST = "Lists the models, measuring protocols and data sources there are."

_PREPARE = """\
Makes a data set that training reads out of the files its authors publish.
"""

_SHOW = """\
Writes a picture of some clips of a data source: the first, middle and last
frame of each, degraded above clean where there are pairs; and prints how many
clips, of which size. Sources that need no preparation can be shown too:

  vidrestore data show procedural
  vidrestore data show folders --from=CLIPS
  vidrestore data show videos --from=FILE
  vidrestore data show folders --from=CLIPS --degradation=rain.streaks
"""

_CONVERT = """\
Turns published PyTorch weights (.pth, .pt, .tar, .ckpt, .npz or .safetensors)
into a released folder that training can start from (config.model.init_from) or
that `restore` runs. Needs no PyTorch, and runs no code that a file brings.
Every tensor must be one of the model's; widths and depths are told by shapes,
and what they do not tell is set by --config.KEY=VALUE (any argument of the
model, such as --config.levels=4).

With --check=FILE.npz, outputs of the original network are compared with those
of the converted weights, and a model that differs is not written. FILE holds:

  fastdvdnet    noisy [T, C, H, W] and sigma (0 to 1); seq_out_clamped, and if
                need be raw_forward_unclamped and stage1_frames012 [1, C, H, W]
  spynet        crop_one, crop_two [1, 3, H, W]; crop_flow [1, 2, H, W]
  dncnn, noise2noise    input and output [N, C, H, W], and sigma for a model
                with a noise map
"""

_EXPORT = """\
Writes a released model's weights as PyTorch's state dict, under the names of
the original release. Of a converted model every name and byte comes back.
FILE's suffix chooses its kind: .pth, .npz or .safetensors.
"""


def main(argv=None) -> int:
  """Runs the command; returns its exit status."""
  parser = _parser()
  arguments, unknown = parser.parse_known_args(argv)
  config = [word for word in unknown if word.startswith("--config.")]
  if len(config) < len(unknown) or (config and arguments.run is not _convert):
    parser.error(f"unrecognized arguments: {' '.join(unknown)}")
  arguments.config = config
  try:
    arguments.run(arguments)
  except KeyboardInterrupt:
    print("\nstopped; nothing was left behind.", file=sys.stderr)
    return 130
  except (ValueError, OSError, ImportError) as error:
    if arguments.debug or os.environ.get("VIDRESTORE_DEBUG") == "1":
      raise
    line = " ".join(str(error).split())
    # Names out of a stranger's file must not steer the terminal.
    line = "".join(c if c.isprintable() else "?" for c in line)
    print(f"error: {line}", file=sys.stderr)
    return 2
  return 0


def _parser():
  parser = argparse.ArgumentParser(
      prog="vidrestore",
      description=_DESCRIPTION,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
  )
  debug = argparse.ArgumentParser(add_help=False)
  debug.add_argument(
      "--debug", action="store_true", help="a traceback with an error"
  )
  commands = parser.add_subparsers(
      title="commands", metavar="COMMAND", required=True
  )

  def command(parent, name, description, run, help_):
    sub = parent.add_parser(
        name,
        help=help_,
        description=description,
        parents=[debug],
        allow_abbrev=False,
    )
    sub.set_defaults(run=run)
    return sub

  sub = command(
      commands, "restore", _RESTORE, _restore, "restore folders of frames"
  )
  sub.add_argument(
      "input", metavar="IN", help="folder of frames"
  )
  sub.add_argument(
      "output", metavar="OUT", type=pathlib.Path, help="folder to make"
  )
  sub.add_argument(
      "--model", required=True, metavar="FOLDER", help="a released model"
  )
  sub.add_argument(
      "--sigma",
      type=float,
      help=(
          "standard deviation of the noise, 0 to 255, for models that are told"
          " it; larger smooths more"
      ),
  )
  sub.add_argument(
      "--overwrite",
      action="store_true",
      help="replace OUT where it holds an earlier result",
  )

  command(commands, "list", _LIST, _list, "models, protocols, data sources")

  data = commands.add_parser(
      "data",
      help="prepare and show data sets",
      description="Prepares data sets and shows what is in them.",
  )
  data_commands = data.add_subparsers(metavar="COMMAND", required=True)
  sub = command(
      data_commands, "prepare", _PREPARE, _prepare, "build a data set"
  )
  sub.add_argument("name", metavar="NAME", help="such as davis")
  sub.add_argument(
      "--from",
      dest="origin",
      required=True,
      metavar="PATH",
      help="the authors' archive, or the folder it unpacks to",
  )
  _add_set_arguments(sub, "the set's name, for clip_folders")
  sub.add_argument(
      "--partial",
      action="store_true",
      help="take a copy that lacks some of the clips",
  )

  sub = command(
      data_commands, "show", _SHOW, _show, "write a picture of some clips"
  )
  sub.formatter_class = argparse.RawDescriptionHelpFormatter
  sub.add_argument("name", metavar="NAME", help="such as davis, or folders")
  sub.add_argument(
      "--from",
      dest="origin",
      metavar="PATH",
      help="clips or videos, for sources that read them where they lie",
  )
  _add_set_arguments(sub, "a set prepared as clip_folders")
  sub.add_argument(
      "--set",
      action="append",
      default=[],
      metavar="KEY=VALUE",
      help="any further argument of the source, as in configs; may be repeated",
  )
  sub.add_argument(
      "--degradation", metavar="NAME", help="apply one, such as rain.streaks"
  )
  sub.add_argument(
      "--clips",
      type=int,
      default=3,
      metavar="N",
      help="how many to draw; default 3",
  )
  sub.add_argument(
      "--out",
      type=pathlib.Path,
      metavar="FILE.png",
      help="where to write the picture; default NAME.png",
  )

  sub = command(
      commands, "convert", _CONVERT, _convert, "import published weights"
  )
  sub.add_argument(
      "checkpoint", metavar="CHECKPOINT", help="file of published weights"
  )
  sub.add_argument(
      "folder", metavar="FOLDER", type=pathlib.Path, help="folder to make"
  )
  sub.add_argument(
      "--model", required=True, metavar="NAME", help="such as fastdvdnet"
  )
  sub.add_argument(
      "--key",
      metavar="NAME",
      help=(
          "where in the file its state dict lies; state_dict, params,"
          " params_ema and model are found"
      ),
  )
  sub.add_argument(
      "--check",
      metavar="FILE.npz",
      help="outputs of the original network to compare with, see above",
  )
  sub.formatter_class = argparse.RawDescriptionHelpFormatter
  sub.epilog = "  --config.KEY=VALUE  an argument of the model; repeatable"

  sub = command(
      commands, "export-torch", _EXPORT, _export, "write weights for PyTorch"
  )
  sub.add_argument("folder", metavar="FOLDER", help="a released model")
  sub.add_argument(
      "file", metavar="FILE", type=pathlib.Path, help="file to make"
  )
  sub.add_argument(
      "--layout",
      metavar="NAME",
      help="which release names it; default as converted, else the first known",
  )
  sub.add_argument(
      "--prefix",
      metavar="TEXT",
      help="before every name, such as module. ; default as converted, else"
      " none",
  )
  return parser


def _add_set_arguments(sub, name_help):
  """What `data prepare` and `data show` both take."""
  sub.add_argument(
      "--data-dir",
      metavar="DIR",
      help="where data sets are kept; default $TFDS_DATA_DIR, else"
      " ~/tensorflow_datasets",
  )
  sub.add_argument("--split", metavar="NAME", help="which part of the set")
  sub.add_argument("--name", dest="set_name", metavar="NAME", help=name_help)
  sub.add_argument(
      "--degraded", metavar="PATH", help="degraded clips, for pairs"
  )


def _restore(arguments):
  """`vidrestore restore`."""
  # Everything that can be refused is refused before the model is loaded.
  clips = _find_clips(arguments.input)
  given, output = pathlib.Path(arguments.input), arguments.output
  _check_output(given, output, arguments.overwrite)
  sigma = arguments.sigma
  if sigma is not None and not 0 <= sigma <= 255:
    raise ValueError(f"--sigma lies between 0 and 255, but got {sigma:g}.")

  # Loading jax takes a second that a mistyped path need not cost.
  from vidrestore_jax import released
  from vidrestore_jax.inference import streaming

  model, variables = released.load(arguments.model)
  streaming.check_streams(model)
  sigma = None if sigma is None else sigma / 255
  streaming.check_sigma(model, sigma)

  frames = sum(len(paths) for _, paths in clips)
  with _whole_folder(output) as partial, _Progress(frames) as progress:
    for name, paths in clips:
      single = paths[0].parent.resolve() == given.resolve()
      folder = partial if single else partial / name
      folder.mkdir(parents=True, exist_ok=True)
      _restore_clip(model, variables, paths, folder, sigma, name, progress)
  print(f"{output}: {frames} frames of {len(clips)} clip(s).")


def _restore_clip(model, variables, paths, folder, sigma, name, progress):
  """Restores one clip's files into `folder`."""
  from vidrestore_jax.data import folders
  from vidrestore_jax.inference import frames_io, streaming

  # The first frame is read twice: writing needs its depth before the stream
  # starts, and the stream runs one frame ahead of writing.
  _, white = folders.read_frames(paths[:1])

  def read():
    for path in paths:
      frame, max_value = folders.read_frames([path])
      if max_value != white:
        raise ValueError(
            f"{path} has another bit depth than {paths[0].name} (white is"
            f" {max_value}, not {white}). Frames of one folder have one depth."
        )
      yield frame[0].astype("float32") / max_value

  restored = streaming.restore_stream(
      model, variables, read(), sigma=sigma, aux=()
  )
  for path, result in zip(paths, restored):
    frame = frames_io.to_integers(result.frames, white)
    frames_io.write_png(folder / f"{path.stem}.png", frame)
    progress.advance(name)


def _find_clips(given):
  """The clips of the input folder, every frame's header looked at."""
  from vidrestore_jax.data import folders

  clips = folders.find_clips(given)
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

  first = None
  for path in paths:
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
    if first is not None and size != first:
      raise ValueError(
          f"{path} is {size[0]}x{size[1]}, but {paths[0].name} beside it is"
          f" {first[0]}x{first[1]}. Frames of one folder are one clip and have"
          " one size."
      )
    first = size


def _check_output(given, output, overwrite):
  """Refuses an output folder that would cost anybody files."""
  source, target = given.resolve(), output.resolve()
  if source == target or source in target.parents or target in source.parents:
    raise ValueError(
        f"The output {output} and the input {given} lie in one another; name"
        " an output folder elsewhere."
    )
  partial = _partial(output)
  if partial.exists():
    if not overwrite:
      raise FileExistsError(
          f"{partial} is left of a run that was killed, or of one that is"
          " still running. Remove it, or pass --overwrite."
      )
    _check_replaceable(partial)
  if not output.exists():
    return
  if not output.is_dir():
    raise FileExistsError(f"{output} is a file; the output is a folder.")
  if any(output.iterdir()):
    if not overwrite:
      raise FileExistsError(
          f"{output} exists and is not empty. Name another folder, or pass"
          " --overwrite to replace it."
      )
    _check_replaceable(output)


def _check_replaceable(folder):
  """Refuses to replace a folder that holds more than restored frames."""
  for path in folder.rglob("*"):
    if path.is_file() and not path.name.endswith((".png", ".png.partial")):
      raise FileExistsError(
          f"{folder} holds more than restored frames, for example {path}, so"
          " --overwrite does not replace it. Name another folder."
      )


@contextlib.contextmanager
def _whole_folder(output):
  """A folder beside `output` that takes its name if the block succeeds.

  Where the block fails, it is removed, and `output` is as it was.
  """
  partial = _partial(output)
  if partial.exists():
    shutil.rmtree(partial)
  try:
    partial.mkdir(parents=True)
    yield partial
    replaced = output.with_name(f".{output.name}.replaced")
    if output.exists():
      if replaced.exists():  # Of a run that was killed right here.
        shutil.rmtree(replaced)
      os.rename(output, replaced)
    os.rename(partial, output)
    shutil.rmtree(replaced, ignore_errors=True)
  except OSError as error:
    if error.errno == errno.ENOSPC:
      raise OSError(
          f"The disk of {output} is full; what was written is removed again."
          " Free some space, or name a folder on another disk."
      ) from error
    raise
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _partial(output):
  return output.with_name(output.name + ".partial")


class _Progress:
  """Frames done, their rate and the time left, on stderr.

  A terminal gets one line that is rewritten, a file or pipe a line every ten
  seconds. The first frame, which waits for compilation, does not count for
  the rate.
  """

  def __init__(self, frames):
    self._frames, self._done = frames, 0
    self._terminal = sys.stderr.isatty()
    self._shown = self._first = 0.0

  def __enter__(self):
    self._shown = time.monotonic()
    if self._terminal:
      print("compiling ...", end="", file=sys.stderr, flush=True)
    return self

  def __exit__(self, *_):
    if self._terminal:
      print(file=sys.stderr)

  def advance(self, clip):
    """Counts one more frame, of the clip of that name."""
    now = time.monotonic()
    self._done += 1
    if self._done == 1:
      self._first = now
    due = now - self._shown >= (0.1 if self._terminal else 10.0)
    if not due and self._done < self._frames:
      return
    self._shown = now
    line = f"{clip}: frame {self._done} of {self._frames}"
    if self._done > 1 and now > self._first:
      rate = (self._done - 1) / (now - self._first)
      left = round((self._frames - self._done) / rate)
      hours, seconds = divmod(left, 3600)
      minutes, seconds = divmod(seconds, 60)
      line += (
          f", {rate:.3g} frames/s, {hours}:{minutes:02}:{seconds:02} left"
      )
    if self._terminal:
      print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)
    else:
      print(line, file=sys.stderr, flush=True)


def _list(arguments):
  """`vidrestore list`."""
  del arguments
  from vidrestore_jax import data
  from vidrestore_jax.metrics import protocols

  package = pathlib.Path(__file__).parent
  print("Models (config.model.name; restore takes a released folder of one):")
  for path in sorted((package / "models").glob("[!_]*.py")):
    if _is_model(path):
      _print_entry(path.stem, _summary(path))
  print("\nProtocols (experiments.evaluate --protocol):")
  for name in protocols.available():
    _print_entry(name, protocols.get(name).source)
  print("\nData sources (config.data.train.name):")
  for name in data.available():
    builder = package / "data" / "builders" / f"{name}.py"
    path = builder if builder.exists() else package / "data" / f"{name}.py"
    _print_entry(name, _summary(path))


def _print_entry(name, text):
  print(f"  {name:<16} {text}")


def _summary(path):
  """First line of a module's docstring, read without importing the module."""
  return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]


def _is_model(path):
  """Whether a task can train what a module builds; parts of models are not it.

  Restoration asks for `restores = True`, optical flow for a `pyramid`. The
  module is read, not imported.
  """
  return any(
      ast.unparse(node) == "restores = True"
      or getattr(node, "name", "") == "pyramid"
      for item in ast.parse(path.read_text()).body
      if isinstance(item, ast.ClassDef)
      for node in item.body
  )


def _prepare(arguments):
  """`vidrestore data prepare`."""
  builders = pathlib.Path(__file__).parent / "data" / "builders"
  name = arguments.name
  _check_module(name, builders, "data set to prepare")
  builder = importlib.import_module(f"vidrestore_jax.data.builders.{name}")
  options = _given(arguments, ("split", "degraded"))
  takes = list(inspect.signature(builder.prepare).parameters)
  for option in options:
    if option not in takes:
      flag = {"dataset": "name"}.get(option, option)
      raise ValueError(f"{name} is prepared without --{flag}.")
  splits = builder.prepare(
      arguments.origin,
      arguments.data_dir,
      partial=arguments.partial,
      **options,
  )
  counts = ", ".join(f"{count} in {split}" for split, count in splits.items())
  print(f"{name} is ready: {counts}.")


def _given(arguments, keys):
  """Options among `keys`, and --name, that were given, as keywords."""
  options = {key: getattr(arguments, key) for key in keys}
  options["dataset"] = arguments.set_name  # data.build has a `name`.
  return {key: value for key, value in options.items() if value is not None}


def _show(arguments):
  """`vidrestore data show`."""
  from vidrestore_jax import data
  from vidrestore_jax.inference import contact_sheet, frames_io

  name, count = arguments.name, arguments.clips
  if count < 1:
    raise ValueError(f"--clips needs to be at least 1, but is {count}.")
  out = arguments.out or pathlib.Path(f"{name}.png")
  if out.suffix.lower() != ".png":
    raise ValueError(f"--out is a PNG file, but got {out}. Name it {out}.png.")
  if not out.parent.is_dir():
    raise FileNotFoundError(f"There is no folder {out.parent} for {out.name}.")
  settings = _given(arguments, ("data_dir", "split", "degraded"))
  for text in arguments.set:
    key, equals, value = text.partition("=")
    if not equals:
      raise ValueError(f"--set takes KEY=VALUE, but got {text!r}.")
    settings[key] = _literal(value)
  if arguments.origin is not None:
    settings[_origin_key(name)] = arguments.origin
  if name == "procedural":  # As many as are drawn.
    settings.setdefault("size", count)
  elif not arguments.degradation and _reads_any_frame(name):
    settings.setdefault("length", 1)  # No clip is too short to be shown.
  if arguments.degradation:
    source = data.build(
        "degraded",
        source=dict(settings, name=name),
        degradation={"name": arguments.degradation},
    )
  else:
    source = data.build(name, **settings)

  looks = list(_looks(source, count))
  numbers = _numbers(name, source, *looks[0][1:])
  clips = [(text, _rows(item)) for text, item, _ in looks]
  sheet = contact_sheet.draw("\n".join(numbers), clips)
  frames_io.write_png(out, sheet)
  print("\n".join(numbers))
  print(f"{out}: a picture of {len(clips)} of them.")


def _literal(text):
  """A Python literal, or else the text itself."""
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def _origin_key(name):
  """The argument of a source that `--from` is."""
  module = pathlib.Path(__file__).parent / "data" / f"{name}.py"
  if module.exists():
    build = importlib.import_module(f"vidrestore_jax.data.{name}").build
    parameters = list(inspect.signature(build).parameters.values())
    if parameters and parameters[0].kind == parameters[0].POSITIONAL_OR_KEYWORD:
      return parameters[0].name
  raise ValueError(
      f"The source {name} takes no --from: that is for folders and videos."
      " Prepare a data set with: vidrestore data prepare."
  )


def _reads_any_frame(name):
  """Whether `_looks` picks single frames of a source, not of its windows."""
  builders = pathlib.Path(__file__).parent / "data" / "builders"
  return name == "folders" or (builders / f"{name}.py").exists()


def _looks(source, count):
  """Yields (text, item of three frames, its frames) of clips, spread evenly."""
  spread = len(source.names) if hasattr(source, "frames") else len(source)
  count = min(count, spread)
  # The middles of `count` equal parts.
  for number in ((2 * i + 1) * spread // (2 * count) for i in range(count)):
    if hasattr(source, "frames"):  # It reads any frames of a sequence.
      total = source.frame_counts[number]
      times = sorted({0, total // 2, total - 1})
      item, name = source.frames(number, times), source.names[number]
    else:
      clip = source[number]
      total, name = len(clip["clean"]), clip["name"]
      times = sorted({0, total // 2, total - 1})
      item = dict(clip, clean=clip["clean"][times])
      if "degraded" in clip:
        item["degraded"] = clip["degraded"][times]
    listed = ", ".join(map(str, times))
    text = f"{name}: frames {listed} of {total}"
    if "degraded" in item:
      text += "; degraded above clean"
    yield text, item, total


def _numbers(name, source, item, total):
  """What there is in a source, in a few lines."""
  depth = 8 * item["clean"].dtype.itemsize
  height, width, channels = item["clean"].shape[1:]
  if hasattr(source, "frames"):
    counts = source.frame_counts
    least, most = min(counts), max(counts)
    each = f"{least} to {most} each" if least < most else f"{least} each"
    lines = [f"{name}: sequences {len(counts)}, frames {sum(counts)} ({each})"]
    if source.partial:
      lines.append("prepared from a partial copy")
    lines += [f"{kind}: files {n}" for kind, n in source.layouts.items()]
  else:
    lines = [f"{name}: clips {len(source)}, of {total} frames"]
    lines.append(f"{width}x{height}, {depth} bit")
  if channels == 1:
    lines.append(f"one channel, {item.get('bayer', 'grey')}")
  paired = "clean and degraded" if "degraded" in item else "clean only"
  return [*lines, f"white is {item['max_value']}; {paired}"]


def _rows(item):
  """Rows of frames to look at, uint8 `[h, w, 3]`: degraded, then clean."""
  rows = []
  for key in ("degraded", "clean"):
    if key in item:
      frames = item[key] / item["max_value"]
      if "bayer" in item:
        from vidrestore_jax.data import raw
        from vidrestore_jax.metrics import raw as raw_metrics

        camera = item.get("metadata", {})
        frames = raw_metrics.isp(raw.pack(frames), **camera)
      rows.append(list((frames * 255).round().clip(0, 255).astype("uint8")))
  return rows


def _convert(arguments):
  """`vidrestore convert`."""
  package = pathlib.Path(__file__).parent
  name, folder = arguments.model, arguments.folder
  what = "converter for the model"
  _check_module(name, package / "converters", what, package / "models")
  if not pathlib.Path(arguments.checkpoint).exists():
    raise FileNotFoundError(f"There is no file {arguments.checkpoint}.")
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise FileExistsError(
        f"{folder} exists and is not empty. Name another folder."
    )
  config = dict(_config_value(text) for text in arguments.config)
  from vidrestore_jax import converters, released

  kwargs, variables, source = converters.read(
      name, arguments.checkpoint, config=config, key=arguments.key
  )
  numbers = {}
  if arguments.check is not None:
    report = converters.check(name, kwargs, variables, arguments.check)
    _print_parity(report)
    numbers["parity"] = report
  released.save(
      folder,
      name=name,
      kwargs=kwargs,
      variables=variables,
      numbers=numbers,
      source=source,
  )
  print(f"{folder}: {name}, sha256 {released.params_sha256(variables)[:16]}.")


def _config_value(text):
  """`--config.KEY=VALUE` as a pair."""
  key, equals, value = text.removeprefix("--config.").partition("=")
  if not key or not equals:
    raise ValueError(f"An argument of the model is --config.KEY=VALUE: {text}.")
  return key, {"true": True, "false": False}.get(value, _literal(value))


def _print_parity(report):
  """Prints errors against the original; ValueError if one is too large."""
  tolerance, errors = report["tolerance"], report["max_abs_error"]
  print(f"{report['reference']}: largest absolute errors, of {tolerance:g}")
  for output, error in errors.items():
    print(f"  {output:<24} {error:.1e}")
  # Not `error > tolerance`, which NaN passes.
  wrong = [k for k, error in errors.items() if not error <= tolerance]
  if wrong:
    raise ValueError(
        f"The converted weights do not do what {report['reference']} says the"
        f" original does: {', '.join(wrong)}. Nothing was written. Arguments"
        " that shapes do not tell are set by --config.KEY=VALUE."
    )


def _export(arguments):
  """`vidrestore export-torch`."""
  from vidrestore_jax import converters
  from vidrestore_jax.converters import checkpoints

  tensors = converters.tensors(
      arguments.folder, layout=arguments.layout, prefix=arguments.prefix
  )
  checkpoints.write(arguments.file, tensors)
  print(f"{arguments.file}: {len(tensors)} tensors.")


def _check_module(name, folder, what, among=None):
  """ValueError unless `folder`, and `among` too, has a module of that name."""
  names = sorted(
      path.stem
      for path in folder.glob("[!_]*.py")
      if among is None or (among / path.name).exists()
  )
  if name not in names:
    raise ValueError(
        f"There is no {what} {name!r}; there are: {', '.join(names)}."
    )


if __name__ == "__main__":
  sys.exit(main())
