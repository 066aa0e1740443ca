"""Tables 1, 2 and 4 of the FITVNet paper on your clips, its columns beside.

  python -m experiments.fitvnet_tables --table=4 --data=CLIPS \\
      --model=noisy,median3,median5,fastdvdnet=FOLDER,jsc=FOLDER --json=OUT.json

  1  PSNR / SSIM of models trained on mixed noise, on sigma 25 and mixed noise
  2  the AD index on mixed noise: AD_avg, AD_max, #AD
  4  PSNR / SSIM of models trained on Gaussian noise, sigma 15 to 55

(Table 3, times: experiments.benchmarks.frame_time.) A model is a released
folder or a method of experiments.evaluate; NAME=FOLDER calls it NAME, and base,
jsn, jsc and unsupervised are the paper's FITVNet variants. --septuplets takes
clips of seven frames as the paper takes Vimeo-90K's: frames 2 to 6 go in, and
frame 4 is measured. The published numbers are of 700 such clips, and belong
beside ours only there. Conventions that the paper leaves open are in the
protocol `fitvnet` and in metrics/deviation.py.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator

import numpy as np

from experiments import (
    commands,
    evaluate,
    evaluation,
    manifest,
    paper_numbers,
)
from vidrestore_jax import compilation_cache, data
from vidrestore_jax.data import degraded, folders
from vidrestore_jax.metrics import deviation, protocols

PAPER = "Wang et al., arXiv:2001.00346"
# How the paper calls what a person names in short.
VARIANTS = {
    "base": "FITVNet (base)",
    "jsn": "FITVNet (+jsn)",
    "jsc": "FITVNet (+jsc)",
    "unsupervised": "FITVNet (unsupervised)",
}
MIXED = ("noise.mixed_toflow", "noise.mixed_true_sp")
# The Gaussian part of the mixed noise, which models with a noise map are told.
MIXED_SIGMA = 25.5
_MIXED_SEED = 2001  # Of the mixed noise; any will do.
_GAUSSIAN = (15, 25, 35, 45, 55)


@dataclasses.dataclass(frozen=True)
class Column:
  """One noise of a table.

  Attributes:
    heading: above it.
    sigma: in 8-bit units, what models are told.
    mixed: name of the mixed noise, or None for Gaussian noise of `sigma`.
    published: {method: (PSNR, SSIM)}.
  """

  heading: str
  sigma: float
  mixed: str | None
  published: dict


def columns(table: int, mixed: str) -> list[Column]:
  """The noises of table 1, 2 or 4.

  Args:
    table: its number.
    mixed: one of MIXED.
  """
  if table == 4:
    return [
        Column(f"sigma {s}", s, None, paper_numbers.column("vimeo700", s))
        for s in _GAUSSIAN
    ]
  published = paper_numbers.column("vimeo700_mixed", None)
  columns = [Column("mixed", MIXED_SIGMA, mixed, published)]
  if table == 1:
    published = paper_numbers.column("vimeo700_mixed", 25)
    columns.insert(0, Column("sigma 25", 25, None, published))
  return columns


def clips(
    path: str, *, frames: int | None = None, septuplets: bool = False
) -> Iterator[dict]:
  """Clean clips as sources' items, cut as the tables want them.

  Args:
    path: a folder of clips, or "procedural".
    frames: the first so many frames of each; None for all.
    septuplets: the clips have seven frames, of which 2 to 6 are taken.

  Raises:
    ValueError: a clip that is no septuplet.
  """
  if path == "procedural":
    items = evaluation.source_clips(data.build(**evaluate.PROCEDURAL))
  else:
    items = evaluation.folder_clips(path)
  for item in items:
    clean = item["clean"]
    if septuplets and len(clean) != 7:
      raise ValueError(
          f"Clip {item['name']} has {len(clean)} frames; --septuplets is for"
          " clips of seven. Leave it out to measure every frame."
      )
    yield item | {"clean": clean[1:6] if septuplets else clean[:frames]}


def noisy(items, mixed: str | None) -> Iterator[dict]:
  """The clips with mixed noise, or as they are for the protocol's Gaussian.

  Args:
    items: sources' items.
    mixed: one of MIXED, or None.
  """
  if mixed is None:
    yield from items
    return
  for index, item in enumerate(items):
    yield degraded.pair(item, {"name": mixed}, seed=_MIXED_SEED, index=index)


def protocol(septuplets: bool) -> protocols.Protocol:
  """How the tables measure; of septuplets only the middle frame counts."""
  record = protocols.get("fitvnet")
  if not septuplets:
    return record
  source = f"{record.source}; of frames 2 to 6 of septuplets, the middle one"
  return dataclasses.replace(record, drop_ends=2, source=source)


def deviations(name, restore, items, record, *, sigma, say=None):
  """AD of every image that counts, and the evaluation they come from."""
  indices = []

  def index(frames, truth, *, crop):
    del crop
    values = [
        deviation.average_deviation(frame, true).index
        for frame, true in zip(frames, truth)
    ]
    indices.extend(values)
    return np.mean(values)

  result = evaluation.evaluate(
      {name: restore}, items, record, sigma=sigma, further={"ad": index},
      say=say,
  )[name]
  return indices, result


def main(argv=None) -> int:
  """Runs the command; returns its exit status."""
  typed = sys.argv[1:] if argv is None else argv
  arguments = _parser().parse_args(typed)
  arguments.command = ["python", "-m", "experiments.fitvnet_tables", *typed]
  return commands.run(lambda: _run(arguments), debug=arguments.debug)


def add_clip_arguments(parser):
  """The arguments that this command and `fitvnet_figures` share."""
  parser.add_argument("--data", required=True, metavar="CLIPS")
  parser.add_argument(
      "--model", required=True, metavar="[NAME=]FOLDER_OR_METHOD[,...]"
  )
  parser.add_argument(
      "--frames", type=int, help="only the first so many frames of each clip"
  )
  parser.add_argument(
      "--septuplets", action="store_true",
      help="of clips of seven frames, 2 to 6 go in and 4 is measured",
  )
  parser.add_argument(
      "--mixed", choices=MIXED, default=MIXED[0],
      help="the mixed noise, where noise is mixed",
  )
  parser.add_argument(
      "--debug", action="store_true", help="a traceback with an error"
  )


def check_clip_arguments(arguments):
  """Complains about the shared arguments before models are loaded."""
  if arguments.frames is not None and arguments.frames < 1:
    raise ValueError(f"--frames is at least 1, but got {arguments.frames}.")
  if arguments.frames is not None and arguments.septuplets:
    raise ValueError("--septuplets says which frames; leave out --frames.")
  if arguments.data != "procedural":
    folders.find_clips(arguments.data)


def _parser():
  parser = argparse.ArgumentParser(
      prog="python -m experiments.fitvnet_tables",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
  )
  parser.add_argument("--table", type=int, required=True, choices=(1, 2, 4))
  add_clip_arguments(parser)
  parser.add_argument("--json", metavar="OUT", help="where to write numbers")
  return parser


def _run(arguments):
  compilation_cache.enable()
  check_clip_arguments(arguments)
  commands.check_json(arguments.json)
  number = arguments.table
  found, abouts = evaluation.restorers(
      arguments.model, VARIANTS, stages=True
  )
  record = protocol(arguments.septuplets)
  make = _deviation_table if number == 2 else _quality_table
  rows, numbers = make(arguments, found, abouts, record)
  print(f"\nTable {number} of {PAPER}, here and there:\n")
  print(evaluation.markdown(rows))
  notes = paper_numbers.NOTES[number]
  print()
  for note in notes:
    print(f"* {note}")
  if arguments.json:
    commands.write_json(
        arguments.json,
        {
            "table": number,
            "published": PAPER,
            "notes": notes,
            "protocol_record": protocols.as_dict(record),
            "mixed": {"name": arguments.mixed, "seed": _MIXED_SEED},
            **numbers,
            "manifest": manifest.collect(arguments.command),
        },
    )


def _items(arguments, column):
  items = clips(
      arguments.data, frames=arguments.frames, septuplets=arguments.septuplets
  )
  return noisy(items, column.mixed)


def _quality_table(arguments, found, abouts, record):
  """Tables 1 and 4: a pair of columns, ours and the paper's, for each noise."""
  rows, numbers = {}, []
  for column in columns(arguments.table, arguments.mixed):
    print(f"{column.heading}:")
    results = evaluation.evaluate(
        found, _items(arguments, column), record, sigma=column.sigma, say=print
    )
    cells = _side_by_side(
        {
            name: (result.mean["psnr"], result.mean["ssim"])
            for name, result in results.items()
        },
        column.published,
        "{0:.2f} / {1:.4f}".format,
    )
    for name, pair in cells.items():
      rows.setdefault(name, {})[column.heading] = pair
    numbers.append({
        "heading": column.heading,
        "sigma": column.sigma,
        "results": {
            name: evaluation.as_json(
                result, record, abouts.get(name), sigma=column.sigma
            )
            for name, result in results.items()
        },
        "published": column.published,
    })
  headings = [column["heading"] for column in numbers]
  table = [["PSNR (dB) / SSIM"]]
  for heading in headings:
    table[0] += [heading, "paper"]
  for name, cells in rows.items():
    pairs = [cells.get(heading, ("-", "-")) for heading in headings]
    table.append([name, *(cell for pair in pairs for cell in pair)])
  return table, {"columns": numbers}


def _deviation_table(arguments, found, abouts, record):
  """Table 2: the AD index."""
  (column,) = columns(2, arguments.mixed)
  limit = paper_numbers.DEVIATION["TOFlow"][0]
  ours, numbers = {}, {}
  for name, restore in found.items():
    indices, result = deviations(
        name, restore, _items(arguments, column), record, sigma=column.sigma,
        say=print,
    )
    own = deviation.summary(indices)
    against = deviation.summary(indices, limit=limit).count
    ours[name] = (own.average, own.maximum, own.count)
    numbers[name] = {
        **own._asdict(),
        "count_above_toflows": against,
        "images": len(indices),
        "indices": indices,
        **evaluation.as_json(
            result, record, abouts[name], sigma=column.sigma
        ),
    }
  cells = _side_by_side(
      ours, paper_numbers.DEVIATION, "{0:.4f} / {1:.4f} / {2}".format
  )
  images = {name: str(row["images"]) for name, row in numbers.items()}
  above = {
      name: str(row["count_above_toflows"]) for name, row in numbers.items()
  }
  head = "AD_avg / AD_max / #AD"
  table = [["", head, "images", f"#AD over {limit:.4f}", "paper, of 700"]]
  for name, (own, published) in cells.items():
    table.append(
        [name, own, images.get(name, "-"), above.get(name, "-"), published]
    )
  return table, {"results": numbers, "published_rows": paper_numbers.DEVIATION}


def _side_by_side(ours, published, show):
  """{row: (ours, the paper's)} as text, ours first, "-" for what is not."""
  left = {VARIANTS.get(name, name): row for name, row in published.items()}
  by_name = {name.lower(): name for name in left}
  rows = {}
  for name, values in ours.items():
    theirs = by_name.get(name.lower())
    row = left.pop(theirs) if theirs else None
    rows[theirs or name] = (show(*values), show(*row) if row else "-")
  return rows | {name: ("-", show(*row)) for name, row in left.items()}


if __name__ == "__main__":
  sys.exit(main())
