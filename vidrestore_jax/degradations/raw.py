"""Noise of raw video, by CRVD's camera.

    y = a Poisson(x / a) + N(0, b) + 240,  x = 3855 clip,  in DN

(digital numbers), rounded and clipped to 0 .. 4095, which is what a 12-bit file
holds, and then normalised as CRVD's frames are, max(y - 240, 0) / 3855: noise
below black is lost, so that near-black pixels are too bright in the mean, as
they are on the real frames. Rounded, where RViDeNet's script truncates and so
loses half a DN of light; rounding adds a variance of 1/12 DN^2 to b.
"""

import jax
import jax.numpy as jnp

# CRVD's camera, in digital numbers (DN): 12 bits, black and white level.
BLACK, WHITE = 240, 4095

# ISO -> (a, b): DN per photo-electron (so a x is the variance of shot noise at
# x DN above black) and variance of read noise in DN^2, as calibrated for that
# camera: cao-cong/RViDeNet, synthesize_noise.py.
CALIBRATION = {
    1600: (3.513262, 11.917691),
    3200: (6.955588, 38.117816),
    6400: (13.486051, 130.818508),
    12800: (26.585953, 484.539790),
    25600: (52.032536, 1819.818657),
}
# Linear reflectance of a photographer's grey card.
MID_GREY = 0.18
_SPAN = WHITE - BLACK


def poisson_gaussian(
    key, clip, *, isos: tuple[int, ...] = tuple(CALIBRATION)
):
  """Shot and read noise at one random ISO for the whole clip.

  Args:
    key: a JAX random key.
    clip: `[T, H, W, C]` in [0, 1], linear raw, packed or a mosaic; 1 is white
      (DN 4095), 0 black (DN 240).
    isos: what is drawn from, equally often; each of CALIBRATION.

  Returns:
    The pair (noisy clip, level), float32. The level is a scalar: the noise's
    standard deviation at MID_GREY, in [0, 1] units. The noise itself grows
    with the light, so a model for it is best blind.

  Raises:
    ValueError: an ISO that was not calibrated.
  """
  table = jnp.array(_calibration(isos), jnp.float32)
  iso_key, shot_key, read_key = jax.random.split(key, 3)
  a, b = table[jax.random.randint(iso_key, (), 0, len(isos))]
  counts = jax.random.poisson(shot_key, _electrons(clip, a))
  read = b**0.5 * jax.random.normal(read_key, clip.shape)
  return _file_values(a * counts + read), _level(a, b)


def drawn(level: float) -> dict:
  """The ISO whose level this is, and its calibration, for the card of a clip.

  Args:
    level: as `poisson_gaussian` returns it.
  """
  iso = min(CALIBRATION, key=lambda iso: abs(_level(*CALIBRATION[iso]) - level))
  a, b = CALIBRATION[iso]
  return {"iso": iso, "dn_per_electron": a, "read_variance_dn2": b}


def _calibration(isos):
  """[(a, b)] of the ISOs."""
  unknown = [iso for iso in isos if iso not in CALIBRATION]
  if unknown or not isos:
    raise ValueError(
        f"raw.poisson_gaussian draws from ISOs {list(CALIBRATION)}, but isos is"
        f" {tuple(isos)!r}."
    )
  return [CALIBRATION[iso] for iso in isos]


def _electrons(clip, a):
  return clip.clip(0) * _SPAN / a


def _file_values(signal):
  """DN above black, before the converter, as frames in [0, 1]."""
  dn = (signal + BLACK).round().clip(0, WHITE)
  return (dn - BLACK).clip(0) / _SPAN


def _level(a, b):
  return (a * MID_GREY * _SPAN + b) ** 0.5 / _SPAN
