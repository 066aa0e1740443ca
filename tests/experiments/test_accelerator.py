import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments.benchmarks import (
    accelerator,
    beside_torch,
    measuring,
    subjects,
)
from tests import requirements

ROOT = pathlib.Path(__file__).parents[2]
TINY = accelerator.SMALL
# What an accelerator's machine need not have.
ABSENT = {"av", "cv2"} | requirements.modules(
    without=("jax", "flax", "optax", "numpy")
)


def test_needs_no_more_than_jax_flax_optax_and_numpy():
  # jax, flax and optax themselves may bring some of them.
  code = f"""
import sys
import flax.linen, jax, optax
class Block:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in {ABSENT!r} - set(sys.modules):
      raise ImportError(name)
sys.meta_path.insert(0, Block())
import experiments.benchmarks.accelerator
"""
  subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_writes_speed_and_names_what_it_skips(tmp_path, monkeypatch):
  monkeypatch.setattr(
      subjects, "FORMS", {"float32": subjects.FORMS["float32"]}
  )
  out = tmp_path / "out.json"
  parts = {
      "product": lambda report, sizes, *_: accelerator.product(report, sizes),
      "speed": lambda report, sizes, peer, _: beside_torch.compare(
          report, "fastdvdnet", ("fastdvdnet", sizes.fastdvdnet), "window",
          peer, sizes.frame, ["float32"], (), "speed",
      ),
      "late": lambda report, *_: [
          setattr(report, "_budget", 0), report.row("late/row", dict)
      ],
  }
  monkeypatch.setattr(accelerator, "PARTS", parts)
  command = ["--small", "--repeats=2", "--notorch", f"--json={out}"]
  assert accelerator.main(command) == 0
  content = json.loads(out.read_text())
  product, window = content["rows"]
  assert product["tflops"] > 0
  assert window["share_of_product"] == window["tflops"] / product["tflops"]
  assert "share_of_product" not in product
  times = window["sides"]["jax"]
  assert len(times["seconds"]) == 2
  assert times["min_s"] <= times["median_s"] <= times["max_s"]
  assert window["shapes"][0] == [1, 5, 32, 48, 3]  # 46 is filled up.
  assert content["skipped"] == ["late/row"]
  assert content["machine"]["versions"]["jax"] == jax.__version__


def test_a_row_that_fails_ends_in_status_1(tmp_path, monkeypatch):
  def part(report, *_):
    report.row("raises", lambda: 1 / 0)
    report.row("off", lambda: measuring.check(float("nan"), 1.0))
    report.row("fine", lambda: measuring.check(0.5, 1.0))

  monkeypatch.setattr(accelerator, "PARTS", {"part": part})
  out = tmp_path / "out.json"
  assert accelerator.main(["--notorch", f"--json={out}"]) == 1
  content = json.loads(out.read_text())
  assert content["failed"] == ["raises", "off"]
  raises, off, fine = content["rows"]
  assert raises["raised"].startswith("ZeroDivisionError")
  assert off["error"] is None and fine["ok"]


def test_layers_are_compared_by_output_and_gradient(monkeypatch):
  cases = accelerator.layer_cases()
  names = ("warp.backward_warp", "convolution.Conv")
  monkeypatch.setattr(
      accelerator, "layer_cases", lambda: {name: cases[name] for name in names}
  )
  report = measuring.Report(None, 60, {})
  accelerator.layers(report, TINY)
  *exact, forward, gradient = report.content["rows"]
  assert [row["dtype"] for row in exact] == 4 * ["float32"]
  assert all(row["error"] <= 1e-6 for row in exact)
  for row in (forward, gradient):
    assert row["dtype"] == "bfloat16" and 0 < row["error"] < row["bound"]


@pytest.mark.parametrize(
    "name", ["3x3 16 to 16", "3x3 12 to 90 in 3 groups", "3x3 90 to 32"]
)
def test_narrow_convolutions_are_the_same_in_both_forms(monkeypatch, name):
  case = accelerator._NARROW[name]
  monkeypatch.setattr(accelerator, "_NARROW", {name: case})
  monkeypatch.setattr(accelerator, "_KERNELS", 1)
  report = measuring.Report(None, 60, {})
  accelerator.narrow(report, TINY)
  forward, gradient = report.content["rows"]
  for row in (forward, gradient):
    assert row["ok"] and set(row["sides"]) == {"usual", "tensor_cores"}


def test_torch_compile_can_be_left_out(monkeypatch, tmp_path):
  asked = []

  def part(report, *args):
    asked.append(args[-1])
    report.row("part", dict)

  monkeypatch.setattr(accelerator, "PARTS", {"part": part})
  out = f"--json={tmp_path / 'out.json'}"
  for more in ([], ["--nocompile"]):
    assert accelerator.main(["--notorch", out, *more]) == 0
  assert asked == [("eager", "channels_last", "compile"), asked[0][:2]]


def test_errors():
  wanted = {"a": np.array([3.0, 0.0]), "b": np.array([4.0])}
  found = {"a": np.array([3.0, 0.5]), "b": np.array([4.0])}
  assert measuring.relative(found, wanted) == pytest.approx(0.1)
  assert measuring.largest([10.0, 1.0], [8.0, 1.0]) == pytest.approx(0.25)
  assert not measuring.check(float("nan"), 1.0)["ok"]
