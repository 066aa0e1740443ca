"""The page of results: what is read of them, and what comes of it."""

import json
import pathlib
import re

import pytest
from PIL import Image

from experiments.benchmarks import page, plots

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"


def _times(median):
  return {"median_s": median, "min_s": 0.9 * median, "max_s": 1.2 * median}


def _run(*rows, **more):
  machine = {
      "cpu": "CPU", "cpus": 2, "cards": None, "backend": "cpu",
      "versions": {"jax": "0.10.2", "torch": "2.13.0+cpu"},
  }
  return {"command": [], "machine": machine, "rows": list(rows), **more}


def _beside(name, ours, **torch):
  peers = {f"torch {form}": _times(value) for form, value in torch.items()}
  return {
      "name": name, "sides": {"jax": _times(ours), **peers}, "error": 1e-6,
      "threads": {"torch": 2},
  }


def _point(model, axes, seconds, **more):
  return {
      "name": "point", "model": model, "program": "inference", "axes": axes,
      "size": (90, 160), "small": False, "length": 0, "batch": 1, "devices": 1,
      "processes": 1,
      "sides": {"jax": _times(seconds)}, "frames_per_second": 1 / seconds,
      "peak_rss_bytes": 1e9, **more,
  }


def _kept(model, policy, share):
  return {
      "name": f"{model} {policy}", "model": model, "policy": policy,
      "batch": 4, "frames": 5, "size": 96, "small": False,
      "program_bytes": int(share * 2**30), "program_share": share,
      "measured_bytes": int(share * 2**30), "measured_share": share,
      "sides": {policy: _times(1.0)}, "ratio": 1.0, "compile_s": 9.0,
  }


def _layer(name, count, ours, torch):
  return _beside(name, ours, channels_last=torch) | {
      "model": "fastdvdnet", "convolution": name, "count": count,
      "ratio": torch / ours, "tflops": 0.1,
  }


def test_convolutions_are_summed_the_longest_first():
  rows = [
      _layer("3x3 4 to 8", 2, 0.1, 0.2), _layer("1x1 8 to 4", 4, 0.2, 0.1),
      _beside("fastdvdnet/window", 2.0, compile=1.0) | {"model": "fastdvdnet"},
  ]
  text = page.render({"convolutions_x": _run(*rows)})
  cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", text)
  cells = cells[cells.index("GFLOP/s") + 1 :]
  assert cells[:3] == ["1x1 8 to 4", "4", "800"]
  at = cells.index("sum")
  assert cells[at : at + 5] == ["sum", "", "1000", "800", "0.80"]
  at = cells.index("whole, torch compile")
  assert cells[at + 2 : at + 5] == ["2000", "1000", "0.50"]


def test_a_comparison_is_with_the_fastest_form_of_pytorch():
  row = _beside("inference/fastdvdnet window 64x48 float32", 0.5, eager=1.0,
                compile=0.4)
  (found,) = page.comparisons(_run(row, {"name": "forward/x", "error": 0.0}))
  assert found.label == "FastDVDnet window 64x48 float32"
  assert (found.fastest, found.ratio) == ("compile", 0.8)
  step = _beside("training/ncfl step float32", 0.5, eager=1.0)
  step["shape"] = [4, 5, 48, 64, 3]
  (found,) = page.comparisons(_run(step))
  assert found.label == "NCFL step 4x5x64x48 float32"
  (found,) = page.comparisons(_run(step | {"devices": 2}))
  assert found.label == "NCFL step 4x5x64x48 float32 on 2 devices"


def test_calls_that_are_waited_for_together_are_told_one_by_one():
  name = "speed/fastdvdnet window 960x540 bfloat16, 10 calls"
  row = _beside(name, 50.0, compile=60.0) | {"calls": 10}
  (found,) = page.comparisons(_run(row))
  assert found.label == "FastDVDnet window 960x540 bfloat16"
  assert found.ours["median_s"] == pytest.approx(5.0)
  assert found.fastest_s == pytest.approx(6.0)
  assert found.ratio == pytest.approx(1.2)


def test_sides_whose_outputs_differ_are_not_compared():
  row = _beside("inference/fastdvdnet window 64x48 float32", 0.5, eager=1.0)
  run = _run(row | {"ok": False, "error": None})
  assert not page.comparisons(run)
  assert "speed" not in page.readme_tables({"inference_x": run})
  assert f"outputs differ: {row['name']}" in page.render({"inference_x": run})


def test_the_machine_and_the_threads_of_either_side_are_named():
  assert page.machine(_run(), [2]) == (
      "CPU, 2 processors, PyTorch with 2 threads; jax 0.10.2, torch 2.13.0"
  )
  with_card = _run()
  with_card["machine"]["cards"] = "NVIDIA H200, 580.159.04, 143771 MiB"
  assert page.machine(with_card).startswith("NVIDIA H200; jax")


def test_the_readme_shows_its_models_as_they_run_when_installed():
  files = {"inference_x": {"runs": [
      _run(
          _beside("inference/fastdvdnet window 64x48 float32", 0.5, eager=1.0),
          _beside("inference/vdsr window 64x48 float32", 0.5, eager=1.0),
      ),
      _run(_beside("inference/ncfl stream 64x48 float32", 2.0, eager=1.0),
           malloc={"MALLOC_TRIM_THRESHOLD_": "1"}),
  ]}}
  text = page.readme_tables(files)["speed"]
  assert "FastDVDnet" in text and "vdsr" not in text and "NCFL" not in text
  assert re.search(r"\| 500 +\| 1000 \(eager\) +\| 2\.00 +\|", text)
  ((_, rows), (noted, _)) = page.groups(files)
  assert len(rows) == 2 and noted.endswith("keeps large buffers")


def test_forms_of_a_layer_and_the_commit_are_told():
  row = _beside("narrow/7x7 8 to 32", 0.5)
  row["sides"] = {"usual": row["sides"]["jax"]} | {
      "tensor_cores": row["sides"]["jax"]
  }
  run = _run(row, commit="0123456789abcdef+changes")
  text = page.render({"accelerator_x": run})
  assert "<th>tensor cores</th>" in text and "7x7 8 to 32" in text
  assert "<code>accelerator_x.json</code> (0123456+changes)" in text


def test_growth_is_told_by_axis():
  rows = [
      _point("fastdvdnet", ["size", "batch"], 0.25),
      _point("fastdvdnet", ["batch"], 0.5, batch=2),
      _point("ncfl", ["size"], 0.125, size=(180, 320)),
  ]
  assert page.growth_lines(rows) == [
      ["", "FastDVDnet, inference", "NCFL, inference"],
      ["160x90", "250", "–"],
      ["320x180", "–", "125"],
      ["batch 1", "250", "–"],
      ["batch 2", "500", "–"],
  ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.0029, "2003"), (0.0263, "26.3"), (0.00537, "5.37"),
                          (0.000123, "0.12")]
)
def test_milliseconds_have_three_digits(seconds, text):
  assert plots.milliseconds(seconds) == text


def test_tables_go_between_their_comments():
  text = "a\n<!-- speed -->\nold\n<!-- /speed -->\nb\n"
  assert page.into_readme(text, {"speed": "new"}) == (
      "a\n<!-- speed -->\nnew\n<!-- /speed -->\nb\n"
  )
  with pytest.raises(ValueError, match="0 places for the table growth"):
    page.into_readme(text, {"growth": "new"})


def test_the_results_become_one_page_and_small_pictures(tmp_path, capsys):
  folder = tmp_path / "results"
  folder.mkdir()
  for path in RESULTS.glob("*.json"):
    (folder / path.name).write_bytes(path.read_bytes())
  start = {
      key: 1.0 for key in
      ("python", "imports", "tracing", "compile", "first", "whole")
  } | {"programs": 3, "found_compiled": 3}
  made = {
      "growth_x": _run(
          *(_point("ncfl", ["size", "batch", "devices", "length"], n, batch=n,
                   devices=n, length=n, size=(16 * n, 16)) for n in (1, 2)),
      ),
      "growth_y": _run(_point("fastdvdnet", ["size"], 0.5, size=(24, 16))),
      "startup_x": _run({
          "name": "demo", "starts": {"first": start, "second": start},
          "compile_ratio": 0.125,
      }),
      "memory_x": _run(_kept("ncfl", "none", 1.0)),
  }
  for stem, content in made.items():
    (folder / f"{stem}.json").write_text(json.dumps(content))
  out, pictures = tmp_path / "page.html", tmp_path / "plots"
  readme = tmp_path / "README.md"
  readme.write_text("".join(
      f"<!-- {name} -->\n<!-- /{name} -->\n"
      for name in ("speed", "growth", "memory")
  ))
  assert page.main([
      f"--results={folder}", f"--out={out}", f"--plots={pictures}",
      f"--readme={readme}",
  ]) == 0
  said = capsys.readouterr().out
  assert "ffmpeg_filters.json: of no benchmark" in said
  text = out.read_text()
  for heading in (
      "Beside PyTorch", "Growth", "Starts", "Memory of a training step",
      "Restoring a video", "Reading data",
  ):
    assert f"<h2>{heading}</h2>" in text
  assert "FastDVDnet window 854x480 bfloat16" in text and "12 %" in text
  # Nothing is fetched: every picture is in it.
  assert set(re.findall(r'(?:src|srcset|href)="(.)', text)) <= {"d", "#"}
  assert {path.name for path in pictures.iterdir()} == {
      "speed.png", "growth.png", "growth_2.png"
  }
  capsys.readouterr()
  plotted = page.plotted(page.read(folder))
  for path in pictures.iterdir():
    assert path.stat().st_size < 60_000
    picture = Image.open(path)
    assert picture.size[0] == 840
    assert picture.text[page.SOURCE] == plotted[path.stem]
  text = readme.read_text()
  assert "NVIDIA H200; jax" in text and "whole networks in float32" in text
  # What one machine measured in two runs is one table.
  assert re.search(r"\| 16x24 +\| – +\| 500 ", text)
  assert text.count("CPU, 2 processors; jax 0.10.2, torch 2.13.0; whole") == 1


def test_a_folder_without_results_is_told(tmp_path, capsys):
  assert page.main([f"--results={tmp_path}"]) == 2
  assert "inference_*.json" in capsys.readouterr().err


def test_memory_is_a_table_of_each_model():
  failed = {"name": "ncfl block", "model": "ncfl", "raised": "RuntimeError"}
  files = {"memory_x": _run(
      _kept("ncfl", "none", 1.0), failed, _kept("ncfl", "step", 0.25),
      _kept("fastdvdnet", "none", 1.0),
  )}
  tables = page.readme_tables(files)
  assert tables["memory"].count("4 clips of 5 frames, 96x96") == 2
  assert re.search(r"\| step +\| 256 +\| 0.25 ", tables["memory"])
  assert page.render(files).count("<caption>") == 2
