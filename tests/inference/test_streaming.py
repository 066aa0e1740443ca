import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import models
from vidrestore_jax.inference import streaming, tiling
from vidrestore_jax.shapes import Restored

# The quantiser is off ("noq"), so that two programs may be held together
# tightly: a symbol near a half may flip.
TINY = dict(
    feature_refiner="noq",
    widths=(4, 8),
    attention_widths=(4, 4),
    attention_blocks=1,
    attention_middle_blocks=1,
    feature_channels=4,
    motion_channels=4,
    hidden_channels=4,
    latent_channels=4,
    reduction=2,
    motion=dict(levels=2, widths=(4, 4)),
)


def _init(model):
  """Random variables; drawn here, since compiling `model.init` takes longer."""
  size = model.stride
  clip = jax.ShapeDtypeStruct((1, 1, size, size, 3), np.float32)
  noise = jax.ShapeDtypeStruct((1, size, size, 1), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip, noise)
  generator = np.random.default_rng(0)
  return jax.tree.map(
      lambda leaf: generator.uniform(-0.4, 0.5, leaf.shape).astype(np.float32),
      shapes,
  )


@pytest.fixture(scope="module")
def restorer():
  model = models.build("ncfl", **TINY)
  return model, _init(model)


def _clip(frames=4, height=14, width=19):
  return np.random.default_rng(0).random((frames, height, width, 3), np.float32)


def test_stream_equals_the_whole_clip(restorer):
  model, variables = restorer
  clip = _clip()
  padded, _ = tiling.pad_to_multiple(clip, model.stride)
  noise = np.full((1, *padded.shape[1:3], 1), 0.1, np.float32)
  whole = jax.jit(model.apply)(variables, padded[None], noise)
  streamed = streaming.restore_clip(
      model, variables, clip, sigma=0.1, aux=("flow",)
  )
  np.testing.assert_allclose(
      streamed.frames, whole.frames[0, :, :14, :19], atol=1e-5
  )
  np.testing.assert_allclose(
      streamed.aux["flow"], whole.aux["flow"][0, :, :14, :19], atol=1e-4
  )


def test_state_is_carried_across_frames(restorer):
  model, variables = restorer
  clip = _clip()
  together = streaming.restore_clip(model, variables, clip, sigma=0.1).frames
  alone = streaming.restore_clip(model, variables, clip[3:], sigma=0.1).frames
  assert np.abs(together[3] - alone[0]).max() > 1e-4


def test_an_endless_stream_is_read_one_frame_ahead(restorer):
  model, variables = restorer
  clip = _clip()
  taken = []

  def frames():
    for index in itertools.count():
      taken.append(index)
      yield clip[index % 4]

  stream = streaming.restore_stream(model, variables, frames(), sigma=0.1)
  assert not taken  # Nothing runs before the first `next`.
  first = next(stream)
  next(stream)
  assert taken == [0, 1, 2]
  expected = streaming.restore_clip(model, variables, clip, sigma=0.1).frames[0]
  np.testing.assert_array_equal(first.frames, expected)


def test_coded_latents_report_their_bits():
  model = models.build(
      "ncfl", **(TINY | {"feature_refiner": "ncfl", "prior_channels": (4, 4)})
  )
  restored = streaming.restore_clip(
      model, _init(model), _clip(2), sigma=0.1
  )
  # 14x19 is padded to 16x20; the latent has a quarter of that.
  assert restored.aux["rate_map"].shape == (2, 4, 5)
  np.testing.assert_allclose(
      restored.aux["bits"], restored.aux["rate_map"].sum((1, 2)), rtol=1e-5
  )


def test_sigma_must_suit_the_model(restorer):
  model, variables = restorer
  with pytest.raises(ValueError, match="needs a sigma"):
    streaming.restore_clip(model, variables, _clip(1))
  with pytest.raises(ValueError, match=r"between 0 and 1.* 30"):
    streaming.restore_clip(model, variables, _clip(1), sigma=30)
  blind = models.build("ncfl", **TINY, noise_map=False)
  with pytest.raises(ValueError, match="blind"):
    streaming.restore_clip(blind, {}, _clip(1), sigma=0.1)


def test_frames_must_suit_the_stream(restorer):
  model, variables = restorer
  frames = [_clip(1)[0], _clip(1, 10, 12)[0]]
  with pytest.raises(ValueError, match=r"Frame 1 is 12x10 .* 19x14"):
    list(streaming.restore_stream(model, variables, frames, sigma=0.1))
  with pytest.raises(ValueError, match="3 channels"):
    list(
        streaming.restore_stream(
            model, variables, [_clip(1)[0, ..., :1]], sigma=0.1
        )
    )
  with pytest.raises(ValueError, match="no frames"):
    streaming.restore_clip(model, variables, _clip(0), sigma=0.1)


def test_a_model_that_does_not_restore_is_refused():
  with pytest.raises(ValueError, match="SpyNet is no restoration model"):
    streaming.check_streams(models.build("spynet"))


# Windowed models.


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (6, [2, 1, 0, 1, 2, 3, 4, 5, 4, 3]),
        (3, [2, 1, 0, 1, 2, 1, 0]),
        (2, [0, 1, 0, 1, 0, 1]),  # Mirrored again and again.
        (1, [0, 0, 0, 0, 0]),
        (0, []),
    ],
)
def test_the_ends_are_mirrored_without_the_edge(frames, expected):
  assert list(streaming.extended(range(frames), 2)) == expected


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(4, [0, 0, 0, 1, 2, 3, 3, 3]), (1, [0, 0, 0, 0, 0]), (0, [])],
)
def test_the_ends_are_repeated_where_the_border_says_so(frames, expected):
  extended = streaming.extended(range(frames), 2, "replicate")
  assert list(extended) == expected
  with pytest.raises(ValueError, match="one of mirror, replicate.* 'circle'"):
    next(streaming.extended(range(3), 2, "circle"))


@pytest.fixture(scope="module")
def windowed():
  model = models.build("fastdvdnet", widths=(4, 4, 4), interm=2)
  size = model.stride
  window = jax.ShapeDtypeStruct((1, 5, size, size, 3), np.float32)
  noise = jax.ShapeDtypeStruct((1, size, size, 1), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), window, noise)
  generator = np.random.default_rng(0)

  def draw(leaf):
    if leaf.ndim == 1:  # Of the normalisation.
      return generator.uniform(0.5, 1.0, leaf.shape).astype(np.float32)
    deviation = (2 / np.prod(leaf.shape[:3])) ** 0.5
    return generator.normal(0, deviation, leaf.shape).astype(np.float32)

  return model, jax.tree.map(draw, shapes)


@pytest.fixture(scope="module")
def windows(windowed):
  """Six windows around the frames of a clip, restored each for itself."""
  model, variables = windowed
  clip = _clip(6, 14, 19)
  padded, _ = tiling.pad_to_multiple(clip, model.stride)
  indices = [
      [abs(t + d) if t + d < 6 else 10 - (t + d) for d in range(-2, 3)]
      for t in range(6)
  ]
  noise = np.full((6, *padded.shape[1:3], 1), 0.1, np.float32)
  apply = jax.jit(model.apply)
  restored = apply(variables, padded[np.array(indices)], noise)
  return clip, jax.tree.map(lambda x: np.asarray(x)[..., :14, :19, :], restored)


def test_a_cascade_streams_what_its_windows_give(windowed, windows):
  model, variables = windowed
  clip, expected = windows
  streamed = streaming.restore_clip(
      model, variables, clip, sigma=0.1, aux=("pre_denoised",)
  )
  assert np.abs(expected.frames - clip).max() > 0.01
  np.testing.assert_allclose(streamed.frames, expected.frames, atol=1e-5)
  np.testing.assert_allclose(
      streamed.aux["pre_denoised"],
      expected.aux["pre_denoised"][:, 1],
      atol=1e-5,
  )


def test_each_stage_of_a_cascade_runs_once_for_a_frame(
    windowed, windows, monkeypatch
):
  model, variables = windowed
  calls, run = [], streaming._stage
  monkeypatch.setattr(
      streaming, "_stage", lambda m, index, *a: calls.append(index) or run(
          m, index, *a
      )
  )
  clip, _ = windows
  streaming.restore_clip(model, variables, clip, sigma=0.1)
  # The mirrored triplets beyond either end are no frame's own.
  assert calls.count(0) == len(clip) + 2 and calls.count(1) == len(clip)


def test_a_window_reaches_ahead_and_no_farther(windowed, windows):
  model, variables = windowed
  clip, expected = windows
  taken = []

  def frames():
    for index in itertools.count():
      taken.append(index)
      yield clip[min(index, 5)]

  stream = streaming.restore_stream(model, variables, frames(), sigma=0.1)
  first = next(stream)
  # Two frames ahead, and the next one is under way.
  assert taken == [0, 1, 2, 3]
  np.testing.assert_allclose(first.frames, expected.frames[0], atol=1e-5)
  next(stream)
  assert taken == [0, 1, 2, 3, 4]


def test_clips_shorter_than_a_window_are_restored(windowed, windows):
  model, variables = windowed
  clip, _ = windows
  for count in (1, 2):
    restored = streaming.restore_clip(model, variables, clip[:count], sigma=0.1)
    assert restored.frames.shape == (count, 14, 19, 3)
  # A clip and its mirror image are the same film.
  longer = clip[np.array([0, 1, 0, 1, 0, 1, 0])]
  np.testing.assert_allclose(
      restored.frames[0],
      streaming.restore_clip(model, variables, longer, sigma=0.1).frames[2],
      atol=1e-5,
  )


class Median:
  """The middle value of three frames; a windowed model that is no cascade."""

  restores, recurrent, radius = True, False, 1
  noise_map, stride, scale, channels = False, 4, 1, 3

  def apply(self, variables, window, noise):
    assert noise is None and window.shape[2] % 4 == window.shape[3] % 4 == 0
    return Restored(jnp.median(window, 1), {"flow": window[..., :2]})


def test_a_windowed_model_without_stages_slides_its_window():
  clip = _clip(4, 6, 5)
  restored = streaming.restore_clip(Median(), {}, clip)
  extended = clip[[1, 0, 1, 2, 3, 2]]
  expected = [np.median(extended[t : t + 3], 0) for t in range(4)]
  np.testing.assert_array_equal(restored.frames, expected)
  np.testing.assert_array_equal(restored.aux["flow"][:, 1], clip[..., :2])


def test_one_frame_alone_is_restored_as_in_the_clip(
    restorer, windowed, windows, monkeypatch
):
  clip, expected = windows
  calls, run = [], streaming._stage
  monkeypatch.setattr(
      streaming, "_stage", lambda m, i, *a: calls.append(i) or run(m, i, *a)
  )
  for index in (0, 3, 5):
    alone = streaming.restore_clip(*windowed, clip, sigma=0.1, only=index)
    np.testing.assert_allclose(
        alone.frames, expected.frames[index : index + 1], atol=1e-5
    )
  assert calls == 3 * [0, 0, 0, 1]  # A window's own stages and no more.
  together = streaming.restore_clip(*restorer, clip, sigma=0.1)
  alone = streaming.restore_clip(*restorer, clip, sigma=0.1, only=2)
  np.testing.assert_array_equal(alone.frames, together.frames[2:3])
  with pytest.raises(ValueError, match="frames 0 to 5, but frame 6"):
    streaming.restore_clip(*restorer, clip, sigma=0.1, only=6)


# Super-resolution, and models that take the whole clip.


class Enlarge:
  """Three times as large: three frames to the sum of the outer ones."""

  restores, recurrent, radius, border = True, False, 1, "replicate"
  noise_map, stride, scale, channels = False, 4, 3, 3

  def apply(self, variables, window, noise):
    assert noise is None and window.shape[2] % 4 == window.shape[3] % 4 == 0
    frames = (window[:, 0] + window[:, 2]).repeat(3, 1).repeat(3, 2)
    return Restored(frames, {"hr_features": -frames, "flow": window[:, 1]})


def test_frames_of_super_resolution_are_cropped_at_their_own_size():
  clip = _clip(3, 6, 5)
  aux = ("hr_features", "flow")
  restored = streaming.restore_clip(Enlarge(), {}, clip, aux=aux)
  expected = clip[[0, 0, 1]] + clip[[1, 2, 2]]  # The ends are repeated.
  expected = expected.repeat(3, 1).repeat(3, 2)
  np.testing.assert_array_equal(restored.frames, expected)
  np.testing.assert_array_equal(restored.aux["hr_features"], -expected)
  np.testing.assert_array_equal(restored.aux["flow"], clip)


class LessLast:
  """Twice as large, each frame less the clip's last: it needs them all."""

  restores, recurrent, radius, bidirectional = True, False, None, True
  noise_map, stride, scale, channels = True, 4, 2, 3

  def apply(self, variables, clip, noise):
    assert noise.shape == (1, *clip.shape[2:4], 1)
    frames = clip - clip[:, -1:] + noise[:, None]
    return Restored(frames.repeat(2, 2).repeat(2, 3), {"flow": clip[..., :2]})


def test_a_bidirectional_model_takes_the_whole_clip():
  clip = _clip(4, 6, 5)
  restored = streaming.restore_clip(LessLast(), {}, clip, sigma=0.5)
  expected = (clip - clip[-1:] + 0.5).repeat(2, 1).repeat(2, 2)
  np.testing.assert_allclose(restored.frames, expected, atol=1e-6)
  np.testing.assert_array_equal(restored.aux["flow"], clip[..., :2])
  alone = streaming.restore_clip(LessLast(), {}, clip, sigma=0.5, only=1)
  np.testing.assert_array_equal(alone.frames, restored.frames[1:2])
  assert not list(streaming.restore_stream(LessLast(), {}, [], sigma=0.5))


class LessLastOfItsOwn(LessLast):
  """It knows how many frames are the clip's own."""

  fillable = True

  def apply(self, variables, clip, noise, *, length):
    frames = clip - jnp.take(clip, length - 1, 1)[:, None] + noise[:, None]
    return Restored(frames.repeat(2, 2).repeat(2, 3), {})


def test_clips_of_near_lengths_share_a_program():
  model, frames = LessLastOfItsOwn(), _clip(20, 4, 4)
  before = streaming._clip._cache_size()
  for length in (20, 17, 18):
    restored = streaming.restore_clip(model, {}, frames[:length], sigma=0.0)
    expected = frames[:length] - frames[length - 1]
    np.testing.assert_allclose(restored.frames[:, ::2, ::2], expected)
  assert streaming._clip._cache_size() == before + 1
  lengths = {streaming.filled_length(model, n) for n in range(1, 400)}
  assert len(lengths) < 32 and 7 in lengths
  for length in range(1, 400):
    assert length <= streaming.filled_length(model, length) <= 1.25 * length
    assert streaming.filled_length(LessLast(), length) == length
  # Chunks are of one length already.
  chunks = streaming.restore_stream(model, {}, frames, sigma=0.0, chunk=(5, 2))
  assert len(list(chunks)) == 20
  assert streaming._clip._cache_size() == before + 2


# Scenes, sigmas of frames, and chunks.


def test_nothing_is_carried_across_a_cut(restorer, windowed):
  clip = _clip(5)
  for model, variables in (restorer, windowed):
    frames = [streaming.Frame(f, 0.1, i == 2) for i, f in enumerate(clip)]
    cut = [
        r.frames for r in streaming.restore_stream(model, variables, frames)
    ]
    alone = [
        streaming.restore_clip(model, variables, part, sigma=0.1).frames
        for part in (clip[:2], clip[2:])
    ]
    np.testing.assert_array_equal(cut, np.concatenate(alone))
    whole = streaming.restore_clip(model, variables, clip, sigma=0.1).frames
    assert np.abs(whole[2] - cut[2]).max() > 1e-3


def test_each_frame_has_a_sigma_of_its_own(windowed):
  model, variables = windowed
  clip, sigmas = _clip(3), (0.05, 0.2, 0.1)
  frames = [streaming.Frame(*pair) for pair in zip(clip, sigmas)]
  found = [
      r.frames for r in streaming.restore_stream(model, variables, frames)
  ]
  # A cascade's first stage saw each frame at its own level.
  maps = [np.full((14, 19, 1), sigma, np.float32) for sigma in sigmas]
  frames = [streaming.Frame(*pair) for pair in zip(clip, maps)]
  mapped = [
      r.frames for r in streaming.restore_stream(model, variables, frames)
  ]
  np.testing.assert_allclose(found, mapped, atol=1e-5)
  flat = streaming.restore_clip(model, variables, clip, sigma=0.1).frames
  assert np.abs(found - flat).max() > 1e-3


class Neighbours:
  """The mean of all frames within three of each; it wants the whole clip."""

  restores, recurrent, radius, bidirectional = True, False, None, True
  noise_map, stride, scale, channels, halo = False, 2, 1, 3, None
  reach = 3

  def apply(self, variables, clip, noise):
    index = jnp.arange(clip.shape[1])
    near = jnp.abs(index[:, None] - index) <= self.reach
    weights = near / near.sum(1, keepdims=True)
    return Restored(jnp.einsum("st,btyxc->bsyxc", weights, clip), {})


@pytest.mark.parametrize("frames", [3, 10, 11, 16, 17, 29])
def test_chunks_that_overlap_enough_equal_the_whole(frames):
  clip = _clip(frames, 6, 5)
  whole = streaming.restore_clip(Neighbours(), {}, clip)
  taken = []

  def source():
    for frame in clip:
      taken.append(len(taken))
      yield frame

  stream = streaming.restore_stream(
      Neighbours(), {}, source(), chunk=(4, 3)
  )
  first = next(stream)
  assert len(taken) == min(frames, 11)  # The first chunk, and one more.
  np.testing.assert_allclose(
      [first.frames, *(r.frames for r in stream)], whole.frames, atol=1e-6
  )
  restored = streaming.restore_clip(
      Neighbours(), {}, clip, chunk=(2, 4), aux=("seam",)
  )
  np.testing.assert_allclose(restored.frames, whole.frames, atol=1e-6)
  assert restored.aux["seam"].max() < 1e-6


def test_chunks_that_overlap_too_little_show_their_seam():
  clip = _clip(20, 6, 5)
  restored = streaming.restore_clip(
      Neighbours(), {}, clip, chunk=(4, 1), aux=("seam",)
  )
  whole = streaming.restore_clip(Neighbours(), {}, clip).frames
  seams = restored.aux["seam"]
  # Chunks begin after 5 frames, and 4 after that.
  assert list(np.flatnonzero(seams)) == [5, 9, 13, 17]
  assert seams.max() > 0.05 and np.abs(restored.frames - whole).max() > 0.05
  with pytest.raises(ValueError, match=r"1 or more, but got \(4, 0\)"):
    streaming.restore_clip(Neighbours(), {}, clip, chunk=(4, 0))
  with pytest.raises(ValueError, match="only bidirectional"):
    streaming.restore_clip(Median(), {}, clip, chunk=(4, 1))


def test_a_stream_goes_on_from_its_state(restorer):
  model, variables = restorer
  clip = _clip()
  options = dict(sigma=0.1, aux=("state",))
  whole = list(streaming.restore_stream(model, variables, clip, **options))
  leaves = [np.asarray(x) for x in jax.tree.leaves(whole[1].aux["state"])]
  rest = streaming.restore_stream(
      model, variables, clip[2:], **options, state=leaves
  )
  np.testing.assert_array_equal(
      [r.frames for r in rest], [r.frames for r in whole[2:]]
  )
