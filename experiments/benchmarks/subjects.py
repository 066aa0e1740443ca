"""What the benchmarks run: models, their weights and inputs, a training step.

Like `measuring`, for jax, flax, optax and numpy alone.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from experiments.benchmarks import measuring
from vidrestore_jax import models, tasks
from vidrestore_jax.training import step as training

_SIGMA = 25 / 255
# (compute dtype, precision of float32 products); what the rows are called.
FORMS = {
    "float32": ("float32", "highest"),
    "tf32": ("float32", None),  # JAX's default; on a CPU the same as highest.
    "bfloat16": ("bfloat16", None),
}
# The host computes references only: it compiles fast rather than well.
QUICK = {"xla_backend_optimization_level": 0}

def padded(model, size) -> tuple[int, int]:
  """Height and width, filled up to what the model takes."""
  return tuple(-(-side // model.stride) * model.stride for side in size)


def inputs(model, size, *, batch=1, frames=None):
  """Noisy frames `[B, T, H, W, C]` in float32 and the noise map, or None."""
  frames = frames or (1 if model.recurrent else 2 * model.radius + 1)
  generator = np.random.default_rng(0)
  height, width = padded(model, size)
  # Shapes of some pixels that move by one each frame, under noise.
  coarse = generator.random((batch, 1, height // 4 + 4, width // 4 + 4, 3))
  clean = coarse.repeat(4, 2).repeat(4, 3)
  clip = np.concatenate(
      [clean[:, :, t : t + height, t : t + width] for t in range(frames)], 1
  )
  clip = clip + _SIGMA * generator.standard_normal(clip.shape)
  noise = None
  if model.noise_map:
    noise = np.full((batch, height, width, 1), _SIGMA, np.float32)
  return clip.astype(np.float32), noise


@functools.lru_cache
def weights(name: str, arguments: tuple):
  """Variables of a model as NumPy arrays; drawn, statistics too.

  By the parameters' names: to compile a model's own initialisation takes longer
  than many a row.
  """
  model = models.build(name, **dict(arguments))
  clip, noise = inputs(model, (model.stride, model.stride))
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip, noise)
  generator = np.random.default_rng(1)
  # Behind a normalisation a ReLU halves what comes; else signals are kept.
  gain = 2 if "batch_stats" in shapes else 1

  def draw(path, shape):
    if path[-1] == "kernel":
      spread = np.sqrt(gain / np.prod(shape[:-1]))
      return spread * generator.standard_normal(shape)
    if path[-1] in ("scale", "var"):
      return 0.7 + 0.6 * generator.random(shape)
    if path[-1] == "gamma":  # Of a GDN, as a square root.
      return np.sqrt(0.1) * np.eye(*shape)
    start = 1.0 if path[-1] == "beta" else 0.0
    return start + 0.1 * generator.standard_normal(shape)

  flat = traverse_util.flatten_dict(dict(shapes))
  return traverse_util.unflatten_dict(
      {path: np.float32(draw(path, leaf.shape)) for path, leaf in flat.items()}
  )


def build(name, arguments, form):
  """(model in the dtype of `form`, its variables)."""
  model = models.build(name, dtype=FORMS[form][0], **dict(arguments))
  return model, weights(name, arguments)


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
  """The task of a training step: Gaussian noise, mean squared error."""
  degradation = None
  if model.noise_map:
    degradation = {"name": "noise.gaussian", "sigma": (5 / 255, 55 / 255)}
  return tasks.build("restoration", model=model, degradation=degradation)


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
  """A compiled training step with its state, called again and again."""

  def __init__(self, model, variables, batch, form):
    tx = optax.adam(1e-3)
    self.state = training_state(model, variables, tx)
    self.batch = jax.device_put(batch)
    step = functools.partial(
        training.train_step, task=restoration(model), tx=tx, ema_decay=0.0
    )
    with precision(form):
      self.program, self.about = measuring.compile_program(
          step, self.state, self.batch, donate=0
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


