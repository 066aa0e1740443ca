"""Data sources: random access to clips, by the name of their module.

A source has `len(source)` and `source[i] -> {"clean": uint8 or uint16
[T, H, W, C], "max_value": int, "name": str}`, and where it knows them
`degraded` (laid out as `clean`) and `flow` (float32 [T, H, W, 2], pixels,
from frame t into frame t - 1). Everything is NumPy; no jax, no tensorflow.
Indices are those of a Python sequence: negative ones count from the end, and
beyond either end is an IndexError.

A source may have `open(i)`, the same item with `lazy.LazyClip`s, of which only
what training cuts out is decoded; `max_threads`, beyond which threads of one
process do not speed it up; and `damaged`, a line for each file that was found
to be damaged when the source was made. Items that need one of those raise
`folders.CorruptRecord`, as for damage that is found when they are read.
"""

import importlib
import inspect
import pathlib

from vidrestore_jax.shapes import check_arguments

_NOT_SOURCES = {
    "__init__", "lazy", "mosaics", "pipeline", "prepared", "textures",
    "transforms",
}


def available() -> list[str]:
  """Names that `build` takes."""
  here = pathlib.Path(__file__).parent
  files = [*here.glob("*.py"), *here.glob("builders/*.py")]
  return sorted({file.stem for file in files} - _NOT_SOURCES)


def build(name: str, **kwargs):
  """The source `name`, made by `build(**kwargs)` of its module.

  Modules are vidrestore_jax/data/<name>.py and data/builders/<name>.py, so
  adding a data set edits no existing file.

  Raises:
    ValueError: where there is no such module, or `kwargs` do not suit it.
  """
  if name not in available():
    raise ValueError(
        f"There is no data source {name!r}; there are {available()}."
    )
  beside = pathlib.Path(__file__).with_name(f"{name}.py").exists()
  package = __name__ if beside else f"{__name__}.builders"
  function = importlib.import_module(f"{package}.{name}").build
  parameters = inspect.signature(function).parameters.values()
  check_arguments(f"Data source {name!r}", parameters, kwargs)
  return function(**kwargs)
