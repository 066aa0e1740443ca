"""VSRNet: its two networks' sizes, and what its frames are to it."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from tests.models import measures
from vidrestore_jax import models
from vidrestore_jax.layers import luminance, resample

HR = 720 * 480
FLOW = 53_392, 8_322  # Parameters, and MACs per pixel and neighbour.


# The network on seven frames is 0.137 T where the table has 0.23: that is the
# other one's cost, on luminance or on colours.
@pytest.mark.parametrize(
    ("arguments", "params", "macs"),
    [
        ({}, 283_073, HR * (5 * 5_184 + 256_800)),
        ({"frames": 7}, 395_969, HR * 395_488),
        ({"symmetric": True}, 283_073 - 2 * 5_248, HR * (5 * 5_184 + 256_800)),
        (
            {"motion": True},
            283_073 + FLOW[0],
            HR * (5 * 5_184 + 256_800 + 4 * FLOW[1]),
        ),
        ({"preset": "std_scale"}, 678_595, HR * 677_376),
        ({"preset": "std_scale", "channels": 1}, 669_377, HR * 668_160),
    ],
)
def test_parameters_and_cost(arguments, params, macs):
  assert measures.cost(models.build("vsrnet", **arguments)) == (params, macs)


@pytest.fixture(scope="module")
def window():
  generator = np.random.default_rng(0)
  return generator.random((1, 3, 6, 7, 3)).astype(np.float32)


def _random(model):
  generator = np.random.default_rng(1)
  return jax.tree.map(
      lambda leaf: generator.normal(0, 0.05, leaf.shape).astype(np.float32),
      dict(measures.shapes(model)),
  )


def test_the_published_layers_do_what_the_paper_says(window):
  """By scipy on the luminance of enlarged frames; colours follow it."""
  model = models.build("vsrnet", scale=2, frames=3)
  variables = _random(model)
  restored = measures.apply(model, variables, window)
  enlarged = resample.bicubic_resize(window[0], 2)
  params = variables["params"]["network"]

  def convolve(x, layer):
    conv = params[layer]["conv"]
    return np.stack([
        sum(
            ndimage.correlate(x[..., i], kernel[..., i], mode="constant")
            for i in range(x.shape[-1])
        ) + bias
        for kernel, bias in zip(
            np.moveaxis(np.float64(conv["kernel"]), -1, 0), conv["bias"]
        )
    ], -1)

  frames = np.float64(luminance.luminance(enlarged))
  seen = [convolve(frame, f"frame_{i}") for i, frame in enumerate(frames)]
  mixed = convolve(np.concatenate(seen, -1).clip(0), "mix").clip(0)
  np.testing.assert_allclose(restored.aux["hr_features"][0], mixed, atol=1e-5)
  expected = convolve(mixed, "exit")
  np.testing.assert_allclose(
      luminance.luminance(restored.frames)[0], expected, atol=1e-5
  )
  added = restored.frames[0] - enlarged[1]
  np.testing.assert_allclose(added[..., 0], added[..., 1], atol=1e-6)


def test_a_symmetric_network_sees_past_and_future_alike(window):
  """Where the layer after it does, too."""
  for symmetric in (True, False):
    model = models.build("vsrnet", scale=1, frames=3, symmetric=symmetric)
    variables = _random(model)
    mix = variables["params"]["network"]["mix"]["conv"]
    kernel = mix["kernel"].reshape(5, 5, 3, 64, 32)
    kernel = (kernel + kernel[:, :, ::-1]) / 2
    mix["kernel"] = kernel.reshape(5, 5, 3 * 64, 32)
    there, back = (
        measures.apply(model, variables, frames).frames
        for frames in (window, window[:, ::-1])
    )
    assert (np.abs(there - back).max() < 1e-5) == symmetric


def test_the_large_network_starts_near_the_interpolated_frame(window):
  model = models.build(
      "vsrnet", preset="std_scale", frames=3, width=4, depth=3, motion=True
  )
  variables = jax.jit(model.init)(jax.random.key(0), window)
  restored = measures.apply(model, variables, window)
  enlarged = resample.bicubic_resize(window[:, 1], 4)
  assert 0 < np.abs(restored.frames - enlarged).max() < 0.1
  assert restored.aux["hr_features"].shape == (1, 24, 28, 4)


@pytest.mark.parametrize(
    ("arguments", "halo"),
    [({"scale": 1}, 8), ({"scale": 4}, 4),
     ({"scale": 2, "preset": "std_scale", "depth": 5}, 4)],
)
def test_a_pixel_reaches_as_far_as_the_halo_and_no_farther(arguments, halo):
  model = models.build(
      "vsrnet", channels=1, frames=3, width=2, **arguments
  )
  variables = measures.averaging(model)
  found = measures.reach(model, variables, rows=1, columns=20, frame=0)
  assert found == model.halo == halo
  assert models.build("vsrnet", motion=True).halo is None


def test_what_does_not_suit_is_named(window):
  model = models.build("vsrnet", scale=1, frames=3, motion=True)
  with pytest.raises(ValueError, match="Pad to 8x8"):
    model.apply({}, window)
  with pytest.raises(ValueError, match="windows of 5 frames, but got 3"):
    models.build("vsrnet").apply({}, window)
  with pytest.raises(ValueError, match="odd number of frames, but got 4"):
    models.build("vsrnet", frames=4)
  with pytest.raises(ValueError, match="published alone, but got std_scale"):
    models.build("vsrnet", preset="std_scale", symmetric=True)
