"""Temporal consistency by hand, by laws, and by OpenCV itself."""

import functools
import sys

import cv2
import numpy as np
import pytest

from vidrestore_jax.metrics import image, temporal


def _moving(step, frames=3, height=64, width=80, seed=0):
  """A smooth texture that moves right by `step` pixels a frame, in [0, 1]."""
  noise = np.random.default_rng(seed).random((height, width + 40, 3))
  texture = cv2.GaussianBlur(noise, (0, 0), 2.0)
  texture = (texture - texture.min()) / np.ptp(texture)
  starts = [20 - step * t for t in range(frames)]
  return np.stack([texture[:, s : s + width] for s in starts])


def _still(frame, following):
  return np.zeros((*frame.shape[:2], 2))


def _constant(dx, dy=0.0):
  """A flow of (dx, dy) from the earlier frame, whichever comes first."""

  def flow(frame, following):
    sign = 1 if following.mean() >= frame.mean() else -1
    return np.broadcast_to([sign * dx, sign * dy], (*frame.shape[:2], 2))

  return flow


def test_farneback_is_opencvs_with_the_published_parameters():
  clip = _moving(2)
  grey = [
      cv2.cvtColor(np.uint8(np.rint(255 * frame)), cv2.COLOR_RGB2GRAY)
      for frame in clip[:2]
  ]
  expected = cv2.calcOpticalFlowFarneback(
      *grey, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5,
      poly_sigma=1.2, flags=0,
  )
  found = temporal.farneback(*clip[:2])
  np.testing.assert_array_equal(found, expected)
  np.testing.assert_array_equal(temporal.farneback(*clip[:2]), found)
  # From the first into the second, (dx, dy): to the right by 2.
  inside = found[16:-16, 16:-16].reshape(-1, 2)
  np.testing.assert_allclose(np.median(inside, 0), [2, 0], atol=0.05)
  np.testing.assert_array_equal(
      temporal.farneback(*clip[:2, ..., 1:2]),
      cv2.calcOpticalFlowFarneback(
          *(np.uint8(np.rint(255 * f[..., 1])) for f in clip[:2]),
          None, *temporal.FARNEBACK,
      ),
  )


def test_tof_is_the_mean_length_of_the_difference_of_flows():
  truth, still = _moving(2), np.repeat(_moving(2)[:1], 3, 0)
  assert temporal.tof(truth, truth) == 0.0
  # A frozen restoration misses the motion of 2 pixels a frame.
  value = temporal.tof(still, truth, crop=lambda flow: flow[16:-16, 16:-16])
  assert value == pytest.approx(2, abs=0.1)
  # The reference's own lines on whole flows, cropped after the flow.
  crop = functools.partial(image.crop_centre, multiple=32)
  expected = []
  for t in (1, 2):
    own, true = (
        crop(temporal.farneback(clip[t - 1], clip[t]))
        for clip in (still, truth)
    )
    expected.append(np.sqrt(np.square(np.abs(true - own)).sum(-1)).mean())
  assert temporal.tof(still, truth, crop=crop) == pytest.approx(
      np.mean(expected), rel=1e-6
  )
  # Any flow will do; by hand the difference is (3, 4) everywhere, so 5.
  frames, true = np.ones((2, 8, 8, 3)), np.zeros((2, 8, 8, 3))
  value = temporal.tof(
      frames, true, flow=lambda a, b: np.full((8, 8, 2), (3.0, 4.0)) * a.mean()
  )
  assert value == pytest.approx(5.0)


def test_warping_error_of_still_clips_is_their_flicker():
  guide = np.zeros((3, 8, 8, 3))
  clip = guide + np.array([0.5, 0.6, 0.3]).reshape(3, 1, 1, 1)
  # Squares of 0.1 and 0.3, averaged.
  assert temporal.warping_error(clip, guide, flow=_still) == pytest.approx(0.05)
  assert temporal.warping_error(guide, clip, flow=_still) == 0.0


def test_warping_error_follows_the_motion_and_leaves_out_what_is_hidden():
  # A bright square moves right by 3 over a flat ground; frames get brighter, so
  # that the made flow knows which comes first.
  guide = np.zeros((2, 24, 40, 3))
  guide[0, 8:16, 8:16] = 0.8
  guide[1, 8:16, 11:19] = 0.8
  guide[1] += 0.1
  clip = guide.copy()
  clip[1] -= 0.1  # The restored clip does not flicker.
  everywhere = _constant(3.0)
  assert temporal.warping_error(clip, guide, flow=everywhere) == 0.0
  assert temporal.warping_error(clip, guide, flow=_still) > 0.01

  def of_the_square(frame, following):
    flow = np.zeros((24, 40, 2))
    forward = following.mean() > frame.mean()
    left = 8 if forward else 11
    flow[8:16, left : left + 8, 0] = 3.0 if forward else -3.0
    return flow

  hidden = temporal.occluded(of_the_square(*guide), of_the_square(*guide[::-1]))
  # What the square covers next, (columns 16 to 18), and the edge of its motion.
  assert hidden[8:16, 16:19].all()
  assert not hidden[9:15, 9:15].any() and not hidden[:7].any()
  assert temporal.warping_error(clip, guide, flow=of_the_square) == 0.0


def test_occlusion_by_hand():
  forward = np.zeros((6, 9, 2))
  # |f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5, here |b|^2 (1 - 0.01) > 0.5.
  just, more = np.sqrt(0.5 / 0.99) * np.array([0.999, 1.001])
  backward = np.stack([np.full((6, 9), just), np.zeros((6, 9))], -1)
  assert not temporal.occluded(forward, backward).any()
  backward[..., 0] = more
  assert temporal.occluded(forward, backward).all()
  # A jump of flow by 0.1: 0.01 > 0.01 |f|^2 + 0.002, on its left side alone.
  forward[:, 5:, 0] = 0.1
  found = temporal.occluded(forward, -forward)
  np.testing.assert_array_equal(found, np.arange(9)[None] == np.full((6, 1), 4))


def test_bilinear_reading_beyond_the_border_repeats_it():
  ramp = np.arange(12.0).reshape(3, 4, 1)
  flow = np.zeros((3, 4, 2))
  flow[..., 0], flow[..., 1] = 0.25, 0.5
  read = temporal._warp(ramp, flow)[..., 0]
  # Rows are 4 apart, columns 1; the last row and column have none beyond.
  expected = ramp[..., 0] + [0.25, 0.25, 0.25, 0] + [[2], [2], [0]]
  np.testing.assert_allclose(read, expected, atol=1e-12)


def test_perceptual_distances_take_any_function_of_two_images():

  def distance(one, other):  # Stands in for LPIPS.
    return np.abs(one - other).mean()

  truth = np.zeros((3, 4, 4, 3))
  frames = truth + np.array([0.1, 0.4, 0.2]).reshape(3, 1, 1, 1)
  assert temporal.perceptual_distance(
      frames, truth, distance=distance
  ) == pytest.approx(0.7 / 3)
  # The truth is still; the frames change by 0.3, then 0.2.
  assert temporal.tlp(frames, truth, distance=distance) == pytest.approx(25.0)
  assert temporal.tlp(truth + 0.5, truth, distance=distance) == 0.0


def test_what_cannot_be_measured_is_said_so(monkeypatch):
  clip = np.zeros((1, 8, 8, 3))
  for measure in (temporal.tof, temporal.warping_error):
    with pytest.raises(ValueError, match="needs 2 frames or more, but got 1"):
      measure(clip, clip)
    with pytest.raises(ValueError, match="one shape"):
      measure(clip, clip[0])
  monkeypatch.setitem(sys.modules, "cv2", None)
  with pytest.raises(ImportError, match=r"vidrestore_jax\[metrics\]"):
    temporal.farneback(clip[0], clip[0])
