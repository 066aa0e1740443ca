"""BasicVSR++'s public weights give its public outputs, inside and out."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax import models
from vidrestore_jax.converters import (
    basicvsrpp,
    checkpoints,
    parity,
    torch_layouts,
)

# Largest differences of the original between float32 and float64.
NOISE = {
    "lr_64x64": dict(
        feat_spatial=1.4e-6, feat_backward_1=5.6e-6, feat_forward_1=7.6e-6,
        feat_backward_2=6.1e-6, feat_forward_2=1e-5, flows_backward=1.2e-5,
        flows_forward=1.6e-5, backward_1_aligned=4.2e-6,
        backward_1_conv_offset_step2=1.6e-6, output=2.4e-6,
    ),
    "lr_66x76": dict(
        feat_backward_1=4.7e-6, feat_forward_2=1.2e-5, flows_backward=1.2e-5,
        flows_forward=1.5e-5, backward_1_conv_offset_step2=1.7e-6,
        output=2.5e-6,
    ),
    "hr_256x256": dict(
        feat_spatial=6.4e-7, feat_backward_1=1e-6, feat_forward_2=1.3e-6,
        flows_backward=6.3e-6, flows_forward=7.5e-6, backward_1_aligned=8e-7,
        output=5e-7, spynet_input=1.6e-7,
    ),
}  # fmt: skip


def stored(case, real_data):
  """Tensors and outputs, with what the case shares with others."""
  path = real_data / "reference" / "sr" / f"basicvsrpp_{case}.npz"
  tensors = checkpoints.read(path.with_name("basicvsrpp_lr.pth")).tensors
  if case.startswith("hr"):
    tensors = {k: v for k, v in tensors.items() if "feat_extract" not in k}
    tensors |= checkpoints.read(path.with_name("basicvsrpp_hr.pth")).tensors
  flow = checkpoints.read_arrays(real_data / "reference" / "spynet_weights.npz")
  for level in range(6):
    for layer in range(5):
      for kind in ("weight", "bias"):
        name = f"{level}.basic_module.{2 * layer}.{kind}"
        tensors[f"spynet.basic_module.{name}"] = flow[
            f"modelL{level + 1}_F-{layer + 1}-{kind}"
        ]
  outputs = checkpoints.read_arrays(path)
  if "input_u8" not in outputs:
    clip = sorted((real_data / "clips" / "vid4_city").iterdir())[:3]
    frames = [np.asarray(Image.open(frame)) for frame in clip]
    crop = np.stack(frames)[None, :, 160:416, 200:456]
    crop = np.ascontiguousarray(np.moveaxis(crop, -1, 2))
    digest = hashlib.sha256(crop.tobytes()).hexdigest()
    assert digest == str(outputs["input_u8_sha256"])
    outputs["input_u8"] = crop
  return tensors, outputs, path


@pytest.mark.parametrize(
    "case",
    [
        "lr_64x64",
        # Each compiles for a size of its own.
        pytest.param("lr_66x76", marks=pytest.mark.slow),
        pytest.param("hr_256x256", marks=pytest.mark.slow),
    ],
)
def test_a_conversion_does_what_the_release_does_inside_and_out(
    case, real_data, assert_rounding
):
  tensors, reference, path = stored(case, real_data)
  low = case.startswith("lr")
  assert len(tensors) == (194 if low else 198)
  found = torch_layouts.to_variables(
      "basicvsrpp", basicvsrpp.LAYOUTS, tensors, dict(unroll=1)
  )
  motion = found.kwargs.pop("motion")
  assert motion["levels"] == 6
  assert found.kwargs == dict(
      width=16, blocks=2, low_resolution=low, unroll=1
  )
  model = models.build("basicvsrpp", **found.kwargs, motion=motion)
  outputs = basicvsrpp.outputs(model, found.variables, reference)
  report = parity.compare(outputs, reference, basicvsrpp.TOLERANCE, path)
  assert_rounding(report["max_abs_error"], NOISE[case], reference)
  back = torch_layouts.to_tensors(
      model, found.variables, basicvsrpp.LAYOUTS[0]
  )
  assert set(back) == set(tensors)
  for name, value in tensors.items():
    np.testing.assert_allclose(back[name], value, rtol=1e-7)
