import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import models
from vidrestore_jax.inference import plan, streaming
from vidrestore_jax.shapes import Restored


def _built(name, **kwargs):
  model = models.build(name, **kwargs)
  size = model.stride
  length = 1 if model.radius is None else 2 * model.radius + 1
  clip = jnp.zeros((1, length, size, size, model.channels))
  noise = jnp.zeros((1, size, size, 1)) if model.noise_map else None
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip, noise)
  return model, jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)


@pytest.fixture(scope="module")
def small():
  return _built("dncnn", depth=3, width=8)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("dncnn", dict(depth=2, width=2, noise_map=True)),
        ("fastdvdnet", dict(widths=(4, 4, 4), interm=2)),
        (
            "ncfl_clean",
            dict(
                feature_channels=4, hidden_channels=4, latent_channels=4,
                prior_channels=(4, 4),
            ),
        ),
    ],
)
def test_what_is_planned_is_what_runs(name, kwargs, monkeypatch):
  model, variables = _built(name, **kwargs)
  ran = []
  for function in ("_step", "_stage", "_window"):
    run = getattr(streaming, function)

    def spy(*arguments, run=run):
      ran.append((run, arguments))
      return run(*arguments)

    monkeypatch.setattr(streaming, function, spy)
  sigma = 0.1 if model.noise_map else None
  clip = np.zeros((1, 10, 14, 3), np.float32)
  streaming.restore_clip(model, variables, clip, sigma=sigma)
  monkeypatch.undo()
  planned, made = streaming.programs(model, variables, (10, 14))
  assert made == 1 and len(planned) == len(set(run for run, _ in ran)) + (
      len(getattr(model, "stages", [0])) - 1
  )
  shapes = {_shapes(function, given) for function, given in planned}
  assert shapes == {_shapes(function, given) for function, given in ran}


def _shapes(function, arguments):
  leaves = jax.tree.map(
      lambda leaf: str(getattr(leaf, "shape", leaf)), arguments[2:]
  )
  return repr((function, leaves))


def test_memory_grows_with_frames_and_shrinks_with_tiles(small):
  small_frame, large_frame, tiled = (
      plan.make(*small, size, frames=10, tile=tile)
      for size, tile in (
          ((64, 80), None), ((512, 640), None), ((512, 640), 128)
      )
  )
  # 64 times the pixels, 8 channels of which are held at least.
  grown = large_frame.memory - small_frame.memory
  assert grown > 63 * 64 * 80 * 8 * 4
  assert small_frame.memory < tiled.memory < large_frame.memory
  assert tiled.tiles == 30
  assert large_frame.flops == pytest.approx(64 * small_frame.flops, rel=0.05)
  assert large_frame.seconds == pytest.approx(
      large_frame.compile_seconds + 10 * large_frame.seconds_per_frame
  )


def test_tiles_are_found_that_fit(small):
  whole = plan.make(*small, (512, 640), available=10**12)
  assert whole.fits and whole.tile is None and whole.seconds is None
  found = plan.make(*small, (512, 640), available=whole.memory - 1)
  assert found.fits and found.tile == 320 and found.seconds_per_frame > 0
  assert "in 6 tiles of 320x320 each" in str(found)
  never = plan.make(*small, (512, 640), frames=9, available=10)
  # Of those that do not fit it takes least; smaller tiles are mostly context.
  assert not never.fits and never.tile == 80
  smaller = plan.make(*small, (512, 640), tile=40, available=10)
  assert smaller.memory > never.memory and smaller.tile == 40
  assert never.seconds is None and "does not fit" in str(never)


def test_a_bucket_is_planned(small):
  bucket = plan.make(*small, (125, 190))
  assert bucket.bucket == 2 and "padded to 190x126, as" in str(bucket)
  plain = plan.make(*small, (125, 190), bucket=None)
  assert plain.bucket is None and "padded" not in str(plain)
  assert bucket.flops > plain.flops and bucket.seconds_per_frame > 0
  with pytest.raises(ValueError, match="multiple of its stride"):
    plan.make(*small, (125, 190), bucket=0)


def test_global_models_are_planned_whole():
  class Sum:
    restores, recurrent, radius, bidirectional = True, False, None, True
    noise_map, stride, scale, channels, halo = False, 1, 1, 3, None

    def apply(self, variables, clip, noise):
      return Restored(clip - clip.sum(1, keepdims=True), {})

  with pytest.raises(ValueError, match="number of frames, or a chunk"):
    plan.make(Sum(), {}, (16, 16))
  few, many, chunked = (
      plan.make(Sum(), {}, (64, 64), frames=frames, chunk=chunk)
      for frames, chunk in ((10, None), (1000, None), (1000, (6, 2)))
  )
  assert few.memory == chunked.memory
  # In and out, at least.
  assert many.memory - few.memory >= 990 * 2 * 64 * 64 * 3 * 4
  assert plan.make(Sum(), {}, (16, 16), frames=9, available=1).tile is None


def test_free_memory_and_durations():
  free = plan.free_memory()
  assert free is None or free > 10**8
  seconds = plan.Plan(
      (2, 4), 3600, None, None, 1, 10**9, None, 1.0, 5.0, None, "x"
  )
  assert seconds.fits and str(seconds).splitlines() == [
      "3600 frames of 4x2 on x",
      "memory: 1.00 GB",
      "time to compute: 1 s a frame, and 5.0 s to compile, once",
      "in all: 1:00:05, without reading and writing",
  ]
