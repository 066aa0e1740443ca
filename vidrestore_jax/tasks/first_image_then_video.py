"""First image, then video: the two losses of FITVNet (arXiv:2001.00346).

  L = (alpha / e) L_pd + L_st                                (equation 10)
  L_pd = sum over k of |Psi(x_{t+k}) - T_{t+k}|, k = -2 .. 2       (7, 8)
  L_st = |Phi(Psi(x_{t-2}), ..., Psi(x_{t+2})) - target|          (9, 11)

x is the noisy clip, Psi the model's first stage, Phi its second, e the epoch,
counted from 1. The paper's four models:

                T (first_target)   target (final_target)
  base          none               clean
  +jsn          second_noisy       clean
  +jsc          clean              clean
  unsupervised  second_noisy       psi

Noise of zero mean is what makes a second noisy copy of a frame stand for the
clean one (Noise2Noise, arXiv:1803.04189). "psi" is Psi(x_t), held constant. It
has a trivial optimum: Phi adds what it finds to Psi(x_t), so that finding
nothing makes L_st zero, and no such model need be better than its own first
stage, whose PSNR is therefore reported beside. "psi_of_second_noise" and
"second_noisy" have no such optimum: their noise is not in what Phi sees.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vidrestore_jax.layers import whole_batch
from vidrestore_jax.tasks import losses, restoration

FIRST_TARGETS = ("none", "clean", "second_noisy")
FINAL_TARGETS = ("clean", "psi", "psi_of_second_noise", "second_noisy")
# The one degradation that a second draw of the same level is known for.
_ZERO_MEAN = "noise.gaussian"


def _mean_square(difference):
  """[..., H, W, C] to [...]."""
  return jnp.mean(jnp.square(difference), (-3, -2, -1))


def _norm(difference, smoothing: float = 1e-6):
  """[..., H, W, C] to [...], as the equations have it, not squared.

  sqrt(d**2 + smoothing**2): the gradient at 0, where "psi" leads, is 0.
  """
  squared = jnp.sum(jnp.square(difference), (-3, -2, -1))
  return jnp.sqrt(squared + smoothing**2)


# The paper says "l2 loss" and prints an unsquared norm.
DISTANCES = {"mse": _mean_square, "norm": _norm}


@dataclasses.dataclass(frozen=True)
class FirstImageThenVideo:
  """Trains both stages of a model together, each against its own target.

  Attributes:
    supervised: the task of the second stage alone, which draws the noise.
    first_target: one of FIRST_TARGETS, for every frame of the window.
    final_target: one of FINAL_TARGETS, for its middle frame.
    alpha: weight of the first stage's loss in the first epoch.
    steps_per_epoch: how long an epoch is.
    distance: `[..., H, W, C]` to `[...]`; losses are its means over the batch.
  """

  supervised: restoration.Restoration
  first_target: str
  final_target: str
  alpha: float
  steps_per_epoch: int
  distance: Callable

  def init(self, key, batch):
    """Parameters and the model's other variables, from one batch's shapes."""
    return self.supervised.init(key, batch)

  def loss(self, params, model_state, batch, key, step):
    """The loss of one batch; see the module's docstring."""
    model = self.supervised.model
    # Not folded in: that would be one of the keys that the first draw makes.
    first_key, second_key = jax.random.split(key)
    clean, noisy, level = self.supervised.draw(batch, first_key)
    second = None
    if "second" in self.first_target + self.final_target:
      second = second_copy(second_key, batch["index"], clean, level)
    variables = {"params": params, **model_state}
    restored, model_state = model.apply(
        variables,
        noisy,
        self.supervised.noise_map(level, clean),
        train=True,
        mutable=list(model_state),
    )
    first, middle = restored.aux["pre_denoised"], model.radius

    target = {
        "clean": lambda: clean[:, middle],
        "psi": lambda: first[:, middle],
        "psi_of_second_noise": lambda: model.apply(
            variables, second[:, middle], method="pre_denoise"
        ),
        "second_noisy": lambda: second[:, middle],
    }[self.final_target]()
    # Else Psi would also move towards what Phi makes of it.
    target = jax.lax.stop_gradient(target)
    final_loss = whole_batch.mean(self.distance(restored.frames - target))
    mse = losses.mean_squared_error(restored.frames, clean[:, middle])
    first_mse = losses.mean_squared_error(first[:, middle], clean[:, middle])
    metrics = {
        "mse": mse,
        "psnr": losses.psnr_from_mse(mse),
        "first_stage_psnr": losses.psnr_from_mse(first_mse),
        "final_loss": final_loss,
    }
    if self.first_target == "none":
      return final_loss, (model_state, metrics)
    aim = clean if self.first_target == "clean" else second
    first_loss = whole_batch.mean(jnp.sum(self.distance(first - aim), 1))
    weight = self.alpha / (1 + step // self.steps_per_epoch)
    metrics |= {"first_loss": first_loss, "first_weight": weight}
    return weight * first_loss + final_loss, (model_state, metrics)


def second_copy(key, index, clean, level):
  """Clean clips with Gaussian noise of their own level, drawn anew.

  Args:
    key: a JAX random key, of which an example's own is folded.
    index: of the examples in the source, `[B]`.
    clean: `[B, T, H, W, C]`.
    level: `[B]` standard deviations.
  """
  keys = losses.example_keys(key, index)
  noise = jax.vmap(lambda key: jax.random.normal(key, clean.shape[1:]))(keys)
  return clean + level.reshape(-1, 1, 1, 1, 1) * noise


def build(
    *,
    model,
    steps_per_epoch: int,
    degradation: dict | None = None,
    first_target: str = "clean",
    final_target: str = "clean",
    alpha: float = 1.0,
    l2: str = "mse",
) -> FirstImageThenVideo:
  """FITVNet's training; see the module's docstring for its four variants.

  Args:
    model: of two stages, such as a FITVNet.
    steps_per_epoch: the first stage's loss weighs alpha / e in epoch e.
    degradation: as for the task restoration.
    first_target: one of FIRST_TARGETS.
    final_target: one of FINAL_TARGETS.
    alpha: not in the paper, which says that it is larger without supervision.
    l2: "mse", the mean of squares, or "norm", the root of their sum.

  Raises:
    ValueError: as for the task restoration, a model without a first stage, a
      target that needs noise of zero mean where there is other noise, no
      target that would train the first stage, or what does not exist.
  """
  for name, given, allowed in (
      ("first_target", first_target, FIRST_TARGETS),
      ("final_target", final_target, FINAL_TARGETS),
      ("l2", l2, DISTANCES),
  ):
    if given not in allowed:
      raise ValueError(
          f"config.task.{name} is one of {', '.join(allowed)}, but got"
          f" {given!r}."
      )
  if steps_per_epoch < 1:
    raise ValueError(
        "config.task.steps_per_epoch needs to be at least 1, but is"
        f" {steps_per_epoch}."
    )
  if alpha < 0:
    raise ValueError(
        "config.task.alpha is the weight of an error, 0 or more, but is"
        f" {alpha}."
    )
  if not hasattr(model, "pre_denoise"):
    raise ValueError(
        f"{type(model).__name__} has no first stage to train beside the second."
        " Use the task restoration, or the model fitvnet."
    )
  if final_target.startswith("psi") and first_target == "none":
    raise ValueError(
        f"With final_target={final_target!r} the second stage follows the"
        " first, which nothing trains. Set config.task.first_target to"
        " second_noisy."
    )
  kind = None if degradation is None else degradation["name"]
  needed = [t for t in (first_target, final_target) if "second" in t]
  if needed and kind != _ZERO_MEAN:
    raise ValueError(
        f"The target {needed[0]} needs noise of zero mean, which is"
        f" {_ZERO_MEAN}, but config.task.degradation is {kind}. Take clean"
        " targets (base, jsc), or that noise."
    )
  supervised = restoration.build(model=model, degradation=degradation)
  return FirstImageThenVideo(
      supervised,
      first_target,
      final_target,
      alpha,
      steps_per_epoch,
      DISTANCES[l2],
  )
