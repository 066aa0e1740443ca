"""FSRCNN: its size, and its arithmetic against an independent one."""

import jax
import numpy as np
import pytest
from scipy import ndimage, signal

from tests.models import measures
from vidrestore_jax import models
from vidrestore_jax.layers import luminance, resample

TINY = dict(width=3, shrunk=2, depth=2)


@pytest.fixture(scope="module")
def window():
  return np.random.default_rng(0).random((1, 1, 5, 6, 3)).astype(np.float32)


def test_it_has_the_parameters_and_the_cost_of_the_paper():
  """Besides seven slopes. Zeros among the last layer's taps cost, too."""
  params, macs = measures.cost(models.build("fsrcnn"))
  assert params == 12_637 + 7
  assert macs == 21_600 * (12_464 + 56 * (144 - 81))


@pytest.mark.parametrize("scale", [2, 4])
def test_the_layers_do_what_the_paper_says(window, scale):
  model = models.build("fsrcnn", scale=scale, **TINY)
  generator = np.random.default_rng(1)
  variables = jax.tree.map(
      lambda leaf: generator.normal(0, 0.5, leaf.shape).astype(np.float32),
      dict(measures.shapes(model)),
  )
  restored = measures.apply(model, variables, window)
  x = np.float64(luminance.luminance(window[0, 0]))
  for layer in ("feature", "shrink", "mapping_0", "mapping_1", "expand"):
    params = variables["params"][layer]
    conv = params["conv"]["conv"]
    x = np.stack([
        sum(
            ndimage.correlate(x[..., i], kernel[..., i], mode="constant")
            for i in range(x.shape[-1])
        ) + bias
        for kernel, bias in zip(
            np.moveaxis(np.float64(conv["kernel"]), -1, 0), conv["bias"]
        )
    ], -1)
    x = np.where(x > 0, x, params["prelu"]["negative_slope"] * x)
  spread = np.zeros((scale * 5, scale * 6, 3))
  spread[::scale, ::scale] = x
  last = variables["params"]["enlarge"]
  expected = last["bias"] + sum(
      signal.convolve2d(spread[..., i], last["kernel"][:, :, i, 0], "same")
      for i in range(3)
  )
  np.testing.assert_allclose(
      luminance.luminance(restored.frames)[0, ..., 0], expected, atol=1e-4
  )
  added = restored.frames - resample.bicubic_resize(window[:, 0], scale)
  np.testing.assert_allclose(added[..., 0], added[..., 2], atol=1e-5)
  gray = models.build("fsrcnn", scale=scale, channels=1, **TINY)
  alone = measures.apply(gray, variables, luminance.luminance(window))
  np.testing.assert_allclose(alone.frames[0, ..., 0], expected, atol=1e-4)


@pytest.mark.parametrize(("scale", "halo"), [(2, 6), (3, 6), (4, 5)])
def test_a_pixel_reaches_as_far_as_the_halo_and_no_farther(scale, halo):
  model = models.build("fsrcnn", scale=scale, channels=1, **TINY)
  variables = measures.averaging(model)
  found = measures.reach(model, variables, rows=1, columns=12, frame=0)
  assert found == model.halo == halo


def test_what_does_not_suit_is_named(window):
  with pytest.raises(ValueError, match="windows of 1 frame, but got 2"):
    models.build("fsrcnn").apply({}, np.concatenate([window, window], 1))
  with pytest.raises(ValueError, match="enlarges by 2 or more"):
    models.build("fsrcnn", scale=1)
