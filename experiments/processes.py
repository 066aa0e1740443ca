"""The processes of one run: how they find each other, and end together."""

import contextlib
import hashlib
import os
import sys
import time

import jax
import numpy as np
from jax.experimental import multihost_utils

from vidrestore_jax.training import sharding

# Seconds without a sign of life after which a process counts as gone. Gloo
# notices at once; NCCL and TPUs wait for it, and JAX would give it 100.
_HEARTBEAT = 60
# Seconds that a process which ends waits for the others; JAX would wait 300.
_SHUTDOWN = 30
_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def join(always: bool = False):
  """Joins the other processes of this run, where there are any.

  Slurm, Open MPI and GKE say so in the environment; elsewhere there are
  JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID.

  Args:
    always: asks JAX, which knows TPU pods, even if nothing says so.

  Raises:
    ValueError: only some of these variables are there, or they do not fit.
  """
  env = os.environ
  if not (
      always
      # Any of them, so that one that is missing is not a run of its own.
      or not env.keys().isdisjoint(_VARIABLES)
      or int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1
      or int(env.get("OMPI_COMM_WORLD_SIZE", 1)) > 1
      or "," in env.get("TPU_WORKER_HOSTNAMES", "")
  ):
    return
  given = {
      name: _number(f"JAX_{name.upper()}")
      for name in ("num_processes", "process_id")
      if f"JAX_{name.upper()}" in env
  }
  if len(given) == 2 and given["process_id"] >= given["num_processes"]:
    raise ValueError(
        f"JAX_PROCESS_ID is {given['process_id']} and JAX_NUM_PROCESSES"
        f" {given['num_processes']}, but processes count from 0 to one less"
        " than there are. Start each with a number of its own."
    )
  # Its own way to hear SIGTERM is deaf outside of steps; see preemption.py.
  jax.config.update("jax_enable_preemption_service", False)
  try:
    jax.distributed.initialize(
        heartbeat_timeout_seconds=_HEARTBEAT,
        shutdown_timeout_seconds=_SHUTDOWN,
        **given,
    )
  except ValueError as error:
    raise ValueError(
        f"This process cannot join others: {error} Outside of Slurm, Open MPI"
        " and TPU pods each needs JAX_COORDINATOR_ADDRESS=HOST:PORT,"
        " JAX_NUM_PROCESSES and, from 0 on, JAX_PROCESS_ID."
    ) from error


def _number(name: str) -> int:
  """The count that the environment has by a name."""
  text = os.environ[name]
  if not text.isdecimal():
    raise ValueError(f"{name} is a number, 0 or more, but got {text!r}.")
  return int(text)


def leave(status: int):
  """Ends this process, one of several, where it failed.

  Alone in that, it would else wait for the others, which wait for its part of
  the next step, and see them end in minutes, with JAX's own words.

  Args:
    status: of the exit.
  """
  if jax.distributed.is_initialized():
    if jax.process_index() == 0:  # Without it JAX aborts the others, which may
      time.sleep(1)  # be about to say the same.
    os._exit(status)


def check_same(config: str):
  """ValueError, in all processes, unless each was given the same config.

  Args:
    config: this process's, as text.
  """
  if jax.process_count() == 1:
    return
  digest = hashlib.sha256(config.encode()).digest()
  found = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8))
  differing = np.flatnonzero((found != found[0]).any(1))
  if differing.size:
    raise ValueError(
        "The processes of a run are given the same config, but that of process"
        f" {', '.join(map(str, differing))} is another than that of process 0."
        " Start all of them by the same command."
    )


@contextlib.contextmanager
def ending_together():
  """Ends this process, in one line and at once, where another is gone.

  What would be closed on the way out waits for the other as well.
  """
  try:
    yield
  except Exception as error:
    if not sharding.lost_others(error):
      raise
    reason = str(error).splitlines()[0]
    print(
        f"error: process {jax.process_index()} lost the others of this run; the"
        " log of the one that ended first says why. Start all of them again:"
        f" the same command goes on. ({reason[:200]})",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
