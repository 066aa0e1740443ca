"""Measures released models and baselines on clips: numbers and a table.

Noise that the protocol adds to clean clips:

  python -m experiments.evaluate --model=noisy,median3,median5,WORKDIR/model \\
      --data=CLIPS --protocol=fastdvdnet --sigma=30 --frames=10 --json=OUT.json

Clips that are degraded already, beside their truth, on RGB and luminance:

  python -m experiments.evaluate --model=degraded,affine,WORKDIR/model \\
      --data=RAINY --truth=CLEAN --protocol=rgb_uint8,y_uint8 --pictures=FOLDER

Low-resolution clips made of the clean ones by MATLAB's bicubic:

  python -m experiments.evaluate --model=bicubic,WORKDIR/model --data=CLIPS \\
      --protocol=sr_y --scale=4 --json=OUT.json

The same on lists of clips, by the frame in the middle of each, as on Vimeo-90K;
each list has a mean, and the mean of all weighs each list by its clips:

  python -m experiments.evaluate --model=bicubic --data=vimeo_septuplet \\
      --lists=fast=FILE,medium=FILE,slow=FILE --frames=centre \\
      --protocol=sr_y --scale=4 --json=OUT.json

What every protocol says of the same frames, with temporal consistency:

  python -m experiments.evaluate --model=noisy,WORKDIR/model --data=CLIPS \\
      --protocol=all --sigma=30 --metrics=warping_error --json=OUT.json

Degraded clips without truth, to look at; nothing is measured:

  python -m experiments.evaluate --model=WORKDIR/model --data=CLIPS \\
      --pictures=FOLDER

CLIPS is one clip's folder or a folder of clip folders, of PNG or JPEG frames;
for --protocol=crvd_raw and crvd_srgb, of Bayer mosaics as CRVD's camera has
them: greyscale PNG or TIFF of 16 bits, GBRG, black 240, white 4095.
--data=procedural measures eight procedural clips that no config trains on.
affine (one gain and one offset for a whole clip) and affine_rgb (a matrix of
its colours) are oracles: they are fitted to the truth, and say how much needs
no network.
"""

import argparse
import importlib
import pathlib
import sys

from experiments import (
    clip_lists,
    commands,
    evaluation,
    figures,
    manifest,
    paper_numbers,
    report,
)
from vidrestore_jax import compilation_cache, data
from vidrestore_jax.data import folders, mosaics
from vidrestore_jax.metrics import protocols

# Ten frames at the source's own speeds, of a seed that no config uses.
PROCEDURAL = {
    "name": "procedural",
    "size": 8,
    "length": 10,
    "height": 192,
    "width": 192,
    "seed": 2026,
    "flow": False,
}


# What --frames takes beside numbers.
CENTRE = "centre"


def main(argv=None) -> int:
  """Runs the command; returns its exit status."""
  arguments = _parser().parse_args(argv)
  arguments.command = [
      "python", "-m", "experiments.evaluate",
      *(sys.argv[1:] if argv is None else argv),
  ]
  return commands.run(lambda: _run(arguments), debug=arguments.debug)


def _parser():
  parser = argparse.ArgumentParser(
      prog="python -m experiments.evaluate",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
  )
  parser.add_argument(
      "--model",
      required=True,
      metavar="NAME[,NAME...]",
      help=f"released model folders, or {', '.join(evaluation.METHODS)}",
  )
  parser.add_argument("--data", required=True, metavar="CLIPS")
  parser.add_argument(
      "--truth", metavar="CLIPS", help="clean clips; --data is degraded then"
  )
  parser.add_argument(
      "--protocol",
      metavar="NAME[,NAME...]",
      help=(
          f"how to measure: {', '.join(protocols.available())}, or all (those"
          " of images). The noise and the frames are the first's; its numbers"
          " come first. None with --pictures alone"
      ),
  )
  parser.add_argument(
      "--sigma", type=float, help="noise level in 8-bit units, such as 30"
  )
  parser.add_argument(
      "--scale",
      type=int,
      default=1,
      help="make low-resolution clips of --data, so many times smaller",
  )
  parser.add_argument(
      "--frames",
      type=_count_or_centre,
      metavar="N|centre",
      help=(
          "only the first so many frames of each clip; centre measures the one"
          " in its middle alone"
      ),
  )
  parser.add_argument(
      "--lists",
      metavar="NAME=FILE[,NAME=FILE...]",
      help=(
          "only the clips of --data that these files name, a folder in it at"
          " the start of each line"
      ),
  )
  parser.add_argument(
      "--metrics",
      default="",
      metavar="NAME[,NAME...]",
      help=(
          "what else to measure, on the frames of the first protocol:"
          f" {', '.join(protocols.FURTHER)}"
      ),
  )
  parser.add_argument(
      "--lpips",
      metavar="MODULE:FUNCTION",
      help=(
          "also measure a perceptual distance and TecoGAN's tLP with it: a"
          " function of yours of two images [H, W, 3] in [0, 1], such as LPIPS"
      ),
  )
  parser.add_argument(
      "--temporal-gain",
      action="store_true",
      help="also measure what other frames add to one: its four predecessors,"
      " or the rest of a windowed model's window",
  )
  parser.add_argument(
      "--paper",
      metavar="SET",
      help=(
          "put published numbers beside ours; SET says which test set"
          f" --data is: {', '.join(paper_numbers.TABLES)}"
      ),
  )
  parser.add_argument("--json", metavar="OUT", help="where to write numbers")
  parser.add_argument(
      "--pictures",
      metavar="FOLDER",
      help="where to draw each clip's last frame, side by side",
  )
  parser.add_argument(
      "--debug", action="store_true", help="a traceback with an error"
  )
  return parser


def _count_or_centre(text):
  """A number of frames, or CENTRE."""
  try:
    return text if text == CENTRE else int(text)
  except ValueError as error:
    raise argparse.ArgumentTypeError(
        f"a number of frames, or {CENTRE}, but got {text!r}"
    ) from error


def _run(arguments):
  compilation_cache.enable()
  _check(arguments)
  # Complain about folders before loading models.
  lists = listed = None
  if arguments.lists:
    lists = clip_lists.read(arguments.lists)
    listed = clip_lists.find(arguments.data, lists)
  elif arguments.data != "procedural":
    for path in (arguments.data, arguments.truth):
      if path is not None:
        (mosaics if _is_raw(arguments) else folders).find_clips(path)

  names = [name for name in arguments.model.split(",") if name]
  if len(set(names)) < max(len(names), 1):
    raise ValueError(
        f"--model names each model once, but got {arguments.model!r}."
    )
  restorers, abouts = {}, {}
  # Without truth there is no size that a result has to have.
  scale = None if arguments.protocol is None else arguments.scale
  for name in names:
    if "=" in name and not pathlib.Path(name).exists():
      raise ValueError(
          f"--model={name}: names of models are given to the commands that fill"
          " a paper's table; here a model is its folder alone,"
          f" {name.partition('=')[2]}."
      )
    restore, about = evaluation.restorer(name, scale=scale)
    label = about["name"]
    if label in restorers:  # Two folders of one model.
      label = name
    restorers[label], abouts[label] = restore, about
    if (stage := evaluation.first_stage(name)) is not None:
      label += evaluation.STAGE_ONE
      restorers[label], abouts[label] = stage

  if arguments.pictures:
    pathlib.Path(arguments.pictures).mkdir(parents=True, exist_ok=True)
  if arguments.protocol is None:
    _look(arguments, restorers)
  else:
    _measure(arguments, restorers, abouts, lists, listed)


def _check(arguments):
  """ValueError where arguments do not go together."""
  sigma, frames, scale = arguments.sigma, arguments.frames, arguments.scale
  centre = frames == CENTRE
  if sigma is not None and not 0 <= sigma <= 255:
    raise ValueError(f"--sigma lies between 0 and 255, but got {sigma:g}.")
  if frames is not None and not centre and frames < 1:
    raise ValueError(f"--frames is at least 1, but got {frames}.")
  if scale < 1:
    raise ValueError(f"--scale is at least 1, but got {scale}.")
  if scale > 1 and arguments.truth:
    raise ValueError(
        f"--scale={scale} makes the low-resolution clips of the clean ones in"
        " --data; leave out --truth."
    )
  few = centre or (frames is not None and frames < 5)
  if arguments.temporal_gain and few:
    raise ValueError(
        f"--temporal-gain needs --frames=5 or more, but got {frames}."
    )
  if arguments.lists and (arguments.truth or arguments.data == "procedural"):
    raise ValueError(
        "--lists names clips of a folder of clean ones. Leave it out for"
        " --truth and for --data=procedural."
    )
  if arguments.data == "procedural" and arguments.truth:
    raise ValueError("--data=procedural is its own truth; leave out --truth.")
  if arguments.protocol is None:
    if not arguments.pictures:
      raise ValueError(
          "--protocol says how to measure: one of"
          f" {', '.join(protocols.available())}. To look at clips without"
          " measuring them, give --pictures=FOLDER."
      )
    for name in (
        "truth", "paper", "json", "temporal_gain", "metrics", "lpips", "lists",
    ):
      if getattr(arguments, name):
        raise ValueError(
            f"--{name.replace('_', '-')} needs a --protocol to measure by: one"
            f" of {', '.join(protocols.available())}."
        )
    if centre:
      raise ValueError(
          "--frames=centre needs a --protocol. To look at clips, give a number"
          " of frames, or none."
      )
    if scale > 1 or arguments.data == "procedural":
      raise ValueError(
          f"--data={arguments.data} is clean then, and only a --protocol says"
          " how to degrade and measure it. Give one, such as"
          f" --protocol={'sr_y' if scale > 1 else 'fastdvdnet'}."
      )
  commands.check_json(arguments.json)


def _is_raw(arguments) -> bool:
  """Whether the clips are mosaics, as the first protocol has them."""
  first = (arguments.protocol or "").partition(",")[0]
  if first not in protocols.available():  # None, or refused elsewhere.
    return False
  return protocols.get(first).colour in ("bayer", "isp")


def _measure(arguments, restorers, abouts, lists, listed):
  """Numbers as a table, and what else was asked for."""
  first, *others = _protocols(arguments)
  further = _further(arguments)
  sigma, scale = arguments.sigma, arguments.scale
  centre = arguments.frames == CENTRE
  frames = None if centre else arguments.frames
  published = None
  if arguments.paper is not None:
    published = paper_numbers.column(arguments.paper, sigma)
  given = dict(sigma=sigma, frames=frames, scale=scale)
  trained = any("folder" in about for about in abouts.values())
  if arguments.temporal_gain and not trained:
    raise ValueError(
        "--temporal-gain needs a released model; none of"
        f" {', '.join(abouts)} looks at the frames before."
    )

  def clips():
    if listed is not None:
      return clip_lists.clips(listed)
    if arguments.data == "procedural":
      return evaluation.source_clips(data.build(**PROCEDURAL))
    read = evaluation.folder_clips
    if _is_raw(arguments):
      read = evaluation.mosaic_clips
    limit = None if centre else frames or first.frames
    return read(arguments.data, arguments.truth, limit)

  results = evaluation.evaluate(
      restorers,
      clips(),
      first,
      also=others,
      further=further,
      centre=centre,
      examples=sys.maxsize if arguments.pictures else 0,
      say=print,
      **given,
  )
  written = {}
  reference = next(iter(results.items()))
  recorded = manifest.collect(arguments.command)
  for label, result in results.items():
    written[label] = evaluation.as_json(
        result, first, abouts[label], sigma=sigma, scale=scale, also=others,
        first=None if label == reference[0] else reference, centre=centre,
        lists=lists,
    )
    written[label]["manifest"] = recorded | {
        "weights_sha256": abouts[label].get("weights_sha256"),
        "noise_seed": first.noise.seed if first.noise else None,
        "frames": {name: row["frames"] for name, row in result.clips.items()},
    }
    if arguments.temporal_gain and "folder" in abouts[label]:
      radius = abouts[label]["radius"]
      around, window = "four predecessors", {}
      if radius is not None:
        around = f"{radius} frames on either side"
        window = dict(predecessors=radius, successors=radius)
      gain = evaluation.temporal_gain(
          restorers[label], clips(), first, **given, **window
      )
      written[label]["temporal_gain"] = gain
      for clip, value in gain["clips"].items():
        print(f"{clip}, {label}: {around} add {value:+.2f} dB")
  noise = "" if sigma is None else f", sigma {sigma:g}"
  print(f"\nProtocol {first.name}{noise}:\n")
  print(
      evaluation.table(results, published, with_intervals=True, lists=lists)
  )
  _say_intervals(written)
  if published is not None:
    print(f"\npaper: {paper_numbers.source(arguments.paper)}")
  for other in others:
    print(f"\nProtocol {other.name}{noise}:\n")
    print(
        evaluation.table(
            results, prefix=f"{other.name}/", with_intervals=True, lists=lists
        )
    )
  for label in [name for name in written if "stage_of" in abouts[name]]:
    whole = label.removesuffix(evaluation.STAGE_ONE)
    written[whole]["stage_one"] = written.pop(label)
  if arguments.json:
    # One model has the layout that other programs read; several have it each.
    results_json = list(written.values())
    commands.write_json(
        arguments.json,
        results_json[0]
        if len(results_json) == 1
        else {"results": results_json},
    )
  if arguments.pictures:
    for label, result in results.items():
      for record in result.examples:
        example = report.Example.from_evaluation(record, sigma=sigma)
        _draw(arguments, record["name"], label, figures.strip(example))


def _protocols(arguments):
  """The protocols that --protocol names, whose noise is used first."""
  if arguments.protocol != "all":
    return [protocols.get(name) for name in arguments.protocol.split(",")]
  adds_noise = arguments.truth is None and arguments.scale == 1
  first = "fastdvdnet" if adds_noise else "basicsr"
  names = [first, *(n for n in protocols.of_images() if n != first)]
  return [protocols.get(name) for name in names]


def _further(arguments):
  """{name: function} of what --metrics and --lpips ask for."""
  further = {}
  for name in filter(None, arguments.metrics.split(",")):
    if name not in protocols.FURTHER:
      raise ValueError(
          f"--metrics has no {name!r}; it has"
          f" {', '.join(protocols.FURTHER)}."
      )
    further[name] = protocols.FURTHER[name]
  if arguments.lpips is not None:
    further |= protocols.perceptual(_import(arguments.lpips))
  return further


def _import(text):
  """The function that "MODULE:FUNCTION" names."""
  module, _, name = text.partition(":")
  try:
    return getattr(importlib.import_module(module), name)
  except (ImportError, ValueError, AttributeError) as error:
    raise ValueError(
        f"--lpips={text} names no function: {error}. Give MODULE:FUNCTION, of"
        " a module that Python finds from here."
    ) from error


def _say_intervals(written):
  """How sure the means and the gains over the first row are, in words."""
  first, *others = written.items()
  count = first[1]["intervals"]["clips"]
  if count < 2:
    print("\nOne clip: it says nothing of others, so there are no intervals.")
    return
  for label, content in others:
    gain = content["gain"]
    low, high = gain["intervals"]["psnr"]
    print(
        f"{label} over {gain['over']}: {gain['mean']['psnr']:+.2f} dB"
        f" ({low:+.2f} to {high:+.2f} with 95 % over {count} clips)"
    )


def _look(arguments, restorers):
  """Pictures of clips that have no truth."""
  for label, restore in restorers.items():
    clips = evaluation.folder_clips(arguments.data, frames=arguments.frames)
    for record in evaluation.look(restore, clips, sigma=arguments.sigma):
      figure = figures.pair(report.Look(**record))
      _draw(arguments, record["name"], label, figure)


def _draw(arguments, clip, label, figure):
  name = f"{clip}_{label.strip('/')}.png".replace("/", "-")
  path = pathlib.Path(arguments.pictures) / name
  figures.save(figure, path)
  print(f"{clip}, {label}: {path}")


if __name__ == "__main__":
  sys.exit(main())
