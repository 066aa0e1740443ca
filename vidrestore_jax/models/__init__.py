"""Models, one paper per file. The file's name is the model's name."""

import importlib
import inspect
import pkgutil

from vidrestore_jax.shapes import check_arguments


def available() -> list[str]:
  """Names that `build` takes."""
  return sorted(module.name for module in pkgutil.iter_modules(__path__))


def build(name: str, **kwargs):
  """Builds the model of `models/<name>.py`.

  Args:
    name: a file of this folder, such as "ncfl".
    **kwargs: that file's `build` arguments.

  Returns:
    A `flax.linen` module.

  Raises:
    ValueError: no such model, or an argument that it does not take.
  """
  if name not in available():
    raise ValueError(
        f"There is no model {name!r}. Available: {', '.join(available())}."
    )
  function = importlib.import_module(f"{__name__}.{name}").build
  parameters = inspect.signature(function).parameters.values()
  check_arguments(f"Model {name!r}", parameters, kwargs)
  return function(**kwargs)
