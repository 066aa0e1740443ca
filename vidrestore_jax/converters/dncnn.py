"""Published DnCNN weights, and back.

Known layouts, both a chain with an activation between:

* `dncnn.{i}`: SaoYan/DnCNN-PyTorch, with BatchNorm and without biases, names
  starting with `module.` (no licence: for study only);
* `model.{i}`: cszn/KAIR (MIT), with biases. The released files (dncnn_15, _25,
  _50, _gray_blind, _color_blind, dncnn3 and fdncnn_*) have their BatchNorm
  merged into the convolutions; what is trained with that code has it still. A
  network that sees one channel more than it makes is FDnCNN.

KAIR's IRCNN has names and shapes like DnCNN's, but its convolutions are
dilated, which no shape tells: do not convert it as one.
"""

import re

from vidrestore_jax.converters import parity
from vidrestore_jax.converters.torch_layouts import Layout, batch_norm, conv

TOLERANCE = parity.TOLERANCE
outputs = parity.image_outputs


def _layout(name, stem, epsilon):
  """A layout of names `stem.{place}.weight`; `epsilon` is its BatchNorm's."""
  weight = re.compile(rf"{stem}\.\d+\.weight")

  def infer(shapes):
    kernels = {
        int(key.split(".")[1]): shape
        for key, shape in shapes.items()
        if weight.fullmatch(key) and len(shape) == 4
    }
    if len(kernels) < 2:
      raise ValueError("it has fewer than two convolutions")
    first, last = kernels[min(kernels)], kernels[max(kernels)]
    noise_map = first[1] == last[0] + 1
    return dict(
        depth=len(kernels),
        width=first[0],
        channels=last[0],
        bias=f"{stem}.0.bias" in shapes,
        batch_norm=any(key.endswith(".running_mean") for key in shapes),
        epsilon=epsilon,
        noise_map=noise_map,
        residual=not noise_map,
    )

  def rules(model):
    place = 0
    for i in range(model.depth):
      yield from conv(f"{stem}.{place}", f"conv_{i}", bias=model.bias)
      place += 1
      if model.batch_norm and 0 < i < model.depth - 1:
        yield from batch_norm(f"{stem}.{place}", f"norm_{i}")
        place += 1
      place += 1  # The activation.

  return Layout(
      name=name,
      example=f"{stem}.0.weight",
      marker=rf"{stem}\.\d+\.(weight|bias)",
      infer=infer,
      rules=rules,
  )


LAYOUTS = (
    # As released: models/basicblock.py builds BatchNorm with eps=1e-4.
    _layout("kair", "model", 1e-4),
    _layout("saoyan", "dncnn", 1e-5),
)
