"""How fast is `vidrestore restore`, beside PyTorch and FFmpeg's denoisers?

  python -m experiments.benchmarks.restore_speed [--size=640x360] \\
      [--frames=24] [--threads=2] [--repeats=3] [--model=FOLDER] [--json=OUT]

Frames per second of one stream of noisy frames, every side in turns:

  model             the model in the package, frame by frame
  fastdvdnet        the released FastDVDnet's size, here; random weights, since
                    no time depends on them
  fastdvdnet torch  the same weights in PyTorch: each stage once per frame, and
                    as its release does it, the whole window for each frame
  hqdn3d, ...       FFmpeg's filters through pipes, the start of the process
                    included

and where the command's time goes: the whole of it, and decoding, restoring and
encoding each by itself; in the command the three overlap.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import jax
import numpy as np

from experiments import commands, ffmpeg_filters
from experiments.benchmarks import measuring
from vidrestore_jax import models, released
from vidrestore_jax.data.procedural import ProceduralClips
from vidrestore_jax.inference import (
    jobs,
    restoring,
    streaming,
    video_encoding,
)
from vidrestore_jax.inference.video_reader import VideoReader

_SIGMA = 20
# Good settings at sigma 20, of experiments.ffmpeg_filters.
_FILTERS = {
    "hqdn3d": ffmpeg_filters.Filter("hqdn3d=24:18:24:18"),
    "nlmeans": ffmpeg_filters.Filter("nlmeans=s=8.4:p=7:r=15"),
    "bm3d": ffmpeg_filters.Filter(
        "bm3d=sigma=48:block=16:bstep=2:group=1"
    ),
}


def sides(clip, threads: int, model) -> dict:
  """What restores a clip uint8 `[T, H, W, 3]`: a call by name."""
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
  for name, function in _FILTERS.items():
    calls[name] = lambda function=function: function(clip)
  return calls


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

  from experiments.benchmarks import torch_twins

  torch.set_num_threads(threads)
  twin = torch_twins.load(torch_twins.FastDVDnet(), variables).eval()
  twin = twin.to(memory_format=torch.channels_last)
  device = torch.device("cpu")
  noise = torch.full((1, 1, *frames.shape[1:3]), _SIGMA / 255)
  order = _mirrored(len(frames))

  def tensors():
    made = torch_twins.tensor(frames, device, channels_last=True)
    return [made[i : i + 1] for i in order]

  def stream():
    with torch.inference_mode():
      given, made, results = tensors(), [], []
      for i in range(len(given) - 2):
        if len(made) < 2:
          made.append(twin.temp1(*given[i : i + 3], noise))
          continue
        result, newest = twin.step(given[i : i + 3], made, noise)
        made = [made[1], newest]
        results.append(torch_twins.array(result)[0])
      return results

  def windows():
    with torch.inference_mode():
      given = tensors()
      return [
          torch_twins.array(
              twin(torch.stack(given[i : i + 5], 1), noise)
          )[0]
          for i in range(len(given) - 4)
      ]

  return {"fastdvdnet torch": stream, "fastdvdnet torch, windows": windows}


def _mirrored(count):
  """The frames of a clip with two more, mirrored, at either end."""
  return [2, 1, *range(count), count - 2, count - 3]


def parts(video, model, repeats: int) -> dict:
  """Seconds of the command on a video, and of its parts each by itself."""
  model, variables = model
  source = VideoReader(video)
  layout = source.description.layout
  with tempfile.TemporaryDirectory() as folder:
    output = pathlib.Path(folder) / "restored.mp4"
    encoding = video_encoding.choose(
        source.description, output, size=source.description.size
    )

    def decode():
      return [
          np.asarray(jobs.to_rgb(picture.planes, layout))
          for picture in VideoReader(video).pictures()
      ]

    frames = decode()

    def encode():
      writer = video_encoding.Encoder(
          output.with_suffix(".mkv"), encoding, source.description,
          source.description.size,
      )
      for index, frame in enumerate(frames):
        writer.write(jobs.samples(frame, encoding.layout), index)
      writer.close()

    def command():
      options = restoring.Options(sigma=_SIGMA / 255, overwrite=True)
      restoring.restore_file(video, output, model, variables, options)

    times = measuring.alternate(
        {
            "command": command,
            "decode": decode,
            "restore": _streamed(model, variables, np.stack(frames)),
            "encode": encode,
        },
        repeats, warmup=1,
    )
  return {"frames": len(frames), "sides": times}


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
  import av

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
  parser.add_argument("--frames", type=int, default=24, help="at least 5")
  parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--json", metavar="OUT", help="where to write numbers")
  parser.add_argument(
      "--debug", action="store_true", help="a traceback with an error"
  )
  arguments = parser.parse_args(argv)
  return commands.run(lambda: _run(arguments), debug=arguments.debug)


def _run(arguments):
  commands.check_json(arguments.json)
  if arguments.frames < 5 or arguments.repeats < 2 or arguments.threads < 1:
    raise ValueError(
        "--frames is at least 5, --repeats 2 and --threads 1, but got"
        f" {arguments.frames}, {arguments.repeats} and {arguments.threads}."
    )
  try:
    width, height = map(int, arguments.size.split("x"))
  except ValueError as error:
    raise ValueError(
        "--size is WIDTHxHEIGHT, such as 640x360, but got"
        f" {arguments.size}."
    ) from error
  size = width, height
  model = released.load(arguments.model or released.PACKAGED)
  clip = noisy_clip(size, arguments.frames)
  about = measuring.machine() | {"threads": arguments.threads}
  print(
      f"{about['cpu']}, {about['cpus']} CPUs, {about['backend']}; PyTorch with"
      f" {arguments.threads} threads; {arguments.frames} frames of"
      f" {arguments.size}"
  )
  calls = sides(clip, arguments.threads, model)
  if "fastdvdnet torch" in calls:
    ours = np.stack(calls["fastdvdnet"]())
    theirs = np.stack(calls["fastdvdnet torch"]())
    error = float(np.abs(ours - theirs).max())
    print(f"Largest difference of FastDVDnet's outputs: {error:.1e}")
    if not error < 1e-4:
      raise ArithmeticError(
          f"The two sides compute different frames: they differ by {error:.1e}."
      )
  start = time.perf_counter()
  times = measuring.alternate(calls, arguments.repeats, warmup=1)
  with tempfile.TemporaryDirectory() as folder:
    video = pathlib.Path(folder) / "noisy.mp4"
    write_video(video, clip)
    shares = parts(video, model, arguments.repeats)
  print(f"Measured in {time.perf_counter() - start:.0f} s.\n")
  print("| side | frames/s (median) | slowest to fastest |")
  print("| --- | --- | --- |")
  for name, row in (times | shares["sides"]).items():
    rates = (
        arguments.frames / row[key] for key in ("median_s", "max_s", "min_s")
    )
    print("| {} | {:.2f} | {:.2f} to {:.2f} |".format(name, *rates))
  if arguments.json:
    commands.write_json(arguments.json, {
        "machine": about, "size": size, "frames": arguments.frames,
        "sides": times, "command": shares["sides"],
    })


if __name__ == "__main__":
  sys.exit(main())
