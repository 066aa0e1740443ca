"""Backward warping of known motions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vidrestore_jax.layers.warp import backward_warp


@pytest.fixture
def image():
  return jax.random.uniform(jax.random.key(0), (2, 7, 9, 3))


def _constant(image, dx, dy):
  return jnp.broadcast_to(jnp.array([dx, dy]), (*image.shape[:3], 2))


def test_zero_flow_is_the_identity(image):
  np.testing.assert_array_equal(
      backward_warp(image, _constant(image, 0.0, 0.0)), image
  )


def test_whole_pixel_translation_replicates_the_border(image):
  """Flow (dx, dy) = (2, -1) looks two columns right and one row up."""
  warped = backward_warp(image, _constant(image, 2.0, -1.0))
  padded = np.pad(image, ((0, 0), (1, 0), (0, 2), (0, 0)), mode="edge")
  np.testing.assert_allclose(warped, padded[:, :7, 2:], atol=1e-6)


def test_zeros_lie_outside_where_the_padding_says_so(image):
  """And the last pixel fades to them, as in PyTorch's grid_sample."""
  warped = backward_warp(image, _constant(image, 2.0, -1.0), padding="zeros")
  padded = np.pad(image, ((0, 0), (1, 0), (0, 2), (0, 0)))
  np.testing.assert_allclose(warped, padded[:, :7, 2:], atol=1e-6)
  ones = jnp.ones((1, 1, 4, 1))
  for dx, expected in (
      (0.25, [1, 1, 1, 0.75]), (-1.5, [0, 0.5, 1, 1]), (1e9, [0, 0, 0, 0])
  ):
    faded = backward_warp(ones, _constant(ones, dx, 0.0), padding="zeros")
    np.testing.assert_array_equal(faded[0, 0, :, 0], expected)
  with pytest.raises(ValueError, match="one of border, zeros.* 'mirror'"):
    backward_warp(image, _constant(image, 0.0, 0.0), padding="mirror")


def test_half_a_pixel_averages_neighbours(image):
  warped = backward_warp(image, _constant(image, 0.5, 0.0))
  mean = (image[:, :, :-1] + image[:, :, 1:]) / 2
  np.testing.assert_allclose(warped[:, :, :-1], mean, atol=1e-6)


def test_a_ramp_is_warped_exactly():
  """Bilinear look-up is exact on x + 10 y, inside the border."""
  y, x = jnp.mgrid[0:8.0, 0:8.0]
  ramp = (x + 10 * y)[None, ..., None]
  key = jax.random.key(1)
  flow = jax.random.uniform(key, (1, 8, 8, 2), minval=-1, maxval=1)
  warped = backward_warp(ramp, flow)[0, 1:-1, 1:-1, 0]
  expected = (x + flow[0, ..., 0] + 10 * (y + flow[0, ..., 1]))[1:-1, 1:-1]
  np.testing.assert_allclose(warped, expected, atol=1e-4)


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_gradients_equal_finite_differences(padding):
  key = jax.random.key(2)
  image = jax.random.uniform(key, (1, 5, 6, 2))
  # Away from whole pixels, where the derivative has a jump.
  whole = jnp.round(jax.random.uniform(key, (1, 5, 6, 2), minval=-2, maxval=2))
  flow = 0.25 + whole

  def total(image, flow):
    return jnp.sum(jnp.sin(3 * backward_warp(image, flow, padding=padding)))

  check_grads(
      total, (image, flow), order=1, modes=["rev"], atol=2e-2, rtol=2e-2,
      eps=1e-2,
  )


def test_zero_flow_has_its_whole_gradient_up_to_the_border():
  """d/dx of a ramp is 1 in every pixel whose right neighbour exists."""
  ramp = jnp.arange(5.0).reshape(1, 1, 5, 1)
  gradient = jax.grad(lambda flow: backward_warp(ramp, flow).sum())(
      jnp.zeros((1, 1, 5, 2))
  )
  np.testing.assert_array_equal(gradient[0, 0, :, 0], jnp.ones(5))
  outside = jax.grad(lambda flow: backward_warp(ramp, flow).sum())(
      jnp.full((1, 1, 5, 2), -9.0)
  )
  np.testing.assert_array_equal(outside, jnp.zeros((1, 1, 5, 2)))


def test_flow_is_not_rounded_to_bfloat16():
  ramp = jnp.arange(512, dtype=jnp.bfloat16).reshape(1, 1, 512, 1)
  flow = jnp.zeros((1, 1, 512, 2)).at[..., 0].set(1.0)
  warped = backward_warp(ramp, flow)
  assert warped.dtype == jnp.bfloat16
  np.testing.assert_array_equal(warped[0, 0, :511, 0], ramp[0, 0, 1:, 0])


def test_a_frame_of_one_pixel_is_itself():
  image = jnp.ones((1, 1, 1, 2))
  flow = jnp.full((1, 1, 1, 2), 3.7)
  np.testing.assert_array_equal(backward_warp(image, flow), image)


def test_mismatched_flow_names_both_shapes(image):
  with pytest.raises(ValueError, match=r"\(2, 7, 9, 2\).*\(2, 7, 8, 2\)"):
    backward_warp(image, jnp.zeros((2, 7, 8, 2)))
