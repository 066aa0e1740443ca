"""The installed command `vidrestore`.

Importing this module, and asking for help, loads the standard library only.
What a person can get wrong ends in one line on stderr and exit status 2.
"""

import argparse
import ast
import os
import pathlib
import sys

from vidrestore_jax import (
    cli_data,
    cli_degrade,
    cli_export,
    cli_plan,
    cli_restore,
)

_DESCRIPTION = """\
Restores video with trained models.

  vidrestore restore noisy.mp4 clean.mp4
  vidrestore plan noisy.mp4 --model=workdir/model
  vidrestore list
  vidrestore data prepare davis --from=DAVIS-2017-trainval-480p.zip
  vidrestore data show davis --split=trainval --out=davis.png
  vidrestore data degrade clips/ rainy/ --degradation=rain.streaks --seed=7
  vidrestore convert model.pth fastdvdnet/ --model=fastdvdnet
  vidrestore export-torch fastdvdnet/ model.pth
  vidrestore export fastdvdnet/ step/
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

_EXPORT_TORCH = """\
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
  except KeyboardInterrupt as stop:
    line = str(stop) or "stopped; nothing was left behind."
    print(f"\n{line}", file=sys.stderr)
    return 130
  except (ValueError, OSError, ImportError, MemoryError) as error:
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

  cli_restore.add_command(commands, command)
  cli_plan.add_command(commands, command)

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
      commands, "export-torch", _EXPORT_TORCH, _export_torch,
      "write weights for PyTorch",
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

  cli_export.add_command(commands, command)
  return parser


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
  width = max(map(len, errors))
  for output, error in errors.items():
    print(f"  {output:<{width}} {error:.1e}")
  # Not `error > tolerance`, which NaN passes.
  wrong = [k for k, error in errors.items() if not error <= tolerance]
  if wrong:
    raise ValueError(
        f"The converted weights do not do what {report['reference']} says the"
        f" original does: {', '.join(wrong)}. Nothing was written. Arguments"
        " that shapes do not tell are set by --config.KEY=VALUE."
    )


def _export_torch(arguments):
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
