"""`vidrestore export`: a model's streaming step, for use without this package.

Importing this loads the standard library only.
"""

import argparse
import pathlib

from vidrestore_jax import cli_arguments, cli_output

_DESCRIPTION = """\
Writes the streaming step of a released model as StableHLO, through jax.export:
what restores a frame, with the state going in and coming out, and the weights
inside. A process that has jax alone runs it, on any platform it was written
for, on batches of any size.

  vidrestore export fastdvdnet/ step/
  vidrestore export fastdvdnet/ step/ --size=960x540 --dtype=bfloat16
  vidrestore export step/                (the model that the package brings)
  python step/restore.py noisy.npy restored.npy 30

OUT becomes a folder of init.jaxexport (first frame -> state), step.jaxexport
(state, frame and noise -> state and restored frame), export.json, which says
shapes, dtypes and by how many frames results lag, and restore.py, which
restores a clip by them and shows how.
"""


def add_command(commands, command):
  """Adds `export` to the parser; see `cli._parser`."""
  sub = command(
      commands, "export", _DESCRIPTION, _run, "write the step as StableHLO"
  )
  sub.formatter_class = argparse.RawDescriptionHelpFormatter
  sub.add_argument(
      "folder", metavar="FOLDER", nargs="?",
      help="a released model; default the one that the package brings",
  )
  sub.add_argument(
      "output", metavar="OUT", type=pathlib.Path, help="folder to make"
  )
  sub.add_argument(
      "--size", metavar="WxH",
      help="only frames of this size, any; default multiples of the model's"
      " stride, any",
  )
  sub.add_argument(
      "--dtype", metavar="NAME",
      help="to compute in, float32 or bfloat16; default the model's",
  )
  sub.add_argument(
      "--platforms", metavar="NAMES", default="cpu,cuda,tpu",
      help="what it is to run on, of cpu, cuda, rocm and tpu; default"
      " cpu,cuda,tpu",
  )


def _run(arguments):
  size, output = arguments.size, arguments.output
  if size is not None:
    width, height = cli_arguments.parse_size(size)
    size = height, width
  given = [] if arguments.folder is None else [pathlib.Path(arguments.folder)]
  cli_output.check(given, output)

  from vidrestore_jax.inference import exporting

  with cli_output.whole_folder(output) as partial:
    card = exporting.export(
        arguments.folder, partial, size=size, dtype=arguments.dtype,
        platforms=tuple(arguments.platforms.split(",")),
    )
  print(
      f"{output}: {card['step']}, frame {card['frame']}, for"
      f" {', '.join(card['platforms'])}."
  )
