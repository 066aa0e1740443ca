"""Degraded sets: the same bytes for everybody who names the same seed."""

import functools
import json
import pickle

import numpy as np
import pytest

from vidrestore_jax import data, degradations
from vidrestore_jax.data import degraded

_CLEAN = {
    "name": "procedural", "size": 3, "length": 2, "height": 32, "width": 40,
}
_JPEG = {"name": "compression.jpeg", "quality": (20, 80)}


@functools.cache  # Painting its textures takes longer than all else here.
def _clean():
  return data.build(**_CLEAN)


def _build(seed=0, degradation=_JPEG):
  return degraded.DegradedClips(_clean(), degradation, seed)


def test_items_are_pairs_with_the_card_of_what_was_drawn():
  source, clean = _build(), _clean()
  assert len(source) == 3
  for index in range(3):
    item, plain = source[index], clean[index]
    np.testing.assert_array_equal(item["clean"], plain["clean"])
    assert item["name"] == plain["name"] and item["max_value"] == 255
    degrade = degradations.build(**_JPEG)
    expected, card = degrade(
        np.random.default_rng([0, index]),
        plain["clean"].astype(np.float32) / 255,
    )
    np.testing.assert_array_equal(item["degraded"], np.rint(expected * 255))
    assert item["degraded"].dtype == np.uint8
    assert json.dumps(item["card"]) == json.dumps(card)
  built = data.build("degraded", source=_CLEAN, degradation=_JPEG)
  assert built[-1]["card"] == source[2]["card"]


def test_the_seed_and_the_index_decide_the_bytes():
  def drawn(source):
    return [source[i]["degraded"].tobytes() for i in range(3)]

  assert drawn(_build(5)) == drawn(_build(5)) != drawn(_build(6))
  qualities = {json.dumps(_build()[i]["card"]) for i in range(3)}
  assert len(qualities) == 3


def test_noise_of_the_device_makes_files_to_measure_on():
  noise = dict(name="noise.gaussian_clipped", sigma=(0.2, 0.2))
  first, second = (_build(3, noise)[i] for i in (0, 1))
  assert first["degraded"].dtype == np.uint8
  for item in (first, second):
    assert item["card"]["drawn"]["level"] == pytest.approx(0.2)
    middle = (item["clean"] > 100) & (item["clean"] < 155)
    noise_there = item["degraded"][middle].astype(float) - item["clean"][middle]
    assert middle.sum() > 500 and abs(noise_there.std() - 51) < 6
  again = pickle.loads(pickle.dumps(_build(3, noise)))[1]
  np.testing.assert_array_equal(again["degraded"], second["degraded"])
  # The noise is the clip's own, not one field for all.
  black = [
      degradations.draw(noise, np.zeros((2, 32, 40, 3), "f4"), seed=3, index=i)
      for i in (0, 1)
  ]
  assert (black[0][0] != black[1][0]).mean() > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(degradation={"name": "noise.gaussian", "level": 0.1}),
            "noise.gaussian' takes no argument level",
        ),
        (dict(seed=-1), "seed needs to be at least 0, but is -1"),
        (dict(degradation={"quality": 5}), "degradation of degraded needs"),
        (dict(source={"size": 5}), "source of degraded needs"),
    ],
)
def test_what_cannot_be_a_data_set_is_named(change, message):
  given = dict(source=_CLEAN, degradation=_JPEG, seed=0) | change
  with pytest.raises(ValueError, match=message):
    data.build("degraded", **given)
