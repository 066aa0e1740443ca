"""What a model costs per output frame: parameters, GFLOPs, peak memory.

  python -m experiments.complexity --config=configs/ncfl_davis.py:m_d \
      --size=960x540 [--json=OUT] [--depth=2] [--nomemory]
      [--config.model.key=value]
  python -m experiments.complexity --model=toflow --size=180x120

The multiply-accumulates are counted from the traced program, module by module
(`experiments.tracing` says what counts); GFLOPs are 2 x MACs / 1e9. The program
is one step of a recurrent model, one call of SpyNet (a pair of frames) and one
window of a windowed model: each yields one frame. A bidirectional model costs
what one frame more in a clip adds. Of a cascade of stages the cost as a stream
is given as well, where each stage runs once per frame. SIZE is the width and
height of the input frames. Where it is no multiple of the model's stride, the
padded frame is traced and the cost per padded pixel is charged for the pixels
asked for.
--model is a released folder, or the name of a model for its default arguments.

Peak memory is what XLA reserves to run that (padded) program once, compiled
for the default backend: arguments (parameters, state and frame), outputs and
temporary buffers, less what is shared between them; of a bidirectional model,
for a clip of 5 frames. Compiling a whole frame takes seconds to minutes;
`--nomemory` skips it.

The JSON has `params`, `macs`, `gflops`, `modules` (the same three for each
module; they add up to the total), `streamed_gflops` (null but for a cascade),
`size`, `model`, `peak_memory_bytes` (null when skipped) and `backend`.
"""

import argparse
import collections
import dataclasses
import math
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
from flax import traverse_util

from experiments import commands, configuration, tracing
from vidrestore_jax import models, released

# Frames of a bidirectional model's clip: beyond these each costs the same, also
# where features come from two frames before.
CLIP = 5
OWN = "(itself)"  # What a model computes outside of any of its submodules.


@dataclasses.dataclass(frozen=True)
class Cost:
  """The cost of a part: parameters, and MACs for one output frame."""

  params: int = 0
  macs: int = 0

  @property
  def gflops(self) -> float:
    """A multiply and an add are two operations, as the papers count."""
    return 2 * self.macs / 1e9

  def as_json(self) -> dict:
    return dict(params=self.params, macs=self.macs, gflops=self.gflops)


@dataclasses.dataclass(frozen=True)
class Program:
  """What yields one frame: `fn(variables, *args)`, and all their shapes."""

  fn: object
  variables: object
  args: tuple


def frame_program(
    model, *, height: int, width: int, frames: int = CLIP
) -> Program:
  """The program by which `model` makes one frame, of shapes only.

  That of a bidirectional model makes all the frames of a clip.

  Args:
    model: as `vidrestore_jax.models.build` returns it.
    height: rows of the frame, a multiple of the model's stride.
    width: columns of the frame, likewise.
    frames: of a bidirectional model's clip.
  """

  def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)

  frame = array(1, height, width, getattr(model, "channels", 3))
  if not getattr(model, "restores", True):  # A flow network: two frames.
    inputs, fn = (frame, frame), model.apply
    init_inputs = inputs
  else:
    noise = None
    if getattr(model, "noise_map", False):
      noise = array(1, height, width, 1)
    if model.recurrent:
      length = 1
    elif model.radius is None:
      length = frames
    else:
      length = 2 * model.radius + 1
    clip = array(1, length, *frame.shape[1:])
    init_inputs = (clip, noise)
    if model.recurrent:
      state = jax.eval_shape(model.init_state, frame)
      inputs = (state, frame, noise)

      def fn(variables, *args):
        return model.apply(variables, *args, method="step")
    else:
      inputs, fn = init_inputs, model.apply
  key = jax.eval_shape(lambda: jax.random.key(0))
  return Program(fn, jax.eval_shape(model.init, key, *init_inputs), inputs)


def measure(model, *, width: int, height: int, depth: int = 1):
  """Counts parameters and MACs of `model` for one `width` x `height` frame.

  Args:
    model: as `vidrestore_jax.models.build` returns it.
    width: columns of the input frame.
    height: rows of the input frame.
    depth: how many levels of submodules to tell apart, at least 1.

  Returns:
    (total Cost, {module path: Cost}): the modules add up to the total.
  """
  stride = getattr(model, "stride", 1)
  padded = [-(-side // stride) * stride for side in (height, width)]
  program = frame_program(model, height=padded[0], width=padded[1])
  params = traverse_util.flatten_dict(program.variables.get("params", {}))

  def count(program):
    counts = collections.Counter()
    stacks = tracing.count_macs(program.fn, program.variables, *program.args)
    for stack, macs in stacks.items():
      counts[module_of(stack, params, depth)] += macs
    return counts

  counts = count(program)
  if getattr(model, "bidirectional", False):
    counts -= count(
        frame_program(
            model, height=padded[0], width=padded[1], frames=CLIP - 1
        )
    )
  sizes = collections.Counter()
  for path, leaf in params.items():
    sizes["/".join(path[:-1][:depth]) or OWN] += math.prod(leaf.shape)

  share = height * width / math.prod(padded)
  modules = {
      name: Cost(sizes[name], round(counts[name] * share))
      for name in sorted(sizes | counts)
  }
  # Summed after rounding, so that the parts always add up to the whole.
  total = Cost(
      sum(cost.params for cost in modules.values()),
      sum(cost.macs for cost in modules.values()),
  )
  return total, modules


def streamed_macs(model, *, width: int, height: int) -> int | None:
  """MACs of one frame in a stream; None where the model is no cascade.

  `inference.streaming` keeps what a stage made, so that a frame costs each
  stage once, however many windows it lies in.

  Args:
    model: as `vidrestore_jax.models.build` returns it.
    width: columns of the input frame.
    height: rows of the input frame.
  """
  if not hasattr(model, "stages"):
    return None
  padded = [-(-side // model.stride) * model.stride for side in (height, width)]
  program = frame_program(model, height=padded[0], width=padded[1])
  window, noise = program.args
  macs = 0
  for index, radius in enumerate(model.stages):
    shape = (1, 2 * radius + 1, *window.shape[2:])
    frames = jax.ShapeDtypeStruct(shape, window.dtype)

    def stage(variables, frames, noise, index=index):
      return model.apply(variables, index, frames, noise, method="stage")

    macs += tracing.count_macs(
        stage, program.variables, frames, noise
    ).total()
  return round(macs * height * width / math.prod(padded))


def module_of(stack: str, params, depth: int) -> str:
  """The module that a name stack lies in, to `depth` levels.

  Flax writes `Root.step/fa/Block_0.method/...`; transformations add levels of
  their own, such as `vmap(fa)`. The parameters' paths say which are modules.

  Args:
    stack: names joined by `/`, the outermost first.
    params: collection of parameter paths, tuples of names.
    depth: how many levels to keep.
  """
  prefixes = {path[:i] for path in params for i in range(1, len(path))}
  module = ()
  for name in stack.split("/"):
    inner = re.sub(r"^(?:\w+\()*(.*?)\)*$", r"\1", name)
    for candidate in (name, inner, inner.split(".")[0]):
      if (*module, candidate) in prefixes:
        module += (candidate,)
        break
  return "/".join(module[:depth]) or OWN


def peak_memory(model, *, width: int, height: int) -> int:
  """Bytes that XLA reserves to make one frame on the default backend.

  Arguments, outputs and temporary buffers, less what aliases; by compiling,
  without running anything.
  """
  stride = getattr(model, "stride", 1)
  height, width = (-(-side // stride) * stride for side in (height, width))
  program = frame_program(model, height=height, width=width)
  compiled = jax.jit(program.fn).lower(program.variables, *program.args)
  memory = compiled.compile().memory_analysis()
  if memory is None:
    raise ValueError(
        f"The {jax.default_backend()} backend does not report the memory of a"
        " compiled program. Pass --nomemory, or run with JAX_PLATFORMS=cpu."
    )
  return (
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      + memory.temp_size_in_bytes
      - memory.alias_size_in_bytes
  )


def build_model(config):
  """The model of a config; `init_from` concerns weights, which cost nothing."""
  section = config.model.to_dict() | {"dtype": config.dtype}
  section.pop("init_from", None)
  name = section.pop("name")
  return name, models.build(name, **section)


def find_model(text: str):
  """Name and model of a released folder, or of a name and its defaults."""
  if text in models.available():
    return text, models.build(text)
  if not pathlib.Path(text).exists():
    raise ValueError(
        f"--model={text} is neither a released folder nor one of"
        f" {', '.join(models.available())}."
    )
  return released.read_card(text)["name"], released.load(text)[0]


def table(total: Cost, modules: dict[str, Cost]) -> str:
  """Total and modules as aligned text, dearest module first."""

  def dearest_first(row):
    digits = re.split(r"(\d+)", row[0])  # block_2 stands before block_10.
    return -row[1].macs, [int(s) if s.isdigit() else s for s in digits]

  rows = sorted(modules.items(), key=dearest_first)
  width = max(len(name) for name in [*modules, "module"])
  lines = [
      f"{'module':<{width}}  {'parameters':>12}  {'MACs':>18}  {'GFLOPs':>9}"
      f"  {'share':>6}"
  ]
  lines.append("-" * len(lines[0]))
  for name, cost in [*rows, ("total", total)]:
    if name == "total":
      lines.append(lines[1])
    share = cost.macs / total.macs if total.macs else 0.0
    lines.append(
        f"{name:<{width}}  {cost.params:>12,}  {cost.macs:>18,}"
        f"  {cost.gflops:>9.2f}  {share:>6.1%}"
    )
  return "\n".join(lines)


def run(argv: list[str]) -> dict:
  """Measures, prints and writes what the command line asks for."""
  parser = argparse.ArgumentParser(
      prog="python -m experiments.complexity",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,  # --config.key must not be taken for --config.
  )
  which = parser.add_mutually_exclusive_group(required=True)
  which.add_argument("--config", metavar="FILE.py[:variant]")
  which.add_argument("--model", metavar="FOLDER_OR_NAME")
  parser.add_argument("--size", required=True, metavar="WIDTHxHEIGHT")
  parser.add_argument("--json", metavar="OUT")
  parser.add_argument("--depth", type=int, default=1)
  parser.add_argument("--nomemory", dest="memory", action="store_false")
  args, overrides = parser.parse_known_args(argv)
  width, height = commands.parse_size(args.size)
  if args.depth < 1:
    raise ValueError(f"--depth={args.depth} shows nothing: give 1 or more.")
  changes = configuration.parse_overrides(overrides)
  if args.config:
    name, model = build_model(configuration.load(args.config, changes))
  elif changes:
    raise ValueError(
        f"--config.{changes[0][0]} changes a config, but --model={args.model}"
        " is none. Give --config=FILE.py."
    )
  else:
    name, model = find_model(args.model)

  total, modules = measure(
      model, width=width, height=height, depth=args.depth
  )
  print(f"{name} ({args.config or args.model}), one frame of {width}x{height}")
  print(table(total, modules), flush=True)
  streamed = streamed_macs(model, width=width, height=height)
  if streamed is not None:
    print(f"as a stream, each stage once: {2 * streamed / 1e9:.2f} GFLOPs")
  memory = None
  if args.memory:
    memory = peak_memory(model, width=width, height=height)
    print(
        f"peak memory {memory / 2**20:,.1f} MiB: arguments, outputs and"
        f" temporaries of the program compiled for {jax.default_backend()}"
    )
  result = dict(
      model=name,
      config=args.config,
      size=f"{width}x{height}",
      **total.as_json(),
      modules={path: cost.as_json() for path, cost in modules.items()},
      streamed_gflops=None if streamed is None else 2 * streamed / 1e9,
      peak_memory_bytes=memory,
      backend=jax.default_backend(),
  )
  if args.json:
    path = pathlib.Path(args.json)
    path.parent.mkdir(parents=True, exist_ok=True)
    commands.write_json(path, result)
  return result


def main(argv: list[str] | None = None) -> int:
  """Runs; returns the exit status of `commands.run`."""
  return commands.run(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
  sys.exit(main())
