"""Published FastDVDnet weights (m-tassano/fastdvdnet, MIT), and back.

One layout is known, the release's: `model.pth` and `model_clipped_noise.pth`,
whose names start with `module.`. Its convolutions in a BatchNorm's front have no
bias, and neither have the linear ones.
"""

from vidrestore_jax.converters.torch_layouts import Layout, batch_norm, conv

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
  grouped = shapes[f"{stage}.inc.convblock.0.weight"]
  channels = shapes[f"{stage}.outc.convblock.3.weight"][0]
  return dict(
      channels=channels,
      widths=(
          shapes[f"{stage}.inc.convblock.3.weight"][0],
          shapes[f"{stage}.downc0.convblock.0.weight"][0],
          shapes[f"{stage}.downc1.convblock.0.weight"][0],
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
