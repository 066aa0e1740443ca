"""Is an accelerator right, and how fast is it beside PyTorch? One JSON file.

  python -m experiments.benchmarks.accelerator --json=OUT [--budget=240] \\
      [--only=PART[,PART...]] [--repeats=15] [--small] [--notorch] [--nocompile]

Needs jax, flax, optax, numpy and, to have something to compare with, torch.
Parts, in this order; each row is written to OUT as soon as it is there:

  forward    FastDVDnet (released and half width), NCFL's compression module and
             NCFL on the accelerator against the host's CPU: float32 at the
             highest precision, at JAX's default (TF32 on NVIDIA), bfloat16;
             the error is that of what the model adds to the frames
  speed      FastDVDnet at 854x480 beside its PyTorch twin with the same weights
             (eager and channels last; cudnn.benchmark), windowed and as a
             stream, and the matrix product that the card reaches at most
  training   a training step of FastDVDnet (batch 16 of 5 frames, 96x96, Adam,
             noise drawn on the device) beside the same step in PyTorch
  ncfl       NCFL's step at 960x540, its frames a second and compile time
  layers     the layers with formulations of their own, forward and gradient, on
             the accelerator against the CPU
  gradient   gradients of a training step likewise
  growth     FastDVDnet's step by batch, its window at 960x540
  compiled   torch.compile's form of speed and training, slow to start
  davis      NCFL's step of training on 16 clips of 5 frames, 128x128

Errors are |found - wanted| / |wanted| unless said otherwise. Weights are drawn
at random, BatchNorm's statistics too. The two sides' outputs are compared first
(float32 without TF32: at most 1e-4 apart, in units of the largest value where
that is above 1); then they take turns, and every timed call is waited for.
`first_s` is a side's first call, with PyTorch's compilation in it; `trace_s`
and `compile_s` are JAX's. Quantisation rounds, which two devices may do to
different sides: its rows have bounds of their own.

--budget is in seconds; rows that it leaves no time for are named as skipped.
--small is a run of tiny shapes to try the script with. The exit status is 1
where a row failed.
"""

import os

# PyTorch shares the card: JAX must not take most of its memory at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import argparse
import contextlib
import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from experiments import commands, tracing
from experiments.benchmarks import measuring
from vidrestore_jax import models, tasks
from vidrestore_jax.layers import (
    conv_lstm,
    convolution,
    deformable_convolution,
    gdn,
    warp,
)
from vidrestore_jax.shapes import check_choice
from vidrestore_jax.training import step as training

_SIGMA = 25 / 255
# (compute dtype, precision of float32 products); what the rows are called.
FORMS = {
    "float32": ("float32", "highest"),
    "tf32": ("float32", None),  # JAX's default; on a CPU the same as highest.
    "bfloat16": ("bfloat16", None),
}
# The host computes references only: it compiles fast rather than well.
_QUICK = {"xla_backend_optimization_level": 0}
# Bounds of a forward pass, by form.
_BOUNDS = {"float32": 1e-4, "tf32": 2e-2, "bfloat16": 5e-2}
# Of a forward pass with a quantiser: a symbol in a thousand that falls to the
# other side is 3 % of the latent.
_ROUNDED = {"float32": 2e-2, "tf32": 1e-1, "bfloat16": 3e-1}


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Shapes of a run: those that are asked about, or tiny ones."""

  check: tuple[int, int] = (128, 128)  # Height and width.
  frame: tuple[int, int] = (480, 854)
  large: tuple[int, int] = (540, 960)
  patch: int = 96
  batch: int = 16
  growth: tuple[int, ...] = (4, 8, 32, 64)
  product: int = 8192
  fastdvdnet: tuple = ()  # Arguments of the models, as items.
  half: tuple = (("widths", (16, 32, 64)),)
  ncfl: tuple = ()
  davis: tuple[int, int] = (16, 128)  # Batch, side.


_TINY = (("widths", (4, 8, 8)), ("interm", 4))
SMALL = Sizes(
    check=(32, 32),
    frame=(32, 46),
    large=(32, 32),
    patch=32,
    batch=2,
    growth=(4,),
    product=64,
    fastdvdnet=_TINY,
    half=(("widths", (4, 4, 8)), ("interm", 2)),
    ncfl=(
        ("feature_channels", 4),
        ("widths", (4, 4, 4)),
        ("attention_widths", (4, 4, 4)),
        ("attention_blocks", 1),
        ("attention_middle_blocks", 1),
        ("motion_channels", 4),
        ("hidden_channels", 4),
        ("latent_channels", 4),
        ("prior_channels", (4, 4)),
        ("reduction", 2),
    ),
    davis=(2, 32),
)


# What is measured


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
  options = _QUICK if device.platform == "cpu" else None
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
  options = _QUICK if device.platform == "cpu" else None
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
  stats = jax.devices()[0].memory_stats() or {}
  peak = stats.get("peak_bytes_in_use")
  return {} if peak is None else {"process_peak_bytes": peak}


def rate(macs: int, seconds: float) -> float:
  """TFLOP/s, a multiply and an add counted as two."""
  return 2 * macs / seconds / 1e12


# The parts


def layer_cases():
  """{name: (module or function, inputs)} of what has a form of its own."""
  generator = np.random.default_rng(2)

  def draw(*shape):
    return generator.standard_normal(shape).astype(np.float32)

  x = draw(2, 24, 32, 12)
  # No position is whole: there, a look-up's gradient jumps.
  flow = np.float32(np.round(3 * draw(2, 24, 32, 2)) + 0.3)
  offsets = np.float32(np.round(2 * draw(2, 24, 32, 2 * 9 * 2)) + 0.3)
  mask = np.float32(generator.random((2, 24, 32, 2 * 9)))
  wide = {
      f"convolution.{layer.__name__}": (layer(24), (x,))
      for layer in (
          convolution.Conv,
          convolution.SubPixelConv,
          convolution.TransposedConv,
      )
  }
  return wide | {
      "convolution.GroupedConv": (
          convolution.GroupedConv(24, groups=3, stride=2), (x,)
      ),
      "convolution.WideTransposedConv": (
          convolution.WideTransposedConv(8, kernel=9, stride=4), (x,)
      ),
      "convolution.SpaceTimeConv": (
          convolution.SpaceTimeConv(8), (draw(1, 4, 24, 32, 6),)
      ),
      "gdn.GDN": (gdn.GDN(), (x,)),
      "gdn.GDN inverse": (gdn.GDN(inverse=True), (x,)),
      "conv_lstm.ConvLSTM": (
          conv_lstm.ConvLSTM(8), (draw(1, 4, 24, 32, 6),)
      ),
      "warp.backward_warp": (warp.backward_warp, (x, flow)),
      "deformable_convolution.deformable_conv": (
          deformable_convolution.deformable_conv,
          (x, offsets, mask, 0.1 * draw(3, 3, 12, 16), draw(16)),
      ),
  }


def layers(report, sizes):
  """Each layer's output and gradients against the CPU's."""
  del sizes
  host, device = jax.devices("cpu")[0], jax.devices()[0]
  for name, (layer, args) in layer_cases().items():

    def both(layer, args):
      if hasattr(layer, "init"):
        with jax.default_device(host):
          init = jax.jit(layer.init, compiler_options=_QUICK)
          variables = init(jax.random.key(0), *args)
        args = (jax.device_get(variables), *args)
        function = layer.apply
      else:
        function = layer

      def outputs(*args):
        y, pull = jax.vjp(function, *args)
        # A cotangent that differs from place to place.
        return y, pull(jax.tree.map(jnp.cos, y))

      wanted = run_on(host, "float32", outputs, *args)
      found = run_on(device, "float32", outputs, *args)
      return dict(zip(("forward", "gradient"), zip(found, wanted)))

    pairs = None
    for kind in ("forward", "gradient"):

      def row(kind=kind, layer=layer, args=args):
        nonlocal pairs
        pairs = pairs or both(layer, args)
        return measuring.check(
            measuring.relative(*pairs[kind]), 1e-5, dtype="float32"
        )

      report.row(f"layers/{name} {kind}", row)


def forward(report, sizes):
  """Whole models against the CPU's float32."""
  host, device = jax.devices("cpu")[0], jax.devices()[0]
  ncfl = dict(sizes.ncfl)
  module = tuple(
      (key, ncfl[key])
      for key in (
          "feature_channels", "hidden_channels", "latent_channels",
          "prior_channels",
      )
      if key in ncfl
  )

  def noq(arguments):
    return (*arguments, ("feature_refiner", "noq"))

  # Name, model, arguments, frames, whether it rounds.
  cases = [
      ("fastdvdnet", "fastdvdnet", sizes.fastdvdnet, None, False),
      ("fastdvdnet half", "fastdvdnet", sizes.half, None, False),
      ("ncfl_clean noq", "ncfl_clean", noq(module), 1, False),
      ("ncfl_clean", "ncfl_clean", module, 1, True),
      ("ncfl noq", "ncfl", noq(sizes.ncfl), 3, False),
      ("ncfl", "ncfl", sizes.ncfl, 3, True),
  ]
  for title, name, arguments, frames, rounds in cases:
    wanted = None
    for form in FORMS:

      def row(
          name=name, arguments=arguments, frames=frames, form=form,
          rounds=rounds,
      ):
        nonlocal wanted
        model, variables = build(name, arguments, form)
        clip, noise = inputs(model, sizes.check, frames=frames)
        if wanted is None:
          exact, _ = build(name, arguments, "float32")
          wanted = added(host, "float32", exact, variables, clip, noise)
        found = added(device, form, model, variables, clip, noise)
        return measuring.check(
            measuring.relative(found, wanted),
            (_ROUNDED if rounds else _BOUNDS)[form],
            dtype=FORMS[form][0],
            psnr=measuring.psnr(found, wanted),
            largest=measuring.largest(found, wanted),
            shape=list(clip.shape),
        )

      report.row(f"forward/{title} {form}", row)


def product(report, sizes):
  """The rate of a large matrix product: what the card reaches at most."""
  for form in FORMS:

    def row(form=form):
      generator = np.random.default_rng(0)
      side = sizes.product
      draw = functools.partial(generator.standard_normal, (side, side))
      a, b = (jnp.asarray(draw(), FORMS[form][0]) for _ in range(2))
      with precision(form):
        program, about = measuring.compile_program(jnp.matmul, a, b)
      call = functools.partial(_waited, program, a, b)
      times = measuring.alternate({"jax": call}, 10)
      seconds = times["jax"]["median_s"]
      return {
          "sides": times, "side": side, "tflops": rate(side**3, seconds),
          **about,
      }

    report.row(f"speed/matrix product {form}", row)


def _waited(program, *args):
  return jax.block_until_ready(program(*args))


class Torch:
  """PyTorch's forms of FastDVDnet on the device that JAX runs on."""

  def __init__(self):
    import torch

    from experiments.benchmarks import torch_twins

    self.torch, self.twins = torch, torch_twins
    gpu = jax.default_backend() == "gpu"
    self.device = torch.device("cuda" if gpu else "cpu")
    torch.backends.cudnn.benchmark = True

  def model(self, arguments, variables, form, torch_form, train=False):
    """The twin with these weights, laid out, cast and compiled as asked."""
    twin = self.twins.FastDVDnet(**dict(arguments)).train(train)
    twin = self.twins.load(twin, variables).to(self.device)
    if form == "bfloat16" and not train:
      twin = twin.to(self.torch.bfloat16)
    if torch_form != "eager":
      twin = twin.to(memory_format=self.torch.channels_last)
    return twin

  def compiled(self, function, torch_form):
    """The function itself, or torch.compile's form of it."""
    if torch_form != "compile":
      return function
    return self.torch.compile(function)

  def tensor(self, array, form, torch_form, train=False):
    """An array as the twin in this form takes it."""
    half = form == "bfloat16" and not train
    return self.twins.tensor(
        array, self.device,
        dtype=self.torch.bfloat16 if half else self.torch.float32,
        channels_last=torch_form != "eager",
    )

  def waited(self, function, *args):
    """The result of a call without gradients, waited for."""
    with self.torch.inference_mode():
      found = function(*args)
      self.twins.wait(self.device)
    return found

  @contextlib.contextmanager
  def row(self, form):
    """Precision of a row, and no memory of the one before."""
    with self.twins.tf32(form != "float32"):
      yield
    if self.device.type == "cuda":
      self.torch.cuda.empty_cache()
      self.torch.cuda.reset_peak_memory_stats()

  def peak(self) -> dict:
    """The most that PyTorch held on the device in this row."""
    if self.device.type != "cuda":
      return {}
    return {"torch_peak_bytes": self.torch.cuda.max_memory_allocated()}

  def training(self, arguments, variables, batch, form, torch_form):
    """(call of one training step, seconds are its caller's to take)."""
    torch = self.torch
    twin = self.model(arguments, variables, form, torch_form, train=True)
    clean = self.tensor(batch["clean"] / 255, form, torch_form, train=True)
    optimizer = torch.optim.Adam(twin.parameters(), 1e-3)
    autocast = torch.autocast(
        self.device.type, torch.bfloat16, enabled=form == "bfloat16"
    )
    apply = self.compiled(twin, torch_form)
    shape = (clean.shape[0], 1, 1, 1)

    def step():
      low, high = 5 / 255, 55 / 255
      level = low + (high - low) * torch.rand(shape, device=self.device)
      noise = level.expand(-1, 1, *clean.shape[-2:])
      noisy = clean + level[:, None] * torch.randn_like(clean)
      optimizer.zero_grad(set_to_none=True)
      with autocast:
        found = apply(noisy, noise)
      loss = torch.square(found.float() - clean[:, 2]).mean()
      loss.backward()
      optimizer.step()
      self.twins.wait(self.device)
      return loss

    return step

  def gradients(self, arguments, variables, clip, noise, clean):
    """(loss, gradients by name) of given noise, in float32."""
    twin = self.model(arguments, variables, "float32", "eager", train=True)
    put = functools.partial(
        self.tensor, form="float32", torch_form="eager", train=True
    )
    found = twin(put(clip), put(noise))
    loss = self.torch.square(found - put(clean)[:, 2]).mean()
    loss.backward()
    named = twin.named_parameters()
    return loss.item(), {k: p.grad.cpu().numpy() for k, p in named}


def windows(report, sizes, peer, size, forms, torch_forms, part):
  """A window of FastDVDnet, beside PyTorch's forms of it."""
  for form in forms:

    def row(form=form):
      model, variables = build("fastdvdnet", sizes.fastdvdnet, form)
      clip, noise = inputs(model, size)
      call = functools.partial(restored, model)
      macs = tracing.count_macs(call, variables, clip, noise).total()
      args = jax.device_put((variables, clip, noise))
      with precision(form):
        program, about = measuring.compile_program(call, *args)
      sides = {"jax": functools.partial(_waited, program, *args)}
      ours = np.asarray(sides["jax"]())
      errors = {}
      with peer.row(form) if peer else contextlib.nullcontext():
        for name in torch_forms if peer else ():
          twin = peer.model(sizes.fastdvdnet, variables, form, name)
          tensors = [peer.tensor(x, form, name) for x in (clip, noise)]
          twin = peer.compiled(twin, name)
          side = functools.partial(peer.waited, twin, *tensors)
          errors[name] = measuring.largest(peer.twins.array(side()), ours)
          sides[f"torch {name}"] = side
        times = measuring.alternate(sides, report.repeats)
        peak = peer.peak() if peer else {}
      seconds = times["jax"]["median_s"]
      bound = {"float32": 1e-4, "tf32": 2e-2, "bfloat16": 1e-1}[form]
      return {
          **_compared(times, errors, bound),
          "tflops": rate(macs, seconds), "macs": macs,
          "frames_per_second": 1 / seconds, "size": list(size),
          "shape": list(clip.shape), "threads": _threads(peer),
          **about, **peak, **peak_bytes(),
      }

    label = f"{size[1]}x{size[0]}"
    report.row(f"{part}/fastdvdnet window {label} {form}", row)


def _threads(peer):
  """PyTorch's threads on the host; XLA takes the processors it may use."""
  return {
      "torch": peer.torch.get_num_threads() if peer else None,
      "processors": len(os.sched_getaffinity(0)),
  }


def _compared(times, errors, bound):
  """Sides, the largest error between them, and how many times ours is as fast.

  `ratio` is the best other median over ours: above 1, ours is faster.
  """
  found = {"sides": times}
  others = [times[side]["median_s"] for side in times if side != "jax"]
  if others:
    found["ratio"] = min(others) / times["jax"]["median_s"]
  if errors:
    found |= measuring.check(max(errors.values()), bound, errors=errors)
  return found


def streams(report, sizes, peer, size, forms, torch_forms, part):
  """FastDVDnet as a stream: each stage once for each frame."""
  for form in forms:

    def row(form=form):
      model, variables = build("fastdvdnet", sizes.fastdvdnet, form)
      clip, noise = inputs(model, size)

      def step(variables, frames, made, noise):
        def stage(index, window):
          return model.apply(variables, index, window, noise, method="stage")

        newest = stage(0, frames)
        window = jnp.concatenate([made, newest[:, None]], 1)
        return stage(1, window), newest

      # The first stage's results before are any frames here.
      frames, made = clip[:, 2:], clip[:, :2]
      macs = tracing.count_macs(
          step, variables, frames, made, noise
      ).total()
      args = jax.device_put((variables, frames, made, noise))
      with precision(form):
        program, about = measuring.compile_program(step, *args)
      sides = {"jax": functools.partial(_waited, program, *args)}
      ours = np.asarray(sides["jax"]()[0])
      errors = {}
      with peer.row(form) if peer else contextlib.nullcontext():
        for name in torch_forms if peer else ():
          twin = peer.model(sizes.fastdvdnet, variables, form, name)
          put = functools.partial(peer.tensor, form=form, torch_form=name)
          tensors = (put(frames).unbind(1), put(made).unbind(1), put(noise))
          twin_step = peer.compiled(twin.step, name)
          side = functools.partial(peer.waited, twin_step, *tensors)
          errors[name] = measuring.largest(peer.twins.array(side()[0]), ours)
          sides[f"torch {name}"] = side
        times = measuring.alternate(sides, report.repeats)
      seconds = times["jax"]["median_s"]
      bound = {"float32": 1e-4, "tf32": 2e-2, "bfloat16": 1e-1}[form]
      return {
          **_compared(times, errors, bound),
          "tflops": rate(macs, seconds), "macs": macs,
          "frames_per_second": 1 / seconds, "size": list(size), **about,
      }

    label = f"{size[1]}x{size[0]}"
    report.row(f"{part}/fastdvdnet stream {label} {form}", row)


def speed(report, sizes, peer):
  """Windows and streams beside PyTorch without its compiler."""
  torch_forms = ("eager", "channels_last")
  windows(report, sizes, peer, sizes.frame, FORMS, torch_forms, "speed")
  streams(
      report, sizes, peer, sizes.frame, ("tf32", "bfloat16"), torch_forms,
      "speed",
  )
  product(report, sizes)


def train(
    report, sizes, peer, forms=FORMS, torch_forms=("eager", "channels_last"),
    part="training",
):
  """The training step beside PyTorch's, after their gradients agree."""

  def same():
    model, variables = build("fastdvdnet", sizes.fastdvdnet, "float32")
    clip, noise = inputs(model, (sizes.patch,) * 2, batch=2)
    clean = clip.clip(0, 1)
    call = functools.partial(loss_and_gradients, model)
    loss, ours = run_on(
        jax.devices()[0], "float32", call, variables, clip, noise, clean
    )
    with peer.row("float32"):
      other, theirs = peer.gradients(
          sizes.fastdvdnet, variables, clip, noise, clean
      )
    twin = peer.twins.FastDVDnet(**dict(sizes.fastdvdnet))
    ours = {
        key: value.numpy()
        for key, value in peer.twins.to_state(twin, {"params": ours}).items()
    }
    return measuring.check(
        measuring.relative(ours, theirs), 2e-2,
        loss_error=abs(float(loss) / other - 1),
    )

  if peer and part == "training":
    report.row("training/gradients, jax and torch, float32", same)
  for form in forms:

    def row(form=form):
      model, variables = build("fastdvdnet", sizes.fastdvdnet, form)
      batch = training_batch(model, sizes.batch, sizes.patch)
      step = Stepping(model, variables, batch, form)
      sides = {"jax": step}
      with peer.row(form) if peer else contextlib.nullcontext():
        for name in torch_forms if peer else ():
          sides[f"torch {name}"] = peer.training(
              sizes.fastdvdnet, variables, batch, form, name
          )
        times = measuring.alternate(sides, report.repeats)
        peak = peer.peak() if peer else {}
      return {
          **_compared(times, {}, None), "shape": list(batch["clean"].shape),
          "clips_per_second": sizes.batch / times["jax"]["median_s"],
          "threads": _threads(peer),
          **step.about, **peak, **peak_bytes(),
      }

    report.row(f"{part}/fastdvdnet step {form}", row)


def gradient(report, sizes):
  """A training step's gradients against the CPU's."""
  host, device = jax.devices("cpu")[0], jax.devices()[0]
  cases = {
      "fastdvdnet": ("fastdvdnet", sizes.fastdvdnet, 5),
      "ncfl noq": ("ncfl", (*sizes.ncfl, ("feature_refiner", "noq")), 2),
  }
  for title, (name, arguments, frames) in cases.items():
    wanted = None
    for form in FORMS if name == "fastdvdnet" else ("float32",):

      def row(name=name, arguments=arguments, frames=frames, form=form):
        nonlocal wanted
        model, variables = build(name, arguments, form)
        clip, noise = inputs(model, (64, 64), batch=2, frames=frames)
        args = (variables, clip, noise, clip.clip(0, 1))
        if wanted is None:
          exact, _ = build(name, arguments, "float32")
          call = functools.partial(loss_and_gradients, exact)
          wanted = run_on(host, "float32", call, *args)
        call = functools.partial(loss_and_gradients, model)
        found = run_on(device, form, call, *args)
        error = measuring.relative(found[1], wanted[1])
        loss_error = abs(float(found[0] / wanted[0]) - 1)
        more = dict(
            dtype=FORMS[form][0], loss_error=loss_error, gradient_error=error
        )
        if form == "float32":
          # Four times what float32 is from float64 in PyTorch, half width.
          return measuring.check(error, 2e-2, **more)
        # Rounding makes some ReLU of each layer choose otherwise, so that a
        # gradient of random weights is told, not bounded; the loss is.
        return measuring.check(loss_error, 1e-2, **more)

      report.row(f"gradient/{title} {form}", row)


def ncfl(report, sizes):
  """NCFL frame by frame, the state carried on the device."""
  for form in ("bfloat16", "tf32"):

    def row(form=form):
      model, variables = build("ncfl", sizes.ncfl, form)
      clip, noise = inputs(model, sizes.large)
      call = functools.partial(step_of, model)
      frame = clip[:, 0]
      state = model.init_state(jnp.asarray(frame))
      macs = tracing.count_macs(
          call, variables, state, frame, noise
      ).total()
      args = jax.device_put((variables, state, frame, noise))
      variables, state, frame, noise = args
      with precision(form):
        program, about = measuring.compile_program(call, *args)

      def carried():
        nonlocal state
        state, found = program(variables, state, frame, noise)
        return jax.block_until_ready(found)

      def ten():
        """Waited for once: as a stream runs."""
        nonlocal state
        for _ in range(10):
          state, found = program(variables, state, frame, noise)
        return jax.block_until_ready(found)

      times = measuring.alternate(
          {"jax": carried, "jax, ten frames": ten}, report.repeats
      )
      seconds = times["jax, ten frames"]["median_s"] / 10
      return {
          "sides": times, "frames_per_second": 1 / seconds,
          "tflops": rate(macs, seconds), "macs": macs,
          "size": list(sizes.large), "shape": list(frame.shape), **about,
          **peak_bytes(),
      }

    label = f"{sizes.large[1]}x{sizes.large[0]}"
    report.row(f"ncfl/step {label} {form}", row)


def growth(report, sizes, peer):
  """The step by batch; the window at a larger size."""
  for batch in sizes.growth:

    def row(batch=batch):
      model, variables = build("fastdvdnet", sizes.fastdvdnet, "bfloat16")
      examples = training_batch(model, batch, sizes.patch)
      step = Stepping(model, variables, examples, "bfloat16")
      times = measuring.alternate({"jax": step}, 10)
      return {
          "sides": times, "shape": list(examples["clean"].shape),
          "clips_per_second": batch / times["jax"]["median_s"],
          **step.about, **peak_bytes(),
      }

    report.row(f"growth/fastdvdnet step of batch {batch} bfloat16", row)
  windows(
      report, sizes, peer, sizes.large, ("bfloat16", "tf32"),
      ("eager", "channels_last"), "growth",
  )


def compiled(report, sizes, peer):
  """What torch.compile makes of speed and training."""
  if peer is None:
    return
  forms, torch_forms = ("bfloat16", "tf32"), ("compile",)
  windows(report, sizes, peer, sizes.frame, forms, torch_forms, "compiled")
  train(report, sizes, peer, forms, torch_forms, "compiled")


def davis(report, sizes):
  """NCFL's training step of the paper, in bfloat16."""

  def row():
    model, variables = build("ncfl", sizes.ncfl, "bfloat16")
    batch = training_batch(model, *sizes.davis)
    step = Stepping(model, variables, batch, "bfloat16")
    times = measuring.alternate({"jax": step}, 10)
    return {
        "sides": times, "shape": list(batch["clean"].shape),
        "clips_per_second": sizes.davis[0] / times["jax"]["median_s"],
        **step.about, **peak_bytes(),
    }

  report.row("davis/ncfl step bfloat16", row)


PARTS = {
    "forward": lambda report, sizes, peer: forward(report, sizes),
    "speed": speed,
    "training": train,
    "ncfl": lambda report, sizes, peer: ncfl(report, sizes),
    "layers": lambda report, sizes, peer: layers(report, sizes),
    "gradient": lambda report, sizes, peer: gradient(report, sizes),
    "growth": growth,
    "compiled": compiled,
    "davis": lambda report, sizes, peer: davis(report, sizes),
}


def run(arguments) -> dict:
  """Measures what the command line asks for; returns what the JSON holds."""
  parts = arguments.only.split(",") if arguments.only else list(PARTS)
  for part in parts:
    check_choice("--only", part, PARTS)
  commands.check_json(arguments.json)
  if arguments.repeats < 2:
    raise ValueError(
        f"--repeats is at least 2, for a spread, but is {arguments.repeats}."
    )
  if arguments.nocompile:
    parts = [part for part in parts if part != "compiled"]
  sizes = SMALL if arguments.small else Sizes()
  peer = None
  if not arguments.notorch:
    try:
      peer = Torch()
    except ImportError as error:
      print(f"Without PyTorch, only one side is measured: {error}")
  about = {
      "command": arguments.command,
      "machine": measuring.machine(),
      "sizes": dataclasses.asdict(sizes),
      "torch": peer is not None,
  }
  report = measuring.Report(arguments.json, arguments.budget, about)
  report.repeats = arguments.repeats
  print({key: about["machine"][key] for key in ("cpu", "cpus", "cards")})
  print(about["machine"]["devices"], about["machine"]["versions"], flush=True)
  for part in parts:
    PARTS[part](report, sizes, peer)
  report.write()
  failed, skipped = report.content["failed"], report.content["skipped"]
  print(f"{len(report.content['rows'])} rows, {len(failed)} failed: {failed}")
  print(f"{len(skipped)} skipped: {skipped}")
  return report.content


def main(argv=None) -> int:
  """Runs the command; returns its exit status, 1 where a row failed."""
  typed = sys.argv[1:] if argv is None else argv
  parser = argparse.ArgumentParser(
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
  )
  parser.add_argument("--json", default=None, metavar="OUT")
  parser.add_argument("--budget", type=float, default=240, metavar="SECONDS")
  parser.add_argument("--only", default="", metavar="PART[,PART...]")
  parser.add_argument("--repeats", type=int, default=15)
  parser.add_argument("--small", action="store_true")
  parser.add_argument("--notorch", action="store_true")
  parser.add_argument("--nocompile", action="store_true")
  arguments = parser.parse_args(typed)
  arguments.command = [
      "python", "-m", "experiments.benchmarks.accelerator", *typed
  ]
  content = {}
  status = commands.run(lambda: content.update(run(arguments)))
  return status or (1 if content.get("failed") else 0)


if __name__ == "__main__":
  sys.exit(main())
