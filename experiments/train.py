"""One run: train (or only measure), then leave numbers, pictures, a model."""

import contextlib
import pathlib
from typing import Any, NamedTuple

import jax
import ml_collections
from jax.experimental import multihost_utils

from experiments import (
    commands,
    configuration,
    evaluation,
    preemption,
    processes,
    report,
    validation,
)
from experiments import job as jobs
from vidrestore_jax import data, degradations, profiling, released
from vidrestore_jax.data import pipeline
from vidrestore_jax.shapes import check_choice, check_named
from vidrestore_jax.training import loop, sharding
from vidrestore_jax.training import step as steps
from vidrestore_jax.training.checkpoints import Checkpoints
from vidrestore_jax.training.writers import Writer


class _Prepared(NamedTuple):
  """The parts of a run, checked, before anything is written."""

  mesh: Any
  job: jobs.Job
  iterator: Any
  batch: dict  # Zeros of a batch's shape.
  measure: Any


def run(
    config, workdir, *, command: str, training: bool = True,
    profile: bool = False, notice=None,
):
  """Runs a config in a folder, going on where it was stopped.

  Args:
    config: the whole config.
    workdir: the run's folder; made where it does not exist.
    command: the line that a person types to get this run, for the report.
    training: False to measure the newest checkpoint only.
    profile: whether to trace some steps, into `workdir`/profile.
    notice: a `preemption.Notice`, which may ask to save and leave.

  Raises:
    Preempted: after what the notice asked for.
    ValueError, OSError: bad input, a full disk, or a folder in which another
      run is going on; nothing is half-written.
    NonFiniteError: a step whose loss or gradient was not finite.
  """
  workdir = pathlib.Path(workdir).resolve()
  notice = notice or preemption.Notice()
  first = jax.process_index() == 0

  def say(line):
    if first:
      print(line, flush=True)

  # All that can be wrong with the config is found before anything is written.
  config = jobs.resolve(config, workdir)
  processes.check_same(config.to_json(sort_keys=True))
  sharding.connect()
  jobs.check_claim(workdir, config)
  if not training and not (workdir / "checkpoints").is_dir():
    raise FileNotFoundError(
        f"{workdir} has no checkpoints to measure. Train first: the same"
        " command without --mode=eval."
    )
  prepared = _prepare(config, workdir, say)
  if training:
    for stage, folder in _stages(config, workdir):
      _prepare(jobs.resolve(stage, folder), folder, say)
  # The processes of one run share a folder; two runs do not.
  with commands.alone_in(workdir) if first else contextlib.nullcontext():
    jobs.check_claim(workdir, config)  # Nobody changes it any more.
    trace = None
    if profile and training and first:
      trace = profiling.Trace(workdir / "profile", "train", say=say)
    _run_prepared(
        prepared, config, workdir, command, training, trace, notice, say
    )


def _run_prepared(
    prepared, config, workdir, command, training, trace, notice, say
):
  """`run`, with nothing left that could be wrong with the config."""
  mesh, job, iterator, batch, measure = prepared
  claimed, first = config, jax.process_index() == 0
  if training:
    jobs.claim(workdir, claimed)  # Without what pretraining adds.
    _pretrain(config, workdir, command, notice, say)
  if config.pretrain:
    config = _with_pretrained(config, workdir)
    # What is measured beside the run's model may have been trained just now.
    measure = validation.build(config, job.model, say=say)

  state = sharding.jit_init(job.create_state, mesh)(batch)
  store = Checkpoints(
      workdir / "checkpoints",
      keep=config.keep,
      metric=measure.metric,
      mode=measure.mode,
      say=say,
  )
  # Closed whatever happens: a save under way is finished, and so are the
  # processes that read.
  with (
      contextlib.closing(store) as checkpoints,
      contextlib.closing(iterator),
      trace or contextlib.nullcontext(),
      processes.ending_together(),
  ):
    state, step = checkpoints.restore(state, iterator)
    if step:
      say(f"Goes on from step {step} of {workdir}.")
    elif training:
      state = jobs.start_from_released(config, job, state)
    else:
      raise FileNotFoundError(f"{workdir} has no whole checkpoint to measure.")
    if training:
      compile_step, place = sharding.PARALLEL[config.parallel]
      train_step = compile_step(job.train_step, mesh)
      if trace:
        train_step = trace.watched(train_step)
      writer = Writer(workdir, step=step, active=first)
      writer.text(step, "config", f"```\n{config.to_json(indent=2)}\n```")
      agree = sharding.any_process(mesh)
      state = loop.run(
          state,
          iterator,
          steps=config.steps,
          train_step=train_step,
          to_devices=lambda batch: place(batch, mesh),
          checkpoints=checkpoints,
          writer=writer,
          learning_rates=job.learning_rates,
          evaluate=lambda state: measure.watch(_variables(job, state)),
          log_every=config.log_every,
          eval_every=config.eval_every,
          checkpoint_every=config.checkpoint_every,
          counts=lambda: (
              {"skipped": iterator.skipped}
              if config.data.on_corrupt == "skip"
              else {}
          ),
          stop=lambda: notice.stop(agree),
          say=say,
      )
      writer.close()
      notice.saved(int(state.step), agree)
  if not training:
    jobs.claim(workdir, claimed)
  if first:
    _finish(config, workdir, job, state, measure, command, say)
  if jax.process_count() > 1:  # The others may go on to load what it wrote.
    multihost_utils.sync_global_devices("finished")


def _prepare(config, workdir, say) -> _Prepared:
  """The parts of a run.

  Raises:
    ValueError, OSError: whatever is wrong with the config.
  """
  check_choice("config.parallel", config.parallel, sharding.PARALLEL)
  mesh = _mesh(config, say)
  job = jobs.build(config)
  measure = validation.build(config, job.model, say=say)
  iterator, batch = batches(config)
  shapes = jax.eval_shape(job.create_state, batch)
  # A run that has started needs no longer what it started from.
  if not (workdir / "config.json").exists():
    jobs.released_variables(config, job, shapes, skip=config.pretrain)
  return _Prepared(mesh, job, iterator, batch, measure)


def _mesh(config, say):
  """The devices of a run: all that its batch splits over, and says which."""
  parts = config.accumulate
  devices = sharding.fitting_devices(config.batch_size, parts=parts)
  mesh = sharding.data_mesh(config.batch_size, devices, parts=parts)
  if mesh.size < jax.device_count():
    say(
        f"Uses {mesh.size} of {jax.device_count()} devices: batch_size"
        f" {config.batch_size} splits over no more"
        + (f" in {parts} parts each." if parts > 1 else ".")
    )
    sharding.connect(mesh)
  return mesh


def batches(config):
  """The batches that a config trains on.

  Args:
    config: the whole config.

  Returns:
    The pair (grain iterator of this process's batches, zeros of the shapes of
    a batch of one).

  Raises:
    ValueError, OSError: there is something wrong with the data.
  """
  source = data.build(**config.data.train.to_dict())
  element = {
      "clip_length": config.clip_length,
      "patch_size": config.patch_size,
      "augment": config.data.augment,
      "degrade": _pipeline_degradation(config),
  }
  iterator = pipeline.train_iterator(
      source,
      batch_size=config.batch_size,
      seed=config.seed,
      workers=config.data.workers,
      shard_index=jax.process_index(),
      shard_count=jax.process_count(),
      on_corrupt=config.data.on_corrupt,
      say=lambda line: print(line, flush=True),  # Of every process.
      **element,
  )
  return iterator, pipeline.example_batch(source, **element)


def _pipeline_degradation(config):
  """What `config.data.degradation` describes, or None.

  Raises:
    ValueError: no such degradation, one in the section of the other kind, or
      one in each.
  """
  named = {}
  for section, other, place, elsewhere in (
      ("data", "task", "pipeline", "on the device, in the train step"),
      ("task", "data", "device", "in the data pipeline"),
  ):
    given = config[section].get("degradation")  # Not every task has one.
    if given is None:
      continue
    if isinstance(given, ml_collections.ConfigDict):
      given = given.to_dict()
    check_named(f"config.{section}.degradation", given)
    named[section] = given["name"]
    if degradations.place(given["name"]) != place:
      raise ValueError(
          f"config.{section}.degradation is {given['name']}, which runs"
          f" {elsewhere}. Give it as config.{other}.degradation, and None as"
          f" config.{section}.degradation."
      )
  if len(named) == 2:
    raise ValueError(
        f"Clips are degraded once, but config.data.degradation is"
        f" {named['data']} and config.task.degradation is {named['task']}. Set"
        " one of them to None."
    )
  if "data" not in named:
    return None
  return degradations.build(**config.data.degradation.to_dict())


def _stages(config, workdir):
  """Each unfinished config of `config.pretrain` with its folder."""
  for part, stage in config.pretrain.items():
    folder = workdir / "pretrain" / part
    if not (folder / "summary.json").exists():
      yield stage, folder


def _pretrain(config, workdir, command, notice, say):
  """Runs what of `config.pretrain` is not finished."""
  for stage, folder in _stages(config, workdir):
    say(f"Pretrains {folder.name} in {folder}.")
    run(stage, folder, command=command, notice=notice)


def _with_pretrained(config, workdir):
  """The config with the folders that `config.pretrain` left, where it asks."""
  config = config.copy_and_resolve_references()
  for part in config.pretrain:
    folder = workdir / "pretrain" / part
    if (folder / "summary.json").exists():
      for section, key in jobs.takers(config, part):
        section[key] = str(folder / "model")
  return config


def _variables(job, state) -> dict:
  """The variables to use the model with, on the host: the EMA where kept."""
  params, others = state.ema, state.ema_state
  if not state.ema:
    params, others = steps.of_model(job.task, state.params, state.model_state)
  return jax.device_get({"params": params, **others})


def _finish(config, workdir, job, state, measure, command, say):
  """Measures, then writes model/, report/ and, last of all, summary.json."""
  variables = _variables(job, state)
  say("Measures ...")
  results = measure.full(variables)
  measured = {"metrics": results.metrics(), "protocol": results.protocol}
  released.save(
      workdir / "model",
      name=config.model.name,
      kwargs=job.model_kwargs,
      variables=variables,
      task=config.task.name,
      numbers=measured,
  )
  params, _ = steps.of_model(job.task, state.params, state.model_state)
  summary = {
      "step": int(state.step),
      "params_sha256": released.params_sha256(jax.device_get(params)),
      "commit": evaluation.commit(),
      **measured,
  }
  page = report.write_report(
      workdir,
      title=f"{config.model.name}, {config.task.name}",
      command=command,
      config=configuration.as_json(config),
      summary=summary,
      evaluations=results.evaluations,
      ours=validation.OURS,
      published=results.published,
      published_as=config.eval.published_as,
      marks=_marks(config),
      **results.shown,
  )
  # Last, so that a summary says that everything else is there.
  commands.write_json(workdir / "summary.json", summary)
  say(f"\n{results.table()}\n\nReport: {page}\nModel: {workdir / 'model'}")


def _marks(config) -> dict[int, str]:
  """Steps at which training changes, for the curves."""
  marks = {
      group.frozen_steps: f"{name} is trained from here"
      for name, group in config.optimizer.groups.items()
  }
  if "rate_steps" in config.task:
    marks[config.task.rate_steps] = "stage two: no rate"
  return {step: mark for step, mark in marks.items() if 0 < step < config.steps}
