"""Published VDSR weights, and back.

One layout is known, that of twtygqyy/pytorch-vdsr (MIT), whose convolutions
have no biases. It saves the whole module: take its `state_dict`.
"""

import dataclasses
import re

import flax.linen as nn
import jax

from vidrestore_jax.converters import parity
from vidrestore_jax.converters.torch_layouts import Layout, conv

TOLERANCE = parity.TOLERANCE
# Of the convolutions between the first and the last.
_MIDDLE = "residual_layer.{}.conv"
_PROBED = 8  # Index of the one that references keep the output of.


def _infer(shapes):
  middle = re.compile(_MIDDLE.replace(".", r"\.").format(r"\d+") + r"\.weight")
  return dict(
      depth=2 + sum(map(bool, map(middle.fullmatch, shapes))),
      width=shapes.kernel("input.weight")[0],
      bias=False,
  )


def _rules(model):
  if model.bias:
    raise ValueError("the release has no biases, but bias is True")
  for i in range(1, model.depth - 1):
    yield from conv(_MIDDLE.format(i - 1), f"trunk/conv_{i}", bias=False)
  yield from conv("input", "trunk/conv_0", bias=False)
  yield from conv("output", f"trunk/conv_{model.depth - 1}", bias=False)


LAYOUTS = (
    Layout(
        name="twtygqyy",
        example="residual_layer.0.conv.weight",
        marker=r"residual_layer\.\d+\.conv\.weight",
        infer=_infer,
        rules=_rules,
    ),
)


def outputs(model, variables, reference):
  """What the released network makes of luminance that is enlarged already.

  Args:
    model: a VDSR.
    variables: its variables.
    reference: `x2_input` or `x4_input` or both, `[N, 1, H, W]`.

  Returns:
    For each, `x2_output` `[N, 1, H, W]` and `x2_residual_layer8`
    `[N, C, H, W]`, a map from within, after its ReLU.
  """
  model = dataclasses.replace(model, scale=1, channels=1)
  probed = f"conv_{_PROBED + 1}"

  @jax.jit
  def run(frames):
    restored, kept = model.apply(
        variables,
        frames[:, None],
        capture_intermediates=lambda module, _: module.name == probed,
    )
    (inner,) = kept["intermediates"]["trunk"][probed]["__call__"]
    return restored.frames, nn.relu(inner)

  found = {}
  for name in ("x2", "x4"):
    if f"{name}_input" in reference:
      frames = parity.channels_last(reference[f"{name}_input"])
      output, inner = map(parity.channels_first, run(frames))
      found |= {f"{name}_output": output, f"{name}_residual_layer8": inner}
  return found
