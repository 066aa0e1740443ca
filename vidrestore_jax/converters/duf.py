"""Published DUF weights, and back.

One layout is known, that of XPixelGroup/BasicSR (Apache-2.0). Its released
files are the official TensorFlow weights (yhjo09/VSR-DUF, no licence: for study
only), which need `--config.epsilon=1e-3`; no shape tells.
"""

import re

import jax
import numpy as np

from vidrestore_jax.converters import parity
from vidrestore_jax.converters.torch_layouts import (
    Layout,
    batch_norm,
    conv_3d,
    conv_of_frame,
)
from vidrestore_jax.layers.resample import space_to_depth
from vidrestore_jax.models import duf

TOLERANCE = parity.TOLERANCE
_ENDS = {
    "conv3d2": "head",
    "conv3d_r1": "residual_0",
    "conv3d_r2": "residual_1",
    "conv3d_f1": "filters_0",
    "conv3d_f2": "filters_1",
}


def _infer(shapes):
  name = re.compile(r"dense_block1\.dense_blocks\.\d+\.0\.weight")
  blocks = sum(map(bool, map(name.fullmatch, shapes)))
  layers = {count: layers for layers, (count, _) in duf.LAYERS.items()}
  if blocks not in layers:
    raise ValueError(
        f"it has {blocks} dense blocks, but a DUF has one of"
        f" {', '.join(map(str, layers))}"
    )
  channels = shapes["conv3d1.weight"][1]
  phases = shapes["conv3d_r2.weight"][0] // channels
  return dict(
      layers=layers[blocks], channels=channels, scale=round(phases**0.5)
  )


def _rules(model):
  yield from conv_of_frame("conv3d1", "entry/conv")
  names = [f"dense_block1.dense_blocks.{i}" for i in range(model.blocks)]
  names += [f"dense_block2.temporal_reduce{i + 1}" for i in range(model.radius)]
  for i, name in enumerate(names):
    yield from batch_norm(f"{name}.0", f"dense_{i}/norm_0/norm")
    yield from conv_of_frame(f"{name}.2", f"dense_{i}/mix/conv")
    yield from batch_norm(f"{name}.3", f"dense_{i}/norm_1/norm")
    yield from conv_3d(f"{name}.5", f"dense_{i}/conv")
  yield from batch_norm("bn3d2", "norm/norm")
  for name, path in _ENDS.items():
    yield from conv_of_frame(name, f"{path}/conv")


LAYOUTS = (
    Layout(
        name="basicsr",
        example="conv3d_f2.weight",
        marker=r"conv3d_[fr][12]\.weight",
        infer=_infer,
        rules=_rules,
    ),
)


def outputs(model, variables, reference):
  """What the original makes of a window, within and at its end.

  Args:
    model: a DUF.
    variables: its variables.
    reference: `input_u8` `[N, 7, C, h, w]`.

  Returns:
    `output` `[N, C, H, W]`; `conv3d1` and `dense_block1` `[N, F, 7, h, w]`,
    `dense_block2` and `residual` `[N, F, 1, h, w]`, `filters`
    `[N, 25, s**2, h, w]` and `filtered` `[N, C s**2, h, w]`, the enlarged frame
    before the residual is added.
  """
  window = parity.clips(reference)
  kept = {
      "entry": "conv3d1",
      f"dense_{model.blocks - 1}": "dense_block1",
      f"dense_{model.blocks + model.radius - 1}": "dense_block2",
      "residual_1": "residual",
      "filters_1": "filters",
  }

  @jax.jit
  def run(window):
    restored, state = model.apply(
        variables,
        window,
        capture_intermediates=lambda module, _: module.name in kept,
    )
    inner = state["intermediates"]
    found = {name: inner[path]["__call__"][0] for path, name in kept.items()}
    found["filters"] = duf.as_filters(found["filters"], model.scale)
    return restored.frames, found

  frames, found = run(window)
  phases = space_to_depth(frames, model.scale)
  found["filtered"] = phases - found["residual"]
  found["residual"] = found["residual"][:, None]
  filters = np.asarray(found.pop("filters")).transpose(0, 3, 4, 1, 2)
  found = {  # Time behind the channels, where there is one.
      name: np.moveaxis(np.asarray(value), -1, 1)
      for name, value in found.items()
  }
  return found | {"filters": filters, "output": parity.channels_first(frames)}
