"""Figures 5 and 6 of the FITVNet paper and its Sobel figure, on your clips.

  python -m experiments.fitvnet_figures --data=CLIPS --sigma=25 \\
      --model=median3,jsc=FOLDER --out=FOLDER

Of each clip's last measured frame it draws, as PNG,

  CLIP_MODEL_deviation   figure 5: the difference to the clean frame, a black
                         box about each patch of 32x32 that deviates more than
                         the mean of all, and how much each deviates
  CLIP_MODEL_stages      figure 6: what the first stage made, beside the result
                         (models that have stages)
  CLIP_sobel             appendix: the edges of the clean frame, the noisy one
                         and all results

Models, --septuplets and --frames are those of experiments.fitvnet_tables;
without --sigma the noise is the mixed one (--mixed).
"""

import argparse
import pathlib
import sys

import numpy as np

from experiments import commands, evaluation, figures, fitvnet_tables
from vidrestore_jax import compilation_cache
from vidrestore_jax.inference import streaming
from vidrestore_jax.metrics import deviation

# Differences are shown about grey, this many times as large.
_DIFFERENCE_GAIN = 4.0
_BOX = "#000000"  # As in the paper; the ground is grey.


def deviation_map(clean, restored, name: str):
  """Figure 5: where a restored frame differs in structure.

  Args:
    clean: `[H, W, 3]` in [0, 1], both sides at least 32.
    restored: the same shape.
    name: of the method, for the title.

  Returns:
    A matplotlib figure: restored frame, boxed difference, map of deviations.
  """
  found = deviation.average_deviation(restored, clean)
  difference = np.asarray(restored, np.float32) - clean
  grey = np.clip(0.5 + _DIFFERENCE_GAIN * difference, 0, 1)
  peak = float(found.patches.max())
  shares = found.patches / peak if peak else found.patches
  side = deviation.PATCH
  heat = np.full(clean.shape, 0.08, np.float32)  # What no patch covers.
  coded = figures.colour_coded(shares, figures.ERROR_COLOURS)
  rows, columns = found.patches.shape
  heat[: rows * side, : columns * side] = figures.enlarge(coded, side)
  panels = [figures.preview(restored), grey, heat]
  titles = (
      f"{name}  ·  {figures.psnr(restored, clean):.2f} dB",
      f"difference x{_DIFFERENCE_GAIN:g}  ·  boxed: over {found.threshold:.4f}",
      f"deviation of patches  ·  AD {found.index:.4f}",
  )
  figure, axes = figures.row(panels, titles)
  scale = figures.scale_of(panels[0])
  for row, column in zip(*np.nonzero(found.selected)):
    box = [scale * side * place for place in (row, column, 1, 1)]
    figures.draw_box(axes[1], box, _BOX)
  figures.colour_bar(
      figure, axes[2], figures.ERROR_COLOURS, peak or 1.0, None, "of white"
  )
  return figure


def stages(clean, degraded, first, restored, name: str):
  """Figure 6: noisy frame, the first stage's result, the final one, truth.

  Args:
    clean: `[H, W, C]` in [0, 1].
    degraded: the same shape.
    first: what the first stage made, the same shape.
    restored: the final result, the same shape.
    name: of the method, for the title.
  """
  frames = {
      "noisy": degraded, "first stage": first, name: restored, "clean": clean
  }
  titles = [
      title
      if frame is clean
      else f"{title}  ·  {figures.psnr(frame, clean):.2f} dB"
      for title, frame in frames.items()
  ]
  # What the second stage changed decides where to look closer.
  change = np.square(np.asarray(restored, np.float32) - first).mean(-1)
  figure, _ = figures.side_by_side(
      [figures.preview(frame) for frame in frames.values()],
      titles,
      detail=figures.preview(clean),
      error=change,
      notes=("most detail", "largest change by the second stage"),
  )
  return figure


def edges(clean, frames):
  """The appendix's figure: Sobel's gradient of several frames, on one scale.

  Args:
    clean: `[H, W, C]` in [0, 1].
    frames: {name: frame of the same shape}.
  """
  gradients = {"clean": sobel(clean)} | {
      name: sobel(frame) for name, frame in frames.items()
  }
  # The strongest edges of the clean frame are white.
  peak = max(float(np.quantile(gradients["clean"], 0.999)), 1e-6)
  titles = ["edges of the clean frame"]
  for name, gradient in list(gradients.items())[1:]:
    error = np.abs(gradient - gradients["clean"]).mean()
    titles.append(f"{name}  ·  differs by {error:.4f}")
  last = list(gradients.values())[-1]
  figure, _ = figures.side_by_side(
      [
          np.repeat(np.clip(g / peak, 0, 1)[..., None], 3, -1)
          for g in gradients.values()
      ],
      titles,
      detail=figures.preview(clean),
      error=np.square(last - gradients["clean"]),
      notes=("most detail", f"where {list(gradients)[-1]} differs most"),
  )
  return figure


def sobel(frame) -> np.ndarray:
  """Length of the gradient of a frame's grey value by Sobel's operator.

  Sobel's two 3x3 kernels over 8, so that a ramp has its slope; borders are
  mirrored without the border pixel. What "via Sobel operator" leaves open is
  the grey value: the mean of the channels.

  Args:
    frame: `[H, W, C]` in [0, 1].

  Returns:
    float32 `[H, W]`, per pixel.
  """
  grey = np.asarray(frame, np.float32).mean(-1)
  padded = np.pad(grey, 1, mode="reflect")
  across = padded[:, 2:] - padded[:, :-2]
  down = padded[2:] - padded[:-2]
  dx = across[:-2] + 2 * across[1:-1] + across[2:]
  dy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
  return np.hypot(dx, dy) / 8


def draw(results, folder: pathlib.Path, say=print):
  """Draws and writes all figures of an evaluation's examples.

  Args:
    results: {name: `evaluation.Evaluation`} of the same clips.
    folder: where to write; it exists.
    say: takes a line for each figure.
  """

  def save(figure, *words):
    name = "_".join(words).replace("/", "-").replace(" ", "-") + ".png"
    figures.save(figure, folder / name)
    say(str(folder / name))

  for examples in zip(*(result.examples for result in results.values())):
    clip, clean = examples[0]["name"], examples[0]["clean"]
    for name, example in zip(results, examples):
      restored = example["restored"]
      save(deviation_map(clean, restored, name), clip, name, "deviation")
      first = example["pre_denoised"]
      if first is not None:
        figure = stages(clean, example["degraded"], first, restored, name)
        save(figure, clip, name, "stages")
    frames = {"noisy": examples[0]["degraded"]} | {
        name: example["restored"] for name, example in zip(results, examples)
    }
    save(edges(clean, frames), clip, "sobel")


def main(argv=None) -> int:
  """Runs the command; returns its exit status."""
  arguments = _parser().parse_args(argv)
  return commands.run(lambda: _run(arguments), debug=arguments.debug)


def _parser():
  parser = argparse.ArgumentParser(
      prog="python -m experiments.fitvnet_figures",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
  )
  fitvnet_tables.add_clip_arguments(parser)
  parser.add_argument(
      "--sigma", type=float, help="of Gaussian noise, in 8-bit units"
  )
  parser.add_argument("--out", required=True, metavar="FOLDER")
  return parser


def _run(arguments):
  compilation_cache.enable()
  fitvnet_tables.check_clip_arguments(arguments)
  sigma = arguments.sigma
  if sigma is not None and not 0 <= sigma <= 255:
    raise ValueError(f"--sigma lies between 0 and 255, but got {sigma:g}.")
  found, _ = evaluation.restorers(
      arguments.model,
      fitvnet_tables.VARIANTS,
      aux=(*streaming.AUX, "pre_denoised"),
  )
  if None in found.values():
    raise ValueError(
        "--model names what restores; the noisy frame is drawn anyway."
    )
  folder = pathlib.Path(arguments.out)
  folder.mkdir(parents=True, exist_ok=True)
  results = evaluation.evaluate(
      found,
      fitvnet_tables.noisy(
          fitvnet_tables.clips(
              arguments.data,
              frames=arguments.frames,
              septuplets=arguments.septuplets,
          ),
          None if sigma is not None else arguments.mixed,
      ),
      fitvnet_tables.protocol(arguments.septuplets),
      sigma=fitvnet_tables.MIXED_SIGMA if sigma is None else sigma,
      examples=sys.maxsize,
      say=print,
  )
  draw(results, folder)


if __name__ == "__main__":
  sys.exit(main())
