"""From a config to the parts of a run: the one place where they are wired."""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from experiments import configuration
from vidrestore_jax import models, released, tasks
from vidrestore_jax.training import optimizer, step

# What may change from one start of a run to the next: it decides what is seen
# and kept of the run, and not what the run computes.
_MAY_CHANGE = ("log_every", "eval_every", "checkpoint_every", "keep", "eval.")
# Fields of a model that change its speed, not its parameters.
_SPEED = ("dtype", "unroll", "remat")


@dataclasses.dataclass(frozen=True)
class Job:
  """What a config describes, but for its data.

  Attributes:
    model: the module.
    model_kwargs: the arguments of `models.build` that made it.
    create_state: batch -> the state before the first step.
    train_step: (state, batch) -> (state, metrics).
    learning_rates: step -> rate by group.
  """

  model: object
  model_kwargs: dict
  create_state: Callable
  train_step: Callable
  learning_rates: Callable


def build(config) -> Job:
  """The job of a config.

  Raises:
    ValueError: a name or an argument that does not exist.
  """
  kwargs = config.model.to_dict() | {"dtype": config.dtype}
  name = kwargs.pop("name")
  kwargs.pop("init_from")
  model = models.build(name, **kwargs)
  task = tasks.build(model=model, **config.task.to_dict())
  recipe = config.optimizer.to_dict()
  tx = optimizer.build(recipe, config.steps)
  return Job(
      model=model,
      model_kwargs=kwargs,
      create_state=functools.partial(
          step.create_state,
          task,
          tx,
          config.seed,
          keep_ema=config.ema_decay > 0,
      ),
      train_step=functools.partial(
          step.train_step, task=task, tx=tx, ema_decay=config.ema_decay
      ),
      learning_rates=optimizer.learning_rates(recipe, config.steps),
  )


def example_batch(config, item: dict) -> dict[str, np.ndarray]:
  """Zeros of the shape of a batch of one, to create a state from.

  Args:
    config: gives length and size.
    item: one of the source's, for its keys, channels and type.
  """
  size = (1, config.clip_length, config.patch_size, config.patch_size)
  batch = {
      key: np.zeros((*size, item[key].shape[-1]), item[key].dtype)
      for key in ("clean", "degraded", "flow")
      if key in item
  }
  return batch | {
      "max_value": np.full((1,), item["max_value"], np.float32),
      "index": np.zeros((1,), np.int32),
  }


def start_from_released(config, model, state):
  """The state with its parameters taken from released models.

  `config.init_from` names a folder for the whole model,
  `config.model.init_from` one for a part of it, such as `motion`.

  Args:
    config: the run's.
    model: the run's.
    state: before the first step.

  Raises:
    FileNotFoundError, ValueError: no released model there, or one of another
      kind; the first difference is named.
  """
  folders = {"": config.init_from, **config.model.init_from.to_dict()}
  variables = {"params": state.params, **state.model_state}
  flat = traverse_util.flatten_dict(variables, sep="/")
  for part, folder in folders.items():
    if not folder:
      continue
    theirs, given = released.load(folder)
    ours = getattr(model, part) if part else model
    if difference := _difference(ours, theirs):
      raise ValueError(
          f"The released model {folder} cannot start"
          f" {f'config.model.{part}' if part else 'config.model'}:"
          f" {difference}. Change the config to match it, or start from"
          " another model."
      )
    for collection, tree in given.items():
      prefix = f"{collection}/{part}/" if part else f"{collection}/"
      for name, value in traverse_util.flatten_dict(tree, sep="/").items():
        path = prefix + name
        flat[path] = _like(flat.get(path), value, path, folder)
  variables = traverse_util.unflatten_dict(flat, sep="/")
  params = variables.pop("params")
  return state.replace(
      params=params,
      # Copies: a donated state must not hold one buffer twice.
      ema=jax.tree.map(jnp.copy, params) if state.ema else {},
      model_state=variables,
  )


def _like(old, new, path: str, folder):
  """`new` with the sharding of `old`; they must have one shape."""
  if old is None or old.shape != new.shape:
    shape = "absent" if old is None else list(old.shape)
    raise ValueError(
        f"The released model {folder} does not fit: {path} has shape"
        f" {list(new.shape)} there and is {shape} here."
    )
  return jax.device_put(new, old.sharding)


def _difference(ours, theirs, path: str = "it") -> str | None:
  """The first field in which two modules differ, in words."""
  if type(ours) is not type(theirs):
    kinds = type(theirs).__name__, type(ours).__name__
    return f"{path} is {kinds[0]} there and {kinds[1]} here"
  if not dataclasses.is_dataclass(ours):
    if ours == theirs:
      return None
    return f"{path} is {theirs!r} there and {ours!r} here"
  for field in dataclasses.fields(ours):
    if field.name in ("parent", "name", *_SPEED):
      continue
    name = field.name if path == "it" else f"{path}.{field.name}"
    pair = getattr(ours, field.name), getattr(theirs, field.name)
    if found := _difference(*pair, name):
      return found
  return None


def claim(workdir: pathlib.Path, config):
  """Writes `config.json`, or checks that the folder is this config's.

  Raises:
    ValueError: the folder belongs to a run of another config.
  """
  path = workdir / "config.json"
  given = configuration.as_json(config)
  if path.exists():
    there = configuration.flatten(json.loads(path.read_text()))
    here = configuration.flatten(given)
    differing = [
        f"{key} ({there.get(key, 'absent')!r} there,"
        f" {here.get(key, 'absent')!r} here)"
        for key in sorted(there | here)
        if there.get(key) != here.get(key) and not key.startswith(_MAY_CHANGE)
    ]
    if differing:
      raise ValueError(
          f"{workdir} holds a run of another config; it differs in"
          f" {', '.join(differing)}. Use another --workdir; to go on from that"
          f" run's model, add --config.init_from={workdir}/model."
      )
  workdir.mkdir(parents=True, exist_ok=True)
  if jax.process_index() == 0:
    write_json(path, given)


def write_json(path: pathlib.Path, content):
  """Writes beside, then renames: a reader never sees half a file."""
  beside = path.with_name(f"{path.name}.tmp")
  beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
  os.replace(beside, path)
