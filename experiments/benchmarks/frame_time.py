"""How long does a frame take? Table 3 of the FITVNet paper, measured.

  python -m experiments.benchmarks.frame_time \\
      --model=FOLDER,configs/fitvnet_vimeo.py:jsc [--size=448x256] \\
      [--frames=12] [--repeats=5] [--json=OUT]

A model is a released folder or a config, whose model is then initialised: the
weights' values do not matter. Two times each, of one frame:

  call    the model's own call: the whole window of a windowed model, one step
          of a recurrent one; input and result stay on the device
  stream  `inference.streaming`, frame by frame from and to the host; what a
          stage made of a frame is kept, so that each stage runs once

Programs are compiled and run before the clock; every timed result is waited for
(block_until_ready); the table has medians with minimum and maximum. What else
the machine does shows in their distance.
"""

import argparse
import functools
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments import (
    commands,
    complexity,
    configuration,
    evaluation,
    fitvnet_tables,
    manifest,
    paper_numbers,
)
from vidrestore_jax import released
from vidrestore_jax.inference import streaming

_SIGMA = 25 / 255  # What models are told; no time depends on it.


def load(name: str):
  """(model, variables) of a released folder or of a config's model.

  Args:
    name: the folder, or FILE.py[:variant].
  """
  if not name.partition(":")[0].endswith(".py"):
    model, variables = released.load(name)
    streaming.check_streams(model)
    return model, variables
  _, model = complexity.build_model(configuration.load(name, {}))
  streaming.check_streams(model)
  side = model.stride  # Parameters do not depend on the size.
  length = 1 if model.recurrent else 2 * model.radius + 1
  clip = jnp.zeros((1, length, side, side, model.channels))
  noise = jnp.zeros((1, side, side, 1)) if model.noise_map else None
  return model, jax.jit(model.init)(jax.random.key(0), clip, noise)


def time_call(model, variables, *, width, height, repeats) -> list[float]:
  """Seconds of each timed call for one frame; sizes multiples of the stride."""
  program = complexity.frame_program(model, height=height, width=width)
  *_, noise = program.args
  generator = np.random.default_rng(0)
  shape = program.args[-2].shape  # The window, or the frame.
  frames = jnp.asarray(generator.random(shape, np.float32))
  if noise is not None:
    noise = jnp.full(noise.shape, _SIGMA)
  step = jax.jit(program.fn)
  variables = jax.device_put(variables)
  if not model.recurrent:
    return timed(functools.partial(step, variables, frames, noise), repeats)
  state = jax.jit(model.init_state)(frames)

  def carried():
    nonlocal state
    state, restored = step(variables, state, frames, noise)
    return state, restored

  return timed(carried, repeats)


def timed(function, repeats: int) -> list[float]:
  """Seconds of each of `repeats` calls, after two that do not count."""
  seconds = []
  for _ in range(2 + repeats):
    start = time.perf_counter()
    jax.block_until_ready(function())
    seconds.append(time.perf_counter() - start)
  return seconds[2:]


def time_stream(
    model, variables, *, width, height, frames, repeats
) -> list[float]:
  """Seconds per frame of each of `repeats` streams of so many frames.

  From the first result to the last but one, between which one frame goes in
  for each that comes out.
  """
  generator = np.random.default_rng(0)
  shape = (height, width, model.channels)
  clip = [generator.random(shape, np.float32) for _ in range(frames)]
  sigma = _SIGMA if model.noise_map else None
  seconds = []
  for _ in range(1 + repeats):
    moments = [
        time.perf_counter()
        for _ in streaming.restore_stream(model, variables, clip, sigma=sigma)
    ]
    seconds.append((moments[-2] - moments[0]) / (len(moments) - 2))
  return seconds[1:]  # The first one compiled.


def measure(name: str, *, width, height, frames, repeats) -> dict:
  """Both times of a model, and what they are made of."""
  model, variables = load(name)
  size = dict(width=width, height=height)
  padded = {k: -(-v // model.stride) * model.stride for k, v in size.items()}
  total, _ = complexity.measure(model, **size)
  streamed = complexity.streamed_macs(model, **size)
  return {
      "model": name,
      "radius": model.radius,
      "params": total.params,
      "call_gmacs": total.macs / 1e9,
      "stream_gmacs": (total.macs if streamed is None else streamed) / 1e9,
      "call_s": time_call(model, variables, **padded, repeats=4 * repeats),
      "stream_s": time_stream(
          model, variables, **size, frames=frames, repeats=repeats
      ),
  }


def _row(result, kind):
  seconds = result[f"{kind}_s"]
  median = statistics.median(seconds)
  gmacs = result[f"{kind}_gmacs"]
  return [
      f"{result['model']}, {kind}",
      f"{1e3 * median:.1f}",
      f"{1e3 * min(seconds):.1f} to {1e3 * max(seconds):.1f}",
      f"{1 / median:.1f}",
      f"{gmacs:.2f}",
      f"{gmacs / median:.0f}",
  ]


def run(arguments):
  """Measures, prints and writes what the command line asks for."""
  width, height = commands.parse_size(arguments.size)
  commands.check_json(arguments.json)
  if arguments.frames < 4 or arguments.repeats < 1:
    raise ValueError(
        "--frames is at least 4 and --repeats at least 1, but got"
        f" {arguments.frames} and {arguments.repeats}."
    )
  about = manifest.collect(arguments.command)
  machine = about["machine"]
  print(
      f"{machine['cpu']}, {machine['cpus']} CPUs; {machine['backend']}:"
      f" {', '.join(machine['devices'])}; jax {about['versions']['jax']};"
      f" frames of {width}x{height}, batch 1"
  )
  results = []
  for name in filter(None, arguments.model.split(",")):
    results.append(
        measure(
            name, width=width, height=height, frames=arguments.frames,
            repeats=arguments.repeats,
        )
    )
  rows = [["", "ms", "min to max", "frames/s", "GMAC", "GMAC/s"]]
  rows += [_row(r, kind) for r in results for kind in ("call", "stream")]
  rows += [
      [
          f"{fitvnet_tables.VARIANTS.get(name, name)}, paper (2080 Ti)",
          f"{1e3 * seconds:.1f}",
          *4 * ["-"],
      ]
      for name, seconds in paper_numbers.SECONDS.items()
  ]
  print(evaluation.markdown(rows))
  for note in paper_numbers.NOTES[3]:
    print(f"* {note}")
  if arguments.json:
    commands.write_json(
        arguments.json,
        {
            "size": arguments.size,
            "results": results,
            "paper_s": paper_numbers.SECONDS,
            "manifest": about,
        },
    )


def main(argv=None) -> int:
  """Runs the command; returns its exit status."""
  typed = sys.argv[1:] if argv is None else argv
  parser = argparse.ArgumentParser(
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
  )
  parser.add_argument("--model", required=True, metavar="NAME[,NAME...]")
  parser.add_argument("--size", default="448x256", metavar="WIDTHxHEIGHT")
  parser.add_argument("--frames", type=int, default=12)
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--json", default=None, metavar="OUT")
  arguments = parser.parse_args(typed)
  arguments.command = [
      "python", "-m", "experiments.benchmarks.frame_time", *typed
  ]
  return commands.run(lambda: run(arguments))


if __name__ == "__main__":
  sys.exit(main())
