"""Models, one paper per file. The file's name is the model's name.

A restoration model says which of three kinds it is:

- `recurrent`: `step(state, frame, noise) -> (state, Restored)` and
  `init_state(frame)`; called on a clip it is a scan of that step.
- windowed, of a `radius` r (None for the other kinds): called with
  `(window, noise, *, train=False)` on `[B, 2 r + 1, H, W, C]` it restores the
  middle frame. A clip's ends are mirrored for it, or repeated where its
  `border` is "replicate". `train` is for what behaves otherwise in training
  (batch normalisation); the model may then update its variables, and one
  without such parts ignores it. A cascade also has
  `stages`, the radius of each stage, which add up to r, and the method
  `stage(index, window, noise, *, train=False)`, a stage's frame in the middle
  of `[B, 2 stages[index] + 1, H, W, C]` results of the stage before: streams
  keep what each stage made. Where the first stage is a restorer by itself,
  `first_stage(variables)` is it as (model, variables), to be measured beside.
- `bidirectional`: called with `(clip, noise, *, train=False)` on
  `[B, T, H, W, C]` it restores every frame, each from all the others. One that
  is `fillable` also takes `length`, how many frames are the clip's own: those
  after it change none of theirs, so that clips of many lengths share a program.

Its `halo` is how many pixels of the input to each side an output pixel may
depend on, None where it is the whole frame: `inference.tiling` cuts by it. It
is `maskable` where it looks at neighbours by nothing but the convolutions of
`layers.convolution` and flax, padded with zeros, by aligned pooling and by
interpolation that mirrors the border: then frames can be padded further.

A model of super-resolution has a `scale` above 1: its input is the small one,
its `frames` are `scale` times as high and as wide. `aux["hr_features"]`
`[B, H, W, F]` (`[B, T, H, W, F]` for a clip), at the size of its output, is
what its last convolution sees; it is what distillation compares.
"""

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
  parameters = _parameters(name)
  check_arguments(f"Model {name!r}", parameters.values(), kwargs)
  return _function(name)(**kwargs)


def defaults(name: str) -> dict:
  """Arguments that `build` may leave out of a model, with their values.

  Raises:
    ValueError: no such model.
  """
  return {
      key: parameter.default
      for key, parameter in _parameters(name).items()
      if parameter.default is not parameter.empty
  }


def _function(name):
  if name not in available():
    raise ValueError(
        f"There is no model {name!r}. Available: {', '.join(available())}."
    )
  return importlib.import_module(f"{__name__}.{name}").build


def _parameters(name):
  return inspect.signature(_function(name)).parameters
