"""Published weights of DUF: the original's tensors, and the way back."""

import jax
import numpy as np
import pytest

from vidrestore_jax import converters, models
from vidrestore_jax.converters import checkpoints, duf, parity, torch_layouts


@pytest.fixture(scope="module")
def reference(real_data):
  return real_data / "reference" / "sr"


# Largest differences of the original between float32 and float64.
NOISE = {
    "conv3d1": 9.6e-07,
    "dense_block1": 2.0e-06,
    "dense_block2": 2.7e-06,
    "residual": 3.8e-07,
    "filters": 9.4e-07,
    "filtered": 4.6e-07,
    "output": 6.1e-07,
}


def test_it_does_what_the_original_does(reference, assert_rounding):
  kwargs, variables, _ = converters.read("duf", reference / "duf16.pth")
  assert kwargs == {"layers": 16, "channels": 3, "scale": 4}
  path = reference / "duf16_40x48.npz"
  model = models.build("duf", **kwargs)
  original = checkpoints.read_arrays(path)
  found = duf.outputs(model, variables, original)
  errors = parity.compare(found, original, duf.TOLERANCE, path)
  assert_rounding(errors["max_abs_error"], NOISE, original)

  # The epsilon of TensorFlow's weights makes another output, as known.
  other = models.build("duf", **kwargs, epsilon=1e-3)
  shifted = np.moveaxis(
      jax.jit(other.apply)(variables, parity.clips(original)).frames, -1, 1
  )
  np.testing.assert_allclose(
      np.abs(shifted - found["output"]).max(), 1.6e-3, rtol=0.05
  )


def test_the_weights_come_back(reference):
  original = checkpoints.read(reference / "duf16.pth").tensors
  converted = torch_layouts.to_variables("duf", duf.LAYOUTS, original)
  model = models.build("duf", **converted.kwargs)
  (layout,) = duf.LAYOUTS
  back = torch_layouts.to_tensors(
      model, converted.variables, layout, converted.counts
  )
  assert list(back) == list(original)
  for name, value in original.items():
    np.testing.assert_array_equal(back[name], value)


def test_a_depth_that_does_not_exist_is_named(reference):
  tensors = checkpoints.read(reference / "duf16.pth").tensors
  short = {
      name: value for name, value in tensors.items()
      if not name.startswith("dense_block1.dense_blocks.2")
  }
  with pytest.raises(ValueError, match="2 dense blocks, but .* 3, 9, 21"):
    torch_layouts.to_variables("duf", duf.LAYOUTS, short)
