"""Clips per second of the data pipeline, beside PyTorch's DataLoader.

  python -m experiments.benchmarks.data_pipeline [--seconds=2] [--repeats=3] \\
      [--workers=0,1,2] [--clips=FOLDER] [--videos=FILE_OR_FOLDER] [--json=OUT]

Batches of 8 clips of 5 frames, cut to 128x128 and turned at random, from

  array_record  septuplets of 448x256 in PNG, prepared as `clip_folders`
  jpeg          folders of 854x480 JPEG frames, windows of 5
  video         H.264 files of 854x480, a key frame every 48, windows of 5
  procedural    clips that are drawn as they are asked for

with 0, 1 and 2 worker processes; about six minutes on two quiet cores. Both
sides read the very same files. The pictures are drawn and written anew for each
run of this script, unless --clips (a folder of frame folders, whose JPEG or PNG
frames then take the place of `jpeg`'s) and --videos name real ones.

The other side is what a PyTorch user writes first, in this process: a Dataset
that decodes the five frames by Pillow (`Image.open(...).convert("RGB")`) or
PyAV (open, seek, decode to the window, `to_ndarray("rgb24")`), cuts, turns and
makes a tensor; a DataLoader with shuffled epochs, persistent workers and its
default collation and prefetch. PyTorch is needed for this benchmark alone.

The sides' windows are compared first. A measurement makes a new iterator and
times its first batch, passes over some, and counts batches for `--seconds`;
libraries are imported before. The two sides take turns, within one process; the
table has the medians. CPU time per clip
(this process and its workers; Linux) is beside the rate, since other work on
the machine moves it less.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import multiprocessing
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time

import numpy as np
from PIL import Image, features

from experiments import commands
from vidrestore_jax import data
from vidrestore_jax.data import pipeline
from vidrestore_jax.shapes import check_choice

_BATCH, _LENGTH, _PATCH = 8, 5, 128
_SOURCES = ("array_record", "jpeg", "video", "procedural")
_KEY_FRAMES = 48


# Files to read


def _draw(count, length, height, width, seed):
  """Clips of textures in motion, uint8 `[length, height, width, 3]`."""
  source = data.build(
      "procedural", size=count, length=length, height=height, width=width,
      seed=seed, flow=False,
  )
  rng = np.random.default_rng(seed)
  for index in range(count):
    clip = source[index]["clean"]
    # What a camera adds, without which files would be too easy to decode.
    grain = rng.normal(0, 1.5, clip.shape)
    yield np.clip(np.rint(clip + grain), 0, 255).astype(np.uint8)


def _write_folders(folder, clips, suffix, **options):
  for number, clip in enumerate(clips):
    (folder / f"{number:03}").mkdir(parents=True)
    for t, frame in enumerate(clip):
      path = folder / f"{number:03}" / f"{t:05}.{suffix}"
      Image.fromarray(frame).save(path, **options)
  return folder


def _write_videos(folder, clips):
  import av

  folder.mkdir()
  for number, clip in enumerate(clips):
    with av.open(str(folder / f"{number}.mp4"), "w") as container:
      options = {"g": str(_KEY_FRAMES), "crf": "20"}
      stream = container.add_stream("libx264", rate=25, options=options)
      stream.height, stream.width = clip.shape[1:3]
      stream.pix_fmt = "yuv420p"
      for pixels in clip:
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        container.mux(stream.encode(frame))
      container.mux(stream.encode())
  return folder


def make_source(name, folder, clips, videos):
  """The source `name`, its files in `folder` if none are named."""
  if name == "array_record":
    from vidrestore_jax.data.builders import clip_folders

    drawn = _draw(24, 7, 256, 448, seed=1)
    frames = _write_folders(folder / "septuplets", drawn, "png")
    clip_folders.prepare(frames, folder / "tfds")
    return data.build(
        "clip_folders", data_dir=folder / "tfds", length=_LENGTH
    )
  if name == "jpeg":
    if not clips:
      drawn = _draw(4, 24, 480, 854, seed=2)
      clips = _write_folders(folder / "jpeg", drawn, "jpg", quality=85)
    return data.build("folders", clean=clips, length=_LENGTH)
  if name == "video":
    if not videos:
      videos = _write_videos(
          folder / "videos", _draw(2, 2 * _KEY_FRAMES, 480, 854, seed=3)
      )
    return data.build("videos", path=videos, length=_LENGTH)
  return data.build(
      "procedural", size=64, length=_LENGTH, height=_PATCH,
      width=_PATCH, flow=False,
  )


# PyTorch's side


def _decode(encoded):
  return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def _read_folders(source, index):
  clip, start = source.windows[index]
  paths = source.clips[clip][1][start : start + _LENGTH]
  return np.stack([_decode(path.read_bytes()) for path in paths])


def _read_array_record(source, index):
  windows = [n - _LENGTH + 1 for n in source.frame_counts]
  sequence = int(np.searchsorted(np.cumsum(windows), index, side="right"))
  start = index - sum(windows[:sequence])
  return np.stack([
      _decode(source.encoded(sequence, start + t)) for t in range(_LENGTH)
  ])


def _read_video(source, index):
  import av

  windows = [len(video.pts) - _LENGTH + 1 for video in source.videos]
  which = int(np.searchsorted(np.cumsum(windows), index, side="right"))
  start = index - sum(windows[:which])
  with av.open(str(source.videos[which].file)) as container:
    stream = container.streams.video[0]
    first = int(source.videos[which].pts[start])  # Known for nothing, here.
    container.seek(first, stream=stream)
    frames = []
    for frame in container.decode(stream):
      if frame.pts >= first:
        frames.append(frame.to_ndarray(format="rgb24"))
      if len(frames) == _LENGTH:
        return np.stack(frames)
  raise ValueError(f"No frames from {start} on in {source.videos[which].file}.")


_READERS = {
    "array_record": _read_array_record,
    "jpeg": _read_folders,
    "video": _read_video,
    "procedural": lambda source, index: source[index]["clean"],
}


class _Epochs:
  """Endless epochs, each in an order of its own, as our side reads them.

  So both sides read every window equally often: some cost twice as much as
  others. With epochs of its own, a loader's workers would wait at their ends.
  """

  def __init__(self, count):
    self._count = count

  def __iter__(self):
    rng = np.random.default_rng(0)
    while True:
      yield from rng.permutation(self._count).tolist()


def torch_batches(name, source, workers):
  """An endless iterator over a plain DataLoader's batches."""
  import torch
  from torch.utils import data as torch_data

  class Clips(torch_data.Dataset):

    def __len__(self):
      return len(source)

    def __getitem__(self, index):
      clip = _READERS[name](source, index)
      top = np.random.randint(clip.shape[1] - _PATCH + 1)
      left = np.random.randint(clip.shape[2] - _PATCH + 1)
      clip = clip[:, top : top + _PATCH, left : left + _PATCH]
      for axis in (1, 2):
        if np.random.randint(2):
          clip = np.flip(clip, axis)
      if np.random.randint(2):
        clip = clip.swapaxes(1, 2)
      return torch.from_numpy(np.ascontiguousarray(clip))

  torch.set_num_threads(1)  # As in a loader's workers; nothing here uses more.
  loader = torch_data.DataLoader(
      Clips(),
      batch_size=_BATCH,
      sampler=_Epochs(len(source)),
      num_workers=workers,
      persistent_workers=workers > 0,
  )
  return iter(loader)


# Measuring


def our_batches(name, source, workers):
  """The pipeline that training uses."""
  del name
  return pipeline.train_iterator(
      source, batch_size=_BATCH, clip_length=_LENGTH, patch_size=_PATCH,
      seed=0, workers=workers,
  )


def measure(make, name, source, workers, seconds) -> dict[str, float]:
  """Seconds to the first batch, and clips per second after the start."""
  start = time.perf_counter()
  iterator = make(name, source, workers)
  with contextlib.ExitStack() as stack:
    if hasattr(iterator, "close"):
      stack.callback(iterator.close)
    batch = next(iterator)
    first = time.perf_counter() - start
    clean = batch["clean"] if isinstance(batch, dict) else batch
    assert tuple(clean.shape) == (_BATCH, _LENGTH, _PATCH, _PATCH, 3)
    # Until workers run and what was read ahead of the clock is used up.
    for _ in range(5 + 4 * workers):
      next(iterator)
    count, start, cpu = 0, time.perf_counter(), _cpu_seconds()
    while (passed := time.perf_counter() - start) < seconds:
      next(iterator)
      count += 1
    clips = _BATCH * count
    return {
        "first_batch_s": first,
        "clips_per_s": clips / passed,
        "cpu_ms_per_clip": 1e3 * (_cpu_seconds() - cpu) / clips,
    }


def difference(name, source) -> float:
  """How far apart the two sides' frames are, in 8-bit values, in a few windows.

  Returns:
    The largest difference; of video files, whose chroma each side interpolates
    in its own way, the 99th percentile of luma.

  Raises:
    ValueError: they read other frames.
  """
  share, bound = (99, 4) if name == "video" else (100, 0)
  found = 0.0
  for index in range(0, len(source), -(-len(source) // 5)):
    apart = np.subtract(
        source[index]["clean"], _READERS[name](source, index), dtype=np.float32
    )
    if name == "video":
      apart = apart @ np.float32([0.299, 0.587, 0.114])
    found = max(found, float(np.percentile(np.abs(apart), share)))
  if found > bound:
    raise ValueError(
        f"The sides read other frames of {name}: they differ by {found:g} of"
        f" 255, where {bound} is allowed."
    )
  return found


def _cpu_seconds() -> float:
  """CPU time of this process and its workers so far."""
  total = time.process_time()
  for worker in multiprocessing.active_children():
    path = pathlib.Path(f"/proc/{worker.pid}/stat")
    if path.exists():
      fields = path.read_text().rpartition(")")[2].split()
      # utime and stime, fields 14 and 15 of proc(5).
      total += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
  return total


def machine() -> dict[str, str]:
  """What the numbers depend on."""
  # Brings jax, which workers, that import this file again, need not wait for.
  from experiments import evaluation, manifest

  names = ("grain", "array_record", "numpy", "pillow", "av", "torch")
  return {
      "cpu": f"{manifest.cpu()}, {os.cpu_count()} CPUs",
      "python": platform.python_version(),
      **{name: importlib.metadata.version(name) for name in names},
      "libjpeg_turbo": str(features.version("libjpeg_turbo")),
      "zlib_ng": str(features.version("zlib_ng")),
      "commit": str(evaluation.commit()),
  }


def run(arguments) -> dict:
  """All measurements and their medians."""
  sides = {"vidrestore_jax": our_batches, "torch": torch_batches}
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    for name in arguments.sources:
      source = make_source(
          name, pathlib.Path(folder), arguments.clips, arguments.videos
      )
      same = difference(name, source)
      print(
          f"{name}: {len(source)} windows, in which the sides differ by"
          f" {same:g} of 255",
          flush=True,
      )
      for workers in arguments.workers:
        found = {side: [] for side in sides}
        for repeat in range(arguments.repeats):
          order = list(sides)[:: 1 if repeat % 2 == 0 else -1]
          for side in order:
            found[side].append(
                measure(sides[side], name, source, workers, arguments.seconds)
            )
        row = {"source": name, "workers": workers, "difference": same}
        for side, results in found.items():
          for key in results[0]:
            values = [result[key] for result in results]
            row[f"{side}_{key}"] = statistics.median(values)
            row[f"{side}_{key}_all"] = values
        rows.append(row)
        print(_line(row), flush=True)
  return {"machine": machine(), "rows": rows}


def _line(row) -> str:
  ours, theirs = (
      {
          key: row[f"{side}_{key}"]
          for key in ("clips_per_s", "first_batch_s", "cpu_ms_per_clip")
      }
      for side in ("vidrestore_jax", "torch")
  )
  ratio = ours["clips_per_s"] / theirs["clips_per_s"]
  return (
      f"{row['source']:13} {row['workers']} workers"
      f" {ours['clips_per_s']:7.1f} {theirs['clips_per_s']:7.1f} clips/s"
      f"  x{ratio:.2f}   CPU {ours['cpu_ms_per_clip']:5.1f}"
      f" {theirs['cpu_ms_per_clip']:5.1f} ms/clip"
      f"   first batch {ours['first_batch_s']:5.2f}"
      f" {theirs['first_batch_s']:5.2f} s"
  )


def _list(kind):
  return lambda text: [kind(part) for part in text.split(",")]


def main(argv=None) -> int:
  """Runs the command; returns its exit status."""
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--seconds", type=float, default=2.0)
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--workers", type=_list(int), default=[0, 1, 2])
  parser.add_argument("--sources", type=_list(str), default=list(_SOURCES))
  parser.add_argument("--clips", default=None)
  parser.add_argument("--videos", default=None)
  parser.add_argument("--json", type=pathlib.Path, default=None)
  arguments = parser.parse_args(argv)
  return commands.run(lambda: _main(arguments))


def _main(arguments):
  for source in arguments.sources:
    check_choice("--sources", source, _SOURCES)
  importlib.import_module("torch.utils.data")  # Takes seconds, once.
  for name, version in machine().items():
    print(f"{name} {version}", end="  ")
  print(
      f"\nBatches of {_BATCH} clips, {_LENGTH}x{_PATCH}x{_PATCH}; medians of"
      f" {arguments.repeats}; ours first, then torch"
  )
  results = run(arguments)
  if arguments.json:
    commands.write_json(arguments.json, results)


if __name__ == "__main__":
  sys.exit(main())
