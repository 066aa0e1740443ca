"""One page of tables and plots of everything that the benchmarks measured.

  python -m experiments.benchmarks.page [--results=experiments/results] \\
      [--out=FILE.html] [--plots=FOLDER] [--readme=README.md]

Reads the JSON files of a folder and writes a page that needs no other file, to
--out (default runs/benchmarks.html); with --plots also PNG files of the speed
beside PyTorch (speed.png) and of growth (growth.png); with --readme it replaces
the tables between `<!-- speed -->`, `<!-- growth -->` or `<!-- memory -->` and
the comment that ends each. Files of growth that one machine made are one table,
those of another one more, with a picture of its own (growth_2.png). A file's
name says what is in it and on which machine: inference_*, training_*,
accelerator_*, convolutions_*, formulations_*, growth_*, startup_*, memory_*,
restore_speed_* and data_pipeline_*. Others are named and left out.
"""

import argparse
import base64
import dataclasses
import hashlib
import html
import io
import json
import pathlib
import re
import sys
from collections.abc import Callable

from PIL import Image, PngImagePlugin

from experiments import commands, evaluation, figures, report
from experiments.benchmarks import convolutions, formulations, memory, plots

# What the README shows: of other models the page does.
_README = ("fastdvdnet", "ncfl_noq", "ncfl", "ncfl_unrolled")


@dataclasses.dataclass(frozen=True)
class Comparison:
  """A program here and in PyTorch, with the same weights.

  Attributes:
    label: model, program, size and precision.
    ours: median_s, min_s and max_s.
    peers: the same of PyTorch's forms.
    error: between outputs, or None where they were compared elsewhere.
    threads: of PyTorch, or None where it was not noted.
  """

  label: str
  ours: dict
  peers: dict[str, dict]
  error: float | None
  threads: int | None

  @property
  def fastest(self) -> str:
    """PyTorch's fastest form."""
    return min(self.peers, key=lambda form: self.peers[form]["median_s"])

  @property
  def fastest_s(self) -> float:
    """Its median."""
    return self.peers[self.fastest]["median_s"]

  @property
  def ratio(self) -> float:
    """How many times as fast ours is."""
    return self.fastest_s / self.ours["median_s"]


def runs(content: dict) -> list[dict]:
  """The runs of a file, which holds one or, as `runs`, several."""
  return content.get("runs", [content])


def comparisons(run: dict) -> list[Comparison]:
  """The rows of a run that have PyTorch's side, and the same outputs."""
  found = []
  for row in run["rows"]:
    peers = {
        side.removeprefix("torch "): times
        for side, times in row.get("sides", {}).items()
        if side.startswith("torch ")
    }
    if not peers or not row.get("ok", True):
      continue
    label = row["name"].partition("/")[2].partition(",")[0]
    if "step" in label.split() and "shape" in row:
      clips, frames, height, width, _ = row["shape"]
      label = label.replace("step", f"step {clips}x{frames}x{width}x{height}")
    if row.get("devices", 1) > 1:
      label += f" on {row['devices']} devices"
    model, _, rest = label.partition(" ")
    calls = row.get("calls", 1)  # That were waited for together.
    found.append(Comparison(
        f"{plots.TITLES.get(model, model)} {rest}",
        _each(row["sides"]["jax"], calls),
        {form: _each(times, calls) for form, times in peers.items()},
        row.get("error"), (row.get("threads") or {}).get("torch"),
    ))
  return found


def _each(times: dict, calls: int) -> dict:
  """Seconds of one of so many calls."""
  return {key: times[key] / calls for key in ("median_s", "min_s", "max_s")}


def machine(run: dict, threads=()) -> str:
  """What ran it, in a line: device, threads of PyTorch, versions, malloc."""
  about = run["machine"]
  if about.get("cards"):
    name = about["cards"].partition(",")[0]
  else:
    cpus = about.get("cpus", "?")
    name = f"{about['cpu']}, {cpus} processor{'s' * (cpus != 1)}"
    told = {count for count in threads if count}
    if told:
      name += f", PyTorch with {'/'.join(map(str, sorted(told)))} threads"
  versions = about.get("versions", about)
  packages = ", ".join(
      f"{package} {versions[package].partition('+')[0]}"
      for package in ("jax", "torch") if versions.get(package)
  )
  line = f"{name}; {packages}"
  if run.get("malloc"):
    line += "; an allocator that keeps large buffers"
  return line


def groups(files: dict[str, dict], chosen=None) -> list[tuple[str, list]]:
  """[(what ran them, comparisons)] of all files.

  Args:
    files: {stem: content} of inference_*, training_* and accelerator_*.
    chosen: models to take, those as installed alone; all where None.
  """
  found = {}
  for content in files.values():
    for run in runs(content):
      if chosen and run.get("malloc"):
        continue
      rows = comparisons(run)
      if chosen:
        names = tuple(f"{plots.TITLES[model]} " for model in chosen)
        rows = [row for row in rows if row.label.startswith(names)]
      if rows:
        title = machine(run, {row.threads for row in rows})
        found.setdefault(title, []).extend(rows)
  return list(found.items())


# Sections: each takes {stem: content} of its files and gives parts of HTML


def _speed(files):
  parts = []
  found = groups(files)
  if found:
    parts.append(_note(
        "The same weights on both sides, whose outputs are compared before the"
        " clock starts; then the sides take turns. Medians in ms, in brackets"
        " the fastest and slowest call; the last column is how many times as"
        " fast as PyTorch's fastest form ours is."
    ))
    parts.append(chart(lambda theme: plots.speed(found, theme), "Speed"))
  for title, rows in found:
    forms = list(dict.fromkeys(form for row in rows for form in row.peers))
    lines = [["", "ours", *(f"PyTorch {f}" for f in forms), "error", "ratio"]]
    lines += [
        [
            row.label, _spread(row.ours),
            *(_spread(row.peers.get(form)) for form in forms),
            "" if row.error is None else f"{row.error:.1e}",
            f"{row.ratio:.2f}",
        ]
        for row in rows
    ]
    parts.append(table(lines, title))
  for stem, content in files.items():
    for run in runs(content):
      parts += _alone(stem, run)
  return parts


def _alone(stem, run):
  """What of a run has no other side: rates, errors, what did not run."""
  timed, checked, forms = [], [], {}
  for row in run["rows"]:
    sides = row.get("sides", {})
    if sides and "jax" not in sides:  # Ours alone, in several forms.
      forms.setdefault(tuple(sides), []).append(
          [row["name"], *map(_spread, sides.values())]
      )
    if set(sides) == {"jax"}:
      rate = row.get("frames_per_second")
      timed.append([
          row["name"], _spread(row["sides"]["jax"]),
          f"{rate:.1f}" if rate else "", _number(row.get("tflops"), ".1f"),
      ])
    elif "sides" not in row and row.get("bound") is not None:
      verdict = "" if row["ok"] else "over its bound"
      checked.append([
          row["name"], _number(row["error"], ".1e"), f"{row['bound']:.0e}",
          verdict,
      ])
  title, parts = f"{stem}: {machine(run)}", []
  if timed:
    head = ["", "ms", "frames/s", "TFLOP/s"]
    parts.append(table([head, *timed], title))
  for names, lines in forms.items():
    head = ["", *(name.replace("_", " ") for name in names)]
    parts.append(table([head, *lines], f"{title}; forms of a layer, ms"))
  if checked:
    parts.append(_fold(
        f"{stem}: {len(checked)} comparisons of outputs and gradients",
        table([["", "error", "bound", ""], *checked], title),
    ))
  raised = [row["name"] for row in run["rows"] if "raised" in row]
  differ = [
      row["name"] for row in run["rows"]
      if row.get("sides") and not row.get("ok", True)
  ]
  for what, names in (
      ("failed with an error", raised),
      ("left out, since the sides' outputs differ", differ),
      ("not run", run.get("skipped", ())),
  ):
    if names:
      parts.append(_note(f"{stem}, {what}: {', '.join(names)}."))
  return parts


def _growth(files):
  parts = []
  for title, (rows, cpus) in _growths(files).items():
    parts.append(_note(f"{title}. Each point by a process of its own."))
    parts.append(chart(
        lambda theme, rows=rows, cpus=cpus: plots.growth(rows, cpus, theme),
        "Growth",
    ))
    parts.append(table(growth_lines(rows), "Medians in ms a call"))
    parts.append(_fold("Every point", table(
        [
            ["", "ms", "frames/s", "tracing, s", "compile, s", "peak, MB"],
            *(
                [
                    row["name"], _spread(row["sides"]["jax"]),
                    f"{row['frames_per_second']:.3g}",
                    _number(row.get("trace_s"), ".2f"),
                    _number(row.get("compile_s"), ".2f"),
                    f"{row['peak_rss_bytes'] / 1e6:.0f}",
                ]
                for row in rows
            ),
        ],
        "Peak: of the process, its compiler included",
    )))
  return parts


def _measured(content):
  return [row for row in content["rows"] if "raised" not in row]


def _growths(files) -> dict[str, tuple[list, int | None]]:
  """{title: (rows, processors)}; what the same machine measured is one."""
  found = {}
  for content in _of(files, ("growth",)).values():
    if not (measured := _measured(content)):
      continue
    size = "tiny" if any(row["small"] for row in measured) else "whole"
    title = f"{machine(content)}; {size} networks in float32"
    rows, _ = found.setdefault(title, ([], _processors(content)))
    rows.extend(measured)
  return found


def _processors(content):
  """Processors that virtual devices share; None where devices are real."""
  about = content["machine"]
  return about["cpus"] if about["backend"] == "cpu" else None


def growth_lines(rows) -> list[list[str]]:
  """The points of each axis as a line, the series as columns."""
  names = list(dict.fromkeys(f"{r['model']}, {r['program']}" for r in rows))
  lines = [["", *map(plots.series_title, names)]]
  for axis in ("size", "length", "batch", "devices", "processes"):
    found = plots.series(rows, axis)
    places = sorted({place for points in found.values() for place, _ in points})
    if axis == "processes":  # One is the same as one device.
      places = places[1:]
    for place in places:
      cells, label = [], ""
      for name in names:
        row = dict(found.get(name, ())).get(place)
        cells.append(
            plots.milliseconds(row["sides"]["jax"]["median_s"]) if row else "–"
        )
        if row:
          height, width = row["size"]
          label = f"{width}x{height}"
      label = {
          "size": label, "length": f"{place} frames", "batch": f"batch {place}"
      }.get(axis, f"{place} {axis.removesuffix('s' if place == 1 else '')}")
      lines.append([label, *cells])
  return lines


def _startup(files):
  parts = []
  for content in files.values():
    rows = [row for row in content["rows"] if "starts" in row]
    if not rows:
      continue
    parts.append(_note(
        f"{machine(content)}. The first start has an empty cache of compiled"
        " programs, the second what the first one left. Medians in seconds."
    ))
    parts.append(chart(
        lambda theme, rows=rows: plots.starts(rows, theme), "Starts"
    ))
    kinds = ("imports", "tracing", "compile", "first", "whole")
    lines = [["", *kinds, "programs", "of them kept", "compile, second/first"]]
    for row in rows:
      for start, found in row["starts"].items():
        ratio = f"{100 * row['compile_ratio']:.0f} %"
        lines.append([
            f"{row['name']}, {start}", *(f"{found[k]:.2f}" for k in kinds),
            f"{found['programs']:.0f}", f"{found['found_compiled']:.0f}",
            ratio if start == "second" else "",
        ])
    parts.append(table(lines, "“first”: until the first frame or step"))
  return parts


def memory_tables(content) -> list[tuple[str, list]]:
  """[(what it is of, lines)] of the models of a run."""
  rows = _measured(content)
  models = {
      name: [row for row in rows if row["model"] == name]
      for name in dict.fromkeys(row["model"] for row in rows)
  }
  return [
      (f"{memory.title(rows)}; {machine(content)}", memory.lines(rows))
      for rows in models.values()
  ]


def _convolutions(files):
  parts = []
  for content in files.values():
    rows = content["rows"]
    more = ", with gradients" * ("--gradients" in content["command"])
    for name in dict.fromkeys(row["model"] for row in rows if "model" in row):
      parts.append(table(
          convolutions.lines([r for r in rows if r.get("model") == name]),
          f"{name}{more}; {machine(content)}",
      ))
  return parts


def _formulations(files):
  return [
      table(formulations.lines(content["rows"]), machine(content))
      for content in files.values()
  ]


def _memory(files):
  parts = []
  for content in files.values():
    for title, lines in memory_tables(content):
      parts.append(table(lines, title))
  return parts


def _restoring(files):
  parts = []
  for content in files.values():
    width, height = content["size"]
    about = f"{width}x{height}; {machine(content)}"
    for key, title in (
        ("sides", "Sides that restore the same frames"),
        ("command", "The command, and its parts each by itself"),
    ):
      rates = {
          name: row["frames"] / row["median_s"]
          for name, row in content[key].items()
      }
      parts.append(_note(f"{title}: frames a second; {about}."))
      parts.append(chart(
          lambda theme, rates=rates: plots.rates(
              list(rates), {"": list(rates.values())}, "frames/s", theme
          ),
          title,
      ))
  return parts


def _data(files):
  parts = []
  for content in files.values():
    rows, about = content["rows"], content["machine"]
    names = [f"{row['source']}, {row['workers']} workers" for row in rows]
    sides = {
        side: [row.get(f"{key}_clips_per_s") for row in rows]
        for side, key in (
            ("vidrestore_jax", "vidrestore_jax"),
            ("PyTorch's DataLoader", "torch"),
        )
    }
    parts.append(_note(
        f"Clips a second; {about['cpu']}, grain {about['grain']}, torch"
        f" {about['torch']}."
    ))
    parts.append(chart(
        lambda theme, names=names, sides=sides: plots.rates(
            names, sides, "clips/s", theme
        ),
        "Pipeline",
    ))
  return parts


# Prefix of files, title of the section and what makes it; several prefixes of
# one function are one section.
_SECTIONS: list[tuple[tuple[str, ...], str, Callable]] = [
    (
        ("inference", "training", "accelerator"),
        "Beside PyTorch", _speed,
    ),
    (("convolutions",), "Convolutions, each alone", _convolutions),
    (("formulations",), "Forms of a convolution", _formulations),
    (("growth",), "Growth", _growth),
    (("startup",), "Starts", _startup),
    (("memory",), "Memory of a training step", _memory),
    (("restore_speed",), "Restoring a video", _restoring),
    (("data_pipeline",), "Reading data", _data),
]


def read(folder: pathlib.Path) -> dict[str, dict]:
  """{stem: content} of a folder's JSON files, those of benchmarks alone.

  Raises:
    FileNotFoundError: there is none.
  """
  known = tuple(f"{p}_" for prefixes, *_ in _SECTIONS for p in prefixes)
  found = {}
  for path in sorted(folder.glob("*.json")):
    if path.stem.startswith(known):
      found[path.stem] = json.loads(path.read_text())
    else:
      print(f"{path.name}: of no benchmark; left out.")
  if not found:
    raise FileNotFoundError(
        f"{folder} holds no results of benchmarks:"
        f" {', '.join(f'{prefix}*.json' for prefix in known)}."
    )
  return found


def _of(files, prefixes):
  starts = tuple(f"{prefix}_" for prefix in prefixes)
  return {k: content for k, content in files.items() if k.startswith(starts)}


def render(files: dict[str, dict]) -> str:
  """The page, as HTML."""
  sections = []
  for prefixes, title, make in _SECTIONS:
    if parts := make(_of(files, prefixes)):
      sections.append((title, prefixes[0], "".join(parts)))
  facts = "Each number and what it depends on: " + ", ".join(
      f"<code>{html.escape(stem)}.json</code>{_commits(content)}"
      for stem, content in files.items()
  )
  return report.html_page("vidrestore_jax, measured", facts, sections)


def _commits(content) -> str:
  """Of which code it was measured: " (0123456, 89abcde+changes)"."""
  told = [
      commit[:7] + "+changes" * commit.endswith("+changes")
      for commit in (run.get("commit") for run in runs(content)) if commit
  ]
  return f" ({', '.join(told)})" if told else ""


def readme_tables(files) -> dict[str, str]:
  """The tables of the README in Markdown, by the name of their comment."""
  found, parts = {}, []
  for title, rows in groups(_of(files, _SECTIONS[0][0]), _README):
    lines = [["", "ours", "PyTorch", "as fast"]]
    lines += [
        [
            row.label, plots.milliseconds(row.ours["median_s"]),
            f"{plots.milliseconds(row.fastest_s)}"
            f" ({row.fastest.replace('_', ' ')})",
            f"{row.ratio:.2f}",
        ]
        for row in rows
    ]
    parts.append(f"{title}:\n\n{evaluation.markdown(lines)}\n")
  if parts:
    found["speed"] = "\n".join(parts)
  parts = [
      f"{title}:\n\n{evaluation.markdown(growth_lines(rows))}\n"
      for title, (rows, _) in _growths(files).items()
  ]
  if parts:
    found["growth"] = "\n".join(parts)
  parts = [
      f"{title}:\n\n{evaluation.markdown(lines)}\n"
      for content in _of(files, ("memory",)).values()
      for title, lines in memory_tables(content)
  ]
  if parts:
    found["memory"] = "\n".join(parts)
  return found


def into_readme(text: str, tables: dict[str, str]) -> str:
  """The README with these tables between the comments of their names.

  Raises:
    ValueError: it has no such comments.
  """
  for name, lines in tables.items():
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    text, count = re.subn(
        pattern, lambda m, lines=lines: f"{m[1]}{lines}\n{m[2]}", text,
        flags=re.DOTALL,
    )
    if count != 1:
      raise ValueError(
          f"The README has {count} places for the table {name}, but needs one:"
          f" <!-- {name} --> and <!-- /{name} -->, each on a line."
      )
  return text


def save_plots(files, folder: pathlib.Path):
  """Writes the README's pictures, on white: it is read in any theme.

  Each says in its metadata what it was drawn of, as `plotted` has it.
  """
  drawn = {}
  found = groups(_of(files, _SECTIONS[0][0]), _README)
  if found:
    drawn["speed"] = plots.speed(found, figures.LIGHT)
  for name, (_, rows, cpus) in _growth_pictures(files).items():
    drawn[name] = plots.growth(rows, cpus, figures.LIGHT)
  sources = plotted(files)
  folder.mkdir(parents=True, exist_ok=True)
  for name, figure in drawn.items():
    figure.set_facecolor("white")
    # A chart has few colours; with a palette it takes a third of the bytes.
    picture = Image.fromarray(figures.pixels(figure)).quantize(256)
    about = PngImagePlugin.PngInfo()
    about.add_text(SOURCE, sources[name])
    picture.save(folder / f"{name}.png", optimize=True, pnginfo=about)


SOURCE = "Source"  # The key of a picture's metadata.


def plotted(files) -> dict[str, str]:
  """SHA-256 of the numbers of each picture of `save_plots`, by its name."""
  texts = {
      name: f"{title}\n{growth_lines(rows)}"
      for name, (title, rows, _) in _growth_pictures(files).items()
  }
  if speed := readme_tables(files).get("speed"):
    texts["speed"] = speed
  return {
      name: hashlib.sha256(text.encode()).hexdigest()
      for name, text in texts.items()
  }


def _growth_pictures(files):
  return {
      "growth" if number == 1 else f"growth_{number}": (title, rows, cpus)
      for number, (title, (rows, cpus)) in enumerate(
          _growths(files).items(), 1
      )
  }


# Parts of HTML


def table(lines, caption: str) -> str:
  """Rows of text, of which the first is the head."""
  head, *body = lines
  cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
  rows = "".join(
      f"<tr><th>{html.escape(first)}</th>"
      + "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
      + "</tr>"
      for first, *rest in body
  )
  return (
      f'<div class="scroll"><table><caption>{html.escape(caption)}</caption>'
      f"<thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>"
  )


def chart(draw, alt: str) -> str:
  """A chart in both themes, in the page itself."""
  sources = {}
  for theme in (figures.LIGHT, figures.DARK):
    file = io.BytesIO()
    figures.save(draw(theme), file)
    text = base64.b64encode(file.getvalue()).decode()
    sources[theme.name] = f"data:image/png;base64,{text}"
  return (
      '<picture class="chart"><source media="(prefers-color-scheme: dark)"'
      f' srcset="{sources["dark"]}"><img src="{sources["light"]}"'
      f' alt="{html.escape(alt)}; the numbers are in the table."></picture>'
  )


def _note(text):
  return f"<p>{html.escape(text)}</p>"


def _fold(title, content):
  return f"<details><summary>{html.escape(title)}</summary>{content}</details>"


def _spread(times):
  """Median, and in brackets the extremes."""
  if times is None:
    return "–"
  median, low, high = (
      plots.milliseconds(times[key]) for key in ("median_s", "min_s", "max_s")
  )
  return f"{median} ({low} to {high})"


def _number(value, form):
  if value is None:
    return ""
  return f"{value:{form}}" if isinstance(value, float) else str(value)


def run(arguments):
  """Does what the command line asks for."""
  folder = pathlib.Path(arguments.results)
  files = read(folder)
  out = pathlib.Path(arguments.out)
  if arguments.readme:  # What is missing in it is told before anything is made.
    readme = pathlib.Path(arguments.readme)
    text = into_readme(
        readme.read_text(encoding="utf-8"), readme_tables(files)
    )
  out.parent.mkdir(parents=True, exist_ok=True)
  out.write_text(render(files), encoding="utf-8")
  print(f"Page: {out}")
  if arguments.plots:
    save_plots(files, pathlib.Path(arguments.plots))
    print(f"Plots: {arguments.plots}")
  if arguments.readme:
    readme.write_text(text, encoding="utf-8")
    print(f"Tables: {readme}")


def main(argv=None) -> int:
  """Runs the command; returns its exit status."""
  parser = argparse.ArgumentParser(
      prog="python -m experiments.benchmarks.page",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
  )
  parser.add_argument(
      "--results", default="experiments/results", metavar="FOLDER"
  )
  parser.add_argument(
      "--out", default="runs/benchmarks.html", metavar="FILE.html"
  )
  parser.add_argument("--plots", default=None, metavar="FOLDER")
  parser.add_argument("--readme", default=None, metavar="FILE.md")
  arguments = parser.parse_args(argv)
  return commands.run(lambda: run(arguments))


if __name__ == "__main__":
  sys.exit(main())
