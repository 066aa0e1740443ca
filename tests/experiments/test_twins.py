import pytest

from experiments.benchmarks import accelerator, beside_torch

TINY = accelerator.SMALL


@pytest.fixture(scope="module")
def peer():
  pytest.importorskip("torch")
  return beside_torch.Torch()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fastdvdnet", TINY.fastdvdnet),
        ("ncfl", (*TINY.ncfl, ("feature_refiner", "noq"))),
        # With rounding: at this size no symbol is near a border.
        pytest.param("ncfl", TINY.ncfl, marks=pytest.mark.slow),
    ],
)
def test_a_training_step_has_the_gradients_of_its_twin(peer, name, arguments):
  found = beside_torch.same_gradients(name, arguments, peer, 32)
  assert found["error"] < 1e-4 and found["loss_error"] < 1e-5
