"""From a config to the parts of a run: the one place where they are wired."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import traverse_util

from experiments import commands, configuration
from vidrestore_jax import models, released, tasks
from vidrestore_jax.training import optimizer, step

# What may change from one start of a run to the next: it decides what is seen
# and kept of the run, and not what the run computes.
_MAY_CHANGE = (
    "log_every",
    "eval_every",
    "checkpoint_every",
    "keep",
    "eval.",
    # Which batches come does not depend on who reads them, nor, but for records
    # that are damaged, on what happens to those.
    "data.workers",
    "data.on_corrupt",
)


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


def resolve(config, workdir: pathlib.Path):
  """The config with the architecture of the model that it fine-tunes.

  Where `config.init_from` is set, name and arguments of `config.model` become
  those of that folder's model.json, but for what changes only the speed; no
  part comes from elsewhere. A run that was started keeps what it resolved to.

  Args:
    config: as it was loaded; not changed.
    workdir: the run's folder.

  Raises:
    FileNotFoundError, ValueError: no released model there.
  """
  if not config.init_from:
    return config
  path = workdir / "config.json"
  there = json.loads(path.read_text()) if path.exists() else {}
  if there.get("init_from") == config.init_from:
    kwargs = dict(there["model"])
    name = kwargs.pop("name")
  else:
    card = released.read_card(config.init_from)
    name, kwargs = card["name"], card["kwargs"]
  given = config.model.to_dict()
  kept = {key: given[key] for key in configuration.SPEED if key in given}
  kwargs = {
      key: released.as_tuples(value)
      for key, value in kwargs.items()
      if key not in ("init_from", *configuration.SPEED)
  }
  config = config.copy_and_resolve_references()
  with config.unlocked():
    parts = {part: "" for part in given["init_from"]}
    config.model = {"name": name, "init_from": parts, **kwargs, **kept}
    config.pretrain = {}
  return config


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
  flat = _flat(state)
  for path, value in released_variables(config, model, state).items():
    flat[path] = jax.device_put(value, flat[path].sharding)
  variables = traverse_util.unflatten_dict(flat, sep="/")
  params = variables.pop("params")
  # Copies: a donated state must not hold one buffer twice.
  ema, ema_state = jax.tree.map(
      jnp.copy, (params, variables) if state.ema else ({}, {})
  )
  return state.replace(
      params=params, ema=ema, model_state=variables, ema_state=ema_state
  )


def released_variables(config, model, state, skip=()) -> dict:
  """What `start_from_released` puts in, as {"params/motion/...": array}.

  Args:
    config: the run's.
    model: the run's.
    state: before the first step; shapes are enough.
    skip: parts to leave out, because they are not there yet.

  Raises:
    FileNotFoundError, ValueError: as `start_from_released`.
  """
  folders = {"": config.init_from, **config.model.init_from.to_dict()}
  flat, taken = _flat(state), {}
  for part, folder in folders.items():
    if not folder or part in skip:
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
        _check_shape(flat.get(path), value, path, folder)
        taken[path] = value
  return taken


def _flat(state) -> dict:
  """The state's variables as {"params/motion/...": leaf}."""
  variables = {"params": state.params, **state.model_state}
  return traverse_util.flatten_dict(variables, sep="/")


def _check_shape(old, new, path: str, folder):
  if old is None or old.shape != new.shape:
    shape = "absent" if old is None else list(old.shape)
    raise ValueError(
        f"The released model {folder} does not fit: {path} has shape"
        f" {list(new.shape)} there and is {shape} here."
    )


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
    if field.name in ("parent", "name", *configuration.SPEED):
      continue
    name = field.name if path == "it" else f"{path}.{field.name}"
    pair = getattr(ours, field.name), getattr(theirs, field.name)
    if found := _difference(*pair, name):
      return found
  return None


def check_claim(workdir: pathlib.Path, config):
  """Checks that the folder is this config's, or no run's; writes nothing.

  Raises:
    ValueError: the folder belongs to a run of another config.
  """
  path = workdir / "config.json"
  if path.exists():
    there = configuration.flatten(json.loads(path.read_text()))
    here = configuration.flatten(configuration.as_json(config))
    differing = [
        f"{key} ({there.get(key, 'absent')!r} there,"
        f" {here.get(key, 'absent')!r} here)"
        for key in sorted(there | here)
        if there.get(key) != here.get(key) and not key.startswith(_MAY_CHANGE)
    ]
    if differing:
      way_out = "Use another --workdir"
      if (workdir / "model").is_dir():
        way_out += (
            "; to go on from that run's model, add"
            f" --config.init_from={workdir}/model"
        )
      raise ValueError(
          f"{workdir} holds a run of another config; it differs in"
          f" {', '.join(differing)}. {way_out}."
      )


def claim(workdir: pathlib.Path, config):
  """Makes the folder this config's: writes its `config.json`."""
  workdir.mkdir(parents=True, exist_ok=True)
  if jax.process_index() == 0:
    commands.write_json(workdir / "config.json", configuration.as_json(config))
