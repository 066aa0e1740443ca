"""The processes of one run: how they find each other, and end together."""

import contextlib
import os
import sys
import time

import jax

from vidrestore_jax.training import sharding

# Seconds without a sign of life after which a process counts as gone. Gloo
# notices at once; NCCL and TPUs wait for it, and JAX would give it 100.
_HEARTBEAT = 60
# Seconds that a process which ends waits for the others; JAX would wait 300.
_SHUTDOWN = 30


def join(always: bool = False):
  """Joins the other processes of this run, where there are any.

  Slurm, Open MPI and GKE say so in the environment; elsewhere there are
  JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID.

  Args:
    always: asks JAX, which knows TPU pods, even if nothing says so.
  """
  env = os.environ
  if not (
      always
      or "JAX_COORDINATOR_ADDRESS" in env
      or int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1
      or int(env.get("OMPI_COMM_WORLD_SIZE", 1)) > 1
      or "," in env.get("TPU_WORKER_HOSTNAMES", "")
  ):
    return
  given = {
      name: int(env[f"JAX_{name.upper()}"])
      for name in ("num_processes", "process_id")
      if f"JAX_{name.upper()}" in env
  }
  # Its own way to hear SIGTERM is deaf outside of steps; see preemption.py.
  jax.config.update("jax_enable_preemption_service", False)
  jax.distributed.initialize(
      heartbeat_timeout_seconds=_HEARTBEAT,
      shutdown_timeout_seconds=_SHUTDOWN,
      **given,
  )


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
