import itertools

import numpy as np
import pytest

from vidrestore_jax.inference import video_colour
from vidrestore_jax.inference.video_colour import Layout


def _random(layout, height, width, seed=0):
  generator = np.random.default_rng(seed)
  shapes = [(height, width)] * (3 if layout.family == "rgb" else 1)
  if layout.family == "yuv":
    shapes += [layout.chroma_size(height, width)] * 2
  return [
      generator.integers(0, 1 << layout.depth, shape).astype(layout.dtype)
      for shape in shapes
  ]


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
@pytest.mark.parametrize(
    "subsampling", [(0, 0), (1, 0), (1, 1), (0, 1), (2, 0), (2, 2)]
)
def test_every_sample_comes_back(depth, subsampling):
  """Noise of all codes, far out of the cube of colours, whatever the size."""
  settings = itertools.product(
      (False, True), (1, 6, 9, 8), itertools.product((0.0, 0.5), repeat=2),
      ((1, 1), (2, 5), (9, 14)),
  )
  for full, matrix, siting, size in settings:
    layout = Layout("yuv", depth, subsampling, full, matrix, siting)
    planes = _random(layout, *size)
    back = video_colour.from_rgb(video_colour.to_rgb(planes, layout), layout)
    for given, made in zip(planes, back, strict=True):
      np.testing.assert_array_equal(made, given)


@pytest.mark.parametrize("family", ["rgb", "gray"])
def test_every_sample_of_rgb_and_gray_comes_back(family):
  for depth, full in itertools.product((8, 10, 16), (False, True)):
    layout = Layout(family, depth, full=full)
    planes = _random(layout, 5, 7)
    back = video_colour.from_rgb(video_colour.to_rgb(planes, layout), layout)
    for given, made in zip(planes, back, strict=True):
      np.testing.assert_array_equal(made, given)


@pytest.mark.parametrize(
    ("matrix", "full", "depth", "rgb", "codes"),
    [
        # SMPTE RP 219 colour bars, and the black and white of BT.709.
        (1, False, 8, (1, 0, 0), (63, 102, 240)),
        (1, False, 8, (0, 0, 1), (32, 240, 118)),
        (6, False, 8, (1, 0, 0), (81, 90, 240)),
        (6, True, 8, (0, 1, 0), (150, 44, 21)),  # JFIF.
        (1, False, 10, (1, 1, 1), (940, 512, 512)),
        (1, True, 10, (0, 0, 0), (0, 512, 512)),
        (9, False, 10, (1, 0, 0), (294, 387, 960)),
    ],
)
def test_colours_have_the_codes_of_the_standards(
    matrix, full, depth, rgb, codes
):
  layout = Layout("yuv", depth, (1, 1), full, matrix)
  frame = np.broadcast_to(np.float32(rgb), (4, 4, 3))
  made = [int(plane[0, 0]) for plane in video_colour.from_rgb(frame, layout)]
  assert made == list(codes)


def test_the_matrix_is_guessed_by_the_number_of_lines():
  assert video_colour.guessed_matrix(2, 576) == 6
  assert video_colour.guessed_matrix(2, 720) == 1
  assert video_colour.guessed_matrix(9, 576) == 9


@pytest.mark.parametrize("siting", [0.0, 0.5])
def test_chroma_lies_where_it_is_sited(siting):
  """A ramp of chroma stays that ramp, neither shifted nor bent."""
  layout = Layout("yuv", 16, (1, 1), True, 1, (siting, siting))
  slope = 400.0
  columns = (2 * np.arange(16) + siting) * slope + 30000
  plane = np.broadcast_to(columns, (16, 16)).astype(np.uint16)
  luma = np.full((32, 32), 30000, np.uint16)
  neutral = np.full((16, 16), 32768, np.uint16)
  rgb = video_colour.to_rgb([luma, neutral, plane], layout)
  # E'R - E'Y = 2 (1 - KR) E'PR, of BT.709.
  red = (rgb[..., 0] * 65535 - 30000) / (2 * (1 - 0.2126)) + 32768
  expected = np.arange(32) * slope + 30000
  inside = slice(6, 26)
  np.testing.assert_allclose(
      red[16, inside], expected[inside], atol=0.5
  )


@pytest.mark.parametrize("siting", [0.0, 0.5])
def test_thinning_does_not_alias(siting):
  """The finest stripes of colour become their mean, not one of the two."""
  layout = Layout("yuv", 8, (1, 0), True, 1, (siting, siting))
  frame = np.zeros((4, 32, 3), np.float32)
  frame[:, ::2, 0] = 1.0
  mean = video_colour.from_rgb(
      np.broadcast_to(np.float32((0.5, 0, 0)), (4, 32, 3)), layout
  )
  made = video_colour.from_rgb(frame, layout)
  np.testing.assert_allclose(
      made[2][:, 4:-4].astype(int), mean[2][:, 4:-4].astype(int), atol=1
  )


def test_jax_and_numpy_agree():
  import jax.numpy as jnp

  layout = Layout("yuv", 10, (1, 1), False, 9, (0.0, 0.0))
  planes = _random(layout, 6, 9)
  ours = video_colour.to_rgb(planes, layout)
  theirs = video_colour.to_rgb([jnp.asarray(p) for p in planes], layout)
  np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_matrices_that_are_not_linear_are_refused():
  with pytest.raises(ValueError, match=r"a\.mkv has the colour matrix 10"):
    video_colour.check_matrix(10, "a.mkv")
