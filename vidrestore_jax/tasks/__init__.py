"""Tasks: what is optimised. One file each; its name is the task's name.

A task has `init(key, batch) -> (params, model_state)` and
`loss(params, model_state, batch, key, step) -> (loss, (model_state, metrics))`,
both pure; whatever depends on the progress of training is computed from `step`.
"""

import importlib
import inspect
import pkgutil

from vidrestore_jax.shapes import check_arguments


def available() -> list[str]:
  """Names that `build` takes."""
  names = (module.name for module in pkgutil.iter_modules(__path__))
  return sorted(name for name in names if name != "losses")


def build(name: str, *, model, **kwargs):
  """Builds the task of `tasks/<name>.py` for a model.

  Raises:
    ValueError: no such task, or an argument that it does not take.
  """
  if name not in available():
    raise ValueError(
        f"There is no task {name!r}. Available: {', '.join(available())}."
    )
  function = importlib.import_module(f"{__name__}.{name}").build
  parameters = dict(inspect.signature(function).parameters)
  del parameters["model"]
  check_arguments(f"Task {name!r}", parameters.values(), kwargs)
  return function(model=model, **kwargs)
