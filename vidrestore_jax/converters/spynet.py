"""Published SpyNet weights into a released model, and back.

Known layouts of the same network, all PyTorch's OIHW:

* `modelL{1..6}_F-{1..5}-{weight,bias}`, the original release as NumPy;
* `moduleBasic.{level}.moduleMain.{0,2,4,6,8}.{weight,bias}`, or `moduleBasic`
  for `moduleMain`, or `netBasic` for both: sniklaus/pytorch-spynet;
* `basic_module.{level}.basic_module.{0,2,4,6,8}.{weight,bias}`: BasicSR;
* `basic_module.{level}.basic_module.{0..4}.conv.{weight,bias}`: mmagic.

Levels count from the coarsest. The weights expect ImageNet's normalisation and
flow that is up-sampled with aligned corners. They are for research only; this
project ships none.
"""

import dataclasses
import re

import jax

from vidrestore_jax.converters import parity
from vidrestore_jax.converters.torch_layouts import KERNEL, Layout, Rule

# Flow in pixels, up to 4 of them; one evaluation of the original network in
# float32 is up to 2e-5 from float64 itself.
TOLERANCE = 1e-4


def _layout(name, template, *, first=0, step=2):
  """A layout of names such as `template` with level, layer and kind filled in.

  Args:
    name: of the layout.
    template: of a tensor's name.
    first: the first level and layer.
    step: from a layer's number to the next.
  """
  pattern = re.escape(template.replace("{", "<").replace("}", ">"))
  pattern = pattern.replace("<level>", r"(?P<level>\d+)")
  pattern = pattern.replace("<layer>", r"(?P<layer>\d+)")
  pattern = pattern.replace("<kind>", r"(?P<kind>weight|bias)")

  def named(level, layer, kind):
    return template.format(
        level=level + first, layer=step * layer + first, kind=kind
    )

  def infer(shapes):
    found = [m for m in (re.fullmatch(pattern, n) for n in shapes) if m]
    levels = len({match["level"] for match in found})
    layers = len({match["layer"] for match in found})
    weights = [shapes.kernel(named(0, i, "weight")) for i in range(layers)]
    return dict(
        levels=levels,
        align_corners=True,
        normalize=True,
        widths=tuple(shape[0] for shape in weights[:-1]),
        kernel=weights[0][-1],
    )

  def rules(model):
    for level in range(model.levels):
      for layer in range(len(model.widths) + 1):
        path = f"params/level_{level}/conv_{layer}/conv"
        yield Rule(named(level, layer, "weight"), f"{path}/kernel", KERNEL)
        yield Rule(named(level, layer, "bias"), f"{path}/bias")

  def dropped(name, model):
    match = re.fullmatch(pattern, name)
    return bool(match) and int(match["level"]) - first >= model.levels

  return Layout(
      name=name,
      example=named(0, 0, "weight"),
      marker=pattern,
      infer=infer,
      rules=rules,
      dropped=dropped,
  )


LAYOUTS = (
    _layout("original", "modelL{level}_F-{layer}-{kind}", first=1, step=1),
    _layout("sniklaus", "moduleBasic.{level}.moduleBasic.{layer}.{kind}"),
    _layout("sniklaus_main", "moduleBasic.{level}.moduleMain.{layer}.{kind}"),
    _layout("sniklaus_net", "netBasic.{level}.netBasic.{layer}.{kind}"),
    _layout("basicsr", "basic_module.{level}.basic_module.{layer}.{kind}"),
    _layout(
        "mmagic",
        "basic_module.{level}.basic_module.{layer}.conv.{kind}",
        step=1,
    ),
)


def outputs(model, variables, reference):
  """Flow of a crop, see `parity`.

  Args:
    model: a SpyNet.
    variables: its variables.
    reference: `crop_one` and `crop_two`, `[1, 3, H, W]`.

  Returns:
    `crop_flow` `[1, 2, H, W]` in pixels, from the first into the second. As in
    the original code, the size sets the number of levels: one more for each
    time that a side over 32 is halved.
  """
  parity.need(reference, "crop_one", "crop_two")
  one, two = (
      parity.channels_last(reference[key]) for key in ("crop_one", "crop_two")
  )
  levels, side = 1, max(one.shape[1:3])
  while side > 32 and levels < model.levels:
    levels, side = levels + 1, side // 2
  model = dataclasses.replace(model, levels=levels)
  flow = jax.jit(model.apply)(variables, one, two)
  return {"crop_flow": parity.channels_first(flow)}
