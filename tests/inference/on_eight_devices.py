"""Tests of frames split by rows, for a process that sees eight devices.

`test_row_bands` starts it; by hand:

  JAX_NUM_CPU_DEVICES=8 python -m pytest tests/inference/on_eight_devices.py
"""

import jax
import numpy as np
import pytest

import vidrestore_jax
from tests.inference import test_tiles, tiny_videos
from vidrestore_jax import cli, models
from vidrestore_jax.inference import plan, restoring, row_bands, streaming
from vidrestore_jax.inference.video_reader import VideoReader

KEPT = ("flow", "bits", "rate_map", "pre_denoised", "hr_features")
# At little cost: a halo of 5 rows and a map of the noise; one of 80 rows, more
# than a band has, in two stages; enlarging.
FAST = [
    ("dncnn", dict(depth=5, width=3, noise_map=True), (3, 8)),
    ("fastdvdnet", dict(widths=(4, 4, 4), interm=2), (8,)),
    ("vdsr", dict(scale=4, depth=4, width=4), (2, 3)),
]
TINY = test_tiles.TINY | {
    "basicvsr": [
        dict(width=4, blocks=1), dict(width=4, blocks=1, online=True)
    ],
    "basicvsrpp": [dict(width=8, blocks=1)],
    "conv_lstm": [{}],
    "edvr": [
        dict(
            frames=3, width=8, extraction_blocks=1, reconstruction_blocks=1
        )
    ],
    "ncfl": [tiny_videos.NCFL, tiny_videos.NCFL | dict(attention=True)],
}


def test_there_are_eight():
  assert len(jax.local_devices()) == 8


def _all():
  for name in models.available():
    for kwargs in TINY.get(name, [{}]):
      if getattr(models.build(name, **kwargs), "restores", False):
        yield pytest.param(name, kwargs, (3, 8), marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "kwargs", "devices"), [*FAST, *_all()])
def test_bands_equal_the_whole_frame(name, kwargs, devices):
  model, variables = tiny_videos.built(name, **kwargs)
  # Odd, and the last band is not as high as the others.
  height = 9 * model.stride + 1 - model.stride // 2
  clip = _clip(model, 2, height, max(model.stride, 19))
  options = dict(sigma=0.1 if model.noise_map else None, aux=KEPT)
  whole = streaming.restore_clip(model, variables, clip, **options)
  assert whole.frames.std() > 1e-3
  for count in devices:
    split = streaming.restore_clip(
        model, variables, clip, **options, devices=count
    )
    _assert_close(split, whole)


def _clip(model, frames, height, width):
  shape = (frames, height, width, model.channels)
  return np.random.default_rng(1).random(shape, np.float32)


def _assert_close(one, other):
  def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())

  jax.tree.map(close, one, other)


@pytest.mark.parametrize(("name", "kwargs", "share"), [
    ("dncnn", dict(depth=3, width=16), 1 / 6),
    ("vdsr", dict(scale=4, depth=3, width=4), 1 / 7),
    # What flow may point into is gathered on every device.
    ("ncfl", tiny_videos.NCFL | dict(widths=(16, 16)), 1 / 3),
])
def test_memory_is_divided(name, kwargs, share):
  model, variables = tiny_videos.built(name, **kwargs)
  whole, split = (
      streaming.programs(
          model, variables, (128, 64), mesh=row_bands.mesh_of(devices)
      )
      for devices in (1, 8)
  )
  whole, split = (
      function.lower(*given).compile().memory_analysis().temp_size_in_bytes
      for ((function, given),), _ in (whole, split)
  )
  assert split < share * whole


def test_the_plan_is_of_a_device():
  model, variables = tiny_videos.built("dncnn", depth=3, width=16)
  whole, split = (
      plan.make(model, variables, (270, 160), devices=devices, frames=9)
      for devices in (1, 4)
  )
  assert split.memory < whole.memory / 3 and split.available < whole.available
  assert split.flops == pytest.approx(whole.flops, rel=0.1)
  assert "in bands of 68 rows on 4 devices" in str(split)
  assert "free, on each device" in str(split) and split.seconds > 0


def test_a_state_goes_on_on_other_devices():
  model, variables = tiny_videos.recurrent()
  clip = _clip(model, 3, 5 * model.stride - 1, 16)
  options = dict(sigma=0.1, aux=("state",))
  whole = streaming.restore_clip(model, variables, clip, **options)
  for before, after in ((3, 1), (1, 3)):
    *_, stopped = streaming.restore_stream(
        model, variables, clip[:2], devices=before, **options
    )
    leaves = jax.tree.leaves(row_bands.whole(stopped.aux["state"]))
    (last,) = streaming.restore_stream(
        model, variables, clip[2:], state=leaves, devices=after, **options
    )
    np.testing.assert_allclose(last.frames, whole.frames[2], atol=1e-5)


def test_maps_of_noise_and_chunks_are_split_too():
  model, variables = tiny_videos.neighbours()
  clip = _clip(model, 7, 25, 8)
  maps = np.random.default_rng(2).random((7, 25, 8, 1), np.float32)
  frames = [streaming.Frame(*pair) for pair in zip(clip, maps)]
  whole, split = (
      list(streaming.restore_stream(
          model, variables, frames, chunk=(2, 1), aux=("seam",),
          devices=devices,
      ))
      for devices in (1, 8)
  )
  assert max(result.aux["seam"] for result in whole) > 1e-3
  _assert_close(split, whole)


def test_all_devices_restore_an_array():
  model = tiny_videos.built("dncnn", depth=3, width=4)
  clip = np.random.default_rng(0).integers(0, 256, (2, 21, 16, 3), np.uint8)
  split = vidrestore_jax.restore(clip, model, devices="all")
  whole = vidrestore_jax.restore(clip, model)
  assert np.abs(split.astype(int) - whole).max() <= 1
  assert np.abs(split.astype(int) - clip).max() > 1


def test_the_command_splits_a_video_with_sound(tmp_path, capsys):
  given, split, whole = (tmp_path / f"{name}.mkv" for name in "gsw")
  planes = tiny_videos.samples("yuv420p", 3, (32, 30))
  tiny_videos.write(given, planes, "yuv420p", sound="pcm_s16le")
  folder = tiny_videos.release(
      tmp_path / "model", "dncnn", depth=3, width=4, batch_norm=False
  )
  for output, extra in ((split, ["--devices=3"]), (whole, [])):
    command = ["restore", str(given), str(output), f"--model={folder}"]
    assert cli.main([*command, "--lossless", *extra]) == 0
  assert tiny_videos.packets(split, "audio") == (
      tiny_videos.packets(given, "audio")
  )
  restored = _samples(split)
  assert len(restored) == 3
  assert np.abs(restored - _samples(whole)).max() <= 1
  assert np.abs(restored - _samples(given)).max() > 1
  assert cli.main(["plan", str(given), f"--model={folder}", "--devices=3"]) == 0
  assert "bands of 10 rows on 3 devices" in capsys.readouterr().out


def _samples(path):
  return np.array([
      np.concatenate([plane.ravel() for plane in picture.planes])
      for picture in VideoReader(path).pictures()
  ], int)


def test_a_job_goes_on_with_other_devices(tmp_path):
  given, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
  planes = tiny_videos.samples("yuv420p", 5, (16, 20))
  tiny_videos.write(given, planes, "yuv420p")
  model = tiny_videos.recurrent()

  def restore(devices, stop=None):
    def told(done, known):
      if done == stop:
        raise InterruptedError

    options = restoring.Options(
        lossless=True, segment=2, sigma=0.1, devices=devices
    )
    restoring.restore_file(given, output, *model, options, told=told)

  restore(1)
  whole = _samples(output)
  output.unlink()
  for devices, stop in ((3, 3), (1, 5)):
    with pytest.raises(InterruptedError):
      restore(devices, stop)
  restore(2)
  assert np.abs(_samples(output) - whole).max() <= 1


@pytest.mark.parametrize(("options", "message"), [
    (dict(devices=9), "over 9 devices, but JAX sees 8 .*NUM_CPU_DEVICES=9"),
    (dict(devices=8), "28 rows make at most 7 bands for this FastDVDnet"),
    (dict(devices=2, tile=512), "a tile or a bucket, or devices, not both"),
    (dict(devices=2, bucket=64), "a tile or a bucket, or devices, not both"),
])
def test_what_cannot_be_is_refused(options, message):
  model, variables = tiny_videos.windowed()
  clip = np.zeros((1, 28, 16, 3), np.float32)
  with pytest.raises(ValueError, match=message):
    streaming.restore_clip(model, variables, clip, sigma=0.1, **options)


def test_out_of_memory_names_more_devices(monkeypatch):
  def never(*args):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

  monkeypatch.setattr(streaming, "_window", never)
  model, variables = tiny_videos.identity()
  clip = np.zeros((1, 16, 16, 3), np.float32)
  with pytest.raises(MemoryError, match="over 2 devices. Split them over more"):
    streaming.restore_clip(model, variables, clip, devices=2)
