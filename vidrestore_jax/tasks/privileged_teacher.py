"""Privileged information, first stage: a teacher that is told the answer.

Lee et al., ECCV 2020 (models/pisr.py), equations 1 to 3, on luminance:

  L = mean |decoder(encoder(HR)) - HR| + weight * mean |encoder(HR) - LR|

The second part keeps the pseudo-LR an image that the student's own decoder can
take for its input.
"""

import dataclasses

import jax.numpy as jnp

from vidrestore_jax.layers import luminance
from vidrestore_jax.tasks import losses, restoration


@dataclasses.dataclass(frozen=True)
class PrivilegedTeacher:
  """Trains encoder and decoder together on every frame of clips by itself.

  Attributes:
    model: a PISR.
    pairs: the decoder's own task, which checks and scales the pairs.
    weight: of the pseudo-LR's error.
  """

  model: object
  pairs: restoration.Restoration
  weight: float

  def init(self, key, batch):
    """Parameters and (empty) model state, from one batch's shapes."""
    clean, _, _ = self.pairs.draw(batch, key)
    variables = dict(self.model.init(key, clean[:, :1]))
    return variables.pop("params"), variables

  def loss(self, params, model_state, batch, key, step):
    """The loss of one batch; see the module's docstring."""
    del step
    large, small = luminances(self.pairs, batch, key)
    found, restored, _ = self.model.apply(
        {"params": params, **model_state}, large, method="privileged"
    )
    error = losses.mean_absolute_error(restored, large)
    imitation = losses.mean_absolute_error(found, small)
    mse = losses.mean_squared_error(restored, large)
    metrics = {
        "reconstruction_loss": error,
        "imitation_loss": imitation,
        "psnr": losses.psnr_from_mse(mse),
    }
    return error + self.weight * imitation, (model_state, metrics)


def luminances(pairs, batch, key):
  """Luminance of all frames of a batch, one by one: large and small.

  Args:
    pairs: the task restoration of a model that enlarges.
    batch: of pairs.
    key: a JAX random key, of which nothing is drawn.

  Returns:
    `[N, H, W, 1]` and `[N, h, w, 1]`.
  """
  clean, degraded, _ = pairs.draw(batch, key)
  return tuple(
      jnp.reshape(y, (-1, *y.shape[2:]))
      for y in map(luminance.split, (clean, degraded))
  )


def build(*, model, weight: float = 1e-4) -> PrivilegedTeacher:
  """The teacher's training; see the module's docstring.

  Args:
    model: a PISR.
    weight: of the pseudo-LR's error, 1e-4 in the release.

  Raises:
    ValueError: another model, or a weight below 0.
  """
  if not hasattr(model, "privileged"):
    raise ValueError(
        f"{type(model).__name__} is no teacher of privileged information. Take"
        " the model pisr."
    )
  if weight < 0:
    raise ValueError(
        f"config.task.weight is of an error, 0 or more, but is {weight}."
    )
  pairs = restoration.build(model=model.decoder, windows="all")
  return PrivilegedTeacher(model, pairs, weight)
