import json
import os
import pathlib
import subprocess
import sys

import pytest

from experiments.benchmarks import training


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--models=vdsr", "fastdvdnet, ncfl"),
        ("--torch=jit", "--torch"),
        ("--batch=0", "--batch is at least 1"),
        ("--repeats=1", "--repeats"),
        ("--threads=0", "--threads"),
    ],
)
def test_refuses_what_it_cannot_measure(option, message, capsys):
  assert training.main([option]) == 2
  assert message in capsys.readouterr().err


@pytest.mark.slow  # Compiles two networks, and PyTorch is seldom there.
def test_both_models_step_beside_torch(tmp_path):
  pytest.importorskip("torch")
  out = tmp_path / "out.json"
  # A process of its own, since it binds itself to a processor.
  command = [
      sys.executable, "-m", "experiments.benchmarks.training", "--small",
      "--batch=2", "--side=32", "--torch=channels_last", "--repeats=2",
      "--threads=1", f"--json={out}",
  ]
  env = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
  root = pathlib.Path(__file__).parents[2]
  subprocess.run(command, check=True, cwd=root, env=env)
  rows = json.loads(out.read_text())["rows"]
  assert len(rows) == 6
  for same, step in zip(rows[::2], rows[1::2]):
    assert same["ok"] and same["loss_error"] < 1e-4
    assert set(step["sides"]) == {"jax", "torch channels_last"}
    assert step["devices"] == 2
    assert step["threads"] == {"torch": 1, "processors": 1}
