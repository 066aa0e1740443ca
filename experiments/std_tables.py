"""Tables 1 and 2 of space-time distillation's supplementary, on your clips.

  python -m experiments.std_tables --vid4=CLIPS --vimeo=vimeo_septuplet \\
      --lists=fast=FILE,medium=FILE,slow=FILE --json=OUT.json \\
      --model=bicubic,edvr=FOLDER,fastdvdnet=FOLDER,fastdvdnet_std=FOLDER

  2  SSIM of luminance on Vid4 and on Vimeo-90K at x4, and what a frame costs
     (the default)
  1  PSNR on Vid4 by the start of time distillation's ConvLSTM; models are named
     random, frozen and trained

CLIPS has Vid4's folders calendar, city, foliage and walk, or some of them; of
Vimeo-90K the frame in the middle of each clip is measured. Either may be left
out. A model is a released folder or a method of experiments.evaluate;
NAME=FOLDER calls it NAME, and bicubic, toflow, duf, edvr, vdsr, vespcn, vsrnet,
fastdvdnet and these with _std (vdsr with _pisr) stand in the paper's rows.
Frames are made smaller by MATLAB's bicubic and rounded; see the protocol
`sr_y`. Times of ours: python -m experiments.benchmarks.frame_time.
"""

import argparse
import sys

from experiments import (
    clip_lists,
    commands,
    complexity,
    evaluation,
    manifest,
    paper_numbers,
)
from vidrestore_jax import compilation_cache, released
from vidrestore_jax.data import folders
from vidrestore_jax.metrics import protocols

PAPER = "Xiao et al., CVPR 2021, supplementary"
SCALE = 4
# How the paper's rows are called in short, as the variants of std_vimeo are.
NAMES = {
    method.lower().replace("vsr-", "").replace("+", "_"): method
    for method in paper_numbers.STD
}
NAMES |= {
    f"{name}_base": NAMES[name]
    for name in ("vdsr", "vespcn", "vsrnet", "fastdvdnet")
}
# Of the frame that the paper counts the cost of.
_WIDTH, _HEIGHT = 180, 120


def vid4_columns(clips: dict[str, dict], number: str = "ssim") -> dict:
  """Numbers by Vid4's columns; the average where all four are there.

  Args:
    clips: of an `evaluation.Evaluation`; names such as "city" or "vid4_city".
    number: which.

  Raises:
    ValueError: a clip that is none of Vid4's, or one twice.
  """
  *names, average = paper_numbers.STD_COLUMNS["vid4"]
  columns = {}
  for clip, numbers in clips.items():
    found = [name for name in names if name in clip.lower()]
    if len(found) != 1 or found[0] in columns:
      raise ValueError(
          f"--vid4 has the clip {clip}, which is none of Vid4's or one of them"
          f" a second time; it has {', '.join(names)}."
      )
    columns[found[0]] = numbers[number]
  if len(columns) == len(names):
    columns[average] = sum(columns.values()) / len(names)
  return columns


def cost(folder: str) -> dict:
  """Parameters and multiply-accumulates of a released model's frame."""
  model, _ = released.load(folder)
  total, _ = complexity.measure(model, width=_WIDTH, height=_HEIGHT)
  return {"params": total.params, "macs": total.macs}


def printed(method: str, part: str, column: str) -> str:
  """A number of the paper, with what its row implies where that differs."""
  if method not in paper_numbers.STD:
    return "-"
  text = f"{paper_numbers.STD[method][part][column]:.4f}"
  implied = paper_numbers.STD_IMPLIED.get((method, part, column))
  return text if implied is None else f"{text} [{implied:.4f}]"


def main(argv=None) -> int:
  """Runs the command; returns its exit status."""
  typed = sys.argv[1:] if argv is None else argv
  arguments = _parser().parse_args(typed)
  arguments.command = ["python", "-m", "experiments.std_tables", *typed]
  return commands.run(lambda: _run(arguments), debug=arguments.debug)


def _parser():
  parser = argparse.ArgumentParser(
      prog="python -m experiments.std_tables",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
  )
  parser.add_argument("--table", type=int, choices=(1, 2), default=2)
  parser.add_argument("--vid4", metavar="CLIPS")
  parser.add_argument("--vimeo", metavar="FOLDER")
  parser.add_argument("--lists", metavar="NAME=FILE,...")
  parser.add_argument(
      "--model", required=True, metavar="[NAME=]FOLDER_OR_METHOD[,...]"
  )
  parser.add_argument(
      "--frames", type=int, help="only the first so many of Vid4's clips"
  )
  parser.add_argument("--json", metavar="OUT", help="where to write numbers")
  parser.add_argument(
      "--debug", action="store_true", help="a traceback with an error"
  )
  return parser


def _run(arguments):
  compilation_cache.enable()
  commands.check_json(arguments.json)
  sets = _sets(arguments)
  first = arguments.table == 1
  found, abouts = evaluation.restorers(
      arguments.model, {} if first else NAMES, scale=SCALE
  )
  if first and (unknown := set(found) - set(paper_numbers.STD_START)):
    raise ValueError(
        f"--table=1 has the starts {', '.join(paper_numbers.STD_START)}, but"
        f" --model names {', '.join(sorted(unknown))}. Give"
        " --model=random=FOLDER and so on."
    )
  record = protocols.get("sr_y")
  numbers, measured = {}, {}
  for part, (clips, centre) in sets.items():
    print(f"{part}:")
    results = evaluation.evaluate(
        found, clips(), record, scale=SCALE, centre=centre,
        frames=None if centre else arguments.frames, say=print,
    )
    numbers[part] = {
        name: evaluation.as_json(
            result, record, abouts[name], sigma=None, scale=SCALE,
            centre=centre,
        )
        for name, result in results.items()
    }
    measured[part] = {
        name: _columns(arguments, part, result, "psnr" if first else "ssim")
        for name, result in results.items()
    }
  print(f"\nTable {arguments.table} of {PAPER}, here and there:")
  costs = {}
  if first:
    print(f"\n{evaluation.markdown(_start_rows(measured['vid4']))}")
  else:
    for part, rows in measured.items():
      print(f"\n{evaluation.markdown(_ssim_rows(part, rows))}")
    costs = {
        name: cost(about["folder"])
        for name, about in abouts.items() if "folder" in about
    }
    print(f"\n{evaluation.markdown(_cost_rows(costs))}\n")
    for note in paper_numbers.STD_NOTES:
      print(f"* {note}")
  if arguments.json:
    commands.write_json(
        arguments.json,
        {
            "table": arguments.table,
            "published": PAPER,
            "published_rows": (
                paper_numbers.STD_START if first else paper_numbers.STD
            ),
            "notes": [] if first else paper_numbers.STD_NOTES,
            "columns": measured,
            "results": numbers,
            "cost": costs,
            "manifest": manifest.collect(arguments.command),
        },
    )


def _sets(arguments) -> dict:
  """{part: (function that reads its clips, whether only centres count)}."""
  sets = {}
  if arguments.frames is not None and arguments.frames < 1:
    raise ValueError(f"--frames is at least 1, but got {arguments.frames}.")
  if bool(arguments.vimeo) != bool(arguments.lists):
    raise ValueError(
        "--vimeo and --lists go together: the lists say which clips are fast,"
        " medium and slow (experiments/clip_lists.py says where they are from)."
    )
  if arguments.vid4:
    folders.find_clips(arguments.vid4)
    sets["vid4"] = (lambda: evaluation.folder_clips(arguments.vid4), False)
  if arguments.table == 1 and (arguments.vimeo or not arguments.vid4):
    raise ValueError("--table=1 is of Vid4: give --vid4=CLIPS alone.")
  if arguments.vimeo:
    arguments.lists = clip_lists.read(arguments.lists)
    *names, _ = paper_numbers.STD_COLUMNS["vimeo"]
    if set(arguments.lists) - set(names):
      raise ValueError(
          f"--lists has {', '.join(arguments.lists)}, but the table's are"
          f" {', '.join(names)}."
      )
    listed = clip_lists.find(arguments.vimeo, arguments.lists)
    sets["vimeo"] = (lambda: clip_lists.clips(listed), True)
  if not sets:
    raise ValueError("There is nothing to measure: give --vid4 or --vimeo.")
  return sets


def _columns(arguments, part, result, number) -> dict:
  """{column of the paper: a model's number} of a set."""
  if part == "vid4":
    return vid4_columns(result.clips, number)
  means = evaluation.list_means(result, arguments.lists)
  columns = {name: row[number] for name, row in means.items()}
  *names, average = paper_numbers.STD_COLUMNS["vimeo"]
  # Over the clips of a list or two it would stand beside the paper's of all.
  if set(columns) == set(names):
    columns[average] = result.mean[number]
  return columns


def _start_rows(measured):
  rows = [["PSNR (dB), Vid4", "here", "paper"]]
  for start, published in paper_numbers.STD_START.items():
    value = measured.get(start, {}).get("average")
    ours = "-" if value is None else f"{value:.2f}"
    rows.append([start, ours, f"{published:.2f}"])
  return rows


def _ssim_rows(part, measured):
  columns = paper_numbers.STD_COLUMNS[part]
  rows = [[f"SSIM, {part}"]]
  for column in columns:
    rows[0] += [column, "paper"]
  for method in dict.fromkeys([*paper_numbers.STD, *measured]):
    row = [method]
    for column in columns:
      ours = measured.get(method, {}).get(column)
      row.append("-" if ours is None else f"{ours:.4f}")
      row.append(printed(method, part, column))
    rows.append(row)
  return rows


def _cost_rows(costs):
  rows = [["", "parameters", "MACs (T)", "paper's FLOPs (T)", "paper's ms"]]
  for method in dict.fromkeys([*paper_numbers.STD, *costs]):
    known = paper_numbers.STD.get(method, {})
    row = [method, "-", "-"]
    if method in costs:
      ours = costs[method]
      row = [method, f"{ours['params']:,}", f"{ours['macs'] / 1e12:.4f}"]
    for key in ("flops", "ms"):
      value = known.get(key)
      row.append("-" if value is None else f"{value:g}")
    rows.append(row)
  return rows


if __name__ == "__main__":
  sys.exit(main())
