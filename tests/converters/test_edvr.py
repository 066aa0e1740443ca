"""EDVR's public weights give its public outputs, inside and out."""

import numpy as np
import pytest

from vidrestore_jax import models
from vidrestore_jax.converters import checkpoints, edvr, parity, torch_layouts

# Largest differences of the original between float32 and float64.
NOISE = {
    "edvr_5f_tsa": dict(
        aligned=6.1e-7, feat_l1=4.4e-7, feat_l3_before_lrelu=6.6e-7,
        fusion=6.1e-7, output=3.3e-7, dcn_l3_conv_offset_frame0=1.8e-7,
        dcn_cas_conv_offset_frame0=4.2e-7,
    ),
    "edvr_5f_notsa": dict(aligned=6.1e-7, fusion=7.0e-7, output=2.6e-7),
    "edvr_7f_tsa": dict(aligned=8.6e-7, fusion=4.6e-7, output=2.2e-7),
    "edvr_7f_notsa": dict(aligned=8.6e-7, fusion=6.6e-7, output=2.8e-7),
}  # fmt: skip


def stored(case, real_data):
  """Tensors and outputs, with what the case shares with others."""
  folder = real_data / "reference" / "sr"
  tensors = checkpoints.read(folder / "edvr_5f_tsa.pth").tensors
  if case != "edvr_5f_tsa":
    tensors = {k: v for k, v in tensors.items() if "fusion." not in k}
    tensors |= checkpoints.read(folder / f"{case}.pth").tensors
  outputs = checkpoints.read_arrays(folder / f"{case}.npz")
  if "input_is_that_of" in outputs:
    other = folder / str(outputs["input_is_that_of"])
    outputs["input_u8"] = checkpoints.read_arrays(other)["input_u8"]
  return tensors, outputs, folder / f"{case}.npz"


@pytest.mark.parametrize("case", NOISE)
def test_a_conversion_does_what_the_release_does_inside_and_out(
    case, real_data, assert_rounding
):
  tensors, reference, path = stored(case, real_data)
  found = torch_layouts.to_variables("edvr", edvr.LAYOUTS, tensors)
  assert len(tensors) == (68 if "notsa" in case else 92)
  assert found.kwargs == dict(
      frames=int(case[5]), width=16, extraction_blocks=1,
      reconstruction_blocks=1, deformable_groups=4, tsa="notsa" not in case,
      channels=3,
  )  # fmt: skip
  model = models.build("edvr", **found.kwargs)
  outputs = edvr.outputs(model, found.variables, reference)
  report = parity.compare(outputs, reference, edvr.TOLERANCE, path)
  assert_rounding(report["max_abs_error"], NOISE[case], reference)
  back = torch_layouts.to_tensors(model, found.variables, edvr.LAYOUTS[0])
  assert set(back) == set(tensors)
  for name, value in tensors.items():
    np.testing.assert_array_equal(back[name], value)
