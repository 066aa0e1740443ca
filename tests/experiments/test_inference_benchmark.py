import json
import pathlib
import subprocess
import sys

import pytest

from experiments.benchmarks import beside_torch, inference, measuring


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--sizes=640", "WIDTHxHEIGHT"),
        ("--programs=video", "--programs"),
        ("--models=unet", "--models"),
        ("--torch=jit", "--torch"),
        ("--repeats=1", "--repeats"),
        ("--threads=0", "--threads"),
    ],
)
def test_refuses_what_it_cannot_measure(option, message, capsys):
  assert inference.main([option]) == 2
  assert message in capsys.readouterr().err


def test_calls_before_one_that_counts_take_their_turn_with_it():
  calls = []
  sides = {name: lambda name=name: calls.append(name) for name in "ab"}
  times = measuring.alternate(sides, 4, warmup=3, before=1)
  assert "".join(calls) == "aaabbb" + 4 * "aabb"
  assert [len(times[name]["seconds"]) for name in "ab"] == [4, 4]


def test_every_row_is_compiled_for_its_size():
  torch = pytest.importorskip("torch")
  peer, shapes = beside_torch.Torch(), []

  def backend(graph, inputs):
    shapes.append(inputs[-1])
    return graph.forward

  def double(x):
    return 2 * x

  for size in range(4, 20):  # More than torch.compile makes of one code.
    with peer.row("float32"):
      torch.compile(double, backend=backend)(torch.zeros(size))
  assert [list(x.shape) for x in shapes] == [[size] for size in range(4, 20)]


def test_a_side_that_is_not_finite_differs():
  times = {"jax": {"median_s": 1.0}, "torch eager": {"median_s": 1.0}}
  errors = {"eager": 0.0, "compile": float("nan")}
  assert not beside_torch._compared(times, errors, 1.0)["ok"]


def test_both_programs_beside_torch(tmp_path):
  pytest.importorskip("torch")
  out = tmp_path / "out.json"
  # A process of its own, since it binds itself to a processor.
  command = [
      sys.executable, "-m", "experiments.benchmarks.inference",
      "--models=fastdvdnet", "--sizes=18x16", "--torch=channels_last",
      "--repeats=2", "--threads=1", "--small", f"--json={out}",
  ]
  subprocess.run(command, check=True, cwd=pathlib.Path(__file__).parents[2])
  window, stream = json.loads(out.read_text())["rows"]
  for row in (window, stream):
    assert set(row["sides"]) == {"jax", "torch channels_last"}
    assert row["error"] < 1e-4 and row["threads"]["torch"] == 1
  # Each stage once, instead of the first one three times.
  assert stream["macs"] == window["macs"] / 2
