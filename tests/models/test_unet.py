"""The CAB U-Net and W-Net."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import models

TINY = dict(channels=3, feature_channels=4, widths=(4, 6, 8), reduction=2)


@pytest.mark.parametrize("kind", ["unet", "wnet"])
@pytest.mark.parametrize("skip", ["concat", "conv_add"])
def test_outputs_use_every_parameter(kind, skip):
  """A gradient reaches each parameter: no part is built and left aside."""
  model = models.build("unet", kind=kind, skip=skip, **TINY)
  x = jax.random.normal(jax.random.key(0), (1, 8, 12, 7))
  variables = jax.jit(model.init)(jax.random.key(1), x)

  def total(variables):
    residual, feature = model.apply(variables, x)
    return jnp.sum(jnp.square(residual)) + jnp.sum(jnp.square(feature))

  gradients = jax.jit(jax.grad(total))(variables)
  flat = jax.tree_util.tree_flatten_with_path(gradients)[0]
  dead = [str(path) for path, g in flat if not jnp.abs(g).max() > 0]
  # A few squeezed channels may all be switched off by the ReLU at the start;
  # the gate's bias is trained all the same.
  gate = "'excite'), DictKey(key='conv'), DictKey(key='kernel'"
  assert not [p for p in dead if "'squeeze'" not in p and gate not in p]


def test_parameters_of_the_full_network_by_hand():
  """Spec 2.5 at 35 input channels, layer by layer."""

  def conv(i, o, k):
    return k * k * i * o + o

  def cab(c):
    return 2 * conv(c, c, 3) + conv(c, c // 16, 1) + conv(c // 16, c, 1)

  widths = (32, 64, 128, 256, 512)
  expected = conv(35, 32, 3) + conv(32, 3, 3) + cab(512)
  for low, high in itertools.pairwise(widths):
    expected += 2 * cab(low) + conv(low, high, 1)
    expected += conv(high, 4 * low, 1) + conv(2 * low, low, 1)
  model = models.build("unet")
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), jnp.zeros((1, 16, 16, 35))
  )
  assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


def test_feature_is_the_last_decoder_feature_unless_widths_differ():
  x = jax.random.normal(jax.random.key(0), (1, 8, 8, 5))
  same = models.build("unet", **TINY)
  params = jax.jit(same.init)(jax.random.key(1), x)["params"]
  assert "feature" not in params
  residual, feature = same.apply({"params": params}, x)
  kernel = params["output"]["conv"]["kernel"]
  by_hand = jax.lax.conv_general_dilated(
      feature,
      kernel,
      (1, 1),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  np.testing.assert_allclose(residual, by_hand, atol=1e-5)
  wider = models.build("unet", **TINY | {"feature_channels": 9})
  assert "feature" in jax.eval_shape(wider.init, jax.random.key(1), x)["params"]


def test_errors_name_the_way_out():
  with pytest.raises(ValueError, match="unet, wnet"):
    models.build("unet", kind="xnet")
  with pytest.raises(ValueError, match="concat, conv_add"):
    models.build("unet", skip="none")
  with pytest.raises(ValueError, match="Pad to 8x12"):
    models.build("unet", **TINY).init(
        jax.random.key(0), jnp.zeros((1, 7, 12, 5))
    )
