import itertools

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax.data.procedural import ProceduralClips
from vidrestore_jax.inference import scene_cuts


def _starts(frames):
  frames = list(frames)
  marked = list(scene_cuts.marked(iter(frames)))
  assert all(a is b for (a, _), b in zip(marked, frames))  # In order, all.
  return [index for index, (_, starts) in enumerate(marked) if starts]


def _noisy(clip, sigma):
  noise = np.random.default_rng(0).normal(0, sigma / 255, clip.shape)
  return np.rint(np.clip(clip + noise, 0, 1) * 255) / np.float32(255)


@pytest.fixture(scope="module")
def scenes():
  source = ProceduralClips(10, length=7, height=72, width=96, flow=False)
  return [source[index]["clean"] / np.float32(255) for index in range(10)]


@pytest.mark.parametrize("sigma", [0, 50])
def test_every_cut_is_found_and_no_other(scenes, sigma):
  film = np.concatenate([scene[: 3 + i % 5] for i, scene in enumerate(scenes)])
  lengths = [3 + i % 5 for i in range(len(scenes) - 1)]
  expected = list(itertools.accumulate(lengths))
  assert _starts(_noisy(film, sigma)) == expected


def test_short_films_and_frames_of_two_blocks(scenes):
  first, second = scenes[0][:1], scenes[1][:1]
  assert _starts([]) == []
  assert _starts(first) == []
  assert _starts(np.concatenate([first, second])) == [1]
  assert _starts(np.full((5, 9, 3, 3), 0.5)) == []


def test_flashes_are_no_cuts(scenes):
  film = np.concatenate([scenes[0], scenes[1]])
  film[2] = 1.0  # White,
  film[4] = np.clip(4 * film[4] + 0.2, 0, 1)  # near white,
  film[9:11] = scenes[2][:2]  # and two frames of something else.
  assert _starts(film) == [7]


def test_fades_and_dissolves_are_no_cuts(scenes):
  clip, other = np.repeat(scenes[3][:1], 24, 0), scenes[4][:1]
  weight = np.linspace(1, 0, 24)[:, None, None, None]
  for sigma in (0, 10):
    black = _noisy(weight * clip, sigma)
    assert _starts(black) == []
    assert _starts(np.concatenate([black, black[::-1]])) == []
    assert _starts(_noisy(weight * clip + (1 - weight) * other, sigma)) == []


def test_a_cut_to_black_is_one(scenes):
  film = np.concatenate([scenes[5], np.zeros_like(scenes[5]), scenes[6]])
  assert _starts(film) == [7, 14]


def test_frames_come_two_later(scenes):
  taken = []

  def frames():
    for index in itertools.count():
      taken.append(index)
      yield scenes[0][index % 7]

  marked = scene_cuts.marked(frames())
  next(marked)
  next(marked)
  assert taken == [0, 1, 2, 3]


@pytest.mark.parametrize("sigma", [0, 25, 50])
def test_real_clips_one_after_another(sigma, real_data):
  names = (
      "davis_drift-chicane", "ntia_aspen", "vid4_walk", "vid4_city",
      "videnn_tennis_clean", "ntu_a1_rain", "rgbd_clean", "toflow_noisy",
  )
  film = []
  for name in names:
    for path in sorted((real_data / "clips" / name).glob("0*"))[:7]:
      picture = Image.open(path).convert("RGB").resize((320, 240))
      film.append(np.asarray(picture) / np.float32(255))
  assert _starts(_noisy(np.stack(film), sigma)) == list(range(7, 56, 7))
