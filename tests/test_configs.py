"""Every config file, in each of its variants, describes a job that works."""

import functools
import importlib
import inspect
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from experiments import (
    configuration,
    distillation_weights,
    job,
    train,
    validation,
)
from vidrestore_jax import data
from vidrestore_jax.data import pipeline, procedural
from vidrestore_jax.data.raw import PATTERN
from vidrestore_jax.layers.resample import bicubic_resize

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(
    path.stem
    for path in (ROOT / "configs").glob("*.py")
    if path.stem not in ("__init__", "common")
)
CASES = [
    (file, variant)
    for file in FILES
    for variant in importlib.import_module(f"configs.{file}").VARIANTS
]
# Compiling is all that takes time here, and most of it is optimisation.
FAST = {"xla_backend_optimization_level": 0}


def jobs(config):
  """The config's own job and those that it pretrains with."""
  for stage in config.pretrain.values():
    yield from jobs(stage)
  yield config


def load(file, variant):
  name = ROOT / "configs" / f"{file}.py"
  return distillation_weights.with_any_weights(
      configuration.load(f"{name}:{variant}" if variant else str(name))
  )


def fewest_frames(config, model):
  """Of a clip that the config can train on."""
  if config.task.name == "optical_flow":
    return 2
  if config.task.name == "distillation" or "windows" in config.task:
    return 2  # Each frame is the middle of a window.
  return 1 if model.radius is None else 2 * model.radius + 1


# The whole network of a variant, by its shapes -------------------------------

# Sets that train the same network, and variants that change no parameter of it,
# are traced once.
TRACED = []
ALIKE = ("distribution", "add_mean_back", "residual", "remat", "noise_map")


@pytest.mark.parametrize(("file", "variant"), CASES)
def test_a_network_has_the_parameters_that_its_optimizer_groups(file, variant):
  for config in jobs(load(file, variant)):
    built = job.build(config)
    # A teacher that is given large frames decodes them from small ones.
    scale = getattr(getattr(built.model, "decoder", built.model), "scale", 1)
    assert config.patch_size % (scale * built.model.stride) == 0
    assert set(built.learning_rates(0)) == {"main", *config.optimizer.groups}
    network = {k: v for k, v in config.model.items() if k not in ALIKE}
    if network in TRACED:
      continue
    TRACED.append(network)
    # Few frames of the least size show every parameter.
    frames = fewest_frames(config, built.model)
    side, channels = built.model.stride, config.model.get("channels", 3)
    small, large = (
        jnp.zeros((1, frames, size, size, channels), jnp.uint8)
        for size in (side, scale * side)
    )
    batch = {
        "clean": large,
        "max_value": jnp.ones(1),
        "index": jnp.zeros(1, jnp.int32),
    }
    if config.task.get("degradation") is None:
      batch["degraded"] = small
    state = jax.eval_shape(built.create_state, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {
        jnp.dtype("float32")
    }
    for group in config.optimizer.groups:
      assert group in state.params


@pytest.mark.parametrize(("file", "variant"), CASES)
def test_a_config_has_the_shared_keys_and_no_others(file, variant):
  base = common.base()
  for config in jobs(load(file, variant)):
    assert set(config) == set(base)
    for section in ("data", "eval", "optimizer"):
      assert set(config[section]) == set(base[section]), section
    # What is written to config.json is all there is.
    assert configuration.as_json(config)["model"]["name"] == config.model.name


@pytest.mark.parametrize("file", FILES)
def test_an_unknown_variant_names_the_file_and_those_that_exist(file):
  with pytest.raises(ValueError) as raised:
    load(file, "no_such_variant")
  message = str(raised.value)
  assert file in message and "no_such_variant" in message
  variants = importlib.import_module(f"configs.{file}").VARIANTS
  assert all(variant in message for variant in variants)


# Its data, and one step, in little -------------------------------------------


class LookAlike:
  """Random clips as a downloaded set would bring them."""

  def __init__(self, *, paired, raw):
    self.paired, self.raw = paired, raw

  def __len__(self):
    return 3

  def __getitem__(self, index):
    rng = np.random.default_rng(index)
    shape = (5, 48, 56, 1 if self.raw else 3)
    white, kind = (3855, np.uint16) if self.raw else (255, np.uint8)
    item = dict(name=f"clip_{index}", max_value=white)
    item["clean"] = rng.integers(0, white + 1, shape, kind)
    if self.raw:
      item["bayer"] = PATTERN
    if self.paired:
      offset = white // 10
      item["degraded"] = np.minimum(item["clean"], white - offset) + offset
      item["degraded"] = item["degraded"].astype(kind)
    return item


@functools.cache
def little_procedural(real, flow):
  """One source for all configs: painting its textures is what takes time."""
  return real("procedural", size=2, length=5, height=48, width=48, flow=flow)


@pytest.fixture
def little_data(monkeypatch, tmp_path):
  """`data.build` gives look-alikes of what needs a download."""
  real = data.build

  def build(name, **kwargs):
    if name == "procedural":
      inspect.signature(procedural.build).bind(**kwargs)
      return little_procedural(real, kwargs.get("flow", True))
    if name in ("raw", "degraded", "late"):
      return real(name, **kwargs)
    if name != "folders":
      # It is not prepared, but nothing else is wrong with the arguments.
      with pytest.raises(FileNotFoundError, match=f"prepare {name}"):
        real(name, **kwargs | {"data_dir": str(tmp_path)})
    clean = ("davis", "set8", "vimeo90k", "vid4", "folders")
    paired = "degraded" in kwargs or name not in clean
    return LookAlike(paired=paired, raw=name == "crvd")

  monkeypatch.setattr(data, "build", build)


# Everything that makes the networks of the configs slow, or only different.
LITTLE = {
    "ncfl": {
        "widths": (4,),
        "feature_channels": 4,
        "hidden_channels": 4,
        "latent_channels": 4,
        "prior_channels": (4, 4),
        "attention_widths": (4,),
        "attention_blocks": 0,
        "attention_middle_blocks": 1,
        "motion_channels": 4,
        "reduction": 2,
        "fold": 1,
        "identity_start": False,
        "motion_residual": False,
        "step_start": 1.0,
        "step_minimum": 0.5,
        "residual": True,
        "scattering": False,
        "standardize": (0.0, 1.0),
        "remat": "none",
        "motion": {"levels": 1, "widths": (4,), "kernel": 3},
    },
    "ncfl_clean": {
        "feature_channels": 4,
        "hidden_channels": 4,
        "latent_channels": 4,
        "prior_channels": (4, 4),
    },
    "spynet": {"levels": 1, "widths": (4,), "kernel": 3},
    "fastdvdnet": {"widths": (4, 4, 4), "interm": 2},
    "fitvnet": {
        "image": {"width": 4, "output_widths": (4, 4)},
        "video": {"widths": (4, 4, 4), "interm": 2, "batch_norm": False},
    },
    "dncnn": {"depth": 3, "width": 4},
    "conv_lstm": {"embedding": 3, "hidden": 2},
    "fastdvdnet_vsr": {
        "widths": (4, 4, 4), "interm": 2, "hr_channels": 3, "batch_norm": False
    },
    "vdsr": {"depth": 2, "width": 4},
    "vespcn": {"depth": 2, "width": 4},
    "vsrnet": {"depth": 2, "width": 4},
    "pisr": {
        "decoder": {"name": "vdsr", "scale": 4, "depth": 2, "width": 4},
    },
    "edvr": {
        "frames": 3,
        "width": 4,
        "extraction_blocks": 1,
        "reconstruction_blocks": 1,
        "deformable_groups": 2,
    },
}


def in_little(config):
  """The config with a little network; task, data and measure are its own."""
  config = config.copy_and_resolve_references()
  config.unlock()
  config.batch_size, config.steps = 1, 2
  config.model = config.model.to_dict() | LITTLE[config.model.name]
  if "teacher" in config.task:
    teacher = config.task.teacher.to_dict()
    config.task.teacher = teacher | LITTLE[teacher["name"]]
    if "conv_lstm" in config.task:
      config.task.conv_lstm.features = 2
  model = job.build(config).model
  config.patch_size = max(getattr(model, "scale", 1) * model.stride, 16)
  fewest = fewest_frames(config, model)
  config.clip_length = max(fewest, 2) if model.recurrent else fewest
  if "rate_weight" in config.task:
    config.task.rate_weight, config.task.rate_steps = 1e-3, 1
  config.optimizer = common.adamw(1e-3)
  return config


def little_batches(config):
  """Zeros of a batch's shapes, and the first batch that it trains on."""
  source = data.build(**config.data.train.to_dict())
  element = {
      "clip_length": config.clip_length,
      "patch_size": config.patch_size,
      "augment": config.data.augment,
      "degrade": train._pipeline_degradation(config),
  }
  zeros = pipeline.example_batch(source, **element)
  iterator = pipeline.train_iterator(source, batch_size=1, seed=0, **element)
  batch = next(iterator)
  iterator.close()
  for key, value in zeros.items():
    assert (batch[key].shape, batch[key].dtype) == (value.shape, value.dtype)
  return zeros, batch


# What makes a program of its own -> its compiled functions.
COMPILED = {}


def program(config, built):
  return repr((built.model, config.task.to_dict(), config.optimizer.to_dict()))


@pytest.mark.parametrize(
    ("file", "variant"),
    [
        *((file, "") for file in FILES),
        ("std_vimeo", "vespcn_std"),
        ("std_vimeo", "vsrnet_std"),
    ],
)
def test_a_config_takes_a_real_step_on_its_data(file, variant, little_data):
  config = in_little(load(file, variant))
  built = job.build(config)
  zeros, batch = little_batches(config)
  create, step = COMPILED.setdefault(
      program(config, built),
      [
          jax.jit(function, compiler_options=FAST)
          for function in (built.create_state, built.train_step)
      ],
  )
  before = create(zeros)
  after, metrics = step(before, batch)
  assert int(after.step) == 1
  assert all(np.isfinite(value) for value in metrics.values())
  moved = jax.tree.map(
      lambda old, new: bool((old != new).any()), before.params, after.params
  )
  parts = {part: any(jax.tree.leaves(moved[part])) for part in moved}
  assert all(parts.values()), parts
  if "degraded" in batch and "mse" in metrics:
    # At first the network hands on what it is given: the degraded frames.
    clean, degraded = (
        batch[name] / batch["max_value"] for name in ("clean", "degraded")
    )
    if built.model.scale > 1:
      degraded = bicubic_resize(degraded, built.model.scale)
    given = np.square(degraded - clean).mean()
    np.testing.assert_allclose(metrics["mse"], given, rtol=0.2)


SHAPED = set()


@pytest.mark.parametrize(
    ("file", "variant"),
    [
        c
        for c in CASES
        if c[1].startswith("synthetic")
        or (c[1] == "demo" and c[0] != "spynet_procedural")  # Makes no pairs.
    ],
)
def test_a_synthetic_variant_trains_on_pairs_it_makes(
    file, variant, little_data
):
  config = in_little(load(file, variant))
  _, batch = little_batches(config)
  # One of the two degrades, or neither where frames are clean on purpose.
  degraded = config.task.get("degradation") is None
  assert ("degraded" in batch) == degraded
  sizes = [batch[k].shape for k in ("clean", "degraded") if k in batch]
  if len(set(sizes)) == 1 < len(sizes):  # Else they are smaller ones.
    assert (batch["degraded"] != batch["clean"]).mean() > 0.05
  built = job.build(config)
  if (key := program(config, built)) in SHAPED:
    return
  SHAPED.add(key)
  state = jax.eval_shape(built.create_state, batch)
  after, metrics = jax.eval_shape(built.train_step, state, batch)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert metrics["loss"].shape == ()


def test_the_variant_of_haze_takes_a_real_step_as_a_law(little_data):
  full = load("ncfl_revide", "synthetic").model
  config = in_little(load("ncfl_revide", "synthetic"))
  kept = ("scattering", "standardize", "residual", "fold")
  config.model.update({key: full[key] for key in kept} | {"fold": 2})
  built = job.build(config)
  assert built.model.scattering
  config.patch_size = built.model.stride
  zeros, batch = little_batches(config)
  before = jax.jit(built.create_state, compiler_options=FAST)(zeros)
  step = jax.jit(built.train_step, compiler_options=FAST)
  after, metrics = step(before, batch)
  assert all(np.isfinite(value) for value in metrics.values())
  old, new = (s.params["restoration"]["output"] for s in (before, after))
  moved = jax.tree.map(lambda a, b: (a != b).any(), old, new)
  assert all(jax.tree.leaves(moved))


MEASURED = set()


@pytest.mark.parametrize(
    ("file", "variant"), [c for c in CASES if c[0] != "ncfl_folder"]
)
def test_a_config_measures_on_its_data(file, variant, little_data):
  for config in jobs(load(file, variant)):
    key = repr((config.eval.to_dict(), config.model.get("noise_map")))
    if key in MEASURED:
      continue
    MEASURED.add(key)
    built = job.build(config)
    measure = validation.build(config, built.model, say=print)
    assert measure.metric in ("psnr", "end_point_error")
    if config.eval.published:
      for column in measure._published.values():
        assert config.eval.published_as in column
