"""Published FastDVDnet weights (m-tassano/fastdvdnet, MIT), and back.

One layout is known, the release's: that of `model.pth` and
`model_clipped_noise.pth`, whose names start with `module.`. No convolution has
a bias.
"""

import numpy as np

from vidrestore_jax.converters import parity
from vidrestore_jax.converters.torch_layouts import Layout, batch_norm, conv
from vidrestore_jax.inference import streaming

TOLERANCE = parity.TOLERANCE
_STAGES = ("temp1", "temp2")
# Places of the convolutions in each block's `convblock`; a BatchNorm has the
# next place, except behind the last convolution of _LINEAR.
_CONVS = {
    "inc": ("0", "3"),
    "downc0": ("0", "3.convblock.0", "3.convblock.3"),
    "downc1": ("0", "3.convblock.0", "3.convblock.3"),
    "upc2": ("0.convblock.0", "0.convblock.3", "1"),
    "upc1": ("0.convblock.0", "0.convblock.3", "1"),
    "outc": ("0", "3"),
}
_LINEAR = ("upc2", "upc1", "outc")


def _infer(shapes):
  stage = _STAGES[0]
  grouped = shapes.kernel(f"{stage}.inc.convblock.0.weight")
  channels = shapes.kernel(f"{stage}.outc.convblock.3.weight")[0]
  return dict(
      channels=channels,
      widths=(
          shapes.kernel(f"{stage}.inc.convblock.3.weight")[0],
          shapes.kernel(f"{stage}.downc0.convblock.0.weight")[0],
          shapes.kernel(f"{stage}.downc1.convblock.0.weight")[0],
      ),
      interm=grouped[0] // 3,  # Of each of three frames.
      noise_map=grouped[1] == channels + 1,
  )


def _rules(model):
  if not model.batch_norm:
    raise ValueError("the release has BatchNorm, but batch_norm is False")
  for stage in _STAGES:
    for block, places in _CONVS.items():
      for i, place in enumerate(places):
        name = f"{stage}.{block}.convblock.{place}"
        path = f"{stage}/{block}"
        yield from conv(name, f"{path}/conv_{i}", bias=False)
        if block in _LINEAR and place == places[-1]:
          continue
        before, index = name.rsplit(".", 1)
        norm = f"{before}.{int(index) + 1}"
        yield from batch_norm(norm, f"{path}/norm_{i}")


LAYOUTS = (
    Layout(
        name="official",
        example="temp1.inc.convblock.0.weight",
        marker=r"temp[12]\.(inc|outc|downc[01]|upc[12])\.convblock\..+",
        infer=_infer,
        rules=_rules,
    ),
)


def outputs(model, variables, reference):
  """What the released network makes of a clip, see `parity`.

  Args:
    model: a FastDVDnet.
    variables: its variables.
    reference: `noisy` `[T, C, H, W]` and, but for a blind model, `sigma`, in
      [0, 1] units.

  Returns:
    `seq_out_clamped` `[T, C, H, W]`, every frame, clipped to [0, 1]; and, where
    asked for, of the first frames without clipping: `raw_forward_unclamped`
    `[1, C, H, W]` (frame 2 of 0 to 4) and `stage1_frames012` `[1, C, H, W]`
    (frame 1, by the first stage).
  """
  parity.need(reference, "noisy", *(["sigma"] if model.noise_map else []))
  clip = parity.channels_last(reference["noisy"])
  sigma = float(reference["sigma"]) if model.noise_map else None
  restored = streaming.restore_clip(
      model, variables, clip, sigma=sigma, aux=()
  )
  found = {
      "seq_out_clamped": parity.channels_first(restored.frames.clip(0, 1))
  }
  windowed = {"raw_forward_unclamped", "stage1_frames012"}
  if windowed & set(reference):
    window = clip[None, : 2 * model.radius + 1]
    noise = parity.noise_map(model, reference, window[:, 0].shape)
    one = parity.restore(model, variables, window, noise)
    first = np.asarray(one.aux["pre_denoised"])[:, 0]
    found["raw_forward_unclamped"] = parity.channels_first(one.frames)
    found["stage1_frames012"] = parity.channels_first(first)
  return found
