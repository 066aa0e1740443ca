"""What a run is measured on at its end: pairs, raw, and clips without truth."""

import pathlib

import numpy as np
import pytest

from configs import common
from experiments import configuration, evaluation, job, validation
from vidrestore_jax import models
from vidrestore_jax.inference import frames_io, streaming
from vidrestore_jax.layers.resample import bicubic_resize
from vidrestore_jax.metrics import protocols
from vidrestore_jax.shapes import Restored

TINY = str(pathlib.Path(__file__).with_name("tiny.py"))
CLIPS = {"name": "procedural", "size": 2, "length": 3, "height": 24}
CLIPS |= {"width": 24, "flow": False}


@pytest.fixture
def config(monkeypatch):
  """A blind tiny config whose network, not trained here, is the identity."""
  config = configuration.load(TINY)
  with config.unlocked():
    config.model.noise_map = False
    config.task.degradation = None

  def identity(clip, **given):
    return Restored(np.asarray(clip), {})

  monkeypatch.setattr(
      evaluation, "model_restorer", lambda model, variables: (
          lambda clip, sigma: identity(clip)
      )
  )
  monkeypatch.setattr(
      streaming, "restore_clip", lambda model, variables, clip, **given: (
          identity(clip)
      )
  )
  return config


def full(config):
  return validation.build(config, job.build(config).model, print).full({})


def test_degraded_clips_are_measured_on_both_colours(config):
  haze = {"name": "haze.scattering", "beta": (0.5, 0.5)}
  common.degraded_eval(config, CLIPS, haze)
  results = full(config)
  numbers = results.metrics()["mean"]
  assert list(numbers) == ["ours", "degraded", "affine", "affine_rgb"]
  assert numbers["ours"] == numbers["degraded"]
  best = [numbers[name]["psnr"] for name in ("degraded", "affine")]
  best.append(numbers["affine_rgb"]["psnr"])
  assert best == sorted(best) and best[1] > best[0] + 1
  assert numbers["ours"]["y_uint8/psnr"] > 0
  assert [record["name"] for record in results.protocol["also"]] == ["y_uint8"]
  assert "protocol y_uint8" in results.table()
  (example, _) = results.shown["examples"]
  assert example.degradation == "degraded" and example.sigma is None
  assert results.shown["looks"] == []


def test_noise_of_the_train_step_is_measured_on_files_of_it(config):
  noise = {"name": "noise.gaussian_clipped", "sigma": (0.2, 0.2)}
  common.degraded_eval(config, CLIPS, noise)
  first, again = (full(config).metrics()["mean"] for _ in range(2))
  assert first == again  # Seeded.
  # Clipping takes some of the noise: 13.98 dB is 0.2 unclipped.
  assert 13.98 < first["degraded"]["psnr"] < 18


def test_raw_clips_are_measured_on_planes_and_through_an_isp(config):
  with config.unlocked():
    config.model.channels = 4
  noise = {"name": "raw.poisson_gaussian", "isos": (25600,)}
  common.degraded_eval(
      config, {"name": "raw", "source": CLIPS | {"height": 48}}, noise
  )
  config.eval.protocol = "crvd_raw"
  config.eval.also = ("crvd_srgb",)
  config.eval.baselines = ("degraded", "median3")
  results = full(config)
  numbers = results.metrics()["mean"]["degraded"]
  assert 20 < numbers["psnr"] < 40
  assert numbers["crvd_srgb/psnr"] < numbers["psnr"]  # Gains amplify.
  assert results.shown["examples"][0].clean.shape == (24, 12, 4)


def test_super_resolution_is_measured_beside_bicubic(config, monkeypatch):
  """With a model that is bicubic itself, so that nothing lies between them."""

  def enlarge(clip):
    return Restored(bicubic_resize(clip, 4), {})

  monkeypatch.setattr(
      evaluation, "model_restorer", lambda model, variables: (
          lambda clip, sigma: enlarge(clip)
      )
  )
  monkeypatch.setattr(
      streaming, "restore_clip", lambda model, variables, clip, **given: (
          enlarge(clip)
      )
  )
  with config.unlocked():
    config.eval.data = CLIPS | {"height": 48, "width": 50}
  config.eval.protocol = "sr_y"
  config.eval.sigmas = ()
  config.eval.baselines = ("bicubic",)
  model = models.build("vdsr", depth=2, width=4)
  measure = validation.build(config, model, print)
  results = measure.full({})
  numbers = results.metrics()["mean"]
  assert list(numbers) == ["ours", "bicubic"]
  assert numbers["ours"] == numbers["bicubic"]
  assert 15 < numbers["ours"]["psnr"] < 40
  example = results.shown["examples"][0]
  assert example.clean.shape == example.degraded.shape == (48, 48, 3)
  (trace,) = results.shown["traces"]
  np.testing.assert_array_equal(trace.psnr["ours"], trace.psnr["bicubic"])
  watched, (picture, *_) = measure.watch({})
  assert watched["psnr"] > 15 and picture
  # A baseline that enlarges nothing is refused before training.
  config.eval.baselines = ("degraded",)
  with pytest.raises(ValueError, match="measure --model=bicubic"):
    validation.build(config, model, print)


def test_clips_without_truth_are_shown_and_not_measured(config, tmp_path):
  for t in range(3):
    (tmp_path / "tape").mkdir(exist_ok=True)
    frame = np.full((16, 20, 3), 40 * t, np.uint8)
    frames_io.write_png(tmp_path / "tape" / f"{t}.png", frame)
  haze = {"name": "haze.scattering"}
  common.degraded_eval(config, CLIPS, haze)
  config.eval.look = str(tmp_path)
  results = full(config)
  (look,) = results.shown["looks"]
  assert look.name == "tape" and look.frame == 2
  np.testing.assert_allclose(look.restored, 80 / 255, rtol=1e-6)
  assert set(results.evaluations[None]["ours"].clips) == {
      "procedural_000000", "procedural_000001",
  }
  # What is not there is missed before training.
  config.eval.look = str(tmp_path / "no")
  with pytest.raises(FileNotFoundError, match="no"):
    full(config)


def test_a_published_table_stands_beside_its_set_only(config):
  haze = {"name": "haze.scattering"}
  common.degraded_eval(config, CLIPS, haze)
  config.eval.published = "nturain"
  measure = validation.build(config, job.build(config).model, print)
  assert measure._published[None]["NCFL"] == (40.22, 0.9811)
  for table, said in (("davis", "sigma"), ("revide", "not known here")):
    config.eval.published = table
    with pytest.raises(ValueError, match=f"config.eval.published: .*{said}"):
      validation.build(config, job.build(config).model, print)
  assert protocols.get(config.eval.protocol).noise is None
