"""How fast a run goes, what is left, its numbers since the last line."""

import contextlib
import time


class Progress:
  """Means and rates over the steps since the last report.

  The first step's time, which is compilation, and pauses do not count.
  """

  def __init__(self, steps: int):
    """`steps` is the whole run's length."""
    self._steps = steps
    self._clock = None  # When the first timed step began.
    self._timed = self._counted = self._clips = 0
    self._totals: dict[str, float] = {}

  def add(self, metrics: dict, clips: int):
    """Takes one step's metrics and the clips in its batch."""
    self._counted, self._clips = self._counted + 1, clips
    for name, value in metrics.items():
      self._totals[name] = self._totals.get(name, 0.0) + float(value)
    if self._clock is None:
      self._clock = time.monotonic()
    else:
      self._timed += 1

  @contextlib.contextmanager
  def paused(self):
    """Stops the clock while something else is done."""
    start = time.monotonic()
    yield
    self._clock += time.monotonic() - start

  def report(self, step: int) -> tuple[dict, str]:
    """Numbers for the log and a line for the user; starts over."""
    values = {k: v / self._counted for k, v in self._totals.items()}
    line = f"step {step}/{self._steps}  {join(values)}"
    if self._timed:
      seconds = (time.monotonic() - self._clock) / self._timed
      clips = self._clips / seconds
      left = round((self._steps - step) * seconds)
      values |= {"step_ms": 1e3 * seconds, "clips_per_s": clips}
      line += (
          f"  {1 / seconds:.3g} steps/s  {clips:.3g} clips/s"
          f"  {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
      )
    self._clock, self._timed, self._counted = time.monotonic(), 0, 0
    self._totals = {}
    return values, line


def join(values: dict) -> str:
  """`{"mse": 0.01, "loss": 0.01234}` as "loss 0.01234  mse 0.01"."""
  names = sorted(values, key=lambda name: name != "loss")
  return "  ".join(f"{name} {values[name]:.4g}" for name in names)
