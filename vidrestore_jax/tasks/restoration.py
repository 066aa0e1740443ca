"""Supervised restoration of clips, with NCFL's rate term in a first stage.

L = MSE + lambda * bits per pixel for the first `rate_steps` steps, MSE alone
afterwards (NCFL's supplementary, section 3). A recurrent or bidirectional model
restores every frame of a clip, a windowed one the middle frame or, with
`windows="all"`, every frame as well. What is not recurrent is called with
`train=True` and may then update its state, such as the statistics of batch
normalisation.

Super-resolution is restoration of pairs whose `degraded` frames are smaller by
the model's scale: config.data.degradation makes them, after the crop, so that
every crop is a multiple of the scale.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vidrestore_jax import degradations
from vidrestore_jax.layers.entropy import bits_per_pixel
from vidrestore_jax.shapes import check_choice
from vidrestore_jax.tasks import losses

_OFFSET_KEY = 2**31 - 1
ERRORS = {
    "mse": losses.mean_squared_error,
    "half_sse": losses.half_squared_error,
    "charbonnier": losses.charbonnier,
}
WINDOWS = ("middle", "all")


@dataclasses.dataclass(frozen=True)
class Restoration:
  """Restores every frame of a clip, or the middle one of a window.

  Attributes:
    model: a restoration model.
    degrade: a function of (key, clip `[T, H, W, C]`) that returns the degraded
      clip and its noise level; None where batches bring `degraded` frames.
    rate_weight: lambda, of bits per pixel against the error.
    rate_steps: length of stage one, in steps.
    error: of (restored, clean) frames on [0, 1] values.
    offset: (probability, deviation) of a constant that is added to a whole
      clean clip, normally distributed; None adds none.
    windows: "middle", a clip is one window of a windowed model, or "all",
      each frame of a clip is the middle of one; see `every_window`.
  """

  model: object
  degrade: Callable | None
  rate_weight: float
  rate_steps: int
  error: Callable
  offset: tuple[float, float] | None
  windows: str

  def init(self, key, batch):
    """Parameters and the model's other variables, from one batch's shapes.

    Raises:
      ValueError: a batch, a degradation and a model that do not fit together,
        or a model without parameters.
    """
    clean, degraded = self._frames(batch)
    self._check_length(clean.shape[1])
    clip = clean if degraded is None else degraded
    if self.degrade is not None:  # So that what it refuses is refused here.
      keys = losses.example_keys(key, batch["index"])
      jax.eval_shape(jax.vmap(self.degrade), keys, clip)
    noise = self.noise_map(jnp.zeros(clip.shape[0]), clip)
    if self._slides():
      clip = every_window(clip, self.model.radius)[:, 0]
    variables = dict(self.model.init(key, clip, noise))
    if "params" not in variables:
      raise ValueError(
          f"{type(self.model).__name__} has no parameters to train: it can be"
          " measured, and restored with, as it is."
      )
    return variables.pop("params"), variables

  def loss(self, params, model_state, batch, key, step):
    """The loss of one batch; see the module's docstring."""
    clean, degraded, level = self.draw(batch, key)
    restored, model_state = self.restore(
        {"params": params, **model_state}, degraded, level
    )
    loss, metrics = self.measure(restored, clean, step)
    return loss, (model_state, metrics)

  def restore(self, variables, degraded, level):
    """What the model in training makes of clips `[B, T, h, w, C]`.

    Args:
      variables: the model's.
      degraded: as `draw` gives it.
      level: likewise.

    Returns:
      The pair (`Restored`, the other variables after it). Frames and what is
      beside them are `[B, ...]` of the middle frame or `[B, T, ...]` of all.
    """
    noise = self.noise_map(level, degraded)
    state = {k: v for k, v in variables.items() if k != "params"}
    if self.model.recurrent:
      return self.model.apply(variables, degraded, noise), state
    apply = functools.partial(
        self.model.apply, variables, train=True, mutable=list(state)
    )
    if not self._slides():
      return apply(degraded, noise)
    return slide(apply, degraded, noise, self.model.radius)

  def measure(self, restored, clean, step):
    """The loss of what `restore` returned, and metrics."""
    if restored.frames.ndim < clean.ndim:
      clean = clean[:, self.model.radius]
    mse = losses.mean_squared_error(restored.frames, clean)
    loss = self.error(restored.frames, clean)
    metrics = {"mse": mse, "psnr": losses.psnr_from_mse(mse)}
    metrics |= losses.offset_metrics(restored.aux)
    if "bits" in restored.aux:
      bpp = bits_per_pixel(restored.aux["bits"], *clean.shape[-3:-1])
      weight = jnp.where(step < self.rate_steps, self.rate_weight, 0.0)
      loss = loss + weight * bpp
      metrics |= {
          "bits_per_pixel": bpp,
          "rate_weight": weight,
          "rate_loss": weight * bpp,
      }
    return loss, metrics

  def draw(self, batch, key):
    """Clean and degraded clips `[B, T, H, W, C]`, and noise levels `[B]`.

    Levels are standard deviations in [0, 1] units, None for paired data.
    """
    clean, degraded = self._frames(batch)
    if self.degrade is None:
      return clean, degraded, None
    keys = losses.example_keys(key, batch["index"])
    if self.offset is not None:
      clean = jax.vmap(self._add_offset)(keys, clean)
    return clean, *jax.vmap(self.degrade)(keys, clean)

  def noise_map(self, level, clip):
    """What the model is told of the levels `[B]`: `[B, H, W, 1]`, or None."""
    if not self.model.noise_map:
      return None
    shape = (clip.shape[0], *clip.shape[2:4], 1)
    return jnp.broadcast_to(level[:, None, None, None], shape)

  def _frames(self, batch):
    """Clean and, where the batch is paired, degraded frames in [0, 1]."""
    clean = losses.to_unit_range(batch["clean"], batch["max_value"])
    paired = "degraded" in batch
    if self.degrade is not None:
      if paired:
        raise ValueError(
            "The data brings degraded frames, and config.task.degradation would"
            " degrade the clean ones. Set it to None, or give clean clips only."
        )
      return clean, None
    if not paired:
      raise ValueError(
          "The data has clean frames only, and the task has no degradation."
          " Set config.task.degradation, such as dict(name='noise.gaussian',"
          " sigma=(5 / 255, 55 / 255)), or give paired data."
      )
    degraded = losses.to_unit_range(batch["degraded"], batch["max_value"])
    sizes = [clip.shape[2:4] for clip in (clean, degraded)]
    scale = self.model.scale
    if sizes[0] != tuple(scale * side for side in sizes[1]):
      raise ValueError(
          f"The clean frames are {sizes[0]} and the degraded ones {sizes[1]},"
          f" but the model's scale is {scale}. Degrade to 1 / {scale} of the"
          " size, or take a model of another scale."
      )
    return clean, degraded

  def _slides(self) -> bool:
    """Whether each frame of a clip is the middle of a window."""
    return self.windows == "all" and not takes_clips(self.model)

  def _check_length(self, frames):
    """ValueError where a clip is no window of a windowed model."""
    if takes_clips(self.model) or self.windows == "all":
      return
    length = 2 * self.model.radius + 1
    if frames != length:
      raise ValueError(
          f"{type(self.model).__name__} is trained on windows of {length}"
          f" frames, but the clips have {frames}. Set"
          f" config.clip_length = {length}, or config.task.windows = 'all'."
      )

  def _add_offset(self, key, clip):
    """The clip, with the constant that `offset` says where it is drawn."""
    probability, deviation = self.offset
    # A key that no degradation makes of its own: JAX's `split` gives what
    # `fold_in` gives of 0, 1, 2 ...
    draw, there = jax.random.split(jax.random.fold_in(key, _OFFSET_KEY))
    constant = deviation * jax.random.normal(draw)
    return clip + jnp.where(
        jax.random.bernoulli(there, probability), constant, 0.0
    )


def takes_clips(model) -> bool:
  """Whether a model is called with clips, rather than with windows of them."""
  return model.recurrent or getattr(model, "bidirectional", False)


def every_window(clip, radius: int):
  """[B, T, H, W, C] to [B, T, 2 radius + 1, H, W, C], one about each frame.

  Beyond both ends the edge frame is repeated, as space-time distillation has it
  (inference mirrors instead, as FastDVDnet's release does).
  """
  frames = clip.shape[1]
  indices = np.arange(frames)[:, None] + np.arange(-radius, radius + 1)
  return clip[:, indices.clip(0, frames - 1)]


def slide(apply, clip, noise, radius: int):
  """Applies a windowed model to every window of clips at once.

  Args:
    apply: (windows `[N, 2 radius + 1, H, W, C]`, noise `[N, H, W, 1]` or None)
      to the pair (`Restored`, the other variables after it).
    clip: `[B, T, H, W, C]`.
    noise: `[B, H, W, 1]`, or None.
    radius: the model's.

  Returns:
    What `apply` returned, arrays of the first `[B, T, ...]`.
  """
  batch, frames = clip.shape[:2]
  # Example by example, so that devices which share a batch keep their own.
  windows = every_window(clip, radius).reshape(
      -1, 2 * radius + 1, *clip.shape[2:]
  )
  if noise is not None:
    noise = noise.repeat(frames, 0)
  restored, state = apply(windows, noise)
  restored = jax.tree.map(
      lambda leaf: leaf.reshape(batch, frames, *leaf.shape[1:]), restored
  )
  return restored, state


def build(
    *,
    model,
    degradation: dict | None = None,
    rate_weight: float = 0.0,
    rate_steps: int = 0,
    error: str = "mse",
    offset: tuple[float, float] | None = None,
    windows: str = "middle",
) -> Restoration:
  """A restoration task; see the class.

  Args:
    model: a model that restores clips.
    degradation: name and arguments of a degradation, or None for paired data.
    rate_weight: lambda of stage one.
    rate_steps: steps of stage one.
    error: "mse", "half_sse" for the sum of squares over twice the batch, or
      "charbonnier".
    offset: (probability, standard deviation in [0, 1] units) of a constant
      added to clean clips before they are degraded (FastDVDnet's release).
    windows: "middle" or "all"; which frames a windowed model restores.

  Raises:
    ValueError: the model does not restore, wants a noise map that paired data
      does not have, the degradation is one of the pipeline's, there is no such
      error, or an offset for paired data or in other units.
  """
  if not model.restores:
    raise ValueError(
        f"{type(model).__name__} does not restore frames, so it has no"
        " restoration task. Use the task optical_flow for SpyNet."
    )
  if degradation is None and model.noise_map:
    raise ValueError(
        "Paired data brings no noise level, but the model wants a noise map."
        " Set config.model.noise_map = False."
    )
  check_choice("config.task.error", error, ERRORS)
  check_choice("config.task.windows", windows, WINDOWS)
  if offset is not None and degradation is None:
    raise ValueError(
        "Clips are offset before the task degrades them, but this data brings"
        " degraded frames. Set config.task.offset = None."
    )
  if offset is not None and not all(0 <= value <= 1 for value in offset):
    raise ValueError(
        "config.task.offset is a probability and a standard deviation in [0, 1]"
        f" units (8-bit ones divided by 255), but got {tuple(offset)}."
    )
  degrade = None
  if degradation is not None:
    if degradations.place(degradation["name"]) != "device":
      raise ValueError(
          f"{degradation['name']} is done in the data pipeline, not in the"
          " train step. Make it config.data.degradation, and set"
          " config.task.degradation = None and config.model.noise_map = False."
      )
    degrade = degradations.build(**degradation)
  return Restoration(
      model, degrade, rate_weight, rate_steps, ERRORS[error], offset, windows
  )
