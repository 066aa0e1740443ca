"""Figures 2 and 3 of space-time distillation's supplementary, on your clips.

  python -m experiments.std_figures --data=CLIPS --out=FOLDER \\
      --model=bicubic,fastdvdnet=FOLDER,fastdvdnet_std=FOLDER

Of each clip's last measured frame it draws CLIP.png: the true frame and, beside
it, what each model makes of it at a quarter of the size, in the order of
--model. Below, two parts of it closer: where there is most detail, and where
the first and the last model differ most. Models are those of
experiments.std_tables; the paper shows Vid4's foliage and walk.
"""

import argparse
import pathlib
import sys

import numpy as np

from experiments import commands, evaluation, figures, std_tables
from vidrestore_jax import compilation_cache
from vidrestore_jax.data import folders
from vidrestore_jax.metrics import protocols


def comparison(clean, restored: dict, psnr: dict):
  """The figure of one frame.

  Args:
    clean: `[H, W, 3]` in [0, 1].
    restored: {name of a model: frame of the same shape}.
    psnr: {name of a model: PSNR of its luminance in dB, as in the tables}.
  """
  frames = {"ground truth": clean, **restored}
  titles = ["ground truth"] + [
      f"{name}  ·  {psnr[name]:.2f} dB, luminance" for name in restored
  ]
  names = list(restored)
  first, last = restored[names[0]], restored[names[-1]]
  if len(names) == 1:
    first = clean
  figure, _ = figures.side_by_side(
      [figures.preview(frame) for frame in frames.values()],
      titles,
      detail=figures.preview(clean),
      error=np.square(np.asarray(last, np.float32) - first).mean(-1),
      notes=("most detail", "largest difference of first and last"),
  )
  return figure


def main(argv=None) -> int:
  """Runs the command; returns its exit status."""
  arguments = _parser().parse_args(argv)
  return commands.run(lambda: _run(arguments), debug=arguments.debug)


def _parser():
  parser = argparse.ArgumentParser(
      prog="python -m experiments.std_figures",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
  )
  parser.add_argument("--data", required=True, metavar="CLIPS")
  parser.add_argument(
      "--model", required=True, metavar="[NAME=]FOLDER_OR_METHOD[,...]"
  )
  parser.add_argument(
      "--frames", type=int, help="only the first so many frames of each clip"
  )
  parser.add_argument("--out", required=True, metavar="FOLDER")
  parser.add_argument(
      "--debug", action="store_true", help="a traceback with an error"
  )
  return parser


def _run(arguments):
  compilation_cache.enable()
  if arguments.frames is not None and arguments.frames < 1:
    raise ValueError(f"--frames is at least 1, but got {arguments.frames}.")
  folders.find_clips(arguments.data)
  found, _ = evaluation.restorers(
      arguments.model, std_tables.NAMES, scale=std_tables.SCALE
  )
  folder = pathlib.Path(arguments.out)
  folder.mkdir(parents=True, exist_ok=True)
  results = evaluation.evaluate(
      found,
      evaluation.folder_clips(arguments.data, frames=arguments.frames),
      protocols.get("sr_y"),
      scale=std_tables.SCALE,
      examples=sys.maxsize,
      say=print,
  )
  for examples in zip(*(result.examples for result in results.values())):
    restored, psnr = (
        {name: example[key] for name, example in zip(results, examples)}
        for key in ("restored", "psnr")
    )
    path = folder / f"{examples[0]['name'].replace('/', '-')}.png"
    figures.save(comparison(examples[0]["clean"], restored, psnr), path)
    print(path)


if __name__ == "__main__":
  sys.exit(main())
