"""FastDVDnet's size, reach and normalisation; parity is in tests/converters."""

import jax
import numpy as np
import pytest

from experiments import tracing
from vidrestore_jax import models
from vidrestore_jax.models import fastdvdnet

TINY = dict(widths=(4, 4, 4), interm=2)


def _shapes(model, size=4):
  window = jax.ShapeDtypeStruct((1, 5, size, size, 3), np.float32)
  noise = None
  if model.noise_map:
    noise = jax.ShapeDtypeStruct((1, size, size, 1), np.float32)
  return jax.eval_shape(model.init, jax.random.key(0), window, noise)


def _count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def variables():
  """Of the tiny network: averages, so that no ReLU shuts and nothing grows."""
  generator = np.random.default_rng(0)

  def draw(path, leaf):
    name = path[-1].key
    if name == "kernel":
      weights = generator.uniform(0.5, 1.5, leaf.shape)
      return (weights / weights[..., 0].size).astype(np.float32)
    centre = float(name in ("scale", "var"))
    return (centre + generator.uniform(-0.1, 0.1, leaf.shape)).astype(
        np.float32
    )

  return jax.tree_util.tree_map_with_path(
      draw, _shapes(models.build("fastdvdnet", **TINY))
  )


@pytest.fixture(scope="module")
def restore():
  """The tiny network and its derivative along a change of the window."""
  model = models.build("fastdvdnet", **TINY)

  def run(variables, window, change, noise):
    def frames(window):
      return model.apply(variables, window, noise).frames

    return jax.jvp(frames, (window,), (change,))

  return jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})


def test_it_has_the_parameters_of_the_release():
  variables = _shapes(models.build("fastdvdnet"))
  assert _count(variables["params"]) == 2_479_096
  assert _count(variables["params"]["temp1"]) == 1_239_548
  # A mean and a variance for each scale and bias.
  norms = [
      leaf for path, leaf in jax.tree_util.tree_leaves_with_path(
          variables["params"]
      ) if "norm" in str(path)
  ]
  assert _count(variables["batch_stats"]) == _count(norms)
  # Blind, a noise map less for each of three frames; with biases, one in the
  # place of two numbers, and one for each of the three linear convolutions.
  blind = _shapes(models.build("fastdvdnet", noise_map=False))
  assert _count(blind["params"]) == 2_479_096 - 2 * 9 * 90
  biased = _shapes(models.build("fastdvdnet", batch_norm=False))
  assert set(biased) == {"params"}
  assert _count(biased["params"]["temp2"]) == 1_238_821


def test_kernels_start_as_kaiming_normal():
  """Each output of a 3x3 kernel has a variance of 2 / (9 C_in / groups)."""
  block = fastdvdnet.DenBlock((32, 4, 4), identity_start=True)
  init = jax.jit(
      block.init, compiler_options={"xla_backend_optimization_level": 0}
  )
  triplet, noise = np.zeros((1, 3, 4, 4, 3)), np.zeros((1, 4, 4, 1))
  params = init(jax.random.key(0), triplet, noise)["params"]
  for module, name, fan_in, factor in (
      ("inc", "conv_0", 9 * 4, 1),
      ("inc", "conv_1", 9 * 90, 1),
      # Where a stage starts as the identity, its last one is small.
      ("outc", "conv_0", 9 * 32, 1),
      ("outc", "conv_1", 9 * 32, 1 / 100),
  ):
    kernel = params[module][name]["kernel"]
    deviation = factor * np.sqrt(2 / fan_in)
    np.testing.assert_allclose(kernel.std(), deviation, rtol=0.05)
    # Not cut off at two deviations.
    assert np.abs(kernel).max() > 2.5 * deviation


def test_a_pixel_reaches_as_far_as_the_halo_and_no_farther(variables, restore):
  windows = np.random.default_rng(1).random((2, 5, 4, 176, 3), np.float32)
  noise = np.full((2, 4, 176, 1), 0.1, np.float32)
  # Column 3 is the last of its coarsest pixel; column 83 reaches back to it.
  change = np.zeros_like(windows)
  change[0, 0, :, 3] = 1
  _, derivative = restore(variables, windows, change, noise)
  derivative = np.abs(derivative).max((1, 3))
  (columns,) = np.nonzero(derivative[0])
  assert columns.max() - 3 == models.build("fastdvdnet").halo == 80
  assert 2 * fastdvdnet.BLOCK_HALO == 80
  # Nor does it reach into another window of the batch.
  assert not derivative[1].any()


def test_the_running_statistics_normalise_but_in_training(variables, restore):
  windows = np.random.default_rng(2).random((2, 5, 4, 176, 3), np.float32)
  noise = np.full((2, 4, 176, 1), 0.1, np.float32)
  given, _ = restore(variables, windows, windows, noise)
  shifted = jax.tree.map(lambda leaf: leaf, variables)
  norm = shifted["batch_stats"]["temp2"]["outc"]["norm_0"]
  # What is shut off in front of the last convolution leaves the middle frame,
  # as the first stage made it.
  norm["mean"] = norm["mean"] + 100
  shut, _ = restore(shifted, windows, windows, noise)
  assert np.abs(shut - given).max() > 0.01
  last = shifted["params"]["temp1"]["outc"]["conv_1"]
  last["kernel"] = np.zeros_like(last["kernel"])
  identity, _ = restore(shifted, windows, windows, noise)
  np.testing.assert_array_equal(identity, windows[:, 2])


def test_each_triplet_moves_the_first_stages_statistics():
  """r = 0.9 r + 0.1 m, three times, by hand on the first convolution."""
  block = fastdvdnet.ConvBlock((2, 2), groups=1, dtype="float32")
  x = np.random.default_rng(3).random((3, 2, 4, 4, 2), np.float32)
  identity = np.zeros((3, 3, 2, 2), np.float32)
  identity[1, 1] = np.eye(2)
  unit = {"scale": np.ones(2), "bias": np.zeros(2)}
  params = {
      **{f"conv_{i}": {"kernel": identity} for i in range(2)},
      **{f"norm_{i}": unit for i in range(2)},
  }
  stats = {
      f"norm_{i}": {"mean": np.zeros(2), "var": np.ones(2)} for i in range(2)
  }
  mean, var = np.zeros(2), np.ones(2)
  for triplet in x:
    y, changed = block.apply(
        {"params": params, "batch_stats": stats},
        triplet,
        train=True,
        mutable=["batch_stats"],
    )
    stats = changed["batch_stats"]
    mean = 0.9 * mean + 0.1 * triplet.mean((0, 1, 2))
    var = 0.9 * var + 0.1 * triplet.var((0, 1, 2))
  np.testing.assert_allclose(stats["norm_0"]["mean"], mean, rtol=1e-5)
  np.testing.assert_allclose(stats["norm_0"]["var"], var, rtol=1e-5)
  # The batch's own statistics normalise it, with epsilon 1e-5.
  first = np.maximum(
      (triplet - triplet.mean((0, 1, 2)))
      / np.sqrt(triplet.var((0, 1, 2)) + 1e-5),
      0,
  )
  second = np.maximum(
      (first - first.mean((0, 1, 2))) / np.sqrt(first.var((0, 1, 2)) + 1e-5), 0
  )
  np.testing.assert_allclose(y, second, atol=1e-4)


def test_bfloat16_computes_in_it_and_keeps_statistics_in_float32():
  model = models.build("fastdvdnet", **TINY, dtype="bfloat16")
  window = jax.ShapeDtypeStruct((1, 5, 8, 8, 3), np.float32)
  noise = jax.ShapeDtypeStruct((1, 8, 8, 1), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), window, noise)
  assert {leaf.dtype.name for leaf in jax.tree.leaves(shapes)} == {"float32"}

  def run(*args):
    return model.apply(*args, train=True, mutable=["batch_stats"])

  restored, changed = jax.eval_shape(run, shapes, window, noise)
  assert restored.frames.dtype == np.float32
  assert {leaf.dtype.name for leaf in jax.tree.leaves(changed)} == {"float32"}
  convolutions = tracing.convolution_dtypes(run, shapes, window, noise)
  # Sixteen and the two that the groups add, for each of four blocks.
  assert convolutions == 4 * 18 * ["bfloat16"]


def test_inputs_that_do_not_suit_are_named(variables):
  model = models.build("fastdvdnet", **TINY)
  noise = np.zeros((1, 8, 8, 1), np.float32)
  with pytest.raises(ValueError, match=r"windows of 5 frames, but got 3"):
    model.apply(variables, np.zeros((1, 3, 8, 8, 3)), noise)
  with pytest.raises(ValueError, match="Pad to 12x8"):
    model.apply(variables, np.zeros((1, 5, 9, 8, 3)), noise)
  with pytest.raises(ValueError, match="needs a map of standard deviations"):
    model.apply(variables, np.zeros((1, 5, 8, 8, 3)), None)
  with pytest.raises(ValueError, match=r"three scales, but got .*\(4, 8\)"):
    models.build("fastdvdnet", widths=(4, 8))
