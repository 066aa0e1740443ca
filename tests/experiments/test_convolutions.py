import json
import pathlib
import subprocess
import sys

import pytest

from experiments.benchmarks import convolutions


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--models=vdsr", "fastdvdnet, ncfl"),
        ("--size=480", "480 is no frame size"),
        ("--repeats=1", "--repeats"),
        ("--batch=0", "--batch is at least 1"),
        ("--batch=2", "--batch is of --gradients"),
        ("--models=", "--models names none of fastdvdnet, ncfl"),
    ],
)
def test_refuses_what_it_cannot_measure(option, message, capsys):
  assert convolutions.main([option]) == 2
  assert message in capsys.readouterr().err


@pytest.mark.slow  # Compiles each layer, and PyTorch is seldom there.
@pytest.mark.parametrize("more", [[], ["--gradients", "--batch=2"]])
def test_every_convolution_of_both_networks_is_timed(tmp_path, more):
  pytest.importorskip("torch")
  out = tmp_path / "out.json"
  # A process of its own, since it binds itself to a processor.
  command = [
      sys.executable, "-m", "experiments.benchmarks.convolutions", "--small",
      "--size=64x48", "--repeats=2", "--threads=1", f"--json={out}", *more,
  ]
  done = subprocess.run(
      command, check=True, cwd=pathlib.Path(__file__).parents[2],
      stdout=subprocess.PIPE, text=True,
  )
  rows = json.loads(out.read_text())["rows"]
  assert all(row["ok"] for row in rows)
  for name, layers in (("fastdvdnet", 64), ("ncfl", 66)):
    mine = [row for row in rows if row["model"] == name]
    if not more:
      whole = mine.pop()
      assert "count" not in whole and len(whole["sides"]) == 3
    assert sum(row["count"] for row in mine) == layers
  assert done.stdout.count("| sum ") == 2
