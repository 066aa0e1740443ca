"""Augmentations keep the flow true to the frames and undo themselves."""

import numpy as np
import pytest

from vidrestore_jax.data import transforms


@pytest.fixture
def example():
  """Frames whose values move by whole pixels, a different way everywhere.

  Frame t holds the labels of frame 0 moved along with a shift per row band,
  so that flow differs from place to place.
  """
  rng = np.random.default_rng(0)
  size, frames = 16, 4
  clean = np.zeros((frames, size, size, 3), np.uint8)
  clean[0] = rng.integers(0, 256, (size, size, 3))
  flow = np.zeros((frames, size, size, 2), np.float32)
  for t in range(1, frames):
    flow[t] = rng.integers(-4, 5, (size, size, 2))
    y, x = np.mgrid[:size, :size]
    # Every vector points inside, so that each pixel has a source.
    flow[t, ..., 0] = (x + flow[t, ..., 0]).clip(0, size - 1) - x
    flow[t, ..., 1] = (y + flow[t, ..., 1]).clip(0, size - 1) - y
    clean[t] = _warped(clean[t - 1], flow[t])
  return dict(
      clean=clean, degraded=255 - clean, flow=flow, max_value=255, name="a/0"
  )


def _warped(previous, flow):
  y, x = np.mgrid[: flow.shape[0], : flow.shape[1]]
  x, y = x + flow[..., 0].astype(int), y + flow[..., 1].astype(int)
  height, width = previous.shape[:2]
  inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
  value = previous[y.clip(0, height - 1), x.clip(0, width - 1)]
  return np.where(inside[..., None], value, 0)


def _assert_flow_holds(example):
  checked = 0
  for t in range(1, len(example["clean"])):
    warped = _warped(example["clean"][t - 1], example["flow"][t])
    y, x = np.mgrid[: warped.shape[0], : warped.shape[1]]
    x, y = x + example["flow"][t, ..., 0], y + example["flow"][t, ..., 1]
    inside = (x >= 0) & (x < warped.shape[1])
    inside &= (y >= 0) & (y < warped.shape[0])
    np.testing.assert_array_equal(
        warped[inside], example["clean"][t][inside]
    )
    checked += inside.sum()
  assert checked > 50
  assert not example["flow"][0].any()
  np.testing.assert_array_equal(example["degraded"], 255 - example["clean"])


CHANGES = {
    "flip_horizontal": transforms.flip_horizontal,
    "flip_vertical": transforms.flip_vertical,
    "transpose": transforms.transpose,
    "crop": lambda e: transforms.crop(e, 2, 5, 9),
    "window": lambda e: transforms.window(e, 1, 3),
}


@pytest.mark.parametrize("name", CHANGES)
def test_flow_stays_true(example, name):
  before = {key: np.copy(value) for key, value in example.items()}
  changed = CHANGES[name](example)
  _assert_flow_holds(changed)
  assert (changed["clean"].shape, changed["clean"].tobytes()) != (
      example["clean"].shape, example["clean"].tobytes()
  )
  assert changed["max_value"] == 255 and changed["name"] == "a/0"
  for key, value in before.items():  # The given example is as it was.
    np.testing.assert_array_equal(example[key], value)


@pytest.mark.parametrize(
    "name", ["flip_horizontal", "flip_vertical", "transpose"]
)
def test_orientations_are_their_own_inverse(example, name):
  twice = CHANGES[name](CHANGES[name](example))
  for key in ("clean", "degraded", "flow"):
    np.testing.assert_array_equal(twice[key], example[key])


def test_flow_turns_by_hand():
  flow = np.zeros((1, 2, 3, 2), np.float32)
  flow[0, 0, 2] = (5, 7)
  example = dict(clean=np.zeros((1, 2, 3, 1), np.uint8), flow=flow)
  assert transforms.flip_horizontal(example)["flow"][0, 0, 0].tolist() == [
      -5, 7,
  ]
  assert transforms.flip_vertical(example)["flow"][0, 1, 2].tolist() == [5, -7]
  assert transforms.transpose(example)["flow"][0, 2, 0].tolist() == [7, 5]


def test_random_orientation_draws_all_eight_equally_often(example):
  counts = {}
  for seed in range(800):
    rng = np.random.default_rng(seed)
    changed = transforms.random_orientation(rng, example)
    key = changed["clean"].tobytes()
    counts[key] = counts.get(key, 0) + 1
    if counts[key] == 1:
      _assert_flow_holds(changed)
  assert len(counts) == 8
  assert min(counts.values()) > 60  # 100 expected, deviation below 10.


def test_random_crop_reaches_every_corner(example):
  seen = set()
  for seed in range(200):
    rng = np.random.default_rng(seed)
    patch = transforms.random_crop(rng, example, size=15)
    assert patch["clean"].shape == (4, 15, 15, 3)
    seen.add(patch["clean"].tobytes())
  assert len(seen) == 4


def test_random_window_reaches_every_start(example):
  seen = {
      transforms.random_window(
          np.random.default_rng(seed), example, length=2
      )["clean"].tobytes()
      for seed in range(100)
  }
  assert seen == {example["clean"][s : s + 2].tobytes() for s in range(3)}


def test_impossible_requests_name_the_clip_and_both_sizes(example):
  rng = np.random.default_rng(0)
  with pytest.raises(ValueError, match=r"a/0 .* 16x16 .*patch of 17x17"):
    transforms.random_crop(rng, example, size=17)
  with pytest.raises(ValueError, match=r"a/0 has 4 frames.* 0 to 4"):
    transforms.random_window(rng, example, length=5)
  wide = transforms.window(example, 0, 2)
  wide["clean"] = wide["clean"][:, :8]
  with pytest.raises(ValueError, match=r"16x8 pixels.*only squares"):
    transforms.random_orientation(rng, wide)
