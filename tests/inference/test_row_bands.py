import os
import pathlib
import subprocess
import sys

import pytest

from tests.inference import tiny_videos
from vidrestore_jax.inference import pipeline, row_bands

THERE = pathlib.Path(__file__).with_name("on_eight_devices.py")


@pytest.mark.parametrize(
    "marked", ["not slow", pytest.param("slow", marks=pytest.mark.slow)]
)
def test_on_eight_devices(marked):
  """A process has as many devices as when it started."""
  run = subprocess.run(
      [
          sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
          "-m", marked, str(THERE),
      ],
      capture_output=True, text=True, cwd=THERE.parents[2],
      env=os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"},
  )
  assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("devices", [0, -1, 1.5, "some"])
def test_only_numbers_of_devices_and_all(devices):
  with pytest.raises(ValueError, match="1 or more, or over all, but got"):
    pipeline.check(
        tiny_videos.identity()[0], pipeline.Settings(devices=devices)
    )
  assert row_bands.count("all") >= 1
