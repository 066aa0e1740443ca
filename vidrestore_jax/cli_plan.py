"""`vidrestore plan`: what a restoration will take, before it is run.

Importing this loads the standard library only.
"""

import argparse
import math
import pathlib

from vidrestore_jax import cli_arguments

_DESCRIPTION = """\
Says how much memory and time `restore` would take for IN, and whether in tiles:
the model is compiled for its frames and one is timed; nothing of IN is
restored. What was compiled is kept, so that `restore` starts at once.

  vidrestore plan noisy.mp4
  vidrestore plan noisy/ --model=FOLDER --tile=512
"""


def add_command(commands, command):
  """Adds `plan` to the parser; see `cli._parser`."""
  sub = command(
      commands, "plan", _DESCRIPTION, _run, "memory and time of a restoration"
  )
  sub.formatter_class = argparse.RawDescriptionHelpFormatter
  sub.add_argument("input", metavar="IN", help="video or folder of frames")
  cli_arguments.add_model(sub)
  cli_arguments.add_layout(sub)
  sub.add_argument(
      "--memory", type=float, metavar="GB",
      help="what it is to fit into; default what is free",
  )


def _run(arguments):
  memory = arguments.memory
  if memory is not None and not 0 < memory < math.inf:
    raise ValueError(f"--memory is a positive number of GB, not {memory:g}.")
  path = pathlib.Path(arguments.input)
  if not path.exists():
    raise FileNotFoundError(
        f"There is no {path} (looked from {pathlib.Path.cwd()})."
    )
  clips = _sizes(path)

  from vidrestore_jax import compilation_cache, released
  from vidrestore_jax.inference import plan

  compilation_cache.enable()
  model, variables = released.load(arguments.model)
  available = None if memory is None else int(memory * 1e9)
  for name, size, frames in clips:
    made = plan.make(
        model, variables, size, frames=frames, tile=arguments.tile,
        chunk=arguments.chunk, devices=arguments.devices, available=available,
    )
    print(f"{name}: {made}")


def _sizes(path):
  """[(name, (H, W), frames or None)] of the clips, as their files say."""
  if path.is_dir():
    from vidrestore_jax.data import folders
    from vidrestore_jax.inference import tiff

    found, suffixes = [], (*folders.SUFFIXES, *tiff.SUFFIXES)
    for name, paths in folders.find_clips(path, suffixes=suffixes):
      first = paths[0]
      if first.suffix.lower() in tiff.SUFFIXES:
        height, width = tiff.decode(first.read_bytes(), first).shape[:2]
      else:
        width, height, _ = folders.header(first, first)
      found.append((name, (height, width), len(paths)))
    return found
  from vidrestore_jax.inference.video_reader import VideoReader

  described = VideoReader(path).description
  return [(path.name, described.size[::-1], described.frames)]
