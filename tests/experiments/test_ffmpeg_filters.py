"""FFmpeg's denoisers beside a model, and how fast both are."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from experiments import ffmpeg_filters
from experiments.benchmarks import restore_speed
from vidrestore_jax.inference import frames_io


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
  """A folder of one small clip: a bright square that moves over shading."""
  folder = tmp_path_factory.mktemp("clips") / "square"
  folder.mkdir()
  rows, columns = np.mgrid[:48, :64]
  for index in range(3):
    frame = np.stack([2 * rows, 3 * columns, rows + columns], -1)
    frame[10:30, 8 + 4 * index : 24 + 4 * index] = (220, 200, 60)
    frames_io.write_png(
        folder / f"{index:02}.png", np.uint8(np.clip(frame, 0, 255))
    )
  return folder


def test_a_filter_gets_and_gives_the_frames(clips):
  paths = sorted(clips.iterdir())
  noisy = np.stack([np.asarray(Image.open(path)) for path in paths])
  kept = ffmpeg_filters.Filter("null")(noisy)
  # Through 4:4:4 of 8 bits.
  np.testing.assert_allclose(255 * kept, noisy, atol=3)
  flipped = ffmpeg_filters.Filter("hflip")(noisy)
  np.testing.assert_allclose(255 * flipped, noisy[:, :, ::-1], atol=3)
  with pytest.raises(ChildProcessError, match="FFmpeg failed on .*nofilter"):
    ffmpeg_filters.Filter("nofilter")(noisy)


@pytest.mark.parametrize("name", ffmpeg_filters.FILTERS)
@pytest.mark.parametrize("sigma", [10, 50])
def test_settings_are_ffmpegs(name, sigma):
  """Every setting of the search runs."""
  noisy = np.full((1, 48, 64, 3), 99, np.uint8)
  settings = list(ffmpeg_filters.FILTERS[name](sigma))
  assert len(settings) == len(set(settings)) >= 8
  for setting in settings[:: len(settings) // 3]:
    assert setting(noisy).shape == noisy.shape


@pytest.mark.slow
def test_the_best_settings_win(clips, tmp_path, capsys):
  """The command, on the model of the package."""
  out = tmp_path / "out.json"
  assert not ffmpeg_filters.main([
      "--model=vidrestore_jax/pretrained/restore_default", f"--data={clips}",
      "--sigma=20", "--frames=3", f"--json={out}",
  ])
  psnr = json.loads(out.read_text())["psnr"]["20"]
  found = {name: row["mean"] for name, row in psnr.items()}
  assert found["noisy"] < min(found[n] for n in ("hqdn3d", "nlmeans", "bm3d"))
  assert found["model, told sigma"] > found["noisy"] + 6
  searched = [
      float(line.split(": ")[1].split(" dB")[0])
      for line in capsys.readouterr().out.splitlines() if "hqdn3d=" in line
  ]
  # All frames were searched, so that its number is the search's best.
  assert found["hqdn3d"] == pytest.approx(max(searched), abs=0.006)


@pytest.mark.slow
def test_the_speed_of_every_side(tmp_path):
  out, processors = tmp_path / "out.json", os.sched_getaffinity(0)
  assert not restore_speed.main([
      "--size=48x32", "--frames=6", "--filter-frames=9", "--repeats=2",
      "--threads=1", f"--json={out}",
  ])
  written = json.loads(out.read_text())
  assert {"model", "fastdvdnet", "null", "bm3d"} <= written["sides"].keys()
  assert list(written["command"]) == [
      "command", "decode", "look", "restore", "encode"
  ]
  for name, row in (written["sides"] | written["command"]).items():
    assert 0 < row["min_s"] <= row["median_s"]
    filtered = name in ("null", "hqdn3d", "nlmeans", "bm3d")
    assert row["frames"] == (9 if filtered else 6)
  # Whatever JAX has seen of this process before.
  assert written["machine"]["cpus"] == written["machine"]["threads"] == 1
  assert written["machine"]["ffmpeg"]
  assert "--threads=1" in written["manifest"]["command"]
  assert os.sched_getaffinity(0) == processors


@pytest.mark.parametrize("argument, message", [
    ("--frames=4", "--frames is at least 5"),
    ("--filter-frames=0", "--filter-frames is at least 1"),
    ("--threads=4096", "--threads is between 1 and"),
    ("--size=640", "640 is no frame size: give WIDTHxHEIGHT"),
])
def test_bad_arguments_are_one_line(argument, message, capsys):
  assert restore_speed.main([argument]) == 2
  assert message in capsys.readouterr().err
