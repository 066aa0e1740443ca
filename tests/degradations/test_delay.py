"""A late clip."""

import numpy as np
import pytest

from vidrestore_jax import degradations


def test_frames_come_late_and_the_first_waits_for_them():
  clip = np.linspace(0, 1, 5, dtype=np.float32)[:, None, None, None]
  late, card = degradations.draw(
      {"name": "delay.frames", "count": 2}, clip, seed=0, index=0
  )
  np.testing.assert_array_equal(late, clip[[0, 0, 0, 1, 2]])
  assert card["drawn"] == {"frames": 2}
  with pytest.raises(ValueError, match="1 or more, but got 0"):
    degradations.build("delay.frames", count=0)(None, clip)
