"""Raw noise has the statistics of CRVD's camera."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import degradations
from vidrestore_jax.degradations import raw

_SHAPE = (2, 64, 64, 4)


def _noise(level, iso):
  """Noisy values, in DN above black, of an evenly lit clip."""
  clip = jnp.full(_SHAPE, level / 3855)
  noisy, _ = raw.poisson_gaussian(jax.random.key(0), clip, isos=(iso,))
  return np.asarray(noisy, np.float64) * 3855


@pytest.mark.parametrize("iso", raw.CALIBRATION)
@pytest.mark.parametrize("level", [800, 1500, 2300])
def test_variance_grows_with_light_as_calibrated(level, iso):
  a, b = raw.CALIBRATION[iso]
  variance = a * level + b + 1 / 12  # Rounding to DN.
  values = _noise(level, iso)
  # Five and four standard errors of 32768 samples; both ends are more than
  # three standard deviations away, so clipping takes next to nothing.
  error = np.sqrt(variance / values.size)
  assert values.mean() == pytest.approx(level, abs=5 * error)
  assert values.var() == pytest.approx(variance, rel=0.031)


def test_calibration_is_the_published_one():
  assert raw.CALIBRATION[1600] == (3.513262, 11.917691)
  assert raw.CALIBRATION[25600] == (52.032536, 1819.818657)
  assert sorted(raw.CALIBRATION) == [1600, 3200, 6400, 12800, 25600]


def test_shot_noise_is_skewed_as_counts_are():
  a, b = raw.CALIBRATION[25600]
  values = _noise(800, 25600)
  skewness = np.mean((values - values.mean()) ** 3) / values.std() ** 3
  expected = a**2 * 800 / (a * 800 + b) ** 1.5
  assert expected > 0.2
  assert skewness == pytest.approx(expected, abs=0.07)


def test_values_are_whole_digital_numbers_between_black_and_white():
  rng = np.random.default_rng(0)
  clip = jnp.asarray(rng.random(_SHAPE), jnp.float32)
  noisy, _ = raw.poisson_gaussian(jax.random.key(0), clip, isos=(25600,))
  dn = np.asarray(noisy, np.float64) * 3855
  assert dn.min() == 0 and dn.max() == pytest.approx(3855, abs=1e-3)
  np.testing.assert_allclose(dn, np.rint(dn), atol=1e-3)
  assert noisy.dtype == jnp.float32 and noisy.shape == _SHAPE


def test_noise_below_black_is_lost():
  # A rectified normal: mean sigma / sqrt(2 pi), half of it at zero.
  _, b = raw.CALIBRATION[25600]
  values = _noise(0, 25600)
  assert values.mean() == pytest.approx(np.sqrt(b / (2 * np.pi)), rel=0.04)
  assert (values == 0).mean() == pytest.approx(0.5, abs=0.02)


def test_noise_of_frames_and_planes_is_independent():
  values = _noise(1500, 6400)
  samples = np.moveaxis(values, -1, 1).reshape(8, -1)
  correlation = np.corrcoef(samples) - np.eye(8)
  assert np.abs(correlation).max() < 0.08  # Five times 1 / 64.


def test_level_is_the_standard_deviation_at_mid_grey_in_unit_range():
  values = _noise(0.18 * 3855, 3200)
  clip = jnp.zeros(_SHAPE)
  _, level = raw.poisson_gaussian(jax.random.key(0), clip, isos=(3200,))
  by_hand = np.sqrt(6.955588 * 0.18 * 3855 + 38.117816) / 3855
  assert level.shape == () and float(level) == pytest.approx(by_hand, rel=1e-6)
  assert values.std() / 3855 == pytest.approx(by_hand, rel=0.02)


def test_each_clip_has_one_of_the_isos_equally_often():
  degrade = degradations.build("raw.poisson_gaussian")
  keys = jax.random.split(jax.random.key(0), 400)
  clip = jnp.zeros((1, 1, 1, 4))
  levels = jax.jit(jax.vmap(lambda key: degrade(key, clip)[1]))(keys)
  found, counts = np.unique(np.asarray(levels), return_counts=True)
  assert len(found) == 5 and counts.min() > 55  # 80 each on average.
  # And a card can tell which.
  told = [raw.drawn(float(level)) for level in found]
  assert [card["iso"] for card in told] == sorted(raw.CALIBRATION)
  for card in told:
    a, b = raw.CALIBRATION[card["iso"]]
    assert (card["dn_per_electron"], card["read_variance_dn2"]) == (a, b)


def test_the_key_decides_and_compiling_changes_nothing():
  degrade = degradations.build("raw.poisson_gaussian", isos=(1600, 6400))
  clip = jax.random.uniform(jax.random.key(1), _SHAPE)
  key = jax.random.key(2)
  once, level = degrade(key, clip)
  compiled, same_level = jax.jit(degrade)(key, clip)
  # A value within float error of a half may round the other way.
  assert np.mean(np.abs(once - compiled) > 1e-6) < 1e-3
  assert float(level) == pytest.approx(float(same_level), rel=1e-6)
  other, _ = degrade(jax.random.key(3), clip)
  assert np.mean(np.asarray(once) != np.asarray(other)) > 0.9


def test_isos_that_were_not_calibrated_are_refused():
  for isos in ((1600, 800), ()):
    with pytest.raises(ValueError, match="draws from ISOs .1600, 3200"):
      raw.poisson_gaussian(jax.random.key(0), jnp.zeros(_SHAPE), isos=isos)
