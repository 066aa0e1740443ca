"""Starts of commands: where their time goes, and what the second one saves."""

import pathlib

import pytest

from experiments.benchmarks import restore_speed, startup

TINY = str(pathlib.Path(__file__).with_name("tiny.py"))


def test_each_moment_counts_once_for_the_kind_named_first():
  found = startup.told_apart({
      "imports": [(0, 2), (10, 11)],
      "compile": [(1, 4), (3, 5)],  # Of which a second was an import.
      "tracing": [(2, 8), (6, 7)],  # Nested; three seconds were compiled.
  })
  assert found == {"imports": 3, "compile": 3, "tracing": 3}


def _check(row):
  first, second = row["starts"]["first"], row["starts"]["second"]
  assert first["found_compiled"] == 0
  # All that is compiled is kept, however small.
  assert second["found_compiled"] == second["programs"] == first["programs"]
  assert row["ok"] and row["compile_ratio"] <= 0.25
  for found in (first, second):
    apart = sum(found[k] for k in ("python", "imports", "compile", "tracing"))
    assert 0 < apart < found["whole"]
    assert found["imports"] > 0.1 and 0 < found["first"] < found["whole"]
  assert f"| {row['name']}, second start" in startup.table([row])


def test_the_second_start_of_restore_finds_its_programs(tmp_path):
  pytest.importorskip("av")
  clip = restore_speed.noisy_clip((32, 24), 5)
  restore_speed.write_video(tmp_path / "video.mp4", clip)
  _check({"name": "restore", **startup.measure("restore", tmp_path, 1)})


@pytest.mark.slow
def test_the_second_start_of_training_finds_its_programs(tmp_path, monkeypatch):
  demo = startup._CASES["demo"]
  config = f"--config={TINY}:flow"  # Compiles in seconds.
  case = [config if "--config=" in w else w for w in demo[:-1]]
  monkeypatch.setitem(startup._CASES, "demo", case)
  _check({"name": "demo", **startup.measure("demo", tmp_path, 1)})


@pytest.mark.parametrize("variant", ["fastdvdnet", "ncfl"])
def test_published_networks_need_no_data(variant):
  config = startup.get_config(variant)
  assert config.model.name == variant
  assert config.data.train.name == config.eval.data.name == "procedural"


def test_refuses_a_case_that_there_is_not(capsys):
  assert startup.main(["--cases=train"]) == 2
  assert "--cases" in capsys.readouterr().err
