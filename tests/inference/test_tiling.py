import numpy as np
import pytest

from vidrestore_jax.inference import tiling


def test_padding_mirrors_at_the_bottom_and_right():
  frame = np.arange(12.0).reshape(3, 4, 1)
  padded, size = tiling.pad_to_multiple(frame, 5)
  expected = np.pad(frame, ((0, 2), (0, 1), (0, 0)), mode="reflect")
  np.testing.assert_array_equal(padded, expected)
  assert size == (3, 4)


def test_sides_too_short_to_mirror_are_replicated():
  frame = np.arange(10.0).reshape(2, 5, 1)
  padded, _ = tiling.pad_to_multiple(frame, 8)
  # Height: 6 rows from 2, replicated. Width: 3 columns from 5, mirrored.
  replicated = np.tile(frame[1, :, 0], (7, 1))
  np.testing.assert_array_equal(padded[1:, :5, 0], replicated)
  np.testing.assert_array_equal(padded[0, 5:, 0], [3.0, 2.0, 1.0])


@pytest.mark.parametrize("shape", [(7, 9, 3), (2, 1, 13, 3), (1, 2, 16, 8, 4)])
def test_crop_undoes_padding(shape):
  frames = np.random.default_rng(0).random(shape).astype(np.float32)
  padded, size = tiling.pad_to_multiple(frames, 8)
  assert padded.shape[-3] % 8 == padded.shape[-2] % 8 == 0
  assert padded.shape[-3] - shape[-3] < 8 and padded.shape[-2] - shape[-2] < 8
  np.testing.assert_array_equal(tiling.crop(padded, size), frames)


def test_crop_of_enlarged_frames_scales_with_them():
  frame = np.arange(64.0).reshape(8, 8, 1)
  np.testing.assert_array_equal(
      tiling.crop(frame, (3, 2), scale=2), frame[:6, :4]
  )
