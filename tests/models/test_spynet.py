"""SpyNet against published outputs, and its laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from vidrestore_jax import converters, models


@pytest.fixture(scope="module")
def reference(real_data):
  with np.load(real_data / "reference" / "spynet_vid4_city_0_1.npz") as archive:
    outputs = {name: archive[name] for name in archive.files}
  frames = sorted((real_data / "clips" / "vid4_city").iterdir())[:2]
  outputs["frames"] = [
      np.asarray(Image.open(f), np.float32)[None] / 255 for f in frames
  ]
  outputs["weights"] = real_data / "reference" / "spynet_weights.npz"
  return outputs


def test_full_frame_flow_equals_the_published_network(reference):
  kwargs, variables, _ = converters.read("spynet", reference["weights"])
  assert kwargs["levels"] == 6
  flow = jax.jit(models.build("spynet", **kwargs).apply)(
      variables, *reference["frames"]
  )
  # Stored in half precision.
  truth = reference["flow_f16"].astype(np.float32).transpose(0, 2, 3, 1)
  error = np.abs(flow - truth)
  assert error.max() < 2e-2 and error.mean() < 1e-3


def test_crop_uses_the_three_coarsest_networks(reference):
  kwargs, variables, _ = converters.read(
      "spynet", reference["weights"], config={"levels": 3}
  )
  crops = [
      reference[name].transpose(0, 2, 3, 1) for name in ("crop_one", "crop_two")
  ]
  truth = reference["crop_flow"].transpose(0, 2, 3, 1)
  flow = jax.jit(models.build("spynet", **kwargs).apply)(variables, *crops)
  assert np.abs(flow - truth).max() < 1e-4
  # The up-sampling matters: half-pixel centres miss by more than 0.1 pixel.
  other = models.build("spynet", **kwargs | {"align_corners": False})
  assert np.abs(jax.jit(other.apply)(variables, *crops) - truth).max() > 0.1


@pytest.mark.parametrize("levels", [1, 4])
def test_flow_of_a_network_without_weights_is_its_bias_at_every_scale(levels):
  """Zero kernels leave the biases: each level adds its own, doubled upwards."""
  model = models.build("spynet", levels=levels, widths=(4,), kernel=3)
  frame = jnp.zeros((1, 16, 24, 3))
  variables = jax.tree.map(
      jnp.zeros_like, model.init(jax.random.key(0), frame, frame)
  )
  for level in range(levels):
    conv = variables["params"][f"level_{level}"]["conv_1"]["conv"]
    conv["bias"] = jnp.array([1.0, -0.5])
  flow = model.apply(variables, frame, frame)
  total = 2**levels - 1  # 1 + 2 + 4 + ...
  np.testing.assert_allclose(
      flow, jnp.broadcast_to(total * jnp.array([1.0, -0.5]), flow.shape),
      rtol=1e-6,
  )


def test_flow_of_any_size_is_in_the_pixels_of_that_size():
  """A bias of (1, -0.5) a level is 7 and -3.5 at 12x20, of which 11x18."""
  model = models.build("spynet", levels=3, widths=(4,), kernel=3)
  frames = [jnp.zeros((1, 11, 18, 3))] * 2
  variables = jax.tree.map(
      lambda leaf: jnp.zeros(leaf.shape),
      jax.eval_shape(
          lambda: model.init(
              jax.random.key(0), *frames, method="of_any_size"
          )
      ),
  )
  for level in range(3):
    conv = variables["params"][f"level_{level}"]["conv_1"]["conv"]
    conv["bias"] = jnp.array([1.0, -0.5])
  flow = model.apply(variables, *frames, method="of_any_size")
  assert flow.shape == (1, 11, 18, 2)
  np.testing.assert_allclose(flow[..., 0], 7 * 18 / 20, rtol=1e-6)
  np.testing.assert_allclose(flow[..., 1], -3.5 * 11 / 12, rtol=1e-6)


def test_size_and_arguments_are_checked():
  model = models.build("spynet", levels=4, widths=(4,), kernel=3)
  with pytest.raises(ValueError, match="divisible by 8, but got 12x16"):
    model.init(jax.random.key(0), *[jnp.zeros((1, 12, 16, 3))] * 2)
  with pytest.raises(ValueError, match="one level or more"):
    models.build("spynet", levels=0)
  with pytest.raises(ValueError, match="odd kernel"):
    models.build("spynet", kernel=4)
