"""Groups, freezing and schedules as functions of the step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vidrestore_jax.training import optimizer, schedules

CONFIG = {
    "learning_rate": 2e-4,
    "final_learning_rate": 1e-7,
    "warmup_steps": 0,
    "drops": (),
    "b1": 0.9,
    "b2": 0.999,
    "weight_decay": 1e-2,
    "clip_norm": 1.0,
    "orthogonal_every": 0,
    "orthogonal_steps": 0,
    "groups": {"motion": {"learning_rate": 2.5e-5, "frozen_steps": 2_500}},
}


def _params():
  conv = {"kernel": jnp.full((2,), 2.0), "bias": jnp.ones(2)}
  return {"motion": {"conv": conv}, "restoration": {"conv": conv}}


def _run(config, steps, gradient=lambda step, params: params, total=100_000):
  """Parameters after `steps` updates, and the state; gradient = params."""
  tx = optimizer.build(config, total)
  params = _params()

  def body(step, carry):
    params, state = carry
    updates, state = tx.update(gradient(step, params), state, params)
    return optax.apply_updates(params, updates), state

  return jax.jit(lambda p: jax.lax.fori_loop(0, steps, body, (p, tx.init(p))))(
      params
  )


def test_motion_is_unchanged_at_step_2499_and_changed_at_2501():
  def motion_after(steps):
    params, _ = _run(CONFIG, steps)
    return params["motion"]["conv"]["kernel"]

  np.testing.assert_array_equal(motion_after(2_499), [2.0, 2.0])
  np.testing.assert_array_equal(motion_after(2_500), [2.0, 2.0])
  assert (motion_after(2_501) < 2.0).all()
  main, _ = _run(CONFIG, 1)
  assert (main["restoration"]["conv"]["kernel"] < 2.0).all()


def test_rates_follow_one_cosine_also_while_frozen():
  rates = optimizer.learning_rates(CONFIG, 100_000)

  def cosine(base, step):
    return 1e-7 + (base - 1e-7) * (1 + np.cos(np.pi * step / 100_000)) / 2

  for step in (0, 2_499, 2_500, 50_000, 100_000):
    at = rates(step)
    np.testing.assert_allclose(at["main"], cosine(2e-4, step), rtol=1e-4)
    frozen = step < 2_500
    expected = 0.0 if frozen else cosine(2.5e-5, step)
    np.testing.assert_allclose(at["motion"], expected, rtol=1e-4)


def test_first_update_after_the_freeze_is_a_first_adam_step():
  """Its moments did not see the frozen steps, its rate did."""
  config = CONFIG | {"weight_decay": 0.0}
  config["groups"] = {"motion": {"learning_rate": 1e-2, "frozen_steps": 50}}

  # Gradients of a hundred while frozen would fill Adam's moments.
  def gradient(step, params):
    return jax.tree.map(lambda p: jnp.where(step < 50, 100.0, 0.3), params)

  params, _ = _run(config, 51, gradient, total=100)
  rate = optimizer.learning_rates(config, 100)(50)["motion"]
  np.testing.assert_allclose(rate, (1e-2 + 1e-7) / 2, rtol=1e-3)
  moved = 2.0 - params["motion"]["conv"]["kernel"]
  np.testing.assert_allclose(moved, rate, rtol=1e-3)


def test_adamw_equals_optax_where_nothing_is_grouped():
  config = CONFIG | {"groups": {}, "clip_norm": 0.0, "learning_rate": 1e-2}
  params, _ = _run(config, 20, total=40)
  tx = optax.adamw(
      lambda step: schedules.cosine(step, base=1e-2, final=1e-7, steps=40),
      weight_decay=1e-2,
      mask={k: {"conv": {"kernel": True, "bias": False}} for k in _params()},
  )
  expected, state = _params(), tx.init(_params())
  for _ in range(20):
    updates, state = tx.update(expected, state, expected)
    expected = optax.apply_updates(expected, updates)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), params, expected
  )


def test_biases_and_gdn_parameters_do_not_decay():
  config = CONFIG | {"weight_decay": 0.5, "learning_rate": 1e-1, "groups": {}}
  tx = optimizer.build(config, 10)
  params = {
      "net": {n: jnp.ones(2) for n in ("kernel", "bias", "beta", "gamma")}
  }
  zero = jax.tree.map(jnp.zeros_like, params)
  updates, _ = tx.update(zero, tx.init(params), params)
  np.testing.assert_allclose(updates["net"]["kernel"], -0.05, rtol=1e-6)
  for name in ("bias", "beta", "gamma"):
    np.testing.assert_array_equal(updates["net"][name], [0.0, 0.0])


def test_frozen_gradients_do_not_count_in_the_clipped_norm():
  """A huge gradient of a frozen part leaves the others' direction alone."""
  config = CONFIG | {"weight_decay": 0.0, "b1": 0.0, "b2": 0.0}

  def after(scale, frozen):
    groups = {"motion": {"learning_rate": 1e-3, "frozen_steps": frozen}}
    tx = optimizer.build(config | {"groups": groups}, 10)
    params = _params()
    gradient = {
        "motion": jax.tree.map(lambda p: scale * p, params["motion"]),
        "restoration": jax.tree.map(lambda p: 1e-6 * p, params["restoration"]),
    }
    updates, _ = tx.update(gradient, tx.init(params), params)
    return updates["restoration"]["conv"]["kernel"]

  small, large = after(1e-6, 5), after(1e6, 5)
  np.testing.assert_array_equal(small, large)
  # Once trained, it does count: the others shrink below Adam's epsilon.
  assert abs(after(1e6, 0)[0]) < 0.1 * abs(small[0])


def test_a_group_that_no_module_has_is_named():
  groups = {"moton": {"learning_rate": 1e-3, "frozen_steps": 0}}
  tx = optimizer.build(CONFIG | {"groups": groups}, 10)
  with pytest.raises(ValueError, match="names moton.*motion, restoration"):
    tx.init(_params())


def test_rates_step_down_at_the_drops_and_not_before():
  config = CONFIG | {"drops": ((50, 0.1), (60, 1e-3))}
  rates = optimizer.learning_rates(config | {"learning_rate": 1e-3}, 80)
  for step, expected in (
      (0, 1e-3), (49, 1e-3), (50, 1e-4), (59, 1e-4), (60, 1e-6), (79, 1e-6)
  ):
    np.testing.assert_allclose(rates(step)["main"], expected, rtol=1e-6)
  with pytest.raises(ValueError, match="in the order of their steps"):
    optimizer.build(config | {"drops": ((60, 0.1), (50, 0.01))}, 80)


def test_kernels_are_orthogonal_after_the_updates_due_and_free_otherwise():
  draw = np.random.default_rng(0).normal

  def kernel(*shape):
    return {"kernel": jnp.array(draw(size=shape), jnp.float32)}

  params = {
      "net": {
          "conv": kernel(3, 3, 2, 4),
          "wide": kernel(1, 1, 2, 4),
          "norm": {"scale": jnp.ones(4)},
      },
      "motion": {"conv": kernel(3, 3, 2, 4)},
  }
  groups = {"motion": {"learning_rate": 1e-2, "frozen_steps": 0}}
  recipe = CONFIG | {"learning_rate": 1e-2, "groups": groups}
  plain = optimizer.build(recipe, 100)
  projecting = optimizer.build(
      recipe | {"orthogonal_every": 3, "orthogonal_steps": 6}, 100
  )

  @jax.jit
  def step(params, *states):
    """Where the two lead from the same parameters, and their states."""
    pairs = [
        tx.update(params, state, params)
        for tx, state in zip((plain, projecting), states)
    ]
    moved = [optax.apply_updates(params, updates) for updates, _ in pairs]
    return *moved, *(state for _, state in pairs)

  states = plain.init(params), projecting.init(params)
  for index in range(8):
    expected, params, *states = step(params, *states)
    given = dict(params["net"])
    if index in (0, 3):  # Every third of the first six.
      tall = given.pop("conv")["kernel"].reshape(18, 4)
      np.testing.assert_allclose(tall.T @ tall, np.eye(4), atol=1e-5)
      wide = given.pop("wide")["kernel"].reshape(2, 4)
      np.testing.assert_allclose(wide @ wide.T, np.eye(2), atol=1e-5)
      # The nearest such matrix: its product with the kernel is a symmetric
      # positive one.
      overlap = tall.T @ expected["net"]["conv"]["kernel"].reshape(18, 4)
      np.testing.assert_allclose(overlap, overlap.T, atol=1e-4)
      assert (np.linalg.eigvalsh(overlap) > 0).all()
    kept = {name: expected["net"][name] for name in given}
    jax.tree.map(  # Equal but for fused roundings.
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        (given, params["motion"]),
        (kept, expected["motion"]),
    )


def test_warm_up_is_linear_and_meets_the_cosine():
  rate = [
      float(schedules.cosine(s, base=1.0, final=0.0, steps=14, warmup_steps=4))
      for s in range(15)
  ]
  np.testing.assert_allclose(rate[:5], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-6)
  np.testing.assert_allclose(rate[9], 0.5, atol=1e-6)
  np.testing.assert_allclose(rate[14], 0.0, atol=1e-7)
