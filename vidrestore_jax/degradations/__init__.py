"""Degradations: pure functions of (key, clean clip), written once.

Each maps a key and a clip `[T, H, W, C]` in [0, 1] to the pair (degraded clip,
level), where level is the noise's standard deviation, a scalar in [0, 1]
units, that a model with a noise map is told.
"""

import functools
import importlib
import inspect

from vidrestore_jax.shapes import check_arguments


def build(name: str, **kwargs):
  """The function `name` ("file.function", as in "noise.gaussian").

  Args:
    name: file and function, joined by a dot.
    **kwargs: the function's keyword arguments.

  Returns:
    A function of (key, clip).

  Raises:
    ValueError: no such degradation, or an argument that it does not take.
  """
  file, _, function = name.partition(".")
  try:
    found = getattr(importlib.import_module(f"{__name__}.{file}"), function)
  except (ModuleNotFoundError, AttributeError):
    raise ValueError(
        f"There is no degradation {name!r}. Name it as file.function, such as"
        " noise.gaussian; the files are those of vidrestore_jax/degradations."
    ) from None
  parameters = inspect.signature(found).parameters.values()
  keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
  check_arguments(f"Degradation {name!r}", keywords, kwargs)
  return functools.partial(found, **kwargs)
