"""Published weights of BasicVSR: the original's outputs, and the way back."""

import numpy as np
import pytest

from vidrestore_jax import converters, models, released
from vidrestore_jax.converters import (
    basicvsr,
    checkpoints,
    spynet,
    torch_layouts,
)

# Largest differences of the original between float32 and float64.
NOISE = {
    "basicvsr_64x64": {
        "flows_backward": 1.2e-05,
        "flows_forward": 1.6e-05,
        "spynet_level0_output": 2.8e-07,
        "feat_backward": 2.4e-06,
        "feat_forward": 3.5e-06,
        "output": 7.8e-07,
    },
    "basicvsr_45x70": {
        "flows_backward": 7.8e-06,
        "flows_forward": 1.8e-05,
        "spynet_level0_output": 2.0e-07,
        "feat_backward": 2.4e-06,
        "feat_forward": 5.1e-06,
        "output": 9.6e-07,
    },
}


@pytest.fixture(scope="module")
def reference(real_data):
  return real_data / "reference"


@pytest.fixture(scope="module")
def tensors(reference):
  """The release's, its SpyNet from the weights that it starts from."""
  found = checkpoints.read(reference / "sr" / "basicvsr.pth").tensors
  flow = checkpoints.read(reference / "spynet_weights.npz").tensors
  for level in range(6):
    for layer in range(5):
      for kind in ("weight", "bias"):
        name = spynet.BASICSR.format(level=level, layer=2 * layer, kind=kind)
        original = f"modelL{level + 1}_F-{layer + 1}-{kind}"
        found[f"spynet.{name}"] = flow[original]
  return found


@pytest.mark.parametrize("case", NOISE)
def test_it_does_what_the_original_does(
    case, reference, tensors, tmp_path, assert_rounding
):
  """Also where SpyNet's sides are none of its own: 45x70 becomes 64x96."""
  checkpoints.write(tmp_path / "whole.npz", tensors)
  kwargs, variables, _ = converters.read("basicvsr", tmp_path / "whole.npz")
  assert kwargs["width"] == 16 and kwargs["blocks"] == 2
  assert kwargs["motion"]["levels"] == 6 and not kwargs["online"]
  path = reference / "sr" / f"{case}.npz"
  report = converters.check("basicvsr", kwargs, variables, path)
  original = checkpoints.read_arrays(path)
  assert_rounding(report["max_abs_error"], NOISE[case], original)


def _as_mmagic(name):
  """The name of a tensor of BasicSR's in mmagic's files."""
  for theirs, ours in (
      ("_trunk.", "_resblocks."),
      ("upconv1.", "upsample1.upsample_conv."),
      ("upconv2.", "upsample2.upsample_conv."),
  ):
    name = name.replace(theirs, ours)
  if name.startswith("spynet.basic_module"):
    *stem, layer, kind = name.split(".")
    name = ".".join([*stem, str(int(layer) // 2), "conv", kind])
  return f"generator.{name}"


def test_both_layouts_are_one_model_and_come_back(tensors, tmp_path):
  assert len(tensors) == 92
  renamed = {_as_mmagic(name): value for name, value in tensors.items()}
  assert "generator.spynet.basic_module.5.basic_module.4.conv.bias" in renamed
  found = {}
  for layout, given in (("basicsr", tensors), ("mmagic", renamed)):
    path = tmp_path / f"{layout}.npz"
    checkpoints.write(path, given)
    found[layout] = converters.read("basicvsr", path)
    source = found[layout].source
    assert source["layout"] == layout
    assert source["prefix"] == ("generator." if layout == "mmagic" else "")
  assert found["basicsr"].kwargs == found["mmagic"].kwargs
  model = models.build("basicvsr", **found["mmagic"].kwargs)
  for layout in basicvsr.LAYOUTS:
    back = torch_layouts.to_tensors(model, found["mmagic"].variables, layout)
    for name, value in tensors.items():
      if layout.name == "mmagic":
        name = _as_mmagic(name).removeprefix("generator.")
      np.testing.assert_array_equal(back.pop(name), value.astype(np.float32))
    assert not back


def test_tensors_that_are_not_a_basicvsrs_are_refused(tensors):
  def convert(given):
    return torch_layouts.to_variables("basicvsr", basicvsr.LAYOUTS, given)

  without = {k: v for k, v in tensors.items() if not k.startswith("spynet.b")}
  with pytest.raises(ValueError, match=r"spynet\.basic_module.* is missing"):
    convert(without)
  wrong = tensors | {"spynet.mean": np.zeros((1, 3, 1, 1), np.float32)}
  with pytest.raises(ValueError, match=r"spynet\.mean is always \[0\.485"):
    convert(wrong)
  # Files that do not hold the constants are whole all the same.
  constants = ("spynet.mean", "spynet.std")
  bare = {k: v for k, v in tensors.items() if k not in constants}
  assert convert(bare).kwargs == convert(tensors).kwargs


def test_an_online_model_goes_there_and_back():
  kwargs = dict(
      width=4,
      blocks=1,
      online=True,
      motion=dict(levels=2, widths=(4,), kernel=3),
  )
  model = models.build("basicvsr", **kwargs)
  generator = np.random.default_rng(0)
  (layout, _) = basicvsr.LAYOUTS
  tensors = {}
  shapes = released.variable_shapes(model)
  for rule in layout.rules(model):
    if rule.path is not None:
      value = generator.normal(size=shapes[rule.path]).astype(np.float32)
      tensors[rule.name] = rule.kind.theirs(value)
  found = torch_layouts.to_variables("basicvsr", basicvsr.LAYOUTS, tensors)
  assert models.build("basicvsr", **found.kwargs) == model
  back = torch_layouts.to_tensors(model, found.variables, layout)
  for name, value in tensors.items():
    np.testing.assert_array_equal(back[name], value)
  assert set(back) - set(tensors) == {"spynet.mean", "spynet.std"}
