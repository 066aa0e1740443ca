"""Published TOFlow weights, and back.

Known layouts:

* XPixelGroup/BasicSR (Apache-2.0), `TOFlow`;
* open-mmlab/mmagic (Apache-2.0), `TOFlowVSRNet`, in its files under the prefix
  `generator.`.

Whether weights come from the authors' own release, with the middle frame first,
no shape tells: then pass --config.official_order=true. They were trained on
enlarged frames; --config.scale=1 is for those that denoise.
"""

import dataclasses
import re

import jax

from vidrestore_jax.converters import parity, spynet
from vidrestore_jax.converters.torch_layouts import (
    Layout,
    batch_norm,
    conv,
    imagenet,
)
from vidrestore_jax.models import toflow

# Flow of up to 5 pixels is known to 1e-5 of them in float32.
TOLERANCE = spynet.TOLERANCE


def _layout(name, restoring, flow_conv, flow_norm, step, *, constants):
  """A layout.

  Args:
    name: of the release.
    restoring: name of a convolution after the warp, with {}.
    flow_conv: of a flow level's convolution, with {level} and {layer}.
    flow_norm: of its normalisation, likewise.
    step: from a convolution's number in a flow level to the next; where there
      is room, the normalisation has a number of its own, the next.
    constants: whether the files hold the mean and deviation of ImageNet.
  """

  def infer(shapes):
    pattern = re.escape(flow_conv.format(level=0, layer="#") + ".weight")
    pattern = pattern.replace(re.escape("#"), r"(\d+)")
    weights = {
        int(match[1]): shapes.kernel(match[0])
        for match in (re.fullmatch(pattern, name) for name in shapes)
        if match and len(shapes[match[0]]) == 4  # Not a normalisation's.
    }
    return dict(
        width=shapes.kernel(f"{restoring.format(1)}.weight")[0],
        flow_widths=tuple(weights[i][0] for i in sorted(weights)[:-1]),
    )

  def rules(model):
    if constants:
      yield from imagenet()
    last = len(model.flow_widths)
    for level in range(toflow.LEVELS):
      for i in range(last + 1):
        path = f"flow_{level}/conv_{i}" + ("/conv" if i == last else "")
        theirs = flow_conv.format(level=level, layer=step * i)
        yield from conv(theirs, path, bias=i == last)
        if i < last:
          theirs = flow_norm.format(level=level, layer=step * i + (step > 1))
          yield from batch_norm(theirs, f"flow_{level}/norm_{i}")
    for i in range(len(toflow.KERNELS)):
      yield from conv(restoring.format(i + 1), f"conv_{i}/conv")

  return Layout(
      name=name,
      example=f"{restoring.format(1)}.weight",
      marker=rf"{restoring.format(1)}\.weight",
      infer=infer,
      rules=rules,
  )


_MODULE = "spynet.basic_module.{level}.basic_module.{layer}"
LAYOUTS = (
    _layout("basicsr", "conv_{}", _MODULE, _MODULE, 3, constants=True),
    _layout(
        "mmagic",
        "conv{}",
        f"{_MODULE}.conv",
        f"{_MODULE}.bn",
        1,
        constants=False,
    ),
)


def outputs(model, variables, reference):
  """What the released network makes of frames that are enlarged already.

  Args:
    model: a TOFlow, of any scale and order.
    variables: its variables.
    reference: `input_u8` `[N, 7, C, H, W]`.

  Returns:
    `flows` `[N, 6, 2, H, W]` in pixels, `aligned` `[N, 21, H, W]`, and
    `output` and `output_official_order` `[N, C, H, W]`: the middle frame among
    the others, and before them.
  """
  window = parity.clips(reference)
  plain = dataclasses.replace(model, scale=1, official_order=False)
  official = dataclasses.replace(plain, official_order=True)

  @jax.jit
  def run(variables):
    flows, aligned = plain.apply(variables, window, method="align")
    return {
        "flows": flows,
        "output": plain.apply(variables, window).frames,
        "output_official_order": official.apply(variables, window).frames,
    }, aligned

  found, aligned = run(variables)
  found = {name: parity.channels_first(array) for name, array in found.items()}
  aligned = parity.channels_first(aligned)
  shape = (len(aligned), -1, *aligned.shape[-2:])
  return found | {"aligned": aligned.reshape(shape)}
