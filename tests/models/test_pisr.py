"""PISR's teacher: its size, its reach, and what it restores."""

import jax
import numpy as np
import pytest

from tests.models import measures
from vidrestore_jax import models

TINY = dict(
    decoder={"name": "fsrcnn", "scale": 2, "width": 3, "shrunk": 2, "depth": 1},
    width=3,
    shrunk=2,
)


def test_its_encoder_has_the_parameters_of_the_release():
  teacher = models.build("pisr", decoder={"name": "fsrcnn"})
  params, _ = measures.cost(teacher)
  encoder = 1_456 + 78_456 + 6_060 + 109 + 3  # Three slopes.
  assert params == encoder + 12_637 + 7


def test_the_pseudo_image_goes_through_the_decoder_as_an_image_would():
  teacher = models.build("pisr", **TINY)
  variables = measures.averaging(teacher)
  window = np.random.default_rng(0).random((2, 1, 8, 12, 3), np.float32)
  restored = measures.apply(teacher, variables, window).frames

  @jax.jit
  def parts(large):
    small, *made = teacher.apply(variables, large, method="privileged")
    decoder = {"params": variables["params"]["decoder"]}
    again = teacher.decoder.apply(decoder, small, method="restore_luminance")
    return small, made, again

  large = np.random.default_rng(1).random((2, 8, 12, 1), np.float32)
  small, made, again = parts(large)
  assert small.shape == (2, 4, 6, 1)
  for ours, theirs in zip(made, again, strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
  # Chroma is the frame's own: the same is added to every colour.
  added = restored - window[:, 0]
  np.testing.assert_allclose(added[..., 0], added[..., 2], atol=1e-6)


@pytest.mark.parametrize("name", ["fsrcnn", "vdsr"])
def test_a_pixel_reaches_as_far_as_the_halo_and_no_farther(name):
  decoder = TINY["decoder"]
  if name == "vdsr":
    decoder = {"name": "vdsr", "scale": 2, "width": 2, "depth": 2}
  teacher = models.build("pisr", **TINY | {"decoder": decoder}, channels=1)
  variables = measures.averaging(teacher)
  found = measures.reach(teacher, variables, rows=2, columns=60, frame=0)
  assert teacher.halo - 2 <= found <= teacher.halo


def test_what_does_not_suit_is_named():
  teacher = models.build("pisr", **TINY)
  with pytest.raises(ValueError, match="Pad to 8x6"):
    teacher.apply(measures.shapes(teacher), np.zeros((1, 1, 7, 6, 3)))
  for decoder, problem in (
      ({"name": "duf"}, "DUF with a scale of 4 does not. Take fsrcnn or vdsr"),
      ({"name": "vdsr", "scale": 1}, "VDSR with a scale of 1 does not"),
      ({}, "PISR's decoder needs a name"),
  ):
    with pytest.raises(ValueError, match=problem):
      models.build("pisr", decoder=decoder)
