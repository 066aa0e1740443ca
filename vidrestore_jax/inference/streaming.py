"""Restoring a stream of frames at constant memory, whatever its length.

A recurrent model is run step by step: one frame and the state are all that is
held, and the state is carried from the first frame to the last, so that no
chunk border exists. Whole clips go through the same step.
"""

import functools
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from vidrestore_jax.inference import tiling
from vidrestore_jax.shapes import Restored, check_channels, check_rank

# What of `Restored.aux` is worth the way from the device for each frame.
AUX = ("bits", "rate_map", "flow")


def restore_stream(
    model,
    variables,
    frames: Iterable,
    *,
    sigma: float | None = None,
    aux: tuple[str, ...] = AUX,
) -> Iterator[Restored]:
  """Restores frames one by one; a generator, nothing runs before `next`.

  A frame is dispatched to the device before the result of the one before it
  is waited for, so reading, computing and writing overlap; a result comes one
  frame late.

  Args:
    model: a recurrent restoration model.
    variables: its variables.
    frames: iterable of `[H, W, C]` in [0, 1], all of one size; any size, they
      are padded to the model's stride and cropped back.
    sigma: standard deviation of the noise in [0, 1] units; needed by a model
      with a noise map and refused by a blind one.
    aux: which keys of the model's `aux` to return where it has them.

  Yields:
    `Restored` on the host for each frame: `frames` float32 `[H, W, C]`, not
    clipped; `aux["bits"]` a float and `aux["rate_map"]` `[h, w]`, both of the
    padded frame; an `aux["flow"]` is cropped as the frame is.

  Raises:
    ValueError: the model does not stream, `sigma` does not suit it, or the
      frames change their size.
  """
  check_streams(model)
  check_sigma(model, sigma)
  variables = jax.device_put(variables)
  state, pending, shape = None, None, None
  for index, frame in enumerate(frames):
    check_rank("A frame", frame, "HWC")
    check_channels("A frame", frame, model.channels)
    if shape is not None and frame.shape != shape:
      raise ValueError(
          f"Frame {index} is {_size(frame.shape)} while those before it are"
          f" {_size(shape)}. Restore clips of different sizes one by one."
      )
    shape = frame.shape
    frame = jnp.asarray(frame, jnp.float32)
    if state is None:
      state = _init_state(model, frame)
    state, result = _step(model, aux, variables, state, frame, sigma)
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
) -> Restored:
  """Restores a clip held in memory; see `restore_stream`.

  Args:
    model: a recurrent restoration model.
    variables: its variables.
    clip: `[T, H, W, C]` in [0, 1].
    sigma: standard deviation of the noise in [0, 1] units.
    aux: which keys of the model's `aux` to return where it has them.

  Returns:
    `Restored` of numpy arrays: `frames` float32 `[T, H, W, C]`, not clipped,
    `aux["bits"]` `[T]`, `aux["rate_map"]` `[T, h, w]`.

  Raises:
    ValueError: as `restore_stream`, or the clip has no frames.
  """
  check_rank("A clip", clip, "THWC")
  steps = list(
      restore_stream(model, variables, clip, sigma=sigma, aux=aux)
  )
  if not steps:
    raise ValueError("The clip to restore has no frames.")
  return jax.tree.map(lambda *leaves: np.stack(leaves), *steps)


def check_streams(model):
  """ValueError unless `model` restores frames one after another."""
  kind = type(model).__name__
  if not getattr(model, "restores", False):
    raise ValueError(
        f"{kind} is no restoration model: it does not make frames of frames."
        " Choose the released folder of one that does, such as ncfl."
    )
  if not model.recurrent:
    raise ValueError(
        f"{kind} restores windows of {2 * model.radius + 1} frames; only"
        " recurrent models can be streamed."
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


@functools.partial(jax.jit, static_argnums=0)
def _init_state(model, frame):
  """The model's state before `frame` `[H, W, C]`."""
  padded, _ = tiling.pad_to_multiple(frame[None], model.stride)
  return model.init_state(padded)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _step(model, aux, variables, state, frame, sigma):
  """One frame `[H, W, C]`: (state, Restored without batch, cropped)."""
  padded, size = tiling.pad_to_multiple(frame[None], model.stride)
  noise = None
  if sigma is not None:
    noise = jnp.full((*padded.shape[:3], 1), sigma, jnp.float32)
  state, restored = model.apply(variables, state, padded, noise, method="step")
  frames = tiling.crop(restored.frames, size, scale=model.scale)
  kept = {k: v for k, v in restored.aux.items() if k in aux}
  if "flow" in kept:
    kept["flow"] = tiling.crop(kept["flow"], size)
  result = Restored(frames.astype(jnp.float32), kept)
  return state, jax.tree.map(lambda leaf: leaf[0], result)


def _to_host(result):
  return jax.tree.map(np.asarray, result)


def _size(shape):
  return f"{shape[1]}x{shape[0]}"
