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

ROOT = pathlib.Path(__file__).parents[2]
TINY = accelerator.SMALL
# What an accelerator's machine need not have.
ABSENT = (
    "absl", "array_record", "av", "clu", "cv2", "grain", "ml_collections",
    "orbax", "PIL", "safetensors", "tensorboardX", "tensorflow_datasets",
)


def test_needs_no_more_than_jax_flax_optax_and_numpy():
  # jax, flax and optax themselves may bring some of them.
  code = f"""
import sys
import flax.linen, jax, optax
class Block:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in {set(ABSENT)!r} - set(sys.modules):
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
      "product": lambda report, sizes, peer: accelerator.product(report, sizes),
      "speed": lambda report, sizes, peer: beside_torch.compare(
          report, "fastdvdnet", ("fastdvdnet", sizes.fastdvdnet), "window",
          peer, sizes.frame, ["float32"], (), "speed",
      ),
      "late": lambda report, sizes, peer: [
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
  def part(report, sizes, peer):
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
  name = "warp.backward_warp"
  case = accelerator.layer_cases()[name]
  monkeypatch.setattr(accelerator, "layer_cases", lambda: {name: case})
  report = measuring.Report(None, 60, {})
  accelerator.layers(report, TINY)
  forward, gradient = report.content["rows"]
  assert forward["error"] <= 1e-6 and gradient["error"] <= 1e-6


def test_errors():
  wanted = {"a": np.array([3.0, 0.0]), "b": np.array([4.0])}
  found = {"a": np.array([3.0, 0.5]), "b": np.array([4.0])}
  assert measuring.relative(found, wanted) == pytest.approx(0.1)
  assert measuring.largest([10.0, 1.0], [8.0, 1.0]) == pytest.approx(0.25)
  assert not measuring.check(float("nan"), 1.0)["ok"]
