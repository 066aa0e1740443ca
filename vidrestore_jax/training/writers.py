"""What a run writes as it goes: `metrics.jsonl` and TensorBoard events.

Events are written by tensorboardX's record writer directly, not by its
SummaryWriter: that one queues for a thread, and where the disk is full the
thread dies unseen and the queue blocks the run for ever.
"""

import contextlib
import json
import os
import pathlib
import sys
import time

import numpy as np


@contextlib.contextmanager
def _not_installed(name: str):
  """Within it a package cannot be imported, unless it was before."""
  if name in sys.modules:
    yield
    return
  sys.modules[name] = None
  try:
    yield
  finally:
    del sys.modules[name]


# Which takes seconds, to tell PyTorch's tensors, of which none come here.
with _not_installed("torch"):
  from tensorboardX import event_file_writer, summary
  from tensorboardX.proto import event_pb2

METRICS = "metrics.jsonl"
_EVAL = "eval/"


class Writer:
  """Scalars, pictures and texts of one run, in its working directory.

  Only one process of a run may write (`active`); the others get a writer that
  does nothing.
  """

  def __init__(self, workdir, *, step: int, active: bool = True):
    """Opens the files, forgetting what lies after `step`.

    Args:
      workdir: an existing folder.
      step: where the run starts or resumes. Steps that were logged before a
        kill but after the checkpoint will be logged again, so that their lines
        are dropped here.
      active: False for processes that must not write.

    Raises:
      OSError: the files cannot be written.
    """
    self._lines = self._events = None
    self._workdir = workdir = pathlib.Path(workdir)
    if not active:
      return
    _drop_after(workdir / METRICS, step)
    self._lines = (workdir / METRICS).open("a", encoding="utf-8")
    self._events = event_file_writer.EventsWriter(str(workdir / "events"))
    # TensorBoard forgets what older event files hold from this step on.
    log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._event(step + 1, session_log=log)

  def scalars(self, step: int, values: dict[str, float]):
    """One line of `metrics.jsonl` and one point in each curve."""
    if self._lines is None:
      return
    values = {name: float(value) for name, value in values.items()}
    self._lines.write(json.dumps({"step": step, **values}) + "\n")
    self._lines.flush()
    for name, value in values.items():
      self._event(step, summary=summary.scalar(name, value))
    self._events.flush()

  def scores(self, step: int, values: dict[str, float]):
    """As `scalars`, of an evaluation: the names get "eval/" before them."""
    self.scalars(step, {_EVAL + name: value for name, value in values.items()})

  def evaluated(self, step: int) -> bool:
    """Whether there are scores of the step, of whichever process."""
    return any(
        line["step"] == step and any(name.startswith(_EVAL) for name in line)
        for line in read(self._workdir)
    )

  def pictures(self, step: int, pictures: dict[str, np.ndarray]):
    """Pictures `[H, W, 3]`, uint8."""
    if self._events is None:
      return
    for name, picture in pictures.items():
      image = summary.image(name, picture, dataformats="HWC")
      self._event(step, summary=image)
    self._events.flush()

  def text(self, step: int, name: str, text: str):
    """A text, shown by TensorBoard as Markdown."""
    if self._events is None:
      return
    self._event(step, summary=summary.text(name, text))
    self._events.flush()

  def close(self):
    """Closes both files."""
    if self._lines is not None:
      self._lines.close()
      self._events.close()

  def _event(self, step: int, **content):
    self._events.write_event(
        event_pb2.Event(wall_time=time.time(), step=step, **content)
    )


def read(workdir) -> list[dict]:
  """The lines of a run's `metrics.jsonl`, without one cut short by a kill."""
  file = pathlib.Path(workdir) / METRICS
  if not file.exists():
    return []
  lines = []
  for line in file.read_text(encoding="utf-8").splitlines():
    try:
      lines.append(json.loads(line))
    except json.JSONDecodeError:
      continue
  return lines


def _drop_after(file: pathlib.Path, step: int):
  """Rewrites the lines up to `step`, beside and then renamed."""
  if not file.exists():
    return
  kept = [line for line in read(file.parent) if line["step"] <= step]
  beside = file.with_name(f"{file.name}.tmp")
  beside.write_text(
      "".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8"
  )
  os.replace(beside, file)
