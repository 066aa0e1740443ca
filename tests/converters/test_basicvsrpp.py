"""BasicVSR++'s public weights give its public outputs, inside and out."""

import hashlib
import os
import pathlib

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

# Float32 against float64 of the original, and the largest value, as
# reference/sr/README.md states them.
NOISE = {
    "lr_64x64": dict(
        feat_spatial=(1.4e-6, 3.1), feat_backward_1=(5.6e-6, 2.8),
        feat_forward_1=(7.6e-6, 5), feat_backward_2=(6.1e-6, 5.1),
        feat_forward_2=(1e-5, 5.8), flows_backward=(1.2e-5, 3.6),
        flows_forward=(1.6e-5, 2.7), backward_1_aligned=(4.2e-6, 1.7),
        backward_1_conv_offset_step2=(1.6e-6, 1.3), output=(2.4e-6, 2.6),
    ),
    "lr_66x76": dict(
        feat_backward_1=(4.7e-6, 2.8), feat_forward_2=(1.2e-5, 5.2),
        flows_backward=(1.2e-5, 2.5), flows_forward=(1.5e-5, 2.4),
        backward_1_conv_offset_step2=(1.7e-6, 1.4), output=(2.5e-6, 2.2),
    ),
    "hr_256x256": dict(
        feat_spatial=(6.4e-7, 0.88), feat_backward_1=(1e-6, 1.1),
        feat_forward_2=(1.3e-6, 1.5), flows_backward=(6.3e-6, 2.1),
        flows_forward=(7.5e-6, 1.5), backward_1_aligned=(8e-7, 0.51),
        output=(5e-7, 1.2), spynet_input=(1.6e-7, 1),
    ),
}  # fmt: skip


def stored(case):
  """Tensors and outputs, with what the case shares with others."""
  folder = os.environ.get("VIDRESTORE_TEST_DATA")
  if not folder:
    pytest.skip("VIDRESTORE_TEST_DATA is unset: no public outputs here")
  folder = pathlib.Path(folder)
  path = folder / "reference" / "sr" / f"basicvsrpp_{case}.npz"
  tensors = checkpoints.read(path.with_name("basicvsrpp_lr.pth")).tensors
  if case.startswith("hr"):
    tensors = {k: v for k, v in tensors.items() if "feat_extract" not in k}
    tensors |= checkpoints.read(path.with_name("basicvsrpp_hr.pth")).tensors
  flow = checkpoints.read_arrays(folder / "reference" / "spynet_weights.npz")
  for level in range(6):
    for layer in range(5):
      for kind in ("weight", "bias"):
        name = f"{level}.basic_module.{2 * layer}.{kind}"
        tensors[f"spynet.basic_module.{name}"] = flow[
            f"modelL{level + 1}_F-{layer + 1}-{kind}"
        ]
  outputs = checkpoints.read_arrays(path)
  if "input_u8" not in outputs:
    clip = sorted((folder / "clips" / "vid4_city").iterdir())[:3]
    frames = [np.asarray(Image.open(frame)) for frame in clip]
    crop = np.stack(frames)[None, :, 160:416, 200:456]
    crop = np.ascontiguousarray(np.moveaxis(crop, -1, 2))
    digest = hashlib.sha256(crop.tobytes()).hexdigest()
    assert digest == str(outputs["input_u8_sha256"])
    outputs["input_u8"] = crop
  return tensors, outputs, path


@pytest.mark.parametrize("case", NOISE)
def test_a_conversion_does_what_the_release_does_inside_and_out(case):
  tensors, reference, path = stored(case)
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
  errors = report["max_abs_error"]
  for name, (noise, largest) in NOISE[case].items():
    kept = [k for k in reference if k.rsplit("_", 1)[0].startswith(name)]
    assert kept, name
    for key in kept:
      assert errors[key] < max(5 * noise, 1e-6 * largest), key
  back = torch_layouts.to_tensors(
      model, found.variables, basicvsrpp.LAYOUTS[0]
  )
  assert set(back) == set(tensors)
  for name, value in tensors.items():
    np.testing.assert_allclose(back[name], value, rtol=1e-7)
