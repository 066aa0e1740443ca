"""Degradations: pure, seeded functions of a clean clip, each written once.

There are two kinds, by the place where they run, and the first parameter says
which. Clips are `[T, H, W, C]` in [0, 1], float32, in both.

- "device": `function(key, clip, *, ...) -> (degraded, level)`, JAX, drawn
  inside the train step. `level` is the noise's standard deviation, a scalar
  in [0, 1] units, that a model with a noise map is told. Its file may have
  `drawn(level)`, what else the level tells of what was drawn, for cards.
- "pipeline": `function(rng, clip, *, ...) -> (degraded, card)`, NumPy, drawn
  from a `numpy.random.Generator` while data is read. `card` holds the drawn
  parameters, with their units, as JSON can hold them.

The same key, or the same state of the generator, gives the same bytes.
"""

import functools
import importlib
import inspect
import json
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
      take; from the function, a clip that is not in [0, 1] (`check_range`).
  """
  options = _options(name, preset, kwargs)
  # Partials of functions of this module, so that workers can be sent them.
  run = _on_device if place(name) == "device" else _in_pipeline
  return functools.partial(run, name, options)


def draw(degradation: dict, clip, *, seed: int, index: int):
  """Degrades clip `index` of a data set, the same way for all who name `seed`.

  Those of the pipeline draw from `numpy.random.default_rng([seed, index])`,
  those of the device under `fold_in(key(seed), index)`, on the CPU.

  Args:
    degradation: name and arguments, as `build` takes them.
    clip: `[T, H, W, C]` in [0, 1], float32, NumPy.
    seed: of the set.
    index: of the clip.

  Returns:
    The pair (degraded clip, card), NumPy, as `build` describes it for the
    pipeline. What a degradation of the device has drawn is its `level`.

  Raises:
    ValueError: as `build`, or a clip that is not in [0, 1].
  """
  name = degradation["name"]
  if place(name) == "pipeline":
    return build(**degradation)(np.random.default_rng([seed, index]), clip)
  import jax  # Data is read without it.

  check_range(name, clip)
  try:
    device = jax.local_devices(backend="cpu")[0]
  except RuntimeError:  # JAX_PLATFORMS leaves the CPU out.
    device = None
  with jax.default_device(device):
    key = jax.random.fold_in(jax.random.key(seed), index)
    degraded, level = _compiled(json.dumps(degradation))(key, clip)
  drawn = {"level": float(level)}
  drawn |= getattr(_module(name), "drawn", lambda level: {})(float(level))
  arguments = dict(degradation)
  options = _options(
      arguments.pop("name"), arguments.pop("preset", ""), arguments
  )
  return np.asarray(degraded), _card(name, options, drawn)


def check_range(name: str, clip):
  """Raises ValueError where a clip cannot be one of floats in [0, 1].

  Values somewhat beyond are let through: a clip may be noisy already.

  Args:
    name: of the degradation, for the error.
    clip: a NumPy array, or a JAX array that holds numbers.
  """
  clip = np.asarray(clip)
  low, high = (clip.min(), clip.max()) if clip.size else (0, 0)
  if clip.dtype.kind in "iub" or not (low >= -1.0 and high <= 2.0):
    raise ValueError(
        f"{name} takes a float clip in [0, 1], but got {clip.dtype} from"
        f" {low:g} to {high:g}. Divide it by the value of its white, 255 for 8"
        " bits."
    )


def presets(name: str) -> dict[str, dict]:
  """Arguments of the degradation `name` by the preset's name, maybe none.

  Raises:
    ValueError: no such degradation.
  """
  _find(name)
  return getattr(_module(name), "PRESETS", {})


def summary(name: str) -> str:
  """What the degradation `name` is, in a line.

  Raises:
    ValueError: no such degradation.
  """
  return inspect.getdoc(_find(name)).splitlines()[0]


@functools.cache
def _compiled(degradation: str):
  import jax

  return jax.jit(build(**json.loads(degradation)))


def _options(name, preset, given) -> dict:
  """All arguments of a degradation, checked; see `build`."""
  known = presets(name)
  if preset and preset not in known:
    raise ValueError(
        f"{name} has no preset {preset!r}. It has:"
        f" {', '.join(known) or 'none'}."
    )
  given = known.get(preset, {}) | given
  parameters = inspect.signature(_find(name)).parameters.values()
  keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
  check_arguments(f"Degradation {name!r}", keywords, given)
  return {p.name: p.default for p in keywords} | given


def _on_device(name, options, key, clip):
  import jax

  if not isinstance(clip, jax.core.Tracer):  # Else it holds no numbers yet.
    check_range(name, clip)
  return _find(name)(key, clip, **options)


def _in_pipeline(name, options, rng, clip):
  check_range(name, clip)
  degraded, drawn = _find(name)(rng, clip, **options)
  return degraded, _card(name, options, drawn)


def _card(name, options, drawn) -> dict:
  # An array is no entry of a card; that there was one is.
  told = {
      key: f"array {list(value.shape)}" if isinstance(value, np.ndarray)
      else value
      for key, value in options.items()
  }
  return {"name": name, "options": told, "drawn": drawn}


def _module(name):
  return importlib.import_module(f"{__name__}.{name.partition('.')[0]}")


def _find(name):
  function = name.partition(".")[2]
  try:
    found = getattr(_module(name), function)
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
