"""What a number depends on besides the model and the protocol."""

import contextlib
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Iterable, Sequence

import jax

from experiments import evaluation

# What computes a number, from the model to the metric.
PACKAGES = (
    "vidrestore_jax", "jax", "jaxlib", "flax", "numpy", "pillow",
    "opencv-python-headless",
)


def collect(
    command: Sequence[str], *, packages: Iterable[str] = PACKAGES
) -> dict:
  """The commit, command, versions and machine, as JSON holds them.

  Args:
    command: as it was typed.
    packages: whose versions matter; one that is not installed has None.
  """
  devices = jax.devices()
  return {
      "command": list(command),
      "commit": evaluation.commit(),
      "versions": {
          "python": platform.python_version(),
          **{name: _version(name) for name in packages},
      },
      "machine": {
          "platform": platform.platform(),
          "cpu": cpu(),
          "cpus": os.cpu_count(),
          "backend": jax.default_backend(),
          "devices": [device.device_kind for device in devices],
      },
  }


def cpu() -> str:
  """The processor's name, as well as the system tells it."""
  with contextlib.suppress(OSError):
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
      if line.startswith("model name"):
        return line.partition(": ")[2]
  return platform.processor() or platform.machine()


def _version(package):
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None
