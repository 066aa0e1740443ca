"""Pixel shuffles, pooling, bilinear, bicubic: order and hand values."""

import fractions

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from vidrestore_jax.layers import resample


def test_depth_to_space_puts_channels_in_pytorchs_order():
  x = jnp.arange(8.0).reshape(1, 1, 1, 8)
  y = resample.depth_to_space(x)
  np.testing.assert_array_equal(y[0, :, :, 0], [[0, 1], [2, 3]])
  np.testing.assert_array_equal(y[0, :, :, 1], [[4, 5], [6, 7]])


@pytest.mark.parametrize("factor", [2, 3])
def test_space_to_depth_is_the_inverse(factor):
  x = jax.random.normal(jax.random.key(0), (2, 12, 6, 3))
  folded = resample.space_to_depth(x, factor)
  assert folded.shape == (2, 12 // factor, 6 // factor, 3 * factor**2)
  np.testing.assert_array_equal(resample.depth_to_space(folded, factor), x)


def test_shapes_that_do_not_divide_are_named():
  with pytest.raises(ValueError, match="multiple of 4.*6"):
    resample.depth_to_space(jnp.zeros((1, 2, 2, 6)))
  with pytest.raises(ValueError, match="divisible by 2.*3x4"):
    resample.space_to_depth(jnp.zeros((1, 3, 4, 1)))


def test_pooling_hand_values():
  x = jnp.array([[1.0, 2.0, 0.0, 0.0], [3.0, 6.0, 0.0, 4.0]])[None, ..., None]
  np.testing.assert_array_equal(resample.average_pool(x).ravel(), [3, 1])
  np.testing.assert_array_equal(resample.max_pool(x).ravel(), [6, 4])


def test_bilinear_hand_values():
  """What PyTorch's interpolate gives for [0, 3] doubled."""
  x = jnp.array([0.0, 3.0]).reshape(1, 1, 2, 1)
  half_pixel = resample.upsample_bilinear(x)
  np.testing.assert_allclose(half_pixel[0, 0, :, 0], [0, 0.75, 2.25, 3])
  aligned = resample.upsample_bilinear(x, align_corners=True)
  np.testing.assert_allclose(aligned[0, 0, :, 0], [0, 1, 2, 3], atol=1e-6)


@pytest.mark.parametrize("align_corners", [False, True])
def test_bilinear_keeps_constants_and_commutes_with_transposition(
    align_corners,
):
  x = jax.random.normal(jax.random.key(0), (1, 3, 5, 2))

  def up(x):
    return resample.upsample_bilinear(x, 3, align_corners=align_corners)

  np.testing.assert_allclose(up(jnp.ones_like(x)), jnp.ones((1, 9, 15, 2)))
  np.testing.assert_allclose(
      up(x.swapaxes(1, 2)), up(x).swapaxes(1, 2), atol=1e-6
  )


def test_bilinear_of_any_size_interpolates_and_does_not_blur():
  x = jnp.array([0.0, 3.0, 6.0, 3.0]).reshape(1, 4, 1, 1)
  # Samples at 1/3 - 1/6, 3/2 and so on of the four: two of them to a pixel.
  smaller = resample.resize_bilinear(x, (3, 1))
  np.testing.assert_allclose(smaller[0, :, 0, 0], [0.5, 4.5, 3.5], atol=1e-6)
  larger = resample.resize_bilinear(x, (7, 2), align_corners=True)
  expected = [0, 1.5, 3, 4.5, 6, 4.5, 3]
  np.testing.assert_allclose(larger[0, :, 1, 0], expected, atol=1e-6)


def _spike(size, at, height):
  row = np.zeros((1, size, 1))
  row[0, at] = height
  return row


def test_bicubic_hand_values():
  """Keys' kernel at 1/4, 3/4, 5/4 and 7/4: 111, 29, -9 and -3 over 128."""
  up = resample.bicubic_resize(_spike(8, 3, 128.0), 2)[0, :, 0]
  np.testing.assert_allclose(
      up, [0, 0, 0, -3, -9, 29, 111, 111, 29, -9, -3, 0, 0, 0, 0, 0]
  )
  # Half the size: the same kernel, twice as wide and half as high.
  down = resample.bicubic_resize(_spike(16, 6, 256.0), "1/2")[0, :, 0]
  np.testing.assert_allclose(down, [0, -3, 29, 111, -9, 0, 0, 0])


def test_bicubic_mirrors_the_border_with_its_pixel():
  up = resample.bicubic_resize(_spike(6, 0, 128.0), 2)[0, :, 0]
  # The mirrored spike lies at -1 and adds its 29, -9 and -3.
  np.testing.assert_allclose(up[:5], [111 + 29, 111 - 9, 29 - 3, -9, -3])


@pytest.mark.parametrize("scale", ["1/4", "1/3", 3, 4, "3/2"])
def test_bicubic_is_that_of_pillow_away_from_the_border(scale):
  """Pillow has the same kernel and drops what MATLAB mirrors."""
  scale = fractions.Fraction(scale)
  image = np.random.default_rng(0).random((48, 72), np.float32)
  size = int(48 * scale), int(72 * scale)
  theirs = np.asarray(
      Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
  )
  ours = resample.bicubic_resize(image[..., None], scale)[..., 0]
  edge = int(np.ceil(2 * max(1, scale)))
  inner = (slice(edge, -edge),) * 2
  np.testing.assert_allclose(ours[inner], theirs[inner], atol=2e-6)
  assert np.abs(ours - theirs).max() > 1e-3


@pytest.mark.parametrize("scale", ["1/4", "2/7", 3])
def test_bicubic_keeps_constants_and_commutes_with_flips(scale):
  ones = resample.bicubic_resize(np.ones((12, 20, 2)), scale)
  np.testing.assert_allclose(ones, 1.0, atol=1e-14)
  x = np.random.default_rng(0).random((28, 56, 2))
  np.testing.assert_allclose(
      resample.bicubic_resize(x[::-1, ::-1], scale),
      resample.bicubic_resize(x, scale)[::-1, ::-1],
      atol=1e-12,
  )


def test_bicubic_rounds_sizes_up_exactly():
  assert resample.bicubic_resize(np.ones((9, 10, 1)), "1/4").shape == (3, 3, 1)
  third = fractions.Fraction(1, 3)  # 1 / 3 in floats would give 4 of 9.
  assert resample.bicubic_resize(np.ones((9, 10, 1)), third).shape == (3, 4, 1)


def test_bicubic_of_jax_arrays_equals_that_of_numpy():
  x = np.random.default_rng(0).random((2, 3, 16, 12, 3), np.float32)
  eager = resample.bicubic_resize(x, "1/4")
  assert isinstance(eager, np.ndarray) and eager.dtype == np.float32
  jitted = jax.jit(lambda x: resample.bicubic_resize(x, "1/4"))(x)
  assert jitted.shape == (2, 3, 4, 3, 3)
  np.testing.assert_allclose(jitted, eager, atol=1e-6)


def test_bicubic_refuses_integers_and_scales_that_are_no_factor():
  with pytest.raises(ValueError, match="floats.*uint8"):
    resample.bicubic_resize(np.ones((8, 8, 3), np.uint8), 2)
  with pytest.raises(ValueError, match="above 0, but is -1"):
    resample.bicubic_resize(np.ones((8, 8, 3)), -1)
