"""Privileged information, second stage: the student of a PISR teacher.

Lee et al., ECCV 2020 (models/pisr.py), equations 4 to 7, on luminance. The
student starts from the teacher's decoder. T are the decoder's features of the
teacher's pseudo-LR and S the student's own of the LR: FSRCNN's expanded map,
VDSR's last:

  L = mean |SR - HR| + weight * VID
  VID = mean over elements of log(2 b) + |mu(S) - T| / b(S)

the negative log-likelihood of T under a Laplace distribution, so that the
student is held to what of T its own features tell. mu and b are estimated for
each element by 1x1 convolutions, trained with the student.

The teacher is no parameter, so nothing can train it. It and the estimators lie
under one name, `privileged`, in model state and parameters, and neither is
released. (The release adds the constant C log(2 pi) / 2 to VID.)
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidrestore_jax import models
from vidrestore_jax.layers import whole_batch
from vidrestore_jax.models import pisr
from vidrestore_jax.shapes import check_named
from vidrestore_jax.tasks import Source, losses, restoration
from vidrestore_jax.tasks.privileged_teacher import luminances

_OWN = "privileged"


class Estimators(nn.Module):
  """Location and scale of a Laplace distribution, for each element."""

  @nn.compact
  def __call__(self, features):
    """[..., F] to (mu, b), both [..., F], float32."""
    features = features.astype(jnp.float32)

    def estimate(name):
      x = nn.Dense(features.shape[-1], name=f"{name}_0")(features)
      x = nn.PReLU(negative_slope_init=0.25, name=f"{name}_prelu")(x)
      return nn.Dense(features.shape[-1], name=f"{name}_1")(x)

    # As released: a tenth, and never zero.
    return estimate("mu"), 0.1 * nn.softplus(estimate("b")) + 1e-8


def laplace(mu, b, target):
  """Mean negative log-likelihood, log(2 b) + |mu - target| / b."""
  return whole_batch.mean(jnp.log(2 * b) + jnp.abs(mu - target) / b)


@dataclasses.dataclass(frozen=True)
class PrivilegedStudent:
  """Trains a student on every frame of clips by itself, beside its teacher.

  Attributes:
    model: the student.
    teacher: a PISR whose decoder is alike.
    pairs: the student's own task, which checks and scales the pairs.
    weight: of VID.
  """

  model: object
  teacher: pisr.PISR
  pairs: restoration.Restoration
  weight: float

  train_only = (_OWN,)

  @property
  def sources(self):
    """See `vidrestore_jax.tasks`."""
    place = f"{_OWN}/teacher/{{collection}}"
    return (
        Source("teacher", self.teacher, "", place, needed=True),
        Source("teacher", self.model, "decoder", "{collection}", needed=True),
    )

  def init(self, key, batch):
    """Parameters and model state; the teacher's variables are zeros."""
    params, state = self.pairs.init(key, batch)
    _, small = luminances(self.pairs, batch, key)
    _, features = jax.eval_shape(
        lambda: self._restore({"params": params, **state}, small)
    )
    clean, _, _ = self.pairs.draw(batch, key)
    teacher = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
        dict(jax.eval_shape(self.teacher.init, key, clean[:, :1])),
    )
    # A key that the student's own start does not know.
    key = jax.random.fold_in(key, 2**31 - 1)
    own = Estimators().init(key, jnp.zeros((1, features.shape[-1])))
    return (
        {**params, _OWN: own["params"]},
        {**state, _OWN: {"teacher": teacher}},
    )

  def loss(self, params, model_state, batch, key, step):
    """The loss of one batch; see the module's docstring."""
    del step
    large, small = luminances(self.pairs, batch, key)
    student = {
        "params": {k: v for k, v in params.items() if k != _OWN},
        **{k: v for k, v in model_state.items() if k != _OWN},
    }
    restored, features = self._restore(student, small)
    _, _, target = self.teacher.apply(
        model_state[_OWN]["teacher"], large, method="privileged"
    )
    mu, b = Estimators().apply({"params": params[_OWN]}, features)
    vid = laplace(mu, b, jax.lax.stop_gradient(target.astype(jnp.float32)))
    error = losses.mean_absolute_error(restored, large)
    mse = losses.mean_squared_error(restored, large)
    metrics = {
        "reconstruction_loss": error,
        "information_loss": vid,
        "psnr": losses.psnr_from_mse(mse),
    }
    return error + self.weight * vid, (model_state, metrics)

  def _restore(self, variables, small):
    return self.model.apply(variables, small, method="restore_luminance")


def build(
    *, model, teacher: dict, weight: float = 1e-6
) -> PrivilegedStudent:
  """The student's training; see the module's docstring.

  Args:
    model: a decoder as the teacher has: an fsrcnn or a vdsr.
    teacher: name ("pisr") and arguments of the teacher, and `init_from`, the
      released folder that its variables come from.
    weight: of VID, 1e-6 in the release.

  Raises:
    ValueError: another student or teacher, or a weight below 0.
  """
  pisr.check_decoder("The student of privileged information", model)
  check_named("config.task.teacher", teacher)
  arguments = {k: v for k, v in teacher.items() if k != "init_from"}
  taught = models.build(**arguments | {"dtype": model.dtype})
  if not isinstance(taught, pisr.PISR):
    raise ValueError(
        f"The teacher of privileged information is a pisr, but got"
        f" {arguments['name']}."
    )
  if weight < 0:
    raise ValueError(
        f"config.task.weight is of an error, 0 or more, but is {weight}."
    )
  pairs = restoration.build(model=model, windows="all")
  return PrivilegedStudent(model, taught, pairs, weight)
