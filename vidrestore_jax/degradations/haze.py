"""Haze: light scattered on its way through the air, by depth.

The law of Koschmieder (1924), as RESIDE (Li et al., IEEE TIP 2019) and REVIDE's
predecessors render it on clean frames with known depth:

  I = J * t + A * (1 - t),   t = exp(-beta * d)

J is the clean frame, A the airlight (the colour of the haze itself), d the
distance in metres, beta the scattering coefficient in 1 / m. Only beta * d
counts: outdoors d is a hundred times larger and beta as much smaller.

Clips seldom bring depth, so a scene is drawn: the inverse depth of a plane is
an affine function of the pixel, whatever the camera, so walls, floors and the
faces of things are planes in inverse depth; nearer ones hide farther ones.
The scene follows the picture: it moves with the clip's own global motion.
"""

import numpy as np

from vidrestore_jax.degradations import fields, ranges
from vidrestore_jax.shapes import check_rank

# Arguments of `scattering` whose haze is like that of known sets.
PRESETS = {
    # A room in haze: around t = exp(-0.6 d), A = 0.85 on the depth of an RGB-D
    # camera, which lets through 0.19 to 0.53 of the light (98 % of the
    # pixels; d is 1.0 to 2.8 m), 0.34 in the mean.
    "indoor": {
        "beta": (0.3, 0.9),
        "airlight": (0.75, 0.95),
        "tint": (0.0, 0.01),
        "near": (0.8, 1.4),
        "far": (2.2, 4.0),
    },
}


def scattering(
    rng,
    clip,
    *,
    beta: tuple[float, float] = (0.2, 0.9),
    airlight: tuple[float, float] = (0.7, 1.0),
    tint: tuple[float, float] = (0.0, 0.02),
    near: tuple[float, float] = (0.6, 1.5),
    far: tuple[float, float] = (2.0, 5.0),
    structures: tuple[int, int] = (2, 8),
    depth=None,
    motion=None,
):
  """Haze over a clip; each range is drawn from once per clip, uniformly.

  Args:
    rng: a NumPy generator.
    clip: `[T, H, W, C]` in [0, 1], float32.
    beta: scattering coefficient, 1 / m.
    airlight: of the haze, [0, 1] units, mean over the channels.
    tint: standard deviation of the airlight's channels around that mean.
    near, far: depth of the scene's nearest and farthest part, metres.
    structures: how many things stand in front of floor and wall.
    depth: `[T, H, W]` in metres where it is known; then no scene is drawn.
    motion: `[T - 1, 2]`, (x, y) pixels by which the picture moves from frame
      t to t + 1; None estimates it from the clip by phase correlation.

  Returns:
    The pair (hazy clip, card); the card holds what was drawn, in the units
    above, and the least, mean and greatest transmission t.

  Raises:
    ValueError: a range outside what it may hold, or arrays whose shapes do
      not fit the clip.
  """
  check_rank("haze.scattering", clip, "THWC")
  clip = np.asarray(clip, np.float32)
  strength = ranges.uniform("beta", beta, rng, 0.0)
  light = ranges.uniform("airlight", airlight, rng, 0.0, 1.0)
  spread = ranges.uniform("tint", tint, rng, 0.0)
  colour = light + spread * rng.standard_normal(clip.shape[-1])
  colour = np.clip(colour, 0.0, 1.0)
  card = {"beta_per_m": strength, "airlight": colour.tolist()}
  if depth is None:
    if motion is None:
      motion = estimate_motion(clip)
    motion = _numbers("motion", motion, "pixels [T - 1, 2]")
    if motion.shape != (len(clip) - 1, 2):
      raise ValueError(
          f"motion needs one (x, y) for each step, [{len(clip) - 1}, 2], but"
          f" has shape {motion.shape}."
      )
    nearest = ranges.uniform("near", near, rng, 1e-3)
    farthest = max(ranges.uniform("far", far, rng, 1e-3), nearest)
    count = ranges.whole("structures", structures, rng, 0)
    card |= {
        "near_m": nearest,
        "far_m": farthest,
        "structures": count,
        "motion_px": motion.tolist(),
    }
    depth = _scene(rng, clip.shape[:3], nearest, farthest, count, motion)
  depth = _numbers("depth", depth, "metres [T, H, W]").astype(np.float32)
  if depth.shape != clip.shape[:3]:
    raise ValueError(
        f"depth needs the clip's shape {clip.shape[:3]}, but has"
        f" {depth.shape}."
    )
  transmission = np.exp(-np.float32(strength) * depth)
  card |= {
      f"transmission_{name}": float(getattr(transmission, name)())
      for name in ("min", "mean", "max")
  }
  colour = colour.astype(np.float32)
  hazy = colour + (clip - colour) * transmission[..., None]
  return hazy, card


def _numbers(name, value, what):
  """`value` as float64; ValueError where it is no array of numbers."""
  try:
    return np.asarray(value, np.float64)
  except (TypeError, ValueError):
    raise ValueError(
        f"{name} needs to be an array of {what}, but is"
        f" {type(value).__name__} {value!r:.80}."
    ) from None


def estimate_motion(clip):
  """The global translation between frames, by phase correlation.

  Kuglin and Hines, 1975: two frames that differ by a shift have spectra that
  differ by a phase, whose inverse transform is a peak at the shift. Where
  parts of the picture move differently, the largest part decides.

  Args:
    clip: `[T, H, W, C]`.

  Returns:
    `[T - 1, 2]`, float64: (x, y) pixels by which the picture moves from frame
    t to t + 1, at most a quarter of the frame.
  """
  _, height, width, _ = clip.shape
  # As a product, which is ten times faster than the mean of a short axis.
  luma = clip @ np.full(clip.shape[-1], 1 / clip.shape[-1], np.float32)
  luma = luma - luma.mean((1, 2), keepdims=True)
  # The frame's border is no part of the picture.
  window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
  spectrum = np.fft.rfft2(luma * window.astype(np.float32))
  cross = spectrum[1:] * spectrum[:-1].conj()
  # Not quite white, so that frequencies without content stay without say.
  size = np.abs(cross)
  cross /= size + 1e-3 * size.mean((1, 2), keepdims=True) + 1e-20
  peaks = np.fft.irfft2(cross, (height, width))
  result = np.zeros((len(clip) - 1, 2))
  for step, plane in enumerate(peaks):
    allowed = plane.copy()
    allowed[height // 4 + 1 : height - height // 4] = -np.inf
    allowed[:, width // 4 + 1 : width - width // 4] = -np.inf
    y, x = np.unravel_index(np.argmax(allowed), plane.shape)
    result[step] = _refine(plane[y], x), _refine(plane[:, x], y)
  return result


def _refine(line, peak):
  """Where between samples a periodic line peaks, as a signed distance."""
  below, top, above = line.take([peak - 1, peak, peak + 1], mode="wrap")
  bend = below - 2 * top + above
  vertex = 0.5 * (below - above) / bend if bend < 0 else 0.0
  return peak + vertex - (len(line) if peak > len(line) // 2 else 0)


def _scene(rng, shape, near, far, count, motion):
  """Depth of a random scene, moving with the picture.

  Args:
    rng: a NumPy generator.
    shape: (T, H, W).
    near, far: metres.
    count: things in front of the floor and the wall.
    motion: `[T - 1, 2]`, (x, y) pixels.

  Returns:
    `[T, H, W]`, float32, metres, within near .. far.
  """
  _, height, width = shape
  # Frame t shows the canvas from this corner on.
  corner = -np.concatenate([np.zeros((1, 2)), np.cumsum(motion, 0)])
  corner -= corner.min(0) - 2  # Two pixels of room for the interpolation.
  rows, columns = (
      int(np.ceil(corner[:, axis].max())) + size + 2
      for axis, size in ((1, height), (0, width))
  )
  # A patch shows a part of a scene: 1 is a scene's width.
  unit = rng.uniform(1.0, 4.0) * max(height, width)
  x0, y0 = rng.uniform(-0.5, 0.5, 2) * (1 - max(height, width) / unit)
  x = (np.arange(columns, dtype=np.float32) - columns / 2) / unit + x0
  y = ((np.arange(rows, dtype=np.float32) - rows / 2) / unit + y0)[:, None]

  def plane(inverse, slope):
    """Inverse depth with some value at the origin and some tilt, 1 / unit."""
    return inverse * (1 + slope[0] * x + slope[1] * y)

  wall = plane(1 / far, rng.normal(0, 0.5, 2))
  # The floor meets the wall at some height and comes near at the bottom.
  horizon = rng.uniform(-0.1, 0.4)
  floor = (y - horizon) / (0.5 - horizon) / near + 0 * x
  scene = np.maximum(wall, floor)
  for _ in range(count):
    inverse = np.exp(rng.uniform(np.log(1 / far), np.log(1 / near)))
    middle = rng.uniform(-0.5, 0.5, 2)
    angle = rng.uniform(0, np.pi)
    # Nearer things look larger.
    half = rng.uniform(0.03, 0.25, 2) * (1 + inverse * near)
    along = (x - middle[0]) * np.cos(angle) + (y - middle[1]) * np.sin(angle)
    over = (y - middle[1]) * np.cos(angle) - (x - middle[0]) * np.sin(angle)
    along, over = np.square(along / half[0]), np.square(over / half[1])
    if rng.random() < 0.5:  # A box with round corners instead of an ellipse.
      along, over = np.square(np.square(along)), np.square(np.square(over))
    inside = along + over < 1
    thing = plane(inverse, rng.normal(0, 0.7, 2))
    scene = np.where(inside, np.maximum(scene, thing), scene)
  relief = fields.smooth(rows, columns, 0.1 * unit, rng)
  scene = np.clip(scene * np.exp(0.1 * relief), 1 / far, 1 / near)
  inverse = np.stack([
      fields.sample(scene, height, width, 1.0, at) for at in corner
  ])
  # The interpolation overshoots at edges.
  return 1 / np.clip(inverse, 1 / far, 1 / near)
