"""The command `vidrestore data degrade`.

Importing this loads the standard library only.
"""

import argparse
import contextlib
import json
import pathlib

from vidrestore_jax import cli_data, cli_output

_DEGRADE = """\
Writes the clips of a data source degraded, as a set to measure on: a folder of
PNG frames of the source's depth for each clip, and beside it CLIP.json, the
card of what was drawn. The same seed gives the same bytes. SOURCE is a folder
of clips, a video file or a folder of them, or a source's name:

  vidrestore data degrade clips/ rainy/ --degradation=rain.streaks --seed=7
  vidrestore data degrade film.mp4 noisy/ --clean=truth/ \\
      --degradation=noise.gaussian_clipped --set degradation.sigma=(0.1,0.1)
  vidrestore data degrade procedural hazy/ --clean=truth/ --set size=8 \\
      --degradation=haze.scattering

Sequences are written whole, and one is held in memory at a time; --set
length=50 --set stride=50 cuts folders and videos into clips of 50 frames.
"""


def add_command(commands, command):
  """Adds `degrade` to the commands of `data`; see `cli._parser`."""
  sub = command(
      commands, "degrade", _DEGRADE, _degrade, "write degraded clips"
  )
  sub.formatter_class = argparse.RawDescriptionHelpFormatter
  sub.add_argument("name", metavar="SOURCE", help="a path, or such as davis")
  sub.add_argument(
      "output", metavar="OUT", type=pathlib.Path, help="folder to make"
  )
  sub.add_argument(
      "--clean",
      type=pathlib.Path,
      metavar="FOLDER",
      help="folder to make of the clean frames, under the same names",
  )
  cli_data.add_set_arguments(sub, "a set prepared as clip_folders")
  cli_data.add_source_arguments(sub, required=True)
  sub.add_argument(
      "--seed", type=int, default=0, metavar="N", help="of all draws; default 0"
  )
  sub.add_argument(
      "--overwrite",
      action="store_true",
      help="replace OUT where it holds an earlier result",
  )


def _degrade(arguments):
  source = _degraded_source(arguments)
  outputs = [arguments.output]
  if arguments.clean is not None:
    outputs.append(arguments.clean)
  beside = list(outputs)
  if not _is_source(arguments.name):
    beside.append(pathlib.Path(arguments.name))
  for number, output in enumerate(outputs):
    cli_output.check(
        beside[:number] + beside[number + 1 :], output, arguments.overwrite,
        suffixes=(".png", ".json"),
    )
  with contextlib.ExitStack() as stack:
    folders = [
        stack.enter_context(cli_output.whole_folder(output))
        for output in outputs
    ]
    progress = stack.enter_context(
        cli_output.Progress(len(source), "clip", begins="")
    )
    frames, names = 0, set()
    for index in range(len(source)):
      item = source[index]
      name = _name(item["name"], names)
      for folder, key in zip(folders, ("degraded", "clean")):
        frames += _write_clip(folder / name, item, key)
      bits = 8 * item["degraded"].dtype.itemsize
      card = item["card"] | {
          "seed": arguments.seed, "index": index, "clip": item["name"],
          # Whatever the degradation itself does.
          "files": f"PNG of {bits} bits: rounded, clipped to their range",
      }
      text = json.dumps(card, indent=2)
      (folders[0] / f"{name}.json").write_text(text + "\n", encoding="utf-8")
      progress.advance(name)
  listed = " and ".join(map(str, outputs))
  print(f"{listed}: {frames} frames of {len(source)} clip(s).")


def _degraded_source(arguments):
  """The source that the command line names, degraded; nothing is written.

  Raises:
    ValueError, FileNotFoundError: it cannot be, or one of its files is damaged.
  """
  from vidrestore_jax import data
  from vidrestore_jax.data import degraded

  name = arguments.name
  given, degradation = cli_data.settings(arguments)
  if not _is_source(name):
    name = _kind(arguments.name)
    origin = cli_data.origin_key(name)
    cli_data.put(given, origin, arguments.name, f"the source {arguments.name}")
  if name in ("folders", "videos", *cli_data.builders()):
    given.setdefault("length", None)  # Whole sequences.
  source = degraded.DegradedClips(
      data.build(name, **given), degradation, arguments.seed
  )
  for line in source.damaged:
    raise ValueError(line)
  return source


def _is_source(name: str) -> bool:
  from vidrestore_jax import data

  return name in data.available()


def _kind(path: str) -> str:
  """The source that reads a path: "videos" or "folders"."""
  from vidrestore_jax.data import videos

  path = pathlib.Path(path)
  if path.is_file():
    return "videos"
  if path.is_dir() and any(
      file.suffix.lower() in videos.SUFFIXES for file in path.iterdir()
  ):
    return "videos"
  return "folders"  # Which says what is missing.


def _name(name: str, taken: set) -> str:
  """A clip's name as a file's; windows of a sequence lie beside one another.

  Raises:
    ValueError: two clips would have one.
  """
  file = name.replace("/", "_")
  if file in taken:
    raise ValueError(
        f"Two clips are called {file}: the second would replace the first."
        " Rename one, or degrade them one by one."
    )
  taken.add(file)
  return file


def _write_clip(folder, item, key) -> int:
  """Writes a clip's frames as PNG; returns how many."""
  from vidrestore_jax.data import raw
  from vidrestore_jax.inference import frames_io

  clip = item[key]
  if "bayer" in item:  # As the camera's files have it.
    clip = clip + clip.dtype.type(raw.BLACK)
  folder.mkdir()
  for t, frame in enumerate(clip):
    frames_io.write_png(folder / f"{t:05d}.png", frame)
  return len(clip)
