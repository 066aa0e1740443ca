"""From a config to the parts of a run: the one place where they are wired."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable

import jax
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
    "parallel",  # But for rounding, as another number of devices.
    # Which batches come does not depend on who reads them, nor, but for records
    # that are damaged, on what happens to those.
    "data.workers",
    "data.on_corrupt",
    # What is kept for the backward pass, and what is a loop: rounding alone.
    "model.remat",
    "model.unroll",
)


@dataclasses.dataclass(frozen=True)
class Job:
  """What a config describes, but for its data.

  Attributes:
    model: the module.
    task: what it is trained by.
    model_kwargs: the arguments of `models.build` that made it.
    create_state: batch -> the state before the first step.
    train_step: (state, batch) -> (state, metrics).
    learning_rates: step -> rate by group.
  """

  model: object
  task: object
  model_kwargs: dict
  create_state: Callable
  train_step: Callable
  learning_rates: Callable


def resolve(config, workdir: pathlib.Path):
  """The config with the architectures of the released models that it names.

  Where `config.init_from` is set, name and arguments of `config.model` become
  those of that folder's model.json, but for what changes only the speed; no
  part comes from elsewhere. Likewise a model that a task needs, such as
  `config.task.teacher`, by its `init_from`; one that is pretrained is that of
  `config.pretrain`, from which what is given a folder is dropped. A run that
  was started keeps what it resolved to.

  Args:
    config: as it was loaded; not changed.
    workdir: the run's folder.

  Raises:
    FileNotFoundError, ValueError: no released model there.
  """
  path = workdir / "config.json"
  there = json.loads(path.read_text()) if path.exists() else {}
  config = config.copy_and_resolve_references()
  if config.init_from:
    started = there if there.get("init_from") == config.init_from else {}
    name, kwargs = _architecture(config.init_from, started.get("model"))
    given = config.model.to_dict()
    kept = {key: given[key] for key in configuration.SPEED if key in given}
    parts = {part: "" for part in given["init_from"]}
    with config.unlocked():
      config.model = {"name": name, "init_from": parts, **kwargs, **kept}
      config.pretrain = {}
  for part in list(config.pretrain):
    places = takers(config, part)
    given = [section[key] for section, key in places if section[key]]
    if given:  # Then there is nothing to pretrain.
      for section, key in places:
        section[key] = given[0]
      with config.unlocked():
        del config.pretrain[part]
  for part, section in config.task.items():
    if not hasattr(section, "items") or not {"name", "init_from"} <= {*section}:
      continue
    folder = section.init_from
    if part in config.pretrain:
      kwargs = config.pretrain[part].model.to_dict()
      name = kwargs.pop("name")
      del kwargs["init_from"]
    elif folder:
      started = there.get("task", {}).get(part, {})
      same = started.get("init_from") == folder
      name, kwargs = _architecture(folder, started if same else None)
    else:
      continue
    with config.unlocked():
      config.task[part] = {"name": name, "init_from": folder, **kwargs}
  return config


def _architecture(folder, started) -> tuple[str, dict]:
  """Name and arguments of a released model, but for those of its speed.

  Args:
    folder: the released model's.
    started: a section of the config of a run that has started, which needs the
      folder no longer; or None.
  """
  if started is None:
    card = released.read_card(folder)
    name, kwargs = card["name"], card["kwargs"]
  else:
    kwargs = dict(started)
    name = kwargs.pop("name")
  return name, {
      key: released.as_tuples(value)
      for key, value in kwargs.items()
      if key not in ("init_from", *configuration.SPEED)
  }


def takers(config, part: str) -> list:
  """Where a config asks for the folder of what `config.pretrain` has.

  Args:
    config: the whole config.
    part: a key of `config.pretrain`.

  Returns:
    Pairs of (section, key).

  Raises:
    ValueError: nowhere.
  """
  pairs = [(config.model.init_from, part), (config.eval.beside, part)]
  if hasattr(config.task.get(part), "items"):
    pairs.append((config.task[part], "init_from"))
  pairs = [(section, key) for section, key in pairs if key in section]
  if not pairs:
    raise ValueError(
        f"config.pretrain.{part} would be trained for nothing: neither"
        f" config.model.init_from, config.eval.beside nor config.task has a"
        f" {part}."
    )
  return pairs


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
      task=task,
      model_kwargs=kwargs,
      create_state=functools.partial(
          step.create_state,
          task,
          tx,
          config.seed,
          keep_ema=config.ema_decay > 0,
      ),
      train_step=functools.partial(
          step.train_step,
          task=task,
          tx=tx,
          ema_decay=config.ema_decay,
          accumulate=config.accumulate,
      ),
      learning_rates=optimizer.learning_rates(recipe, config.steps),
  )


def start_from_released(config, job, state):
  """The state with what it starts from taken from released models.

  `config.init_from` names a folder for the whole model,
  `config.model.init_from` one for a part of it, such as `motion`, and sections
  of `config.task` those of the task's `sources`.

  Args:
    config: the run's.
    job: the run's.
    state: before the first step.

  Raises:
    FileNotFoundError, ValueError: no released model there, or one of another
      kind; the first difference is named.
  """
  flat = _flat(state)
  for path, value in released_variables(config, job, state).items():
    flat[path] = jax.device_put(value, flat[path].sharding)
  variables = traverse_util.unflatten_dict(flat, sep="/")
  params = variables.pop("params")
  ema, ema_state = {}, {}
  if state.ema:
    ema, ema_state = step.start_average(job.task, params, variables)
  return state.replace(
      params=params, ema=ema, model_state=variables, ema_state=ema_state
  )


def released_variables(config, job, state, skip=()) -> dict:
  """What `start_from_released` puts in, as {"params/motion/...": array}.

  Args:
    config: the run's.
    job: the run's.
    state: before the first step; shapes are enough.
    skip: parts to leave out, because they are not there yet.

  Raises:
    FileNotFoundError, ValueError: as `start_from_released`.
  """
  flat, taken = _flat(state), {}

  def take(folder, ours, part, place, what):
    theirs, given = released.load(folder)
    theirs = getattr(theirs, part, None) if part else theirs
    if difference := _difference(ours, theirs):
      raise ValueError(
          f"The released model {folder} cannot start {what}: {difference}."
          " Change the config to match it, or start from another model."
      )
    for collection, tree in given.items():
      for name, value in traverse_util.flatten_dict(tree, sep="/").items():
        if part and not name.startswith(f"{part}/"):
          continue
        name = name.removeprefix(f"{part}/") if part else name
        path = f"{place.format(collection=collection)}/{name}"
        _check_shape(flat.get(path), value, path, folder)
        taken[path] = value

  folders = {"": config.init_from, **config.model.init_from.to_dict()}
  for part, folder in folders.items():
    if folder and part not in skip:
      ours = getattr(job.model, part) if part else job.model
      place, what = "{collection}", "config.model"
      if part:
        place, what = f"{place}/{part}", f"{what}.{part}"
      take(folder, ours, "", place, what)
  for source in getattr(job.task, "sources", ()):
    folder = config.task[source.section].init_from
    what = f"config.task.{source.section}"
    if source.section in skip:
      continue
    if folder:
      take(folder, source.module, source.part, source.place, what)
    elif source.needed:
      raise ValueError(
          f"{what} has no weights to start from. Name the folder of a released"
          f" model: --{what}.init_from=WORKDIR/model."
      )
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
