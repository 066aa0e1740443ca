"""How fast is `vidrestore restore`, beside PyTorch and FFmpeg's denoisers?

  python -m experiments.benchmarks.restore_speed [--size=640x360] \\
      [--frames=12] [--filter-frames=24] [--threads=2] [--repeats=3] \\
      [--model=FOLDER] [--json=OUT]

Frames per second of one stream of noisy frames, every side in turns:

  model             the model in the package, frame by frame, told the noise
  fastdvdnet        the released FastDVDnet's size, here; random weights, since
                    no time depends on them
  fastdvdnet torch  the same weights in PyTorch: each stage once per frame, and
                    as its release does it, the whole window for each frame
  null              FFmpeg through pipes, which filters nothing: the start of
                    the process and the way there and back
  hqdn3d, ...       FFmpeg's filters, with all that null takes

and where the command's time goes: the whole of it, which estimates the noise
as it does unless told; and each by itself, which overlap in the command:

  decode   into RGB
  look     for scene cuts and at the noise; a part of restore
  restore  all that the command does between decoding and encoding
  encode   from RGB

--threads binds this process and FFmpeg's to that many processors, which XLA
then takes, and gives PyTorch and FFmpeg as many threads.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time

import jax
import numpy as np

from experiments import commands, ffmpeg_filters, manifest
from experiments.benchmarks import measuring, twins
from vidrestore_jax import models, released
from vidrestore_jax.data.procedural import ProceduralClips
from vidrestore_jax.inference import (
    jobs,
    pipeline,
    restoring,
    streaming,
    video_encoding,
    video_reader,
)

_SIGMA = 20
# Between the best at sigma 10 and at 30, of experiments.ffmpeg_filters.
_FILTERS = {
    "null": "null",
    "hqdn3d": "hqdn3d=34:34:17:17",
    "nlmeans": "nlmeans=s=6.6:p=5:r=15",
    "bm3d": (
        "split[x][y];[x]bm3d=sigma=68:block=16:bstep=2:group=1[z];"
        "[y][z]bm3d=sigma=68:block=16:bstep=2:group=1:estim=final:ref=1"
    ),
}


def sides(clip, threads: int, model, filtered: int) -> dict:
  """What restores a clip uint8 `[T, H, W, 3]`: a call by name.

  FFmpeg's filters get `filtered` frames, the clip again and again.
  """
  frames = clip / np.float32(255)
  calls = {"model": _streamed(*model, frames)}
  network = models.build("fastdvdnet")
  window, noise = np.zeros((1, 5, 8, 8, 3)), np.zeros((1, 8, 8, 1))
  variables = jax.jit(network.init)(jax.random.key(0), window, noise)
  calls["fastdvdnet"] = _streamed(network, variables, frames)
  try:
    calls |= _torch(variables, frames, threads)
  except ImportError:
    print("PyTorch is not installed: its side is left out.")
  longer = clip[np.arange(filtered) % len(clip)]
  for name, graph in _FILTERS.items():
    function = ffmpeg_filters.Filter(graph, threads)
    calls[name] = lambda function=function: function(longer)
  return calls


def _told(name, call):
  """The call, which says how long it took: a run takes minutes."""

  def timed():
    start = time.perf_counter()
    result = call()
    print(f"  {name}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return result

  return timed


def _streamed(model, variables, frames):
  def call():
    stream = streaming.restore_stream(
        model, variables, frames, sigma=_SIGMA / 255, aux=()
    )
    return [result.frames for result in stream]

  return call


def _torch(variables, frames, threads):
  """The twin as a stream and by whole windows; both give what ours does."""
  import torch

  from experiments.benchmarks import torch_weights

  torch.set_num_threads(threads)
  twin = twins.build("fastdvdnet", models.build("fastdvdnet"))
  twin = torch_weights.load(twin, variables).eval()
  twin = twin.to(memory_format=torch.channels_last)
  device = torch.device("cpu")
  noise = torch.full((1, 1, *frames.shape[1:3]), _SIGMA / 255)
  order = _mirrored(len(frames))

  def tensors():
    made = torch_weights.tensor(frames, device, channels_last=True)
    return [made[i : i + 1] for i in order]

  def stream():
    with torch.inference_mode():
      given, made, results = tensors(), [], []
      for i in range(len(given) - 2):
        if len(made) < 2:
          made.append(twin.stage(0, given[i : i + 3], noise))
          continue
        newest = twin.stage(0, given[i : i + 3], noise)
        result = twin.stage(1, [*made, newest], noise)
        made = [made[1], newest]
        results.append(torch_weights.array(result)[0])
      return results

  def windows():
    with torch.inference_mode():
      given = tensors()
      return [
          torch_weights.array(
              twin(torch.stack(given[i : i + 5], 1), noise)
          )[0]
          for i in range(len(given) - 4)
      ]

  return {"fastdvdnet torch": stream, "fastdvdnet torch, windows": windows}


def _mirrored(count):
  """The frames of a clip with two more, mirrored, at either end."""
  return [2, 1, *range(count), count - 2, count - 3]


def parts(video, model, repeats: int) -> dict:
  """Times of the command on a video, and of its parts each by itself."""
  model, variables = model
  source = video_reader.VideoReader(video)
  layout = source.description.layout
  with tempfile.TemporaryDirectory() as folder:
    output = pathlib.Path(folder) / "restored.mp4"
    encoding = video_encoding.choose(
        source.description, output, size=source.description.size
    )

    def decode():
      return [
          jax.block_until_ready(jobs.to_rgb(picture.planes, layout))
          for picture in video_reader.VideoReader(video).pictures()
      ]

    frames, options = decode(), restoring.Options(overwrite=True)
    restored = [np.asarray(frame) for frame in frames]

    def look():
      for _ in pipeline.looked_at(model, frames, options):
        pass

    def restore():
      results = pipeline.restored(
          model, variables, frames, options, aux=("state",)
      )
      for _ in results:
        pass

    def encode():
      writer = video_encoding.Encoder(
          output.with_suffix(".mkv"), encoding, source.description,
          source.description.size,
      )
      for index, frame in enumerate(restored):
        writer.write(jobs.samples(frame, encoding.layout), index)
      writer.close()

    def command():
      restoring.restore_file(video, output, model, variables, options)

    times = measuring.alternate(
        {
            "command": command,
            "decode": decode,
            "look": look,
            "restore": restore,
            "encode": encode,
        },
        repeats, warmup=1,
    )
  return times


def noisy_clip(size, count: int) -> np.ndarray:
  """A procedural clip with noise, uint8 `[T, H, W, 3]`."""
  width, height = size
  source = ProceduralClips(
      1, length=count, height=height, width=width, flow=False, max_speed=3.0
  )
  noise = np.random.default_rng(0).normal(0, _SIGMA, source[0]["clean"].shape)
  return np.clip(np.round(source[0]["clean"] + noise), 0, 255).astype(np.uint8)


def write_video(path, clip):
  """Writes a clip as H.264, 4:2:0, nearly without loss."""
  av = video_reader.import_av()
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
    stream.height, stream.width = clip.shape[1:3]
    stream.pix_fmt = "yuv420p"
    for frame in clip:
      container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
    container.mux(stream.encode())


def main(argv=None) -> int:
  """Runs the command; returns its exit status."""
  parser = argparse.ArgumentParser(
      prog="python -m experiments.benchmarks.restore_speed",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
  )
  parser.add_argument(
      "--model", metavar="FOLDER", help="default: the one in the package"
  )
  parser.add_argument("--size", default="640x360", metavar="WxH")
  parser.add_argument("--frames", type=int, default=12, help="at least 5")
  parser.add_argument(
      "--filter-frames", type=int, default=24, metavar="N",
      help="of FFmpeg's filters, whose process has to start first",
  )
  measuring.add_threads(parser)
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--json", metavar="OUT", help="where to write numbers")
  parser.add_argument(
      "--debug", action="store_true", help="a traceback with an error"
  )
  arguments = parser.parse_args(argv)
  arguments.command = [
      "python", "-m", "experiments.benchmarks.restore_speed",
      *(sys.argv[1:] if argv is None else argv),
  ]
  return commands.run(lambda: _run(arguments), debug=arguments.debug)


def _run(arguments):
  ffmpeg = ffmpeg_filters.import_ffmpeg().get_ffmpeg_version()
  video_reader.import_av()
  commands.check_json(arguments.json)
  for name, least in (("frames", 5), ("filter_frames", 1), ("repeats", 2)):
    if (given := getattr(arguments, name)) < least:
      raise ValueError(
          f"--{name.replace('_', '-')} is at least {least}, but got {given}."
      )
  size = commands.parse_size(arguments.size)
  processors = sorted(os.sched_getaffinity(0))
  threads = arguments.threads
  if not 1 <= threads <= len(processors):
    raise ValueError(
        f"--threads is between 1 and {len(processors)} here, but is {threads}."
    )
  # Before JAX counts them.
  os.sched_setaffinity(0, processors[:threads])
  try:
    _measure(arguments, size, ffmpeg)
  finally:
    os.sched_setaffinity(0, processors)


def _measure(arguments, size, ffmpeg):
  threads = arguments.threads
  model = released.load(arguments.model or released.PACKAGED)
  clip = noisy_clip(size, arguments.frames)
  about = measuring.machine() | {"threads": threads, "ffmpeg": ffmpeg}
  print(
      f"{about['cpu']}, {about['backend']}; JAX on {about['cpus']} CPUs,"
      f" PyTorch {about['versions'].get('torch', '(none)')} with {threads}"
      f" threads, FFmpeg {ffmpeg} with {threads}; {arguments.frames} frames of"
      f" {arguments.size}, {arguments.filter_frames} for FFmpeg"
  )
  calls = sides(clip, threads, model, arguments.filter_frames)
  if "fastdvdnet torch" in calls:
    ours = np.stack(calls["fastdvdnet"]())
    theirs = np.stack(calls["fastdvdnet torch"]())
    error = measuring.largest(theirs, ours)
    print(f"Largest difference over largest value of FastDVDnet: {error:.1e}")
    if not error < 1e-4:
      raise ArithmeticError(
          f"The two sides compute different frames: they differ by {error:.1e}."
      )
  start = time.perf_counter()
  times = measuring.alternate(
      {name: _told(name, call) for name, call in calls.items()},
      arguments.repeats, warmup=1,
  )
  with tempfile.TemporaryDirectory() as folder:
    video = pathlib.Path(folder) / "noisy.mp4"
    write_video(video, clip)
    shares = parts(video, model, arguments.repeats)
  print(f"Measured in {time.perf_counter() - start:.0f} s.\n")
  print("| side | frames/s (median) | slowest to fastest |")
  print("| --- | --- | --- |")
  for name, row in (times | shares).items():
    row["frames"] = arguments.frames
    if name in _FILTERS:
      row["frames"] = arguments.filter_frames
    rates = (row["frames"] / row[k] for k in ("median_s", "max_s", "min_s"))
    print("| {} | {:.2f} | {:.2f} to {:.2f} |".format(name, *rates))
  if arguments.json:
    commands.write_json(arguments.json, {
        "manifest": manifest.collect(arguments.command), "machine": about,
        "size": size, "sides": times, "command": shares,
    })


if __name__ == "__main__":
  sys.exit(main())
