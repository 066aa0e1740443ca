"""One command trains PISR's teacher and then its student, and releases that."""

import json

import jax
import numpy as np

from experiments import configuration, train
from vidrestore_jax import released
from vidrestore_jax.training import writers

DECODER = {"depth": 3, "width": 4}


def test_a_student_starts_as_its_teachers_decoder(tmp_path):
  """And stays it, at a rate of zero."""
  config = configuration.load("configs/pisr_vimeo.py:demo")
  teacher = config.pretrain.teacher
  for stage in (config, teacher):
    stage.update(steps=2, batch_size=2, patch_size=16, log_every=1)
    stage.data.train.update(height=16, width=16)
    stage.eval.data.update(size=1, length=2, height=24, width=24)
  for section in (teacher.model, config.task.teacher):
    section.update(width=3, shrunk=2)
    section.decoder.update(DECODER)
  config.model.update(DECODER)
  config.optimizer.learning_rate = 0.0
  train.run(config, tmp_path, command="train")

  student, variables = released.load(tmp_path / "model")
  taught, theirs = released.load(tmp_path / "pretrain/teacher/model")
  assert student == taught.decoder
  assert set(theirs["params"]) == {"encoder", "decoder"}
  decoder = {"params": theirs["params"]["decoder"]}
  jax.tree.map(np.testing.assert_array_equal, variables, decoder)
  for folder, part in (
      (tmp_path, "information_loss"),
      (tmp_path / "pretrain/teacher", "imitation_loss"),
  ):
    logged = [line for line in writers.read(folder) if part in line]
    assert len(logged) == 2
    assert all(np.isfinite(line[part]) for line in logged)
  scores = json.loads((tmp_path / "summary.json").read_text())["metrics"]
  assert set(scores["mean"]) == {"ours", "bicubic"}
