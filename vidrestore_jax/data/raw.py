"""Raw video: Bayer mosaics, packing, augmentation, and unprocessing of sRGB.

Raw items hold mosaics `[T, H, W, 1]` uint16 in digital numbers (DN) above
black, 0 .. 3855, as CRVD's 12-bit camera has them (black 240, white 4095), in
the pattern that `bayer` names:

    G B        GBRG, of which packed planes [T, H/2, W/2, 4] are
    R G        R, Gr (beside red), B, Gb (beside blue)

(cao-cong/RViDeNet, utils.py, pack_gbrg_raw). Networks see packed planes.

The source here makes such clips from any sRGB source by going a camera's steps
back: Brooks et al., Unprocessing Images for Learned Raw Denoising, CVPR 2019,
arXiv:1811.11127; constants from google-research/google-research,
unprocessing/unprocess.py. `vidrestore_jax.metrics.raw.isp` is the way forth.
"""

import numpy as np

from vidrestore_jax import data
from vidrestore_jax.degradations import ranges
from vidrestore_jax.shapes import check_named

PATTERN = "GBRG"
BLACK, WHITE = 240, 4095  # Of CRVD, in DN.
MAX_VALUE = WHITE - BLACK  # White, once black is subtracted.

# (row, column) of R, Gr, B, Gb in the 2x2 cell.
PLANES = ((1, 0), (1, 1), (0, 1), (0, 0))
_COLOURS = (0, 1, 2, 1)  # Of the planes, in RGB.

# XYZ to the colours of four cameras; a clip's is a random mixture.
_XYZ2CAMS = np.array([
    [[1.0234, -0.2969, -0.2266],
     [-0.5625, 1.6328, -0.0469],
     [-0.0703, 0.2188, 0.6406]],
    [[0.4913, -0.0541, -0.0202],
     [-0.6130, 1.3513, 0.2906],
     [-0.1564, 0.2151, 0.7183]],
    [[0.8380, -0.2630, -0.0639],
     [-0.2887, 1.0725, 0.2496],
     [-0.0627, 0.1427, 0.5438]],
    [[0.6596, -0.2079, -0.0562],
     [-0.4782, 1.3016, 0.1933],
     [-0.0970, 0.1581, 0.5181]],
])
# Linear sRGB to XYZ (D65), IEC 61966-2-1.
_RGB2XYZ = np.array([
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
])
# Grey above which highlights are kept bright.
_INFLECTION = 0.9


def pack(mosaic):
  """`[..., H, W, 1]` to planes `[..., H/2, W/2, 4]` (R, Gr, B, Gb).

  Raises:
    ValueError: not one channel, or an odd side.
  """
  mosaic = np.asarray(mosaic)
  if mosaic.ndim < 3 or mosaic.shape[-1] != 1:
    raise ValueError(
        f"A mosaic is [..., H, W, 1], but got shape {mosaic.shape}."
    )
  height, width = mosaic.shape[-3:-1]
  if height % 2 or width % 2:
    raise ValueError(
        f"A mosaic of {width}x{height} pixels is not made of whole 2x2 cells."
        " Crop it to even sides."
    )
  planes = [mosaic[..., row::2, column::2, 0] for row, column in PLANES]
  return np.stack(planes, -1)


def unpack(packed):
  """Planes `[..., h, w, 4]` (R, Gr, B, Gb) to `[..., 2 h, 2 w, 1]`.

  Raises:
    ValueError: not four channels.
  """
  packed = np.asarray(packed)
  if packed.ndim < 3 or packed.shape[-1] != 4:
    raise ValueError(
        f"Packed planes are [..., h, w, 4], but got shape {packed.shape}."
    )
  *leading, height, width, _ = packed.shape
  mosaic = np.empty((*leading, 2 * height, 2 * width, 1), packed.dtype)
  for plane, (row, column) in enumerate(PLANES):
    mosaic[..., row::2, column::2, 0] = packed[..., plane]
  return mosaic


def random_patch(rng, example: dict, *, size: int, augment: bool) -> dict:
  """A random square of a raw example, packed; `bayer` is gone from it.

  Packed planes are never flipped: each samples another place of the scene, so
  that a flip of planes is no flip of the scene. The mosaic is cropped at even
  places 2 pixels larger than the patch, turned, and cut so that the pattern
  begins as it did: a flip moves it by a pixel along its axis, and a transpose
  by a pixel along both, as it swaps the places of red and blue.

  Args:
    rng: a NumPy generator.
    example: `clean` and perhaps `degraded`, mosaics `[T, H, W, 1]`, `bayer`.
    size: of the packed patch; twice as many pixels of the mosaic.
    augment: whether to turn by one of the eight flips and transposes, equally
      often.

  Returns:
    The example with `clean` and `degraded` `[T, size, size, 4]`.

  Raises:
    ValueError: another pattern than GBRG, or frames that are too small.
  """
  if example["bayer"] != PATTERN:
    raise ValueError(
        f"{_name(example)} has the Bayer pattern {example['bayer']!r}, but"
        f" only {PATTERN} is handled. Crop a row or a column to begin there."
    )
  height, width = example["clean"].shape[1:3]
  side = 2 * size + (2 if augment else 0)
  if side > min(height, width):
    raise ValueError(
        f"{_name(example)} has frames of {width}x{height} pixels, but a packed"
        f" patch of {size}x{size} needs {side}x{side}"
        f"{', two more than without augmentation' if augment else ''}. Lower"
        " patch_size or use larger frames."
    )
  top = 2 * int(rng.integers((height - side) // 2 + 1))
  left = 2 * int(rng.integers((width - side) // 2 + 1))
  turns = [bool(t) for t in rng.integers(2, size=3)] if augment else [False] * 3
  row, column = _phase(*turns)

  def patch(clip):
    clip = clip[:, top : top + side, left : left + side]
    clip = _turn(clip, *turns)
    return pack(clip[:, row : row + 2 * size, column : column + 2 * size])

  result = {key: value for key, value in example.items() if key != "bayer"}
  for key in ("clean", "degraded"):
    if key in example:
      result[key] = patch(example[key])
  return result


def unprocess(
    clip,
    *,
    max_value: int,
    rgb_gain: float,
    red_gain: float,
    blue_gain: float,
    cam2rgb,
):
  """sRGB frames as a camera would have sensed them.

  Inverse tone curve, inverse gamma 2.2, colour matrix, inverse white balance
  (less where a pixel is near white, so that highlights stay white), mosaic,
  whole DN.

  Args:
    clip: sRGB, integers, `[T, H, W, 3]`; an odd last row or column is left out.
    max_value: white of `clip`.
    rgb_gain: brightening of all channels that the camera would apply.
    red_gain, blue_gain: its white balance, against green.
    cam2rgb: 3x3, from its colours to linear sRGB.

  Returns:
    A GBRG mosaic, uint16 `[T, H, W, 1]`, 0 .. 3855.
  """
  # All that bends is done once for each possible value.
  display = np.arange(max_value + 1) / max_value
  display = 0.5 - np.sin(np.arcsin(1.0 - 2.0 * display) / 3.0)
  linear = np.maximum(display, 0.0).astype(np.float32) ** np.float32(2.2)

  _, height, width, _ = clip.shape
  clip = linear[clip[:, : height - height % 2, : width - width % 2]]
  camera = clip @ np.linalg.inv(cam2rgb).T.astype(np.float32)
  gains = rgb_gain * np.array([red_gain, 1.0, blue_gain], np.float32)
  inverse = np.float32(1.0) / gains
  grey = camera.mean(-1, keepdims=True)
  near_white = np.maximum(grey - _INFLECTION, 0.0) / (1.0 - _INFLECTION)
  near_white = near_white**2
  camera *= np.maximum(near_white + (1.0 - near_white) * inverse, inverse)
  camera = np.rint(np.clip(camera, 0.0, 1.0) * MAX_VALUE).astype(np.uint16)
  planes = [
      camera[:, row::2, column::2, colour]
      for (row, column), colour in zip(PLANES, _COLOURS)
  ]
  return unpack(np.stack(planes, -1))


class Unprocessed:
  """The clips of an sRGB source as raw ones; a function of (seed, index).

  Items have `clean` (and `degraded`, where the source has it, through the same
  camera), `max_value` 3855, `bayer`, `name` and `metadata`: what the way back
  to sRGB needs, the arguments of `vidrestore_jax.metrics.raw.isp`:
  `rgb_gain`, `red_gain`, `blue_gain` and `cam2rgb` `[3, 3]`.
  """

  def __init__(self, source, *, seed, red_gain, blue_gain):
    self._source, self._seed = source, seed
    self.max_threads = getattr(source, "max_threads", None)
    self.damaged = getattr(source, "damaged", [])
    self._red_gain, self._blue_gain = tuple(red_gain), tuple(blue_gain)

  def __len__(self) -> int:
    return len(self._source)

  def __repr__(self) -> str:
    return f"Unprocessed({self._source!r}, seed={self._seed})"

  def __getitem__(self, index) -> dict:
    index = range(len(self))[index]
    example = self._source[index]
    metadata = self._camera(np.random.default_rng((self._seed, index)))
    result = dict(
        name=example["name"],
        max_value=MAX_VALUE,
        bayer=PATTERN,
        metadata=metadata,
    )
    for key in ("clean", "degraded"):
      if key in example:
        _check_rgb(example, key)
        result[key] = unprocess(
            example[key], max_value=example["max_value"], **metadata
        )
    return result

  def _camera(self, rng):
    # A convex mixture; rows that sum to one keep grey grey.
    weights = rng.random(len(_XYZ2CAMS))
    xyz2cam = np.tensordot(weights / weights.sum(), _XYZ2CAMS, 1)
    rgb2cam = xyz2cam @ _RGB2XYZ
    rgb2cam /= rgb2cam.sum(-1, keepdims=True)
    return {
        "rgb_gain": float(1.0 / rng.normal(0.8, 0.1)),
        "red_gain": float(rng.uniform(*self._red_gain)),
        "blue_gain": float(rng.uniform(*self._blue_gain)),
        "cam2rgb": np.linalg.inv(rgb2cam),
    }


def build(
    *,
    source: dict,
    seed: int = 0,
    red_gain: tuple[float, float] = (1.9, 2.4),
    blue_gain: tuple[float, float] = (1.5, 1.9),
) -> Unprocessed:
  """A source of raw clips, unprocessed from those of an sRGB source.

  Args:
    source: name and arguments of that source.
    seed: of the cameras.
    red_gain, blue_gain: lowest and highest white balance, drawn uniformly for
      each clip. The defaults are Brooks et al.'s; CRVD's camera has 1.81 and
      2.06 (`vidrestore_jax.metrics.raw`).

  Raises:
    ValueError: the source cannot be built, or gains that are no range.
  """
  check_named("The source of raw", source)
  if seed < 0:
    raise ValueError(f"seed needs to be at least 0, but is {seed}.")
  for name, gain in (("red_gain", red_gain), ("blue_gain", blue_gain)):
    ranges.check(name, gain, 1.0)  # Green is what the others are raised to.
  return Unprocessed(
      data.build(**source), seed=seed, red_gain=red_gain, blue_gain=blue_gain
  )


def _turn(clip, horizontal, vertical, transpose):
  """Mirrors x, mirrors y, swaps x and y, in this order."""
  if horizontal:
    clip = clip[:, :, ::-1]
  if vertical:
    clip = clip[:, ::-1]
  return clip.swapaxes(1, 2) if transpose else clip


def _phase(horizontal, vertical, transpose):
  """How many rows and columns to leave out of a turned, even-sided mosaic.

  The place of red in the cell says which of the four patterns it is.
  """
  red = np.zeros((1, 2, 2), bool)
  red[0][PLANES[0]] = True
  turned = _turn(red, horizontal, vertical, transpose)[0]
  (row,), (column,) = np.nonzero(turned)
  return (row - PLANES[0][0]) % 2, (column - PLANES[0][1]) % 2


def _check_rgb(example, key):
  clip = example[key]
  if clip.shape[-1] != 3 or not np.issubdtype(clip.dtype, np.integer):
    raise ValueError(
        f"{_name(example)} cannot be unprocessed: {key} is {clip.dtype} with"
        f" shape {clip.shape}, not integer sRGB [T, H, W, 3]."
    )


def _name(example):
  return f"Clip {example.get('name', '(unnamed)')}"
