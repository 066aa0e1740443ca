"""A model beside FFmpeg's denoisers, each at the best settings of a search.

  python -m experiments.ffmpeg_filters --model=FOLDER --data=CLIPS[,CLIPS...] \\
      --sigma=10,20,30,50 --frames=10 --json=OUT.json

Clips get the noise of protocol fastdvdnet, clipped and rounded to 8 bits as a
file holds it. hqdn3d, nlmeans and bm3d run in the FFmpeg binary of the package
imageio-ffmpeg; for each level, the settings that reach the highest mean PSNR on
these very clips are searched for, which no user could do without the truth.
The model is measured twice: told the level, and by its own estimate.
"""

import argparse
import dataclasses
import itertools
import subprocess
import sys

import numpy as np

from experiments import commands, evaluation, manifest
from vidrestore_jax import released
from vidrestore_jax.data import folders
from vidrestore_jax.inference import frames_io, restoring
from vidrestore_jax.metrics import baselines, protocols

# Wherever both were tried, filters did better in luma and chroma than in red,
# green and blue, and hqdn3d no better on 16 bits than on 8.
_FORMAT = "yuv444p"
# Filters that look at one frame are searched on this frame of each clip.
_SEARCHED = 5


@dataclasses.dataclass(frozen=True)
class Filter:
  """A filtergraph of FFmpeg.

  Attributes:
    graph: as -filter_complex takes it.
    threads: how many run it; 0: FFmpeg's choice.
  """

  graph: str
  threads: int = 0

  def __call__(self, clip: np.ndarray) -> np.ndarray:
    """Filters uint8 `[T, H, W, 3]`; returns float32 in [0, 1].

    Raises:
      ChildProcessError: FFmpeg failed.
    """
    ffmpeg = import_ffmpeg()
    frames, height, width, _ = clip.shape
    graph = f"format={_FORMAT},{self.graph},format=gbrp16le"
    raw = ["-f", "rawvideo", "-s", f"{width}x{height}"]
    done = subprocess.run(
        [
            ffmpeg.get_ffmpeg_exe(), "-v", "error",
            *raw, "-pix_fmt", "rgb24", "-r", "25", "-i", "-",
            "-filter_complex_threads", str(self.threads),
            "-filter_complex", graph,
            "-f", "rawvideo", "-pix_fmt", "rgb48le",
            "-threads", str(self.threads), "-",
        ],
        input=clip.tobytes(), capture_output=True, check=False,
    )
    if done.returncode:
      raise ChildProcessError(
          f"FFmpeg failed on {graph}: {done.stderr.decode().strip()}"
      )
    filtered = np.frombuffer(done.stdout, "<u2")
    return filtered.reshape(frames, height, width, 3) / np.float32(65535)


def hqdn3d(sigma: float):
  """Settings worth trying; FFmpeg's own ratio of chroma to luma, or alike."""
  for strength, time, chroma in itertools.product(
      (0.3, 0.5, 0.8, 1.2, 1.7, 2.4), (0.25, 0.5, 1), (0.75, 1)
  ):
    luma = strength * sigma
    given = (luma, chroma * luma, time * luma, time * chroma * luma)
    yield Filter(f"hqdn3d={':'.join(f'{n:.2f}' for n in given)}")


def nlmeans(sigma: float):
  """Settings worth trying; FFmpeg's strength ends at 30."""
  for strength, patch in itertools.product(
      (0.25, 0.33, 0.42, 0.5, 0.67, 1), (5, 7)
  ):
    if 1 <= strength * sigma <= 30:
      yield Filter(f"nlmeans=s={strength * sigma:.1f}:p={patch}:r=15")


def bm3d(sigma: float):
  """Settings worth trying: one step, and both steps of the paper.

  FFmpeg's sigma is no standard deviation of pixels: the best one depends on
  the block. Deeper frames than 8 bits would need yet another. Groups of
  several blocks (group=2 and more) lost decibels wherever they were tried.
  """
  for block, factors in (
      (8, (3.3, 4.7, 6.5)), (16, (2, 2.4, 2.9, 3.4)), (32, (1, 1.25, 1.6))
  ):
    for factor in factors:
      given = f"sigma={factor * sigma:.1f}:block={block}:bstep=2:group=1"
      yield Filter(f"bm3d={given}")
      if block == 16:
        yield Filter(
            f"split[x][y];[x]bm3d={given}:estim=basic[z];"
            f"[y][z]bm3d={given}:estim=final:ref=1"
        )


FILTERS = {"hqdn3d": hqdn3d, "nlmeans": nlmeans, "bm3d": bm3d}


def measure(model, clips, sigma: float, say=print) -> dict[str, dict]:
  """PSNR of the model, the medians and the filters at one noise level.

  Args:
    model: a released model's folder.
    clips: dicts with `name`, `clean` float32 and `noisy` uint8
      `[T, H, W, 3]`.
    sigma: in 8-bit units.
    say: takes a line of progress.

  Returns:
    By method: `clips` (PSNR in dB by clip), `mean`, and `settings` of filters.
  """
  loaded = released.load(model)

  def told(noisy):
    return restoring.restore(_unit(noisy), loaded, sigma=sigma / 255)

  def blind(noisy):
    return restoring.restore(_unit(noisy), loaded)

  methods = {"noisy": _unit, "model": blind, "model, told sigma": told}
  for name in ("median3", "median5"):
    median = baselines.FILTERS[name]
    methods[name] = lambda noisy, median=median: median(_unit(noisy))
  results = {}
  for name, method in methods.items():
    results[name] = _row(method, clips)
    say(f"sigma {sigma:g}, {name}: {results[name]['mean']:.2f} dB")
  for name, candidates in FILTERS.items():
    best = _search(list(candidates(sigma)), clips, name == "hqdn3d", say)
    results[name] = _row(best, clips) | {"settings": best.graph}
    say(f"sigma {sigma:g}, {name}: {results[name]['mean']:.2f} dB")
  return results


def _search(candidates, clips, all_frames: bool, say) -> Filter:
  """The candidate of the highest mean PSNR."""
  best, highest = None, -np.inf
  for number, candidate in enumerate(candidates, 1):
    last = min(len(clip["clean"]) for clip in clips) - 1
    frames = slice(None) if all_frames else [min(_SEARCHED, last)]
    parts = [
        dict(name=clip["name"], clean=clip["clean"][frames],
             noisy=clip["noisy"][frames])
        for clip in clips
    ]
    reached = _row(candidate, parts)["mean"]
    if reached > highest:
      best, highest = candidate, reached
    say(
        f"  {number} of {len(candidates)}: {reached:.2f} dB"
        f" ({candidate.graph})"
    )
  return best


def _row(method, clips) -> dict:
  """PSNR by clip, of 8-bit frames, and its mean."""
  protocol = protocols.get("rgb_uint8")
  psnr = {}
  for clip in clips:
    scores = protocols.score(method(clip["noisy"]), clip["clean"], protocol)
    psnr[clip["name"]] = float(protocols.pool(scores, protocol)["psnr"])
  return {"clips": psnr, "mean": float(np.mean(list(psnr.values())))}


def _unit(noisy):
  return noisy / np.float32(255)


def _clips(paths, sigma, frames):
  """The first frames of clips, clean and noisy."""
  protocol = protocols.get("fastdvdnet")
  clips = []
  for path in paths:
    for item in evaluation.folder_clips(path, frames=frames):
      clean, noisy = evaluation.prepare(item, protocol, sigma)
      clips.append(dict(
          name=item["name"], clean=clean,
          noisy=frames_io.to_integers(noisy, 255),
      ))
  return clips


def main(argv=None) -> int:
  """Runs the command; returns its exit status."""
  parser = argparse.ArgumentParser(
      prog="python -m experiments.ffmpeg_filters", description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
  )
  parser.add_argument("--model", required=True, metavar="FOLDER")
  parser.add_argument("--data", required=True, metavar="CLIPS[,CLIPS...]")
  parser.add_argument(
      "--sigma", default="10,20,30,50", metavar="N[,N...]",
      help="noise levels in 8-bit units",
  )
  parser.add_argument(
      "--frames", type=int, default=10, help="the first so many of each clip"
  )
  parser.add_argument("--json", metavar="OUT", help="where to write numbers")
  parser.add_argument(
      "--debug", action="store_true", help="a traceback with an error"
  )
  arguments = parser.parse_args(argv)
  arguments.command = [
      "python", "-m", "experiments.ffmpeg_filters",
      *(sys.argv[1:] if argv is None else argv),
  ]
  return commands.run(lambda: _run(arguments), debug=arguments.debug)


def import_ffmpeg():
  """The module `imageio_ffmpeg`; ImportError says how to get it."""
  try:
    import imageio_ffmpeg
  except ImportError as error:
    raise ImportError(
        "FFmpeg's filters run in the binary of imageio-ffmpeg: pip install"
        " imageio-ffmpeg"
    ) from error
  return imageio_ffmpeg


def _run(arguments):
  import_ffmpeg()
  commands.check_json(arguments.json)
  if arguments.frames < 1:
    raise ValueError(f"--frames is at least 1, but got {arguments.frames}.")
  paths = arguments.data.split(",")
  for path in paths:
    folders.find_clips(path)
  sigmas = [float(sigma) for sigma in arguments.sigma.split(",")]
  written = {
      f"{sigma:g}": measure(
          arguments.model, _clips(paths, sigma, arguments.frames), sigma
      )
      for sigma in sigmas
  }
  print("\n" + table(written))
  if arguments.json:
    commands.write_json(arguments.json, {
        "psnr": written, "manifest": manifest.collect(arguments.command),
    })


def table(written) -> str:
  """Mean PSNR by level and method, in Markdown."""
  methods = list(next(iter(written.values())))
  lines = [
      f"| sigma | {' | '.join(methods)} |",
      f"| --- |{' --- |' * len(methods)}",
  ]
  for sigma, results in written.items():
    numbers = (f"{results[name]['mean']:.2f}" for name in methods)
    lines.append(f"| {sigma} | {' | '.join(numbers)} |")
  return "\n".join(lines)


if __name__ == "__main__":
  sys.exit(main())
