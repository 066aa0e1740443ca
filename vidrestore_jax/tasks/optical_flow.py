"""Optical flow with exact truth: pretrains the motion estimator.

The end-point error of every pyramid level, each in its own pixels, summed with
equal weights; frames carry noise of a random level, since the estimator will
see noisy frames.
"""

import dataclasses

import jax
import jax.numpy as jnp

from vidrestore_jax import degradations
from vidrestore_jax.layers.resample import average_pool
from vidrestore_jax.tasks import losses

# Pixels below which the loss is quadratic. With the plain distance the network
# keeps to zero flow, the median of motions, for hundreds of steps.
_SMOOTHING = 1.0


@dataclasses.dataclass(frozen=True)
class OpticalFlow:
  """Flow from each frame of a clip to the one before.

  Attributes:
    model: a SpyNet.
    sigma: lowest and highest noise level, [0, 1] units.
  """

  model: object
  sigma: tuple[float, float]

  def init(self, key, batch):
    """Parameters and (empty) model state, from one batch's shapes."""
    frame = losses.to_unit_range(batch["clean"], batch["max_value"])[:, 0]
    variables = dict(self.model.init(key, frame, frame))
    return variables.pop("params"), variables

  def loss(self, params, model_state, batch, key, step):
    """The loss of one batch; see the module's docstring."""
    del step
    clean = losses.to_unit_range(batch["clean"], batch["max_value"])
    keys = losses.example_keys(key, batch["index"])
    degrade = degradations.build("noise.gaussian", sigma=self.sigma)
    noisy, _ = jax.vmap(degrade)(keys, clean)

    # Neighbouring frames, all pairs of a clip as one batch.
    def pairs(x):
      return x.reshape((-1, *x.shape[2:]))

    flows = self.model.apply(
        {"params": params, **model_state},
        pairs(noisy[:, 1:]),
        pairs(noisy[:, :-1]),
        method="pyramid",
    )
    truth = pairs(batch["flow"][:, 1:])
    loss = 0.0
    for level, flow in enumerate(reversed(flows)):  # Finest first.
      scale = 2**level
      target = average_pool(truth, scale) / scale
      loss = loss + losses.end_point_error(flow, target, _SMOOTHING)
    error = losses.end_point_error(flows[-1], truth)
    still = losses.end_point_error(jnp.zeros_like(truth), truth)
    metrics = {"end_point_error": error, "end_point_error_of_zero": still}
    return loss, (model_state, metrics)


def build(
    *, model, sigma: tuple[float, float] = (0.0, 55 / 255)
) -> OpticalFlow:
  """An optical-flow task; see the class.

  Raises:
    ValueError: the model has no pyramid of flows.
  """
  if not hasattr(model, "pyramid"):
    raise ValueError(
        f"{type(model).__name__} estimates no flow pyramid; the task"
        " optical_flow trains models.spynet."
    )
  return OpticalFlow(model, tuple(sigma))
