"""Options of `vidrestore restore` do what they say, by every door."""

import ctypes
import io
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import vidrestore_jax
from tests import profiles
from tests.inference import tiny_videos
from vidrestore_jax import cli, released
from vidrestore_jax.data import folders
from vidrestore_jax.inference import (
    frames_io,
    plan,
    streaming,
    tiling,
)
from vidrestore_jax.inference.video_reader import VideoReader

SCENES, SIGMAS = (3, 4), (0.03, 0.08)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  folder = tmp_path_factory.mktemp("released") / "model"
  return tiny_videos.release(
      folder, "fastdvdnet", widths=(4, 4, 4), interm=2
  )


@pytest.fixture
def film(tmp_path):
  """Frames [T, H, W, 3], which lie in 16 bits in the folder `in`."""
  return _lay_out(tmp_path, tiny_videos.film(SCENES, (40, 32), SIGMAS))


def _lay_out(tmp_path, clip):
  codes = frames_io.to_integers(clip, 65535)
  (tmp_path / "in").mkdir()
  for index, frame in enumerate(codes):
    frames_io.write_png(tmp_path / "in" / f"{index}.png", frame)
  return codes / np.float32(65535)


def _run(*arguments):
  return cli.main(["restore", *map(str, arguments)])


def _restored(tmp_path, name, *arguments):
  """Codes of 16 bits that the command makes of `in`."""
  assert _run(tmp_path / "in", tmp_path / name, *arguments) == 0
  codes, white = folders.read_frames(sorted((tmp_path / name).iterdir()))
  assert white == 65535
  return codes.astype(int)


def _codes(frames):
  return frames_io.to_integers(frames, 65535).astype(int)


def test_every_setting_arrives(tmp_path, film, model, capsys):
  option = f"--model={model}"
  made = {}
  for number, (words, settings) in enumerate([
      ([], {}),
      (["--sigma=20"], dict(sigma=20 / 255)),
      (["--noise=signal"], dict(noise="signal")),
      (["--strength=0.5"], dict(strength=0.5)),
      (["--no-cuts"], dict(cuts=False)),
  ]):
    codes = _restored(tmp_path, f"out{number}", option, *words)
    expected = vidrestore_jax.restore(film, model, **settings)
    assert np.abs(codes - _codes(expected)).max() <= 1, words
    for other, before in made.items():
      assert np.abs(codes - before).max() > 10, (words, other)
    made[" ".join(words)] = codes
  untouched = _restored(tmp_path, "none", option, "--strength=0")
  np.testing.assert_array_equal(untouched, _codes(film))
  said = capsys.readouterr()
  assert "frame 7 of 7, " in said.err and " left, noise 2" in said.err
  assert "out0: 7 frames of 1 clip(s). Noise of 1" in said.out


def test_all_doors_make_the_same_frames(tmp_path, model, monkeypatch, capsys):
  """A file, a stream and a folder, in and out; each with estimates and cuts."""
  clip = tiny_videos.film(SCENES, (40, 32), SIGMAS)
  planes = tiny_videos.planes_of(clip)
  tiny_videos.write(tmp_path / "in.mkv", planes, "bgr0", steps=(512,))
  codes = np.stack([np.stack(frame, -1) for frame in planes])
  expected = vidrestore_jax.restore(codes, model).astype(int)
  option = f"--model={model}"
  given = tmp_path / "in.mkv"
  assert _run(given, tmp_path / "frames", option) == 0
  found, _ = folders.read_frames(sorted((tmp_path / "frames").iterdir()))
  assert np.abs(found - expected).max() <= 1
  assert _run(given, tmp_path / "out.mkv", option, "--lossless") == 0
  found = [
      np.stack(picture.planes, -1).astype(int)
      for picture in VideoReader(tmp_path / "out.mkv").pictures()
  ]
  assert np.abs(np.stack(found) - expected).max() <= 1
  # Through pipes: 4:4:4 of 8 bits.
  class Pipe:
    buffer = io.BytesIO()

    def flush(self):
      pass

  monkeypatch.setattr(sys, "stdout", Pipe())
  assert _run(given, "-", option) == 0
  piped = Pipe.buffer.getvalue()
  monkeypatch.undo()
  assert "7 frames. Noise of 1" in capsys.readouterr().err
  (tmp_path / "piped.y4m").write_bytes(piped)
  assert _run(
      tmp_path / "piped.y4m", tmp_path / "shown", "--strength=0", option
  ) == 0
  found, _ = folders.read_frames(sorted((tmp_path / "shown").iterdir()))
  shown = ((expected > 10) & (expected < 245)).all(-1)  # Whole colours in YUV.
  assert shown.mean() > 0.03 and np.abs(found - expected)[shown].max() <= 2


# Exactness: two codes of 16 bits are 3e-5, one is 1.5e-5.


def test_the_stream_is_the_whole_clip_without_a_quantiser(tmp_path):
  kwargs = tiny_videos.NCFL | dict(feature_refiner="noq")
  path = tiny_videos.release(tmp_path / "ncfl", "ncfl", **kwargs)
  film = _lay_out(tmp_path, tiny_videos.film((3,), (19, 17), (0.1,)))
  codes = _restored(tmp_path, "out", f"--model={path}", "--sigma=25")
  model, variables = released.load(path)
  padded, _ = tiling.pad_to_multiple(film, model.stride)
  noise = np.full((1, *padded.shape[1:3], 1), 25 / 255, np.float32)
  whole = jax.jit(model.apply)(variables, padded[None], noise)
  expected = whole.frames[0, :, :17, :19]
  assert np.abs(codes - _codes(expected)).max() <= 1


@pytest.mark.parametrize(
    ("name", "kwargs", "size", "tile"),
    [
        ("fastdvdnet", dict(widths=(4, 4, 4), interm=2), (190, 17), 172),
        ("vdsr", dict(scale=4, depth=3, width=4), (37, 41), 24),
        ("duf", dict(layers=16), (61, 9), 56),
    ],
)
def test_tiled_equals_whole(tmp_path, name, kwargs, size, tile, capsys):
  model = tiny_videos.release(tmp_path / "model", name, **kwargs)
  scale, option = released.load(model)[0].scale, f"--model={model}"
  _lay_out(tmp_path, tiny_videos.film((2,), size, (0.1,)))
  whole, tiled = (
      _restored(tmp_path, f"out{value}", option, f"--tile={value}", *more)
      for value, more in (("none", []), (tile, ["--verify-tiles"]))
  )
  assert whole.shape[2] == scale * size[0] and whole.std() > 100
  assert np.abs(tiled - whole).max() <= 1
  said = capsys.readouterr().err
  assert f"note: tiles of {tile}x{tile} differ from whole frames by" in said


def test_tiles_are_those_of_the_plan(tmp_path, monkeypatch, capsys):
  kwargs = dict(depth=3, width=16, batch_norm=False)
  model = tiny_videos.release(tmp_path / "model", "dncnn", **kwargs)
  _lay_out(tmp_path, tiny_videos.film((2,), (120, 90), (0.1,)))
  option = f"--model={model}"
  need = plan.make(*released.load(model), (90, 120), bucket=None).memory
  monkeypatch.setattr(plan, "free_memory", lambda count: need - 1)
  assert cli.main(["plan", str(tmp_path / "in"), option]) == 0
  said = capsys.readouterr().out
  (side,) = [w.split("x")[0] for w in said.split(" tiles of ")[1:]]
  _restored(tmp_path, "out", option)
  assert f"going on with tiles of {side}x{side}," in capsys.readouterr().err
  assert cli.main(["plan", str(tmp_path / "in"), option, "--tile=none"]) == 0
  assert "This does not fit" in capsys.readouterr().out


def test_running_out_of_memory_is_one_line(tmp_path, monkeypatch, capsys):
  model = tiny_videos.release(tmp_path / "model")
  _lay_out(tmp_path, tiny_videos.film((3,), (120, 90), (0.1,)))
  expected = _restored(tmp_path, "whole", f"--model={model}")
  run = streaming._window

  def limited(model, aux, variables, frames, *rest):
    if max(frames[0].shape) > 70:
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    return run(model, aux, variables, frames, *rest)

  limited.lower = run.lower
  monkeypatch.setattr(streaming, "_window", limited)
  capsys.readouterr()
  codes = _restored(tmp_path, "out", f"--model={model}")
  assert np.abs(codes - expected).max() <= 1
  lines = capsys.readouterr().err.splitlines()
  (line,) = [line for line in lines if "memory" in line]
  assert line == (
      "note: DnCNN ran out of memory with frames of 120x90; going on with tiles"
      " of 60x60, which give the same frames but take longer."
  )


def test_chunks(tmp_path, model, monkeypatch, capsys):
  film = _lay_out(tmp_path, tiny_videos.film((9,), (64, 64), (0.1,)))
  monkeypatch.setattr(released, "load", lambda _: tiny_videos.neighbours())
  options = "--model=any", "--sigma=10"
  chunked = _restored(tmp_path, "out", *options, "--chunk=3:1")
  assert "where chunks meet they differ by at most" in capsys.readouterr().err
  expected = streaming.restore_clip(
      *tiny_videos.neighbours(), film, chunk=(3, 1), sigma=10 / 255
  ).frames
  assert np.abs(chunked - _codes(expected)).max() <= 1
  whole = _restored(tmp_path, "whole", *options)
  assert np.abs(chunked - whole).max() > 100
  with pytest.raises(SystemExit):
    _run(tmp_path / "in", tmp_path / "x", "--chunk=3")
  assert "no length and overlap such as 30:10" in capsys.readouterr().err


# What is left beside.


def test_the_noise_is_drawn(tmp_path, film, model, capsys):
  plot, option = tmp_path / "noise.png", f"--model={model}"
  command = [tmp_path / "in", tmp_path / "out", option, f"--plot-noise={plot}"]
  assert _run(*command) == 0
  first = np.asarray(Image.open(plot))
  assert first.std() > 10
  assert _run(*command[:1], tmp_path / "again", *command[2:]) == 2
  assert "noise.png exists" in capsys.readouterr().err
  video, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
  tiny_videos.write(video, tiny_videos.planes_of(film), "bgr0")
  plot = f"--plot-noise={tmp_path / 'video.png'}"
  assert _run(video, output, option, plot) == 0
  assert "out.mkv: 7 frames. Noise of 1" in capsys.readouterr().out
  drawn = np.asarray(Image.open(tmp_path / "video.png"))
  assert (drawn != first).any()  # Over seconds, not frames.
  assert _run(video, video, tmp_path / "more", option, plot) == 2
  assert "--plot-noise takes one input" in capsys.readouterr().err
  (tmp_path / "clips").mkdir()
  for name in "ab":
    os.symlink(tmp_path / "in", tmp_path / "clips" / name)
  assert _run(tmp_path / "clips", tmp_path / "more", option, plot) == 2
  assert "--plot-noise takes one clip" in capsys.readouterr().err


def test_programs_are_kept_for_the_next_run(tmp_path, film, model, monkeypatch):
  place = tmp_path / "programs"
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(place))
  before = jax.config.jax_compilation_cache_dir
  jax.clear_caches()
  from jax._src import compilation_cache as kept

  kept.reset_cache()
  try:
    _restored(tmp_path, "out", f"--model={model}")
    assert list(place.glob("jit__stage-*-cache"))
  finally:
    jax.config.update("jax_compilation_cache_dir", before)
    kept.reset_cache()


def test_frames_are_profiled(tmp_path, film, model, capsys):
  folder = tmp_path / "profile"
  _restored(tmp_path, "out", f"--model={model}", f"--profile={folder}")
  # Frames of the film but the first three; the last one's end closes it.
  assert profiles.steps(folder, "frame") == [3, 4, 5, 6]
  assert str(folder) in capsys.readouterr().err


# The model that the package brings.


def test_without_a_model_the_packages_own_is_taken(
    tmp_path, film, model, monkeypatch, capsys
):
  monkeypatch.setattr(released, "PACKAGED", tmp_path / "none")
  assert _run(tmp_path / "in", tmp_path / "out") == 2
  assert "installation lacks" in capsys.readouterr().err
  monkeypatch.setattr(released, "PACKAGED", type(tmp_path)(model))
  codes = _restored(tmp_path, "out")
  expected = vidrestore_jax.restore(film)
  assert np.abs(codes - _codes(expected)).max() <= 1
  np.testing.assert_array_equal(
      expected, vidrestore_jax.restore(film, model)
  )
  assert cli.main(["plan", str(tmp_path / "in")]) == 0
  assert "7 frames of 40x32" in capsys.readouterr().out


ARENAS = """
import ctypes, threading
from vidrestore_jax import cli_restore
cli_restore.share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
together = threading.Barrier(8)
def hold():
  for _ in range(100):
    libc.malloc(1000)
  together.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
file = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, file)
libc.fflush(file)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux")
    or not hasattr(ctypes.CDLL(None), "malloc_info"),
    reason="of glibc alone",
)
@pytest.mark.parametrize("given", [None, "4"])
def test_threads_share_two_arenas_or_as_many_as_are_asked_for(given):
  env = {k: v for k, v in os.environ.items() if k != "MALLOC_ARENA_MAX"}
  if given:
    env["MALLOC_ARENA_MAX"] = given
  told = subprocess.run(
      [sys.executable, "-c", ARENAS], check=True, env=env,
      capture_output=True, text=True,
  ).stdout
  assert told.count("<heap nr=") == int(given or 2)
