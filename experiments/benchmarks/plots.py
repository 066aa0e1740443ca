"""The charts of the page of results: beside peers, growth, starts, rates.

They take what `page` has read and return matplotlib figures.
"""

import itertools

from matplotlib.lines import Line2D
from matplotlib.ticker import (
  FuncFormatter,
  LogLocator,
  MaxNLocator,
  NullLocator,
)

from experiments import figures

TITLES = {
    "fastdvdnet": "FastDVDnet",
    "ncfl": "NCFL",
    "ncfl_noq": "NCFL(NoQ)",
    "ncfl_unrolled": "NCFL(unrolled)",
}
_WIDTH = 8.4  # Inches, of the figure of speeds.
_ROW = 0.31  # Of a bar with its distance.
_CHARACTER = 0.066  # Of a label.
_MARKS = {"eager": "o", "channels_last": "s", "compile": "D"}
_STARTS = ("python", "imports", "tracing", "compile")


def speed(groups, theme) -> figures.Figure:
  """How many times as fast as PyTorch's fastest form, row by row.

  Args:
    groups: [(what ran it, [`page.Comparison`])].
    theme: a `figures.Theme`.
  """
  count = sum(len(rows) + 1.5 for _, rows in groups)
  height = _ROW * count + 1.05
  figure = figures.blank(_WIDTH, height)
  longest = max(len(row.label) for _, rows in groups for row in rows)
  left = max(0.31, (0.2 + _CHARACTER * longest) / _WIDTH)
  ax = figure.add_axes((left, 0.62 / height, 0.79 - left, 1 - 1.05 / height))
  figures.style_axes(ax, theme)
  ax.grid(axis="y", visible=False)
  ours, *others = theme.lines
  place, far, marks, places, labels = 0.0, 1.0, {}, [], []
  for title, rows in groups:
    place += 1
    ax.annotate(
        title, (0, place), xycoords=("figure fraction", "data"),
        xytext=(8, 0), textcoords="offset points", color=theme.ink,
        fontsize=9.5, va="center", fontweight="bold",
    )
    lower = place + len(rows) + 0.5
    ax.plot((1, 1), (place + 0.5, lower), color=theme.ink, lw=1, zorder=3)
    for row in rows:
      place += 1
      fastest = row.fastest_s
      slow, fast = fastest / row.ours["max_s"], fastest / row.ours["min_s"]
      far = max(far, fast)
      ax.barh(place, row.ratio, height=0.62, color=ours, zorder=2)
      ax.plot((slow, fast), (place, place), color=theme.ink, lw=1.2, zorder=4)
      for form, times in row.peers.items():
        index = list(_MARKS).index(form)
        marks[form] = ax.plot(
            fastest / times["median_s"], place, linestyle="none",
            marker=_MARKS[form], color=others[index], markersize=6.5,
            markeredgecolor="white", markeredgewidth=0.7, zorder=5,
        )[0]
      ax.annotate(
          f"{row.ratio:.2f}    {milliseconds(row.ours['median_s'])} : "
          f"{milliseconds(fastest)} ms",
          (1.02, place), xycoords=("axes fraction", "data"), va="center",
          fontsize=8.5, color=theme.ink, annotation_clip=False,
      )
      places.append(place)
      labels.append(row.label)
    place += 0.5
  ax.set_yticks(places, labels, fontsize=8.5)
  ax.tick_params(axis="y", length=0)
  ax.set_ylim(place + 0.1, 0.3)
  ax.set_xlim(0, 1.05 * far)
  ax.annotate(
      "speed   ours : PyTorch's", (1.02, 1), xycoords="axes fraction",
      xytext=(0, -3), textcoords="offset points", fontsize=8.5,
      color=theme.ink, annotation_clip=False,
  )
  ax.set_xlabel(
      "speed, PyTorch's fastest form = 1 (line: slowest to fastest call)",
      fontsize=9,
  )
  handles = [Line2D([], [], color=ours, linewidth=7)]
  titles = ["vidrestore_jax"]
  for form in filter(marks.get, _MARKS):
    handles.append(marks[form])
    titles.append(f"PyTorch, {form.replace('_', ' ')}")
  figure.legend(
      handles, titles, loc="upper left", ncols=4, frameon=False, fontsize=9,
      labelcolor=theme.ink, bbox_to_anchor=(0.0, 1.0), columnspacing=1.4,
      handlelength=1.4,
  )
  return figure


def milliseconds(seconds: float) -> str:
  """Milliseconds with three digits, or all that stand before the point."""
  value = 1e3 * seconds
  return f"{value:.{max(0, 3 - len(str(int(value))))}f}"


def growth(rows, cpus, theme) -> figures.Figure:
  """Time against size; rate against length, batch and devices.

  Args:
    rows: of `growth`, those that failed left out.
    cpus: processors of the machine, or None where the devices are real.
    theme: a `figures.Theme`.
  """
  figure = figures.blank(8.4, 6.4)
  axes = figure.subplots(2, 2).ravel()
  handles = {}
  panels = (
      ("size", "pixels of a frame", "seconds a call"),
      ("length", "frames of a clip", "frames/s, the shortest = 1"),
      ("batch", "clips in a call", "frames/s, one clip = 1"),
      ("devices", _devices_title(rows, cpus), "frames/s, one device = 1"),
  )
  for ax, (axis, title, unit) in zip(axes, panels):
    figures.style_axes(ax, theme)
    ax.set_xlabel(title, fontsize=9)
    ax.set_ylabel(unit, fontsize=9)
    most = 1.0
    for name, points in series(rows, axis).items():
      style = _series_style(name, theme)
      places = [place for place, _ in points]
      if axis == "size":
        seconds = [row["sides"]["jax"]["median_s"] for _, row in points]
        ax.plot(places, seconds, **style)
        continue
      first = points[0][1]["frames_per_second"]
      rates = [row["frames_per_second"] / first for _, row in points]
      most = max(most, *rates)
      ax.plot(places, rates, **style)
    for line in ax.get_lines():
      handles.setdefault(line.get_label(), line)
    ax.set_xscale("log", base=10 if axis == "size" else 2)
    if axis == "size":
      ax.set_yscale("log")
      ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
      ax.yaxis.set_major_formatter("{x:g}")
      ax.yaxis.set_minor_locator(NullLocator())
      _proportional(ax, theme)
      continue
    ticks = sorted({x for line in ax.get_lines() for x in line.get_xdata()})
    if axis == "devices":
      most = _devices(ax, rows, ticks, cpus, most, theme)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_ylim(0, 1.15 * most)
  figure.legend(
      list(handles.values()), list(handles), loc="upper left", ncols=4,
      frameon=False, fontsize=9, labelcolor=theme.ink,
      bbox_to_anchor=(0.0, 1.0), columnspacing=1.4, handlelength=2.4,
  )
  figure.tight_layout(rect=(0, 0, 1, 0.955), h_pad=1.6, w_pad=2.0)
  return figure


def series(rows, axis: str) -> dict[str, list]:
  """{"MODEL, PROGRAM": [(place on the axis, row)]}, in order."""
  found = {}
  for row in rows:
    if axis in row["axes"]:
      place = row[axis]
      if axis == "size":
        place = row["size"][0] * row["size"][1]
      name = f"{row['model']}, {row['program']}"
      found.setdefault(name, []).append((place, row))
  return {
      name: sorted(points, key=lambda point: point[0])
      for name, points in found.items()
  }


def series_title(name: str) -> str:
  """A series' name as a person reads it."""
  model, _, program = name.partition(", ")
  return f"{TITLES.get(model, model)}, {program}"


def _series_style(name, theme):
  model, _, program = name.partition(", ")
  colour = theme.lines[0 if model == "fastdvdnet" else 1]
  dashed = program == "training"
  return dict(
      color=colour, label=series_title(name),
      linestyle="--" if dashed else "-",
      marker="s" if dashed else "o", markersize=5, linewidth=1.8,
  )


def _devices_title(rows, cpus):
  batches = {row["batch"] for row in rows if "devices" in row["axes"]}
  clips = f"a batch of {'/'.join(map(str, sorted(batches)))}"
  if cpus is None:
    return f"devices, {clips}"
  return f"virtual devices on {cpus} processors, {clips}"


def _devices(ax, rows, ticks, cpus, most, theme):
  """What so many real devices could do, and what two processes do."""
  if cpus is None:  # One virtual device uses all processors as it is.
    ax.plot(ticks, ticks, color=theme.ink, linestyle=":", linewidth=1.2)
    most = max(most, *ticks)
  pairs = {k: v for k, v in series(rows, "processes").items() if len(v) == 2}
  for name, ((_, alone), (count, both)) in pairs.items():
    rate = both["frames_per_second"] / alone["frames_per_second"]
    most = max(most, rate)
    hollow = {"label": "_", "markersize": 9, "markerfacecolor": "none"}
    ax.plot(count, rate, **_series_style(name, theme) | hollow)
  if pairs:
    ax.text(
        0.03, 0.05, "hollow: two processes, a device each", fontsize=8,
        color=theme.ink, transform=ax.transAxes,
    )
  return most


def _proportional(ax, theme):
  """A dotted line through each series' last point, of time like pixels."""
  for line in list(ax.get_lines()):
    x, y = line.get_xdata(), line.get_ydata()
    ax.plot(
        (x[0], x[-1]), (y[-1] * x[0] / x[-1], y[-1]), color=line.get_color(),
        linestyle=":", linewidth=1, label="_", zorder=1,
    )
  ax.text(
      0.03, 0.95, "dotted: as the pixels", transform=ax.transAxes, va="top",
      fontsize=8, color=theme.ink,
  )
  ax.xaxis.set_major_formatter(FuncFormatter(_pixels))
  ax.xaxis.set_minor_locator(NullLocator())


def _pixels(value, _):
  if value >= 1e6:
    return f"{value / 1e6:g} M"
  return f"{value / 1e3:g} k"


def starts(rows, theme) -> figures.Figure:
  """What the first and the second start of each command take."""
  pairs = list(itertools.product(rows, ("first", "second")))
  figure, ax = figures.chart(theme, 8.4, 0.34 * len(pairs) + 1.1)
  ax.grid(axis="y", visible=False)
  colours = dict(zip((*_STARTS, "rest"), figures.cycle(theme, 5)))
  for place, (row, start) in enumerate(pairs):
    found, left = row["starts"][start], 0.0
    parts = {kind: found[kind] for kind in _STARTS}
    parts["rest"] = max(0.0, found["whole"] - sum(parts.values()))
    for kind, seconds in parts.items():
      ax.barh(
          place, seconds, left=left, height=0.66, color=colours[kind],
          label=kind if not place else None,
      )
      left += seconds
  ax.set_yticks(
      range(len(pairs)), [f"{row['name']}, {start}" for row, start in pairs],
      fontsize=9,
  )
  ax.invert_yaxis()
  ax.set_xlabel("seconds of the whole command", fontsize=9)
  figures.add_legend(ax, theme)
  return figure


def rates(names, sides, unit, theme) -> figures.Figure:
  """Horizontal bars of rates, the sides of a row under each other.

  Args:
    names: of the rows.
    sides: {side: [rate or None for each row]}.
    unit: of a rate.
    theme: a `figures.Theme`.
  """
  thick = 0.8 / len(sides)
  figure, ax = figures.chart(
      theme, 8.4, 0.26 * len(names) * len(sides) + 1.0
  )
  ax.grid(axis="y", visible=False)
  for index, (side, values) in enumerate(sides.items()):
    shift = thick * (index - (len(sides) - 1) / 2)
    places = [place + shift for place in range(len(names))]
    bars = ax.barh(
        places, [value or 0 for value in values], height=0.92 * thick,
        color=theme.lines[index], label=side,
    )
    ax.bar_label(
        bars, [f"{v:.3g}" if v else "" for v in values], padding=3, fontsize=8,
        color=theme.ink,
    )
  ax.set_yticks(range(len(names)), names, fontsize=9)
  ax.invert_yaxis()
  ax.margins(x=0.08)
  ax.set_xlabel(unit, fontsize=9)
  if len(sides) > 1:
    figures.add_legend(ax, theme)
  return figure
