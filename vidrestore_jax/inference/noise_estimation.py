"""How strong the noise of frames is, judged from the frames themselves.

What is white keeps its strength in every coefficient of an orthonormal 8x8 DCT,
while pictures fade towards high frequencies. So blocks are ranked by their low
frequencies and, where those say "flat", the noise is read from the high ones;
for white noise the two are independent, so the choice does not bias the result
(Ponomarenko et al., "An automatic approach to lossy compression of AVIRIS
images", IGARSS 2007; Colom and Buades, IPOL 2013, DOI 10.5201/ipol.2013.45).
Blocks of the difference to the frame before compete with those of the frame:
where nothing moves they hold no texture.

Two models are fitted to the noise before clipping, of a pixel whose clean value
is x: Gaussian, of one `sigma`, and signal-dependent, with the variance
gain x + offset (Foi et al., "Practical Poissonian-Gaussian noise modeling and
fitting for single-image raw-data", IEEE TIP 2008). Files hold values clipped to
[0, 1], which takes variance from whatever lies within some sigma of black and
white. Each block is therefore held against the variance that the model leaves
there after clipping, and blocks that keep too little of it have no say.

Most videos hold colour at half the resolution (4:2:0), where its noise fades
towards high frequencies as pictures do. A denoiser must then be told the level
of white noise that is as strong at low frequencies: if white noise was there
before colour was halved, its level. So the noise of colour differences is read
again from means of 2x2 pixels, of which white noise keeps half its deviation
and such noise nearly all; where that finds more, it counts. (The channels' mean
variance is a third of the sum over any orthonormal axes of colour.)

Levels are standard deviations in [0, 1] units, of each channel; all channels
are taken to be equally noisy. Else the noise is taken to be white: what a codec
or a scaler has smoothed measures weaker than it looks.
"""

import collections
import functools
import math
from typing import NamedTuple

import numpy as np

from vidrestore_jax.shapes import check_rank

BLOCK = 8
_LOW, _HIGH = 4, 8  # Frequencies of the sums i + j: 1 .. _LOW, _HIGH .. 14.
_MOST = 8192  # Blocks looked at; more add time and little certainty.
# A block is flat whose low frequencies hold at most so much more than noise...
_FLAT = 1.1
# ...and at least so many, and such a share of all, are always taken.
_LEAST, _SHARE = 32, 0.02
# Of its variance, what clipping must leave a block that is looked at.
_KEPT = 0.6
_STEPS, _TOLERANCE = 24, 1e-3
# Before the slope over intensities is known, the flattest of each of so many
# intervals are taken, for so many steps.
_INTERVALS, _FIRST_STEPS = 12, 4
_CLEAN = np.linspace(0.0, 1.0, 65)  # Clean values at which clipping is known.
# A difference far below the frame itself says that frames are repeated, or that
# a codec copied their noise.
_REPEATED = 0.7
# By so much must the variance of colour's noise in means exceed that in pixels
# to be counted: of white noise the two differ by less, by chance.
_COLOURED = 1.3
_EVEN = 0.05  # Share of its blocks that must then be flat.
_SMOOTHED = 8  # Frames that `NoiseTracker` averages over...
_JUMP = 1.25  # ...unless the level changes by this factor.


class NoiseEstimate(NamedTuple):
  """The noise of a frame before clipping, in [0, 1] units.

  Attributes:
    sigma: standard deviation of the Gaussian model.
    gain: what the variance grows by from black to white, at least 0.
    offset: the variance at black, at least 0.
  """

  sigma: float
  gain: float
  offset: float

  def level(self, intensity):
    """The signal-dependent standard deviation at clean values in [0, 1]."""
    intensity = np.clip(intensity, 0.0, 1.0)
    return np.sqrt(self.gain * intensity + self.offset)

  def noise_map(self, frame) -> np.ndarray:
    """The signal-dependent noise map of a noisy frame.

    A pixel's clean value is taken from the mean of 9x9 pixels around it, all
    channels together.

    Args:
      frame: `[H, W, C]` in [0, 1].

    Returns:
      `[H, W, 1]` float32 standard deviations.
    """
    check_rank("A frame", frame, "HWC")
    mean = np.asarray(frame, np.float32).mean(-1)
    for axis in (0, 1):
      mean = _box(mean, axis, 4)
    return self.level(mean)[..., None].astype(np.float32)


def estimate(frame, previous=None) -> NoiseEstimate:
  """Estimates the noise of one frame.

  Args:
    frame: `[H, W, C]` in [0, 1], at least 8x8.
    previous: the frame before it, of the same scene and shape: helps where
      little moves, which matters in textured scenes. None: the frame alone.

  Returns:
    The estimate, all zero for a frame without any noise, such as a flat one.

  Raises:
    ValueError: frames too small, of other shapes, or not finite.
  """
  frame = _checked("The frame", frame)
  blocks = _cut(frame)
  evidence = _evidence(blocks)
  sigma2 = _gaussian(evidence)
  missing = _missing(frame)
  if previous is not None:
    previous = _checked("The frame before", previous)
    if previous.shape != frame.shape:
      raise ValueError(
          f"Noise is estimated from frames of one shape, but got {frame.shape}"
          f" after {previous.shape}."
      )
    before = _cut(previous)
    difference = _evidence((blocks - before) / math.sqrt(2))
    difference = difference._replace(
        mean=(evidence.mean + before.mean((-2, -1))) / 2
    )
    if _gaussian(difference) >= _REPEATED**2 * sigma2:
      if missing:
        missing = min(missing, _missing((frame - previous) / math.sqrt(2)))
      both = _Evidence(*map(np.concatenate, zip(evidence, difference)))
      both2 = _gaussian(both)
      if both2 < sigma2:  # Texture and motion only ever add.
        evidence, sigma2 = both, both2
  gain, offset = _affine(evidence, sigma2)
  if missing:
    share = missing / (gain * float(frame.mean()) + offset or 1.0)
    gain, offset = gain * (1 + share), offset * (1 + share)
  return NoiseEstimate(math.sqrt(sigma2 + missing), gain, offset)


class NoiseTracker:
  """Estimates of frames that follow one another, steadied over time.

  Called with each frame in turn; variances are averaged over the last frames,
  so that strength does not flicker, and start anew where the level jumps and
  after `reset`, which is for cuts.
  """

  def __init__(self):
    self.reset()

  def reset(self):
    """Forgets the frames so far: the next one begins a scene."""
    self._previous = None
    self._recent = collections.deque(maxlen=_SMOOTHED)

  @property
  def recent(self) -> tuple[NoiseEstimate, ...]:
    """All that is carried to the next frame, beside the last one itself."""
    return tuple(self._recent)

  def go_on(self, frame, recent):
    """Goes on as another tracker would after its last frame.

    Args:
      frame: that frame, `[H, W, C]` in [0, 1].
      recent: of that tracker.
    """
    self.reset()
    self._previous = np.asarray(frame, np.float32)
    self._recent.extend(recent)

  def __call__(self, frame) -> NoiseEstimate:
    """The estimate for `frame` `[H, W, C]` in [0, 1]; see `estimate`."""
    frame = np.asarray(frame, np.float32)
    same = self._previous is not None and self._previous.shape == frame.shape
    new = estimate(frame, self._previous if same else None)
    self._previous = frame
    if self._recent:
      before = math.sqrt(np.mean([e.sigma**2 for e in self._recent]))
      low, high = sorted((before, new.sigma))
      if high > _JUMP * low:  # Then the difference lies between the two.
        new = estimate(frame)
        self._recent.clear()
    self._recent.append(new)
    sigmas, gains, offsets = map(np.array, zip(*self._recent))
    return NoiseEstimate(
        float(np.sqrt((sigmas**2).mean())),
        float(gains.mean()),
        float(offsets.mean()),
    )


def with_strength(frame, restored, strength: float):
  """Takes only a part of what a model removed.

  Args:
    frame: what was restored, any shape.
    restored: what it became, of the same shape.
    strength: 0 gives `frame` itself, 1 gives `restored`, in between the one is
      blended into the other.

  Returns:
    An array of that shape.

  Raises:
    ValueError: another strength, or shapes that differ.
  """
  check_strength(strength)
  if frame.shape != restored.shape:
    raise ValueError(
        "Strength blends frames of one size, but got"
        f" {tuple(restored.shape)} from {tuple(frame.shape)}."
    )
  if strength in (0.0, 1.0):  # Exactly, whatever the other holds.
    return restored if strength else frame
  return frame + strength * (restored - frame)


def check_strength(strength: float, scale: int = 1):
  """ValueError unless `with_strength` takes it, of a model of that scale."""
  if not 0.0 <= strength <= 1.0:
    raise ValueError(
        "The strength lies between 0 (nothing is removed) and 1 (all that the"
        f" model finds), but got {strength}. To remove more, state a higher"
        " sigma."
    )
  if strength < 1.0 and scale > 1:
    raise ValueError(
        "A strength blends what a model made with what it was given, which is"
        f" {scale} times smaller here: a model that enlarges takes none."
    )


def plot(path, estimates, times=None):
  """Draws estimates over time as PNG, in 8-bit units.

  Args:
    path: of the file.
    estimates: a `NoiseEstimate` or a sigma in [0, 1] units for each frame; a
      sigma of NaN leaves a gap.
    times: seconds, one for each frame; None numbers the frames.
  """
  # Matplotlib takes longer to import than most clips' first frame.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(8, 3), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.subplots()
  xs = range(len(estimates)) if times is None else times
  marker = "o" if len(estimates) == 1 else None
  if all(isinstance(e, NoiseEstimate) for e in estimates):
    axes.plot(
        xs, [255 * e.sigma for e in estimates], "k", label="sigma",
        marker=marker,
    )
    for name, x, style in (("dark", 0.1, "--"), ("bright", 0.9, ":")):
      axes.plot(
          xs,
          [255 * float(e.level(x)) for e in estimates],
          style,
          label=f"{name} (x = {x})",
          marker=marker,
      )
    axes.legend()
  else:
    axes.plot(xs, [255 * s for s in estimates], "k", marker=marker)
  axes.set_xlabel("frame" if times is None else "seconds")
  axes.set_ylabel("noise, 8-bit units")
  # From 0, which the margin is to count as well: noise hardly changes.
  axes.update_datalim([(0, 0)], updatex=False)
  axes.margins(y=0.2)
  axes.set_ylim(bottom=0)
  axes.grid(alpha=0.3)
  figure.savefig(path, format="png", dpi=100)


class _Evidence(NamedTuple):
  """What blocks say, each `[n]`.

  Attributes:
    mean: of a block.
    low: mean square of its low frequencies.
    high: mean square of its high ones.
  """

  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray


def _checked(what, frame):
  check_rank(what, frame, "HWC")
  # Limited range leaves room for noise beyond black and white, which the model
  # of clipping knows nothing of.
  frame = np.clip(np.asarray(frame, np.float32), 0.0, 1.0)
  if min(frame.shape[:2]) < BLOCK:
    raise ValueError(
        f"Noise is estimated from frames of at least {BLOCK}x{BLOCK} pixels,"
        f" but got {frame.shape[1]}x{frame.shape[0]}. State its sigma."
    )
  return frame


def _cut(frame):
  """Blocks of a frame, `[n, 8, 8]`, spread over it; the same ones each time."""
  height, width, channels = frame.shape
  rows, columns = height // BLOCK, width // BLOCK
  grid = frame[: rows * BLOCK, : columns * BLOCK].reshape(
      rows, BLOCK, columns, BLOCK, channels
  )
  count = min(rows * columns, _MOST // channels)
  chosen = np.random.default_rng(0).permutation(rows * columns)[:count]
  # Indices that a slice parts go to the front: [n, 8, 8, C].
  blocks = grid[chosen // columns, :, chosen % columns]
  return np.moveaxis(blocks, -1, 1).reshape(-1, BLOCK, BLOCK)


@functools.cache
def _basis():
  """The orthonormal DCT-II `[8, 8]`, and which frequencies are low and high."""
  k = np.arange(BLOCK)
  basis = np.cos(np.pi * (2 * k + 1) * k[:, None] / (2 * BLOCK))
  basis *= math.sqrt(2 / BLOCK)
  basis[0] /= math.sqrt(2)
  total = k + k[:, None]
  low = (total >= 1) & (total <= _LOW)
  return basis.astype(np.float32), low, total >= _HIGH


def _missing(frame) -> float:
  """What white noise lacks in variance to be as strong as RGB's in colour."""
  height, width, channels = frame.shape
  if channels != 3 or min(height, width) < 2 * BLOCK:
    return 0.0
  red, green, blue = np.moveaxis(frame, -1, 0)
  colours = np.stack([
      (red - blue) / math.sqrt(2), (red - 2 * green + blue) / math.sqrt(6)
  ], -1)
  even = colours[: height // 2 * 2, : width // 2 * 2]
  means = even.reshape(height // 2, 2, width // 2, 2, 2).mean((1, 3))
  # As if of mid-grey: what clipping takes of colour is not known from it alone.
  blocks = [
      evidence._replace(mean=np.full_like(evidence.mean, 0.5))
      for evidence in (_evidence(_cut(colours)), _evidence(_cut(2 * means)))
  ]
  fine, coarse = map(_gaussian, blocks)
  # Colourful texture has no flat blocks, noise alone has many.
  flat = (blocks[1].low < _FLAT * coarse).mean()
  if coarse < _COLOURED * fine or flat < _EVEN:
    return 0.0
  return 2 / 3 * (coarse - fine)


def _evidence(blocks):
  basis, low, high = _basis()
  square = np.square(basis @ blocks @ basis.T)
  return _Evidence(
      blocks.mean((-2, -1)),
      square[:, low].mean(-1),
      square[:, high].mean(-1),
  )


def _gaussian(evidence) -> float:
  """The variance of the Gaussian model."""
  evidence = _live(evidence)
  if not len(evidence.mean):
    return 0.0
  # Texture only ever adds, so the level is looked for from below.
  variance = float(np.quantile(evidence.high, 0.1))
  for _ in range(_STEPS):
    expected = _Expected(0.0, variance, evidence)
    taken = expected.flattest(expected.flatness < _FLAT)
    # After clipping, variance over expected variance.
    ratio = evidence.high[taken].sum() / expected.clipped[taken].sum()
    before, variance = variance, variance * float(ratio)
    if abs(variance - before) <= _TOLERANCE * before:
      break
  return variance


def _affine(evidence, variance) -> tuple[float, float]:
  """Gain and offset of the variance, from that of the Gaussian model."""
  evidence = _live(evidence)
  gain, offset = 0.0, variance
  if not len(evidence.mean):
    return gain, offset
  interval = np.minimum(evidence.mean * _INTERVALS, _INTERVALS - 1).astype(int)
  for step in range(_STEPS):
    expected = _Expected(gain, offset, evidence)
    if step < _FIRST_STEPS:
      wanted = np.zeros(len(interval), bool)
      for index in range(_INTERVALS):
        members = np.flatnonzero((interval == index) & expected.usable)
        if len(members) >= _LEAST // 2:
          count = max(_LEAST // 2, len(members) // 10)
          order = np.argpartition(expected.flatness[members], count - 1)
          wanted[members[order[:count]]] = True
    else:
      wanted = expected.flatness < _FLAT
    taken = expected.flattest(wanted)
    unclipped = expected.variance[taken]
    seen = evidence.high[taken] / expected.clipped[taken] * unclipped
    before = gain, offset
    gain, offset = _line(expected.clean[taken], seen, 1.0 / unclipped**2)
    change = max(abs(gain - before[0]), abs(offset - before[1]))
    if step >= _FIRST_STEPS and change <= _TOLERANCE * (gain + offset):
      break
  return gain, offset


def _line(x, y, weights) -> tuple[float, float]:
  """Least squares of y = gain x + offset with neither below 0."""
  total, first, second = (float((weights * x**n).sum()) for n in range(3))
  level, slope = (float((weights * y * x**n).sum()) for n in range(2))
  determinant = total * second - first**2
  if determinant <= 1e-9 * total * second:  # One intensity: no slope is seen.
    return 0.0, level / total
  gain = (total * slope - first * level) / determinant
  offset = (second * level - first * slope) / determinant
  if gain < 0:
    return 0.0, level / total
  if offset < 0:
    return slope / second, 0.0
  return gain, offset


def _live(evidence):
  """Evidence but for blocks of one single value, which no noise leaves.

  In the order of the means: `np.interp` is then several times as fast.
  """
  live = np.flatnonzero(evidence.low + evidence.high > 1e-9)
  live = live[np.argsort(evidence.mean[live])]
  return _Evidence(*(part[live] for part in evidence))


class _Expected:
  """What a model of the noise says of blocks.

  Attributes:
    clean: clean value of each block, `[n]`.
    variance: of its noise.
    clipped: what clipping leaves of that.
    usable: whether that is enough to judge by.
    flatness: low frequencies, 1 on average for noise alone.
  """

  def __init__(self, gain, offset, evidence):
    variance = np.maximum(gain * _CLEAN + offset, 1e-8)
    mean, clipped = _clip_moments(_CLEAN, np.sqrt(variance))
    # A block's mean has a 64th of the variance; over that, a curve that bends
    # down reads too low (Jensen), by half of it times the curvature.
    bend = np.gradient(np.gradient(clipped, mean), mean)
    bend[:2], bend[-2:] = bend[2], bend[-3]  # Differences are one-sided there.
    clipped = np.maximum(
        clipped - bend * clipped / (2 * BLOCK * BLOCK), 1e-3 * clipped
    )
    self.clipped = np.interp(evidence.mean, mean, clipped)
    self.clean = np.interp(evidence.mean, mean, _CLEAN)
    self.variance = np.interp(self.clean, _CLEAN, variance)
    kept = self.clipped / self.variance
    self.usable = kept > _KEPT * min(1.0, kept.max())
    self.flatness = np.where(
        self.usable, evidence.low / self.clipped, np.inf
    )

  def flattest(self, wanted):
    """Indices of the wanted blocks, or of the flattest where those are few."""
    count = int(self.usable.sum())
    count = min(count, max(_LEAST, int(_SHARE * count)))
    if wanted.sum() >= count:
      return np.flatnonzero(wanted)
    return np.argpartition(self.flatness, count - 1)[:count]


def _clip_moments(x, sigma):
  """Mean and variance of Gaussian variables clipped to [0, 1].

  Args:
    x, sigma: mean and standard deviation before that, each `[n]`.
  """
  below, above = -x / sigma, (1.0 - x) / sigma
  inside = _normal_cdf(above) - _normal_cdf(below)
  edge = _normal_pdf(above) - _normal_pdf(below)
  white = 1.0 - _normal_cdf(above)
  mean = x * inside - sigma * edge + white
  # E[y^2] about x, so that no large terms cancel.
  inner = sigma**2 * (
      inside - above * _normal_pdf(above) + below * _normal_pdf(below)
  )
  black = _normal_cdf(below)
  about = inner + black * x**2 + white * (1.0 - x) ** 2
  return mean, about - (mean - x) ** 2


_erf = np.vectorize(math.erf, otypes=[float])


def _normal_cdf(z):
  return 0.5 * (1.0 + _erf(z / math.sqrt(2)))


def _normal_pdf(z):
  return np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


def _box(image, axis, radius):
  """Mean over 2 radius + 1 pixels along an axis, fewer at the border."""
  image = np.moveaxis(image, axis, 0)
  total = np.cumsum(image, 0, dtype=np.float64)
  total = np.concatenate([np.zeros_like(total[:1]), total])
  length = len(image)
  index = np.arange(length)
  start = np.maximum(index - radius, 0)
  stop = np.minimum(index + radius + 1, length)
  mean = (total[stop] - total[start]) / (stop - start)[:, None]
  return np.moveaxis(mean, 0, axis)
