"""Published weights of DUF: the original's tensors, and the way back."""

import os
import pathlib

import jax
import numpy as np
import pytest

from vidrestore_jax import converters, models
from vidrestore_jax.converters import checkpoints, duf, parity, torch_layouts


@pytest.fixture(scope="module")
def reference():
  folder = os.environ.get("VIDRESTORE_TEST_DATA")
  if not folder:
    pytest.skip("VIDRESTORE_TEST_DATA is not set: no published weights here")
  return pathlib.Path(folder) / "reference" / "sr"


# Largest differences of the original between float32 and float64.
NOISE = {
    "conv3d1_s13": 9.6e-07,
    "dense_block1_s13": 2.0e-06,
    "dense_block2_s9": 2.7e-06,
    "residual_s5": 3.8e-07,
    "filters_s9": 9.4e-07,
    "filtered_s5": 4.6e-07,
    "output_s5": 6.1e-07,
    "output_y0-64_x0-64": 6.1e-07,
}


def test_it_does_what_the_original_does(reference):
  kwargs, variables, _ = converters.read("duf", reference / "duf16.pth")
  assert kwargs == {"layers": 16, "channels": 3, "scale": 4}
  path = reference / "duf16_40x48.npz"
  model = models.build("duf", **kwargs)
  original = checkpoints.read_arrays(path)
  found = duf.outputs(model, variables, original)
  errors = parity.compare(found, original, duf.TOLERANCE, path)
  assert set(errors["max_abs_error"]) == set(NOISE)
  for name, error in errors["max_abs_error"].items():
    floor = 1e-6 * np.abs(original[name]).max()
    assert error <= max(5 * NOISE[name], floor), name

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
