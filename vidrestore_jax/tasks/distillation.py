"""Space-time distillation: a large model teaches a small one.

Xiao et al., "Space-Time Distillation for Video Super-Resolution", CVPR 2021.
Of each frame of a clip, restored by student (S) and teacher (T) from windows
whose border is filled with the edge frame, F is what the last convolution sees,
at the size of the output:

  L = L_rec + lambda_sd L_SD + lambda_td L_TD
  L_rec = mean of sqrt(d**2 + 1e-6)
  L_SD = mean of (M_S - M_T)**2 over frames and pixels,  M = sum over c of F**2
  L_TD = mean of (C_S - C_T)**2

C is the cell of a ConvLSTM (layers/conv_lstm.py) that has run over the F of all
frames in turn, one and the same ConvLSTM for both. It is trained together with
the student, and stays as it is from the first batch on whose L_TD is below
GUARD: a ConvLSTM that puts out nothing would make any two alike.

The teacher is no parameter, so nothing can train it. What serves training alone
lies under one name, `distillation`, among the parameters (ConvLSTM, adapter)
and in the model state (teacher, whether the ConvLSTM is frozen); none of it is
released.

Any two models go together that tell `hr_features`: all of this library that
enlarge but DUF, FSRCNN and the published VESPCN, which have no map of that size
before a last convolution, and the bicubic.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidrestore_jax import models
from vidrestore_jax.layers import whole_batch
from vidrestore_jax.layers.conv_lstm import ConvLSTM
from vidrestore_jax.shapes import check_choice, check_named
from vidrestore_jax.tasks import Source, losses, restoration

GUARD = 1e-8
NORMALIZE = ("none", "l2")
_OWN = "distillation"


class Cells(nn.Module):
  """Cells of student and teacher after a clip.

  Attributes:
    conv_lstm: of both.
  """

  conv_lstm: nn.Module

  @nn.compact
  def __call__(self, student, teacher):
    """`[B, T, H, W, F]` each to the pair of cells `[B, H, W, features]`.

    Where the student has fewer or more channels than the teacher, it is given
    the teacher's number by a matrix per pixel, which is trained with it.
    """
    channels = teacher.shape[-1]
    if student.shape[-1] != channels:
      student = nn.Dense(
          channels, dtype=self.conv_lstm.dtype, name="adapter"
      )(student)
    # Next to each other, so that devices that share a batch keep their own.
    pairs = jnp.stack([student, teacher.astype(student.dtype)], 1)
    state, _ = self.conv_lstm(pairs.reshape(-1, *student.shape[1:]))
    cells = state.cell.reshape(len(student), 2, *state.cell.shape[1:])
    return cells[:, 0], cells[:, 1]


@dataclasses.dataclass(frozen=True)
class Distillation:
  """Trains a student on every frame of clips, beside its teacher.

  Attributes:
    supervised: the task of the student alone.
    teacher: a restoration model.
    lambda_sd: weight of L_SD; 0 leaves it out.
    lambda_td: weight of L_TD; 0 leaves it out.
    normalize: of M, see `energy`.
    cells: makes the cells of L_TD.
    trained: whether the ConvLSTM is trained at all.
  """

  supervised: restoration.Restoration
  teacher: object
  lambda_sd: float
  lambda_td: float
  normalize: str
  cells: Cells
  trained: bool

  train_only = (_OWN,)

  @property
  def sources(self):
    """See `vidrestore_jax.tasks`."""
    place = f"{_OWN}/teacher/{{collection}}"
    sources = [Source("teacher", self.teacher, "", place, needed=True)]
    if self.lambda_td:
      place = f"{{collection}}/{_OWN}/conv_lstm"
      module = self.cells.conv_lstm
      sources.append(
          Source("conv_lstm", module, "conv_lstm", place, needed=False)
      )
    return sources

  def init(self, key, batch):
    """Parameters and model state; the teacher's variables are zeros.

    The student's are those that its task alone would give for the key.

    Raises:
      ValueError: as for restoration, or a model that tells no `hr_features`.
    """
    params, state = self.supervised.init(key, batch)
    if _OWN in params:
      raise ValueError(
          f"{_kind(self.supervised.model)} has a part named {_OWN}, which is"
          " what distillation calls its own. Rename the model's."
      )
    _, clip, _ = self.supervised.draw(batch, key)
    window = _window(self.teacher, clip)
    teacher = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
        dict(jax.eval_shape(self.teacher.init, key, window, None)),
    )
    # Both features, by their shapes.
    variables = {"params": params, **state}
    features = [
        _features(model, jax.eval_shape(restore))
        for model, restore in (
            (
                self.supervised.model,
                lambda: self.supervised.restore(variables, clip, None)[0],
            ),
            (self.teacher, lambda: _restore(self.teacher, teacher, clip)),
        )
    ]
    own = {"teacher": teacher}
    if self.lambda_td:
      # A key that the student's own start does not know.
      key = jax.random.fold_in(key, 2**31 - 1)
      tiny = [jnp.zeros((1, 1, 1, 1, f.shape[-1])) for f in features]
      params = {**params, _OWN: self.cells.init(key, *tiny)["params"]}
      own["frozen"] = jnp.asarray(not self.trained)
    return params, {**state, _OWN: own}

  def loss(self, params, model_state, batch, key, step):
    """The loss of one batch; see the module's docstring."""
    own = model_state[_OWN]
    student = {
        "params": _without(params), **_without(model_state)
    }
    clean, degraded, level = self.supervised.draw(batch, key)
    restored, state = self.supervised.restore(student, degraded, level)
    loss, metrics = self.supervised.measure(restored, clean, step)
    metrics["reconstruction_loss"] = loss
    ours = restored.aux["hr_features"]
    theirs = jax.lax.stop_gradient(
        _restore(self.teacher, own["teacher"], degraded).aux["hr_features"]
    )
    if self.lambda_sd:
      space = space_loss(ours, theirs, self.normalize)
      loss += self.lambda_sd * space
      taught = jnp.maximum(whole_batch.mean(energy(theirs)), 1e-12)
      metrics |= {
          "space_loss": space,
          "weighted_space_loss": self.lambda_sd * space,
          # Far from 1, L_SD is about scale first: see `energy`.
          "energy_ratio": whole_batch.mean(energy(ours)) / taught,
      }
    if self.lambda_td:
      # Frozen, it has no gradient that would count in a clipped norm.
      held = jax.tree.map(
          lambda p: jnp.where(own["frozen"], jax.lax.stop_gradient(p), p),
          params[_OWN]["conv_lstm"],
      )
      cells = self.cells.apply(
          {"params": {**params[_OWN], "conv_lstm": held}}, ours, theirs
      )
      time = losses.mean_squared_error(*cells)
      loss += self.lambda_td * time
      frozen = own["frozen"] | (time < GUARD)
      own = {**own, "frozen": frozen}
      metrics |= {
          "time_loss": time,
          "weighted_time_loss": self.lambda_td * time,
          "conv_lstm_frozen": frozen.astype(jnp.float32),
      }
    return loss, ({**state, _OWN: own}, metrics)

  def mask_updates(self, updates, model_state):
    """No update of a frozen ConvLSTM: Adam moves on without a gradient."""
    if not self.lambda_td:
      return updates
    frozen = model_state[_OWN]["frozen"]
    own = dict(updates[_OWN])
    own["conv_lstm"] = jax.tree.map(
        lambda update: jnp.where(frozen, 0, update), own["conv_lstm"]
    )
    return {**updates, _OWN: own}


def energy(features, normalize: str = "none"):
  """The map M of features `[..., H, W, F]`: sums of squares, `[..., H, W]`.

  Args:
    features: of any float type; the map is float32.
    normalize: "none", as in the paper, or "l2": each map is divided by the root
      of its mean square, so that only where it is strong counts, not how much
      (as in attention transfer, arXiv:1612.03928). Without it, a student whose
      maps are many times its teacher's is first of all made to shrink them.
  """
  energy = jnp.sum(jnp.square(features.astype(jnp.float32)), -1)
  if normalize == "none":
    return energy
  mean = jnp.mean(jnp.square(energy), (-2, -1), keepdims=True)
  return energy / jnp.sqrt(mean + 1e-12)


def space_loss(student, teacher, normalize: str = "none"):
  """L_SD of features `[..., H, W, F]`; F need not be the same."""
  return losses.mean_squared_error(
      energy(student, normalize), energy(teacher, normalize)
  )


def _restore(model, variables, clip):
  """`Restored` for every frame of clips `[B, T, h, w, C]`, not in training."""
  if restoration.takes_clips(model):
    return model.apply(variables, clip, None)
  restored, _ = restoration.slide(
      lambda windows, noise: (model.apply(variables, windows, noise), None),
      clip,
      None,
      model.radius,
  )
  return restored


def _window(model, clip):
  """What a model is initialised with, of a clip."""
  if restoration.takes_clips(model):
    return clip
  return restoration.every_window(clip, model.radius)[:, 0]


def _features(model, restored):
  if "hr_features" not in restored.aux:
    raise ValueError(
        f"{_kind(model)} tells no features at the size of its output"
        f" (aux['hr_features']; it has {', '.join(restored.aux) or 'none'}), by"
        " which distillation compares teacher and student. Take a model of"
        " super-resolution, such as edvr or fastdvdnet_vsr."
    )
  return restored.aux["hr_features"]


def _without(tree):
  return {name: leaf for name, leaf in tree.items() if name != _OWN}


def _kind(model):
  return type(model).__name__


def build(
    *,
    model,
    teacher: dict,
    conv_lstm: dict,
    lambda_sd: float | None,
    lambda_td: float | None,
    normalize: str = "none",
) -> Distillation:
  """Space-time distillation; see the module's docstring.

  Args:
    model: the student.
    teacher: name and arguments of a model, and `init_from`, the released folder
      that its variables come from.
    conv_lstm: `features`, the channels of its cell; `remat`, as for the layer;
      `trained`, whether it is trained; and `init_from`, the released folder of
      a models/conv_lstm.py to start from, or "".
    lambda_sd: weight of L_SD.
    lambda_td: weight of L_TD. Either may be None in a config that leaves it to
      be measured: `python -m experiments.distillation_weights` finds weights
      that make both a tenth of L_rec. It is refused here.
    normalize: of the maps of L_SD; see `energy`.

  Raises:
    ValueError: models that do not go together, no weight above 0, or one that
      is None.
  """
  check_choice("config.task.normalize", normalize, NORMALIZE)
  weights = {"lambda_sd": lambda_sd, "lambda_td": lambda_td}
  unknown = [f"--config.task.{k}" for k, v in weights.items() if v is None]
  if unknown:
    raise ValueError(
        f"The weights of distillation depend on teacher and student, and this"
        f" config has none: give {' and '.join(unknown)}. To measure them:"
        " python -m experiments.distillation_weights with the same --config and"
        " --config.task.teacher.init_from, and with --config.init_from=FOLDER"
        " of a student that was trained alone; it prints them."
    )
  if min(lambda_sd, lambda_td) < 0 or not (lambda_sd or lambda_td):
    raise ValueError(
        "config.task.lambda_sd and lambda_td are weights of errors, 0 or more"
        f" and not both 0, but got {lambda_sd} and {lambda_td}. The student"
        " alone is trained by the task restoration."
    )
  check_named("config.task.teacher", teacher)
  arguments = {k: v for k, v in teacher.items() if k != "init_from"}
  taught = models.build(**arguments | {"dtype": model.dtype})
  for what in ("scale", "channels"):
    pair = getattr(model, what), getattr(taught, what)
    if pair[0] != pair[1]:
      raise ValueError(
          f"The student {_kind(model)} has a {what} of {pair[0]}, its teacher"
          f" {_kind(taught)} of {pair[1]}; their frames need to be alike. Take"
          " another teacher (config.task.teacher.init_from)."
      )
  if taught.noise_map:
    raise ValueError(
        f"The teacher {_kind(taught)} wants a noise map, but pairs of clips"
        " bring no noise level. Take one with noise_map=False."
    )
  arguments = dict(conv_lstm)
  arguments.pop("init_from")
  trained = arguments.pop("trained")
  supervised = restoration.build(
      model=model, error="charbonnier", windows="all"
  )
  cells = Cells(ConvLSTM(**arguments, dtype=model.dtype))
  return Distillation(
      supervised, taught, lambda_sd, lambda_td, normalize, cells, trained
  )
