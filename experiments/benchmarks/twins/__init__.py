"""PyTorch twins of the models, to be timed beside them; nothing else uses them.

Written from the papers, as one would write them in PyTorch, with the names of
the modules here, so that `torch_weights.load` carries weights over. The file's
name is the model's name; its `build(model)` is the twin of a model here, of the
same sizes. Twins are called as the models are (`models`), but with channels
first, and return the frames alone:

- recurrent: `step(state, frame, noise) -> (state, frames)`, `init_state(frame)`
  and `(clip, noise) -> frames`;
- windowed: `(window, noise) -> frame`; a cascade also has
  `stage(index, frames, noise)`, of a list of frames;
- bidirectional: `(clip, noise) -> frames`.

Those with a training step of their own have `loss(noisy, noise, clean)`.
"""

import importlib
import pkgutil

from vidrestore_jax.shapes import check_choice


def available() -> list[str]:
  """Names of models that have a twin."""
  return sorted(module.name for module in pkgutil.iter_modules(__path__))


def build(name: str, model):
  """The twin, a `torch.nn.Module`, of a model that `models.build` made.

  Raises:
    ValueError: a model, or an option of one, that has no twin.
  """
  check_choice("A PyTorch twin", name, available())
  return importlib.import_module(f"{__name__}.{name}").build(model)
