"""What is wrong with how a process is told of the others is said in words."""

import hashlib

import numpy as np
import pytest

from experiments import processes

GIVEN = {
    "JAX_COORDINATOR_ADDRESS": "localhost:1",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": "1",
}


@pytest.fixture(autouse=True)
def lonely(monkeypatch):
  """What JAX does of what is missing; it would join but once a process."""

  def initialize(num_processes=None, process_id=None, **options):
    del options
    if num_processes is None:
      raise ValueError("Number of processes must be defined.")
    if process_id is None:
      raise ValueError("The process id of the process must be defined.")
    raise ValueError("coordinator_address should be defined.")

  monkeypatch.setattr(processes.jax.distributed, "initialize", initialize)
  monkeypatch.setattr(processes.jax.config, "update", lambda *_: None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES is a number.*'two'"),
        ({"JAX_PROCESS_ID": "2"}, "JAX_PROCESS_ID is 2.*JAX_NUM_PROCESSES 2"),
        ({"JAX_NUM_PROCESSES": None}, "each needs.*JAX_NUM_PROCESSES and"),
        ({"JAX_PROCESS_ID": None}, "process id.*each needs.*JAX_PROCESS_ID"),
        ({"JAX_COORDINATOR_ADDRESS": None}, "coordinator_address should be"),
    ],
)
def test_a_process_that_cannot_join_says_what_it_needs(
    monkeypatch, change, message
):
  for name, value in (GIVEN | change).items():
    if value is None:
      monkeypatch.delenv(name, raising=False)
    else:
      monkeypatch.setenv(name, value)
  with pytest.raises(ValueError, match=message):
    processes.join()


@pytest.mark.parametrize("other", ["{}", '{"seed": 1}'])
def test_processes_of_different_configs_do_not_train_together(
    monkeypatch, other
):
  monkeypatch.setattr(processes.jax, "process_count", lambda: 2)
  theirs = np.frombuffer(hashlib.sha256(other.encode()).digest(), np.uint8)
  monkeypatch.setattr(
      processes.multihost_utils,
      "process_allgather",
      lambda ours: np.stack([theirs, ours]),
  )
  if other == "{}":
    processes.check_same("{}")
  else:
    with pytest.raises(ValueError, match="process 1 is another"):
      processes.check_same("{}")
