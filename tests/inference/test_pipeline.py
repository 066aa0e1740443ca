"""Every door restores alike: levels, cuts, tiles, buckets, chunks, strength."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import vidrestore_jax
from tests.inference import tiny_videos
from vidrestore_jax.inference import pipeline, plan, streaming
from vidrestore_jax.inference.noise_estimation import NoiseTracker
from vidrestore_jax.inference.pipeline import Settings
from vidrestore_jax.shapes import Restored


class Level:
  """Shows the noise map that it is told."""

  restores, recurrent, radius, halo = True, False, 0, 0
  noise_map, stride, scale, channels = True, 2, 1, 3

  def apply(self, variables, window, noise):
    return Restored(jnp.broadcast_to(noise, window[:, 0].shape), {})


class Mean(Level):
  """The mean of three frames."""

  radius, noise_map = 1, False

  def apply(self, variables, window, noise):
    return Restored(window.mean(1), {})


@pytest.fixture(scope="module")
def film():
  return tiny_videos.film((4, 5), (64, 48), (0.04, 0.05))


def _levels(clip, cuts=(4,)):
  """What the tracker finds, which starts anew at cuts."""
  track, found = NoiseTracker(), []
  for index, frame in enumerate(clip):
    if index in cuts:
      track.reset()
    found.append(track(frame))
  return found


def test_a_model_is_told_what_is_estimated_of_each_frame(film):
  restored = vidrestore_jax.restore(film, (Level(), {}))
  expected = [found.sigma for found in _levels(film)]
  np.testing.assert_allclose(restored[:, 5, 7, 0], expected, rtol=1e-6)
  np.testing.assert_allclose(expected, 4 * [0.04] + 5 * [0.05], rtol=0.15)
  one_scene = vidrestore_jax.restore(film, (Level(), {}), cuts=False)
  expected = [found.sigma for found in _levels(film, cuts=())]
  np.testing.assert_allclose(one_scene[:, 5, 7, 0], expected, rtol=1e-6)
  assert np.abs(one_scene - restored)[4:].max() > 1e-4
  stated = vidrestore_jax.restore(film[:1], (Level(), {}), sigma=0.25)
  np.testing.assert_array_equal(stated, np.full_like(film[:1], 0.25))


def test_a_model_is_told_levels_that_depend_on_the_signal(film):
  restored = vidrestore_jax.restore(film[:2], (Level(), {}), noise="signal")
  for frame, given, found in zip(restored, film, _levels(film[:2])):
    np.testing.assert_allclose(
        frame[..., :1], found.noise_map(given), rtol=1e-5
    )
  for model, sigma, message in (
      (Level(), 0.1, "state no sigma with it"),
      (Mean(), None, "this Mean has none"),
  ):
    with pytest.raises(ValueError, match=message):
      vidrestore_jax.restore(film, (model, {}), noise="signal", sigma=sigma)


def test_a_frame_of_noise_alone_has_a_level_that_models_take():
  frames = np.random.default_rng(0).integers(0, 2, (2, 64, 64, 3))
  restored = vidrestore_jax.restore(
      frames.astype(np.float32), (Level(), {}), noise="signal"
  )
  assert restored.max() <= 1.0
  restored = vidrestore_jax.restore(frames.astype(np.float32), (Level(), {}))
  assert restored.max() == 1.0


def test_windows_end_at_cuts_unless_told_otherwise(film):
  restored = vidrestore_jax.restore(film, (Mean(), {}))
  alone = vidrestore_jax.restore(film[:4], (Mean(), {}))
  np.testing.assert_array_equal(restored[:4], alone)
  across = vidrestore_jax.restore(film, (Mean(), {}), cuts=False)
  assert np.abs(across[3] - restored[3]).max() > 0.1


def test_strength_takes_a_part(film):
  whole, half, none = (
      vidrestore_jax.restore(film, (Mean(), {}), strength=strength)
      for strength in (1, 0.5, 0)
  )
  np.testing.assert_array_equal(none, film)
  np.testing.assert_allclose(half, (film + whole) / 2, atol=1e-6)
  codes = np.rint(255 * film).astype(np.uint8)
  np.testing.assert_array_equal(
      vidrestore_jax.restore(codes, (Mean(), {}), strength=0), codes
  )

  class Large(Mean):
    scale = 2

  with pytest.raises(ValueError, match="a model that enlarges takes none"):
    vidrestore_jax.restore(film, (Large(), {}), strength=0.5)


def _spied(monkeypatch, name="_window"):
  """Sizes that the engine shows a model."""
  sizes, run = [], getattr(streaming, name)

  def spy(model, aux, variables, frames, *rest):
    sizes.append(frames[0].shape[:2])
    return run(model, aux, variables, frames, *rest)

  spy.lower = run.lower  # For the plan.
  monkeypatch.setattr(streaming, name, spy)
  return sizes


def test_buckets_are_the_default_and_change_nothing(monkeypatch):
  model = tiny_videos.identity()
  clip = tiny_videos.film((2,), (301, 71), (0.05,))
  plain = vidrestore_jax.restore(clip, model, bucket=None)
  sizes = _spied(monkeypatch)
  restored = vidrestore_jax.restore(clip, model)
  assert set(sizes) == {(72, 302)}
  assert np.abs(restored - plain).max() < 1e-5
  vidrestore_jax.restore(clip, model, bucket=8)
  assert sizes[-1] == (72, 304)
  small = clip[:, :19, :17]  # Buckets would be whole strides here.
  assert vidrestore_jax.restore(small, model).shape == small.shape
  assert sizes[-1] == (19, 17)


def _notes(*arguments, **settings):
  """(restored frames, what was noted)."""
  notes = []
  results = pipeline.restored(
      *arguments, Settings(**settings), note=notes.append
  )
  return [result.frame for result in results], notes


def test_tiles_are_taken_where_whole_frames_do_not_fit(monkeypatch):
  model = tiny_videos.built("dncnn", depth=3, width=16, batch_norm=False)
  clip = tiny_videos.film((2,), (120, 90), (0.05,))
  whole, notes = _notes(*model, clip)
  assert not notes
  need = plan.make(*model, (90, 120), bucket=None)
  monkeypatch.setattr(plan, "free_memory", lambda count: need.memory - 1)
  sizes = _spied(monkeypatch)
  tiled, notes = _notes(*model, clip, verify_tiles=True)
  np.testing.assert_allclose(tiled, whole, atol=1e-5)
  side = plan.make(*model, (90, 120)).tile
  assert {max(size) for size in sizes} == {side, 120}  # Verified by the whole.
  assert len(notes) == 2
  assert f"going on with tiles of {side}x{side}, which give" in notes[0]
  assert f"tiles of {side}x{side} differ from whole frames" in notes[1]
  sizes.clear()
  unasked, _ = _notes(*model, clip, tile=None)
  assert set(sizes) == {(90, 120)}
  np.testing.assert_allclose(unasked, whole, atol=1e-5)
  _notes(*model, clip, tile=40)
  assert sizes[-1] == (40, 40)


def test_what_is_compiled_to_find_a_layout_is_what_runs():
  model = tiny_videos.windowed()
  clip = tiny_videos.film((3,), (76, 68), (0.05,))
  programs, listening = [], True

  def heard(name, seconds, **_):
    if listening and "backend_compile" in name:
      programs.append(seconds)

  jax.monitoring.register_event_duration_secs_listener(heard)
  list(pipeline.restored(*model, clip, Settings(sigma=0.1)))
  count = len(programs)
  streaming.restore_clip(*model, clip, sigma=0.1, bucket=None)
  listening = False
  # Two stages and little else: neither was compiled twice.
  assert count <= len(programs) <= 2 + 4


def test_running_out_of_memory_is_noted_and_later_segments_know(monkeypatch):
  model = tiny_videos.identity()
  clip = tiny_videos.film((2, 4), (120, 90), (0.05, 0.05))
  run, calls = streaming._window, []

  def limited(model, aux, variables, frames, *rest):
    calls.append(frames[0].shape)
    if len(calls) > 2 and max(frames[0].shape) > 70:
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    return run(model, aux, variables, frames, *rest)

  limited.lower = run.lower
  expected, _ = _notes(*model, clip)
  monkeypatch.setattr(streaming, "_window", limited)
  notes = []
  results = list(
      pipeline.restored(*model, clip, Settings(), note=notes.append)
  )
  (note,) = notes
  assert "ran out of memory with frames of 120x90; going on with" in note
  # As the frame after each is tried first.
  expected_layouts = 2 * [(None, 2)] + 4 * [(60, None)]
  assert [result.layout for result in results] == expected_layouts
  np.testing.assert_allclose(
      [result.frame for result in results], expected, atol=1e-5
  )


def test_chunks_through_the_library(film):
  clip = np.concatenate([film[4:]] * 4)
  model = tiny_videos.neighbours()
  whole = vidrestore_jax.restore(clip, model, sigma=0)
  with pytest.warns(RuntimeWarning, match=r"most (0|.*e-\d+) \(8-bit"):
    chunked = vidrestore_jax.restore(clip, model, sigma=0, chunk=(4, 3))
  np.testing.assert_allclose(chunked, whole, atol=1e-6)
  with pytest.warns(RuntimeWarning, match=r"by at most \d+ \(8-bit"):
    clip *= np.arange(20)[:, None, None, None] / 20
    vidrestore_jax.restore(clip, model, sigma=0, chunk=(4, 1))


def test_one_plot_for_a_clip_and_for_a_generator(film, tmp_path):
  path = tmp_path / "noise.png"
  vidrestore_jax.restore(film, (Mean(), {}), plot_noise=path)  # A blind model.
  first = np.asarray(Image.open(path))
  frames = vidrestore_jax.restore(
      iter(film), (Level(), {}), plot_noise=tmp_path / "same.png"
  )
  assert len(list(frames)) == 9
  np.testing.assert_array_equal(
      np.asarray(Image.open(tmp_path / "same.png")), first
  )
  vidrestore_jax.restore(film[:3], (Mean(), {}), plot_noise=path)
  assert (np.asarray(Image.open(path)) != first).any()


def test_frames_that_change_their_size_are_named(film):
  with pytest.raises(ValueError, match="Frame 1 is 30x48 while .* 64x48"):
    list(vidrestore_jax.restore(
        iter([film[0], film[1][:, :30]]), (Level(), {})
    ))


@pytest.mark.parametrize("size", [(17, 19), (9, 301), (2161, 3841)])
def test_any_size(size):
  frame = np.random.default_rng(0).integers(0, 255, (1, *size, 3), np.uint8)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    restored = vidrestore_jax.restore(frame, (Mean(), {}), tile=512)
    np.testing.assert_array_equal(restored, frame)
    restored = vidrestore_jax.restore(frame, (Mean(), {}))
    np.testing.assert_array_equal(restored, frame)


@pytest.mark.parametrize("chunk", [None, (2, 1), (3, 2), (1, 3)])
def test_what_is_shown_again_is_enough_and_no_more_than_that(chunk):
  """A bidirectional model that goes on at any frame of a scene."""
  model, _ = tiny_videos.neighbours()
  clip = np.random.default_rng(1).random((13, 2, 2, 3), np.float32)
  settings = Settings(sigma=0.1, chunk=chunk, cuts=False)
  whole, _ = _notes(model, {}, clip, sigma=0.1, chunk=chunk, cuts=False)
  most = 0
  for done in range(1, 13):
    again = pipeline.look_back(model, chunk, done, 0)
    most = max(most, again)
    resume = pipeline.Resume(
        [pipeline.Known()] * done, again, None, (None, None)
    )
    rest = [
        result.frame for result in pipeline.restored(
            model, {}, clip, settings, resume=resume, note=lambda _: None
        )
    ]
    np.testing.assert_allclose(rest, whole[done:], atol=1e-6)
  assert most == (12 if chunk is None else 2 * chunk[0] + chunk[1] - 1)
