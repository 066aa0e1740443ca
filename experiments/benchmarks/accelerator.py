"""Is an accelerator right, and how fast is it beside PyTorch? One JSON file.

  python -m experiments.benchmarks.accelerator --json=OUT [--budget=570] \\
      [--only=PART[,PART...]] [--repeats=15] [--small] [--notorch] [--nocompile]

Needs jax, flax, optax, numpy and, to have something to compare with, torch.
Parts, in this order; each row is written to OUT as soon as it is there:

  forward    FastDVDnet (released and half width), NCFL's compression module and
             NCFL on the accelerator against the host's CPU: float32 at the
             highest precision, at JAX's default (TF32 on NVIDIA), bfloat16;
             the error is that of what the model adds to the frames
  speed      the matrix product that the card reaches at most; FastDVDnet beside
             its PyTorch twin with the same weights (cudnn.benchmark): its
             window at 960x540 beside all forms, ten waited for once; at
             854x480, windowed and as a stream, beside eager and channels last
  ncfl       NCFL's step at 960x540 beside its PyTorch twin: the outputs with
             the quantiser off, then frames a second of the whole network
  training   a training step of FastDVDnet (batch 16 of 5 frames, 96x96, Adam,
             noise drawn on the device) beside the same step in PyTorch
  davis      NCFL's step of training on 16 clips of 5 frames, 128x128, beside
             PyTorch's, not compiled (the first stage, with the rate); it is
             `gradient` that compares what NCFL's step computes
  layers     the layers with formulations of their own, forward and gradient, on
             the accelerator against the CPU's float32
  gradient   gradients of a training step likewise
  narrow     convolutions of few channels in bfloat16, with a bias and a ReLU,
             in their usual form and in that for tensor cores
             (`layers.convolution`): of a frame at 960x540, and with gradients
             of 16 of 128x128
  growth     FastDVDnet's step by batch

Errors are |found - wanted| / |wanted| unless said otherwise. Weights are drawn
at random, BatchNorm's statistics too. The two sides' outputs are compared first
(float32 without TF32: at most 1e-4 apart, in units of the largest value where
that is above 1; gradients 2e-2 of their norm); then they take turns, and every
timed call is waited for. `first_s` is a side's first call, with PyTorch's
compilation in it; `trace_s` and `compile_s` are JAX's. Quantisation rounds,
which two devices may do to different sides: its rows have bounds of their own.
`share_of_product` is a row's rate over the matrix product's of the same form,
where both ran.

torch.compile stands beside bfloat16, and FastDVDnet's window in TF32; it is
slow to start, and --nocompile leaves it out. --budget is in seconds; rows that
it leaves no time for are named as skipped.
--small is a run of tiny shapes to try the script with. The exit status is 1
where a row failed.
"""

import os

# PyTorch shares the card: JAX must not take most of its memory at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np

from experiments import commands
from experiments.benchmarks import beside_torch, measuring, subjects
from vidrestore_jax.layers import (
    conv_lstm,
    convolution,
    deformable_convolution,
    gdn,
    warp,
)
from vidrestore_jax.shapes import check_choice

_PRODUCT = "speed/matrix product "  # And what it is computed in.


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


SMALL = Sizes(
    check=(32, 32),
    frame=(32, 46),
    large=(32, 32),
    patch=32,
    batch=2,
    growth=(4,),
    product=64,
    fastdvdnet=subjects.TINY["fastdvdnet"],
    half=(("widths", (4, 4, 8)), ("interm", 2)),
    ncfl=subjects.TINY["ncfl"],
    davis=(2, 32),
)


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
  cases = layer_cases()
  forms = [(name, "float32", 1e-5) for name in cases] + [
      (name, "bfloat16", 3e-2) for name in cases if name.startswith("conv")
  ]
  for name, form, bound in forms:
    layer, args = cases[name]

    def both(layer, args, form=form):
      if hasattr(layer, "init"):
        with jax.default_device(host):
          init = jax.jit(layer.init, compiler_options=subjects.QUICK)
          variables = init(jax.random.key(0), *args)
        args = (jax.device_get(variables), *args)

      def outputs(form, *args):
        function = layer
        if hasattr(layer, "init"):
          function = layer.clone(dtype=subjects.FORMS[form][0]).apply
        y, pull = jax.vjp(function, *args)
        # A cotangent that differs from place to place.
        return y, pull(jax.tree.map(jnp.cos, y))

      found, wanted = (
          subjects.run_on(
              place, form, functools.partial(outputs, form), *args
          )
          for place, form in ((device, form), (host, "float32"))
      )
      return dict(zip(("forward", "gradient"), zip(found, wanted)))

    pairs = None
    for kind in ("forward", "gradient"):

      def row(kind=kind, layer=layer, args=args, form=form, bound=bound):
        nonlocal pairs
        pairs = pairs or both(layer, args)
        return measuring.check(
            measuring.relative(*pairs[kind]), bound, dtype=form
        )

      report.row(f"layers/{name} {kind} {form}", row)


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

  # Name, model, arguments, frames, whether it rounds.
  cases = [
      ("fastdvdnet", "fastdvdnet", sizes.fastdvdnet, None, False),
      ("fastdvdnet half", "fastdvdnet", sizes.half, None, False),
      (
          "ncfl_clean noq", "ncfl_clean",
          subjects.exact("ncfl_clean", module), 1, False,
      ),
      ("ncfl_clean", "ncfl_clean", module, 1, True),
      ("ncfl noq", "ncfl", subjects.exact("ncfl", sizes.ncfl), 3, False),
      ("ncfl", "ncfl", sizes.ncfl, 3, True),
  ]
  for title, name, arguments, frames, rounds in cases:
    wanted = None
    for form in subjects.FORMS:

      def row(
          name=name, arguments=arguments, frames=frames, form=form,
          rounds=rounds,
      ):
        nonlocal wanted
        model, variables = subjects.build(name, arguments, form)
        clip, noise = subjects.inputs(model, sizes.check, frames=frames)
        if wanted is None:
          exact, _ = subjects.build(name, arguments, "float32")
          wanted = subjects.added(
              host, "float32", exact, variables, clip, noise
          )
        found = subjects.added(device, form, model, variables, clip, noise)
        return measuring.check(
            measuring.relative(found, wanted),
            (subjects.ROUNDED if rounds else subjects.BOUNDS)[form],
            dtype=subjects.FORMS[form][0],
            psnr=measuring.psnr(found, wanted),
            largest=measuring.largest(found, wanted),
            shape=list(clip.shape),
        )

      report.row(f"forward/{title} {form}", row)


def product(report, sizes):
  """The rate of a large matrix product: what the card reaches at most."""
  for form in subjects.FORMS:

    def row(form=form):
      generator = np.random.default_rng(0)
      side = sizes.product
      draw = functools.partial(generator.standard_normal, (side, side))
      a, b = (jnp.asarray(draw(), subjects.FORMS[form][0]) for _ in range(2))
      with subjects.precision(form):
        program, about = measuring.compile_program(jnp.matmul, a, b)
      call = functools.partial(measuring.waited, program, a, b)
      times = measuring.alternate({"jax": call}, 10)
      seconds = times["jax"]["median_s"]
      return {
          "sides": times, "side": side,
          "tflops": subjects.rate(about["macs"], seconds), **about,
      }

    report.row(f"{_PRODUCT}{form}", row)


_BARE = ("eager", "channels_last")
_ALL = (*_BARE, "compile")


def speed(report, sizes, peer, torch_forms=_ALL):
  """Windows and streams of FastDVDnet beside PyTorch."""
  product(report, sizes)
  for program, size, forms, others, calls in (
      ("window", sizes.large, ("bfloat16", "tf32"), torch_forms, 10),
      ("window", sizes.frame, tuple(subjects.FORMS), _BARE, 1),
      ("stream", sizes.frame, ("tf32", "bfloat16"), _BARE, 1),
  ):
    beside_torch.compare(
        report, "fastdvdnet", ("fastdvdnet", sizes.fastdvdnet), program, peer,
        size, forms, others, "speed", calls=calls,
    )


# Layers and their input channels, by name: NCFL's flow, attention, entry and
# output, FastDVDnet's entry and what follows it, with channels to spare.
_NARROW = {
    "7x7 8 to 32": (convolution.Conv(32, 7), 8),
    "7x7 32 to 16": (convolution.Conv(16, 7), 32),
    "7x7 16 to 2": (convolution.Conv(2, 7), 16),
    "3x3 16 to 16": (convolution.Conv(16), 16),
    "3x3 36 to 32": (convolution.Conv(32), 36),
    "3x3 32 to 3": (convolution.Conv(3), 32),
    "3x3 12 to 90 in 3 groups": (convolution.GroupedConv(90, groups=3), 12),
    "3x3 90 to 32": (convolution.GroupedConv(32), 90),
}
_KERNELS = 6  # That one call applies to one image: a launch is no kernel.


def narrow(report, sizes):
  """Convolutions in their usual form and in that for tensor cores."""
  batch, side = sizes.davis
  for kind, shape in (
      ("forward", (1, *sizes.large)), ("gradient", (batch, side, side))
  ):
    for name, (layer, channels) in _NARROW.items():

      def row(kind=kind, layer=layer, shape=(*shape, channels)):
        layer = layer.clone(dtype="bfloat16")
        x = jax.random.normal(jax.random.key(0), shape, jnp.bfloat16)
        keys = jax.random.split(jax.random.key(1), _KERNELS)
        variables = [layer.init(key, x[:, :8, :8]) for key in keys]
        options = {"usual": {}, "tensor_cores": {}}
        if isinstance(layer, convolution.GroupedConv) and kind == "forward":
          # As between FastDVDnet's layers.
          with convolution.use_form("tensor_cores"):
            count = functools.partial(
                convolution.spare_channels, dtype=x.dtype
            )
            spare, unread = count(layer.features), count(shape[-1])
          options["tensor_cores"] = dict(spare=spare)
          if layer.groups == 1:
            options["tensor_cores"] = dict(unread=unread)

        def program(form):
          more = options[form]
          rest = ((0, 0),) * 3 + ((0, more.get("unread", 0)),)
          given = jnp.pad(x, rest)

          def apply(variables, x):
            return jax.nn.relu(layer.apply(variables, x, **more))

          def run(x, variables):
            if kind == "forward":
              return [apply(v, x) for v in variables]
            made = [jax.vjp(apply, v, x) for v in variables]
            return [pull(y) for y, pull in made]

          with convolution.use_form(form):
            compiled, _ = measuring.compile_program(
                run, given, variables, count=False
            )
          return functools.partial(
              measuring.waited, compiled, given, variables
          )

        calls = {form: program(form) for form in options}
        found = {form: jax.device_get(call()) for form, call in calls.items()}
        if kind == "forward":
          found["tensor_cores"] = [
              y[..., : layer.features] for y in found["tensor_cores"]
          ]
        times = measuring.alternate(calls, 10)
        usual, ours = (times[form]["median_s"] for form in options)
        return measuring.check(
            measuring.relative(found["tensor_cores"], found["usual"]), 2e-2,
            sides=times, ratio=usual / ours, calls=_KERNELS,
            shape=list(shape), features=layer.features,
        )

      report.row(f"narrow/{name} {kind} bfloat16", row)


def gradient(report, sizes):
  """A training step's gradients against the CPU's."""
  host, device = jax.devices("cpu")[0], jax.devices()[0]
  cases = {
      "fastdvdnet": ("fastdvdnet", sizes.fastdvdnet, 5),
      "ncfl noq": ("ncfl", subjects.exact("ncfl", sizes.ncfl), 2),
  }
  for title, (name, arguments, frames) in cases.items():
    wanted = None
    for form in subjects.FORMS if name == "fastdvdnet" else ("float32",):

      def row(name=name, arguments=arguments, frames=frames, form=form):
        nonlocal wanted
        model, variables = subjects.build(name, arguments, form)
        clip, noise = subjects.inputs(model, (64, 64), batch=2, frames=frames)
        args = (variables, clip, noise, clip.clip(0, 1))
        if wanted is None:
          exact, _ = subjects.build(name, arguments, "float32")
          call = functools.partial(subjects.loss_and_gradients, exact)
          wanted = subjects.run_on(host, "float32", call, *args)
        call = functools.partial(subjects.loss_and_gradients, model)
        found = subjects.run_on(device, form, call, *args)
        error = measuring.relative(found[1], wanted[1])
        loss_error = abs(float(found[0] / wanted[0]) - 1)
        more = dict(
            dtype=subjects.FORMS[form][0], loss_error=loss_error,
            gradient_error=error,
        )
        if form == "float32":
          # Four times what float32 is from float64 in PyTorch, half width.
          return measuring.check(error, 2e-2, **more)
        # Rounding makes some ReLU of each layer choose otherwise, so that a
        # gradient of random weights is told, not bounded; the loss is.
        return measuring.check(loss_error, 1e-2, **more)

      report.row(f"gradient/{title} {form}", row)


def ncfl(report, sizes, peer, torch_forms=_ALL):
  """NCFL frame by frame beside PyTorch's; what it makes is compared unrounded.

  Ten steps are waited for once, as a stream is not waited for frame by frame.
  """
  exact = subjects.exact("ncfl", sizes.ncfl)
  how = (peer, sizes.large)
  beside_torch.compare(
      report, "ncfl_noq", ("ncfl", exact), "stream", *how, ("float32",), _BARE,
      "ncfl",
  )
  for form, others in (("bfloat16", torch_forms), ("tf32", _BARE)):
    beside_torch.compare(
        report, "ncfl", ("ncfl", sizes.ncfl), "stream", *how, (form,), others,
        "ncfl", calls=10,
    )


def growth(report, sizes):
  """The step by batch."""
  for batch in sizes.growth:

    def row(batch=batch):
      model, variables = subjects.build(
          "fastdvdnet", sizes.fastdvdnet, "bfloat16"
      )
      examples = subjects.training_batch(model, batch, sizes.patch)
      step = subjects.Stepping(model, variables, examples, "bfloat16")
      times = measuring.alternate({"jax": step}, 10)
      return {
          "sides": times, "shape": list(examples["clean"].shape),
          "clips_per_second": batch / times["jax"]["median_s"],
          **step.about, **subjects.peak_bytes(),
      }

    report.row(f"growth/fastdvdnet step of batch {batch} bfloat16", row)


def train(report, sizes, peer, torch_forms=_ALL):
  """FastDVDnet's training step beside PyTorch's."""
  how = ("fastdvdnet", sizes.fastdvdnet, peer)
  same = beside_torch.gradients(report, *how, sizes.patch)
  for form in subjects.FORMS:
    beside_torch.train(
        report, *how, (sizes.batch, sizes.patch), (form,),
        torch_forms if form == "bfloat16" else _BARE, same=same,
    )


def davis(report, sizes, peer):
  """NCFL's training step of the paper, in bfloat16, beside PyTorch's."""
  beside_torch.train(
      report, "ncfl", sizes.ncfl, peer, sizes.davis, ("bfloat16",),
      part="davis",
  )


def shares(rows: list[dict]) -> list[str]:
  """What share of the card's rate for a matrix product each row reaches.

  Args:
    rows: of a report; those with a rate get `share_of_product`, where the
      product of their form, which their name ends in, was measured.

  Returns:
    A line for each.
  """
  peaks = {
      row["name"].removeprefix(_PRODUCT): row["tflops"]
      for row in rows
      if row["name"].startswith(_PRODUCT) and "tflops" in row
  }
  lines = []
  for row in rows:
    # What follows a comma is how often it was called.
    name, _, form = row["name"].partition(",")[0].rpartition(" ")
    if "tflops" not in row or form not in peaks or name == _PRODUCT[:-1]:
      continue
    row["share_of_product"] = share = row["tflops"] / peaks[form]
    lines.append(
        f"{row['name']}: {row['tflops']:.3g} TFLOP/s, {share:.1%} of the"
        f" matrix product's {peaks[form]:.3g}"
    )
  return lines


PARTS = {
    "forward": lambda report, sizes, peer, forms: forward(report, sizes),
    "speed": speed,
    "ncfl": ncfl,
    "training": train,
    "davis": lambda report, sizes, peer, forms: davis(report, sizes, peer),
    "layers": lambda report, sizes, peer, forms: layers(report, sizes),
    "gradient": lambda report, sizes, peer, forms: gradient(report, sizes),
    "narrow": lambda report, sizes, peer, forms: narrow(report, sizes),
    "growth": lambda report, sizes, peer, forms: growth(report, sizes),
}


def run(arguments) -> dict:
  """Measures what the command line asks for; returns what the JSON holds."""
  parts = arguments.only.split(",") if arguments.only else list(PARTS)
  for part in parts:
    check_choice("--only", part, PARTS)
  commands.check_json(arguments.json)
  measuring.check_least(arguments, repeats=2)
  sizes = SMALL if arguments.small else Sizes()
  peer = None
  if not arguments.notorch:
    try:
      peer = beside_torch.Torch()
    except ImportError as error:
      print(f"Without PyTorch, only one side is measured: {error}")
  about = {
      "command": arguments.command,
      **measuring.surroundings(),
      "sizes": dataclasses.asdict(sizes),
      "torch": peer is not None,
  }
  report = measuring.Report(
      arguments.json, arguments.budget, about, arguments.repeats
  )
  for part in parts:
    PARTS[part](report, sizes, peer, _BARE if arguments.nocompile else _ALL)
  print("\n".join(shares(report.content["rows"])))
  report.write()
  failed, skipped = report.content["failed"], report.content["skipped"]
  print(f"{len(report.content['rows'])} rows, {len(failed)} failed: {failed}")
  print(f"{len(skipped)} skipped: {skipped}")
  return report.content


def main(argv=None) -> int:
  """Runs the command; returns its exit status, 1 where a row failed."""
  parser = measuring.parser("accelerator", __doc__, budget=570, repeats=15)
  parser.add_argument("--only", default="", metavar="PART[,PART...]")
  parser.add_argument("--small", action="store_true")
  parser.add_argument("--notorch", action="store_true")
  parser.add_argument("--nocompile", action="store_true")
  return measuring.command(parser, run, argv)


if __name__ == "__main__":
  sys.exit(main())
