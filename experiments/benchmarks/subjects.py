"""What the benchmarks run: models, their weights and inputs, a training step.

Like `measuring`, for jax, flax, optax and numpy alone.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from experiments.benchmarks import measuring
from vidrestore_jax import models, tasks
from vidrestore_jax.training import sharding
from vidrestore_jax.training import step as training

_SIGMA = 25 / 255
# (compute dtype, precision of float32 products); what the rows are called.
FORMS = {
    "float32": ("float32", "highest"),
    "tf32": ("float32", None),  # JAX's default; on a CPU the same as highest.
    "bfloat16": ("bfloat16", None),
}
# How far outputs may be apart; beside PyTorch in units of the largest value,
# where that is above 1.
BOUNDS = {"float32": 1e-4, "tf32": 2e-2, "bfloat16": 1e-1}
# Bounds of a relative error behind a quantiser: a symbol in a thousand that
# falls to the other side is 3 % of the latent.
ROUNDED = {"float32": 5e-2, "tf32": 2e-1, "bfloat16": 3e-1}
# The host computes references only: it compiles fast rather than well.
QUICK = {"xla_backend_optimization_level": 0}


class _Part(dict):
  """Arguments of a part of a model, that a cache can tell apart."""

  def __hash__(self):
    return hash(tuple(self.items()))


# Variants of models that are compared as well as the models' defaults, and what
# a model is not built without: (name, arguments).
VARIANTS = {
    "ncfl_noq": ("ncfl", (("feature_refiner", "noq"),)),
    "ncfl_literal": (
        "ncfl", (("preset", "literal"), ("feature_refiner", "noq"))
    ),
    "ncfl_raw": (  # The W-Net.
        "ncfl",
        (
            ("channels", 4), ("restoration", "wnet"),
            ("feature_refiner", "noq"),
        ),
    ),
    "ncfl_clean_noq": ("ncfl_clean", (("feature_refiner", "noq"),)),
    "basicvsr_online": ("basicvsr", (("online", True),)),
    "basicvsrpp_restoring": (
        "basicvsrpp", (("low_resolution", False),)
    ),
    "noise2noise_original": ("noise2noise", (("preset", "original"),)),
    "noise2noise_pytorch": ("noise2noise", (("preset", "pytorch"),)),
    "vespcn_compact": ("vespcn", (("preset", "compact"),)),
    "vespcn_std_scale": ("vespcn", (("preset", "std_scale"),)),
    "vsrnet_std_scale": ("vsrnet", (("preset", "std_scale"),)),
    "pisr": (
        "pisr", (("decoder", _Part({"name": "fsrcnn"})),)
    ),
}
_TINY_SPYNET = _Part({"levels": 3, "widths": (4, 4), "kernel": 3})
# Arguments that make them small, to try a benchmark with.
TINY = {
    "bicubic": (),
    "conv_lstm": (("embedding", 4), ("hidden", 6)),
    "basicvsr": (("width", 4), ("blocks", 1), ("motion", _TINY_SPYNET)),
    "basicvsrpp": (("width", 8), ("blocks", 1), ("motion", _TINY_SPYNET)),
    "dncnn": (("width", 6), ("depth", 4)),
    "duf": (("layers", 16),),
    "edvr": (
        ("width", 8), ("extraction_blocks", 1), ("reconstruction_blocks", 1),
        ("deformable_groups", 2), ("frames", 3),
    ),
    "fastdvdnet": (("widths", (4, 8, 8)), ("interm", 4)),
    "fastdvdnet_vsr": (
        ("widths", (4, 8, 8)), ("interm", 4), ("hr_channels", 8)
    ),
    "fitvnet": (
        ("image", _Part({"width": 4, "output_widths": (4, 4)})),
        ("video", _Part({"widths": (4, 8, 8), "interm": 4})),
    ),
    "fsrcnn": (("width", 8), ("shrunk", 4), ("depth", 1)),
    "ncfl": (
        ("feature_channels", 4), ("widths", (4, 4, 4)),
        ("attention_widths", (4, 4, 4)), ("attention_blocks", 1),
        ("attention_middle_blocks", 1), ("motion_channels", 4),
        ("hidden_channels", 4), ("latent_channels", 4),
        ("prior_channels", (4, 4)), ("reduction", 2),
        ("motion", _TINY_SPYNET),
    ),
    "ncfl_clean": (
        ("feature_channels", 4), ("hidden_channels", 4),
        ("latent_channels", 4), ("prior_channels", (4, 4)),
    ),
    "noise2noise": (("width", 4), ("output_widths", (4, 6))),
    "pisr": (("width", 8), ("shrunk", 4)),
    "spynet": (("levels", 3), ("widths", (4, 4)), ("kernel", 3)),
    "toflow": (("width", 4), ("flow_widths", (4, 4))),
    "vdsr": (("width", 6), ("depth", 4)),
    "vespcn": (("width", 6), ("depth", 3)),
    "vsrnet": (("width", 6), ("depth", 4)),
}
# How large signals get with weights drawn at random, where it matters: offsets
# and flows of some pixels, and deep chains of residual blocks. A pattern of the
# kernel's path and the variance it keeps; the first that fits.
_GAINS = (
    (r"conv_offset/", 0.1),
    (r"(coarse|fine)_4/", 2e-3),
    (r"(block|reconstruction|feature_extraction)_\d+/conv_1/", 0.02),
)
_FLOW_GAIN = 0.05  # Of what makes two channels.


def case(label: str, tiny: bool = False):
  """(name, arguments) of a model, or of a variant of one."""
  name, arguments = VARIANTS.get(label, (label, ()))
  return name, (*TINY[name], *arguments) if tiny else arguments


def programs(model) -> tuple[str, ...]:
  """What of a model can be run: see `beside_torch.PROGRAMS`."""
  if not model.restores:
    return ("flow",)
  if model.recurrent:
    return ("stream",)
  if model.radius is None:
    return ("clip",)
  cascade = len(getattr(model, "stages", ())) > 1
  return ("window", "stream") if cascade else ("window",)


def padded(model, size) -> tuple[int, int]:
  """Height and width, filled up to what the model takes."""
  return tuple(-(-side // model.stride) * model.stride for side in size)


def inputs(model, size, *, batch=1, frames=None):
  """Noisy frames `[B, T, H, W, C]` in float32 and the noise map, or None."""
  if frames is None:
    frames = 1 if model.recurrent else 2 * model.radius + 1
  generator = np.random.default_rng(0)
  height, width = padded(model, size)
  # Shapes of some pixels that move by one each frame, to and fro, under noise.
  channels = getattr(model, "channels", 3)
  coarse = generator.random(
      (batch, 1, height // 4 + 4, width // 4 + 4, channels)
  )
  clean = coarse.repeat(4, 2).repeat(4, 3)
  shifts = [min(t % 32, 32 - t % 32) for t in range(frames)]
  clip = np.concatenate(
      [clean[:, :, t : t + height, t : t + width] for t in shifts], 1
  )
  clip = clip + _SIGMA * generator.standard_normal(clip.shape)
  noise = None
  if getattr(model, "noise_map", False):
    noise = np.full((batch, height, width, 1), _SIGMA, np.float32)
  return clip.astype(np.float32), noise


@functools.lru_cache
def weights(name: str, arguments: tuple):
  """Variables of a model as NumPy arrays; drawn, statistics too.

  By the parameters' names: to compile a model's own initialisation takes longer
  than many a row.
  """
  model = models.build(name, **dict(arguments))
  least = (model.stride, model.stride)
  if model.restores:
    whole = model.recurrent or model.radius is None
    args = inputs(model, least, frames=2 if whole else None)
  else:  # A flow's pair of frames.
    args = inputs(model, least, frames=2)[0].swapaxes(0, 1)
  shapes = jax.eval_shape(model.init, jax.random.key(0), *args)
  generator = np.random.default_rng(1)
  # A ReLU halves what comes; recurrent models have few.
  usual = 1 if model.recurrent else 2

  def draw(path, shape):
    if path[-1] == "kernel":
      text = "/".join(path)
      gain = next((g for p, g in _GAINS if re.search(p, text)), usual)
      if shape[-1] == 2:
        gain = _FLOW_GAIN
      spread = np.sqrt(gain / np.prod(shape[:-1]))
      return spread * generator.standard_normal(shape)
    if path[-1] in ("scale", "var"):
      return 0.7 + 0.6 * generator.random(shape)
    if path[-1] == "gamma":  # Of a GDN, as a square root.
      mixed = 0.05 * generator.standard_normal(shape)
      return np.sqrt(0.1) * np.eye(*shape) + mixed
    start = {"beta": 1.0, "negative_slope": 0.25}.get(path[-1], 0.0)
    return start + 0.1 * generator.standard_normal(shape)

  flat = traverse_util.flatten_dict(dict(shapes))
  return traverse_util.unflatten_dict(
      {path: np.float32(draw(path, leaf.shape)) for path, leaf in flat.items()}
  )


def build(name, arguments, form):
  """(model in the dtype of `form`, its variables)."""
  model = models.build(name, dtype=FORMS[form][0], **dict(arguments))
  return model, weights(name, arguments)


def exact(name, arguments):
  """The arguments with the quantiser off, where the model has one.

  Two programs round to different sides, after which nothing is the same.
  """
  if not rounds(models.build(name, **dict(arguments))):
    return arguments
  return (*arguments, ("feature_refiner", "noq"))


def rounds(model) -> bool:
  """Whether the model has a quantiser."""
  part = getattr(model, "compression", None)
  return part is not None and part.quantize


def precision(form):
  """The context in which `form` is traced."""
  return jax.default_matmul_precision(FORMS[form][1])


def run_on(device, form, function, *args):
  """The result of `function(*args)` on the device, as NumPy arrays."""
  args = jax.device_put(args, device)
  options = QUICK if device.platform == "cpu" else None
  with precision(form):
    call = jax.jit(function, compiler_options=options)
    return jax.device_get(call(*args))


def restored(model, variables, window, noise):
  """The frame that a windowed model makes."""
  return model.apply(variables, window, noise).frames


def added(device, form, model, variables, clip, noise):
  """What a model adds to the frames that it restores, `[B, T, H, W, C]`.

  A recurrent model is run step by step, so that one step is compiled.
  """
  if not model.recurrent:
    middle = clip[:, model.radius]
    call = functools.partial(restored, model)
    return run_on(device, form, call, variables, clip, noise) - middle
  state = jax.device_get(model.init_state(clip[:, 0]))
  variables, clip, noise = jax.device_put((variables, clip, noise), device)
  options = QUICK if device.platform == "cpu" else None
  found = []
  with precision(form):
    step = jax.jit(
        functools.partial(step_of, model), compiler_options=options
    )
    for t in range(clip.shape[1]):
      state, frame = step(variables, state, clip[:, t], noise)
      found.append(jax.device_get(frame - clip[:, t]))
  return np.stack(found, 1)


def step_of(model, variables, state, frame, noise):
  """One step of a recurrent model: (state, frame)."""
  state, found = model.apply(variables, state, frame, noise, method="step")
  return state, found.frames


def restoration(model):
  """The task of a training step: Gaussian noise, mean squared error.

  And the rate, where features are compressed: NCFL's first stage.
  """
  degradation = None
  if model.noise_map:
    degradation = {"name": "noise.gaussian", "sigma": (5 / 255, 55 / 255)}
  return tasks.build(
      "restoration", model=model, degradation=degradation,
      rate_weight=1 / 2048, rate_steps=50_000,
  )


def loss_and_gradients(model, variables, clip, noise, clean):
  """What a training step computes before its update, of given noise."""
  task = restoration(model)
  rest = {k: v for k, v in variables.items() if k != "params"}

  def loss(params):
    level = None if noise is None else noise[:, 0, 0, 0]
    found, _ = task.restore({"params": params, **rest}, clip, level)
    return task.measure(found, clean, 0)[0]

  return jax.value_and_grad(loss)(variables["params"])


def training_state(model, variables, tx):
  """A `TrainState` of given variables."""
  variables = jax.tree.map(jnp.array, variables)
  params = variables["params"]
  return training.TrainState(
      step=jnp.zeros((), jnp.int32),
      seed=jnp.zeros((), jnp.uint32),
      params=params,
      ema={},
      model_state={k: v for k, v in variables.items() if k != "params"},
      ema_state={},
      opt_state=tx.init(params),
  )


class Stepping:
  """A compiled training step with its state, called again and again.

  On the first device, or those of `mesh`; then the batch is this process's
  share.
  """

  def __init__(self, model, variables, batch, form, mesh=None, count=True):
    if mesh is None:
      mesh = sharding.data_mesh(len(batch["index"]), jax.devices()[:1])
    self.devices = mesh.size
    tx = optax.adam(1e-3)
    state = training_state(model, variables, tx)
    self.state = sharding.replicate(state, mesh)
    self.batch = sharding.to_devices(batch, mesh)
    step = functools.partial(
        training.train_step, task=restoration(model), tx=tx, ema_decay=0.0
    )
    with precision(form):
      self.program, self.about = measuring.compile_program(
          sharding.jit_step(step, mesh), self.state, self.batch, count=count
      )

  def __call__(self):
    self.state, metrics = self.program(self.state, self.batch)
    jax.block_until_ready((self.state, metrics))
    return metrics


def training_batch(model, batch, side, frames=5):
  """Clean 8-bit clips as the pipeline hands them on."""
  clip, _ = inputs(model, (side, side), batch=batch, frames=frames)
  clip = np.uint8(clip.clip(0, 1) * 255)
  return {
      "clean": clip,
      "max_value": np.full(batch, 255, np.float32),
      "index": np.arange(batch),
  }


def peak_bytes() -> dict:
  """The most that JAX has held on the device since this process began."""
  stats = jax.local_devices()[0].memory_stats() or {}
  peak = stats.get("peak_bytes_in_use")
  return {} if peak is None else {"process_peak_bytes": peak}


def rate(macs: int, seconds: float) -> float:
  """TFLOP/s, a multiply and an add counted as two."""
  return 2 * macs / seconds / 1e12


