import jax
import jax.numpy as jnp
import pytest

from tests import profiles
from vidrestore_jax import profiling


def test_steady_steps_are_traced_and_what_they_compute(tmp_path, capsys):
  multiply = jax.jit(lambda x: jnp.sin(x) @ x)
  with profiling.Trace(tmp_path, "train", steps=2) as trace:
    function = trace.watched(multiply)
    for _ in range(6):
      function(jnp.ones((64, 64)))
  assert profiles.steps(tmp_path, "train") == [3, 4]
  names = {event.get("name", "") for event in profiles.events(tmp_path)}
  assert any("sine" in name for name in names)  # An operation of XLA.
  line = capsys.readouterr().out
  assert str(tmp_path / "plugins") in line and "perfetto" in line


def test_what_ends_early_is_written(tmp_path, capsys):
  with (
      pytest.raises(KeyboardInterrupt),
      profiling.Trace(tmp_path / "cut", "frame") as trace,
  ):
    for _ in range(5):
      trace.tick()
    raise KeyboardInterrupt
  assert profiles.steps(tmp_path / "cut", "frame") == [3, 4]
  with profiling.Trace(tmp_path / "none", "frame") as trace:
    trace.tick()
  assert "Nothing was profiled: there were 1" in capsys.readouterr().out
  assert not (tmp_path / "none").exists()
