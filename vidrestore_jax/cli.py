"""The installed command `vidrestore`.

Importing this module, and asking for help, loads the standard library only.
What a person can get wrong ends in one line on stderr and exit status 2.
"""

import argparse
import ast
import os
import pathlib
import sys

from vidrestore_jax import cli_data, cli_degrade, cli_output

_DESCRIPTION = """\
Restores video with trained models.

  vidrestore restore noisy/ clean/ --model=workdir/model --sigma=30
  vidrestore list
  vidrestore data prepare davis --from=DAVIS-2017-trainval-480p.zip
  vidrestore data show davis --split=trainval --out=davis.png
  vidrestore data degrade clips/ rainy/ --degradation=rain.streaks --seed=7
  vidrestore convert model.pth fastdvdnet/ --model=fastdvdnet
  vidrestore export-torch fastdvdnet/ model.pth
"""

_RESTORE = """\
Restores a folder of frames (PNG or JPEG, 8 or 16 bits), or a folder of such
folders, of any length and size, at constant memory (but for a bidirectional
model, which needs a whole clip in memory). Frames of one folder are one clip,
in the order of their names. Results are PNG of the same depth under the same
names, larger where the model is one of super-resolution; the output folder
appears when all of them are written.
"""

_LIST = (
    "Lists the models, measuring protocols, data sources and degradations there"
    " are."
)

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

  data_commands = cli_data.add_commands(commands, command)
  cli_degrade.add_command(data_commands, command)

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


def _restore(arguments):
  """`vidrestore restore`."""
  # Everything that can be refused is refused before the model is loaded.
  clips = _find_clips(arguments.input)
  given, output = pathlib.Path(arguments.input), arguments.output
  cli_output.check([given], output, arguments.overwrite)
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
  with (
      cli_output.whole_folder(output) as partial,
      cli_output.Progress(frames) as progress,
  ):
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


def _list(arguments):
  """`vidrestore list`."""
  del arguments
  from vidrestore_jax import data, degradations
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
  print(
      "\nDegradations (config.task.degradation.name on the device,"
      " config.data.degradation.name in the pipeline), with their presets:"
  )
  for name in degradations.available():
    presets = ", ".join(degradations.presets(name)) or "no presets"
    text = degradations.summary(name)
    _print_entry(name, f"[{degradations.place(name)}] {text} ({presets})")


def _print_entry(name, text):
  print(f"  {name:<22} {text}")


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
  return key, {"true": True, "false": False}.get(value, cli_data.literal(value))


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
