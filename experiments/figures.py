"""The pictures of a report: frames side by side, rate maps, flow, curves.

Functions here take numpy arrays and return a matplotlib `Figure` (drawn by
Agg, without pyplot and its global state); `save` writes one as PNG and
`pixels` gives it as an array, for TensorBoard.

Pictures of frames stand on a dark ground in every theme, as in a viewer, and
keep pixels square and whole: a frame is shrunk by averaging or magnified by an
integer, never smoothed. Charts come in a light and a dark `Theme`.
"""

import dataclasses
import math
import re

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from vidrestore_jax.metrics import image, protocols

DPI = 100
GROUND, INK, FAINT = "#14171c", "#e8eaed", "#9aa3ad"
BOXES = ("#5ad1ff", "#ffc857")  # The crops' frames, seen on any picture.
PANEL, GAP, LABEL = 480, 10, 38  # Pixels.
CROP_ZOOM = 3
_LEGEND_COLUMNS = 3
# One scale for every error map, so that pictures of two runs compare. The
# mean absolute error of noise of sigma 50 is 40 levels.
ERROR_PEAK = 32.0 / 255.0
ERROR_COLOURS, RATE_COLOURS = "magma", "viridis"


@dataclasses.dataclass(frozen=True)
class Theme:
  """Colours of a chart; lines keep their order, the model's own first."""

  name: str
  ink: str
  faint: str
  lines: tuple[str, ...]


# Lines after Okabe and Ito (2008), told apart by colour-blind readers too;
# lightened or darkened to stand on either ground.
LIGHT = Theme(
    "light",
    "#1d2126",
    "#c9ced4",
    ("#0068b3", "#c2570c", "#008a63", "#9c4f86", "#6b7480", "#a67c00"),
)
DARK = Theme(
    "dark",
    "#e8eaed",
    "#3c434c",
    ("#5ab4f0", "#f0924e", "#35c69a", "#d992c2", "#a3acb6", "#e8c547"),
)


def preview(frame) -> np.ndarray:
  """A frame `[H, W, C]` as RGB in [0, 1] that a screen can show.

  Three channels are RGB, one is grey, and four are packed raw (R, Gr, B, Gb),
  linear, whose greens are averaged and which are shown with gamma 2.2.
  """
  frame = np.clip(np.asarray(frame, np.float32), 0.0, 1.0)
  channels = frame.shape[-1]
  if channels == 4:
    red, green_r, blue, green_b = np.moveaxis(frame, -1, 0)
    rgb = np.stack([red, (green_r + green_b) / 2, blue], -1)
    return rgb ** (1 / 2.2)
  if channels == 1:
    return np.repeat(frame, 3, -1)
  if channels != 3:
    raise ValueError(
        "A picture needs 1 (grey), 3 (RGB) or 4 (packed raw) channels, but got"
        f" shape {frame.shape}."
    )
  return frame


def psnr(frame, clean) -> float:
  """PSNR of a frame as it is, in dB; equal frames count as in tables."""
  return min(image.psnr(frame, clean, peak=1.0), protocols.MAX_PSNR)


def error_map(restored, clean) -> np.ndarray:
  """Mean over channels of |restored - clean|, `[H, W]`, colour-coded RGB."""
  error = np.abs(protocols.clamp(restored) - np.asarray(clean)).mean(-1)
  return colour_coded(error / ERROR_PEAK, ERROR_COLOURS)


def strip(example) -> Figure:
  """Clean, degraded, restored and error side by side, crops magnified below.

  The first crop is where the clean frame has most detail, the second where
  the restored one errs most.

  Args:
    example: a `report.Example`.
  """
  frames = (example.clean, example.degraded, example.restored)
  panels = [preview(frame) for frame in frames]
  panels.append(error_map(example.restored, example.clean))
  level = "" if example.sigma is None else f"  σ = {example.sigma:g}"
  titles = [
      "clean",
      f"{example.degradation}{level}  ·  "
      f"{psnr(example.degraded, example.clean):.2f} dB",
      "restored  ·  "
      f"{psnr(protocols.clamp(example.restored), example.clean):.2f} dB",
      "error, mean |restored − clean|",
  ]
  error = protocols.clamp(example.restored) - np.asarray(example.clean)
  figure, axes = side_by_side(
      panels,
      titles,
      detail=preview(example.clean),
      error=np.square(error).mean(-1),
      notes=("most detail", "largest error"),
  )
  error_bar(figure, axes[-1][-1])
  return figure


def pair(look) -> Figure:
  """Degraded, restored and their difference: a frame that has no truth.

  The first crop is where the degraded frame has most detail, the second where
  the restored one differs most from it.

  Args:
    look: a `report.Look`.
  """
  degraded, restored = preview(look.degraded), preview(look.restored)
  change = protocols.clamp(look.restored) - np.asarray(look.degraded)
  figure, axes = side_by_side(
      [degraded, restored, error_map(look.restored, look.degraded)],
      ["degraded", "restored", "change, mean |restored − degraded|"],
      detail=degraded,
      error=np.square(change).mean(-1),
      notes=("most detail", "largest change"),
  )
  error_bar(figure, axes[-1][-1])
  return figure


def row(images, titles):
  """Images `[H, W, 3]` of one size in a row, a title above each.

  Returns:
    (figure, axes of the row); there is room for a colour bar below.
  """
  figure, axes = grid(
      [([fit(image, PANEL) for image in images], LABEL)], footer=LABEL + 16
  )
  for ax, title in zip(axes[0], titles):
    write_title(ax, title)
  return figure, axes[0]


def scale_of(image) -> float:
  """Pixels on the screen for one of an image `[H, W, 3]` in a panel."""
  return fit(image, PANEL).shape[1] / image.shape[1]


def side_by_side(panels, titles, *, detail, error, notes):
  """Panels of one frame in a row, two crops of each magnified below.

  Args:
    panels: RGB `[H, W, 3]` each.
    titles: one for each.
    detail: the frame whose densest detail is the first crop.
    error: `[H, W]`; the second crop is where it is largest.
    notes: what the two crops are, in words.

  Returns:
    (figure, axes of each row).
  """
  width = panels[0].shape[1]
  shown = [fit(panel, PANEL) for panel in panels]
  scale = shown[0].shape[1] / width
  # Frames that are magnified already need no closer look.
  crops = []
  if scale < 2:
    crops = _crops(detail, error, shown[0].shape[1] // CROP_ZOOM)

  rows = [(shown, LABEL)]
  rows += [
      ([enlarge(_cut(panel, crop), CROP_ZOOM) for panel in panels], GAP)
      for crop in crops
  ]
  figure, axes = grid(rows, footer=LABEL + 16)
  for ax, title in zip(axes[0], titles):
    write_title(ax, title)
  for crop, colour in zip(crops, BOXES):
    for ax in axes[0]:
      draw_box(ax, [side * scale for side in crop], colour)
  for row, colour in zip(axes[1:], BOXES):
    for ax in row:
      _frame(ax, colour)
  _scale_note(figure, axes, scale, notes if crops else ())
  return figure, axes


def rate_map(example) -> Figure:
  """Where the latent's bits go: restored frame, bits per pixel, both."""
  frame = preview(example.restored)
  height, width = frame.shape[:2]
  rate = bits_per_pixel(example.rate_map, height, width)
  # A single costly position must not leave all others in the dark.
  peak = max(float(np.quantile(rate, 0.999)), 1e-6)
  share = np.clip(rate / peak, 0, 1)
  colour = colour_coded(share, RATE_COLOURS)
  grey = frame.mean(-1, keepdims=True)
  weight = 0.15 + 0.75 * share[..., None]
  images = [frame, colour, (1 - weight) * grey + weight * colour]
  titles = (
      "restored",
      f"rate of the latent  ·  {rate.mean():.3f} bits per pixel",
      "rate over the frame",
  )
  figure, axes = row(images, titles)
  unit = "bits/px or more"
  colour_bar(figure, axes[1], RATE_COLOURS, peak, None, unit)
  return figure


def bits_per_pixel(rates, height: int, width: int) -> np.ndarray:
  """Bits per latent position `[h, w]` spread over a frame `[height, width]`.

  Each position's bits go to the pixels of its cell in equal parts. A map of a
  padded frame has cells beyond the border; their bits count for no pixel. A
  cell is the smallest power of two with which the map covers the frame: the
  true one unless padding made both sides more than twice as long.
  """
  rates = np.asarray(rates, np.float64)
  rows, columns = rates.shape
  cell = 2 ** math.ceil(math.log2(max(height / rows, width / columns)))
  spread = np.repeat(np.repeat(rates / cell**2, cell, 0), cell, 1)
  return spread[:height, :width]


def flow_rgb(flow, peak: float) -> np.ndarray:
  """Flow `[H, W, 2]` as RGB: hue is direction, saturation is length.

  The colours follow the wheel of Baker et al., A Database and Evaluation
  Methodology for Optical Flow (2011), section 4.1: right is red, down yellow
  to green, left cyan, up violet. No motion is white, `peak` pixels and more
  are saturated.
  """
  flow = np.nan_to_num(np.asarray(flow, np.float32))
  length = np.hypot(flow[..., 0], flow[..., 1]) / max(peak, 1e-6)
  wheel = _wheel()
  turn = np.arctan2(-flow[..., 1], -flow[..., 0]) / np.pi  # -1 to 1.
  # The paper's code scales by one less, which leaves a seam at red.
  position = (turn + 1) / 2 * len(wheel)
  low = np.floor(position).astype(int)
  part = (position - low)[..., None]
  hues = len(wheel)
  hue = (1 - part) * wheel[low % hues] + part * wheel[(low + 1) % hues]
  return 1 - np.clip(length, 0, 1)[..., None] * (1 - hue)


def _wheel() -> np.ndarray:
  """The 55 hues of the wheel `[55, 3]`, from red through yellow on."""
  # Transitions red-yellow-green-cyan-blue-magenta-red, so many steps each.
  steps = (15, 6, 4, 11, 13, 6)
  corners = np.array(
      [(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1)], float
  )
  parts = []
  for i, count in enumerate(steps):
    share = np.arange(count)[:, None] / count
    parts.append((1 - share) * corners[i] + share * corners[(i + 1) % 6])
  return np.concatenate(parts)


def flow(example) -> Figure:
  """Frame, estimated flow and, where it is known, true flow and error."""
  known = example.true_flow is not None
  lengths = np.linalg.norm(
      example.true_flow if known else example.flow, axis=-1
  )
  peak = max(float(np.quantile(lengths, 0.99)), 0.5)
  panels = [preview(example.frame), flow_rgb(example.flow, peak)]
  titles = ["frame", "estimated motion"]
  error_peak = max(peak / 4, 0.25)
  if known:
    error = np.linalg.norm(
        np.asarray(example.flow) - np.asarray(example.true_flow), axis=-1
    )
    panels.append(flow_rgb(example.true_flow, peak))
    panels.append(colour_coded(error / error_peak, ERROR_COLOURS))
    titles.append("true motion")
    titles.append(f"end-point error  ·  mean {error.mean():.3f} px")
  figure, axes = grid(
      [([fit(panel, PANEL) for panel in panels], LABEL)], footer=96
  )
  for ax, title in zip(axes[0], titles):
    write_title(ax, title)
  if known:
    colour_bar(figure, axes[0][3], ERROR_COLOURS, error_peak, None, "pixels")
  _wheel_legend(figure, axes[0][1], peak)
  return figure


def _wheel_legend(figure, above, peak):
  """The colour wheel below the panel `above`, as large as the footer."""
  across = np.linspace(-1, 1, 160)
  x, y = np.meshgrid(across, across)
  rgba = np.concatenate(
      [flow_rgb(np.stack([x, y], -1), 1.0), (x * x + y * y <= 1)[..., None]], -1
  )
  left, bottom = above.get_position().x0, above.get_position().y0
  pixels_w, pixels_h = figure.get_size_inches() * DPI
  side = 80
  ax = figure.add_axes(
      (left, bottom - (side + 8) / pixels_h, side / pixels_w, side / pixels_h)
  )
  ax.imshow(rgba)
  ax.axis("off")
  figure.text(
      left + (side + 12) / pixels_w,
      bottom - (side / 2 + 8) / pixels_h,
      f"direction as colour;\nfull colour: {peak:.1f} px per frame or more",
      color=FAINT,
      fontsize=9,
      va="center",
  )


def psnr_over_frames(trace, theme: Theme) -> Figure:
  """PSNR of each frame of a clip, a line for each method."""
  figure, ax = chart(theme, 5.8, 3.3)
  names = list(trace.psnr)
  order = [n for n in names if n == trace.ours]
  order += [n for n in names if n != trace.ours]
  for name, colour in zip(order, cycle(theme, len(order))):
    values = np.asarray(trace.psnr[name], float)
    own = name == trace.ours
    ax.plot(
        values,
        color=colour,
        label=name,
        linewidth=2.4 if own else 1.5,
        marker="o" if len(values) <= 20 else None,
        markersize=4,
        zorder=3 if own else 2,
    )
  ax.set_xlabel("frame")
  ax.set_ylabel("PSNR, dB")
  ax.xaxis.set_major_locator(MaxNLocator(integer=True))
  add_legend(ax, theme)
  return figure


@dataclasses.dataclass(frozen=True)
class Panel:
  """A group of training curves: the metrics whose names match a pattern."""

  title: str
  pattern: str
  unit: str = ""
  log: bool = False  # Spans decades; values of zero are then not drawn.


# What is drawn of metrics.jsonl, in this order; names are matched whole.
PANELS = (
    # Of distillation the parts as they are weighted.
    Panel("loss and its parts", r"loss|mse|(?!space|time)\w+_loss", log=True),
    Panel("rate of the latent", "bits_per_pixel", "bits per pixel", log=True),
    Panel("end-point error", "(eval/)?.*end_point_error.*", "pixels", log=True),
    Panel("PSNR of evaluation clips", "eval/.*psnr.*", "dB"),
    Panel("SSIM of evaluation clips", "eval/.*ssim.*"),
    Panel("PSNR of training batches", "psnr", "dB"),
    Panel("learning rates", "learning_rate/.+"),
    Panel("norm of the gradient", "grad_norm", log=True),
    Panel("time of a step", "step_ms", "ms"),
)


def training_panels(history) -> list[tuple[Panel, dict]]:
  """Sorts the lines of metrics.jsonl into panels.

  Args:
    history: dictionaries with `step` and numbers by name; a name need not be
      on every line.

  Returns:
    [(panel, {name: (steps, values)})] with the panels that have curves of two
    points or more.
  """
  series = {}
  for line in history:
    for name, value in line.items():
      if name != "step" and isinstance(value, (int, float)):
        series.setdefault(name, []).append((line["step"], float(value)))
  panels = []
  for panel in PANELS:
    curves = {}
    for name, points in series.items():
      if len(points) > 1 and re.fullmatch(panel.pattern, name):
        steps, values = np.array(sorted(points)).T
        if np.isfinite(values).any():
          curves[name] = steps, values
    if curves:
      panels.append((panel, curves))
  return panels


def training_curves(history, theme: Theme, marks=None) -> Figure | None:
  """Training curves in small multiples; None where there is nothing to draw.

  Args:
    history: see `training_panels`.
    theme: light or dark.
    marks: {step: label} of events such as the start of stage two, drawn as
      dotted lines where they fall within the run.
  """
  panels = training_panels(history)
  if not panels:
    return None
  rows = -(-len(panels) // 2)
  columns = min(2, len(panels))
  figure = blank(5.6 * columns, 3.2 * rows)
  axes = figure.subplots(rows, columns, squeeze=False).ravel()
  for ax, (panel, curves) in zip(axes, panels):
    style_axes(ax, theme)
    log = panel.log and any((values > 0).any() for _, values in curves.values())
    if log:
      ax.set_yscale("log")
    # The sum first and broad, so that a part that equals it shows on top.
    names = sorted(curves, key=lambda name: name != "loss")
    for name, colour in zip(names, cycle(theme, len(names))):
      steps, values = curves[name]
      if log:
        values = np.where(values > 0, values, np.nan)
      broad = name == "loss" and len(names) > 1
      style = dict(color=colour, linewidth=3.6 if broad else 1.8, label=name)
      if len(values) > 40:
        ax.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        ax.plot(steps, _smooth(values), **style)
      else:
        ax.plot(steps, values, **style)
    last = max(steps[-1] for steps, _ in curves.values())
    _mark(ax, theme, marks or {}, last)
    lines = -(-len(names) // _LEGEND_COLUMNS)
    ax.set_title(
        panel.title,
        loc="left",
        fontsize=11,
        color=theme.ink,
        pad=7 + 15 * lines,
    )
    ax.set_ylabel(panel.unit)
    ax.set_xlabel("step")
    add_legend(ax, theme)
  for ax in axes[len(panels) :]:
    ax.remove()
  figure.tight_layout(h_pad=1.6, w_pad=2.0)
  return figure


def save(figure: Figure, path):
  """Writes a figure as PNG; charts are transparent, pictures are not."""
  figure.savefig(path, dpi=DPI, facecolor=figure.get_facecolor())


def save_frame(frame, path):
  """Writes a frame `[H, W, C]` as 8-bit PNG at its own size."""
  Image.fromarray(_bytes(preview(frame))).save(path)


def pixels(figure: Figure) -> np.ndarray:
  """A figure as uint8 `[H, W, 3]`, for TensorBoard."""
  canvas = FigureCanvasAgg(figure)
  canvas.draw()
  return np.asarray(canvas.buffer_rgba())[..., :3].copy()


# Layout of pictures, in pixels ----------------------------------------------


def grid(rows, footer):
  """A figure whose panels are shown pixel for pixel.

  Args:
    rows: [(panels `[h, w, 3]`, pixels left free above them)].
    footer: pixels left free below.

  Returns:
    (figure, axes of each row).
  """
  width = GAP + sum(panel.shape[1] + GAP for panel in rows[0][0])
  height = sum(above + row[0].shape[0] for row, above in rows) + footer
  figure = blank(width / DPI, height / DPI, GROUND)
  # Every row stands in the first one's columns, a pixel narrower or not.
  pitch = rows[0][0][0].shape[1] + GAP
  axes, top = [], 0
  for panels, above in rows:
    top += above
    line = []
    for column, panel in enumerate(panels):
      high, wide = panel.shape[:2]
      left = GAP + column * pitch
      ax = figure.add_axes(
          (
              left / width,
              1 - (top + high) / height,
              wide / width,
              high / height,
          )
      )
      ax.imshow(_bytes(panel), interpolation="nearest", aspect="auto")
      ax.set_xticks([])
      ax.set_yticks([])
      ax.spines[:].set_visible(False)
      line.append(ax)
    axes.append(line)
    top += panels[0].shape[0]
  return figure, axes


def fit(frame, width: int) -> np.ndarray:
  """Shrinks a frame to `width` by averaging, or magnifies it by an integer."""
  high, wide = frame.shape[:2]
  if wide <= width:
    return enlarge(frame, max(1, width // wide))
  size = (width, max(1, round(high * width / wide)))
  shrunk = Image.fromarray(_bytes(frame)).resize(size, Image.BOX)
  return np.asarray(shrunk) / 255


def enlarge(frame, factor: int) -> np.ndarray:
  return np.repeat(np.repeat(frame, factor, 0), factor, 1)


def _crops(frame, error, width: int) -> list[tuple[int, int, int, int]]:
  """Two rectangles (top, left, height, width) worth a closer look.

  Args:
    frame: RGB `[H, W, 3]`; the first is where its detail is densest.
    error: `[H, W]`; the second is where it is largest.
    width: of both.
  """
  high, wide = frame.shape[:2]
  size_w, size_h = width, round(width * min(high / wide, 0.75))
  grey = frame.mean(-1)
  detail = np.zeros_like(grey)
  detail[1:] += np.abs(np.diff(grey, axis=0))
  detail[:, 1:] += np.abs(np.diff(grey, axis=1))
  first = _densest(detail, size_h, size_w)
  # The second must not show the first again.
  error = error.copy()
  error[
      max(0, first[0] - size_h // 2) : first[0] + size_h,
      max(0, first[1] - size_w // 2) : first[1] + size_w,
  ] = 0
  second = _densest(error, size_h, size_w)
  return [(*first, size_h, size_w), (*second, size_h, size_w)]


def _densest(weights, height: int, width: int) -> tuple[int, int]:
  """Top and left of the `height` x `width` window with the largest sum."""
  table = np.pad(weights.astype(np.float64), ((1, 0), (1, 0)))
  table = table.cumsum(0).cumsum(1)
  sums = (
      table[height:, width:]
      - table[:-height, width:]
      - table[height:, :-width]
      + table[:-height, :-width]
  )
  return np.unravel_index(np.argmax(sums), sums.shape)


def _cut(frame, crop) -> np.ndarray:
  top, left, height, width = crop
  return frame[top : top + height, left : left + width]


def draw_box(ax, crop, colour):
  top, left, height, width = crop
  ax.add_patch(
      Rectangle((left, top), width, height, fill=False, ec=colour, lw=1.4)
  )


def _frame(ax, colour):
  ax.spines[:].set_visible(True)
  ax.spines[:].set_color(colour)
  ax.spines[:].set_linewidth(1.4)


def write_title(ax, text):
  ax.set_title(text, loc="left", color=INK, fontsize=13, pad=8)


def _scale_note(figure, axes, scale, notes):
  size = f"frames shown at {scale:.0%}" if scale < 1 else f"frames x{scale:g}"
  if notes:
    first, second = notes
    size += f"; crops x{CROP_ZOOM}: {first} (blue), {second} (yellow)"
  box = axes[-1][0].get_position()
  high = figure.get_size_inches()[1] * DPI
  figure.text(
      box.x0, box.y0 - 14 / high, size, color=FAINT, fontsize=11.5, va="top"
  )


def error_bar(figure, above):
  """The colour bar of `error_map`, below the panel `above`."""
  ticks = [0, 8, 16, 24, 32]
  unit = "of 255 or more"
  colour_bar(figure, above, ERROR_COLOURS, ERROR_PEAK * 255, ticks, unit)


def colour_bar(figure, above, name, peak, ticks, unit):
  """A horizontal colour bar from 0 to `peak`, below the panel `above`."""
  box = above.get_position()
  high = figure.get_size_inches()[1] * DPI
  bar = figure.add_axes(
      (box.x0, box.y0 - 20 / high, 0.66 * box.width, 10 / high)
  )
  bar.imshow(
      np.linspace(0, 1, 256)[None],
      cmap=name,
      aspect="auto",
      extent=(0, peak, 0, 1),
  )
  bar.set_yticks([])
  bar.spines[:].set_visible(False)
  bar.tick_params(colors=FAINT, labelsize=11.5, length=3)
  if ticks is None:
    bar.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
  else:
    bar.set_xticks(ticks)
  figure.text(
      box.x0 + 0.70 * box.width,
      box.y0 - 15 / high,
      unit,
      color=FAINT,
      fontsize=11.5,
      va="center",
  )


def colour_coded(values, name) -> np.ndarray:
  """Values of which 0 to 1 are coded as RGB in [0, 1]."""
  return colormaps[name](np.clip(values, 0.0, 1.0))[..., :3]


def _bytes(frame) -> np.ndarray:
  return np.round(np.clip(frame, 0, 1) * 255).astype(np.uint8)


# Charts ----------------------------------------------------------------------


def blank(width, height, ground="none") -> Figure:
  """An empty figure; sizes in inches."""
  figure = Figure((width, height), dpi=DPI, facecolor=ground)
  FigureCanvasAgg(figure)
  return figure


def chart(theme, width, height):
  """(figure, axes) of one chart; sizes in inches."""
  figure = blank(width, height)
  ax = figure.add_subplot()
  style_axes(ax, theme)
  figure.set_layout_engine("tight")
  return figure, ax


def style_axes(ax, theme):
  """Axes in a theme's colours, without a frame."""
  ax.set_facecolor("none")
  ax.spines[["top", "right"]].set_visible(False)
  ax.spines[["left", "bottom"]].set_color(theme.faint)
  ax.tick_params(colors=theme.ink, which="both", labelsize=9)
  ax.xaxis.label.set_color(theme.ink)
  ax.yaxis.label.set_color(theme.ink)
  ax.grid(color=theme.faint, linewidth=0.6, alpha=0.7)
  ax.set_axisbelow(True)


def add_legend(ax, theme):
  """The lines' names."""
  ax.legend(
      frameon=False,
      labelcolor=theme.ink,
      fontsize=9,
      ncols=_LEGEND_COLUMNS,
      loc="lower left",
      bbox_to_anchor=(-0.02, 1.0),  # Above the axes, where no line runs.
      borderaxespad=0.1,
      columnspacing=1.2,
      handlelength=1.4,
  )


def cycle(theme, count):
  """So many colours, again from the first where there are more lines."""
  return [theme.lines[i % len(theme.lines)] for i in range(count)]


def _mark(ax, theme, marks, last):
  for step, label in marks.items():
    if 0 < step < last:
      ax.axvline(step, color=theme.ink, linestyle=":", linewidth=1, alpha=0.7)
      ax.annotate(
          label,
          (step, 1),
          xycoords=("data", "axes fraction"),
          xytext=(3, -3),
          textcoords="offset points",
          va="top",
          rotation=90,  # Events lie close; their labels must not overlap.
          fontsize=8,
          color=theme.ink,
      )


def _smooth(values) -> np.ndarray:
  """Centred mean over a twentieth of the run, shorter at its ends.

  What is not finite stays out of every mean, and has none itself.
  """
  half = max(1, len(values) // 40)
  known = np.isfinite(values)
  total = np.pad(np.where(known, values, 0.0).cumsum(), (1, 0))
  count = np.pad(known.cumsum(), (1, 0))
  low = np.maximum(np.arange(len(values)) - half, 0)
  high = np.minimum(np.arange(len(values)) + half + 1, len(values))
  mean = (total[high] - total[low]) / np.maximum(count[high] - count[low], 1)
  return np.where(known, mean, np.nan)
