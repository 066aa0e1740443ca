"""The training loop. It knows no model, no task and no data set."""

from collections.abc import Callable
from typing import Any

import jax
from clu import parameter_overview

from vidrestore_jax.training.progress import Progress, join


class NonFiniteError(FloatingPointError):
  """A step whose loss or gradient was not finite."""


def run(
    state,
    iterator,
    *,
    steps: int,
    train_step: Callable,
    to_devices: Callable,
    checkpoints,
    writer,
    learning_rates: Callable[[int], dict[str, float]],
    evaluate: Callable[[Any], tuple[dict, dict]] | None,
    log_every: int,
    eval_every: int,
    checkpoint_every: int,
    counts: Callable[[], dict[str, int]] = dict,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = print,
):
  """Trains from `state.step` towards `steps`, saving, logging and evaluating.

  What a step does depends on the state and its batch alone, so a run that was
  stopped anywhere and resumed ends in the same state.

  Args:
    state: the train state; it is donated. Its `step` counts finished updates,
      and `iterator` has given out just as many batches.
    iterator: a grain iterator over numpy batches with an `index` per example.
    steps: updates of the whole run.
    train_step: compiled `(state, batch) -> (state, metrics)`; `metrics` are
      scalars, among them `finite`. A step that was not finite must give back
      its state unchanged.
    to_devices: makes global arrays of a numpy batch.
    checkpoints: a `checkpoints.Checkpoints`.
    writer: a `writers.Writer`.
    learning_rates: the rates by group at a step, for the log.
    evaluate: `state -> (scalars, pictures)`, or None.
    log_every: steps from one log line to the next; likewise `eval_every` and
      `checkpoint_every`, where 0 means at the end only. A checkpoint is also
      made after each evaluation, so that the best one can be kept.
    counts: totals of the run so far that the data keeps, for the log; a line
      shows those that are not zero.
    stop: asked after each step, in all processes alike, whether to save it and
      return. An evaluation that was due then is made when the run goes on; that
      checkpoint is not kept as the best.
    say: takes each line of progress.

  Returns:
    The state after `steps` updates or, where `stop` said so, fewer; saved.

  Raises:
    NonFiniteError: naming the step, the batch and the last good checkpoint.
    OSError: the disk is full.
  """
  step = int(state.step)
  say(
      parameter_overview.get_parameter_overview(
          state.params, include_stats=False
      )
  )
  say(f"step {step} of {steps}: the first step compiles ...")
  progress = Progress(steps)
  pending = None  # The last step's number, metrics and indices: not yet read.

  def settle():
    """Reads the pending step's metrics; stops the run if they are bad."""
    nonlocal pending
    if pending is None:
      return
    number, metrics, index = pending
    pending = None
    metrics = jax.device_get(metrics)
    if not metrics.pop("finite"):
      raise NonFiniteError(_describe(number, metrics, index, checkpoints))
    progress.add(metrics, len(index) * jax.process_count())

  def measure():
    """Evaluates the state, logs it and returns its numbers."""
    scores, pictures = evaluate(state)
    writer.scores(step, scores)
    writer.pictures(step, pictures)
    say(f"step {step}: " + join(scores))
    return scores

  def due(every):
    return step == steps or (every > 0 and step % every == 0)

  if evaluate and step and due(eval_every) and not writer.evaluated(step):
    measure()  # Whoever was to leave at this step had no time for it.
  while step < steps:
    batch = next(iterator)
    state, metrics = train_step(state, to_devices(batch))
    step += 1
    # Reading one step late keeps the device busy in the meantime.
    settle()
    pending = (step, metrics, batch["index"])
    log, test, save = map(due, (log_every, eval_every, checkpoint_every))
    stopped = stop()
    test = test and evaluate is not None and not stopped
    save = save or stopped
    if log or test or save:
      settle()
    if log:
      values, line = progress.report(step)
      totals = counts()
      say(line + "".join(f"  {k} {v}" for k, v in totals.items() if v))
      rates = learning_rates(step - 1)  # The rates that made this step.
      rates = {f"learning_rate/{name}": rate for name, rate in rates.items()}
      writer.scalars(step, values | rates | totals)
    scores = None
    if test or save:
      with progress.paused():
        if test:
          scores = measure()
        checkpoints.save(step, state, iterator, scores)
    if stopped:
      break
  checkpoints.wait()
  return state


def _describe(step, metrics, index, checkpoints) -> str:
  newest = checkpoints.newest()
  good = f"last good checkpoint: {newest}" if newest else "no checkpoint yet"
  indices = ", ".join(str(i) for i in index.tolist())
  return (
      f"Step {step} was not finite ({join(metrics)}); nothing of it was saved;"
      f" {good}; clips of its batch: {indices}. Try a lower learning rate, or"
      " float32 if dtype is bfloat16."
  )
