"""A trace of some steady steps of a loop, for TensorBoard or Perfetto.

JAX's own profiler, of a few steps after those that compile: a whole run would
be too large to look at.
"""

import pathlib
from collections.abc import Callable

import jax

_SKIPPED = 3  # Steps that compile, or fill what the later ones find full.


class Trace:
  """Profiles steps; `tick` is called where one ends and the next begins.

  A context, at whose end what has been traced is written.
  """

  def __init__(
      self, folder, name: str, *, steps: int = 5, say: Callable = print
  ):
    """Prepares a trace.

    Args:
      folder: where it goes, a subfolder for each trace; made when it starts.
      name: of a step, such as "train".
      steps: how many are traced, after the first 3.
      say: takes the line that says where the trace lies.
    """
    self._folder, self._name, self._say = pathlib.Path(folder), name, say
    self._first, self._end = _SKIPPED, _SKIPPED + steps
    self._step, self._open, self._computing = 0, None, None

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self._open:
      self._open.__exit__(None, None, None)
      self._stop()
    elif self._step <= self._first:
      self._say(
          f"Nothing was profiled: there were {self._step} steps of"
          f" {self._name}, of which the first {_SKIPPED} are not looked at."
      )

  def tick(self):
    """A step begins here, and the one before is over."""
    if self._open:
      self._open.__exit__(None, None, None)
    if self._step == self._end:
      self._stop()
    if self._step == self._first:
      jax.block_until_ready(self._computing)
      options = jax.profiler.ProfileOptions()
      # Every call of every Python function would be most of the trace, and of
      # the time.
      options.python_tracer_level = 0
      jax.profiler.start_trace(self._folder, profiler_options=options)
    if self._first <= self._step < self._end:
      self._open = jax.profiler.StepTraceAnnotation(
          self._name, step_num=self._step
      )
      self._open.__enter__()
    self._step += 1

  def watched(self, function: Callable) -> Callable:
    """The function, each call of which begins a step."""

    def call(*args):
      self.tick()
      self._computing = None  # The call may take back its memory.
      self._computing = function(*args)
      return self._computing

    return call

  def _stop(self):
    """Waits for what is computed, and writes."""
    self._open = None
    jax.block_until_ready(self._computing)
    jax.profiler.stop_trace()
    newest = max(self._folder.glob("plugins/profile/*"))
    self._say(
        f"Profile: {newest}. Open its .trace.json.gz at https://ui.perfetto.dev,"
        f" or: pip install tensorboard xprof; tensorboard --logdir="
        f"{self._folder}"
    )
