"""VDSR: its sizes, and what it does to luminance and to colours."""

import jax
import numpy as np
import pytest

from tests.models import measures
from vidrestore_jax import models
from vidrestore_jax.layers import luminance, resample

TINY = dict(depth=3, width=4)


@pytest.fixture(scope="module")
def window():
  generator = np.random.default_rng(0)
  return generator.random((2, 1, 5, 6, 3)).astype(np.float32)


def test_it_has_the_parameters_and_the_cost_of_the_paper():
  """0.22 T in the table of space-time distillation, which counts MACs."""
  assert measures.cost(models.build("vdsr", bias=False)) == (
      664_704,
      664_704 * 720 * 480,
  )
  params, macs = measures.cost(models.build("vdsr"))
  assert params == 665_921
  assert abs(macs / 0.2297e12 - 1) < 0.005
  gray = models.build("vdsr", channels=1)
  assert measures.cost(gray) == (params, macs)


def test_training_starts_near_the_interpolated_frame(window):
  model = models.build("vdsr", scale=2, **TINY)
  variables = jax.jit(model.init)(jax.random.key(0), window)
  restored = measures.apply(model, variables, window)
  enlarged = resample.bicubic_resize(window[:, 0], 2)
  error = np.abs(restored.frames - enlarged).max()
  assert 0 < error < 0.05
  assert restored.aux["hr_features"].shape == (2, 10, 12, 4)
  # What the last convolution finds in the features is added to each colour.
  last = variables["params"]["trunk"]["conv_2"]
  found = jax.lax.conv_general_dilated(
      restored.aux["hr_features"],
      last["kernel"],
      (1, 1),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  np.testing.assert_allclose(
      (restored.frames - enlarged) * 219 / 255,
      np.repeat(found, 3, -1),
      atol=1e-6,
  )


def test_colours_get_what_their_luminance_gets(window):
  variables = measures.averaging(models.build("vdsr", **TINY))
  colour = measures.apply(
      models.build("vdsr", scale=3, **TINY), variables, window
  )
  gray = measures.apply(
      models.build("vdsr", scale=3, channels=1, **TINY),
      variables,
      luminance.luminance(window),
  )
  np.testing.assert_allclose(
      luminance.luminance(colour.frames), gray.frames, atol=1e-5
  )
  # At scale 1 the frame is enlarged already.
  enlarged = resample.bicubic_resize(window, 3)
  same = measures.apply(
      models.build("vdsr", scale=1, **TINY), variables, enlarged
  )
  np.testing.assert_allclose(same.frames, colour.frames, atol=1e-6)


@pytest.mark.parametrize(("scale", "halo"), [(1, 3), (2, 3), (4, 3)])
def test_a_pixel_reaches_as_far_as_the_halo_and_no_farther(scale, halo):
  model = models.build("vdsr", scale=scale, channels=1, **TINY)
  variables = measures.averaging(model)
  found = measures.reach(model, variables, rows=1, columns=12, frame=0)
  assert found == model.halo == halo


def test_what_does_not_suit_is_named(window):
  model = models.build("vdsr", **TINY)
  variables = measures.shapes(model)
  with pytest.raises(ValueError, match="windows of 1 frame, but got 2"):
    model.apply(variables, np.concatenate([window, window], 1))
  with pytest.raises(ValueError, match="takes noise=None"):
    model.apply(variables, window, np.zeros((2, 5, 6, 1)))
  with pytest.raises(ValueError, match="one of 1, 3, but got 2"):
    models.build("vdsr", channels=2)
  with pytest.raises(ValueError, match="scale of 1 or more, but got 0"):
    models.build("vdsr", scale=0)
