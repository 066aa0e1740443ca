"""The commands `vidrestore data prepare` and `show`, and what `degrade` shares.

Importing this loads the standard library only.
"""

import argparse
import ast
import importlib
import inspect
import pathlib

from vidrestore_jax.shapes import check_choice

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
  vidrestore data show folders --from=CLIPS --degradation=rain.streaks \\
      --set degradation.preset=ntu --set degradation.density=(5,9)
"""

_PAIRS = "degraded clips, for pairs"


def add_commands(commands, command):
  """Adds `data`, `prepare` and `show` to the parser; see `cli._parser`.

  Returns:
    What further commands of `data` are added to.
  """
  data = commands.add_parser(
      "data",
      help="prepare, show and degrade data sets",
      description="Prepares data sets, shows what is in them, degrades them.",
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
  add_set_arguments(sub, "the set's name, for clip_folders")
  sub.add_argument("--degraded", metavar="PATH", help=_PAIRS)
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
  add_set_arguments(sub, "a set prepared as clip_folders")
  sub.add_argument("--degraded", metavar="PATH", help=_PAIRS)
  add_source_arguments(sub)
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

  return data_commands


def add_set_arguments(sub, name_help):
  """What all commands of `data` take."""
  sub.add_argument(
      "--data-dir",
      metavar="DIR",
      help="where data sets are kept; default $TFDS_DATA_DIR, else"
      " ~/tensorflow_datasets",
  )
  sub.add_argument("--split", metavar="NAME", help="which part of the set")
  sub.add_argument("--name", dest="set_name", metavar="NAME", help=name_help)


def add_source_arguments(sub, *, required=False):
  """What `data show` and `data degrade` both take."""
  sub.add_argument(
      "--set",
      action="append",
      default=[],
      metavar="KEY=VALUE",
      help=(
          "any further argument of the source, as in configs, or, as"
          " degradation.KEY=VALUE, of the degradation; may be repeated"
      ),
  )
  sub.add_argument(
      "--degradation",
      metavar="NAME",
      required=required,
      help="apply one, such as rain.streaks; `vidrestore list` has them all",
  )


def _prepare(arguments):
  """`vidrestore data prepare`."""
  name = arguments.name
  check_choice("A data set to prepare", name, builders())
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
  options = {key: getattr(arguments, key, None) for key in keys}
  options["dataset"] = arguments.set_name  # data.build has a `name`.
  return {key: value for key, value in options.items() if value is not None}


def _show(arguments):
  """`vidrestore data show`."""
  from vidrestore_jax.inference import contact_sheet, frames_io

  name, count = arguments.name, arguments.clips
  if count < 1:
    raise ValueError(f"--clips needs to be at least 1, but is {count}.")
  out = arguments.out or pathlib.Path(f"{name}.png")
  if out.suffix.lower() != ".png":
    raise ValueError(f"--out is a PNG file, but got {out}. Name it {out}.png.")
  if not out.parent.is_dir():
    raise FileNotFoundError(f"There is no folder {out.parent} for {out.name}.")
  given, degradation = settings(arguments)
  if arguments.origin is not None:
    put(given, origin_key(name), arguments.origin, "--from")
  if name == "procedural":  # As many as are drawn.
    given.setdefault("size", count)
  elif degradation is None and (name == "folders" or name in builders()):
    given.setdefault("length", 1)  # No clip is too short to be shown.
  source = _source(name, given, degradation)

  looks = list(_looks(source, count))
  numbers = _numbers(name, source, *looks[0][1:])
  clips = [(text, _rows(item)) for text, item, _ in looks]
  sheet = contact_sheet.draw("\n".join(numbers), clips)
  frames_io.write_png(out, sheet)
  print("\n".join(numbers))
  print(f"{out}: a picture of {len(clips)} of them.")


def settings(arguments):
  """Arguments of the source, and name and arguments of the degradation.

  Raises:
    ValueError: a `--set` that is neither's.
  """
  source = _given(arguments, ("data_dir", "split", "degraded"))
  degradation = {}
  for text in arguments.set:
    key, equals, value = text.partition("=")
    if not equals:
      raise ValueError(f"--set takes KEY=VALUE, but got {text!r}.")
    part, _, option = key.partition(".")
    if (option or key) == "name":
      raise ValueError(
          f"--set {text} sets no name: that of the source is the argument"
          " before, that of the degradation --degradation=NAME, and that of a"
          " prepared set --name=NAME."
      )
    if not option:
      put(source, key, literal(value), f"--set {text}")
      continue
    if part != "degradation" or arguments.degradation is None:
      raise ValueError(
          f"--set {text} sets an argument of {part}: only those of the"
          " degradation are set so, beside --degradation=NAME. An argument of"
          " the source is --set KEY=VALUE."
      )
    put(degradation, option, literal(value), f"--set {text}")
  if arguments.degradation is None:
    return source, None
  return source, {**degradation, "name": arguments.degradation}


def put(given, key, value, by: str):
  """Puts an argument among those given; ValueError where it is there already.

  Args:
    given: arguments by name; changed.
    key: of the argument.
    value: of the argument.
    by: how this command line gives it.
  """
  if key in given:
    raise ValueError(
        f"The command line gives {key} twice: {given[key]!r}, and by {by}."
        " Leave one out."
    )
  given[key] = value


def _source(name, settings, degradation):
  """The source of a name, degraded if asked for."""
  from vidrestore_jax import data

  if degradation is None:
    return data.build(name, **settings)
  return data.build(
      "degraded", source=dict(settings, name=name), degradation=degradation,
  )


def literal(text):
  """A Python literal, or else the text itself."""
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def origin_key(name):
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


def builders():
  """Names of the data sets that are prepared."""
  folder = pathlib.Path(__file__).parent / "data" / "builders"
  return sorted(path.stem for path in folder.glob("[!_]*.py"))


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
