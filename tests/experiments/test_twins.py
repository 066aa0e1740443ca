import math

import pytest

from experiments.benchmarks import (
    accelerator,
    beside_torch,
    inference,
    measuring,
    subjects,
    twins,
)
from vidrestore_jax import models

QUICK = ("fastdvdnet", "ncfl_noq", "basicvsr_online", "spynet")


@pytest.fixture(scope="module")
def peer():
  pytest.importorskip("torch")
  return beside_torch.Torch()


def test_every_model_has_a_twin_and_a_small_form():
  names = set(models.available()) - {"unet"}  # It is a part of NCFL.
  assert set(twins.available()) == set(subjects.TINY) == names


@pytest.mark.parametrize("form", ["eager", "channels_last"])
@pytest.mark.parametrize(
    "label",
    [
        label if label in QUICK
        else pytest.param(label, marks=pytest.mark.slow)
        for label in inference.MODELS
    ],
)
def test_a_twin_gives_what_its_model_gives(peer, label, form):
  report = measuring.Report(None, math.inf, {}, repeats=2, row_limit=0)
  case = subjects.case(label, tiny=True)
  model = models.build(case[0], **dict(case[1]))
  for program in subjects.programs(model):
    beside_torch.compare(
        report, label, case, program, peer, (32, 64), ("float32",), (form,),
        "test", frames=3,
    )
  assert report.content["rows"]
  for row in report.content["rows"]:
    assert row.get("raised") is None
    # Also behind a quantiser: at this size no symbol is near a border.
    assert row["error"] < 1e-5, row["name"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fastdvdnet", accelerator.SMALL.fastdvdnet),
        ("ncfl", subjects.exact("ncfl", accelerator.SMALL.ncfl)),
        # With rounding: at this size no symbol is near a border.
        pytest.param(
            "ncfl", accelerator.SMALL.ncfl, marks=pytest.mark.slow
        ),
    ],
)
def test_a_training_step_has_the_gradients_of_its_twin(peer, name, arguments):
  found = beside_torch.same_gradients(name, arguments, peer, 32)
  assert found["error"] < 1e-4 and found["loss_error"] < 1e-5
