"""Clips that come late."""

import numpy as np
import pytest

from vidrestore_jax import data

CLIPS = {
    "name": "procedural", "size": 2, "length": 5, "height": 16, "width": 16
}


def test_each_frame_stands_beside_one_before_it():
  clips = data.build(**CLIPS)[1]
  late = data.build("late", source=CLIPS, count=2)
  assert len(late) == 2
  pair = late[1]
  np.testing.assert_array_equal(pair["clean"], clips["clean"][2:])
  np.testing.assert_array_equal(pair["degraded"], clips["clean"][:3])
  np.testing.assert_array_equal(pair["flow"][1:], clips["flow"][3:])
  assert not pair["flow"][0].any() and pair["name"] == clips["name"]
  opened = late.open(1)
  for name in ("clean", "degraded"):
    np.testing.assert_array_equal(opened[name], pair[name])


def test_what_has_no_frame_before_it_is_refused():
  with pytest.raises(ValueError, match="1 or more, but got 0"):
    data.build("late", source=CLIPS, count=0)
  with pytest.raises(ValueError, match="late by 5 .*_000000 has 5"):
    data.build("late", source=CLIPS, count=5)[0]
  with pytest.raises(ValueError, match="late by 1 .* has 4 pairs"):
    late = {"name": "late", "source": CLIPS}
    data.build("late", source=late)[0]
