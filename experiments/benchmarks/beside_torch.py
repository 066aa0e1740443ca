"""Models here and in PyTorch: the same weights, inputs and clock.

The outputs are compared before the clock starts; then the sides take turns.
"""

import contextlib
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import measuring, subjects, twins
from vidrestore_jax import models
from vidrestore_jax.training import sharding


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
      for layer in twin.modules():  # Each by itself: none takes both formats.
        deep = isinstance(layer, self.torch.nn.Conv3d)
        kind = "channels_last_3d" if deep else "channels_last"
        if not list(layer.children()):
          layer.to(memory_format=getattr(self.torch, kind))
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
    """Precision of a row, and no memory of the one before.

    Of sizes that it has met before, torch.compile would take the new one for a
    variable, which is slower; of code that it has compiled eight times it would
    run the eager form, and say nothing in the results.
    """
    self.torch.compiler.reset()
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


def bound(threads: int, wanted=True) -> Torch | None:
  """Binds this process to so many threads; a `Torch` of as many, if wanted.

  Raises:
    ValueError: see `measuring.bind_threads`, or PyTorch is not installed.
  """
  measuring.bind_threads(threads)
  if not wanted:
    return None
  try:
    peer = Torch()
  except ModuleNotFoundError as error:
    raise ValueError(
        f"This measures beside PyTorch, but {error}. Install it (pip install"
        " torch); inference and training also run without, with --torch= and"
        " no name behind it."
    ) from None
  peer.torch.set_num_threads(threads)
  return peer


def compare(
    report, label, case, program, peer, size, forms, torch_forms, part,
    *, frames=5, calls=1, **more,
):
  """Inference of a model, beside PyTorch's forms of it.

  Args:
    report: where rows go.
    label: of the model in the rows' names.
    case: its (name, arguments as items).
    program: of PROGRAMS; `subjects.programs` says which a model has.
    peer: a `Torch`, or None to time one side.
    size: height and width of the frames that are made.
    forms: of `subjects.FORMS`.
    torch_forms: "eager", "channels_last" (not compiled), "compile" (that too).
    part: of the report, which the rows' names start with.
    frames: of a clip.
    calls: of the same, waited for once, as no frame of a stream is waited for.
    **more: what rows hold besides.
  """
  name, arguments = case
  many = f", {calls} calls" if calls > 1 else ""
  for form in forms:

    def row(form=form):
      model, variables = subjects.build(name, arguments, form)
      scale = getattr(model, "scale", 1)
      small = tuple(-(-side // scale) for side in size)
      ours, args, theirs = PROGRAMS[program](model, small, variables, frames)

      def torch_side(torch_form):
        twin = peer.model(name, arguments, variables, form, torch_form)
        put = functools.partial(peer.tensor, form=form, torch_form=torch_form)
        with peer.torch.inference_mode():
          function, *tensors = theirs(twin, jax.tree.map(put, args))
        function = peer.compiled(function, torch_form)
        return functools.partial(
            peer.waited, _repeated(function, calls), *tensors
        )

      found = _timed(
          report, form, small, (ours, variables, *args), peer, torch_forms,
          torch_side, subjects.rounds(model), calls,
      )
      if program == "clip":
        found["frames_per_second"] *= frames
      return {**more, **found}

    shape = f"{size[1]}x{size[0]}"
    report.row(f"{part}/{label} {program} {shape} {form}{many}", row)


# Programs: what a call of ours does, its arguments beside the variables, and
# what makes of a twin and of these arguments as tensors its call and arguments.


def _window(model, size, variables, frames):
  """A windowed model's frame of its window."""
  del variables, frames
  args = subjects.inputs(model, size)
  ours = functools.partial(subjects.restored, model)
  return ours, args, lambda twin, args: (twin, *args)


def _clip(model, size, variables, frames):
  """A bidirectional model's frames of a clip."""
  del variables
  args = subjects.inputs(model, size, frames=frames)
  ours = functools.partial(subjects.restored, model)
  return ours, args, lambda twin, args: (twin, *args)


def _flow(model, size, variables, frames):
  """The flow between two frames."""
  del variables, frames
  clip, _ = subjects.inputs(model, size, frames=2)
  args = (clip[:, 0], clip[:, 1])
  return model.apply, args, lambda twin, args: (twin, *args)


def _stream(model, size, variables, frames):
  """One more frame of a stream, of what is kept."""
  del frames
  if not model.recurrent:
    return _cascade(model, size)
  clip, noise = subjects.inputs(model, size, frames=2)
  before, frame = clip[:, 0], clip[:, 1]
  state = subjects.run_on(
      jax.devices()[0], "float32",
      lambda variables, *args: subjects.step_of(
          model, variables, model.init_state(args[0]), *args
      )[0],
      variables, before, noise,
  )

  def ours(variables, state, before, frame, noise):
    del before  # Another side makes its state of it.
    return subjects.step_of(model, variables, state, frame, noise)[::-1]

  def theirs(twin, args):
    _, before, frame, noise = args
    state, _ = twin.step(twin.init_state(before), before, noise)

    def step(state, frame, noise):
      return twin.step(state, frame, noise)[::-1]

    return step, state, frame, noise

  return ours, (state, before, frame, noise), theirs


def _cascade(model, size):
  """Each stage once for each frame; earlier results are kept."""
  clip, noise = subjects.inputs(model, size)
  first, *others = (2 * radius for radius in model.stages)
  frames = clip[:, : first + 1]
  # Results of the stages before are any frames here.
  made = [clip[:, :length] for length in others]

  def ours(variables, frames, made, noise):
    def stage(index, window):
      return model.apply(variables, index, window, noise, method="stage")

    newest = [stage(0, frames)]
    for i, before in enumerate(made, 1):
      window = jnp.concatenate([before, newest[-1][:, None]], 1)
      newest.append(stage(i, window))
    return newest[-1], newest[:-1]

  def theirs(twin, args):
    frames, made, noise = args

    def step(frames, made, noise):
      newest = [twin.stage(0, frames, noise)]
      for i, before in enumerate(made, 1):
        newest.append(twin.stage(i, (*before, newest[-1]), noise))
      return newest[-1], newest[:-1]

    return step, frames.unbind(1), [x.unbind(1) for x in made], noise

  return ours, (frames, made, noise), theirs


PROGRAMS = {
    "window": _window, "stream": _stream, "clip": _clip, "flow": _flow
}


def _repeated(function, calls):
  """The last of as many calls."""

  def call(*args):
    for _ in range(calls - 1):
      function(*args)
    return function(*args)

  return call


def _timed(
    report, form, size, program, peer, torch_forms, torch_side, rounds, calls
):
  """A row: `program`, a function and its arguments, beside PyTorch's sides."""
  call, *args = program
  args = jax.device_put(args)
  with subjects.precision(form):
    program, about = measuring.compile_program(call, *args)
  sides = {
      "jax": functools.partial(
          measuring.waited, _repeated(program, calls), *args
      )
  }
  ours = jax.tree.leaves(sides["jax"]())[0]
  errors, starts = {}, {}
  measure = measuring.relative if rounds else measuring.largest
  with peer.row(form) if peer else contextlib.nullcontext():
    for name in torch_forms if peer else ():
      side = torch_side(name)
      start = time.perf_counter()
      found = side()
      starts[name] = time.perf_counter() - start
      found = found[0] if isinstance(found, tuple) else found
      errors[name] = measure(peer.weights.array(found), ours)
      sides[f"torch {name}"] = side
    times = measuring.alternate(sides, report.repeats, limit=report.row_limit)
    peak = peer.peak() if peer else {}
  for name, first in starts.items():
    times[f"torch {name}"]["first_s"] = first
  seconds = times["jax"]["median_s"] / calls
  bounds = subjects.ROUNDED if rounds else subjects.BOUNDS
  return {
      **_compared(times, errors, bounds[form]),
      "tflops": subjects.rate(about["macs"], seconds),
      "frames_per_second": 1 / seconds, "calls": calls,
      "size": list(size),
      "shapes": [list(x.shape) for x in jax.tree.leaves(args[1:])],
      "threads": _threads(peer),
      **about, **peak, **subjects.peak_bytes(),
  }


def _threads(peer):
  """PyTorch's threads on the host; XLA takes the processors it may use."""
  return {
      "torch": peer.torch.get_num_threads() if peer else None,
      "processors": len(measuring.processors()),
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
    largest = float(np.max(list(errors.values())))  # NaN stays, as in no max.
    found |= measuring.check(largest, bound, errors=errors)
  return found


def train(
    report, name, arguments, peer, shape, forms=subjects.FORMS,
    torch_forms=("eager", "channels_last"), part="training", label=None,
    same=None, everywhere=False,
):
  """A model's training step beside PyTorch's.

  Args:
    report: as in `compare`, like what is not named here.
    name: of a model whose twin has a `loss`.
    arguments: likewise.
    peer: likewise.
    shape: clips of a batch, and the side of their frames.
    forms: likewise.
    torch_forms: likewise.
    part: likewise.
    label: likewise; None for the model's name.
    same: the row of `gradients` of this model, without which no row says that
      both sides compute the same.
    everywhere: over all devices that the batch splits over, as
      `experiments.main` has it; else on the first.
  """
  label = label or name
  clips, side = shape
  mesh = None
  if everywhere:
    mesh = sharding.data_mesh(clips, sharding.fitting_devices(clips))
  for form in forms:

    def row(form=form):
      model, variables = subjects.build(name, arguments, form)
      batch = subjects.training_batch(model, clips, side)
      step = subjects.Stepping(model, variables, batch, form, mesh)
      sides = {"jax": step}
      with peer.row(form) if peer else contextlib.nullcontext():
        for torch_form in torch_forms if peer else ():
          sides[f"torch {torch_form}"] = peer.training(
              name, arguments, variables, batch, form, torch_form
          )
        times = measuring.alternate(
            sides, report.repeats, limit=report.row_limit
        )
        peak = peer.peak() if peer else {}
      seconds = times["jax"]["median_s"]
      return {
          **_compared(times, {}, None), "shape": list(batch["clean"].shape),
          "devices": step.devices,
          **({"ok": same["ok"]} if same else {}),
          "clips_per_second": clips / seconds,
          "tflops": subjects.rate(step.about["macs"], seconds),
          "threads": _threads(peer),
          **step.about, **peak, **subjects.peak_bytes(),
      }

    report.row(f"{part}/{label} step {form}", row)


def gradients(
    report, name, arguments, peer, side, *, label=None
) -> dict | None:
  """A row that compares both sides' gradients; None where there is none.

  Args:
    report: as in `train`, like what follows.
    name: likewise.
    arguments: likewise; what rounds is left out of the model for this.
    peer: likewise.
    side: of the square frames.
    label: likewise.
  """
  if not peer:
    return None
  exact = subjects.exact(name, arguments)
  return report.row(
      f"training/{label or name} gradients, jax and torch, float32",
      lambda: same_gradients(name, exact, peer, side),
  )


def same_gradients(name, arguments, peer, side) -> dict:
  """A row that compares a training step's gradients, of given noise.

  Args:
    name: of a model whose twin has a `loss`.
    arguments: of the model, as items; see `subjects.exact`.
    peer: a `Torch`.
    side: of the square frames, which are a window or, of a recurrent model,
      two.
  """
  model, variables = subjects.build(name, arguments, "float32")
  frames = 2 if model.recurrent else None
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
  loss_error = abs(float(loss) / other - 1)
  found = measuring.check(
      measuring.relative(ours, theirs), 2e-2, loss_error=loss_error,
      loss_bound=subjects.BOUNDS["float32"],
  )
  found["ok"] &= loss_error <= found["loss_bound"]
  return found
