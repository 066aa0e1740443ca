"""What the package is installed with, so that tests can do without it."""

import importlib.metadata
import re


def modules(without=()) -> set[str]:
  """Top-level modules of what `install_requires` names.

  Args:
    without: distributions that are left out.
  """
  wanted = {
      _plain(re.match(r"[\w.-]+", line)[0])
      for line in importlib.metadata.requires("vidrestore_jax")
      if "extra ==" not in line
  }
  left_out = set(map(_plain, without))
  assert left_out < wanted, f"{sorted(wanted)} hold not all of {without}"
  wanted -= left_out
  found = {}
  for module, names in importlib.metadata.packages_distributions().items():
    for name in wanted & set(map(_plain, names)):
      found.setdefault(name, set()).add(module)
  assert set(found) == wanted, f"no module of {wanted - set(found)}"
  return set().union(*found.values())


def _plain(name: str) -> str:
  """A distribution's name as indexes compare it (PEP 503)."""
  return re.sub(r"[-_.]+", "-", name).lower()
