"""NCFL's compression alone: memoryless, local, and what NoQ leaves out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import models

TINY = dict(
    feature_channels=4,
    hidden_channels=8,
    latent_channels=8,
    prior_channels=(8, 8),
)
build = functools.partial(models.build, "ncfl_clean", **TINY)


@pytest.fixture(scope="module")
def clip():
  return jax.random.uniform(jax.random.key(0), (2, 3, 48, 8, 3))


@pytest.fixture(scope="module")
def variables(clip):
  return jax.jit(build().init)(jax.random.key(1), clip[:, :1], None)


def test_a_clip_is_its_frames_one_by_one(clip, variables):
  model = build()
  whole = jax.jit(model.apply)(variables, clip, None)
  assert whole.frames.shape == clip.shape
  assert whole.aux["bits"].shape == (2, 3)
  assert whole.aux["rate_map"].shape == (2, 3, 12, 2)
  np.testing.assert_allclose(
      whole.aux["rate_map"].sum((2, 3)), whole.aux["bits"], rtol=1e-5
  )
  state = model.init_state(clip[:, 0])
  step = jax.jit(functools.partial(model.apply, method="step"))
  for t in (1, 0):  # In any order: nothing is remembered.
    state, frame = step(variables, state, clip[:, t], None)
    np.testing.assert_allclose(
        frame.aux["bits"], whole.aux["bits"][:, t], rtol=1e-4
    )
    np.testing.assert_allclose(frame.frames, whole.frames[:, t], atol=1e-5)


def test_nothing_reaches_farther_than_the_halo(clip, variables):
  model = build()
  frame = clip[:1, 0]
  step = jax.jit(
      lambda x: model.apply(variables, {}, x, None, method="step")[1].frames
  )
  changed = frame.at[:, 24].add(0.7)
  moved = np.abs(step(changed) - step(frame)).max((0, 2, 3)) > 0
  assert moved[24]
  assert not moved[: 24 - model.halo].any()
  assert not moved[24 + model.halo + 1 :].any()


def test_without_quantisation_there_is_neither_prior_nor_rate(clip, variables):
  noq = build(feature_refiner="noq")
  # The same encoder and decoder: what is compared is the quantiser.
  kept = {
      "params": variables["params"]
      | {
          "compression": {
              name: value
              for name, value in variables["params"]["compression"].items()
              if not name.startswith("prior")
          }
      }
  }
  shapes = jax.eval_shape(noq.init, jax.random.key(0), clip[:, :1], None)
  assert jax.tree.map(jnp.shape, kept) == jax.tree.map(jnp.shape, shapes)
  coded = jax.jit(noq.apply)(kept, clip, None)
  assert coded.aux == {}


def test_what_does_not_suit_it_is_refused(clip, variables):
  with pytest.raises(ValueError, match="is one of ncfl, noq"):
    build(feature_refiner="nconv")
  with pytest.raises(ValueError, match="is one of laplace, gaussian"):
    build(distribution="cauchy")
  with pytest.raises(ValueError, match="takes noise=None"):
    model = build()
    model.apply(variables, clip, jnp.ones((2, 48, 8, 1)))
