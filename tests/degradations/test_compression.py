"""Compression: worse at lower quality, the same bytes for the same seed."""

import json
import sys

import numpy as np
import pytest

from vidrestore_jax.degradations import compression, fields


def _clip(shape=(3, 47, 61, 3)):
  """Smooth colours under some noise, of odd size."""
  rng = np.random.default_rng(0)
  clip = np.stack([
      fields.smooth(*shape[1:3], 8.0, rng) for _ in range(shape[-1])
  ], -1)
  clip = 0.5 + 0.15 * clip + 0.05 * rng.standard_normal(shape)
  return clip.clip(0, 1).astype(np.float32)


def _error(function, clip, **options):
  decoded, card = function(np.random.default_rng(0), clip, **options)
  assert decoded.shape == clip.shape and decoded.dtype == np.float32
  assert decoded.min() >= 0 and decoded.max() <= 1
  values = decoded * 255
  np.testing.assert_allclose(values, np.round(values), atol=1e-4)
  return float(((decoded - clip) ** 2).mean()), card


def test_jpeg_loses_more_at_lower_quality():
  clip = _clip()
  errors = [
      _error(compression.jpeg, clip, quality=(q, q))[0] for q in (90, 50, 10)
  ]
  assert 0 < errors[0] < errors[1] < errors[2] < 0.01


def test_jpeg_takes_gray_and_draws_within_its_range():
  drawn = {
      compression.jpeg(
          np.random.default_rng(seed), _clip((1, 8, 8, 1)), quality=(40, 42)
      )[1]["quality"]
      for seed in range(40)
  }
  assert drawn == {40, 41, 42}
  with pytest.raises(ValueError, match="needs 3 channels"):
    compression.jpeg(np.random.default_rng(0), np.zeros((1, 8, 8, 4), "f4"))
  with pytest.raises(ValueError, match="quality needs 1"):
    _error(compression.jpeg, _clip(), quality=(0, 50))
  with pytest.raises(ValueError, match="quality needs whole numbers"):
    _error(compression.jpeg, _clip(), quality=(10.5, 50))


@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_video_loses_more_and_takes_fewer_bytes_at_a_higher_rate_factor(codec):
  pytest.importorskip("av")
  clip, results = _clip(), []
  for crf in (10, 30, 45):
    error, card = _error(
        compression.video, clip, codec=codec, crf=(crf, crf)
    )
    assert card["crf"] == crf and card["codec"] == codec
    results.append((error, -card["bytes"]))
  assert results == sorted(results) and results[0][0] < 3e-3
  assert len(set(results)) == 3


@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_video_takes_frames_of_any_size(codec):
  pytest.importorskip("av")
  for shape in ((2, 5, 7, 3), (1, 66, 1, 3)):
    clip = np.full(shape, 0.5, np.float32)
    error, _ = _error(compression.video, clip, codec=codec)
    assert error < 1e-4


def test_video_keeps_frames_in_their_order():
  """With frames coded out of order (B-frames) too."""
  pytest.importorskip("av")
  levels = np.linspace(0.1, 0.9, 9, dtype=np.float32)
  clip = np.broadcast_to(levels[:, None, None, None], (9, 32, 32, 3))
  decoded, _ = compression.video(np.random.default_rng(0), clip, crf=(18, 18))
  np.testing.assert_allclose(decoded.mean((1, 2, 3)), levels, atol=0.03)


@pytest.mark.parametrize(
    "function, options",
    [
        (compression.jpeg, {}),
        (compression.video, {}),
        (compression.video, {"codec": "vp9"}),
    ],
)
def test_the_same_seed_gives_the_same_bytes_and_card(function, options):
  if function is compression.video:
    pytest.importorskip("av")
  clip = _clip()
  one, card = function(np.random.default_rng(1), clip, **options)
  for _ in range(5):  # Coders are seldom wrong about it, but they are.
    two, again = function(np.random.default_rng(1), clip, **options)
    assert one.tobytes() == two.tobytes()
  assert json.loads(json.dumps(card)) == again == card


def test_a_missing_pyav_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, "av", None)
  with pytest.raises(ImportError, match=r"pip install vidrestore_jax\[video\]"):
    compression.video(np.random.default_rng(0), _clip())


def test_unknown_codecs_are_named():
  with pytest.raises(ValueError, match="one of h264, vp9, but is 'hevc'"):
    compression.video(np.random.default_rng(0), _clip(), codec="hevc")
  with pytest.raises(ValueError, match="crf needs 0"):
    compression.video(np.random.default_rng(0), _clip(), crf=(10, 60))
