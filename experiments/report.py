"""The report of a run: `report/index.html` and its pictures, offline.

`write_report` is given what a run knows (evaluations, examples, motion) and
reads the training history from the run's `metrics.jsonl`; what a run does not
have is left out. The page needs nothing but the files beside it, follows the
reader's light or dark setting, and says of each picture what it shows.
"""

import dataclasses
import html
import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence

import numpy as np

from experiments import figures
from vidrestore_jax.metrics import baselines
from vidrestore_jax.training import writers

FOLDER = "report"


@dataclasses.dataclass(frozen=True)
class Example:
  """A restored frame to show.

  Attributes:
    name: the clip's.
    frame: the frame's index in it.
    clean: `[H, W, C]`, white is 1; C is 3 (RGB), 1 or 4 (packed raw).
    degraded: the same shape, as the model got it.
    restored: the same shape.
    sigma: of the noise, in 8-bit units; None where it is not Gaussian.
    rate_map: bits per latent position `[h, w]`, or None.
    degradation: what to call the degraded frame, such as "noisy".
  """

  name: str
  frame: int
  clean: np.ndarray
  degraded: np.ndarray
  restored: np.ndarray
  sigma: float | None = None
  rate_map: np.ndarray | None = None
  degradation: str = "noisy"

  @classmethod
  def from_evaluation(cls, record: Mapping, *, sigma: float | None = None):
    """An example as `evaluation.Evaluation.examples` holds it."""
    keys = ("name", "frame", "clean", "degraded", "restored", "rate_map")
    return cls(
        sigma=sigma,
        degradation="degraded" if sigma is None else "noisy",
        **{key: record[key] for key in keys},
    )


@dataclasses.dataclass(frozen=True)
class Look:
  """A restored frame that has no truth, to judge by eye.

  Attributes:
    name: the clip's.
    frame: the frame's index in it.
    degraded: `[H, W, C]`, white is 1.
    restored: the same shape.
  """

  name: str
  frame: int
  degraded: np.ndarray
  restored: np.ndarray


@dataclasses.dataclass(frozen=True)
class FlowExample:
  """Estimated motion to show.

  Attributes:
    name: the clip's.
    index: the current frame's index in it.
    frame: the current frame `[H, W, C]`, white is 1.
    flow: `[H, W, 2]`, pixels, from the current frame into the reference.
    true_flow: the same, or None where it is not known.
  """

  name: str
  index: int
  frame: np.ndarray
  flow: np.ndarray
  true_flow: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Trace:
  """PSNR over the frames of one clip.

  Attributes:
    name: the clip's.
    psnr: {method: [T]}, dB; more than one frame.
    ours: which of the methods is the run's model.
    sigma: of the noise, in 8-bit units, or None.
  """

  name: str
  psnr: Mapping[str, Sequence[float]]
  ours: str = "ours"
  sigma: float | None = None


@dataclasses.dataclass(frozen=True)
class _Metric:
  title: str
  unit: str
  digits: int
  higher_is_better: bool

  def show(self, value: float) -> str:
    return f"{value:.{self.digits}f}"


# What tables show of an evaluation, the most telling first.
METRICS = {
    "psnr": _Metric("PSNR", "dB", 2, True),
    "end_point_error": _Metric("end-point error", "px", 3, False),
    "ssim": _Metric("SSIM", "", 4, True),
    "bits_per_pixel": _Metric("rate", "bits/px", 3, False),
}


def write_report(
    workdir,
    *,
    title: str,
    command: str,
    config: Mapping,
    summary: Mapping,
    evaluations: Mapping[float | None, Mapping] | None = None,
    ours: str = "ours",
    published: Mapping[float | None, Mapping] | None = None,
    published_as: str = "",
    examples: Sequence[Example] = (),
    looks: Sequence[Look] = (),
    traces: Sequence[Trace] = (),
    flows: Sequence[FlowExample] = (),
    marks: Mapping[int, str] | None = None,
) -> pathlib.Path:
  """Writes `workdir/report`, replacing an earlier one when it is complete.

  Args:
    workdir: of the run; its `metrics.jsonl` gives the training curves.
    title: the page's heading, such as the config's name.
    command: the line that makes this run again.
    config: the run's config as plain values (`configuration.as_json`).
    summary: what `summary.json` holds; `step`, `params_sha256` and `protocol`
      are shown.
    evaluations: {sigma in 8-bit units or None: {method: evaluation}}, where an
      evaluation has `clips` ({clip: {metric: value}}) and `mean` ({metric:
      value}), as `evaluation.evaluate` returns it. Metrics shown: METRICS, also
      those of further protocols ("y_uint8/psnr").
    ours: which method is the run's model; the others are its baselines.
    published: {sigma: {method: (PSNR, SSIM or None)}}, as
      `paper_numbers.column` gives it. Only where the same clips are measured.
    published_as: which published method the run's model is, such as "NCFL".
    examples: restored frames; two to six make a good page.
    looks: restored frames without truth.
    traces: clips to draw PSNR over frames of.
    flows: motion to draw.
    marks: {step: label} of events to mark in the training curves.

  Returns:
    Path of `index.html`.

  Raises:
    OSError: it cannot be written; an earlier report is then still there.
  """
  workdir = pathlib.Path(workdir)
  beside = workdir / f"{FOLDER}.tmp"
  shutil.rmtree(beside, ignore_errors=True)
  beside.mkdir(parents=True)
  try:
    sections = [
        _numbers(evaluations or {}, ours, published or {}, published_as),
        _examples(beside, examples),
        _looks(beside, looks),
        _traces(beside, traces),
        _rates(beside, examples),
        _motion(beside, flows),
        _training(beside, writers.read(workdir), marks),
        _reproduction(command, config, summary),
    ]
    page = html_page(title, _facts(summary), [s for s in sections if s])
    (beside / "index.html").write_text(page, encoding="utf-8")
    _swap(beside, workdir / FOLDER)
  finally:
    shutil.rmtree(beside, ignore_errors=True)
  return workdir / FOLDER / "index.html"


def _swap(new: pathlib.Path, final: pathlib.Path):
  """Puts a complete folder in the place of another."""
  old = final.with_name(f"{final.name}.old")
  shutil.rmtree(old, ignore_errors=True)
  if final.exists():
    final.rename(old)
  new.rename(final)
  shutil.rmtree(old, ignore_errors=True)


# Sections: (heading, anchor, HTML) each, or None where there is nothing -------


def _numbers(evaluations, ours, published, published_as):
  if not evaluations:
    return None
  parts = [_tiles(evaluations, ours)]
  parts.append(_table(evaluations, ours, published, published_as))
  others = _published_table(evaluations, ours, published, published_as)
  if others:
    parts.append(f"<h3>Beside published numbers</h3>{others}")
  return "Numbers", "numbers", "".join(parts)


def _tiles(evaluations, ours):
  """One tile for each noise level: the mean, and the gain over baselines."""
  tiles = []
  for sigma, methods in evaluations.items():
    if ours not in methods:
      continue
    key, metric = _leading(methods[ours].mean)
    value = methods[ours].mean[key]
    rest = {
        name: evaluation.mean[key]
        for name, evaluation in methods.items()
        # A stage of ours ("ours stage one") is no baseline.
        if not f"{name} ".startswith(f"{ours} ") and key in evaluation.mean
    }
    note = ""
    if rest:
      best = (max if metric.higher_is_better else min)(rest, key=rest.get)
      note = (
          f"<p>{metric.show(value - rest[best]).replace('-', '−')}"
          f" {metric.unit} against {_text(best)}, the best of the rest</p>"
      )
      if value > rest[best]:
        note = note.replace("<p>", "<p>+", 1)
    tiles.append(
        f'<div class="tile"><p>{_text(_level(sigma) or "mean over clips")}</p>'
        f"<strong>{metric.show(value)} <small>{metric.unit}</small></strong>"
        f"{note}</div>"
    )
  return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _table(evaluations, ours, published, published_as):
  """A row for each clip and noise level, a column for each method."""
  groups = evaluations.values()
  methods = list(dict.fromkeys(method for group in groups for method in group))
  paper = published_as and any(
      published_as in published.get(sigma, {}) for sigma in evaluations
  )
  heads = "".join(
      f'<th scope="col"{_own(m, ours)}>{_text(m)}</th>' for m in methods
  )
  if paper:
    heads += f'<th scope="col">{_text(published_as)} (paper)</th>'
  bodies = []
  for sigma, group in evaluations.items():
    clips = list(next(iter(group.values())).clips)
    rows = [
        (clip, {m: e.clips.get(clip) for m, e in group.items()}, "")
        for clip in clips
    ]
    if len(clips) > 1 or paper:
      means = {m: e.mean for m, e in group.items()}
      rows.append((f"mean of {len(clips)}", means, ' class="mean"'))
    lines = []
    for label, values, style in rows:
      cells = "".join(_cell(values, m, ours) for m in methods)
      if paper:
        known = published.get(sigma, {}).get(published_as) if style else None
        cells += f"<td>{_pair(known)}</td>"
      lines.append(
          f'<tr{style}><th scope="row">{_text(label)}</th>{cells}</tr>'
      )
    span = len(methods) + 1 + bool(paper)
    group_head = (
        f'<tr class="group"><th colspan="{span}" scope="rowgroup">'
        f"{_text(_level(sigma))}</th></tr>"
    )
    bodies.append(
        f"<tbody>{group_head if _level(sigma) else ''}{''.join(lines)}</tbody>"
    )
  keys = {k for group in groups for e in group.values() for k in e.mean}
  shown = [
      f"{metric.title}{f' ({metric.unit})' if metric.unit else ''}"
      for key, metric in METRICS.items()
      if key in keys
  ]
  further = sorted({key.split("/")[0] for key in keys if "/" in key})
  shown += [f"the same by protocol {name}" for name in further]
  oracles = [method for method in methods if method in baselines.ORACLES]
  oracle = ""
  if oracles:
    oracle = (
        f" {_text(' and '.join(oracles))}: the best linear correction of each"
        " clip, fitted to its truth, which no restorer is shown."
    )
  return (
      '<div class="scroll"><table><caption>In each cell: '
      f"{_text(', '.join(shown))}. The best of a row is bold.{oracle}"
      "</caption>"
      f'<thead><tr><th scope="col">clip</th>{heads}</tr></thead>'
      f"{''.join(bodies)}</table></div>"
  )


def _cell(values, method, ours):
  numbers = values.get(method)
  if not numbers:
    return "<td>–</td>"
  key, metric = _leading(numbers)
  rivals = [v[key] for v in values.values() if v and key in v]
  best = (max if metric.higher_is_better else min)(rivals) == numbers[key]
  lead = metric.show(numbers[key])
  rest = [
      f"{METRICS[name].show(numbers[name])} {METRICS[name].unit}".strip()
      for name in METRICS
      if name in numbers and name != key
  ]
  rest += [
      f"{METRICS[name.split('/')[1]].show(value)} ({name.split('/')[0]})"
      for name, value in numbers.items()
      if "/" in name
  ]
  return (
      f"<td{_own(method, ours)}>{f'<b>{lead}</b>' if best else lead}"
      f"{''.join(f'<small>{value}</small>' for value in rest)}</td>"
  )


def _published_table(evaluations, ours, published, published_as):
  """Every published method over noise levels, the run's model first."""
  sigmas = [sigma for sigma in evaluations if published.get(sigma)]
  names = list(dict.fromkeys(m for sigma in sigmas for m in published[sigma]))
  if len(names) < 2:  # The model's own stands in the first table already.
    return ""
  names.sort(key=lambda name: name != published_as)
  heads = "".join(f'<th scope="col">{_text(_level(s))}</th>' for s in sigmas)
  rows = ""
  if all(ours in evaluations[sigma] for sigma in sigmas):
    cells = "".join(
        f'<td class="own">{_pair((mean.get("psnr"), mean.get("ssim")))}</td>'
        for mean in (evaluations[sigma][ours].mean for sigma in sigmas)
    )
    rows = (
        f'<tr><th scope="row" class="own">{_text(ours)}, this run</th>'
        f"{cells}</tr>"
    )
  for name in names:
    cells = "".join(f"<td>{_pair(published[s].get(name))}</td>" for s in sigmas)
    rows += f'<tr><th scope="row">{_text(name)}</th>{cells}</tr>'
  return (
      '<div class="scroll"><table><caption>Means; PSNR (dB), SSIM below.'
      f'</caption><thead><tr><th scope="col">method</th>{heads}</tr></thead>'
      f"<tbody>{rows}</tbody></table></div>"
  )


def _examples(folder, examples):
  if not examples:
    return None
  parts = []
  for i, example in enumerate(examples):
    label = _label(example.name, example.frame, example.sigma)
    before = figures.psnr(example.degraded, example.clean)
    after = figures.psnr(np.clip(example.restored, 0, 1), example.clean)
    stem = _stem(f"example_{i}", example)
    figures.save(figures.strip(example), folder / f"{stem}.png")
    for kind in ("degraded", "restored"):
      figures.save_frame(getattr(example, kind), folder / f"{stem}_{kind}.png")
    alt = (
        f"{label}: clean, {example.degradation} ({before:.2f} dB), restored"
        f" ({after:.2f} dB) and error map side by side, two crops magnified"
        " below."
    )
    parts.append(f"<h3>{_text(label)}</h3>")
    parts.append(_picture(f"{stem}.png", alt))
    parts.append(_slider(stem, label, example.degradation))
  note = (
      "<p>Error maps share one scale: black is none, yellow 32 levels of 255"
      " or more. Click a picture for its full size.</p>"
  )
  return "Restored frames", "frames", note + "".join(parts)


def _slider(stem, label, degradation):
  """The degraded over the restored frame, parted where the reader drags."""
  what, label = _text(degradation), _text(label)
  set_cut = "this.parentNode.style.setProperty('--cut', this.value + '%')"
  return (
      f"<details><summary>Compare {what} and restored by a slider</summary>"
      '<div class="slider" style="--cut:50%">'
      f'<img src="{stem}_restored.png" loading="lazy"'
      f' alt="{label}: restored, full frame.">'
      f'<img src="{stem}_degraded.png" loading="lazy" class="over"'
      f' alt="{label}: {what}, full frame.">'
      '<input type="range" min="0" max="100" value="50"'
      f' aria-label="Share of the {what} frame, in percent"'
      f' oninput="{set_cut}"></div></details>'
  )


def _looks(folder, looks):
  if not looks:
    return None
  parts = []
  for i, look in enumerate(looks):
    label = _label(look.name, look.frame, None)
    stem = f"look_{i}_{_slug(look.name)}"
    figures.save(figures.pair(look), folder / f"{stem}.png")
    for kind in ("degraded", "restored"):
      figures.save_frame(getattr(look, kind), folder / f"{stem}_{kind}.png")
    alt = (
        f"{label}: degraded, restored and their difference side by side, two"
        " crops magnified below."
    )
    parts.append(f"<h3>{_text(label)}</h3>")
    parts.append(_picture(f"{stem}.png", alt))
    parts.append(_slider(stem, label, "degraded"))
  note = (
      "<p>Degraded clips that have no truth: nothing is measured, only the eye"
      " can judge.</p>"
  )
  return "By eye", "look", note + "".join(parts)


def _traces(folder, traces):
  parts = []
  for i, trace in enumerate(traces):
    label = _label(trace.name, None, trace.sigma)
    values = np.asarray(trace.psnr[trace.ours], float)
    alt = (
        f"{label}: PSNR over {len(values)} frames for"
        f" {', '.join(trace.psnr)}; {trace.ours} goes from {values[0]:.2f} dB"
        f" in the first frame to {values[-1]:.2f} dB in the last."
    )
    chart = _chart(
        folder,
        f"psnr_{i}",
        lambda theme, trace=trace: figures.psnr_over_frames(trace, theme),
        alt,
    )
    parts.append(f"<div><h3>{_text(label)}</h3>{chart}</div>")
  if not parts:
    return None
  note = (
      "<p>A recurrent model has no past in the first frame, a windowed one sees"
      " mirrored or repeated frames at either end; what it gains in the other"
      " frames is what it draws from time.</p>"
  )
  charts = f'<div class="pairs">{"".join(parts)}</div>'
  return "From frame to frame", "time", note + charts


def _rates(folder, examples):
  parts = []
  for i, example in enumerate(examples):
    if example.rate_map is None:
      continue
    label = _label(example.name, example.frame, example.sigma)
    stem = _stem(f"rate_{i}", example)
    figures.save(figures.rate_map(example), folder / f"{stem}.png")
    height, width = example.clean.shape[:2]
    mean = figures.bits_per_pixel(example.rate_map, height, width).mean()
    alt = (
        f"{label}: map of the bits that the latent spends on each pixel,"
        f" {mean:.3f} on average, beside and over the restored frame."
    )
    parts.append(f"<h3>{_text(label)}</h3>" + _picture(f"{stem}.png", alt))
  if not parts:
    return None
  note = (
      "<p>How many bits the entropy model gives each position of the latent,"
      " spread over the pixels it stands for. Noise costs bits and carries"
      " nothing from frame to frame; structure is worth them.</p>"
  )
  return "Rate of the latent", "rate", note + "".join(parts)


def _motion(folder, flows):
  parts = []
  for i, example in enumerate(flows):
    label = _label(example.name, example.index, None)
    stem = f"flow_{i}_{_slug(example.name)}"
    figures.save(figures.flow(example), folder / f"{stem}.png")
    alt = f"{label}: the frame and its estimated motion as colours"
    if example.true_flow is not None:
      difference = np.subtract(example.flow, example.true_flow)
      error = np.linalg.norm(difference, axis=-1).mean()
      alt += f", true motion and end-point error, {error:.3f} px on average"
    parts.append(f"<h3>{_text(label)}</h3>")
    parts.append(_picture(f"{stem}.png", f"{alt}."))
  if not parts:
    return None
  return "Motion", "motion", "".join(parts)


def _training(folder, history, marks):
  panels = figures.training_panels(history)
  if not panels:
    return None
  named = ", ".join(panel.title for panel, _ in panels)
  last = max(line["step"] for line in history)
  chart = _chart(
      folder,
      "training",
      lambda theme: figures.training_curves(history, theme, marks),
      f"Training curves over {last:,} steps: {named}.",
  )
  note = (
      "<p>Long curves are drawn twice: as logged (faint) and averaged over a"
      " twentieth of the run. All values are in <code>metrics.jsonl</code>.</p>"
  )
  return "Training", "training", note + chart


def _reproduction(command, config, summary):
  parts = [
      f"<pre><code>{_text(command)}</code></pre>",
      _details("Config", config),
      _details("Summary", summary),
  ]
  return "Make it again", "again", "".join(parts)


def _details(title, values):
  text = json.dumps(values, indent=2, default=str)
  return (
      f"<details><summary>{title}</summary><pre><code>{_text(text)}"
      "</code></pre></details>"
  )


# Parts of HTML ---------------------------------------------------------------


def _text(value) -> str:
  return html.escape(str(value), quote=True)


def _own(method, ours) -> str:
  return ' class="own"' if method == ours else ""


def _leading(numbers):
  """The most telling metric among `numbers`: (its key, its _Metric)."""
  for key, metric in METRICS.items():
    if key in numbers:
      return key, metric
  raise ValueError(
      f"An evaluation needs one of {', '.join(METRICS)}, but has"
      f" {', '.join(numbers) or 'nothing'}."
  )


def _pair(numbers) -> str:
  """Published (PSNR, SSIM or None) as a cell's content."""
  if not numbers or numbers[0] is None:
    return "–"
  psnr, ssim = numbers
  small = f"<small>{ssim:.4f}</small>" if ssim is not None else ""
  return f"{psnr:.2f}{small}"


def _level(sigma) -> str:
  return "" if sigma is None else f"σ = {sigma:g}"


def _label(name, frame, sigma) -> str:
  parts = [name, "" if frame is None else f"frame {frame}", _level(sigma)]
  return ", ".join(part for part in parts if part)


def _slug(name) -> str:
  kept = (c if c.isascii() and c.isalnum() else "-" for c in name)
  return "".join(kept)[:60]


def _stem(prefix, example) -> str:
  level = "" if example.sigma is None else f"_s{example.sigma:g}"
  return f"{prefix}_{_slug(example.name)}{level}"


def _picture(name, alt) -> str:
  return (
      f'<a class="picture" href="{name}"><img src="{name}" loading="lazy"'
      f' alt="{_text(alt)}"></a>'
  )


def _chart(folder, stem, draw, alt) -> str:
  """A chart in both themes; the browser picks."""
  for theme in (figures.LIGHT, figures.DARK):
    figures.save(draw(theme), folder / f"{stem}_{theme.name}.png")
  return (
      '<picture class="chart"><source media="(prefers-color-scheme: dark)"'
      f' srcset="{stem}_dark.png"><img src="{stem}_light.png" loading="lazy"'
      f' alt="{_text(alt)}"></picture>'
  )


def _facts(summary) -> str:
  protocol = summary.get("protocol")
  if isinstance(protocol, Mapping):
    protocol = protocol.get("name")
  facts = [
      f"step {summary['step']:,}" if "step" in summary else "",
      f"protocol {protocol}" if protocol else "",
      f"parameters {summary['params_sha256'][:12]}"
      if "params_sha256" in summary
      else "",
  ]
  return " · ".join(_text(fact) for fact in facts if fact)


def html_page(title, facts, sections) -> str:
  """A whole page.

  Args:
    title: of the page, as text.
    facts: a line below it, as HTML.
    sections: [(heading as text, anchor, content as HTML)].
  """
  links = "".join(
      f'<a href="#{anchor}">{_text(heading)}</a>'
      for heading, anchor, _ in sections
  )
  body = "".join(
      f'<section id="{anchor}"><h2>{_text(heading)}</h2>{content}</section>\n'
      for heading, anchor, content in sections
  )
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{_text(title)}</h1><p>{facts}</p><nav>{links}</nav></header>
<main>
{body}</main>
</body>
</html>
"""


_STYLE = """
:root {
  --ground: #f6f7f9; --card: #ffffff; --ink: #1d2126; --faint: #5b6570;
  --line: #dfe3e8; --own: #e8f1fa; --accent: #0068b3;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1216; --card: #171b21; --ink: #e8eaed; --faint: #9aa3ad;
    --line: #2b323b; --own: #1b2a38; --accent: #5ab4f0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif;
}
header, main { max-width: 1240px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 36px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.3rem; margin: 0 0 12px; }
h3 { font-size: 1rem; margin: 26px 0 8px; }
header p, section > p, caption, .tile p { color: var(--faint); }
header p { margin: 6px 0 0; }
nav { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 16px 0 24px; }
a { color: var(--accent); }
section {
  background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; padding: 22px; margin-bottom: 22px;
}
section > p { margin: 0 0 12px; max-width: 75ch; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin-bottom: 18px; }
.tile {
  flex: 1 1 190px; padding: 14px 16px; border-radius: 10px;
  background: var(--own);
}
.tile p { margin: 0; font-size: 0.86rem; }
.tile strong { font-size: 1.9rem; line-height: 1.3; }
.tile small { font-size: 1rem; font-weight: 400; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-size: 0.86rem; padding-bottom: 8px; }
th, td {
  padding: 7px 16px; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); white-space: nowrap;
}
th { font-weight: 600; }
th:first-child { text-align: left; font-weight: 500; padding-left: 4px; }
td small { display: block; color: var(--faint); font-size: 0.8rem; }
.own { background: var(--own); }
.mean th, .mean td { border-bottom: 2px solid var(--line); }
.mean th:first-child { font-weight: 700; }
.group th { color: var(--faint); padding-top: 18px; }
.picture img { display: block; max-width: 100%; height: auto; }
.slider img { display: block; width: 100%; height: auto; }
.picture img { border-radius: 8px; background: #14171c; }
.chart img { display: block; max-width: 100%; height: auto; }
.pairs {
  display: grid; gap: 0 22px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr));
}
.slider { position: relative; max-width: 960px; margin-top: 10px; }
.slider .over {
  position: absolute; inset: 0;
  clip-path: inset(0 calc(100% - var(--cut)) 0 0);
}
.slider input { width: 100%; margin: 10px 0 0; accent-color: var(--accent); }
details { margin-top: 10px; }
summary { cursor: pointer; color: var(--accent); }
pre {
  overflow-x: auto; padding: 12px 14px; margin: 8px 0;
  background: var(--ground); border: 1px solid var(--line);
  border-radius: 8px; font-size: 0.85rem;
}
@media print { section { break-inside: avoid; } details { display: none; } }
"""
