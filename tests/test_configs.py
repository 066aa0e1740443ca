"""Every config file, in each of its variants, describes a job that traces."""

import importlib
import pathlib

import jax
import jax.numpy as jnp
import pytest

from configs import common
from experiments import configuration, job

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


# Variants of the rate's weight trace to one program, which takes five seconds:
# once is enough.
TRACED = []


def jobs(config):
  """The config's own job and those that it pretrains with."""
  for stage in config.pretrain.values():
    yield from jobs(stage)
  yield config


def abstract_batch(config, size: int) -> dict:
  """Shapes and types of a batch as the config's data would bring it."""
  channels = config.model.get("channels", 3)
  side = (config.patch_size, config.patch_size)
  clip = (size, config.clip_length, *side)
  batch = {
      "clean": jax.ShapeDtypeStruct((*clip, channels), jnp.uint8),
      "max_value": jax.ShapeDtypeStruct((size,), jnp.float32),
      "index": jax.ShapeDtypeStruct((size,), jnp.int32),
  }
  if config.task.name == "optical_flow":
    batch["flow"] = jax.ShapeDtypeStruct((*clip, 2), jnp.float32)
  elif config.task.degradation is None:
    batch["degraded"] = batch["clean"]
  return batch


def load(file, variant):
  name = ROOT / "configs" / f"{file}.py"
  return configuration.load(f"{name}:{variant}" if variant else str(name))


@pytest.mark.parametrize(("file", "variant"), CASES)
def test_a_step_keeps_the_state_it_was_given(file, variant):
  for config in jobs(load(file, variant)):
    built = job.build(config)
    task = config.task.to_dict() | {"rate_weight": None}
    key = (built.model, task, config.optimizer.to_dict(), config.clip_length)
    if key in TRACED:
      continue
    TRACED.append(key)
    # Two examples show every axis; sixteen would trace to the same program.
    batch = abstract_batch(config, 2)
    state = jax.eval_shape(built.create_state, batch)
    after, metrics = jax.eval_shape(built.train_step, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after)):
      assert (old.shape, old.dtype) == (new.shape, new.dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {
        jnp.dtype("float32")
    }
    assert metrics["loss"].dtype == jnp.float32
    assert all(value.shape == () for value in metrics.values())
    rates = built.learning_rates(0)
    assert set(rates) == {"main", *config.optimizer.groups}


@pytest.mark.parametrize(("file", "variant"), CASES)
def test_a_config_has_the_shared_keys_and_no_others(file, variant):
  base = common.base()
  for config in jobs(load(file, variant)):
    assert set(config) == set(base)
    for section in ("eval", "optimizer"):
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
