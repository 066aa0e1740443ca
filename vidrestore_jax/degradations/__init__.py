"""Degradations: pure, seeded functions of a clean clip, each written once.

There are two kinds, by the place where they run, and the first parameter says
which. Clips are `[T, H, W, C]` in [0, 1], float32, in both.

- "device": `function(key, clip, *, ...) -> (degraded, level)`, JAX, drawn
  inside the train step. `level` is the noise's standard deviation, a scalar
  in [0, 1] units, that a model with a noise map is told.
- "pipeline": `function(rng, clip, *, ...) -> (degraded, card)`, NumPy, drawn
  from a `numpy.random.Generator` while data is read. `card` holds the drawn
  parameters, with their units, as JSON can hold them.

The same key, or the same state of the generator, gives the same bytes.
"""

import functools
import importlib
import inspect
import pathlib

import numpy as np

from vidrestore_jax.shapes import check_arguments

_PLACES = {"key": "device", "rng": "pipeline"}


def available() -> list[str]:
  """Names that `build` takes, "file.function"."""
  names = []
  for file in sorted(pathlib.Path(__file__).parent.glob("*.py")):
    if file.stem == "__init__":
      continue
    module = importlib.import_module(f"{__name__}.{file.stem}")
    for name, value in sorted(vars(module).items()):
      own = getattr(value, "__module__", "") == module.__name__
      if own and not name.startswith("_") and _place(value):
        names.append(f"{file.stem}.{name}")
  return names


def place(name: str) -> str:
  """Where the degradation `name` runs: "device" or "pipeline".

  Raises:
    ValueError: no such degradation.
  """
  return _place(_find(name))


def build(name: str, *, preset: str = "", **kwargs):
  """The function `name` ("file.function", as in "noise.gaussian").

  Args:
    name: file and function, joined by a dot; `available` lists them.
    preset: one of the PRESETS of that file, arguments that `kwargs` change;
      empty for the function's own defaults.
    **kwargs: the function's keyword arguments.

  Returns:
    For the device, a function of (key, clip) to (degraded, level). For the
    pipeline, a function of (rng, clip) to (degraded, card), whose card is
    complete: `name`, `options` (all of them, as given or by default) and
    `drawn`, the function's own card.

  Raises:
    ValueError: no such degradation or preset, or an argument that it does not
      take.
  """
  found = _find(name)
  if preset:
    presets = getattr(inspect.getmodule(found), "PRESETS", {})
    if preset not in presets:
      raise ValueError(
          f"{name} has no preset {preset!r}. It has:"
          f" {', '.join(presets) or 'none'}."
      )
    kwargs = presets[preset] | kwargs
  parameters = inspect.signature(found).parameters.values()
  keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
  check_arguments(f"Degradation {name!r}", keywords, kwargs)
  if _place(found) == "device":
    return functools.partial(found, **kwargs)
  # A partial of a function of this module, so that workers can be sent it.
  options = {p.name: p.default for p in keywords} | kwargs
  return functools.partial(_with_card, name, options)


def _with_card(name, options, rng, clip):
  degraded, drawn = _find(name)(rng, clip, **options)
  # An array is no entry of a card; that there was one is.
  told = {
      key: f"array {list(value.shape)}" if isinstance(value, np.ndarray)
      else value
      for key, value in options.items()
  }
  return degraded, {"name": name, "options": told, "drawn": drawn}


def _find(name):
  file, _, function = name.partition(".")
  try:
    found = getattr(importlib.import_module(f"{__name__}.{file}"), function)
  except (ModuleNotFoundError, AttributeError):
    found = None
  if not _place(found):
    raise ValueError(
        f"There is no degradation {name!r}. There are:"
        f" {', '.join(available())}."
    )
  return found


def _place(function):
  """See `place`; None for what is no degradation."""
  if not inspect.isfunction(function):
    return None
  first = next(iter(inspect.signature(function).parameters), "")
  return _PLACES.get(first)
