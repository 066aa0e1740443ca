"""Published weights of VDSR: the original's outputs, and the way back."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import converters, models
from vidrestore_jax.converters import checkpoints, parity, torch_layouts, vdsr
from vidrestore_jax.layers import convolution
from vidrestore_jax.metrics import image


@pytest.fixture(scope="module")
def reference(real_data):
  return real_data / "reference" / "sr"


# Largest differences of the original between float32 and float64.
NOISE = {
    "x2_output": 1.2e-07,
    "x2_residual": 6.0e-06,
    "x4_output": 2.6e-07,
    "x4_residual": 8.6e-06,
}


def test_it_does_what_the_original_does(reference, assert_rounding):
  kwargs, variables, _ = converters.read("vdsr", reference / "vdsr.pth")
  assert kwargs == {"depth": 20, "width": 64, "bias": False}
  path = reference / "vdsr_walk0.npz"
  report = converters.check("vdsr", kwargs, variables, path)
  original = checkpoints.read_arrays(path)
  assert_rounding(report["max_abs_error"], NOISE, original)

  # Decibels above what it was given, as known.
  model = models.build("vdsr", **kwargs)
  found = vdsr.outputs(model, variables, original)
  for name in ("x2", "x4"):
    cut = int(name[1:])
    scores = [
        image.psnr(
            *(
                image.crop_border(frame, cut)
                for frame in (255 * array[0, 0, :, :, None].clip(0, 1), truth)
            ),
            peak=255,
        )
        for truth in [original["gt_y255"][..., None]]
        for array in (original[f"{name}_input"], found[f"{name}_output"])
    ]
    known = original[f"{name}_psnr_bicubic_vdsr"]
    np.testing.assert_allclose(scores, known, atol=0.01)


def test_the_weights_come_back(reference):
  original = checkpoints.read(reference / "vdsr.pth").tensors
  (layout,) = vdsr.LAYOUTS
  kwargs, variables, *_ = torch_layouts.to_variables(
      "vdsr", vdsr.LAYOUTS, original
  )
  model = models.build("vdsr", **kwargs)
  back = torch_layouts.to_tensors(model, variables, layout)
  assert list(back) == list(original)
  for name, value in original.items():
    np.testing.assert_array_equal(back[name], value)
  with pytest.raises(ValueError, match="has no biases, but bias is True"):
    torch_layouts.to_variables(
        "vdsr", vdsr.LAYOUTS, original, {"bias": True}
    )


def test_outputs_that_are_kept_in_part_are_compared_in_that_part(tmp_path):
  array = np.arange(2 * 6 * 8, dtype=np.float32).reshape(1, 2, 6, 8)
  reference = {
      "whole": array,
      "coarse_s3": array[..., ::3, ::3] + 1,
      "block_y1-4_x2-8": array[..., 1:4, 2:8] + 2,
      "other_s3": array,
  }
  path = tmp_path / "reference.npz"
  np.savez(path, **reference)
  found = dict.fromkeys(("whole", "coarse", "block"), array)
  report = parity.compare(found, reference, 1.0, path)
  assert report["max_abs_error"] == {
      "whole": 0.0, "coarse_s3": 1.0, "block_y1-4_x2-8": 2.0,
  }
  with pytest.raises(ValueError, match=r"coarse_s3 has shape \(1, 2, 2, 3\)"):
    parity.compare(found | {"coarse": array[..., :3]}, reference, 1.0, path)


def test_weights_are_checked_in_the_usual_form(tmp_path, monkeypatch):
  spare = functools.partial(
      convolution.spare_channels, 5, jnp.float32, groups=3
  )
  found = []

  def outputs(model, variables, reference):
    del model, variables
    found.append(spare())
    return reference

  monkeypatch.setattr(vdsr, "outputs", outputs)
  path = tmp_path / "outputs.npz"
  np.savez(path, output=np.zeros((1, 1, 2, 2), np.float32))
  converters.check("vdsr", {"depth": 3, "width": 4}, {}, path)
  assert found == [0] and spare() > 0
