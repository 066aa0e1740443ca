"""Published EDVR weights (XPixelGroup/BasicSR, Apache-2.0), and back.

One layout is known, that of `EDVR_{L,M}_x4_SR_*.pth`. Weights for inputs of the
output's size or with a module against blur are of another network.
"""

import jax
import numpy as np

from vidrestore_jax.converters import basicsr, parity
from vidrestore_jax.converters.torch_layouts import Layout, conv

TOLERANCE = parity.TOLERANCE

_FUSION = (
    "temporal_attn1", "temporal_attn2", "feat_fusion", "spatial_attn1",
    "spatial_attn2", "spatial_attn3", "spatial_attn4", "spatial_attn5",
    "spatial_attn_l1", "spatial_attn_l2", "spatial_attn_l3",
    "spatial_attn_add1", "spatial_attn_add2",
)  # fmt: skip


def _infer(shapes):
  width, channels = shapes.kernel("conv_first.weight")[:2]
  tsa = "fusion.weight" not in shapes
  mixed = "fusion.feat_fusion.weight" if tsa else "fusion.weight"
  offsets = shapes.kernel("pcd_align.cas_dcnpack.conv_offset.weight")[0]
  return dict(
      frames=shapes.kernel(mixed)[1] // width,
      width=width,
      extraction_blocks=basicsr.count_blocks("feature_extraction", shapes),
      reconstruction_blocks=basicsr.count_blocks("reconstruction", shapes),
      deformable_groups=offsets // 27,
      tsa=tsa,
      channels=channels,
  )


def _rules(model):
  yield from conv("conv_first", "conv_first/conv")
  yield from basicsr.blocks(
      "feature_extraction", "feature_extraction", model.extraction_blocks
  )
  for name in ("conv_l2_1", "conv_l2_2", "conv_l3_1", "conv_l3_2"):
    yield from conv(name, f"{name}/conv")
  for name in ("offset_conv1", "offset_conv2", "offset_conv3"):
    for level in ("l3", "l2", "l1"):
      if (name, level) != ("offset_conv3", "l3"):
        yield from _align(name, level)
  for level in ("l3", "l2", "l1"):
    yield from _deformable(f"dcn_pack.{level}", f"dcn_{level}")
  for level in ("l2", "l1"):
    yield from _align("feat_conv", level)
  for name in ("cas_offset_conv1", "cas_offset_conv2"):
    yield from conv(f"pcd_align.{name}", f"pcd_align/{name}/conv")
  yield from _deformable("cas_dcnpack", "cas_dcn")
  if model.tsa:
    for name in _FUSION:
      yield from conv(f"fusion.{name}", f"fusion/{name}/conv")
  else:
    yield from conv("fusion", "fusion/conv")
  yield from basicsr.blocks(
      "reconstruction", "reconstruction", model.reconstruction_blocks
  )
  yield from basicsr.reconstruction("upconv{}", "upsampling")


def _align(name, level):
  return conv(f"pcd_align.{name}.{level}", f"pcd_align/{name}_{level}/conv")


def _deformable(name, path):
  """Rules of a deformable convolution and of what finds its offsets."""
  name, path = f"pcd_align.{name}", f"pcd_align/{path}"
  yield from conv(name, path)
  yield from conv(f"{name}.conv_offset", f"{path}/conv_offset/conv")


LAYOUTS = (
    Layout(
        name="basicsr",
        example="pcd_align.cas_dcnpack.weight",
        marker=r"pcd_align\.cas_dcnpack\.weight",
        infer=_infer,
        rules=_rules,
    ),
)


def outputs(model, variables, reference):
  """What the released network makes of a window, and of its parts.

  Args:
    model: an EDVR.
    variables: its variables.
    reference: `input_u8` `[B, T, C, h, w]`.

  Returns:
    `output` `[B, C, 4 h, 4 w]`; `fusion` `[B, F, h, w]`, the mixed features;
    `aligned` `[B, T, F, h, w]`; `feat_l1` `[B T, F, h, w]` and
    `feat_l3_before_lrelu`, features of each frame; and, of frame 0,
    `dcn_l3_conv_offset_frame0` and `dcn_cas_conv_offset_frame0`, what the
    offsets and masks of the coarsest level and of the cascade are made of.
  """
  window = parity.clips(reference)
  batch, frames = window.shape[:2]
  last = f"feature_extraction_{model.extraction_blocks - 1}"
  paths = {
      "fusion": ("fusion",),
      "feat_l1": (last,),
      "feat_l3_before_lrelu": ("conv_l3_2",),
      "dcn_l3_conv_offset_frame0": ("pcd_align", "dcn_l3", "conv_offset"),
      "dcn_cas_conv_offset_frame0": ("pcd_align", "cas_dcn", "conv_offset"),
  }
  kept = {("pcd_align",), *paths.values()}

  @jax.jit
  def run(window):
    return model.apply(
        variables,
        window,
        capture_intermediates=lambda module, _: module.path in kept,
    )

  restored, inner = run(window)
  inner = inner["intermediates"]

  def of(path):
    tree = inner
    for name in path:
      tree = tree[name]
    return tree["__call__"][0]

  found = {name: np.asarray(of(path)) for name, path in paths.items()}
  for name in found:
    if name.endswith("_frame0"):
      found[name] = found[name].reshape(batch, frames, *found[name].shape[1:])
      found[name] = found[name][:, 0]
  aligned, _ = of(("pcd_align",))
  found["aligned"] = np.reshape(aligned, (batch, frames, *aligned.shape[1:]))
  found["output"] = restored.frames
  return {k: parity.channels_first(v) for k, v in found.items()}
