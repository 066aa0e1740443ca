"""Pixel shuffles, pooling and up-sampling: order and hand values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
