"""Growth with resolution, length, batch and devices, at tiny size."""

import json

import pytest

from experiments.benchmarks import growth


def test_axes_share_points():
  found = growth.points(growth._MODELS, ("training",), growth._AXES, False)
  whole = growth.Point("ncfl", "training", (64, 64), 5, 8)
  assert found[whole] == ["batch", "devices", "processes"]
  assert found[growth.Point("ncfl", "training", (64, 64), 5, 2)] == [
      "size", "length", "batch"
  ]
  # FastDVDnet's window is what it is; two processes have a device each.
  assert not any(
      "length" in axes for point, axes in found.items()
      if point.model == "fastdvdnet"
  )
  pair = growth.Point("ncfl", "training", (64, 64), 5, 8, 2, 2)
  assert found[pair] == ["processes"]
  assert growth.title(pair) == (
      "ncfl, training, 64x64, 5 frames, batch 8, 2 processes"
  )


def test_devices_are_measured_in_processes_of_their_own(tmp_path):
  out = tmp_path / "out.json"
  command = [
      "--models=fastdvdnet", "--programs=inference", "--axes=length,devices",
      "--small", "--repeats=2", f"--json={out}",
  ]
  assert growth.main(command) == 0
  content = json.loads(out.read_text())
  stream, one, two = content["rows"]
  assert (stream["axes"], stream["length"]) == (["length"], 4)
  assert stream["frames_per_second"] == pytest.approx(
      4 / stream["sides"]["jax"]["median_s"]
  )
  assert [row["devices"] for row in (one, two)] == [1, 2]
  assert one["batch"] == two["batch"] == 2  # The same work, split.
  # Each device is given an image: what it holds halves, but for the weights.
  assert two["program_bytes"] < one["program_bytes"]
  assert not content["failed"] and not content["skipped"]


@pytest.mark.slow
def test_two_processes_train_together(tmp_path):
  out = tmp_path / "out.json"
  command = [
      "--models=fastdvdnet", "--programs=training", "--axes=processes",
      "--small", "--repeats=2", f"--json={out}",
  ]
  assert growth.main(command) == 0
  alone, pair = json.loads(out.read_text())["rows"]
  assert (alone["processes"], pair["processes"]) == (1, 2)
  assert pair["frames"] == alone["frames"] == 2  # Of both together.


def test_a_process_that_fails_is_told(tmp_path):
  point = growth.Point("fastdvdnet", "inference", (16, 16), 0, 3, 2, small=True)
  with pytest.raises(RuntimeError, match="does not split over 2 devices"):
    growth.measure(point, 2, 60)


@pytest.mark.parametrize("option", ["--axes=colour", "--repeats=1"])
def test_refuses_what_it_cannot_measure(option, capsys):
  assert growth.main([option]) == 2
  assert option.partition("=")[0] in capsys.readouterr().err
