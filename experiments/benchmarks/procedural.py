"""How many procedural clips does one core draw in a second?

python -m experiments.benchmarks.procedural [--clips=100]

Training that eats 12 clips a second (a small denoiser on two cores) must not
wait for its data. Time is CPU time of this process, so other work beside it
hardly disturbs the figure.
"""

import argparse
import os
import platform
import statistics
import time

import numpy as np
import PIL

from vidrestore_jax.data.procedural import ProceduralClips

_REPEATS = 3


def measure(size: int, clips: int, flow: bool) -> tuple[float, float]:
  """Seconds to construct, and clips per CPU second (median of repeats)."""
  start = time.process_time()
  source = ProceduralClips(
      _REPEATS * clips, height=size, width=size, flow=flow
  )
  constructed = time.process_time() - start
  rates = []
  for repeat in range(_REPEATS):
    start = time.process_time()
    for index in range(repeat * clips, (repeat + 1) * clips):
      source[index]
    rates.append(clips / (time.process_time() - start))
  return constructed, statistics.median(rates)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--clips", type=int, default=100)
  clips = parser.parse_args().clips
  print(
      f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs,"
      f" Python {platform.python_version()}, NumPy {np.__version__},"
      f" Pillow {PIL.__version__}; median of {_REPEATS} x {clips} clips"
  )
  print("clip      flow   construct  clips/s of one core")
  for size in (64, 96, 128):
    for flow in (True, False):
      constructed, rate = measure(size, clips, flow)
      print(
          f"5x{size}x{size}".ljust(9), f"{'yes' if flow else 'no':5}",
          f"{constructed:7.2f} s", f"{rate:10.1f}",
      )


if __name__ == "__main__":
  main()
