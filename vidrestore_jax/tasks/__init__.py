"""Tasks: what is optimised. One file each; its name is the task's name.

A task has `init(key, batch) -> (params, model_state)` and
`loss(params, model_state, batch, key, step) -> (loss, (model_state, metrics))`,
both pure; whatever depends on the progress of training is computed from `step`.
What `loss` returns is of the whole batch, of which a device may see a part
alone: a mean over examples is one of layers/whole_batch.py.

A task that trains more than its model may also have

- `train_only`: names of entries of params and of model_state, at their top,
  that serve training alone. They are neither averaged nor released;
- `mask_updates(updates, model_state) -> updates`: what of the optimizer's
  updates is applied, after the step that led to that state;
- `sources`: what released models start it, beside those that start the model,
  a sequence of `Source`.
"""

import importlib
import inspect
import pkgutil
from typing import Any, NamedTuple

from vidrestore_jax.shapes import check_arguments


class Source(NamedTuple):
  """What a task takes of a released model.

  Attributes:
    section: of config.task, whose `init_from` names the folder.
    module: what it has to be.
    part: the released model's attribute that is taken, "" for all of it.
    place: where its variables go, in params or model_state: a path with
      `{collection}` in it ("params", "batch_stats").
    needed: there is no training without it.
  """

  section: str
  module: Any
  part: str
  place: str
  needed: bool


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
