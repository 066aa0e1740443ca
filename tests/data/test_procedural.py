"""Procedural clips: deterministic, and their flow is the true one."""

import functools
import itertools
import pickle

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax import data
from vidrestore_jax.data import procedural, textures


@pytest.fixture(scope="module")
def source():
  return procedural.ProceduralClips(
      200, height=64, width=72, seed=3, cache=True
  )


def _warp(image, flow):
  """Bilinear samples of `image` [H, W, C] at each pixel plus `flow`.

  Also returns whether all four neighbours lie inside the image.
  """
  height, width = flow.shape[:2]
  y, x = np.mgrid[:height, :width]
  x, y = x + flow[..., 0], y + flow[..., 1]
  x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
  inside = (x0 >= 0) & (y0 >= 0) & (x0 < width - 1) & (y0 < height - 1)
  x0, y0 = x0.clip(0, width - 2), y0.clip(0, height - 2)
  fx, fy = (x - x0)[..., None], (y - y0)[..., None]
  image = image.astype(np.float64)
  top = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
  low = image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx
  return top * (1 - fy) + low * fy, inside


def _scene(seed, *, poses=None, length=4, height=64, width=64, max_speed=6.0):
  rng = np.random.default_rng(seed)
  atlas = textures.paint_atlas(rng, 256)
  scene = procedural.compose_scene(
      rng, atlas, length, height, width, max_speed
  )
  scene.light, scene.lens_blur = None, 0.0
  if poses is not None:
    scene.poses = poses(scene.poses)
  return scene


def test_clip_depends_on_seed_and_index_alone(source):
  again = procedural.ProceduralClips(7, height=64, width=72, seed=3)
  for index in (6, 0):
    for key in ("clean", "flow"):
      np.testing.assert_array_equal(source[index][key], again[index][key])
  other = procedural.ProceduralClips(7, height=64, width=72, seed=4)
  assert (source[0]["clean"] != other[0]["clean"]).mean() > 0.5
  assert (source[0]["clean"] != source[1]["clean"]).mean() > 0.5


def test_source_keeps_the_contract(source):
  example = source[0]
  assert example["clean"].shape == (5, 64, 72, 3)
  assert example["clean"].dtype == np.uint8
  assert example["flow"].shape == (5, 64, 72, 2)
  assert example["flow"].dtype == np.float32
  assert example["max_value"] == 255
  assert example["name"] == "procedural_000000"
  assert len(source) == 200
  with pytest.raises(IndexError):
    source[200]


def test_previous_frame_warped_by_flow_gives_the_frame(source):
  """Away from occlusions only resampling and rounding remain."""
  errors, naive = [], []
  for index in range(40):
    example = source[index]
    for t in range(1, 5):
      if not example["flow"][t].any():
        continue
      warped, inside = _warp(example["clean"][t - 1], example["flow"][t])
      frame = example["clean"][t].astype(np.float64)
      errors.append(np.median(np.abs(warped - frame)[inside]))
      naive.append(np.abs(example["clean"][t - 1] - frame).mean())
  assert len(errors) > 60
  assert np.median(errors) < 1.0
  assert np.quantile(errors, 0.95) < 8.0  # The finest textures alias most.
  assert np.mean(errors) < 0.3 * np.mean(naive)


def test_moving_the_flow_by_half_a_pixel_makes_it_worse(source):
  true, off = [], []
  for index in range(40):
    example = source[index]
    for t in range(1, 5):
      if not example["flow"][t].any():
        continue
      frame = example["clean"][t].astype(np.float64)
      for shift, errors in ((0.0, true), (0.5, off)):
        warped, inside = _warp(
            example["clean"][t - 1], example["flow"][t] + shift
        )
        errors.append(np.abs(warped - frame)[inside].mean())
  assert np.mean(true) < 0.7 * np.mean(off)


def test_whole_pixel_translation_moves_pixels_exactly():
  def move(poses):
    poses = np.repeat(poses[:, :1], 4, axis=1)
    poses[:, :, :, 2] += np.arange(4)[:, None] * np.array([3.0, -2.0])
    return poses

  scene = _scene(5, poses=move)
  frames, flow = procedural.render(scene, 64, 64)
  np.testing.assert_allclose(flow[1:, ..., 0], -3.0, atol=1e-4)
  np.testing.assert_allclose(flow[1:, ..., 1], 2.0, atol=1e-4)
  assert not flow[0].any()
  for t in range(1, 4):
    moved = frames[t, :-2, 3:].astype(int)
    before = frames[t - 1, 2:, :-3].astype(int)
    # Pillow steps along a row in double precision: off by one at most.
    assert np.abs(moved - before).max() <= 1


def test_rotation_about_the_centre_has_the_analytic_flow():
  turn = 0.05

  def move(poses):
    first = np.repeat(poses[:, :1], 4, axis=1)
    first[..., 2] -= 32.0
    camera = procedural._similarity(turn * np.arange(4), 1.0, 32.0, 32.0)
    return procedural._compose(camera, first)

  _, flow = procedural.render(_scene(6, poses=move), 64, 64)
  y, x = np.mgrid[:64, :64] + 0.5 - 32.0
  cos, sin = np.cos(turn), np.sin(turn)
  np.testing.assert_allclose(
      flow[2, ..., 0], cos * x + sin * y - x, atol=1e-4
  )
  np.testing.assert_allclose(
      flow[2, ..., 1], cos * y - sin * x - y, atol=1e-4
  )


def test_static_scene_has_zero_flow_and_equal_frames():
  source = procedural.ProceduralClips(4, height=32, width=32, max_speed=0)
  for index in range(4):
    example = source[index]
    assert not example["flow"].any()
    assert (example["clean"] == example["clean"][:1]).all()


def test_speeds_cover_still_slow_and_fast(source):
  speeds = np.array([
      np.median(np.linalg.norm(source[i]["flow"][1:], axis=-1))
      for i in range(120)
  ])
  assert 0.1 < (speeds == 0).mean() < 0.5
  assert (speeds > 4).mean() > 0.02
  assert speeds.max() < 1.5 * 8
  assert 0.2 < np.median(speeds) < 3


def test_power_falls_with_frequency_as_in_photographs(source):
  """Slope of log power over log frequency: about -2, within -3.2 .. -1.5."""
  power = []
  window = np.hanning(64)[:, None] * np.hanning(64)
  for index in range(60):
    grey = source[index]["clean"][0, :, :64].mean(-1)
    power.append(np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2)
  power = np.mean(power, 0)
  y, x = np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64), indexing="ij")
  radius = np.hypot(x, y)
  edges = np.array([0.04, 0.07, 0.12, 0.2, 0.3])
  bands = [
      power[(radius >= a) & (radius < b)].mean()
      for a, b in itertools.pairwise(edges)
  ]
  middle = np.sqrt(edges[:-1] * edges[1:])
  slope = np.polyfit(np.log(middle), np.log(bands), 1)[0]
  assert -3.2 < slope < -1.5


def test_gradients_have_heavy_tails(source):
  """Kurtosis far above a Gaussian's 3, as in every natural image."""
  differences = np.concatenate([
      np.diff(source[i]["clean"][0].mean(-1), axis=1).ravel()
      for i in range(60)
  ])
  centred = differences - differences.mean()
  assert (centred**4).mean() / (centred**2).mean() ** 2 > 10


def test_without_flow_the_frames_are_the_same(source):
  bare = procedural.ProceduralClips(3, height=64, width=72, seed=3, flow=False)
  assert "flow" not in bare[2]
  np.testing.assert_array_equal(bare[2]["clean"], source[2]["clean"])


def test_cache_and_pickle_return_the_same_clips():
  cached = procedural.ProceduralClips(3, height=32, width=32, cache=True)
  first = cached[1]
  assert cached[1]["clean"] is first["clean"]
  copy = pickle.loads(pickle.dumps(cached))
  np.testing.assert_array_equal(copy[1]["clean"], first["clean"])
  assert len(pickle.dumps(cached)) < 1000  # Workers paint their own atlas.


def test_auto_exposure_spans_black_to_white_and_changes_nothing_else():
  plain = procedural.ProceduralClips(16, height=48, width=48, seed=5)
  exposed = procedural.ProceduralClips(
      16, height=48, width=48, seed=5, auto_exposure=True
  )
  spans, means = [], []
  for i in range(16):
    before, after = plain[i], exposed[i]
    np.testing.assert_array_equal(before["flow"], after["flow"])
    frames = before["clean"][0], after["clean"][0]
    spans.append([np.subtract(*np.percentile(f, (99, 1))) for f in frames])
    means.append([f.mean() / 255 for f in frames])
    # One curve for all pixels and channels: what was equal stays equal.
    table = {}
    for old, new in zip(before["clean"].ravel(), after["clean"].ravel()):
      assert table.setdefault(int(old), int(new)) == int(new)
    values = [table[key] for key in sorted(table)]
    assert values == sorted(values)
  before, after = np.transpose(spans)
  assert np.median(after) > 200 > np.median(before)
  before, after = np.transpose(means)
  assert np.ptp(after) < 0.4 < np.ptp(before)
  assert 0.3 < after.mean() < 0.55


def test_saturation_moves_colours_and_keeps_their_grey():
  clips = functools.partial(
      procedural.ProceduralClips, 4, length=2, height=32, width=32, seed=5
  )
  plain = clips()
  for factor in (0.0, 0.5, 2.0):
    changed = clips(saturation=(factor, factor))
    before = plain[1]["clean"].astype(np.float32)
    after = changed[1]["clean"].astype(np.float32)
    grey = before.mean(-1, keepdims=True)
    wanted = (grey + factor * (before - grey)).clip(0, 255)
    np.testing.assert_allclose(after, wanted, atol=0.501)
  # One factor for a clip, another for the next.
  drawn = clips(saturation=(0.2, 0.9))
  factors = []
  for i in range(4):
    before, after = (
        np.float64(s[i]["clean"]).std(-1) for s in (plain, drawn)
    )
    factors.append(after.mean() / before.mean())
  assert 0.15 < min(factors) < max(factors) - 0.1 < 0.85
  with pytest.raises(ValueError, match="0 <= low <= high"):
    clips(saturation=(2.0, 1.0))

def test_surfaces_larger_than_a_page_are_covered_by_repeating_it():
  rng = np.random.default_rng(0)
  page = rng.integers(1, 256, (256, 256, 3), np.uint8)
  atlas = [Image.fromarray(page)]
  box = (-50.0, 20.0, 900.0, 400.0)
  for _ in range(5):
    piece, place = procedural._texture(rng, atlas, box, 1.0, background=True)
    corners = np.array([[x, y, 1] for x in box[::2] for y in box[1::2]])
    reached = corners @ place.T
    assert max(piece.size) > 256
    # Bicubic sampling reads two pixels around a point.
    assert (reached >= 2).all() and (reached <= np.array(piece.size) - 2).all()


@pytest.mark.parametrize("name", ["size", "length", "height", "seed"])
def test_impossible_arguments_are_named(name):
  arguments = dict(size=1) | {name: -1}
  with pytest.raises(ValueError, match=f"{name} >= "):
    procedural.ProceduralClips(**arguments)


def test_build_finds_sources_by_name():
  source = data.build("procedural", size=2, height=32, width=32)
  assert isinstance(source, procedural.ProceduralClips)
  assert {"davis", "folders", "procedural"} <= set(data.available())
  assert not {"pipeline", "prepared", "textures"} & set(data.available())
  with pytest.raises(ValueError, match=r"no data source 'imagenet'.*folders"):
    data.build("imagenet")
