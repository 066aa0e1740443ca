"""Tables and figures of the FITVNet paper, and the time of a frame."""

import json
import statistics
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from matplotlib.colors import to_hex

from experiments import (
    evaluation,
    figures,
    fitvnet_figures,
    fitvnet_tables,
    paper_numbers,
)
from experiments.benchmarks import frame_time
from vidrestore_jax import degradations
from vidrestore_jax.inference import frames_io
from vidrestore_jax.metrics import baselines, deviation, protocols
from vidrestore_jax.shapes import Restored


def _clip(seed, shape=(7, 64, 96, 3)):
  generator = np.random.default_rng(seed)
  coarse = generator.random((shape[0], 8, 12, 3)).repeat(8, 1).repeat(8, 2)
  return np.uint8(255 * coarse)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
  """Two septuplets in folders."""
  folder = tmp_path_factory.mktemp("clips")
  for seed, name in enumerate("ab"):
    (folder / name).mkdir()
    for t, frame in enumerate(_clip(seed)):
      frames_io.write_png(folder / name / f"im{t + 1}.png", frame)
  return folder


def _tables(clips, out, *arguments):
  words = [
      f"--data={clips}", f"--json={out}", "--septuplets", *arguments
  ]
  assert fitvnet_tables.main(words) == 0
  return json.loads(out.read_text())


def _middle(seed):
  return _clip(seed)[3].astype(np.float32) / 255


def test_table_4_is_of_the_middle_frames_with_the_papers_columns_beside(
    clips, tmp_path, capsys
):
  result = _tables(
      clips, tmp_path / "4.json", "--table=4", "--model=noisy,jsc=median3"
  )
  assert [c["sigma"] for c in result["columns"]] == [15, 25, 35, 45, 55]
  column = result["columns"][1]
  psnr = []
  for seed in range(2):
    # Frames 2 to 6 go in; noise is drawn for those five.
    clean = _clip(seed)[1:6].astype(np.float32) / 255
    noisy = clean + protocols.get("fitvnet").noise.draw(clean.shape, 25)
    restored = np.clip(baselines.median3(noisy)[2], 0, 1).astype(np.float64)
    error = np.square(restored - _middle(seed)).mean()
    psnr.append(10 * np.log10(1 / error))
  ours = column["results"]["FITVNet (+jsc)"]
  assert ours["mean"]["psnr"] == pytest.approx(np.mean(psnr), abs=1e-4)
  assert ours["clips"]["a"]["frames"] == 1
  assert column["results"]["noisy"]["mean"]["psnr"] == pytest.approx(
      20 * np.log10(255 / 25), abs=0.2
  )
  assert result["manifest"]["command"][3:] == [
      f"--data={clips}", f"--json={tmp_path / '4.json'}", "--septuplets",
      "--table=4", "--model=noisy,jsc=median3",
  ]
  printed = capsys.readouterr().out
  (row,) = [
      line
      for line in printed.splitlines()
      if line.startswith("| FITVNet (+jsc)")
  ]
  cells = [cell.strip() for cell in row.split("|")[2:-1]]
  assert cells[2] == f"{np.mean(psnr):.2f} / {ours['mean']['ssim']:.4f}"
  assert cells[1::2] == [
      "37.70 / 0.9552", "35.45 / 0.9326", "33.89 / 0.9118", "32.68 / 0.8926",
      "31.72 / 0.8744",
  ]
  assert "| TOFlow" in printed and "* The base model at sigma 15" in printed


def test_tables_1_and_2_are_on_the_mixed_noise(clips, tmp_path, capsys):
  mixed = "noise.mixed_true_sp"
  first, second = (
      _tables(clips, tmp_path / "out.json", f"--mixed={mixed}", *arguments)
      for arguments in (
          ("--table=1", "--model=noisy"),
          ("--table=2", "--model=noisy,toflow=median3"),
      )
  )
  assert [c["heading"] for c in first["columns"]] == ["sigma 25", "mixed"]
  assert first["mixed"]["name"] == mixed
  degrade = jax.jit(degradations.build(mixed))
  psnr, indices = [], []
  for seed in range(2):
    key = jax.random.fold_in(jax.random.key(first["mixed"]["seed"]), seed)
    noisy, _ = degrade(key, _clip(seed)[1:6].astype(np.float32) / 255)
    noisy, clean = np.asarray(noisy), _middle(seed)
    psnr.append(figures.psnr(noisy[2], clean))
    restored = baselines.median3(noisy)[2]
    indices.append(deviation.average_deviation(restored, clean).index)
  ours = first["columns"][1]["results"]["noisy"]
  assert ours["mean"]["psnr"] == pytest.approx(np.mean(psnr), abs=1e-4)
  ours = second["results"]["toflow"]
  assert ours["indices"] == pytest.approx(indices, rel=1e-5)
  assert (ours["average"], ours["maximum"]) == pytest.approx(
      (np.mean(indices), max(indices)), rel=1e-5
  )
  assert ours["count"] == 1 and ours["count_above_toflows"] == 2
  printed = capsys.readouterr().out
  # A row of the paper's name takes its numbers, whatever the case.
  (row,) = [
      line
      for line in printed.splitlines()
      if line.startswith("| TOFlow  ") and "0.0263 / 0.0617 / 304" in line
  ]
  assert f"{np.mean(indices):.4f} / {max(indices):.4f} / 1" in row
  assert "0.0260 / 0.0585 / 298" in printed and "33.93 / 0.9168" in printed


def test_models_of_two_stages_have_a_row_for_the_first(monkeypatch):
  stage = (lambda clip, sigma: None), {"stage_of": "median3"}
  monkeypatch.setattr(
      evaluation, "first_stage",
      lambda name: stage if name == "median3" else None,
  )
  found, abouts = evaluation.restorers(
      "noisy,jsc=median3", fitvnet_tables.VARIANTS, stages=True
  )
  assert list(found) == ["noisy", "FITVNet (+jsc)", "FITVNet (+jsc) stage one"]
  assert (found["FITVNet (+jsc) stage one"],
          abouts["FITVNet (+jsc) stage one"]) == stage
  # Figures show it beside the result instead.
  assert len(evaluation.restorers("noisy,jsc=median3", {})[0]) == 2


def test_papers_tables_are_as_printed():
  mixed = paper_numbers.column("vimeo700_mixed", None)
  assert mixed["jsc"] == (33.93, 0.9168) and mixed["base"] == (32.62, 0.88)
  gauss = paper_numbers.column("vimeo700_mixed", 25)
  assert gauss["TOFlow"] == (33.14, 0.9119)
  with pytest.raises(ValueError, match="measures sigma 25, but got 30"):
    paper_numbers.column("vimeo700_mixed", 30)
  # "More than 5 times faster", says the caption of table 3.
  assert 5 < paper_numbers.SECONDS["TOFlow"] / paper_numbers.SECONDS["jsc"] < 6


def test_wrong_commands_end_in_one_line(clips, tmp_path, capsys):
  good = {"--data": clips, "--model": "median3", "--table": 4}

  def refused(main, change, *fragments):
    arguments = {k: v for k, v in (good | change).items() if v is not None}
    words = [k if v is True else f"{k}={v}" for k, v in arguments.items()]
    assert main(words) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1
    for fragment in fragments:
      assert fragment in line

  tables, pictures = fitvnet_tables.main, fitvnet_figures.main
  refused(tables, {"--model": ""}, "names no model")
  refused(tables, {"--model": "median3,median3"}, "median3 twice", "first=")
  refused(tables, {"--frames": 0}, "at least 1")
  refused(
      tables, {"--frames": 2, "--septuplets": True}, "leave out --frames"
  )
  refused(
      tables, {"--data": clips / "a", "--model": "jsc=nowhere"}, "nowhere"
  )
  refused(tables, {"--json": tmp_path / "no" / "a.json"}, "no folder")
  frames = {"--table": None, "--out": tmp_path / "out"}
  refused(pictures, frames | {"--sigma": 300}, "0 and 255")
  refused(pictures, frames | {"--model": "noisy"}, "drawn anyway")
  (clips / "a" / "im7.png").rename(tmp_path / "im7.png")
  refused(tables, {"--septuplets": True}, "Clip a has 6 frames")
  (tmp_path / "im7.png").rename(clips / "a" / "im7.png")


def test_sobel_is_the_slope_and_equals_scipys():
  across, down = np.meshgrid(np.arange(9.0), np.arange(7.0))
  ramp = (0.03 * across + 0.04 * down)[..., None].repeat(3, -1)
  np.testing.assert_allclose(
      fitvnet_figures.sobel(ramp)[1:-1, 1:-1], 0.05, rtol=1e-5
  )
  frame = np.random.default_rng(0).random((20, 23, 3)).astype(np.float32)
  grey = frame.mean(-1)
  expected = np.hypot(
      *(scipy.ndimage.sobel(grey, axis, mode="mirror") for axis in (0, 1))
  )
  np.testing.assert_allclose(
      fitvnet_figures.sobel(frame), expected / 8, atol=1e-6
  )


def test_figure_5_boxes_the_patches_above_the_threshold():
  clean = np.full((64, 120, 3), 0.5, np.float32)
  restored = clean.copy()
  restored[32:48, 64:96] += 0.1  # Half of the patch in row 1, column 2.
  figure = fitvnet_figures.deviation_map(clean, restored, "ours")
  picture, boxed, _ = figure.axes[:3]
  (box,) = boxed.patches
  # Frames of 120 pixels are shown four times as large.
  assert (box.get_x(), box.get_y()) == (4 * 64, 4 * 32)
  assert (box.get_width(), box.get_height()) == (128, 128)
  assert to_hex(box.get_edgecolor()) == "#000000"
  assert picture.get_title(loc="left").startswith("ours  ·  31.76 dB")
  # Differences of 0.1 about grey: 0.5 + 4 * 0.1.
  shown = np.asarray(boxed.images[0].get_array())
  assert shown[4 * 40, 4 * 70, 0] == round(255 * 0.9) and shown[0, 0, 0] == 128


def test_figures_of_every_clip_are_written(clips, tmp_path, monkeypatch):
  def restorer(name, *, aux, scale):
    assert "pre_denoised" in aux
    restore, about = evaluation_restorer(name, aux=aux, scale=scale)

    def with_stages(clip, sigma):
      restored = restore(clip, sigma)
      return restored._replace(aux={"pre_denoised": np.full_like(clip, 0.25)})

    return with_stages if name == "median5" else restore, about

  evaluation_restorer = evaluation.restorer
  monkeypatch.setattr(evaluation, "restorer", restorer)
  seen = {}
  save = figures.save
  monkeypatch.setattr(
      figures, "save",
      lambda figure, path: (seen.update({path.name: figure}),
                            save(figure, path)),
  )
  out = tmp_path / "out"
  assert fitvnet_figures.main([
      f"--data={clips / 'a'}", "--model=median3,jsc=median5", f"--out={out}",
      "--frames=1", "--sigma=25",
  ]) == 0
  expected = {
      f"a_{name}.png"
      for name in (
          "median3_deviation", "FITVNet-(+jsc)_deviation",
          "FITVNet-(+jsc)_stages", "sobel",
      )
  }
  assert {path.name for path in out.iterdir()} == expected == set(seen)
  titles = [
      ax.get_title(loc="left")
      for ax in seen["a_FITVNet-(+jsc)_stages.png"].axes
  ]
  first = np.full((64, 96, 3), 0.25, np.float32)
  psnr = figures.psnr(first, _clip(0)[0].astype(np.float32) / 255)
  assert titles[1] == f"first stage  ·  {psnr:.2f} dB"
  titles = [ax.get_title(loc="left") for ax in seen["a_sobel.png"].axes]
  assert [title.split("  ")[0] for title in titles[:4]] == [
      "edges of the clean frame", "noisy", "median3", "FITVNet (+jsc)"
  ]


# The time of a frame.


def test_calls_are_waited_for_and_the_first_two_do_not_count():
  calls = []

  def function():
    calls.append(len(calls))
    # The first two are slow, as compilation is.
    time.sleep(0.2 if len(calls) <= 2 else 0.01)
    return np.zeros(1)

  seconds = frame_time.timed(function, 3)
  assert len(calls) == 5 and len(seconds) == 3
  assert all(0.01 <= value < 0.2 for value in seconds)


def test_a_stream_is_timed_from_its_first_result_on(monkeypatch):
  clock = iter(np.arange(100.0) * 2)  # Every look at the clock is 2 s later.
  monkeypatch.setattr(frame_time.time, "perf_counter", lambda: next(clock))
  seen = []

  def restore_stream(model, variables, clip, *, sigma):
    seen.append((len(clip), clip[0].shape, sigma))
    yield from clip

  monkeypatch.setattr(frame_time.streaming, "restore_stream", restore_stream)

  class Model:
    channels, noise_map = 3, True

  seconds = frame_time.time_stream(
      Model(), {}, width=8, height=4, frames=5, repeats=2
  )
  assert seconds == [2.0, 2.0]
  assert seen == 3 * [(5, (4, 8, 3), 25 / 255)]


class Cascade(nn.Module):
  """A windowed model of two stages, small enough to compile at once."""

  restores, recurrent, noise_map = True, False, True
  stages, radius, scale, stride, channels = (1, 1), 2, 1, 4, 3

  def setup(self):
    self.convs = [nn.Conv(3, (3, 3)) for _ in self.stages]

  def __call__(self, window, noise):
    for index in range(len(self.stages)):
      window = jnp.stack(
          [
              self.stage(index, window[:, i : i + 3], noise)
              for i in range(window.shape[1] - 2)
          ],
          1,
      )
    return Restored(window[:, 0], {})

  def stage(self, index, window, noise):
    del noise
    return self.convs[index](window.mean(1))


def test_times_stand_beside_their_cost_and_the_papers(
    tmp_path, capsys, monkeypatch
):
  model = Cascade()
  variables = model.init(
      jax.random.key(0), jnp.zeros((1, 5, 4, 4, 3)), jnp.zeros((1, 4, 4, 1))
  )
  monkeypatch.setattr(frame_time, "load", lambda name: (model, variables))
  out = tmp_path / "time.json"
  words = ["--model=cascade", "--size=18x10", "--frames=4", "--repeats=2"]
  assert frame_time.main([*words, f"--json={out}"]) == 0
  (result,) = json.loads(out.read_text())["results"]
  # 3x3x3x3 taps of a pixel; four convolutions of a window, two in a stream.
  assert result["call_gmacs"] == pytest.approx(4 * 81 * 180 / 1e9)
  assert result["stream_gmacs"] == pytest.approx(2 * 81 * 180 / 1e9)
  assert len(result["call_s"]) == 8 and len(result["stream_s"]) == 2
  assert min(result["call_s"] + result["stream_s"]) > 0
  printed = capsys.readouterr().out
  median = 1e3 * statistics.median(result["call_s"])
  assert "cascade, call" in printed and f"| {median:.1f} " in printed
  assert "FITVNet (+jsc), paper (2080 Ti)" in printed and "| 46.6 " in printed
  assert frame_time.main([*words, "--frames=3"]) == 2
  assert "--frames is at least 4" in capsys.readouterr().err
