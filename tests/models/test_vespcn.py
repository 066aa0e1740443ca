"""VESPCN: its three networks' sizes, and how it finds motion."""

import jax
import numpy as np
import pytest

from tests.models import measures
from vidrestore_jax import models
from vidrestore_jax.layers import luminance, resample
from vidrestore_jax.models import vespcn

HR = 720 * 480


# The paper's own network is 0.0012 T, the compact one 0.018 to 0.019; the
# largest reaches 0.24 of the 0.26 T of the table that it stands for. Each is
# (network + two flows) multiply-accumulates per pixel.
@pytest.mark.parametrize(
    ("preset", "params", "macs"),
    [
        ("published", 40_600 + 53_392, 21_600 * (40_392 + 2 * 8_322)),
        ("compact", 819_395 + 59_392, 21_600 * (843_840 + 2 * 9_822)),
        ("std_scale", 671_683 + 59_392, HR * (670_464 + 2 * 9_822)),
    ],
)
def test_parameters_and_cost(preset, params, macs):
  found = measures.cost(models.build("vespcn", preset=preset))
  assert found == (params, macs)


@pytest.fixture(scope="module")
def window():
  generator = np.random.default_rng(0)
  return generator.random((2, 3, 8, 12, 3)).astype(np.float32)


@pytest.mark.parametrize("preset", ["compact", "std_scale"])
def test_training_starts_near_the_interpolated_frame(preset, window):
  model = models.build("vespcn", preset=preset, scale=2, width=4, depth=2)
  variables = jax.jit(model.init)(jax.random.key(0), window)
  restored = measures.apply(model, variables, window)
  enlarged = resample.bicubic_resize(window[:, 1], 2)
  assert 0 < np.abs(restored.frames - enlarged).max() < 0.1
  assert restored.aux["hr_features"].shape == (2, 16, 24, 4)


def test_the_published_network_restores_luminance_alone(window):
  tiny = dict(width=4, depth=3)
  model = models.build("vespcn", **tiny)
  variables = measures.averaging(model)
  colour = measures.apply(model, variables, window)
  gray = measures.apply(
      models.build("vespcn", channels=1, **tiny),
      variables,
      luminance.luminance(window),
  )
  np.testing.assert_allclose(
      luminance.luminance(colour.frames), gray.frames, atol=1e-5
  )
  added = colour.frames - resample.bicubic_resize(window[:, 1], 4)
  np.testing.assert_allclose(added[..., 0], added[..., 2], atol=1e-6)
  # No map that distillation could compare is of the size of the output.
  assert not colour.aux and colour.frames.shape == (2, 32, 48, 3)


def test_frames_are_warped_by_both_flows_and_stay_in_order():
  """Heads of constant output: 3/4 of the unit and a quarter of it back."""
  window = np.random.default_rng(1).random((1, 3, 8, 80, 1), np.float32)
  motion = vespcn.Motion()
  shapes = jax.eval_shape(
      motion.init, jax.random.key(0), window[:, 0], window[:, 1]
  )
  params = jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes)["params"]
  for head, factor, (dx, dy) in (
      ("coarse_4", 4, (0.75, 0.0)), ("fine_4", 2, (-0.25, 0.0625)),
  ):
    flow = np.repeat(np.arctanh([dx, dy]), factor**2)
    params[head]["conv"]["bias"] = flow

  def warp(window):
    return vespcn.aligned(
        lambda *frames: motion.apply({"params": params}, *frames), window
    )

  found = np.asarray(jax.jit(warp)(window))
  # 16 columns to the right and two rows down, in both neighbours.
  for i, (down, right) in enumerate([(2, 16), (0, 0), (2, 16)]):
    np.testing.assert_allclose(
        found[0, : 8 - down, : 80 - right, i],
        window[0, i, down:, right:, 0],
        atol=1e-5,
    )


def test_sizes_must_suit_where_the_flow_is_found(window):
  strides = [
      models.build("vespcn", preset=preset, scale=scale).stride
      for preset, scale in (
          ("published", 4), ("compact", 3), ("std_scale", 4),
          ("std_scale", 2), ("std_scale", 3),
      )
  ]
  assert strides == [4, 4, 1, 2, 4]
  model = models.build("vespcn")
  with pytest.raises(ValueError, match="Pad to 8x12"):
    model.apply({}, window[:, :, :6, :9])
  with pytest.raises(ValueError, match="windows of 3 frames, but got 2"):
    model.apply({}, window[:, :2])
  with pytest.raises(ValueError, match="preset is one of published, compact"):
    models.build("vespcn", preset="9L")
  with pytest.raises(ValueError, match="enlarges by 2 or more"):
    models.build("vespcn", scale=1)
