"""Published BasicVSR++ weights, and back.

Known layouts, both with the SpyNet inside, whose weights are for research only:

* XPixelGroup/BasicSR (Apache-2.0), `BasicVSRPlusPlus`;
* open-mmlab/mmagic and ckkelvinchan/BasicVSR_PlusPlus (Apache-2.0),
  `BasicVSRPlusPlusNet`, in their files under the prefix `generator.`.
"""

import jax
import jax.numpy as jnp

from vidrestore_jax.converters import basicsr, parity, spynet
from vidrestore_jax.converters.torch_layouts import Layout, conv, imagenet
from vidrestore_jax.models.basicvsrpp import (
    PASSES,
    bicubic_quarter,
    second_order,
)

# Flow of up to 4 pixels is known to 2e-5 of them in float32.
TOLERANCE = spynet.TOLERANCE
# What a frame of the output's size passes first.
_SHRINK = ("feat_extract.0", "feat_extract.2")


def _layout(name, upsample, flow, step):
  """A layout.

  Args:
    name: of the release.
    upsample: name of the sub-pixel convolutions, with {}.
    flow: of the SpyNet's tensors, see `spynet.rules`.
    step: likewise.
  """
  flow = f"spynet.{flow}"

  def infer(shapes):
    return dict(
        width=shapes.kernel(f"{_STEM}.main.0.weight")[0],
        blocks=basicsr.count_blocks(f"{_STEM}.main.2", shapes),
        low_resolution=f"{_SHRINK[0]}.weight" not in shapes,
        motion=spynet.infer(flow, shapes),
    )

  def rules(model):
    yield from imagenet("spynet")
    yield from spynet.rules(flow, model.motion, "motion/", step=step)
    extraction = "feat_extract"
    if not model.low_resolution:
      extraction = "feat_extract.4"
      for i, stem in enumerate(_SHRINK):
        yield from conv(stem, f"shrink_{i}/conv")
    yield from basicsr.trunk(extraction, "extraction", 5)
    for which in PASSES:
      stem, path = f"deform_align.{which}", f"align_{which}"
      yield from conv(stem, f"{path}/dcn")
      for i in range(3):
        yield from conv(
            f"{stem}.conv_offset.{2 * i}", f"{path}/offset_{i}/conv"
        )
      yield from conv(
          f"{stem}.conv_offset.6", f"{path}/dcn/conv_offset/conv"
      )
    for which in PASSES:
      yield from basicsr.trunk(
          f"backbone.{which}", f"backbone_{which}", model.blocks
      )
    yield from basicsr.trunk("reconstruction", "fusion", 5)
    yield from basicsr.reconstruction(upsample)

  return Layout(
      name=name,
      example=upsample.format(1) + ".weight",
      marker=upsample.format(1).replace(".", r"\.") + r"\.weight",
      infer=infer,
      rules=rules,
  )


_STEM = f"backbone.{PASSES[0]}"
LAYOUTS = (
    _layout("basicsr", "upconv{}", spynet.BASICSR, step=2),
    _layout("mmagic", "upsample{}.upsample_conv", spynet.MMAGIC, step=1),
)


def outputs(model, variables, reference):
  """What the released network makes of a clip, see `parity`.

  Args:
    model: a BasicVSR++.
    variables: its variables.
    reference: `input_u8` `[N, T, C, h, w]`.

  Returns:
    `output` `[N, T, C, H, W]`; of the first clip `flows_backward` and
    `flows_forward` `[T - 1, 2, h, w]` in pixels and `spynet_input`
    `[T - 1, C, h, w]`, the frames of the former; `feat_spatial`,
    `feat_backward_1` and so on `[N, T, width, h, w]`; and of the first pass, in
    its order, `backward_1_aligned` `[N, T - 1, width, h, w]`, and
    `backward_1_conv_offset_step2` `[N, 432, h, w]`, what the offsets and masks
    of its second alignment are made of.
  """
  clip = parity.clips(reference)
  inner = ("align_backward_1", "dcn", "conv_offset")

  def run(model, clip):
    small = clip if model.low_resolution else bicubic_quarter(clip)
    to_next, to_last = model.flows(clip)
    features, _ = model.features(clip, to_next, to_last)
    return {
        "spynet_input": small[0, :-1],
        "flows_backward": to_next[0],
        "flows_forward": to_last[0],
        **{f"feat_{name}": array for name, array in features.items()},
        "backward_1_aligned": _aligned(model, features, to_next),
        "output": model.reconstruct(clip, features).frames,
    }

  @jax.jit
  def apply(clip):
    return model.apply(
        variables,
        clip,
        method=run,
        capture_intermediates=lambda module, _: module.path == inner,
    )

  found, kept = apply(clip)
  kept = kept["intermediates"]
  for name in inner:
    kept = kept[name]
  # Of the alignments outside of the model's own loops, as in `_aligned`.
  found["backward_1_conv_offset_step2"] = kept["__call__"][1]
  return {name: parity.channels_first(array) for name, array in found.items()}


def _aligned(model, features, to_next):
  """What the first pass aligns, from its results: `[N, T - 1, ...]`."""
  spatial, handed = (
      jnp.flip(features[name], 1) for name in ("spatial", "backward_1")
  )
  flows = second_order(jnp.flip(to_next, 1))
  before = [jnp.zeros_like(handed[:, 0]), *jnp.unstack(handed, axis=1)]
  return jnp.stack([
      model.align["backward_1"](
          spatial[:, i], (before[i], before[i - 1]), [f[:, i] for f in flows]
      )[0]
      for i in range(1, spatial.shape[1])
  ], 1)
