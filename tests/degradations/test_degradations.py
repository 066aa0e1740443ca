"""What holds for every degradation: its name, its place, its card."""

import inspect
import json
import pickle

import jax
import numpy as np
import pytest

from vidrestore_jax import degradations
from vidrestore_jax.degradations import blur, haze, rain


def test_every_file_has_its_degradations_listed():
  names = degradations.available()
  for name in (
      "noise.gaussian", "noise.gaussian_clipped", "noise.mixed_toflow",
      "noise.mixed_true_sp", "rain.streaks", "haze.scattering",
      "resize.bicubic_down", "blur.gaussian_decimate", "compression.jpeg",
      "compression.video",
  ):
    assert name in names
  assert not [name for name in names if name.startswith(("ranges.", "fields."))]


def test_place_follows_from_the_first_parameter():
  assert degradations.place("noise.gaussian") == "device"
  assert degradations.place("rain.streaks") == "pipeline"
  for name in degradations.available():
    assert degradations.place(name) in ("device", "pipeline")


@pytest.mark.parametrize("name", degradations.available())
def test_signatures_follow_the_house(name):
  """The generator, the clip, then options by name with a default."""
  file, function = name.split(".")
  module = __import__(f"vidrestore_jax.degradations.{file}", fromlist=[file])
  first, second, *rest = inspect.signature(
      getattr(module, function)
  ).parameters.values()
  place = degradations.place(name)
  assert first.name == {"device": "key", "pipeline": "rng"}[place]
  assert second.name == "clip"
  for option in rest:
    assert option.kind is option.KEYWORD_ONLY, option
    if place == "pipeline":
      assert option.default is not option.empty, option


def test_a_card_holds_name_options_and_what_was_drawn():
  degrade = degradations.build("rain.streaks", density=(5.0, 9.0))
  clip = np.full((2, 24, 24, 3), 0.5, np.float32)
  degraded, card = degrade(np.random.default_rng(0), clip)
  assert degraded.shape == clip.shape
  assert list(card) == ["name", "options", "drawn"]
  assert card["name"] == "rain.streaks"
  assert card["options"]["density"] == (5.0, 9.0)
  assert card["options"]["veil"] == (0.0, 0.0)  # A default.
  assert 5.0 <= card["drawn"]["density_per_10000_px"] <= 9.0
  json.dumps(card)


def test_a_card_of_arrays_is_json_too():
  degrade = degradations.build("haze.scattering", depth=np.ones((1, 8, 8)))
  _, card = degrade(np.random.default_rng(0), np.zeros((1, 8, 8, 3), "f4"))
  assert card["options"]["depth"] == "array [1, 8, 8]"
  json.dumps(card)


def test_workers_can_be_sent_a_degradation():
  degrade = degradations.build("haze.scattering", beta=(0.1, 0.9))
  clip = np.full((2, 16, 16, 3), 0.5, np.float32)
  here, _ = degrade(np.random.default_rng(1), clip)
  there, _ = pickle.loads(pickle.dumps(degrade))(np.random.default_rng(1), clip)
  assert here.tobytes() == there.tobytes()


@pytest.mark.parametrize(
    "function", [rain.streaks, haze.scattering, blur.gaussian_decimate]
)
def test_presets_are_arguments_of_their_function(function):
  module = inspect.getmodule(function)
  name = f"{module.__name__.split('.')[-1]}.{function.__name__}"
  assert module.PRESETS
  clip = np.full((2, 32, 32, 3), 0.5, np.float32)
  results = []
  for preset, options in module.PRESETS.items():
    degraded, card = degradations.build(name, preset=preset)(
        np.random.default_rng(0), clip
    )
    assert np.isfinite(degraded).all()
    assert card["options"] | options == card["options"]
    results.append(json.dumps(card))
  assert len(set(results)) == len(results)
  with pytest.raises(ValueError, match="no preset 'none'. It has: "):
    degradations.build(name, preset="none")


def test_arguments_change_a_preset():
  clip = np.zeros((1, 9, 9, 3), np.float32)
  degrade = degradations.build("rain.streaks", preset="ntu", width=(2.0, 2.5))
  _, card = degrade(np.random.default_rng(0), clip)
  expected = rain.PRESETS["ntu"] | {"width": (2.0, 2.5)}
  assert {key: card["options"][key] for key in expected} == expected


def test_wrong_names_and_options_are_refused():
  for name in ("rain", "rain.drops", "ranges.uniform", "fields.smooth", "x.y"):
    with pytest.raises(ValueError, match=f"no degradation '{name}'"):
      degradations.build(name)
    with pytest.raises(ValueError, match="raw.poisson_gaussian, resize"):
      degradations.place(name)
  with pytest.raises(ValueError, match="takes no argument wind"):
    degradations.build("rain.streaks", wind=3)


@pytest.mark.parametrize(
    "name, options",
    [
        ("noise.gaussian", {"sigma": (0.1, 0.1)}),
        ("raw.poisson_gaussian", {}),
        ("rain.streaks", {}),
    ],
)
def test_values_that_are_not_in_the_unit_range_are_refused(name, options):
  degrade = degradations.build(name, **options)
  device = degradations.place(name) == "device"
  source = jax.random.key(0) if device else np.random.default_rng(0)
  bytes_ = np.full((2, 16, 16, 3), 200, np.uint8)
  for clip in (bytes_, bytes_.astype(np.float32), bytes_ * np.float32(np.nan)):
    with pytest.raises(ValueError, match=rf"{name} takes .* \[0, 1\], but got"):
      degrade(source, clip)
    with pytest.raises(ValueError, match="Divide it by the value of its white"):
      degradations.draw({"name": name, **options}, clip, seed=0, index=0)
  noisy = np.full((1, 16, 16, 3), 1.5, np.float32)  # What noise may have left.
  degrade(source, noisy)


def test_the_range_of_a_traced_clip_is_not_asked_for():
  degrade = jax.jit(degradations.build("noise.gaussian", sigma=(0.5, 0.5)))
  noisy, level = degrade(jax.random.key(0), np.full((1, 2, 2, 3), 200.0))
  assert level == 0.5 and noisy.mean() > 150


def test_a_card_of_the_device_has_the_drawn_level():
  degradation = {"name": "noise.gaussian", "sigma": (0.1, 0.3)}
  clip = np.full((2, 40, 40, 3), 0.5, np.float32)
  noisy, card = degradations.draw(degradation, clip, seed=7, index=2)
  assert card["name"] == "noise.gaussian"
  assert card["options"] == {"sigma": (0.1, 0.3)}
  assert abs((noisy - clip).std() - card["drawn"]["level"]) < 0.01
  again, same = degradations.draw(degradation, clip, seed=7, index=2)
  assert noisy.tobytes() == again.tobytes() and same == card
  for seed, index in ((7, 3), (8, 2)):
    _, other = degradations.draw(degradation, clip, seed=seed, index=index)
    assert other["drawn"] != card["drawn"]
  raw = {"name": "raw.poisson_gaussian", "isos": (6400,)}
  _, card = degradations.draw(raw, clip, seed=0, index=0)
  assert card["drawn"]["iso"] == 6400 and card["drawn"]["level"] > 0
  json.dumps(card)
