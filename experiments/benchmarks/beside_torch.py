"""Models here and in PyTorch: the same weights, inputs and clock.

The outputs are compared before the clock starts; then the sides take turns.
"""

import contextlib
import functools
import os
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments import tracing
from experiments.benchmarks import measuring, subjects, twins
from vidrestore_jax import models

# How far outputs may be apart, in units of the largest value where above 1.
_BOUNDS = {"float32": 1e-4, "tf32": 2e-2, "bfloat16": 1e-1}


class Torch:
  """PyTorch's forms of models on the device that JAX runs on."""

  def __init__(self):
    import torch

    from experiments.benchmarks import torch_weights

    self.torch, self.weights = torch, torch_weights
    gpu = jax.default_backend() == "gpu"
    self.device = torch.device("cuda" if gpu else "cpu")
    torch.backends.cudnn.benchmark = True

  def model(self, name, arguments, variables, form, torch_form, train=False):
    """The twin of a model with these weights, laid out and cast as asked."""
    twin = twins.build(name, models.build(name, **dict(arguments)))
    twin = self.weights.load(twin.train(train), variables).to(self.device)
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
    return self.weights.tensor(
        array, self.device,
        dtype=self.torch.bfloat16 if half else self.torch.float32,
        channels_last=torch_form != "eager",
    )

  def waited(self, function, *args):
    """The result of a call without gradients, waited for."""
    with self.torch.inference_mode():
      found = function(*args)
      self.weights.wait(self.device)
    return found

  @contextlib.contextmanager
  def row(self, form):
    """Precision of a row, and no memory of the one before."""
    with self.weights.tf32(form != "float32"):
      yield
    if self.device.type == "cuda":
      self.torch.cuda.empty_cache()
      self.torch.cuda.reset_peak_memory_stats()

  def peak(self) -> dict:
    """The most that PyTorch held on the device in this row."""
    if self.device.type != "cuda":
      return {}
    return {"torch_peak_bytes": self.torch.cuda.max_memory_allocated()}

  def training(self, name, arguments, variables, batch, form, torch_form):
    """A call of one training step, which draws its noise and waits.

    Args:
      name: of the model; its twin has a `loss`.
      arguments: of the model, as items.
      variables: the model's.
      batch: `subjects.training_batch`.
      form: of `subjects.FORMS`; bfloat16 is by autocast.
      torch_form: "eager", "channels_last" or "compile".
    """
    torch = self.torch
    twin = self.model(name, arguments, variables, form, torch_form, train=True)
    clean = self.tensor(batch["clean"] / 255, form, torch_form, train=True)
    optimizer = torch.optim.Adam(twin.parameters(), 1e-3)
    autocast = torch.autocast(
        self.device.type, torch.bfloat16, enabled=form == "bfloat16"
    )
    loss_of = self.compiled(twin.loss, torch_form)
    shape = (clean.shape[0], 1, 1, 1)

    def step():
      low, high = 5 / 255, 55 / 255
      level = low + (high - low) * torch.rand(shape, device=self.device)
      noise = level.expand(-1, 1, *clean.shape[-2:])
      noisy = clean + level[:, None] * torch.randn_like(clean)
      optimizer.zero_grad(set_to_none=True)
      with autocast:
        loss = loss_of(noisy, noise, clean)
      loss.backward()
      optimizer.step()
      self.weights.wait(self.device)
      return loss

    return step

  def gradients(self, name, arguments, variables, clip, noise, clean):
    """(loss, gradients by the twin's names) of given noise, in float32."""
    twin = self.model(name, arguments, variables, "float32", "eager", True)
    clip, noise, clean = (
        x if x is None else self.tensor(x, "float32", "eager", train=True)
        for x in (clip, noise, clean)
    )
    loss = twin.loss(clip, noise, clean)
    loss.backward()
    # What nothing is made of has no gradient there, and zeros here.
    return loss.item(), {
        key: np.zeros(value.shape) if value.grad is None
        else value.grad.cpu().numpy()
        for key, value in twin.named_parameters()
    }


def windows(report, arguments, peer, size, forms, torch_forms, part):
  """A window of FastDVDnet, beside PyTorch's forms of it.

  Args:
    report: where rows go.
    arguments: of the model, as items.
    peer: a `Torch`, or None to time one side.
    size: height and width of the frames.
    forms: of `subjects.FORMS`.
    torch_forms: "eager", "channels_last" (not compiled), "compile" (that too).
    part: of the report, which the rows' names start with.
  """
  for form in forms:

    def row(form=form):
      model, variables = subjects.build("fastdvdnet", arguments, form)
      args = subjects.inputs(model, size)
      call = functools.partial(subjects.restored, model)

      def torch_side(name):
        twin = peer.model("fastdvdnet", arguments, variables, form, name)
        tensors = [peer.tensor(x, form, name) for x in args]
        return functools.partial(
            peer.waited, peer.compiled(twin, name), *tensors
        )

      return _timed(
          report, form, size, (call, variables, *args), peer,
          torch_forms, torch_side,
      )

    report.row(f"{part}/fastdvdnet window {size[1]}x{size[0]} {form}", row)


def streams(report, arguments, peer, size, forms, torch_forms, part):
  """As `windows`, of a stream: each stage once for each frame."""
  for form in forms:

    def row(form=form):
      model, variables = subjects.build("fastdvdnet", arguments, form)
      clip, noise = subjects.inputs(model, size)
      # The first stage's results before are any frames here.
      made, frames = clip[:, :2], clip[:, 2:]

      def step(variables, frames, made, noise):
        def stage(index, window):
          return model.apply(variables, index, window, noise, method="stage")

        newest = stage(0, frames)
        return stage(1, jnp.concatenate([made, newest[:, None]], 1)), newest

      def torch_side(name):
        twin = peer.model("fastdvdnet", arguments, variables, form, name)
        put = functools.partial(peer.tensor, form=form, torch_form=name)
        tensors = (put(frames).unbind(1), put(made).unbind(1), put(noise))

        def step(frames, made, noise):
          newest = twin.stage(0, frames, noise)
          return twin.stage(1, (*made, newest), noise), newest

        return functools.partial(
            peer.waited, peer.compiled(step, name), *tensors
        )

      return _timed(
          report, form, size, (step, variables, frames, made, noise), peer,
          torch_forms, torch_side,
      )

    report.row(f"{part}/fastdvdnet stream {size[1]}x{size[0]} {form}", row)


def _timed(report, form, size, program, peer, torch_forms, torch_side):
  """A row: `program`, a function and its arguments, beside PyTorch's sides."""
  call, *args = program
  macs = tracing.count_macs(call, *args).total()
  args = jax.device_put(args)
  with subjects.precision(form):
    program, about = measuring.compile_program(call, *args)
  sides = {"jax": functools.partial(measuring.waited, program, *args)}
  ours = jax.tree.leaves(sides["jax"]())[0]
  errors, starts = {}, {}
  with peer.row(form) if peer else contextlib.nullcontext():
    for name in torch_forms if peer else ():
      side = torch_side(name)
      start = time.perf_counter()
      found = side()
      starts[name] = time.perf_counter() - start
      found = found[0] if isinstance(found, tuple) else found
      errors[name] = measuring.largest(peer.weights.array(found), ours)
      sides[f"torch {name}"] = side
    times = measuring.alternate(sides, report.repeats)
    peak = peer.peak() if peer else {}
  for name, first in starts.items():
    times[f"torch {name}"]["first_s"] = first
  seconds = times["jax"]["median_s"]
  return {
      **_compared(times, errors, form),
      "tflops": subjects.rate(macs, seconds), "macs": macs,
      "frames_per_second": 1 / seconds,
      "size": list(size),
      "shapes": [list(x.shape) for x in args[1:]],
      "threads": _threads(peer),
      **about, **peak, **subjects.peak_bytes(),
  }


def _threads(peer):
  """PyTorch's threads on the host; XLA takes the processors it may use."""
  return {
      "torch": peer.torch.get_num_threads() if peer else None,
      "processors": len(os.sched_getaffinity(0)),
  }


def _compared(times, errors, form):
  """Sides, the largest error between them, and how many times ours is as fast.

  `ratio` is the best other median over ours: above 1, ours is faster.
  """
  found = {"sides": times}
  others = [times[side]["median_s"] for side in times if side != "jax"]
  if others:
    found["ratio"] = min(others) / times["jax"]["median_s"]
  if errors:
    found |= measuring.check(max(errors.values()), _BOUNDS[form], errors=errors)
  return found


def train(
    report, name, arguments, peer, shape, forms=subjects.FORMS,
    torch_forms=("eager", "channels_last"), part="training",
):
  """A model's training step beside PyTorch's, after their gradients agree.

  Args:
    report: as in `windows`, like what is not named here.
    name: of a model whose twin has a `loss`.
    arguments: likewise.
    peer: likewise.
    shape: clips of a batch, and the side of their frames.
    forms: likewise.
    torch_forms: likewise.
    part: likewise; of "training" gradients are compared as well.
  """
  clips, side = shape
  if peer and part == "training":
    report.row(
        f"{part}/{name} gradients, jax and torch, float32",
        lambda: same_gradients(
            name, subjects.exact(name, arguments), peer, side
        ),
    )
  for form in forms:

    def row(form=form):
      model, variables = subjects.build(name, arguments, form)
      batch = subjects.training_batch(model, clips, side)
      step = subjects.Stepping(model, variables, batch, form)
      sides = {"jax": step}
      with peer.row(form) if peer else contextlib.nullcontext():
        for torch_form in torch_forms if peer else ():
          sides[f"torch {torch_form}"] = peer.training(
              name, arguments, variables, batch, form, torch_form
          )
        times = measuring.alternate(sides, report.repeats)
        peak = peer.peak() if peer else {}
      return {
          **_compared(times, {}, form), "shape": list(batch["clean"].shape),
          "clips_per_second": clips / times["jax"]["median_s"],
          "threads": _threads(peer),
          **step.about, **peak, **subjects.peak_bytes(),
      }

    report.row(f"{part}/{name} step {form}", row)


def same_gradients(name, arguments, peer, side, frames=None) -> dict:
  """A row that compares a training step's gradients, of given noise.

  Args:
    name: of a model whose twin has a `loss`.
    arguments: of the model, as items; see `subjects.exact`.
    peer: a `Torch`.
    side: of the square frames.
    frames: of a clip; None for a window, of a recurrent model two.
  """
  model, variables = subjects.build(name, arguments, "float32")
  if frames is None and model.recurrent:
    frames = 2
  clip, noise = subjects.inputs(model, (side,) * 2, batch=2, frames=frames)
  clean = clip.clip(0, 1)
  call = functools.partial(subjects.loss_and_gradients, model)
  loss, ours = subjects.run_on(
      jax.devices()[0], "float32", call, variables, clip, noise, clean
  )
  with peer.row("float32"):
    other, theirs = peer.gradients(
        name, arguments, variables, clip, noise, clean
    )
  twin = twins.build(name, model)
  ours = {
      key: value.numpy()
      for key, value in peer.weights.to_state(twin, {"params": ours}).items()
  }
  return measuring.check(
      measuring.relative(ours, theirs), 2e-2,
      loss_error=abs(float(loss) / other - 1),
  )
