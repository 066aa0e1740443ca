"""Textures for procedural clips: pages of noise, leaves, gratings, writing.

They are painted once per source (`data/procedural.py`), which then crops,
recolours and resamples them. Noise with an amplitude of 1 / f^a and whole
dead-leaves pictures (Lee, Mumford and Huang, IJCV 2001) have the statistics
of photographs; gratings and writing are what denoisers blur first.
"""

import numpy as np
from PIL import Image, ImageDraw

_TEXTURES = 48  # Painted at 256x256; larger pages are fewer, to start fast.
# Rows: luminance, red-green and blue-yellow, in RGB. Natural images vary most
# along grey and least along the opponent axes (Ruderman et al., JOSA A 1998).
_OPPONENT = np.array([[1, 1, 1], [0.7, -0.7, 0.1], [0.35, 0.35, -1.0]])


def paint_atlas(rng, page: int) -> list[Image.Image]:
  """RGB textures of `page` x `page` pixels, mean near 128 in each channel."""
  count = max(_TEXTURES * 256 * 256 // (page * page), 12)
  painters = (_noise, _leaves, _leaves, _noise, _grating, _leaves, _noise,
              _writing)
  return [painters[i % len(painters)](rng, page) for i in range(count)]


def _spectrum(rng, page, slope, *, stretch=1.0, angle=0.0):
  """Periodic Gaussian noise `[page, page]` with amplitude ~ f^-slope."""
  y, x = np.meshgrid(
      np.fft.fftfreq(page), np.fft.rfftfreq(page), indexing="ij"
  )
  u = (np.cos(angle) * x + np.sin(angle) * y) * stretch
  v = np.cos(angle) * y - np.sin(angle) * x
  frequency = np.maximum(np.hypot(u, v), 1 / page)
  # float32 halves the cost, and eight bits are kept of it.
  phase = rng.standard_normal((2, *x.shape), dtype=np.float32)
  amplitude = (frequency**-slope).astype(np.float32)
  amplitude[0, 0] = 0.0
  field = np.fft.irfft2((phase[0] + 1j * phase[1]) * amplitude, (page, page))
  return (field / field.std()).astype(np.float32)


def _coloured(rng, luminance, slope):
  """Adds opponent-colour noise to a luminance field of unit deviation."""
  page = len(luminance)
  strength = rng.uniform(0.05, 0.4)
  red_green = strength * _spectrum(rng, page, slope)
  blue_yellow = 1.5 * strength * _spectrum(rng, page, slope)
  image = np.stack([luminance, red_green, blue_yellow], -1)
  image = 128 + 42 * (image @ _OPPONENT.astype(np.float32))
  return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def _noise(rng, page):
  """1/f^a noise: plain, ridged like bark, or stretched like grass and hair."""
  slope = rng.uniform(0.7, 1.7)
  kind = rng.random()
  stretch = np.exp(rng.uniform(0, 1.6)) if kind < 0.4 else 1.0
  angle = rng.uniform(0, np.pi)
  field = _spectrum(rng, page, slope, stretch=stretch, angle=angle)
  if 0.4 <= kind < 0.6:
    field = np.abs(field)
    field = (field - field.mean()) / field.std()
  return _coloured(rng, field, slope + 0.3)


def _leaves(rng, page):
  """A whole dead-leaves picture, so that layers carry edges of all scales."""
  fine = 2 * page
  image = Image.new("RGB", (fine, fine), (128, 128, 128))
  draw = ImageDraw.Draw(image)
  count = 1500 * page * page // (256 * 256)
  low, high = rng.uniform(1.5, 6.0), fine / 6
  # Density ~ r^-3: every scale covers the same area (Lee et al., section 3).
  uniform = rng.random(count)
  radii = (low**-2 + uniform * (high**-2 - low**-2)) ** -0.5
  colours = np.stack([surface_colour(rng) for _ in range(64)])
  colours = np.clip((colours - 128) * 0.9 + 128, 0, 255).astype(int)
  centres = rng.uniform(0, fine, (count, 2))
  aspects = np.exp(-rng.exponential(0.4, count))
  angles = rng.uniform(0, 2 * np.pi, count)
  sides = rng.choice([3, 4, 5, 7, 16, 16], count)
  picks = rng.integers(0, len(colours), count)
  for i in range(count):
    turn = 2 * np.pi * np.arange(sides[i]) / sides[i]
    x = radii[i] * np.cos(turn)
    y = radii[i] * aspects[i] * np.sin(turn)
    cos, sin = np.cos(angles[i]), np.sin(angles[i])
    outline = np.stack([cos * x - sin * y, sin * x + cos * y], -1) + centres[i]
    draw.polygon(
        outline.ravel().tolist(), fill=tuple(colours[picks[i]].tolist())
    )
  image = np.asarray(image.reduce(2), np.float32)
  grain = _spectrum(rng, page, rng.uniform(0.6, 1.4))[..., None]
  image = image * (1 + rng.uniform(0.02, 0.2) * grain)
  return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def _grating(rng, page):
  """Stripes, checks and weaves, slightly bent, with soft or hard edges."""
  y, x = np.mgrid[:page, :page].astype(np.float32)
  bend = 3 * _spectrum(rng, page, 2.0)
  angle = rng.uniform(0, np.pi)
  period = np.exp(rng.uniform(np.log(3.5), np.log(24)))
  u = 2 * np.pi / period * (np.cos(angle) * x + np.sin(angle) * y + bend)
  v = 2 * np.pi / period * (np.cos(angle) * y - np.sin(angle) * x + bend)
  field = np.sin(u)
  if rng.random() < 0.5:
    field = field * np.sin(v)
  hardness = rng.choice([1.0, 3.0, 8.0])
  field = np.tanh(hardness * field)
  field = field + rng.uniform(0.1, 0.5) * _spectrum(rng, page, 1.0)
  return _coloured(rng, (field / field.std()).astype(np.float32), 1.4)


def _writing(rng, page):
  """Lines of random glyphs: thin strokes of high contrast."""
  fine = 2 * page
  image = Image.new("L", (fine, fine), int(rng.integers(170, 256)))
  draw = ImageDraw.Draw(image)
  top = 0
  while top < fine:
    height = int(rng.integers(12, 40))
    left = 0
    ink = int(rng.integers(0, 90))
    stroke = max(2, round(height * rng.uniform(0.08, 0.16)))
    while left < fine:
      advance = int(height * rng.uniform(0.4, 0.75))
      if rng.random() > 0.15:  # Else a space.
        for _ in range(int(rng.integers(2, 4))):
          ends = rng.random((2, 2)) * np.array([advance, height]) * 0.8
          ends += np.array([left, top])
          draw.line(ends.ravel().tolist(), fill=ink, width=stroke)
      left += advance
    top += round(1.4 * height)
  page_image = np.asarray(image.reduce(2), np.float32)
  field = (page_image - page_image.mean()) / page_image.std()
  field = field + rng.uniform(0, 0.2) * _spectrum(rng, page, 1.2)
  return _coloured(rng, field, 1.4)


def surface_colour(rng):
  """A surface's mean colour `[3]` in 8-bit units: mostly muted."""
  luminance = 255 * rng.beta(1.4, 1.7)
  spread = 0.35 * min(luminance, 255 - luminance) + 6
  chroma = rng.laplace(0, spread * np.array([0.35, 0.5]))
  return np.clip(luminance + chroma @ _OPPONENT[1:], 4, 251)
