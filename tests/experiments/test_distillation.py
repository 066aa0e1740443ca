"""One command trains teacher, base and student, and releases the student."""

import contextlib
import json

import jax
import numpy as np
import pytest

from experiments import (
    complexity,
    configuration,
    distillation_weights,
    job,
    train,
)
from vidrestore_jax import released
from vidrestore_jax.inference import streaming
from vidrestore_jax.tasks import distillation
from vidrestore_jax.training import checkpoints, sharding, writers

TINY = "tests/experiments/tiny_std.py"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A run with all that comes before it; tests that need it are slow."""
  workdir = tmp_path_factory.mktemp("whole")
  train.run(configuration.load(TINY), workdir, command="train")
  return workdir


def _logged(workdir, name):
  return [line[name] for line in writers.read(workdir) if name in line]


@pytest.mark.slow
def test_every_part_is_logged(whole):
  for name in (
      "reconstruction_loss", "space_loss", "time_loss", "weighted_space_loss",
      "weighted_time_loss", "conv_lstm_frozen",
  ):
    assert len(_logged(whole, name)) == 4, name
  total = np.add(
      _logged(whole, "reconstruction_loss"),
      np.add(
          _logged(whole, "weighted_space_loss"),
          _logged(whole, "weighted_time_loss"),
      ),
  )
  np.testing.assert_allclose(_logged(whole, "loss"), total, rtol=1e-5)


@pytest.mark.slow
def test_the_released_model_is_the_student_and_costs_what_it_costs_alone(whole):
  base = whole / "pretrain" / "base" / "model"
  (model, variables), (alone, others) = map(
      released.load, (whole / "model", base)
  )
  assert model == alone
  assert set(variables) == {"params"} and set(variables["params"]) == {"trunk"}
  assert jax.tree.structure(variables) == jax.tree.structure(others)
  costs = [
      complexity.measure(m, width=16, height=16) for m in (model, alone)
  ]
  assert costs[0] == costs[1]
  clip = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
  window = clip[:, None]
  compiled = [
      jax.jit(m.apply).lower(v, window).compile().cost_analysis()
      for m, v in ((model, variables), (alone, others))
  ]
  assert compiled[0] == compiled[1]
  assert streaming.restore_clip(model, variables, clip).frames.shape[1] == 32


@pytest.mark.slow
def test_both_students_and_the_teacher_are_side_by_side(whole):
  summary = json.loads((whole / "summary.json").read_text())
  scores = summary["metrics"]["mean"]
  assert list(scores) == ["ours", "bicubic", "base", "teacher"]
  stage = json.loads((whole / "pretrain" / "base/summary.json").read_text())
  assert scores["base"] == stage["metrics"]["mean"]["ours"]
  assert scores["ours"] != scores["base"]
  page = (whole / "report" / "index.html").read_text()
  for name in ("base", "teacher", "bicubic"):
    assert f'<th scope="col">{name}</th>' in page


@pytest.mark.slow
def test_the_hash_is_of_the_raw_parameters_of_the_student(whole):
  config = job.resolve(configuration.load(TINY), whole)
  built = job.build(config)
  iterator, batch = train.batches(config)
  state = jax.jit(built.create_state)(batch)
  with contextlib.closing(iterator), contextlib.closing(
      checkpoints.Checkpoints(whole / "checkpoints", keep=3)
  ) as store:
    state, step = store.restore(state, iterator)
  summary = json.loads((whole / "summary.json").read_text())
  assert step == summary["step"] == 4
  student = {"trunk": state.params["trunk"]}
  assert summary["params_sha256"] == released.params_sha256(student)
  # Released is their average.
  _, variables = released.load(whole / "model")
  jax.tree.map(
      np.testing.assert_array_equal, variables, {"params": state.ema}
  )


@pytest.mark.slow
def test_it_starts_from_what_was_trained_before(whole):
  config = job.resolve(configuration.load(TINY), whole)
  config = train._with_pretrained(config, whole)
  built = job.build(config)
  _, batch = train.batches(config)
  state = jax.jit(built.create_state)(batch)
  state = job.start_from_released(config, built, state)
  own = state.model_state["distillation"]
  _, teacher = released.load(whole / "pretrain" / "teacher" / "model")
  jax.tree.map(np.testing.assert_array_equal, own["teacher"], teacher)
  _, predictor = released.load(whole / "pretrain" / "conv_lstm" / "model")
  jax.tree.map(
      np.testing.assert_array_equal,
      state.params["distillation"]["conv_lstm"],
      predictor["params"]["conv_lstm"],
  )
  # Beside a student that starts as the base did.
  base = configuration.load(f"{TINY}:base")
  alone = jax.jit(job.build(base).create_state)(train.batches(base)[1])
  jax.tree.map(
      np.testing.assert_array_equal, state.params["trunk"],
      alone.params["trunk"],
  )


@pytest.mark.slow
def test_a_kill_before_the_guard_changes_nothing(
    whole, tmp_path, monkeypatch
):
  """The ConvLSTM is frozen in the middle of a run that was stopped before."""
  folders = whole / "pretrain"

  def run(name):
    config = configuration.load(TINY)
    with config.unlocked():
      config.pretrain, config.eval.beside = {}, {}
    for part in ("teacher", "conv_lstm"):
      config.task[part].init_from = str(folders / part / "model")
    train.run(config, tmp_path / name, command="")

  times = _logged(whole, "time_loss")
  met = next(i for i in range(1, 4) if times[i] < min(times[:i]))
  monkeypatch.setattr(distillation, "GUARD", times[met] * 1.0001)
  run("unbroken")
  frozen = _logged(tmp_path / "unbroken", "conv_lstm_frozen")
  assert frozen == [step >= met for step in range(4)]

  class KilledError(Exception):
    pass

  def dying(step, mesh, jit_step=sharding.jit_step):
    step, calls = jit_step(step, mesh), []

    def call(*args):
      calls.append(1)
      if len(calls) > met:
        raise KilledError
      return step(*args)

    return call

  with monkeypatch.context() as context:
    how = (dying, sharding.to_devices)
    context.setitem(sharding.PARALLEL, "jit", how)
    with pytest.raises(KilledError):
      run("killed")
  # The teacher is in the checkpoint: its folder is needed no more.
  (folders / "teacher").rename(folders / "moved")
  lines = []
  with monkeypatch.context() as context:
    context.setattr("builtins.print", lambda *a, **k: lines.append(str(a[0])))
    run("killed")
  (folders / "moved").rename(folders / "teacher")
  assert any("Goes on from step" in line for line in lines)
  summaries = [
      json.loads((tmp_path / name / "summary.json").read_text())
      for name in ("unbroken", "killed")
  ]
  assert summaries[0]["params_sha256"] == summaries[1]["params_sha256"]


def test_without_a_teacher_nothing_starts(tmp_path):
  config = configuration.load(TINY)
  with config.unlocked():
    config.pretrain = {}
  with pytest.raises(ValueError, match="task.teacher.init_from=WORKDIR/model"):
    train.run(config, tmp_path / "run", command="")
  assert not (tmp_path / "run").exists()
  with config.unlocked():
    config.pretrain = {"nobody": configuration.load(f"{TINY}:base")}
  with pytest.raises(ValueError, match="nobody would be trained for nothing"):
    train.run(config, tmp_path / "run", command="")


@pytest.mark.slow
def test_the_weights_make_each_part_a_tenth(whole, tmp_path, capsys):
  arguments = [
      f"--config={TINY}:unweighted",
      f"--config.task.teacher.init_from={whole}/pretrain/teacher/model",
      f"--config.init_from={whole}/pretrain/base/model",
      "--batches=2",
      f"--json={tmp_path}/weights.json",
  ]
  assert distillation_weights.main(arguments) == 0
  found = json.loads((tmp_path / "weights.json").read_text())
  text = capsys.readouterr().out
  for loss, name in (("space_loss", "lambda_sd"), ("time_loss", "lambda_td")):
    share = found["losses"][loss] * found["weights"][name]
    np.testing.assert_allclose(
        share, 0.1 * found["losses"]["reconstruction_loss"], rtol=1e-6
    )
    assert f"--config.task.{name}={found['weights'][name]:.3g}" in text
  ratio = found["losses"]["energy_ratio"]
  assert ("--config.task.normalize=l2" in text) == (not 0.25 < ratio < 4)
  assert distillation_weights.main([f"--config={TINY}:base"]) == 2
  assert "which has nothing to weigh" in capsys.readouterr().err
  with pytest.raises(ValueError, match="time_loss is 0"):
    distillation_weights.weights(
        {"reconstruction_loss": 1.0, "time_loss": 0.0}, 0.1
    )
