"""Rain: streaks that fall through the frames of a clip, and their veil.

The model is a volume of drops in front of the camera (Garg and Nayar, Vision
and Rain, IJCV 2007). A drop at distance z, in units of the nearest one, looks
1 / z as wide and moves 1 / z as far from frame to frame as a drop at distance
1, and while the shutter is open it draws a streak of 1 / z the length. Drops
fill the volume evenly, so that the number at distance z grows as z squared:
near streaks are long, wide, fast and few, far ones short, fine and many. Each
keeps its velocity, so a clip's streaks are those of the frame before, moved,
and new ones that come into view.

A streak covers a share `a` of a pixel and shines with radiance L:

  I = J + max(a * L - occlusion * a * J, 0)

Drops collect the light of a wide field of view and so are brighter than what
they hide: rain never darkens. `occlusion` 0 adds light (RainSynLight25:
streaks are added to the frame), 1 replaces the scene (opaque streaks). The
far rain that is too fine to see as streaks is the veil, a thin fog:

  I = J * (1 - veil) + A * veil
"""

import dataclasses

import numpy as np

from vidrestore_jax.degradations import fields, ranges
from vidrestore_jax.shapes import check_rank

# Arguments of `streaks` whose rain looks like that of the public sets. The
# mean PSNR of rainy frames, on a DAVIS clip (drift-chicane) and on the first
# clip of NTU-Rain, says how strong each is.
PRESETS = {
    # RainSynLight25 (Liu et al., Erase or Fill?, CVPR 2018): sparse, added
    # light. Its streaks are unrelated from frame to frame, which is what a
    # short exposure gives: a drop has left before the next frame. 25, 24 dB.
    "light": {
        "density": (20.0, 60.0),
        "direction": (-30.0, 30.0),
        "length": (25.0, 80.0),
        "width": (2.0, 5.0),
        "depth": (2.0, 4.0),
        "exposure": (0.05, 0.3),
        "opacity": (0.4, 0.9),
        "brightness": (0.8, 1.0),
        "occlusion": (0.0, 0.5),
    },
    # RainSynComplex25, of the same paper: dense, sharp, opaque. 17, 12 dB.
    "complex": {
        "density": (100.0, 250.0),
        "direction": (-40.0, 40.0),
        "length": (30.0, 120.0),
        "width": (2.5, 6.0),
        "depth": (2.0, 3.5),
        "exposure": (0.05, 0.3),
        "opacity": (0.8, 1.0),
        "brightness": (0.7, 1.0),
        "occlusion": (0.5, 1.0),
    },
    # RainSynAll100 (Yang et al., Frame-Consistent Recurrent Video Deraining,
    # CVPR 2019): streaks, accumulation and occlusion. 22, 18 dB.
    "all": {
        "density": (20.0, 150.0),
        "direction": (-40.0, 40.0),
        "length": (30.0, 120.0),
        "width": (1.5, 5.0),
        "depth": (2.0, 8.0),
        "exposure": (0.05, 1.0),
        "opacity": (0.4, 1.0),
        "occlusion": (0.0, 1.0),
        "veil": (0.1, 0.5),
    },
    # NTU-Rain (Chen et al., Robust Video Content Alignment and Compensation
    # for Rain Removal, CVPR 2018): drops that fall through the frames, made
    # in After Effects with an open shutter. Around what fits the streaks of
    # its first clip in contrast, coverage, length, width and motion (density
    # 35, length 100, width 4.5, depth 8, exposure 1, opacity 0.8, brightness
    # 0.9, occlusion 1). 31, 26 dB; the clip itself has 28.
    "ntu": {
        "density": (20.0, 60.0),
        "direction": (-10.0, 10.0),
        "spread": (0.5, 2.5),
        "length": (70.0, 130.0),
        "width": (3.5, 6.0),
        "depth": (6.0, 9.0),
        "exposure": (0.7, 1.0),
        "opacity": (0.7, 1.0),
        "brightness": (0.8, 1.0),
        "occlusion": (0.6, 1.0),
        "blur": (1.0, 1.4),
    },
}

_MAX_DIRECTION = 60.0  # Degrees: streaks are drawn row by row.


def streaks(
    rng,
    clip,
    *,
    density: tuple[float, float] = (10.0, 120.0),
    direction: tuple[float, float] = (-15.0, 15.0),
    spread: tuple[float, float] = (0.5, 3.0),
    length: tuple[float, float] = (30.0, 120.0),
    width: tuple[float, float] = (2.0, 6.0),
    size: tuple[float, float] = (0.5, 1.5),
    depth: tuple[float, float] = (2.0, 8.0),
    exposure: tuple[float, float] = (0.4, 1.0),
    opacity: tuple[float, float] = (0.4, 1.0),
    brightness: tuple[float, float] = (0.7, 1.0),
    occlusion: tuple[float, float] = (0.0, 1.0),
    blur: tuple[float, float] = (1.0, 1.6),
    veil: tuple[float, float] = (0.0, 0.0),
):
  """Rain over a clip; each range is drawn from once per clip, uniformly.

  Args:
    rng: a NumPy generator.
    clip: `[T, H, W, C]` in [0, 1], float32.
    density: streaks per 10,000 pixels of a frame, of all distances.
    direction: from straight down, degrees; positive falls to the right.
    spread: standard deviation of single drops around it, degrees.
    length: of the nearest streaks, pixels.
    width: of the nearest streaks, pixels.
    size: of single drops, as factors of that width; wider ones fall faster,
      as the square root, and so are longer.
    depth: distance of the farthest drops in units of the nearest ones.
    exposure: how much of the time between frames the shutter is open; a drop
      moves by its streak's length / exposure from frame to frame.
    opacity: share of a pixel's light that a streak covering it replaces.
    brightness: radiance of the streaks, [0, 1] units.
    occlusion: 0 adds the streaks' light, 1 hides what is behind.
    blur: side of the box, in pixels, that the optics spread a point over; 1
      is a pixel's own area.
    veil: share of the light that the far rain replaces; see the module.

  Returns:
    The pair (rainy clip, card); the card holds what was drawn, in the units
    above, and `streaks`, how many there are at a time in and around a frame.

  Raises:
    ValueError: a range outside what it may hold.
  """
  check_rank("rain.streaks", clip, "THWC")
  card = {
      "density_per_10000_px": ranges.uniform("density", density, rng, 0.0),
      "direction_degrees": ranges.uniform(
          "direction", direction, rng, -_MAX_DIRECTION, _MAX_DIRECTION
      ),
      "spread_degrees": ranges.uniform("spread", spread, rng, 0.0, 30.0),
      "length_px": ranges.uniform("length", length, rng, 0.0),
      "width_px": ranges.uniform("width", width, rng, 0.0),
      "depth": ranges.uniform("depth", depth, rng, 1.0),
      "exposure": ranges.uniform("exposure", exposure, rng, 0.01, 1.0),
      "opacity": ranges.uniform("opacity", opacity, rng, 0.0, 1.0),
      "brightness": ranges.uniform("brightness", brightness, rng, 0.0, 1.0),
      "occlusion": ranges.uniform("occlusion", occlusion, rng, 0.0, 1.0),
      "blur_px": ranges.uniform("blur", blur, rng, 1.0),
      "veil": ranges.uniform("veil", veil, rng, 0.0, 1.0),
  }
  card["size"] = list(ranges.check("size", size, 0.0))
  cover, light = _layer(rng, clip.shape[:3], card)
  clip = np.asarray(clip, np.float32)
  added = light[..., None] - card["occlusion"] * cover[..., None] * clip
  rainy = clip + np.maximum(added, 0)
  if card["veil"]:
    rainy += _veil(rng, clip.shape, card)[..., None] * (
        card["brightness"] - rainy
    )
  return np.clip(rainy, 0.0, 1.0, out=rainy), card


def _layer(rng, shape, card):
  """Draws all streaks of a clip.

  Args:
    rng: a NumPy generator.
    shape: (T, H, W).
    card: see `streaks`; gets the entry `streaks`.

  Returns:
    The pair, float32 `[T, H, W]`: share of each pixel that streaks cover,
    and the light they bring.
  """
  frames, rows, columns = shape
  # When its centre is this far outside the frame, a streak is out of sight.
  largest = max(card["size"][1], 1.0)
  margin = largest * (0.5 * card["length_px"] + card["width_px"])
  margin += card["blur_px"] + 1
  region = np.array([columns, rows]) + 2 * margin
  count = rng.poisson(card["density_per_10000_px"] * 1e-4 * region.prod())
  card["streaks"] = int(count)

  # z has the density z**2 on 1 .. depth: the inverse of its distribution.
  z = np.cbrt(1 + rng.random(count) * (card["depth"] ** 3 - 1))
  size = rng.uniform(*card["size"], count)
  width = card["width_px"] * size / z
  length = card["length_px"] * np.sqrt(size) / z
  opacity = card["opacity"] * (0.1 + 0.9 * rng.random(count) ** 2)
  radiance = card["brightness"] * rng.uniform(0.85, 1.0, count)
  ends = rng.uniform(0.05, 0.5, count)  # Share of the length that fades.
  angle = np.radians(
      card["direction_degrees"]
      + card["spread_degrees"] * rng.standard_normal(count)
  )
  angle = np.clip(angle, -np.pi / 2.4, np.pi / 2.4)  # None lies flat.
  heading = np.stack([np.sin(angle), np.cos(angle)], -1)  # (x, y)
  velocity = (length / card["exposure"])[:, None] * heading

  # Positions wrap around a region that is larger than the frame by more than
  # half a streak, so that they do it out of sight; a drop that comes back is
  # a new one, and so gets a new place.
  where = rng.random((count, 2)) * region
  time = np.arange(frames)[:, None, None]
  path = where + velocity * time  # [T, N, 2]
  turn = np.floor(path[..., 1] / region[1]).astype(int)
  first = turn.min(initial=0)
  jumps = rng.random((turn.max(initial=0) - first + 1, count))
  path[..., 0] += jumps[turn - first, np.arange(count)] * region[0]
  centre = path % region - margin

  each = np.broadcast_to(np.arange(count), (frames, count))
  frame = np.broadcast_to(time[..., 0], (frames, count))
  half = np.abs(length[:, None] * heading) / 2
  half += (width[:, None] + card["blur_px"]) / 2 + 1
  seen = (
      (centre + half > 0) & (centre - half < [columns, rows])
  ).all(-1)
  drop = each[seen]
  lines = _lines(
      centre[seen], heading[drop], length[drop], width[drop], ends[drop],
      card["blur_px"], rows,
  )
  lines.amount *= opacity[drop][lines.streak]
  cover, light = _paint(
      lines, frame[seen][lines.streak], radiance[drop][lines.streak], shape
  )
  # Streaks that cross cover no more than everything.
  scale = 1 / np.maximum(cover, 1)
  return (cover * scale).astype(np.float32), (light * scale).astype(np.float32)


@dataclasses.dataclass
class _Lines:
  """Streaks cut into rows of the frame; one entry per row of each streak.

  Attributes:
    streak: which streak it is of.
    row: of the frame.
    middle: where the streak's axis crosses the row's centre, pixels.
    slope: by how much the covered share grows per pixel towards it.
    peak: the share at which that ends, as a triangle's would at the axis.
    limit: greatest share, where the streak is wider than the optics' box.
    amount: factor on the share, from the fading ends.
  """

  streak: np.ndarray
  row: np.ndarray
  middle: np.ndarray
  slope: np.ndarray
  peak: np.ndarray
  limit: np.ndarray
  amount: np.ndarray


def _lines(centre, heading, length, width, ends, blur, rows):
  """Cuts streaks into rows.

  A streak is a bar with fading ends; a pixel's share of it is the overlap,
  across the streak, of the bar and the optics' box around the pixel.

  Args:
    centre: `[M, 2]` (x, y), pixels, continuous: pixel j covers j .. j + 1.
    heading: `[M, 2]`, unit vectors (x, y).
    length, width: `[M]`, pixels.
    ends: `[M]`, share of half the length that fades.
    blur: side of the box, pixels.
    rows: of the frame.
  """
  sine, cosine = heading.T
  half = length / 2 + 0.5
  reach = half * cosine
  top = np.clip(np.floor(centre[:, 1] - reach), 0, rows).astype(int)
  bottom = np.clip(np.ceil(centre[:, 1] + reach), 0, rows).astype(int)
  streak, row = _spans(top, bottom)
  y = row + 0.5 - centre[streak, 1]
  along = np.abs(y) / cosine[streak]
  fade = np.maximum(ends * half, 1.0)[streak]
  return _Lines(
      streak=streak,
      row=row,
      middle=centre[streak, 0] + y * (sine / cosine)[streak],
      slope=(cosine / blur)[streak],
      peak=((width / blur + 1) / 2)[streak],
      limit=np.minimum(width / blur, 1)[streak],
      amount=np.clip((half[streak] - along) / fade, 0, 1),
  )


def _paint(lines, frame, radiance, shape):
  """Adds lines up to what they cover and the light that they bring.

  Args:
    lines: `_Lines`.
    frame, radiance: of each line.
    shape: (T, H, W).

  Returns:
    The pair, `[T, H, W]` both, not limited to 1.
  """
  frames, rows, columns = shape
  reach = lines.peak / lines.slope
  taps = np.ceil(2 * reach).astype(int) + 1
  most = int(taps.max(initial=1))
  # Room on both sides takes what lies outside, so that nothing is masked.
  stride = columns + 2 * most
  left = np.floor(lines.middle - reach)
  sums = np.zeros((2, frames * rows * stride))
  near = (left > -most) & (left < columns)
  # Wide lines apart from narrow ones, which are the most by far.
  for low, high in ((0, 4), (4, 8), (8, most)):
    chosen = np.flatnonzero(near & (taps > low) & (taps <= high))
    if not chosen.size:
      continue
    tap = np.arange(min(high, most))
    first = left[chosen]
    start = (frame[chosen] * rows + lines.row[chosen]) * stride
    start += first.astype(int) + most
    # float32 from here on: these are the arrays that take the time.
    offset, slope, peak, limit, amount, shine = (
        value[:, None].astype(np.float32)
        for value in (
            first + 0.5 - lines.middle[chosen], lines.slope[chosen],
            lines.peak[chosen], lines.limit[chosen], lines.amount[chosen],
            radiance[chosen],
        )
    )
    share = np.abs(offset + tap.astype(np.float32))
    share *= -slope
    share += peak
    np.clip(share, 0, limit, out=share)
    share *= amount
    pixel = (start[:, None] + tap).ravel()
    for total, weight in zip(sums, (share, share * shine)):
      total += np.bincount(pixel, weight.ravel(), total.size)
  return sums.reshape(2, frames, rows, stride)[..., most : most + columns]


def _spans(start, stop):
  """All integers of the intervals start .. stop - 1, with whose they are."""
  count = np.maximum(stop - start, 0)
  whose = np.repeat(np.arange(len(count)), count)
  before = np.cumsum(count) - count
  return whose, np.arange(len(whose)) - before[whose] + start[whose]


def _veil(rng, shape, card):
  """The veil's share `[T, H, W]`: slow billows that drift with the rain."""
  frames, height, width = shape[:3]
  cell = 0.4 * max(height, width)
  angle = np.radians(card["direction_degrees"])
  # Far rain moves as the farthest drops do.
  speed = card["length_px"] / card["exposure"] / card["depth"]
  drift = speed * np.array([np.sin(angle), np.cos(angle)])
  room = np.ceil(np.abs(drift) * frames).astype(int) + 2
  field = fields.smooth(height + room[1], width + room[0], cell, rng)
  start = np.where(drift > 0, room - 1, 1)  # Scrolls without leaving it.
  billows = np.stack([
      fields.sample(field, height, width, 1.0, start - t * drift)
      for t in range(frames)
  ])
  return np.clip(card["veil"] * (1 + 0.3 * billows), 0, 1)
