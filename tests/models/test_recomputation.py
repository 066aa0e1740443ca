"""What is kept for the backward pass changes no parameter and no gradient."""

import functools

import jax
import numpy as np
import pytest

from tests.models import tiny
from vidrestore_jax import models
from vidrestore_jax.layers.residual import ResTrunk
from vidrestore_jax.training import sharding

POLICIES = {name: ("step", "block") for name in tiny.NAMES} | {
    "duf": ("block",), "conv_lstm": ("step",)
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_changes_no_parameter(name):
  kept = tiny.shapes(tiny.build(name))
  for remat in POLICIES[name]:
    assert tiny.shapes(tiny.build(name, remat=remat)) == kept


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_changes_no_gradient(name):
  def gradient(**changes):
    run = jax.grad(tiny.loss(tiny.build(name, **changes)), has_aux=True)
    # As training compiles it: really computed anew.
    return sharding.jit(run)(*tiny.variables(name))

  wanted = gradient()
  forms = [{"remat": remat} for remat in POLICIES[name]]
  if name == "ncfl":  # Within a loop over time as well.
    forms += [{"remat": remat, "unroll": 0} for remat in POLICIES[name]]
  largest = max(np.abs(w).max() for w in jax.tree.leaves(wanted[0]))
  for form in forms:
    for f, w in zip(
        jax.tree.leaves(gradient(**form)),
        jax.tree.leaves(wanted),
        strict=True,
    ):
      if np.abs(w).max() < 1e-6 * largest:
        # Of a bias that BatchNorm takes away again: zero, but for rounding.
        assert np.abs(f).max() < 1e-6 * largest, form
      else:
        assert np.abs(f - w).max() <= 1e-5 * np.abs(w).max(), form


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_that_does_not_exist_is_refused(name):
  for remat in {"all", False, "step", "block"} - set(POLICIES[name]):
    with pytest.raises(ValueError, match=f"remat is one of none.*{remat!r}"):
      tiny.build(name, remat=remat)


def test_parts_of_models_refuse_a_policy_that_they_do_not_have():
  for name in ("spynet", "unet"):
    with pytest.raises(ValueError, match="remat is one of none, block"):
      models.build(name, remat="step")


def _trunk_gradient(remat):
  """Of a chain of blocks: the compiled program and its arguments."""
  trunk = ResTrunk(8, blocks=12, remat=remat)
  x = np.random.default_rng(0).random((2, 32, 32, 8), np.float32)
  variables = jax.jit(trunk.init)(jax.random.key(0), x)

  def loss(variables, x):
    return (trunk.apply(variables, x) ** 2).mean()

  program = sharding.jit(jax.grad(loss)).lower(variables, x).compile()
  return program, (variables, x)


@functools.cache
def _trunk_gradients():
  return {remat: _trunk_gradient(remat) for remat in ("none", "block")}


def test_blocks_that_are_computed_anew_are_not_kept():
  """XLA's CPU backend undoes it unless it is told not to."""
  kept = {
      remat: program.memory_analysis().temp_size_in_bytes
      for remat, (program, _) in _trunk_gradients().items()
  }
  assert kept["block"] < 0.6 * kept["none"], kept


def test_blocks_that_are_computed_anew_have_the_same_gradients():
  found, wanted = (
      program(*args) for program, args in reversed(_trunk_gradients().values())
  )
  jax.tree.map(
      lambda f, w: np.testing.assert_allclose(f, w, rtol=1e-5, atol=1e-7),
      found,
      wanted,
  )
