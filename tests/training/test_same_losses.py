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


def losses(run) -> list[float]:
  found = {
      line["step"]: line["loss"]
      for line in writers.read(run.workdir)
      if "loss" in line
  }
  assert sorted(found) == list(range(1, STEPS + 1))
  return [found[step] for step in sorted(found)]


@pytest.mark.slow  # Nine starts, six compilations: minutes.
@pytest.mark.parametrize("variant", ["noq", "fastdvdnet"])
def test_devices_processes_and_pmap_change_only_rounding(tmp_path, variant):
  arguments = [
      f"{runs.TINY}:{variant}", f"--config.steps={STEPS}",
      "--config.batch_size=8", "--config.log_every=1",
      "--config.checkpoint_every=0",
  ]

  def start(name, *more, **kwargs):
    return runs.Run(
        tmp_path / name, [*arguments, *more], cache=tmp_path / "cache", **kwargs
    )

  one = start("one")
  one.finish()
  expected = losses(one)
  pmap = "--config.parallel=pmap"
  pair = dict(devices=2, count=2)
  for name, kwargs in (("eight", dict(devices=8)), ("pair", pair)):
    same = start(name, **kwargs), start(f"{name}_pmap", pmap, **kwargs)
    for run in same:
      run.finish()
      np.testing.assert_allclose(losses(run), expected, rtol=1e-3)

  # From eight devices to two, to two processes, and to these under pmap.
  for step, kwargs in (
      (12, dict(devices=8)), (24, dict(devices=2)), (36, pair)
  ):
    moved = start("moved", **kwargs)
    moved.wait_for(step)
    moved.send(signal.SIGTERM)
    assert set(moved.end(120)) == {128 + signal.SIGTERM}, moved.log()
  moved = start("moved", pmap, **pair)
  moved.finish()
  assert "Goes on from step" in moved.log()
  np.testing.assert_allclose(losses(moved), expected, rtol=1e-3)
