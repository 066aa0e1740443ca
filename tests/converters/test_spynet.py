"""Conversion of SpyNet: nothing left over, nothing guessed."""

import numpy as np
import pytest

from vidrestore_jax import models
from vidrestore_jax.converters import spynet, torch_layouts

WIDTHS = (8, 4, 6, 2)  # Input, two hidden layers, flow.


def _tensors(levels=2):
  rng = np.random.default_rng(0)
  tensors = {}
  for level in range(levels):
    for layer in range(3):
      shape = (WIDTHS[layer + 1], WIDTHS[layer], 3, 3)
      stem = f"basic_module.{level}.basic_module.{2 * layer}"
      tensors[f"{stem}.weight"] = rng.normal(size=shape).astype(np.float32)
      tensors[f"{stem}.bias"] = rng.normal(size=shape[:1]).astype(np.float32)
  return tensors


def _converted(tensors, **config):
  """Arguments and variables of the model."""
  found = torch_layouts.to_variables("spynet", spynet.LAYOUTS, tensors, config)
  return found.kwargs, found.variables


def _renamed(tensors, rule):
  renamed = {}
  for name, value in tensors.items():
    _, level, _, index, kind = name.split(".")
    renamed[rule(int(level), int(index) // 2, kind)] = value
  return renamed


@pytest.mark.parametrize("rule", [
    lambda level, layer, kind: f"modelL{level + 1}_F-{layer + 1}-{kind}",
    lambda level, layer, kind: (
        f"netBasic.{level}.netBasic.{2 * layer}.{kind}"
    ),
    lambda level, layer, kind: (
        f"moduleBasic.{level}.moduleMain.{2 * layer}.{kind}"
    ),
    lambda level, layer, kind: (
        f"moduleBasic.{level}.moduleBasic.{2 * layer}.{kind}"
    ),
    lambda level, layer, kind: (
        f"basic_module.{level}.basic_module.{layer}.conv.{kind}"
    ),
])
def test_every_layout_gives_the_same_variables(rule):
  tensors = _tensors()
  kwargs, variables = _converted(tensors)
  assert kwargs["widths"] == (4, 6) and kwargs["kernel"] == 3
  renamed = _renamed(tensors, rule)
  other_kwargs, others = _converted(renamed)
  assert other_kwargs == kwargs
  for level in range(2):
    for layer in range(3):
      ours = variables["params"][f"level_{level}"][f"conv_{layer}"]["conv"]
      them = others["params"][f"level_{level}"][f"conv_{layer}"]["conv"]
      np.testing.assert_array_equal(ours["kernel"], them["kernel"])
      weight = tensors[f"basic_module.{level}.basic_module.{2 * layer}.weight"]
      np.testing.assert_array_equal(ours["kernel"][1, 2], weight[:, :, 1, 2].T)
  # And back, by the one layout that has these names.
  model = models.build("spynet", **kwargs)
  written = [
      torch_layouts.to_tensors(model, variables, layout)
      for layout in spynet.LAYOUTS
  ]
  (back,) = (one for one in written if one.keys() == renamed.keys())
  for name, value in renamed.items():
    np.testing.assert_array_equal(back[name], value)


def test_leftover_missing_and_broken_tensors_are_refused():
  tensors = _tensors()
  with pytest.raises(ValueError, match="no rule for mean"):
    _converted(tensors | {"mean": np.zeros(3)})
  bias = "basic_module.1.basic_module.2.bias"
  missing = {k: v for k, v in tensors.items() if k != bias}
  with pytest.raises(ValueError, match=f"{bias} missing"):
    _converted(missing)
  with pytest.raises(ValueError, match="NaN"):
    _converted(tensors | {bias: np.full(6, np.nan)})
  weight = "basic_module.1.basic_module.2.weight"
  with pytest.raises(ValueError, match=f"{weight} has shape"):
    _converted(tensors | {weight: np.zeros((6, 4, 5, 5))})
  with pytest.raises(ValueError, match="holds no tensors"):
    _converted({})


def test_the_coarsest_levels_can_be_taken_alone():
  tensors = _tensors(levels=3)
  kwargs, variables = _converted(tensors, levels=2)
  _, whole = _converted(tensors)
  assert kwargs["levels"] == 2
  assert set(variables["params"]) == {"level_0", "level_1"}
  np.testing.assert_array_equal(
      variables["params"]["level_1"]["conv_0"]["conv"]["bias"],
      whole["params"]["level_1"]["conv_0"]["conv"]["bias"],
  )
  with pytest.raises(ValueError, match=r"basic_module\.3\..* missing"):
    _converted(tensors, levels=4)
  with pytest.raises(ValueError, match="one level or more"):
    _converted(tensors, levels=0)
