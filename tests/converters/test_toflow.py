"""Published weights of TOFlow: the original's outputs, and the way back."""

import re

import numpy as np
import pytest

from vidrestore_jax import converters, models
from vidrestore_jax.converters import checkpoints, toflow, torch_layouts

# Largest differences of the original between float32 and float64.
NOISE = {
    "flows": 5.6e-06,
    "aligned": 9.7e-06,
    "output": 2.4e-07,
    "output_official_order": 2.7e-07,
}


@pytest.fixture(scope="module")
def reference(real_data):
  return real_data / "reference" / "sr"


def test_it_does_what_the_original_does_in_both_orders(
    reference, assert_rounding
):
  kwargs, variables, _ = converters.read("toflow", reference / "toflow.pth")
  path = reference / "toflow_48x64.npz"
  report = converters.check("toflow", kwargs, variables, path)
  original = checkpoints.read_arrays(path)
  assert_rounding(report["max_abs_error"], NOISE, original)


def _as_mmagic(name):
  """The name of a tensor of BasicSR's in mmagic's files; None for constants."""
  if name in ("mean", "std"):
    return None
  match = re.fullmatch(r"(spynet\..*\.)(\d+)\.(\w+)", name)
  if match is None:
    return "generator." + name.replace("conv_", "conv")
  layer, place = divmod(int(match[2]), 3)
  part = ("conv", "bn")[place]
  return f"generator.{match[1]}{layer}.{part}.{match[3]}"


def test_both_layouts_are_one_model_and_come_back(reference, tmp_path):
  original = checkpoints.read(reference / "toflow.pth").tensors
  basicsr = converters.read("toflow", reference / "toflow.pth")
  renamed = {_as_mmagic(name): value for name, value in original.items()}
  renamed.pop(None)
  assert "generator.spynet.basic_module.3.basic_module.4.conv.bias" in renamed
  checkpoints.write(tmp_path / "mmagic.npz", renamed)
  mmagic = converters.read("toflow", tmp_path / "mmagic.npz")
  assert mmagic.source["layout"] == "mmagic"
  model = models.build("toflow", **basicsr.kwargs)
  for layout, source in zip(toflow.LAYOUTS, (basicsr.source, mmagic.source)):
    back = torch_layouts.to_tensors(
        model, mmagic.variables, layout, source["num_batches_tracked"]
    )
    if layout.name == "basicsr":
      assert list(back) == list(original)
    for name, value in original.items():
      if layout.name == "mmagic":
        name = (_as_mmagic(name) or "").removeprefix("generator.")
      if name:
        np.testing.assert_array_equal(back.pop(name), value)
    assert not back
