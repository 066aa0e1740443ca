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
import functools
import re

import jax

from vidrestore_jax.converters import parity
from vidrestore_jax.converters.torch_layouts import KERNEL, Layout, Rule

# Flow in pixels, up to 4 of them; one evaluation of the original network in
# float32 is up to 2e-5 from float64 itself.
TOLERANCE = 1e-4
# Also of the SpyNet within other models of theirs.
BASICSR = "basic_module.{level}.basic_module.{layer}.{kind}"
MMAGIC = "basic_module.{level}.basic_module.{layer}.conv.{kind}"


def rules(template, model, path="", *, first=0, step=2):
  """The rules of a SpyNet, which may be a part of another model.

  Args:
    template: of a tensor's name, with {level}, {layer} and {kind}.
    model: the SpyNet.
    path: where it is in the model that it is part of, such as "spynet/".
    first: the first level and layer.
    step: from a layer's number to the next.
  """
  for level in range(model.levels):
    for layer in range(len(model.widths) + 1):
      name = functools.partial(
          template.format, level=level + first, layer=step * layer + first
      )
      stem = f"params/{path}level_{level}/conv_{layer}/conv"
      yield Rule(name(kind="weight"), f"{stem}/kernel", KERNEL)
      yield Rule(name(kind="bias"), f"{stem}/bias")


def infer(template, shapes, *, first=0):
  """The SpyNet's arguments; for the rest see `rules`."""
  pattern = _pattern(template)
  found = [m for m in (re.fullmatch(pattern, n) for n in shapes) if m]
  layers = {int(match["layer"]) for match in found} or {first}
  weights = [
      shapes.kernel(template.format(level=first, layer=layer, kind="weight"))
      for layer in sorted(layers)
  ]
  return dict(
      levels=len({match["level"] for match in found}),
      align_corners=True,
      normalize=True,
      widths=tuple(shape[0] for shape in weights[:-1]),
      kernel=weights[0][-1],
  )


def _pattern(template):
  """A regular expression of the names that `template` makes."""
  pattern = re.escape(template.replace("{", "<").replace("}", ">"))
  pattern = pattern.replace("<level>", r"(?P<level>\d+)")
  pattern = pattern.replace("<layer>", r"(?P<layer>\d+)")
  return pattern.replace("<kind>", r"(?P<kind>weight|bias)")


def _layout(name, template, *, first=0, step=2):
  """A layout of names such as `template` with level, layer and kind filled in.

  Args:
    name: of the layout.
    template: of a tensor's name.
    first: the first level and layer.
    step: from a layer's number to the next.
  """
  def dropped(name, model):
    match = re.fullmatch(_pattern(template), name)
    return bool(match) and int(match["level"]) - first >= model.levels

  return Layout(
      name=name,
      example=template.format(level=first, layer=first, kind="weight"),
      marker=_pattern(template),
      infer=functools.partial(infer, template, first=first),
      rules=functools.partial(rules, template, first=first, step=step),
      dropped=dropped,
  )


LAYOUTS = (
    _layout("original", "modelL{level}_F-{layer}-{kind}", first=1, step=1),
    _layout("sniklaus", "moduleBasic.{level}.moduleBasic.{layer}.{kind}"),
    _layout("sniklaus_main", "moduleBasic.{level}.moduleMain.{layer}.{kind}"),
    _layout("sniklaus_net", "netBasic.{level}.netBasic.{layer}.{kind}"),
    _layout("basicsr", BASICSR),
    _layout("mmagic", MMAGIC, step=1),
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
