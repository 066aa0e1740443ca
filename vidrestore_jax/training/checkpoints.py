"""Training checkpoints: the train state and the data iterator, by Orbax.

Both are saved together, in the background, so that a restored run goes on with
the very batch that would have come next, on as many processes and devices as
there are then. What was cut short by a kill, or
damaged since, is passed over with a message; what belongs to another model is
an error that names the first difference.
"""

import contextlib
import errno
import json
import math
import os
import pathlib
import shutil

import grain.checkpoint
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from vidrestore_jax.training import sharding


class Checkpoints:
  """The checkpoints of one run: the newest few, and the best by a metric."""

  def __init__(
      self,
      directory,
      *,
      keep: int,
      metric: str = "psnr",
      mode: str = "max",
      say=print,
  ):
    """Opens or makes the folder.

    Args:
      directory: the folder; a kill may have left unfinished checkpoints in it,
        which are removed.
      keep: how many of the newest to keep.
      metric: the best checkpoint by this key of `save`'s metrics stays too.
      mode: "max" or "min", which end of `metric` is good.
      say: takes each message to the user.
    """
    self._directory = pathlib.Path(directory).resolve()
    self._say = say
    sign = {"max": 1, "min": -1}[mode]
    # Checkpoints without an evaluation are never the best.
    self._quality = lambda scores: sign * scores.get(metric, -sign * math.inf)
    with self._clear_disk_errors():
      self._directory.mkdir(parents=True, exist_ok=True)
      for path in self._unfinished():
        step = path.name.partition(".")[0]
        say(
            f"Checkpoint {step} was cut short while it was written"
            f" ({path.name}): passed over."
        )
        shutil.rmtree(path)
      self._manager = self._open(keep)

  def _open(self, keep: int) -> ocp.CheckpointManager:
    best = policies.BestN(get_metric_fn=self._quality, n=1)
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy(
            [policies.LatestN(keep), best]
        ),
        best_fn=self._quality,  # Makes the manager store the metrics.
    )
    handlers = {
        "state": ocp.StandardCheckpointHandler(),
        "data": grain.checkpoint.CheckpointHandler(),
    }
    return ocp.CheckpointManager(
        self._directory, options=options, item_handlers=handlers
    )

  def save(self, step: int, state, iterator, metrics=None):
    """Starts to save; the state may be donated as soon as this returns.

    Args:
      step: updates made so far, all of them finite.
      state: a pytree of global arrays.
      iterator: the grain iterator, having given out `step` batches.
      metrics: evaluation's numbers at this step, where there are any.

    Raises:
      OSError: no space left, now or in a save that was still under way.
    """
    if step in self._manager.all_steps():
      return
    self.wait()
    self._check_space(step, state)
    with self._clear_disk_errors():
      self._manager.save(
          step,
          args=ocp.args.Composite(
              state=ocp.args.StandardSave(state),
              data=grain.checkpoint.CheckpointSave(iterator),
          ),
          metrics=metrics or {},
      )

  def restore(self, state, iterator):
    """The newest checkpoint that can be read.

    Args:
      state: a state of the same structure, shapes and shardings.
      iterator: a fresh grain iterator; set to the checkpoint's position. Where
        that was written by another number of processes, the states of all are
        handed to its `set_states`.

    Returns:
      The pair (restored state, its step); `(state, 0)` where there is none.

    Raises:
      ValueError: the checkpoint is another model's.
    """
    damaged = False
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        saved = self._manager.item_metadata(step)["state"]
        saved = None if saved is None else _shapes(saved.tree)
      except _DAMAGE as error:
        damaged = self._set_aside(step, error)
        continue
      if saved is None:
        damaged = self._set_aside(step, "its metadata cannot be read")
        continue
      self._check_same(step, saved, _shapes(state))
      try:
        return self._read(step, state, iterator), step
      except _DAMAGE as error:
        damaged = self._set_aside(step, error)
    if damaged:
      self._say("No older checkpoint is left: the run starts at step 0.")
    return state, 0

  def wait(self):
    """Returns when what was saved is on the disk; raises what went wrong."""
    with self._clear_disk_errors():
      self._manager.wait_until_finished()

  def newest(self) -> pathlib.Path | None:
    """The newest finished checkpoint, after waiting for a save under way."""
    self.wait()
    step = self._manager.latest_step()
    return None if step is None else self._directory / str(step)

  def close(self):
    """Waits, then lets go of the folder."""
    with self._clear_disk_errors():
      self._manager.close()

  def _read(self, step: int, state, iterator):
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
    restored = self._manager.restore(
        step,
        args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)),
    )["state"]
    # Only now, since setting the iterator may start its worker processes.
    states = self._states(step)
    if len(states) == jax.process_count():
      iterator.set_state(states[jax.process_index()])
    else:
      iterator.set_states(states)
    iterator.start_prefetch()
    return restored

  def _states(self, step: int) -> list[dict]:
    """Where the iterators of all processes that wrote a checkpoint stood."""
    folder = self._directory / str(step) / "data"
    files = sorted(folder.glob("process_*-of-*.json"))
    count = int(files[0].stem.rpartition("-of-")[2]) if files else 1
    return [
        json.loads((folder / f"process_{i}-of-{count}.json").read_text())
        for i in range(count)
    ]

  def _check_same(self, step: int, saved: dict, given: dict):
    """Raises ValueError naming the first difference, parameters first."""
    paths = [path for path in given if given[path] != saved.get(path)]
    paths += [path for path in saved if path not in given]
    if not paths:
      return
    path = min(paths, key=lambda p: (not p.startswith("params."), p))
    sides = [_describe(side.get(path)) for side in (saved, given)]
    raise ValueError(
        f"The checkpoint {self._directory / str(step)} belongs to another"
        f" model or optimizer: {path} is {sides[0]} there and {sides[1]} here."
        " Use the config that it was made with, or another --workdir."
    )

  def _check_space(self, step: int, state):
    """Raises OSError where the state will not fit, before anything is written.

    Orbax meets a full disk with hundreds of lines from its threads.
    """
    need = _SPARE + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(self._directory).free
    if free < need:
      raise OSError(
          errno.ENOSPC,
          f"No space left on the disk: the checkpoint of step {step} needs"
          f" {need / 1e6:.0f} MB and {free / 1e6:.0f} MB are free. {_WAY_OUT}",
          str(self._directory),
      )

  @contextlib.contextmanager
  def _clear_disk_errors(self):
    """Turns what a full disk looks like, deep in tensorstore, into one line."""
    try:
      yield
    except Exception as error:
      chain, text = error, ""
      while chain is not None:
        text += f" {chain}"
        chain = chain.__cause__ or chain.__context__
      if os.strerror(errno.ENOSPC) not in text:
        raise
      for path in self._unfinished():
        shutil.rmtree(path, ignore_errors=True)
      raise OSError(
          errno.ENOSPC,
          f"No space left on the disk for a checkpoint. {_WAY_OUT}",
          str(self._directory),
      ) from error

  def _unfinished(self) -> list[pathlib.Path]:
    paths = sorted(self._directory.glob("*.orbax-checkpoint-tmp*"))
    return paths if jax.process_index() == 0 else []

  def _set_aside(self, step: int, reason) -> bool:
    """Renames a damaged checkpoint, so that its step can be saved again."""
    if isinstance(reason, Exception) and sharding.lost_others(reason):
      raise reason  # The checkpoint may be whole.
    path = self._directory / str(step)
    aside = path.with_name(f"{step}.damaged")
    reason = " ".join(str(reason).split())[:200] or type(reason).__name__
    self._say(
        f"Checkpoint {path} is damaged and passed over, kept as {aside.name}:"
        f" {reason}"
    )
    if jax.process_index() == 0:
      shutil.rmtree(aside, ignore_errors=True)
      os.replace(path, aside)
    self._manager.reload()
    return True


# Bytes left free for what is written beside the checkpoints.
_SPARE = 16 * 2**20
_WAY_OUT = (
    "The checkpoints before it are whole: free some space and give the same"
    " command again"
)
# What Orbax, tensorstore, json and grain raise for files that are missing, cut
# short or overwritten.
_DAMAGE = (ValueError, KeyError, TypeError, FileNotFoundError, EOFError)


def _shapes(tree) -> dict[str, tuple]:
  """{"params.a.kernel": (shape, dtype)}, as Orbax names the leaves."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
      ".".join(_key(entry) for entry in path): (
          tuple(leaf.shape),
          str(leaf.dtype),
      )
      for path, leaf in leaves
  }


def _key(entry) -> str:
  for name in ("key", "name", "idx"):
    if hasattr(entry, name):
      return str(getattr(entry, name))
  raise ValueError(f"No name for the tree entry {entry!r}.")


def _describe(leaf) -> str:
  return "absent" if leaf is None else f"{leaf[1]}{list(leaf[0])}"
