"""What SIGTERM does where training is saved, unsaved, stuck or alone."""

import os
import signal
import threading

import pytest

from experiments import commands, preemption


@pytest.fixture
def left(monkeypatch):
  """Set, with the status, where the process would have ended."""
  event = threading.Event()
  event.status = None

  def leave(status):
    event.status = status
    event.set()

  monkeypatch.setattr(preemption.os, "_exit", leave)
  return event


def terminate():
  os.kill(os.getpid(), signal.SIGTERM)


def alone(flag):
  return flag


def wait_until_asked(notice, agree=alone):
  asked = threading.Event()
  for _ in range(500):
    if notice.stop(agree):
      return
    asked.wait(0.01)
  raise AssertionError("not asked within 5 s")


def test_between_steps_it_is_heard_and_a_second_one_changes_nothing(
    left, capfd
):
  def train():
    with preemption.listening() as notice:
      assert not notice.stop(alone)
      terminate()
      wait_until_asked(notice)
      terminate()
      notice.saved(7, alone)

  assert commands.run(train) == 143
  assert capfd.readouterr().err.splitlines() == [
      "SIGTERM: saves after the step under way, then leaves.",
      "Step 7 is saved; leaves on SIGTERM. The same command goes on.",
  ]
  assert left.status is None


def test_where_nothing_is_unsaved_it_ends_at_once(left, capfd):
  with preemption.listening() as notice:
    terminate()  # Before the first step is done.
    assert left.wait(5) and left.status == 143
  left.clear()
  with preemption.listening() as notice:
    assert not notice.stop(alone)
    notice.saved(3, alone)
    terminate()  # While it is measured.
    assert left.wait(5) and left.status == 143
  assert capfd.readouterr().err.count("SIGTERM: nothing to save.") == 2


def test_a_step_that_does_not_end_is_not_waited_for(left, capfd, monkeypatch):
  monkeypatch.setattr(preemption, "GRACE", 0.05)
  with preemption.listening() as notice:
    assert not notice.stop(alone)
    terminate()
    assert left.wait(5) and left.status == 143
  assert "leaves with the last checkpoint" in capfd.readouterr().err


def test_processes_leave_together(left):
  with preemption.listening() as notice:
    others = iter([False, True])
    assert not notice.stop(lambda flag: next(others))
    assert notice.stop(lambda flag: next(others))  # Without a signal here.
    with pytest.raises(preemption.Preempted):
      notice.saved(2, alone)
  assert left.status is None


@pytest.mark.parametrize("answers", [[True, False], [False, True]])
def test_processes_leave_together_after_the_last_step(left, answers):
  """Of which another process was asked too late for `stop`'s answer."""
  with preemption.listening() as notice:
    assert not notice.stop(alone)
    told = iter(answers)
    with pytest.raises(preemption.Preempted):
      notice.saved(2, lambda flag: next(told))
    assert next(told, None) is None  # All processes ask equally often.
  assert left.status is None


def test_signals_are_as_before_afterwards():
  before = signal.getsignal(signal.SIGTERM)
  with preemption.listening():
    assert signal.getsignal(signal.SIGTERM) is not before
  assert signal.getsignal(signal.SIGTERM) is before
  assert not [t for t in threading.enumerate() if "_listen" in t.name]
