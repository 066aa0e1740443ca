"""A model of two stages is measured with its first stage beside it."""

import json

import jax
import numpy as np
import pytest

from experiments import evaluate, evaluation, report
from vidrestore_jax import models, released
from vidrestore_jax.inference import frames_io, streaming
from vidrestore_jax.metrics import protocols

TINY = {
    "image": {"width": 2, "output_widths": (2, 2)},
    "video": {"widths": (2, 2, 2), "interm": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A released FITVNet of random variables, and a clip beside it."""
  path = tmp_path_factory.mktemp("two_stages")
  model = models.build("fitvnet", **TINY)
  window, noise = np.zeros((1, 5, 32, 32, 3)), np.zeros((1, 32, 32, 1))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
      lambda leaf: rng.uniform(0, 0.5, leaf.shape).astype(np.float32),
      jax.eval_shape(model.init, jax.random.key(0), window, noise),
  )
  released.save(
      path / "model", name="fitvnet", kwargs=TINY, variables=variables
  )
  (path / "clip").mkdir()
  for t in range(3):
    frame = rng.integers(0, 256, (16, 20, 3), np.uint8)
    frames_io.write_png(path / f"clip/{t}.png", frame)
  return path


def test_the_first_stage_has_a_row_and_stands_in_the_models_own_json(
    folder, capsys
):
  out = folder / "out.json"
  status = evaluate.main([
      f"--model={folder / 'model'}",
      f"--data={folder / 'clip'}",
      "--protocol=fastdvdnet",
      "--sigma=30",
      f"--json={out}",
  ])
  assert status == 0
  whole = json.loads(out.read_text())
  stage = whole.pop("stage_one")
  rows = capsys.readouterr().out.split("Protocol")[1]
  for name, result in (("fitvnet", whole), ("fitvnet stage one", stage)):
    assert result["model"]["name"] == name
    value = f"{result['mean']['psnr']:.2f}"
    assert any(
        row.split("|")[1].strip() == name and value in row
        for row in rows.splitlines()
        if row.startswith("|")
    )
  # It is what the whole model's second stage was given.
  (item,) = evaluation.folder_clips(folder / "clip")
  protocol = protocols.get("fastdvdnet")
  clean, noisy = evaluation.prepare(item, protocol, 30)
  restored = streaming.restore_clip(
      *released.load(folder / "model"),
      noisy,
      sigma=30 / 255,
      aux=("pre_denoised",),
  )
  for result, frames in (
      (whole, restored.frames),
      (stage, restored.aux["pre_denoised"]),
  ):
    score = protocols.score(protocols.clamp(frames), clean, protocol)
    np.testing.assert_allclose(
        result["mean"]["psnr"], np.mean(score["psnr"]), atol=1e-4
    )


def test_other_models_and_methods_have_no_first_stage():
  assert evaluation.first_stage("median3") is None
  assert evaluation.first_stage_restorer(models.build("fastdvdnet"), {}) is None


def test_a_stage_of_the_model_is_no_baseline_of_it(tmp_path):
  def of(psnr):
    numbers = {"psnr": psnr, "ssim": 0.5}
    return evaluation.Evaluation({"walk": numbers}, numbers, [])

  methods = {"ours": of(30.0), "ours stage one": of(29.0), "noisy": of(20.0)}
  page = report.write_report(
      tmp_path, title="", command="", config={}, summary={},
      evaluations={30: methods},
  )
  assert "+10.00 dB against noisy, the best of the rest" in page.read_text()
