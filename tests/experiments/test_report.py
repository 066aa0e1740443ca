"""The report of a run: its numbers, its pictures, and that it is whole."""

import dataclasses
import html.parser
import json

import numpy as np
import pytest
from PIL import Image

from experiments import figures, report


@dataclasses.dataclass
class Scores:
  """As much of an evaluation as a report reads."""

  clips: dict
  mean: dict


def scores(**clips):
  rows = {
      name: {"psnr": psnr, "ssim": ssim, "frames": 10}
      for name, (psnr, ssim) in clips.items()
  }
  mean = {
      key: sum(row[key] for row in rows.values()) / len(rows)
      for key in ("psnr", "ssim")
  }
  return Scores(rows, mean)


EVALUATIONS = {
    30.0: {
        "noisy": scores(walk=(18.59, 0.3), drift=(18.61, 0.2)),
        "median5": scores(walk=(24.96, 0.61), drift=(26.32, 0.72)),
        "ours": scores(walk=(28.632, 0.8765), drift=(29.214, 0.8543)),
    }
}


@pytest.fixture
def example():
  rng = np.random.default_rng(0)
  y, x = np.mgrid[0:48, 0:64] / 64
  clean = np.stack([x, y, x * y], -1).astype(np.float32)
  noise = rng.normal(0, 30 / 255, clean.shape).astype(np.float32)
  rates = np.tile(np.linspace(0.0, 16.0, 16), (12, 1))  # Rises to the right.
  return report.Example(
      "walk", 9, clean, clean + noise, clean + noise / 4, 30.0, rates
  )


@pytest.fixture
def flow_example(example):
  flow = np.zeros((48, 64, 2), np.float32)
  flow[..., 0] = 3.0
  return report.FlowExample("scene 7", 1, example.clean, flow, flow * 0.5)


def write_history(workdir, steps=60):
  with open(workdir / "metrics.jsonl", "w") as file:
    for step in range(1, steps + 1):
      line = {"step": step, "loss": 1 / step, "mse": 0.9 / step, "finite": 1.0}
      line |= {"bits_per_pixel": 2 / step, "learning_rate/main": 1e-3}
      line |= {"time_loss": 3.0, "weighted_time_loss": 0.1 / step}
      if step % 20 == 0:
        line["eval/psnr"] = 20 + step / 10
      file.write(json.dumps(line) + "\n")


def write(workdir, **extra):
  return report.write_report(
      workdir,
      title="A <run>",
      command="python -m experiments.main --config=configs/x.py",
      config={"seed": 0},
      summary={
          "step": 1234,
          "params_sha256": "c0ffee" * 10 + "beef",
          "protocol": {"name": "fastdvdnet"},
          "metrics": {},
      },
      **extra,
  )


class Page(html.parser.HTMLParser):
  """Tables as rows of texts, images with their alt texts, and all links."""

  def __init__(self, path):
    super().__init__()
    self.rows, self.images, self.links, self.open = [], [], [], []
    self.scripts = []
    self.feed(path.read_text(encoding="utf-8"))
    assert not self.open, f"never closed: {self.open}"

  def handle_starttag(self, tag, attributes):
    attributes = dict(attributes)
    if tag not in ("img", "meta", "source", "input", "br"):
      self.open.append(tag)
    if tag == "img":
      self.images.append((attributes["src"], attributes["alt"]))
    if tag == "tr":
      self.rows.append([])
    if tag in ("td", "th"):
      self.rows[-1].append([])
    if tag == "script":
      self.scripts.append(attributes)
    keys = {"src", "href", "srcset"} & set(attributes)
    self.links += [attributes[key] for key in keys]

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if {"td", "th"} & set(self.open):
      self.rows[-1][-1].append(data)


def test_the_table_has_the_evaluations_numbers(tmp_path):
  page = Page(write(tmp_path, evaluations=EVALUATIONS))
  heads, group, *rows = page.rows
  assert heads == [["clip"], ["noisy"], ["median5"], ["ours"]]
  assert group == [["σ = 30"]]
  assert [[" / ".join(cell) for cell in row] for row in rows] == [
      ["walk", "18.59 / 0.3000", "24.96 / 0.6100", "28.63 / 0.8765"],
      ["drift", "18.61 / 0.2000", "26.32 / 0.7200", "29.21 / 0.8543"],
      ["mean of 2", "18.60 / 0.2500", "25.64 / 0.6650", "28.92 / 0.8654"],
  ]


def test_the_gain_is_over_the_best_baseline(tmp_path):
  text = write(tmp_path, evaluations=EVALUATIONS).read_text()
  assert "<strong>28.92 <small>dB</small></strong>" in text
  assert "+3.28 dB against median5, the best of the rest" in text
  # And a loss is called one: the same run with roles exchanged.
  text = write(tmp_path, evaluations=EVALUATIONS, ours="median5").read_text()
  assert "−3.28 dB against ours, the best of the rest" in text


def test_only_the_best_of_a_row_is_bold(tmp_path):
  text = write(tmp_path, evaluations=EVALUATIONS).read_text()
  assert text.count("<b>") == 3
  for best in ("28.63", "29.21", "28.92"):
    assert f"<b>{best}</b>" in text


def test_published_numbers_stand_beside_the_mean(tmp_path):
  published = {30.0: {"median5": (19.43, None), "NCFL": (35.24, 0.9435)}}
  page = Page(
      write(
          tmp_path,
          evaluations=EVALUATIONS,
          published=published,
          published_as="NCFL",
      )
  )
  assert page.rows[0][-1] == ["NCFL (paper)"]
  assert [row[-1] for row in page.rows[2:5]] == [
      ["–"],
      ["–"],
      ["35.24", "0.9435"],
  ]
  assert page.rows[5:] == [
      [["method"], ["σ = 30"]],
      [["ours, this run"], ["28.92", "0.8654"]],
      [["NCFL"], ["35.24", "0.9435"]],
      [["median5"], ["19.43"]],
  ]


def test_smaller_is_better_for_end_point_errors(tmp_path, flow_example):
  def error(value):
    return Scores(
        {"scene": {"end_point_error": value}}, {"end_point_error": value}
    )

  evaluations = {None: {"ours": error(0.251), "no motion": error(2.5)}}
  path = write(tmp_path, evaluations=evaluations, flows=[flow_example])
  text = path.read_text()
  assert "<b>0.251</b>" in text and "<b>2.500</b>" not in text
  assert "−2.249 px against no motion" in text
  # A run without restored frames: motion is shown, and no empty section.
  page = Page(path)
  assert [name for name, _ in page.images] == ["flow_0_scene-7.png"]
  assert "1.500 px on average" in page.images[0][1]
  assert "Restored frames" not in text and "Rate of the latent" not in text


def test_the_page_shows_every_picture_and_needs_nothing_else(
    tmp_path, example, flow_example
):
  write_history(tmp_path)
  trace = report.Trace("walk", {"noisy": [18.0, 18.1], "ours": [27.0, 28.5]})
  path = write(
      tmp_path,
      evaluations=EVALUATIONS,
      examples=[example, dataclasses.replace(example, rate_map=None)],
      flows=[flow_example],
      traces=[trace],
  )
  page = Page(path)
  files = {file.name for file in path.parent.iterdir()} - {"index.html"}
  links = {link for link in page.links if not link.startswith("#")}
  assert links == files
  assert all(len(alt) > 20 for _, alt in page.images)
  alts = dict(page.images)
  before = figures.psnr(example.degraded, example.clean)
  assert f"noisy ({before:.2f} dB)" in alts["example_0_walk_s30.png"]
  assert "from 27.00 dB in the first frame to 28.50" in alts["psnr_0_light.png"]
  # The map has 16 bits at most, over 4x4 pixels, and 8 on average.
  assert "0.500 on average" in alts["rate_0_walk_s30.png"]
  assert "rate_1_walk_s30.png" not in files
  assert not page.scripts and "http" not in path.read_text()


def test_frames_without_truth_are_shown_and_not_measured(tmp_path, example):
  look = report.Look("tape 3", 6, example.degraded, example.restored)
  path = write(tmp_path, looks=[look])
  page = Page(path)
  files = {file.name for file in path.parent.iterdir()} - {"index.html"}
  assert {link for link in page.links if not link.startswith("#")} == files
  assert "look_0_tape-3.png" in files
  assert "dB" not in dict(page.images)["look_0_tape-3.png"]
  text = path.read_text()
  assert "By eye" in text and "Restored frames" not in text


def test_numbers_of_further_protocols_stand_in_the_cell(tmp_path):
  ours = scores(walk=(30.0, 0.9))
  ours.clips["walk"] |= {"y_uint8/psnr": 31.5, "y_uint8/ssim": 0.95}
  ours.mean |= {"y_uint8/psnr": 31.5, "y_uint8/ssim": 0.95}
  methods = {"affine": scores(walk=(20.0, 0.5)), "ours": ours}
  path = write(tmp_path, evaluations={None: methods})
  assert [" / ".join(cell) for cell in Page(path).rows[1]] == [
      "walk", "20.00 / 0.5000", "30.00 / 0.9000 / 31.50 (y_uint8)"
      " / 0.9500 (y_uint8)",
  ]
  text = path.read_text()
  assert "the same by protocol y_uint8" in text
  assert "affine: the best linear correction of each clip" in text


def test_text_from_outside_is_escaped_and_shown(tmp_path):
  text = write(tmp_path).read_text()
  assert "<h1>A &lt;run&gt;</h1>" in text
  assert "step 1,234 · protocol fastdvdnet · parameters c0ffeec0ffee" in text
  assert "python -m experiments.main --config=configs/x.py" in text


def test_a_new_report_replaces_the_old_one_whole(tmp_path, example):
  write(tmp_path, examples=[example])
  path = write(tmp_path)
  assert [file.name for file in path.parent.iterdir()] == ["index.html"]
  assert [file.name for file in tmp_path.iterdir()] == ["report"]


def test_a_report_that_fails_leaves_the_old_one(tmp_path, example):
  path = write(tmp_path, examples=[example])
  before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
  broken = dataclasses.replace(example, clean=np.zeros((48, 64, 2)))
  with pytest.raises(ValueError, match=r"\(48, 64, 2\)|one shape"):
    write(tmp_path, examples=[example, broken])
  after = {file.name: file.read_bytes() for file in path.parent.iterdir()}
  assert after == before
  assert [file.name for file in tmp_path.iterdir()] == ["report"]


def test_bits_are_spread_evenly_and_padding_counts_for_no_pixel():
  rates = np.array([[16.0, 32.0], [48.0, 64.0]])
  spread = figures.bits_per_pixel(rates, 8, 8)
  np.testing.assert_array_equal(spread[::4, ::4], [[1, 2], [3, 4]])
  assert spread.sum() == rates.sum()
  # A frame of 30x62, padded to 32x64 for cells of 4 pixels.
  spread = figures.bits_per_pixel(np.full((8, 16), 16.0), 30, 62)
  assert spread.shape == (30, 62)
  assert (spread == 1).all()
  # A frame of 33x40, padded to 64x64: the map alone tells that cells are 4.
  spread = figures.bits_per_pixel(np.full((16, 16), 16.0), 33, 40)
  assert spread.shape == (33, 40)
  assert (spread == 1).all()


def test_the_rate_map_grows_brighter_where_bits_go(example):
  figure = figures.rate_map(example)
  panel = figure.axes[1].images[0].get_array().astype(float).mean(-1)
  columns = panel.mean(0).reshape(16, -1).mean(1)
  assert (np.diff(columns) > 0).all()
  # The panel is a whole number of pixels for each one of the frame.
  assert panel.shape == (48 * 7, 64 * 7)


def test_the_error_map_ends_at_32_levels():
  clean = np.full((1, 3, 3), 0.5)
  restored = clean + np.array([0.0, 32.0, 60.0])[None, :, None] / 255
  black, full, over = figures.error_map(restored, clean)[0]
  assert black.sum() < 0.02
  np.testing.assert_array_equal(full, over)
  # Values outside of the range are clamped before: no error in white.
  white = figures.error_map(np.full((1, 1, 3), 1.4), np.ones((1, 1, 3)))
  np.testing.assert_array_equal(white[0, 0], black)


def test_flow_colours_follow_the_wheel():
  flow = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0, 0]])
  right, down, left, up, still = figures.flow_rgb(flow, 1.0)
  np.testing.assert_allclose(right, [1, 0, 0], atol=1e-6)  # Red.
  assert down[0] > 0.9 and down[1] > 0.8 and down[2] == 0  # Yellow.
  assert left[0] == 0 and left[1] > 0.6 and left[2] > 0.8  # Cyan.
  assert up[0] > 0.3 and up[1] == 0 and up[2] == 1  # Violet.
  np.testing.assert_array_equal(still, [1, 1, 1])
  # Half the length has half the saturation; beyond the peak it stays full.
  half, beyond = figures.flow_rgb(np.array([[0.5, 0], [9, 0]]), 1.0)
  np.testing.assert_allclose(half, (right + still) / 2, atol=1e-6)
  np.testing.assert_allclose(beyond, right, atol=1e-6)


def test_flow_colours_have_no_seam():
  angle = np.linspace(-np.pi, np.pi, 2001)
  around = np.stack([np.cos(angle), np.sin(angle)], -1)
  for shift in (0, 1000):  # Both ends of arctan2 lie inside once.
    colours = figures.flow_rgb(np.roll(around[:-1], shift, 0), 1.0)
    steps = np.abs(np.diff(colours, axis=0)).max()
    assert steps < 0.01


def test_crops_find_the_detail_and_the_error():
  clean = np.full((200, 400, 3), 0.5, np.float32)
  clean[20:60, 30:90] += np.indices((40, 60)).sum(0)[..., None] % 2 * 0.4
  restored = clean.copy()
  restored[150:160, 300:320] += 0.2
  error = np.abs(restored - clean).mean(-1)
  crops = figures._crops(clean, error, 100)
  (top, left, high, wide), (top2, left2, *size) = crops
  assert [high, wide] == size == [50, 100]
  assert top <= 20 and top + high >= 55
  assert left <= 30 and left + wide >= 90
  assert top2 <= 150 and top2 + high >= 160
  assert left2 <= 300 and left2 + wide >= 320


def test_frames_are_shown_pixel_for_pixel(example, tmp_path):
  figures.save(figures.strip(example), tmp_path / "strip.png")
  picture = np.asarray(Image.open(tmp_path / "strip.png").convert("RGB"))
  # 64x48 is magnified seven times; the first panel starts behind the gap.
  first = picture[
      figures.LABEL : figures.LABEL + 336, figures.GAP : figures.GAP + 448
  ]
  expected = np.round(example.clean * 255).astype(np.uint8)
  # (Margins of matplotlib's frame may round by a pixel: compare the centres.)
  np.testing.assert_array_equal(first[3::7, 3::7], expected)
  np.testing.assert_array_equal(figures.pixels(figures.strip(example)), picture)


def test_packed_raw_is_shown_as_rgb():
  raw = np.zeros((1, 1, 4), np.float32)
  raw[...] = [0.0, 0.2, 1.0, 0.6]  # R, Gr, B, Gb.
  np.testing.assert_allclose(
      figures.preview(raw)[0, 0], [0.0, 0.4 ** (1 / 2.2), 1.0], rtol=1e-6
  )


def test_training_panels_take_what_they_know(tmp_path):
  write_history(tmp_path)
  lines = [
      json.loads(line) for line in (tmp_path / "metrics.jsonl").open()
  ]
  panels = {panel.title: curves for panel, curves in (
      figures.training_panels(lines)
  )}
  assert set(panels["loss and its parts"]) == {
      "loss", "mse", "weighted_time_loss"
  }
  steps, values = panels["PSNR of evaluation clips"]["eval/psnr"]
  np.testing.assert_array_equal(steps, [20, 40, 60])
  np.testing.assert_array_equal(values, [22, 24, 26])
  assert "finite" not in {n for curves in panels.values() for n in curves}
  # One point makes no curve, and nothing at all no figure.
  assert figures.training_panels(lines[:1]) == []
  assert figures.training_curves(lines[:1], figures.LIGHT) is None


def test_smoothing_keeps_lines_and_gaps():
  line = np.arange(200.0)
  np.testing.assert_allclose(figures._smooth(line)[10:-10], line[10:-10])
  line[50] = np.nan
  smooth = figures._smooth(line)
  assert np.isnan(smooth[50])
  assert np.isfinite(np.delete(smooth, 50)).all()


@pytest.mark.parametrize(
    ("theme", "ground"),
    [(figures.LIGHT, "#ffffff"), (figures.DARK, "#171b21")],
)
def test_lines_and_text_stand_out_from_their_ground(theme, ground):
  def luminance(colour):
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(
        rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4
    )
    return linear @ (0.2126, 0.7152, 0.0722)

  def contrast(colour):
    pair = sorted([luminance(colour), luminance(ground)])
    return (pair[1] + 0.05) / (pair[0] + 0.05)

  assert contrast(theme.ink) > 7  # WCAG 2.1, 1.4.6: text.
  assert min(map(contrast, theme.lines)) > 3  # 1.4.11: graphics.
  assert f"--card: {ground}" in report._STYLE


def test_frames_without_a_noise_level_are_not_called_noisy(example):
  record = dataclasses.asdict(example) | {"psnr": 30.0}
  rain = report.Example.from_evaluation(record)
  assert rain.degradation == "degraded"
  noisy = report.Example.from_evaluation(record, sigma=30.0)
  assert noisy.degradation == "noisy"
