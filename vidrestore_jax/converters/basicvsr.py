"""Published BasicVSR weights, and back.

Known layouts, both with the SpyNet inside, whose weights are for research only:

* XPixelGroup/BasicSR (Apache-2.0), `BasicVSR`;
* open-mmlab/mmagic (Apache-2.0), `BasicVSRNet`, in its files under the prefix
  `generator.`.
"""

import functools

import jax

from vidrestore_jax.converters import basicsr, parity, spynet
from vidrestore_jax.converters.torch_layouts import Layout, conv, imagenet
from vidrestore_jax.layers.resample import resize_bilinear

# Flow of up to 4 pixels is known to 2e-5 of them in float32.
TOLERANCE = spynet.TOLERANCE


def _layout(name, directions, upsample, flow, step):
  """A layout.

  Args:
    name: of the release.
    directions: names of the backward and the forward trunk.
    upsample: name of the sub-pixel convolutions, with {}.
    flow: of the SpyNet's tensors, see `spynet.rules`.
    step: likewise.
  """
  backward, forward = directions
  flow = f"spynet.{flow}"

  def infer(shapes):
    return dict(
        width=shapes.kernel("fusion.weight")[0],
        blocks=basicsr.count_blocks(f"{forward}.main.2", shapes),
        online=f"{backward}.main.0.weight" not in shapes,
        motion=spynet.infer(flow, shapes),
    )

  def rules(model):
    yield from imagenet("spynet")
    yield from spynet.rules(flow, model.motion, "motion/", step=step)
    if not model.recurrent:
      yield from basicsr.trunk(backward, "backward_trunk", model.blocks)
    yield from basicsr.trunk(forward, "forward_trunk", model.blocks)
    yield from conv("fusion", "fusion/conv")
    yield from basicsr.reconstruction(upsample)

  return Layout(
      name=name,
      example=f"{forward}.main.0.weight",
      marker=rf"{forward}\.main\..+",
      infer=infer,
      rules=rules,
  )


LAYOUTS = (
    _layout(
        "basicsr",
        ("backward_trunk", "forward_trunk"),
        "upconv{}",
        spynet.BASICSR,
        step=2,
    ),
    _layout(
        "mmagic",
        ("backward_resblocks", "forward_resblocks"),
        "upsample{}.upsample_conv",
        spynet.MMAGIC,
        step=1,
    ),
)


def outputs(model, variables, reference):
  """What the released network makes of a clip, see `parity`.

  Args:
    model: a BasicVSR.
    variables: its variables.
    reference: `input_u8` `[N, T, C, h, w]`.

  Returns:
    `output` `[N, T, C, 4 h, 4 w]`; of the first clip `flows_backward` and
    `flows_forward` `[T - 1, 2, h, w]` in pixels, and `spynet_level0_output`,
    what the coarsest level finds of the former; `feat_backward` and
    `feat_forward` `[N, T, width, h, w]`.
  """
  clip = parity.clips(reference)

  def run(model, clip):
    motion = model.motion
    height, width = clip.shape[2:4]
    size = [side + -side % motion.stride for side in (height, width)]
    coarsest, *_ = motion.pyramid(
        resize_bilinear(clip[0, :-1], size), resize_bilinear(clip[0, 1:], size)
    )
    flows = model.flows(clip)
    backward, forward = features = model.features(clip, *flows)
    return {
        "flows_backward": flows[0][0],
        "flows_forward": flows[1][0],
        "spynet_level0_output": coarsest,
        "feat_backward": backward,
        "feat_forward": forward,
        "output": model.reconstruct(clip, *features).frames,
    }

  found = jax.jit(functools.partial(model.apply, method=run))(variables, clip)
  return {name: parity.channels_first(array) for name, array in found.items()}
