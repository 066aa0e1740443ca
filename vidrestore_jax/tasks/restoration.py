"""Supervised restoration of clips, with NCFL's rate term in a first stage.

L = MSE + lambda * bits per pixel for the first `rate_steps` steps, MSE alone
afterwards (NCFL's supplementary, section 3). A recurrent model
restores every frame of a clip, a windowed one the middle frame; a windowed
model's call takes `train=True` and may then update its state, such as the
statistics of batch normalisation.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vidrestore_jax import degradations
from vidrestore_jax.layers.entropy import bits_per_pixel
from vidrestore_jax.tasks import losses

_OFFSET_KEY = 2**31 - 1
ERRORS = {
    "mse": losses.mean_squared_error,
    "half_sse": losses.half_squared_error,
}


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
  """

  model: object
  degrade: Callable | None
  rate_weight: float
  rate_steps: int
  error: Callable
  offset: tuple[float, float] | None

  def init(self, key, batch):
    """Parameters and the model's other variables, from one batch's shapes.

    Raises:
      ValueError: a batch, a degradation and a model that do not fit together.
    """
    clip, _ = self._frames(batch)
    self._check_length(clip.shape[1])
    if self.degrade is not None:  # So that what it refuses is refused here.
      keys = losses.example_keys(key, batch["index"])
      jax.eval_shape(jax.vmap(self.degrade), keys, clip)
    noise = self.noise_map(jnp.zeros(clip.shape[0]), clip)
    variables = dict(self.model.init(key, clip, noise))
    return variables.pop("params"), variables

  def loss(self, params, model_state, batch, key, step):
    """The loss of one batch; see the module's docstring."""
    clean, degraded, level = self.draw(batch, key)
    noise = self.noise_map(level, clean)
    variables = {"params": params, **model_state}
    if self.model.recurrent:
      restored = self.model.apply(variables, degraded, noise)
    else:
      clean = clean[:, self.model.radius]
      restored, model_state = self.model.apply(
          variables, degraded, noise, train=True, mutable=list(model_state)
      )
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
    return loss, (model_state, metrics)

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

  def _check_length(self, frames):
    """ValueError where a clip is no window of a windowed model."""
    if self.model.recurrent:
      return
    length = 2 * self.model.radius + 1
    if frames != length:
      raise ValueError(
          f"{type(self.model).__name__} is trained on windows of {length}"
          f" frames, but the clips have {frames}. Set"
          f" config.clip_length = {length}."
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


def build(
    *,
    model,
    degradation: dict | None = None,
    rate_weight: float = 0.0,
    rate_steps: int = 0,
    error: str = "mse",
    offset: tuple[float, float] | None = None,
) -> Restoration:
  """A restoration task; see the class.

  Args:
    model: a model that restores clips.
    degradation: name and arguments of a degradation, or None for paired data.
    rate_weight: lambda of stage one.
    rate_steps: steps of stage one.
    error: "mse", or "half_sse" for the sum of squares over twice the batch.
    offset: (probability, standard deviation in [0, 1] units) of a constant
      added to clean clips before they are degraded (FastDVDnet's release).

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
  if error not in ERRORS:
    raise ValueError(
        f"config.task.error is one of {', '.join(ERRORS)}, but got {error!r}."
    )
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
      model, degrade, rate_weight, rate_steps, ERRORS[error], offset
  )
