"""Tiles and buckets of every model give what whole frames give."""

import collections
import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import models
from vidrestore_jax.inference import streaming, tiling
from vidrestore_jax.shapes import Restored

# Small ones of those that are here; another model is tested as it is built
# without arguments.
_N2N = dict(width=4, output_widths=(4, 4))
TINY = {
    "duf": [dict(layers=16)],
    "dncnn": [dict(depth=4, width=4), dict(depth=5, width=3, noise_map=True)],
    "fastdvdnet": [dict(widths=(4, 4, 4), interm=2)],
    "fastdvdnet_vsr": [dict(widths=(4, 4, 4), interm=2, hr_channels=4)],
    "fsrcnn": [dict(width=4, shrunk=2, depth=2), dict(scale=2, width=4)],
    "fitvnet": [dict(image=_N2N, video=dict(widths=(4, 4, 4), interm=2))],
    "ncfl_clean": [
        dict(
            feature_channels=4, hidden_channels=4, latent_channels=4,
            prior_channels=(4, 4),
        )
    ],
    "noise2noise": [_N2N],
    "pisr": [
        dict(
            decoder=dict(name="fsrcnn", scale=2, width=4, shrunk=2, depth=1),
            width=4, shrunk=2,
        )
    ],
    "vdsr": [
        dict(scale=4, depth=4, width=4), dict(scale=1, depth=3, width=4)
    ],
    "vsrnet": [dict(width=4, depth=3), dict(motion=True)],
}


def _models():
  """Every restoration model of the library: (its name, itself)."""
  for name in models.available():
    for kwargs in TINY.get(name, [{}]):
      model = models.build(name, **kwargs)
      if getattr(model, "restores", False):
        yield name, model


LOCAL = [(n, m) for n, m in _models() if m.halo is not None]
GLOBAL = [(n, m) for n, m in _models() if m.halo is None]
local = pytest.mark.parametrize(
    "model", [m for _, m in LOCAL], ids=[n for n, _ in LOCAL]
)


def _length(model):
  return 1 if model.recurrent else 2 * model.radius + 1


def _variables(model, seed=0):
  """Random ones that keep the size of what passes through."""
  size = model.stride
  shape = (1, _length(model), size, size, model.channels)
  noise = jnp.zeros((1, size, size, 1)) if model.noise_map else None
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, "float32"),
      noise,
  )
  generator = np.random.default_rng(seed)

  def draw(leaf):
    if leaf.ndim < 2:
      return generator.uniform(0.5, 1.0, leaf.shape).astype(np.float32)
    deviation = (2 / np.prod(leaf.shape[:-1])) ** 0.5
    return generator.normal(0, deviation, leaf.shape).astype(np.float32)

  return jax.tree.map(draw, shapes)


def _clip(model, frames, height, width):
  shape = (frames, height, width, model.channels)
  return np.random.default_rng(1).random(shape, np.float32)


def _sigma(model):
  return 0.1 if model.noise_map else None


@local
def test_the_halo_is_how_far_a_pixel_reaches(model):
  """NaN spreads along every path, whatever the weights are."""
  stride, halo = model.stride, model.halo
  start = -(-halo // stride) * stride + stride
  width = 2 * start + stride
  # Within a cell of the stride.
  places = np.unique([0, 1, stride // 2, stride - 1]) % stride
  shape = (len(places), _length(model), stride, width, model.channels)
  windows = np.full(shape, 0.5, np.float32)
  for window, place in zip(windows, places):
    window[..., start + place, :] = np.nan
  noise = None
  if model.noise_map:
    noise = jnp.full((len(places), stride, width, 1), 0.1)
  restored = jax.jit(model.apply)(_variables(model), windows, noise)
  frames = restored.frames[:, 0] if model.recurrent else restored.frames
  reached = np.isnan(frames).any((1, 3))
  reached = reached.reshape(len(places), width, -1).any(-1)
  distance = np.abs(np.arange(width) - start - places[:, None])
  # A cascade's is the sum of its stages', though they meet in cells.
  assert halo - stride < distance[reached].max() <= halo


@local
def test_tiled_equals_whole(model):
  side = tiling.least(model) + model.stride
  variables = _variables(model)
  # Cut across alone where a square would take long.
  height = side + 5 if side < 100 else model.stride + 1
  clip = _clip(model, 2, height, side + model.stride + 3)
  kept = ("hr_features", "pre_denoised")
  whole, tiled = (
      streaming.restore_clip(
          model, variables, clip, sigma=_sigma(model), aux=kept, tile=tile
      )
      for tile in (None, side)
  )
  assert whole.frames.std() > 1e-3
  assert whole.aux.keys() == tiled.aux.keys()
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole, tiled
  )


@local
def test_a_bucket_changes_nothing_and_compiles_once(model):
  if not getattr(model, "maskable", False):
    with pytest.raises(ValueError, match="takes no bucket"):
      tiling.check_bucket(model, model.stride)
    return
  variables = _variables(model)
  bucket = 3 * model.stride if model.stride > 8 else 24
  programs = (streaming._step, streaming._window, streaming._stage)
  counts = []
  for height, width in ((17, 2 * bucket - 5), (13, bucket + 3)):
    clip = _clip(model, 1, height, width)
    options = dict(sigma=_sigma(model), aux=("hr_features",))
    whole = streaming.restore_clip(model, variables, clip, **options)
    before = sum(program._cache_size() for program in programs)
    padded = streaming.restore_clip(
        model, variables, clip, **options, bucket=bucket
    )
    counts.append(sum(program._cache_size() for program in programs) - before)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole, padded
    )
  assert counts[0] > 0 and counts[1] == 0


@pytest.mark.parametrize(
    "model", [m for _, m in GLOBAL], ids=[n for n, _ in GLOBAL]
)
def test_global_models_are_refused_with_the_reason(model):
  options = dict(sigma=_sigma(model), tile=512)
  with pytest.raises(ValueError, match="depends on the whole frame"):
    next(streaming.restore_stream(model, {}, [], **options))
  options = dict(sigma=_sigma(model), bucket=64)
  with pytest.raises(ValueError, match="takes no bucket"):
    next(streaming.restore_stream(model, {}, [], **options))


class Mean:
  """The mean of a frame and all before it, known only as far as is asked."""

  restores, recurrent, radius, halo = True, True, None, 1
  noise_map, stride, scale, channels = False, 2, 1, 3

  def init_state(self, frame):
    return {"sum": frame, "count": jnp.zeros(())}


def test_a_model_with_a_memory_is_not_tiled():
  """A job that goes on would have lost the states of all tiles but one."""
  for run in (
      lambda: tiling.check(Mean()),
      lambda: next(streaming.restore_stream(Mean(), {}, [], tile=32)),
  ):
    with pytest.raises(ValueError, match="Mean is not tiled: it is recurrent"):
      run()
  for _, model in LOCAL:  # None of the library's has a memory.
    tiling.check(model, 4096)


class Blur:
  """The mean of 3x3 pixels of three frames, times sigma; twice as large."""

  restores, recurrent, radius, halo = True, False, 1, 1
  noise_map, stride, scale, channels = True, 2, 2, 3

  def apply(self, variables, window, noise):
    frame = jnp.pad(window.mean(1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = window.shape[2:4]
    shifted = [
        frame[:, i : i + height, j : j + width]
        for i in range(3) for j in range(3)
    ]
    result = sum(shifted) * noise
    return Restored(result.repeat(2, 1).repeat(2, 2), {"flow": result})


@pytest.mark.parametrize("size", [(17, 19), (540, 31), (1, 700), (1, 1)])
def test_any_size(size):
  shape = (1, *size, 3)
  clip = np.random.default_rng(0).random(shape, np.float32)
  whole, tiled = (
      streaming.restore_clip(
          Blur(), {}, clip, sigma=0.5, aux=("flow",), tile=tile
      )
      for tile in (None, 16)
  )
  assert tiled.frames.shape == (1, 2 * size[0], 2 * size[1], 3)
  np.testing.assert_allclose(tiled.frames, whole.frames, atol=1e-6)
  np.testing.assert_allclose(tiled.aux["flow"], whole.aux["flow"], atol=1e-6)


def test_a_frame_of_2161_lines():
  class Scaled:
    restores, recurrent, radius, halo = True, False, 0, 40
    noise_map, stride, scale, channels = True, 32, 1, 1

    def apply(self, variables, window, noise):
      assert window.shape == (1, 1, 512, 512, 1)
      return Restored(window[:, 0] * noise, {})

  frame = np.random.default_rng(0).random((1, 2161, 3841, 1), np.float32)
  restored = streaming.restore_clip(Scaled(), {}, frame, sigma=0.5, tile=520)
  np.testing.assert_array_equal(restored.frames, 0.5 * frame)


def test_a_noise_map_is_cut_as_the_frame_is():
  clip = np.random.default_rng(0).random((2, 31, 45, 3), np.float32)
  maps = np.random.default_rng(1).random((2, 31, 45, 1), np.float32)
  frames = [streaming.Frame(*pair) for pair in zip(clip, maps)]
  whole, tiled = (
      np.stack([
          r.frames
          for r in streaming.restore_stream(Blur(), {}, frames, tile=tile)
      ])
      for tile in (None, 16)
  )
  np.testing.assert_allclose(tiled, whole, atol=1e-6)
  flat = streaming.restore_clip(Blur(), {}, clip, sigma=1.0).frames
  # The border's own is repeated under the padding.
  big = maps.repeat(2, 1).repeat(2, 2)
  np.testing.assert_allclose(whole, flat * big, atol=1e-5)
  wrong = [streaming.Frame(clip[0], maps[0, :30])]
  with pytest.raises(ValueError, match=r"\[31, 45, 1\], but got \[30, 45, 1\]"):
    list(streaming.restore_stream(Blur(), {}, wrong))


@pytest.mark.parametrize("stride", [1, 4, 32])
def test_spans_cover_a_side_once_with_context_and_one_size(stride):
  generator = np.random.default_rng(stride)
  for _ in range(300):
    context = stride * int(generator.integers(0, 5))
    side = 2 * context + stride * int(generator.integers(1, 9))
    length = stride * int(generator.integers(1, 99))
    spans = tiling._spans(length, side, context, stride)
    assert spans[0].first == 0 and spans[-1].last == length
    for a, b in itertools.pairwise(spans):
      assert a.last == b.first
    for span in spans:
      assert span.start % stride == 0 and span.first < span.last
      assert span.stop - span.start == min(side, length)
      assert span.start == 0 or span.first - span.start >= context
      assert span.stop == length or span.stop - span.last >= context


def test_too_small_tiles_and_wrong_buckets_are_refused():
  model = models.build("fastdvdnet")
  with pytest.raises(ValueError, match="164 pixels or more .* 160"):
    tiling.check(model, 160)
  with pytest.raises(ValueError, match="multiple of its stride 4, but got 66"):
    tiling.check_bucket(model, 66)
  options = dict(sigma=0.1, tile=512, bucket=64)
  with pytest.raises(ValueError, match="not both"):
    next(streaming.restore_stream(model, {}, [], **options))


def test_the_seam_is_measured():
  clip = np.random.default_rng(0).random((2, 48, 64, 3), np.float32)
  assert streaming.verify_tiles(Blur(), {}, clip, tile=16, sigma=1.0) < 1e-6

  class Wrong(Blur):
    halo = 0

  assert streaming.verify_tiles(Wrong(), {}, clip, tile=16, sigma=1.0) > 0.1


class Fine(Blur):
  """On a grid of single pixels."""

  stride = 1


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("good", [0, 1, 4])
def test_out_of_memory_falls_back_to_smaller_tiles(monkeypatch, late, good):
  """At any frame: so many are restored before the memory is short."""
  model = Fine()
  clip = _clip(model, 6, 70, 90)
  expected = streaming.restore_clip(model, {}, clip, sigma=1.0).frames
  run, asked = streaming._window, collections.Counter()
  error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

  class Poisoned:  # A device's array whose program failed.
    shape = (1, 1, 3)

    def __array__(self, *args, **kwargs):
      raise error

  def small(model, aux, variables, frames, *rest):
    height, width = frames[0].shape[:2]
    asked[height, width] += 1
    if height * width > 30 * 30 and asked[70, 90] > good:
      if late:
        return Restored(Poisoned(), {})
      raise error
    return run(model, aux, variables, frames, *rest)

  monkeypatch.setattr(streaming, "_window", small)
  with pytest.warns(RuntimeWarning) as told:
    stream = streaming.restore_stream(model, {}, iter(clip), sigma=1.0)
    frames = [result.frames for result in stream]
  np.testing.assert_allclose(frames, expected, atol=1e-5)
  given = [str(w.message).split("frames of ")[1].split(";")[0] for w in told]
  assert given == ["90x70", "90x70 in tiles of 45x45"]
  # Nothing is done twice but what was on its way.
  assert asked[70, 90] <= good + 1 + (late and good > 0)
  assert asked[45, 45] == 1 or late
  assert set(asked) == {(70, 90), (45, 45), (22, 22)}


def test_out_of_memory_without_a_way_out(monkeypatch):
  def never(*args):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

  model = models.build("dncnn", depth=8, width=4)
  clip = _clip(model, 1, 80, 80)
  monkeypatch.setattr(streaming, "_window", never)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    with pytest.raises(MemoryError, match="tiles of down to 17 pixels"):
      streaming.restore_clip(model, {}, clip)

  class Flowing(Blur):
    halo = None

  with pytest.raises(MemoryError, match=r"(?s)ran out .* on the whole frame"):
    streaming.restore_clip(Flowing(), {}, clip, sigma=0.1)
