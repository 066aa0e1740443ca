"""Weights of joeylitalien/noise2noise-pytorch (MIT), and back.

Its U-Net is the preset "pytorch" of `models.noise2noise`, with one convolution
for encoder levels 2 to 5 and one pair for decoder levels 4 to 2. The original's
weights (NVlabs/noise2noise) are TensorFlow pickles of code and not read.
"""

from vidrestore_jax.converters import parity
from vidrestore_jax.converters.torch_layouts import (
    Layout,
    conv,
    transposed_conv,
)

TOLERANCE = parity.TOLERANCE
outputs = parity.image_outputs

# Places in src/unet.py, in its order, and ours.
_LAYERS = (
    (conv, "_block1.0", "enc_0/conv"),
    (conv, "_block1.2", "enc_1/conv"),
    (conv, "_block2.0", "enc_2/conv"),
    (conv, "_block3.0", "enc_6/conv"),
    (transposed_conv, "_block3.2", "up_5"),
    (conv, "_block4.0", "dec_5a/conv"),
    (conv, "_block4.2", "dec_5b/conv"),
    (transposed_conv, "_block4.4", "up_4"),
    (conv, "_block5.0", "dec_4a/conv"),
    (conv, "_block5.2", "dec_4b/conv"),
    (transposed_conv, "_block5.4", "up_3"),
    (conv, "_block6.0", "dec_1a/conv"),
    (conv, "_block6.2", "dec_1b/conv"),
    (conv, "_block6.4", "dec_0/conv"),
)


def _infer(shapes):
  width, channels = shapes.kernel("_block1.0.weight")[:2]
  return dict(
      preset="pytorch",
      width=width,
      output_widths=(
          shapes.kernel("_block6.0.weight")[0],
          shapes.kernel("_block6.2.weight")[0],
      ),
      channels=channels,
  )


def _rules(model):
  if not (model.shared and model.pool and model.upsample == "transposed"):
    raise ValueError("it names the preset 'pytorch' of the U-Net alone")
  for kind, name, path in _LAYERS:
    yield from kind(name, path)


LAYOUTS = (
    Layout(
        name="joeylitalien",
        example="_block1.0.weight",
        marker=r"_block[1-6]\.\d\.(weight|bias)",
        infer=_infer,
        rules=_rules,
    ),
)
