"""What is kept for the backward pass changes no parameter and no gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import tiny
from vidrestore_jax import models
from vidrestore_jax.training import sharding

POLICIES = {name: ("step", "block") for name in tiny.ARGUMENTS} | {
    "duf": ("block",), "conv_lstm": ("step",)
}


def _gradient(model, params, state):
  """Loss, gradients and model state after it."""
  run = jax.value_and_grad(
      tiny.loss(model, tiny.batch(model)), has_aux=True
  )
  (loss, (state, _)), gradients = run(params, state)
  return loss, gradients, state


def _largest_difference(found, wanted):
  """Over all leaves, in units of a leaf's largest value."""
  pairs = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
  return max(
      float(np.abs(f - w).max() / max(np.abs(w).max(), 1e-6)) for f, w in pairs
  )


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_changes_no_parameter(name):
  kept = tiny.shapes(tiny.build(name))
  for remat in POLICIES[name]:
    assert tiny.shapes(tiny.build(name, remat=remat)) == kept


@pytest.mark.parametrize(
    "name",
    [
        "ncfl",
        "fastdvdnet",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in POLICIES
            if name not in ("ncfl", "fastdvdnet")
        ),
    ],
)
def test_a_policy_changes_no_gradient(name):
  variables = tiny.draw(tiny.shapes(tiny.build(name)))
  wanted, *found = (
      # As training compiles it: really computed anew.
      sharding.jit(functools.partial(_gradient, tiny.build(name, remat=remat)))(
          *variables
      )
      for remat in ("none", *POLICIES[name])
  )
  for gradients in found:
    assert _largest_difference(gradients, wanted) < 1e-5


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_that_does_not_exist_is_refused(name):
  for remat in {"all", False, "step", "block"} - set(POLICIES[name]):
    with pytest.raises(ValueError, match=f"remat is one of none.*{remat!r}"):
      models.build(name, **tiny.ARGUMENTS[name], remat=remat)


@pytest.mark.parametrize("policy", ["step", "block"])
@pytest.mark.parametrize("name", ["ncfl", "fastdvdnet"])
def test_a_policy_halves_what_a_backward_pass_keeps(name, policy):
  """As the program says itself; XLA's CPU backend would undo it."""
  batch = 8

  def kept(remat):
    model = tiny.build(name, remat=remat)
    clips = tiny.batch(model, batch, frames=5, side=64)
    task = tiny.task(model)

    def gradient(params, state, clips):
      run = jax.grad(task.loss, has_aux=True)
      return run(params, state, clips, jax.random.key(0), 0)[0]

    program = sharding.jit(gradient).lower(*tiny.shapes(model), clips)
    return program.compile().memory_analysis().temp_size_in_bytes

  assert kept(policy) < kept("none") * {"step": 0.5, "block": 0.9}[policy]


def test_blocks_of_a_scanned_clip_are_computed_anew_too():
  """In a loop over time the two policies hold as well."""
  model = tiny.build("ncfl")
  variables = tiny.draw(tiny.shapes(model))
  wanted = jax.jit(functools.partial(_gradient, model))(*variables)
  model = tiny.build("ncfl", unroll=1, remat="block")
  found = jax.jit(functools.partial(_gradient, model))(*variables)
  assert _largest_difference(found, wanted) < 1e-4
  assert jnp.isfinite(found[0])
