"""BI: MATLAB's bicubic, smaller by a whole factor."""

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax.degradations import build, resize


def test_down_sampling_keeps_constants_phases_and_the_range():
  down = build("resize.bicubic_down", scale=4)
  flat, card = down(None, np.full((2, 16, 24, 3), 0.3, np.float32))
  assert flat.shape == (2, 4, 6, 3) and flat.dtype == np.float32
  np.testing.assert_allclose(flat, 0.3, atol=1e-6)
  assert card["drawn"] == {"scale": 4}
  # A ramp's samples are its values at the centres of the blocks of four.
  ramp = np.arange(64, dtype=np.float32) / 64
  clip = np.broadcast_to(ramp[:, None], (1, 64, 64, 1))
  small, _ = down(None, clip)
  np.testing.assert_allclose(
      small[0, 8, 2:-2, 0], ramp.reshape(16, 4).mean(1)[2:-2], atol=1e-6
  )
  # The kernel overshoots at an edge; a frame does not.
  edge = (ramp > 0.5).astype(np.float32)
  small, _ = down(None, np.broadcast_to(edge[:, None], (1, 64, 64, 1)))
  assert small.min() == 0.0 and small.max() == 1.0


def test_sizes_that_do_not_divide_are_named():
  clip = np.zeros((1, 16, 18, 3), np.float32)
  with pytest.raises(ValueError, match="18x16. Crop them first, to 16x16"):
    resize.bicubic_down(None, clip, scale=4)
  with pytest.raises(ValueError, match="by 0 needs a whole scale"):
    resize.bicubic_down(None, clip, scale=0)


@pytest.mark.parametrize("name", ["vid4_city", "vid4_walk"])
def test_rows_of_real_frames_are_pillows_away_from_the_border(name, real_data):
  file = sorted((real_data / "clips" / name).iterdir())[0]
  frame = np.asarray(Image.open(file))[:64].astype(np.float32) / 255
  small, _ = resize.bicubic_down(None, frame[None], scale=4)
  for channel in range(3):
    theirs = np.asarray(
        Image.fromarray(np.ascontiguousarray(frame[..., channel])).resize(
            (frame.shape[1] // 4, 16), Image.Resampling.BICUBIC
        )
    )
    np.testing.assert_allclose(
        small[0, 2:-2, 2:-2, channel], theirs[2:-2, 2:-2].clip(0, 1), atol=2e-6
    )
