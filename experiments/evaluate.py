"""Measures released models and baselines on clips: numbers and a table.

  python -m experiments.evaluate --model=noisy,median3,median5,WORKDIR/model \\
      --data=CLIPS --protocol=fastdvdnet --sigma=30 --frames=10 --json=OUT.json

CLIPS is one clip's folder or a folder of clip folders, of PNG or JPEG frames.
With --truth, --data is already degraded and --truth has the clean clips.
--data=procedural measures eight procedural clips that no config trains on.
"""

import argparse
import json
import os
import pathlib
import sys

from experiments import evaluation, paper_numbers
from vidrestore_jax import data
from vidrestore_jax.data import folders
from vidrestore_jax.metrics import protocols

# Ten frames at the source's own speeds, of a seed that no config uses.
_PROCEDURAL = {
    "name": "procedural",
    "size": 8,
    "length": 10,
    "height": 192,
    "width": 192,
    "seed": 2026,
    "flow": False,
}


def main(argv=None) -> int:
  """Runs the command; returns its exit status."""
  arguments = _parser().parse_args(argv)
  try:
    _run(arguments)
  except (ValueError, OSError) as error:
    if arguments.debug or os.environ.get("VIDRESTORE_DEBUG") == "1":
      raise
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 2
  return 0


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
      help="released model folders, or noisy, median3, median5",
  )
  parser.add_argument("--data", required=True, metavar="CLIPS")
  parser.add_argument(
      "--truth", metavar="CLIPS", help="clean clips; --data is degraded then"
  )
  parser.add_argument(
      "--protocol",
      required=True,
      metavar="NAME",
      help=f"how to measure: {', '.join(protocols.available())}",
  )
  parser.add_argument(
      "--sigma", type=float, help="noise level in 8-bit units, such as 30"
  )
  parser.add_argument(
      "--frames", type=int, help="only the first so many frames of each clip"
  )
  parser.add_argument(
      "--temporal-gain",
      action="store_true",
      help="also measure what a frame's four predecessors add to it",
  )
  parser.add_argument(
      "--paper",
      metavar="SET",
      help=(
          "put the NCFL paper's numbers beside ours; SET says which test set"
          f" --data is: {', '.join(paper_numbers.TABLES)}"
      ),
  )
  parser.add_argument("--json", metavar="OUT", help="where to write numbers")
  parser.add_argument(
      "--debug", action="store_true", help="a traceback with an error"
  )
  return parser


def _run(arguments):
  protocol = protocols.get(arguments.protocol)
  sigma, frames = arguments.sigma, arguments.frames
  if sigma is not None and not 0 <= sigma <= 255:
    raise ValueError(f"--sigma lies between 0 and 255, but got {sigma:g}.")
  if frames is not None and frames < 1:
    raise ValueError(f"--frames is at least 1, but got {frames}.")
  if arguments.temporal_gain and frames is not None and frames < 5:
    raise ValueError(
        f"--temporal-gain needs --frames=5 or more, but got {frames}."
    )
  published = None
  if arguments.paper is not None:
    if sigma is None:
      raise ValueError("--paper needs --sigma to choose its column.")
    published = paper_numbers.column(arguments.paper, sigma)
  if arguments.json and not pathlib.Path(arguments.json).parent.is_dir():
    raise FileNotFoundError(
        f"There is no folder {pathlib.Path(arguments.json).parent} to write"
        f" {arguments.json} to."
    )
  held_out = arguments.data == "procedural"
  if held_out and arguments.truth:
    raise ValueError("--data=procedural is its own truth; leave out --truth.")
  paths = () if held_out else (arguments.data, arguments.truth)
  for path in paths:
    if path is not None:
      folders.find_clips(path)  # Complain about folders before loading models.

  names = [name for name in arguments.model.split(",") if name]
  if len(set(names)) < max(len(names), 1):
    raise ValueError(
        f"--model names each model once, but got {arguments.model!r}."
    )
  restorers, abouts = {}, {}
  for name in names:
    restore, about = evaluation.restorer(name)
    label = about["name"]
    if label in restorers:  # Two folders of one model.
      label = name
    restorers[label], abouts[label] = restore, about

  def clips():
    if held_out:
      return evaluation.source_clips(data.build(**_PROCEDURAL))
    return evaluation.folder_clips(
        arguments.data, arguments.truth, frames or protocol.frames
    )

  results = evaluation.evaluate(
      restorers, clips(), protocol, sigma=sigma, frames=frames, say=print
  )
  written = {}
  for label, result in results.items():
    written[label] = evaluation.as_json(
        result, protocol, abouts[label], sigma=sigma
    )
    if arguments.temporal_gain and "folder" in abouts[label]:
      gain = evaluation.temporal_gain(
          restorers[label], clips(), protocol, sigma=sigma, frames=frames
      )
      written[label]["temporal_gain"] = gain
      for clip, value in gain["clips"].items():
        print(f"{clip}, {label}: four predecessors add {value:+.2f} dB")
  noise = "" if sigma is None else f", sigma {sigma:g}"
  print(f"\nProtocol {protocol.name}{noise}:\n")
  print(evaluation.table(results, published))
  if published is not None:
    print(f"\npaper: {paper_numbers.SOURCE}")
  if arguments.json:
    # One model has the layout that other programs read; several have it each.
    results = list(written.values())
    content = results[0] if len(results) == 1 else {"results": results}
    _write_json(pathlib.Path(arguments.json), content)


def _write_json(path, content):
  """Writes beside and renames, so that the file is whole or not there."""
  beside = path.with_name(path.name + ".partial")
  beside.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
  os.replace(beside, path)


if __name__ == "__main__":
  sys.exit(main())
