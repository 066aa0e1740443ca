"""A run has the same losses on other devices and processes, to rounding.

The quantiser is off, since a latent within rounding of a half may flip it; the
noise of an example is the same wherever it is.
"""

import signal

import numpy as np
import pytest

from tests.training import runs
from vidrestore_jax.training import writers

STEPS = 50
PAIR = dict(devices=2, count=2)
PMAP = "--config.parallel=pmap"


def losses(run) -> list[float]:
  found = {
      line["step"]: line["loss"]
      for line in writers.read(run.workdir)
      if "loss" in line
  }
  assert sorted(found) == list(range(1, STEPS + 1))
  return [found[step] for step in sorted(found)]


def start(folder, variant, *more, **kwargs):
  """A run in `folder`, beside whose siblings it finds its programs."""
  arguments = [
      f"{runs.TINY}:{variant}", f"--config.steps={STEPS}",
      "--config.batch_size=8", "--config.log_every=1",
      "--config.checkpoint_every=0", *more,
  ]
  return runs.Run(folder, arguments, cache=folder.parent / "cache", **kwargs)


@pytest.fixture(scope="module", params=["noq", "fastdvdnet"])
def one(request, tmp_path_factory):
  """Name, folder and losses of a run on one device of one process."""
  folder = tmp_path_factory.mktemp(request.param)
  run = start(folder / "one", request.param)
  run.finish()
  return request.param, folder, losses(run)


@pytest.mark.slow  # Five starts, as many compilations.
def test_devices_processes_and_pmap_change_only_rounding(one):
  variant, folder, expected = one
  for name, kwargs in (("eight", dict(devices=8)), ("pair", PAIR)):
    same = (
        start(folder / name, variant, **kwargs),
        start(folder / f"{name}_pmap", variant, PMAP, **kwargs),
    )
    for run in same:
      run.finish()
      np.testing.assert_allclose(losses(run), expected, rtol=1e-3)


@pytest.mark.slow  # Four starts, which find one of their programs.
@pytest.mark.parametrize("one", ["noq"], indirect=True)
def test_a_run_goes_on_elsewhere_with_the_same_losses(one):
  """From eight devices to three, to two processes, and to three under pmap.

  A batch of eight splits over two of three, of each process likewise.
  """
  variant, folder, expected = one
  three = dict(devices=3)
  places = dict(devices=8), three, three | dict(count=2)
  for step, kwargs in zip((12, 24, 36), places):
    moved = start(folder / "moved", variant, **kwargs)
    moved.wait_for(step)
    moved.send(signal.SIGTERM)
    assert set(moved.end(30)) == {128 + signal.SIGTERM}, moved.log()
  moved = start(folder / "moved", variant, PMAP, **three)
  moved.finish()
  assert "Uses 2 of 3 devices: batch_size 8" in moved.log()
  assert "Goes on from step" in moved.log()
  np.testing.assert_allclose(losses(moved), expected, rtol=1e-3)
