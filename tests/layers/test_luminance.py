"""Luminance: MATLAB's, and what adding to it leaves of the colours."""

import numpy as np

from vidrestore_jax.layers import luminance
from vidrestore_jax.metrics import image

# MATLAB's documentation of rgb2ycbcr: R, G, B in [0, 1] to 8-bit Y, Cb, Cr.
_MATRIX = np.array([
    [65.481, 128.553, 24.966],
    [-37.797, -74.203, 112.0],
    [112.0, -93.786, -18.214],
])


def test_luminance_is_that_of_the_metrics():
  rgb = np.random.default_rng(0).random((2, 4, 5, 3))
  ours = np.asarray(luminance.luminance(rgb)) * 255
  for frame, found in zip(rgb, ours):
    expected = image.luminance(255 * frame, peak=255)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
  black_and_white = luminance.luminance(np.array([[0.0] * 3, [1.0] * 3]))
  np.testing.assert_allclose(255 * black_and_white, [[16], [235]], rtol=1e-6)


def test_new_luminance_leaves_the_chroma():
  generator = np.random.default_rng(1)
  rgb, new = generator.random((4, 5, 3)), generator.random((4, 5, 1))
  changed = np.asarray(luminance.with_luminance(rgb, new))
  before, after = rgb @ _MATRIX.T, changed @ _MATRIX.T
  np.testing.assert_allclose(after[..., 0] + 16, 255 * new[..., 0], rtol=1e-5)
  np.testing.assert_allclose(after[..., 1:], before[..., 1:], atol=1e-3)


def test_frames_of_one_channel_are_luminance():
  frames, new = np.zeros((2, 2, 1)), np.ones((2, 2, 1))
  assert luminance.split(frames) is frames
  assert luminance.join(frames, new) is new
