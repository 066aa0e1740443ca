"""Restoring a stream of frames at constant memory, whatever its length.

A recurrent model is run step by step: one frame and the state are all that is
held, and the state is carried from the first frame to the last, so that no
chunk border exists. Whole clips go through the same step.

A windowed model slides over the frames; beyond both ends they are mirrored
without repeating the edge, or the last one is repeated where the model's
`border` is "replicate". Where it is a cascade of stages, each stage slides
over the results of the one before, so that every result is made once.

A bidirectional model restores each frame from all others, so it is no stream:
the whole clip is held in memory, on the device as well.
"""

import collections
import functools
import itertools
import operator
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vidrestore_jax.inference import tiling
from vidrestore_jax.shapes import (
    Restored,
    check_channels,
    check_choice,
    check_rank,
)

# What of `Restored.aux` is worth the way from the device for each frame.
AUX = ("bits", "rate_map", "flow")
# Those that are of the padded input, and of the padded output.
_CROPPED, _CROPPED_OUTPUT = ("flow", "pre_denoised"), ("hr_features",)
BORDERS = ("mirror", "replicate")


def restore_stream(
    model,
    variables,
    frames: Iterable,
    *,
    sigma: float | None = None,
    aux: tuple[str, ...] = AUX,
    state=None,
) -> Iterator[Restored]:
  """Restores frames one by one; a generator, nothing runs before `next`.

  A frame is dispatched to the device before the result of the one before it
  is waited for, so reading, computing and writing overlap; a result comes one
  frame late, and as many more as a window reaches ahead (the model's radius).

  Args:
    model: a restoration model.
    variables: its variables.
    frames: iterable of `[H, W, C]` in [0, 1], all of one size; any size, they
      are padded to the model's stride and cropped back.
    sigma: standard deviation of the noise in [0, 1] units; needed by a model
      with a noise map and refused by a blind one.
    aux: which keys of the model's `aux` to return where it has them; "state"
      is a recurrent model's state after the frame, on the device.
    state: the leaves of such a state, to go on where a stream stopped; None
      starts a clip.

  Yields:
    `Restored` on the host for each frame: `frames` float32 `[H, W, C]`, not
    clipped, H and W the model's `scale` times those given; `aux["bits"]` a
    float and `aux["rate_map"]` `[h, w]`, both of the padded frame; an
    `aux["flow"]` is cropped as the frame is. Of a cascade,
    `aux["pre_denoised"]` `[H, W, C]` is what its first stage made of the frame,
    and nothing else is kept.

  Raises:
    ValueError: the model does not restore, `sigma` does not suit it, or the
      frames change their size.
  """
  yield from _restored(model, variables, frames, sigma, aux, state=state)


def _restored(model, variables, frames, sigma, aux, only=None, state=None):
  """`restore_stream`; of all frames, or of that with the index `only` alone."""
  check_streams(model)
  check_sigma(model, sigma)
  variables = jax.device_put(variables)
  frames = _checked(model, frames)
  if model.recurrent:
    results = _recurrent(model, variables, frames, sigma, aux, state)
  elif getattr(model, "bidirectional", False):
    results = _bidirectional(model, variables, frames, sigma, aux)
  else:
    border = getattr(model, "border", "mirror")
    frames = extended(frames, model.radius, border)
    if only is not None:  # Then no other window is made.
      frames = itertools.islice(frames, only, only + 2 * model.radius + 1)
      only = 0
    results = _windowed(model, variables, frames, sigma, aux)
  if only is not None:
    results = itertools.islice(results, only, only + 1)
  pending = None
  for result in results:
    if pending is not None:
      yield _to_host(pending)
    pending = result
  if pending is not None:
    yield _to_host(pending)


def restore_clip(
    model,
    variables,
    clip,
    *,
    sigma: float | None = None,
    aux: tuple[str, ...] = AUX,
    only: int | None = None,
) -> Restored:
  """Restores a clip held in memory; see `restore_stream`.

  Args:
    model: a restoration model.
    variables: its variables.
    clip: `[T, H, W, C]` in [0, 1].
    sigma: standard deviation of the noise in [0, 1] units.
    aux: which keys of the model's `aux` to return where it has them.
    only: the index of the one frame to return, as it is restored in the clip;
      what it does not need is not computed. None returns them all.

  Returns:
    `Restored` of numpy arrays: `frames` float32 `[T, H, W, C]` (T is 1 with
    `only`), not clipped, `aux["bits"]` `[T]`, `aux["rate_map"]` `[T, h, w]`.

  Raises:
    ValueError: as `restore_stream`, or the clip has no frames, or not that one.
  """
  check_rank("A clip", clip, "THWC")
  if not len(clip):
    raise ValueError("The clip to restore has no frames.")
  if only is not None and not 0 <= only < len(clip):
    raise ValueError(
        f"The clip has the frames 0 to {len(clip) - 1}, but frame {only} is"
        " asked for."
    )
  steps = list(_restored(model, variables, clip, sigma, aux, only))
  return jax.tree.map(lambda *leaves: np.stack(leaves), *steps)


def check_streams(model):
  """ValueError unless `model` restores frames one after another."""
  kind = type(model).__name__
  if not getattr(model, "restores", False):
    raise ValueError(
        f"{kind} is no restoration model: it does not make frames of frames."
        " Choose the released folder of one that does, such as ncfl."
    )


def check_sigma(model, sigma: float | None):
  """ValueError unless `sigma`, in [0, 1] units, suits the model."""
  kind = type(model).__name__
  if model.noise_map and sigma is None:
    raise ValueError(
        f"This {kind} is told how strong the noise is, so it needs a sigma"
        " (in 8-bit units on the command line: --sigma=30)."
    )
  if not model.noise_map and sigma is not None:
    raise ValueError(
        f"This {kind} is blind: it judges the noise itself and takes no sigma."
    )
  if sigma is not None and not 0 <= sigma <= 1:
    raise ValueError(
        "sigma lies between 0 and 1 here (0 to 255 on the command line), but"
        f" got {sigma}."
    )


def extended(
    frames: Iterable, radius: int, border: str = "mirror"
) -> Iterator:
  """Frames with `radius` more at either end.

  Args:
    frames: any iterable; no more than radius + 1 of its items are held.
    radius: how many more.
    border: "mirror": the edge is not repeated, frame i of a clip of T stands
      for -i and for 2 (T - 1) - i (FastDVDnet's release); a clip too short for
      that is mirrored again and again, and a single frame has only itself for
      neighbour. "replicate": the first and the last frame are repeated (STD).

  Yields:
    The items, T + 2 radius of them where there are any.

  Raises:
    ValueError: no such border.
  """
  check_choice("A model's border", border, BORDERS)
  inside = {"mirror": _reflect, "replicate": _clamp}[border]
  frames = iter(frames)
  head = list(itertools.islice(frames, radius + 1))
  tail = collections.deque(head, radius + 1)
  for distance in range(-radius, 0):
    if head:
      yield head[inside(distance, len(head))]
  yield from head
  for frame in frames:
    tail.append(frame)
    yield frame
  for distance in range(radius):
    if tail:
      yield tail[inside(len(tail) + distance, len(tail))]


def _reflect(index, length):
  """The index of [0, length) that a mirror at both ends leads to."""
  period = max(2 * (length - 1), 1)
  return min(index % period, -index % period)


def _clamp(index, length):
  """The index of [0, length) that is nearest."""
  return min(max(index, 0), length - 1)


def _checked(model, frames):
  """The frames on the device, `[H, W, C]`; ValueError where they change."""
  shape = None
  for index, frame in enumerate(frames):
    check_rank("A frame", frame, "HWC")
    check_channels("A frame", frame, model.channels)
    if shape is not None and frame.shape != shape:
      raise ValueError(
          f"Frame {index} is {_size(frame.shape)} while those before it are"
          f" {_size(shape)}. Restore clips of different sizes one by one."
      )
    shape = frame.shape
    yield jnp.asarray(frame, jnp.float32)


def _recurrent(model, variables, frames, sigma, aux, leaves):
  """A recurrent model's results, step by step."""
  state = None
  for frame in frames:
    if state is None:
      state = _init_state(model, frame)
      if leaves is not None:
        state = jax.tree.unflatten(jax.tree.structure(state), leaves)
    state, result = _step(model, aux, variables, state, frame, sigma)
    if "state" in aux:
      result = result._replace(aux=dict(result.aux, state=state))
    yield result


@functools.partial(jax.jit, static_argnums=0)
def _init_state(model, frame):
  """The model's state before `frame` `[H, W, C]`."""
  padded, _ = tiling.pad_to_multiple(frame[None], model.stride)
  return model.init_state(padded)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _step(model, aux, variables, state, frame, sigma):
  """One frame `[H, W, C]`: (state, Restored without batch, cropped)."""
  padded, size = tiling.pad_to_multiple(frame[None], model.stride)
  noise = _noise_map(padded, sigma)
  state, restored = model.apply(variables, state, padded, noise, method="step")
  return state, _finish(restored, size, model.scale, aux)


def _bidirectional(model, variables, frames, sigma, aux):
  """A bidirectional model's results, of the whole clip at once."""
  frames = list(frames)
  if not frames:
    return
  restored = _clip(model, aux, variables, jnp.stack(frames), sigma)
  for index in range(len(frames)):
    yield jax.tree.map(operator.itemgetter(index), restored)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _clip(model, aux, variables, clip, sigma):
  """A clip `[T, H, W, C]`: Restored without batch, cropped."""
  clip, size = tiling.pad_to_multiple(clip[None], model.stride)
  restored = model.apply(variables, clip, _noise_map(clip[:, 0], sigma))
  return _finish(restored, size, model.scale, aux)


def _windowed(model, variables, frames, sigma, aux):
  """A windowed model's results: the middles of its windows in `frames`."""
  if not hasattr(model, "stages"):
    for window in _windows(frames, model.radius):
      yield _window(model, aux, variables, window, sigma)
    return
  made = (_Made(frame, None, frame.shape[:2]) for frame in frames)
  for index in range(len(model.stages)):
    made = _slide(model, index, variables, made, sigma)
  for frame, first, size in made:
    restored = Restored(frame, {"pre_denoised": first})
    yield _finish(restored, size, model.scale, aux)


class _Made(NamedTuple):
  """What a stage made of a frame.

  Attributes:
    frame: its result, `[1, H', W', C]`, of the padded size.
    first: the first stage's.
    size: (H, W) of the frame itself.
  """

  frame: Any
  first: Any
  size: tuple[int, int]


def _slide(model, index, variables, made, sigma):
  """The results of one stage, of those of the stage before."""
  radius = model.stages[index]
  for window in _windows(made, radius):
    _, first, size = window[radius]
    frames = tuple(item.frame for item in window)
    frame = _stage(model, index, variables, frames, sigma)
    yield _Made(frame, frame if index == 0 else first, size)


def _windows(items, radius):
  """Every 2 radius + 1 items that follow one another, as a tuple."""
  window = collections.deque(maxlen=2 * radius + 1)
  for item in items:
    window.append(item)
    if len(window) == window.maxlen:
      yield tuple(window)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _stage(model, index, variables, frames, sigma):
  """The result of a stage of a cascade, padded.

  Stage 0 takes frames `[H, W, C]`, those after it the results of the one
  before.
  """
  window = jnp.stack(frames, 1) if index else jnp.stack(frames)[None]
  window, _ = tiling.pad_to_multiple(window, model.stride)
  noise = _noise_map(window[:, 0], sigma)
  return model.apply(variables, index, window, noise, method="stage")


@functools.partial(jax.jit, static_argnums=(0, 1))
def _window(model, aux, variables, frames, sigma):
  """One window of frames `[H, W, C]`: Restored without batch, cropped."""
  window = jnp.stack(frames)[None]
  window, size = tiling.pad_to_multiple(window, model.stride)
  noise = _noise_map(window[:, 0], sigma)
  restored = model.apply(variables, window, noise)
  return _finish(restored, size, model.scale, aux)


def _noise_map(frame, sigma):
  """`[B, H, W, 1]` for frames `[B, H, W, C]`, or None."""
  if sigma is None:
    return None
  return jnp.full((*frame.shape[:3], 1), sigma, jnp.float32)


def _finish(restored, size, scale, aux):
  """What is kept of `restored`, cropped and without its batch axis."""
  frames = tiling.crop(restored.frames, size, scale=scale)
  kept = {k: v for k, v in restored.aux.items() if k in aux}
  for keys, times in ((_CROPPED, 1), (_CROPPED_OUTPUT, scale)):
    for key in keys:
      if key in kept:
        kept[key] = tiling.crop(kept[key], size, scale=times)
  result = Restored(frames.astype(jnp.float32), kept)
  return jax.tree.map(lambda leaf: leaf[0], result)


def _to_host(result):
  aux = {
      key: value if key == "state" else jax.tree.map(np.asarray, value)
      for key, value in result.aux.items()
  }
  return Restored(np.asarray(result.frames), aux)


def _size(shape):
  return f"{shape[1]}x{shape[0]}"
