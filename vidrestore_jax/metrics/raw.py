"""What measuring raw video needs: truncation and a plain ISP.

Frames are packed Bayer planes `[..., h, w, 4]` in the order R, Gr, B, Gb of a
GBRG mosaic `[..., 2 h, 2 w]`; black is 0 and white 1, that is digital number
(DN) 240 and 4095 of CRVD's 12-bit camera (cao-cong/RViDeNet, utils.py).
Everything is NumPy and computes in float64.

The PSNR of a mosaic is that of its planes (the same pixels in another order),
so `metrics.image.psnr` on packed frames is the published one, and the SSIM
that CRVD numbers use (RViDeNet calls scikit-image with its defaults) is
`metrics.image.ssim_uniform` on the planes.
"""

import numpy as np

# Of CRVD, in DN.
WHITE = 4095 - 240

# (row, column) of R, Gr, B, Gb in the 2x2 cell of a GBRG mosaic.
PLANES = ((1, 0), (1, 1), (0, 1), (0, 0))

# White balance of CRVD's camera (Sony IMX385) under its light, and the matrix
# from its colours to linear sRGB: cao-cong/RViDeNet, inverse_isp.py, whose
# camera-to-XYZ matrix is combined with sRGB's and whose rows, inverted, then
# sum to one.
RED_GAIN = 1 / 0.5527
BLUE_GAIN = 1 / 0.4844
CAM2RGB = (
    (1.079538, -0.401310, 0.321772),
    (-0.153855, 1.356738, -0.202883),
    (-0.002403, -0.551486, 1.553889),
)


def truncate(frame):
  """Clamps to [0, 1] and drops what a file of integer DN would not hold.

  As released (RViDeNet, test_indoor.py), DN are truncated, not rounded. Values
  that float32 holds a hair below their DN count as that DN: one thousandth is
  above float32's error at 4095 and below anything that matters.

  Args:
    frame: any shape, white is 1.

  Returns:
    float64 multiples of 1 / 3855.
  """
  dn = np.clip(np.asarray(frame, np.float64), 0.0, 1.0) * WHITE
  return np.floor(dn + 1e-3) / WHITE


def isp(
    packed,
    *,
    rgb_gain: float = 1.0,
    red_gain: float = RED_GAIN,
    blue_gain: float = BLUE_GAIN,
    cam2rgb=CAM2RGB,
):
  """A plain image signal processor: packed planes to sRGB.

  White balance and clip, bilinear demosaicing, colour matrix, clip, gamma 1 /
  2.2 and the tone curve 3 x^2 - 2 x^3: the inverse of the unprocessing of
  Brooks et al., CVPR 2019, arXiv:1811.11127 (google-research/google-research,
  unprocessing/process.py, with the tone curve that unprocess.py inverts).

  Published CRVD numbers in sRGB use RViDeNet's ISP instead, a CNN pretrained
  by its authors whose weights are not part of this library. Numbers through
  this one compare with each other, not with those.

  Args:
    packed: `[..., h, w, 4]`, white is 1.
    rgb_gain: brightening of all channels.
    red_gain, blue_gain: white balance, against green.
    cam2rgb: 3x3, from camera colours to linear sRGB. The defaults of all are
      CRVD's camera; an unprocessed clip's `metadata` has its own.

  Returns:
    float64 `[..., 2 h, 2 w, 3]` in [0, 1], not rounded.
  """
  gains = rgb_gain * np.array([red_gain, 1.0, blue_gain, 1.0])
  balanced = np.clip(np.asarray(packed, np.float64) * gains, 0.0, 1.0)
  linear = demosaic(balanced) @ np.asarray(cam2rgb, np.float64).T
  display = np.clip(linear, 0.0, 1.0) ** (1 / 2.2)
  return display**2 * (3.0 - 2.0 * display)


def demosaic(packed):
  """Bilinear demosaicing: every colour is the mean of its nearest samples.

  Bilinear because it is that of the reference (see `isp`), exact on ramps,
  linear, and makes up no detail, so that what is measured is the restorer.

  Args:
    packed: `[..., h, w, 4]` with h and w at least 2.

  Returns:
    float64 `[..., 2 h, 2 w, 3]`.

  Raises:
    ValueError: not four planes of at least 2x2.
  """
  packed = np.asarray(packed, np.float64)
  if packed.ndim < 3 or packed.shape[-1] != 4 or min(packed.shape[-3:-1]) < 2:
    raise ValueError(
        "Demosaicing needs packed planes [..., h, w, 4] (R, Gr, B, Gb) of at"
        f" least 2x2, but got shape {packed.shape}. Pack a mosaic with"
        " vidrestore_jax.data.raw.pack."
    )
  *leading, height, width, _ = packed.shape
  colours = np.zeros((*leading, 2 * height, 2 * width, 3))
  for plane, ((row, column), colour) in enumerate(zip(PLANES, (0, 1, 2, 1))):
    colours[..., row::2, column::2, colour] = packed[..., plane]
  # Mirrored without the border pixel: a neighbour outside has the colour of
  # the one inside.
  around = [(0, 0)] * len(leading) + [(1, 1), (1, 1), (0, 0)]
  padded = np.pad(colours, around, mode="reflect")

  def at(row, column):
    rows = slice(1 + row, 1 + row + 2 * height)
    columns = slice(1 + column, 1 + column + 2 * width)
    return padded[..., rows, columns, :]

  axial = at(-1, 0) + at(1, 0) + at(0, -1) + at(0, 1)
  diagonal = at(-1, -1) + at(-1, 1) + at(1, -1) + at(1, 1)
  # Samples that are missing are zero, so these weights divide by how many
  # there are: green has four axial neighbours; red and blue two or four.
  green = colours[..., 1] + axial[..., 1] / 4
  others = colours + axial / 2 + diagonal / 4
  return np.stack([others[..., 0], green, others[..., 2]], -1)
