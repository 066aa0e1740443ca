"""A model's streaming step as StableHLO, for processes that have only jax.

`jax.export` writes two programs: `init`, from a clip's first frame to the state
before it, and `step`, from state, frame and noise to the next state and a
restored frame. The state is that of `streaming`: a recurrent model's own; of a
windowed one the last frames, or of a cascade the last results of each stage, so
that each is made once. A windowed model's frame comes out `radius` steps after
it went in. What lies beyond a clip's ends is fed like any frame, so that the
step is one program without a case for borders; `exported_clip` does it.

The weights are constants of the program. A file is then all there is: none can
be paired with other weights, and the compiler prepares kernels once, not for
each frame. Batches of any size are one program, and so are frames of any size
unless one is given. It is the same program for every platform, so that a GPU
does not get the convolutions of few channels that it is fastest with.
"""

import json
import pathlib
import shutil
import traceback
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export as jax_export

from vidrestore_jax import released
from vidrestore_jax.inference import exported_clip, streaming, tiling
from vidrestore_jax.layers import convolution
from vidrestore_jax.shapes import check_choice

CARD = "export.json"
EXAMPLE = "restore.py"
PLATFORMS = ("cpu", "cuda", "tpu")
_KNOWN = (*PLATFORMS, "rocm")
_FORMAT = 1  # Raised when a folder's files change their meaning.
_VALUES = (
    "Frames are in [0, 1], restored ones are not clipped; noise is a map of"
    " standard deviations in [0, 1] units. A frame comes out `lag` steps after"
    " it went in. Beyond either end a clip goes on for `lag` frames, those of"
    " numpy.pad in the mode `border`; restore.py does it."
)
# Names of `streaming.BORDERS` in numpy.pad.
PAD_MODES = {"mirror": "reflect", "replicate": "edge"}


class Programs(NamedTuple):
  """What is exported of a model.

  Attributes:
    init: frame -> state, a `jax.export.Exported`.
    step: (state, frame) or, of a model with a noise map, (state, frame, noise)
      -> (state, restored frame).
    card: what a user of them needs to know, JSON-able.
  """

  init: jax_export.Exported
  step: jax_export.Exported
  card: dict[str, Any]


def export(
    folder,
    output,
    *,
    size: tuple[int, int] | None = None,
    dtype: str | None = None,
    platforms: tuple[str, ...] = PLATFORMS,
) -> dict[str, Any]:
  """Exports a released model's streaming step into a folder of its own.

  The folder is written beside its place and then renamed.

  Args:
    folder: a released model; None: the one that the package brings.
    output: the folder to make, of `init.jaxexport`, `step.jaxexport`,
      `export.json` and `restore.py`, which restores a clip by them.
    size, platforms: as `lower` has them.
    dtype: to compute in, where it is to be another than the model's.

  Returns:
    The card: `export.json`.

  Raises:
    FileExistsError: the folder holds something.
    FileNotFoundError: there is no released model.
    ValueError: as `lower` and `released.load`.
  """
  output = pathlib.Path(output)
  if output.exists() and (not output.is_dir() or any(output.iterdir())):
    raise FileExistsError(
        f"{output} exists and is not empty. Name another folder."
    )
  card = released.read_card(folder)
  model, variables = released.load(folder, dtype=dtype)
  programs = lower(model, variables, size=size, platforms=platforms)
  kept = {key: card[key] for key in ("name", "kwargs", "weights_sha256")}
  if dtype is not None:
    kept["kwargs"] = kept["kwargs"] | {"dtype": dtype}
  card = {"format": _FORMAT, "model": kept, **programs.card}
  files = {
      f"{name}.jaxexport": getattr(programs, name).serialize()
      for name in ("init", "step")
  }
  beside = output.with_name(output.name + ".partial")
  if beside.exists():  # Of an export that was killed.
    shutil.rmtree(beside)
  beside.mkdir(parents=True)
  try:
    for name, content in files.items():
      (beside / name).write_bytes(content)
    shutil.copyfile(exported_clip.__file__, beside / EXAMPLE)
    (beside / CARD).write_text(json.dumps(card, indent=2) + "\n")
    if output.exists():  # It is empty.
      output.rmdir()
    beside.rename(output)
  finally:
    shutil.rmtree(beside, ignore_errors=True)
  return card


def lower(
    model,
    variables,
    *,
    size: tuple[int, int] | None = None,
    platforms: tuple[str, ...] = PLATFORMS,
) -> Programs:
  """Lowers a model's streaming step; needs none of the platforms' devices.

  Args:
    model: a restoration model, recurrent or windowed.
    variables: its variables.
    size: (H, W) of frames, any: they are padded to the model's stride and
      cropped back inside the program. None: any multiples of the stride.
    platforms: those that the program is to run on, of "cpu", "cuda", "rocm" and
      "tpu".

  Raises:
    ValueError: the model does not stream, its program needs to know the size,
      or there is no such platform.
  """
  _check(model, platforms)
  batch, height, width = jax_export.symbolic_shape("b, h, w")
  if size is None:
    height, width = model.stride * height, model.stride * width
  else:
    height, width = size
  frame = jax.ShapeDtypeStruct(
      (batch, height, width, model.channels), jnp.float32
  )
  given = {"frame": frame}
  if model.noise_map:
    given["noise"] = frame.update(shape=(batch, height, width, 1))
  try:
    # Wherever it is exported; JAX keeps the first trace, that of the shapes.
    with convolution.use_form("usual"):
      if model.recurrent:
        init, step = _recurrent(model, variables, frame)
      else:
        init, step = _windowed(model, variables)
      state = jax.eval_shape(init, frame)
      restored = jax.eval_shape(step, state, *given.values())[1]
      made = [
          jax_export.export(jax.jit(function), platforms=platforms)(*arguments)
          for function, arguments in (
              (init, [frame]), (step, [state, *given.values()])
          )
      ]
  except (TypeError, jax.errors.InconclusiveDimensionOperation) as error:
    if size is not None:
      raise
    raise ValueError(
        f"{type(model).__name__} is exported for frames of one size only, which"
        f" {_place(error)} has to know. Give it: --size=WxH on the command"
        " line."
    ) from error
  card = {
      "channels": model.channels,
      "scale": model.scale,
      "multiple": model.stride if size is None else None,
      "lag": 0 if model.recurrent else model.radius,
      "border": PAD_MODES[getattr(model, "border", "mirror")],
      "platforms": list(platforms),
      "jax": jax.__version__,
      "calling_convention": made[1].calling_convention_version,
      "values": _VALUES,
      "init": "init(frame) -> state",
      "step": f"step(state, {', '.join(given)}) -> (state, restored)",
      "state": {name: _described(leaf) for name, leaf in state.items()},
      **{name: _described(leaf) for name, leaf in given.items()},
      "restored": _described(restored),
  }
  return Programs(*made, card)


def _check(model, platforms):
  """ValueError unless the model has a step, and the platforms exist."""
  streaming.check_streams(model)
  if getattr(model, "bidirectional", False):
    raise ValueError(
        f"{type(model).__name__} restores each frame from all others, those to"
        " come included, so it has no streaming step to export. Export a"
        " recurrent or windowed model instead (basicvsr has one: online=true),"
        " or restore with it here: vidrestore restore --chunk=30:10."
    )
  for platform in platforms:
    check_choice("A platform to export for", platform, _KNOWN)
  if len(set(platforms)) < len(platforms):
    raise ValueError(f"{','.join(platforms)} names a platform twice.")


def _recurrent(model, variables, frame):
  """The functions (init, step) of a recurrent model."""
  padded = jax.eval_shape(lambda x: _padded(x, model), frame)
  leaves, tree = jax.tree.flatten_with_path(
      jax.eval_shape(model.init_state, padded)
  )
  # Named, and of no class that a process without this package lacks.
  names = [
      jax.tree_util.keystr(path, simple=True, separator="_")
      for path, _ in leaves
  ]

  def named(state):
    return dict(zip(names, jax.tree.leaves(state)))

  def init(frame):
    return named(model.init_state(_padded(frame, model)))

  def step(state, frame, noise=None):
    state, restored = model.apply(
        variables,
        jax.tree.unflatten(tree, [state[name] for name in names]),
        _padded(frame, model),
        _padded_noise(noise, model),
        method="step",
    )
    return named(state), _cropped(restored.frames, frame, model)

  return init, step


def _windowed(model, variables):
  """The functions (init, step) of a windowed model: a cascade, if of one stage.

  `frames_i` `[B, 2 r, H, W, C]` are the last of what stage i, of radius r, was
  given; `noise` `[B, radius, H, W, 1]` the maps of the frames that are under
  way, since a stage is told that of the middle of its window.
  """
  radii = getattr(model, "stages", (model.radius,))

  def stage(index, window, noise):
    if hasattr(model, "stages"):
      return model.apply(variables, index, window, noise, method="stage")
    return model.apply(variables, window, noise).frames

  def init(frame):
    frame = _padded(frame, model)
    state = {
        f"frames_{index}": jnp.stack([frame] * 2 * radius, 1)
        for index, radius in enumerate(radii)
        if radius
    }
    if model.noise_map and model.radius:
      noise = jnp.zeros_like(frame[..., :1])
      state["noise"] = jnp.stack([noise] * model.radius, 1)
    return state

  def step(state, frame, noise=None):
    after, age = {}, 0
    size, frame = frame, _padded(frame, model)
    noises = None
    if noise is not None:
      noises = _padded_noise(noise, model)[:, None]
      if model.radius:
        noises = jnp.concatenate([state["noise"], noises], 1)
        after["noise"] = noises[:, 1:]
    for index, radius in enumerate(radii):
      window, name = frame[:, None], f"frames_{index}"
      if radius:
        window = jnp.concatenate([state[name], window], 1)
        after[name] = window[:, 1:]
      age += radius
      level = None if noises is None else noises[:, model.radius - age]
      frame = stage(index, window, level)
    return after, _cropped(frame, size, model)

  return init, step


def _padded(frames, model):
  return tiling.pad_to_multiple(frames, model.stride)[0]


def _padded_noise(noise, model):
  """A map `[B, H, W, 1]`, padded as `streaming` pads it, or None."""
  if noise is None:
    return None
  widths = [(0, -side % model.stride) for side in noise.shape[1:3]]
  return jnp.pad(noise, [(0, 0), *widths, (0, 0)], mode="edge")


def _cropped(frames, given, model):
  """Restored frames in float32, of the size of those that were given."""
  frames = tiling.crop(frames, given.shape[1:3], scale=model.scale)
  return frames.astype(jnp.float32)


def _described(array):
  """Such as "float32[b, 4*h, 4*w, 3]"."""
  return f"{array.dtype.name}[{', '.join(map(str, array.shape))}]"


def _place(error):
  """The function of this package in which an error arose."""
  package = pathlib.Path(released.__file__).parent
  name, path = next(
      (place.name, pathlib.Path(place.filename))
      for place in reversed(traceback.extract_tb(error.__traceback__))
      if package in pathlib.Path(place.filename).parents
  )
  return f"{name} of {path.relative_to(package).as_posix()}"
