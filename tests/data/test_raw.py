"""Raw clips: planes, turns that keep the Bayer phase, and unprocessing."""

import numpy as np
import pytest

from vidrestore_jax import data
from vidrestore_jax.data import raw
from vidrestore_jax.metrics import image
from vidrestore_jax.metrics.raw import isp

_SOURCE = dict(
    name="procedural", size=3, length=2, height=24, width=32, flow=False
)
_GAINS = dict(red_gain=(1.9, 2.4), blue_gain=(1.5, 1.9))


class _Pairs:
  """Three clips of 5x7 pixels with degraded twins."""

  def __len__(self):
    return 3

  def __getitem__(self, index):
    clean = np.full((1, 5, 7, 3), 100 + index, np.uint8)
    return dict(clean=clean, degraded=clean // 2, max_value=255, name="pair")


def _camera(index=0):
  return raw.Unprocessed(_Pairs(), seed=0, **_GAINS)[index]["metadata"]


def _sampled(scene):
  """What a GBRG sensor sees of an RGB scene `[T, H, W, 3]`."""
  mosaic = np.empty((*scene.shape[:3], 1), scene.dtype)
  mosaic[:, 0::2, 0::2, 0] = scene[:, 0::2, 0::2, 1]
  mosaic[:, 0::2, 1::2, 0] = scene[:, 0::2, 1::2, 2]
  mosaic[:, 1::2, 0::2, 0] = scene[:, 1::2, 0::2, 0]
  mosaic[:, 1::2, 1::2, 0] = scene[:, 1::2, 1::2, 1]
  return mosaic


def _orientations(scene):
  for mirrored_x in (False, True):
    for mirrored_y in (False, True):
      for transposed in (False, True):
        turned = scene[:, :, ::-1] if mirrored_x else scene
        turned = turned[:, ::-1] if mirrored_y else turned
        turned = turned.swapaxes(1, 2) if transposed else turned
        yield (mirrored_x, mirrored_y, transposed), turned


def _example(scene):
  clean = _sampled(scene)
  return dict(
      clean=clean, degraded=clean + 1000, bayer="GBRG", max_value=3855, name="a"
  )


def test_planes_are_red_green_blue_green_of_a_gbrg_cell():
  mosaic = np.array([[[1], [2]], [[3], [4]]])  # G B / R G
  np.testing.assert_array_equal(raw.pack(mosaic), [[[3, 4, 2, 1]]])


def test_unpacking_undoes_packing():
  mosaic = np.random.default_rng(0).integers(0, 3856, (2, 3, 6, 10, 1))
  packed = raw.pack(mosaic)
  assert packed.shape == (2, 3, 3, 5, 4)
  np.testing.assert_array_equal(raw.unpack(packed), mosaic)


def test_every_turn_keeps_red_with_red_and_blue_with_blue():
  scene = np.broadcast_to([10, 20, 30], (2, 12, 16, 3))
  patches = [
      raw.random_patch(
          np.random.default_rng(seed), _example(scene), size=4, augment=True
      )
      for seed in range(40)  # All eight, or the next test would fail.
  ]
  for patch in patches:
    assert patch["clean"].shape == (2, 4, 4, 4)
    assert (patch["clean"] == [10, 20, 30, 20]).all()


def test_turning_a_mosaic_is_turning_the_scene_before_it_is_sensed():
  rng = np.random.default_rng(0)
  scene = rng.integers(0, 2000, (2, 12, 14, 3))
  places = {}
  for turn, turned in _orientations(scene):
    for top in range(turned.shape[1] - 5):
      for left in range(turned.shape[2] - 5):
        crop = turned[:, top : top + 6, left : left + 6]
        places[_sampled(crop).tobytes()] = turn
  seen = []
  for _ in range(300):
    patch = raw.random_patch(rng, _example(scene), size=3, augment=True)
    seen.append(places[raw.unpack(patch["clean"]).tobytes()])
    np.testing.assert_array_equal(patch["degraded"], patch["clean"] + 1000)
  counts = [seen.count(turn) for turn in set(seen)]
  assert len(counts) == 8 and min(counts) > 15  # 37.5 each on average.


def test_patches_without_turns_begin_at_every_whole_cell_and_no_other_place():
  scene = np.zeros((1, 8, 10, 3), int)
  scene += np.arange(80).reshape(8, 10, 1)  # Pixel (i, j) holds 10 i + j.
  starts = set()
  rng = np.random.default_rng(0)
  for _ in range(100):
    patch = raw.random_patch(rng, _example(scene), size=3, augment=False)
    assert "bayer" not in patch and patch["max_value"] == 3855
    starts.add(int(raw.unpack(patch["clean"])[0, 0, 0, 0]))
  assert starts == {0, 2, 4, 20, 22, 24}


def test_a_patch_may_be_the_whole_frame_unless_it_is_turned():
  example = _example(np.ones((1, 8, 8, 3), int))
  rng = np.random.default_rng(0)
  whole = raw.random_patch(rng, example, size=4, augment=False)
  np.testing.assert_array_equal(whole["clean"], raw.pack(example["clean"]))
  with pytest.raises(ValueError, match="Clip a has frames of 8x8.*10x10, two"):
    raw.random_patch(rng, example, size=4, augment=True)


def test_other_patterns_and_odd_mosaics_are_refused():
  example = _example(np.ones((1, 8, 8, 3), int)) | {"bayer": "RGGB"}
  with pytest.raises(ValueError, match="'RGGB', but only GBRG"):
    raw.random_patch(np.random.default_rng(0), example, size=2, augment=False)
  with pytest.raises(ValueError, match="7x4 pixels.*even sides"):
    raw.pack(np.zeros((1, 4, 7, 1)))
  with pytest.raises(ValueError, match=r"\[..., H, W, 1\]"):
    raw.pack(np.zeros((4, 4, 3)))
  with pytest.raises(ValueError, match=r"\[..., h, w, 4\]"):
    raw.unpack(np.zeros((4, 4, 3)))


def test_unprocessed_clips_are_a_function_of_seed_and_index():
  source = raw.Unprocessed(_Pairs(), seed=7, **_GAINS)
  again = raw.Unprocessed(_Pairs(), seed=7, **_GAINS)
  other = raw.Unprocessed(_Pairs(), seed=8, **_GAINS)
  gains = set()
  for index in (2, 0, 1):
    item = source[index]
    np.testing.assert_array_equal(item["clean"], again[index]["clean"])
    assert (item["clean"] != other[index]["clean"]).any()
    gains.add(item["metadata"]["red_gain"])
  assert len(gains) == len(source) == 3
  assert all(1.9 <= gain <= 2.4 for gain in gains)


def test_any_rgb_source_gives_raw_clips_by_name():
  source = data.build("raw", source=_SOURCE, seed=1, red_gain=(1.8, 1.8))
  item = source[2]
  assert item["clean"].shape == (2, 24, 32, 1)
  assert item["clean"].dtype == np.uint16
  assert item["clean"].max() <= item["max_value"] == 3855
  assert item["bayer"] == "GBRG" and item["name"] == "procedural_000002"
  assert item["metadata"]["red_gain"] == 1.8
  assert "flow" not in item and len(source) == 3


def test_grey_is_sensed_as_the_inverse_of_gains_and_gamma():
  camera = _camera()
  camera |= {"rgb_gain": 1.25, "red_gain": 2.0, "blue_gain": 1.6}
  # Linear 0.2 as it is displayed: gamma, then the tone curve.
  display = 0.2 ** (1 / 2.2)
  value = round(65535 * (3 * display**2 - 2 * display**3))
  clip = np.full((1, 4, 4, 3), value, np.uint16)
  mosaic = raw.unprocess(clip, max_value=65535, **camera)
  expected = 3855 * 0.2 / 1.25 / np.array([2.0, 1.0, 1.6, 1.0])
  np.testing.assert_allclose(raw.pack(mosaic)[0, 0, 0], expected, atol=0.51)


def test_white_stays_white_and_black_black():
  camera = _camera()
  clip = np.zeros((1, 2, 4, 3), np.uint8)
  clip[:, :, 2:] = 255
  mosaic = raw.unprocess(clip, max_value=255, **camera)
  assert (mosaic[:, :, :2] == 0).all() and (mosaic[:, :, 2:] == 3855).all()


def test_smooth_frames_come_back_through_the_isp():
  y, x = np.mgrid[:64, :96] / 64
  smooth = np.stack([
      0.5 + 0.35 * np.sin(2 * x + 3 * y),
      0.4 + 0.3 * np.cos(3 * x - y),
      0.3 + 0.3 * x * y,
  ], -1)
  clip = np.round(255 * smooth[None]).astype(np.uint8)
  for index in range(3):
    camera = _camera(index)
    mosaic = raw.unprocess(clip, max_value=255, **camera)
    back = isp(raw.pack(mosaic) / 3855, **camera)
    assert image.psnr(back[0], clip[0] / 255) > 50


def test_both_sides_of_a_pair_pass_one_camera_and_odd_borders_are_left_out():
  item = raw.Unprocessed(_Pairs(), seed=0, **_GAINS)[0]
  assert item["clean"].shape == item["degraded"].shape == (1, 4, 6, 1)
  for key, value in (("clean", 100), ("degraded", 50)):
    back = isp(raw.pack(item[key]) / 3855, **item["metadata"])
    np.testing.assert_allclose(255 * back, value, atol=1.0)


@pytest.mark.parametrize("change, message", [
    (dict(source=3), "source of raw needs a name"),
    (dict(seed=-1), "seed needs to be at least 0"),
    (dict(red_gain=(3.0, 1.0)), "red_gain needs"),
    (dict(blue_gain=2.0), "blue_gain needs to be a pair"),
])
def test_impossible_cameras_are_refused_when_the_source_is_built(
    change, message
):
  with pytest.raises(ValueError, match=message):
    data.build("raw", **dict(source={"name": "procedural", "size": 1}) | change)


def test_only_integer_rgb_can_be_unprocessed():
  once = raw.Unprocessed(_Pairs(), seed=0, **_GAINS)
  twice = raw.Unprocessed(once, seed=0, **_GAINS)
  with pytest.raises(ValueError, match=r"pair cannot.*uint16.*\(1, 4, 6, 1\)"):
    _ = twice[0]
