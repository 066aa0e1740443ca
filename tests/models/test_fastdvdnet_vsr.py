"""FastDVDnet-VSR's size, cost, reach and order of frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import measures
from vidrestore_jax import models
from vidrestore_jax.layers.resample import bicubic_resize
from vidrestore_jax.models import fastdvdnet_vsr

TINY = dict(widths=(4, 4, 4), interm=2, hr_channels=3)
FAST = {"xla_backend_optimization_level": 0}


@pytest.fixture(scope="module")
def variables():
  return measures.averaging(models.build("fastdvdnet_vsr", **TINY))


@pytest.fixture(scope="module")
def restore():
  """The tiny network and its derivative along a change of the window."""
  model = models.build("fastdvdnet_vsr", **TINY)

  def run(variables, window, change):
    return jax.jvp(
        lambda window: model.apply(variables, window), (window,), (change,)
    )

  return jax.jit(run, compiler_options=FAST)


@pytest.mark.parametrize(
    ("head", "params", "gmacs"),
    # Published is "0.06 T" alone; these are counts by hand, in the module's
    # docstring.
    [("b", 2_700_039, 28.58), ("c", 2_736_967, 41.32), ("d", 2_866_119, 56.05)],
)
def test_each_head_has_its_parameters_and_macs(head, params, gmacs):
  found = measures.cost(models.build("fastdvdnet_vsr", head=head))
  assert found[0] == params
  np.testing.assert_allclose(found[1] / 1e9, gmacs, rtol=0.005)


def test_channels_are_those_of_the_denoiser():
  denoiser = models.build("fastdvdnet", noise_map=False)
  window = jax.ShapeDtypeStruct((1, 5, 4, 4, 3), jnp.float32)
  theirs = jax.eval_shape(denoiser.init, jax.random.key(0), window, None)
  ours = measures.shapes(models.build("fastdvdnet_vsr"))
  for collection in ("params", "batch_stats"):
    expected = dict(theirs[collection])
    if collection == "params":
      del expected["temp2"]["outc"]["conv_1"]  # The head is in its place.
    given = {k: v for k, v in ours[collection].items() if k != "up"}
    assert given == expected


def test_it_starts_as_bicubic_with_features_of_the_large_size():
  model = models.build("fastdvdnet_vsr", **TINY, identity_start=True)
  window = np.random.default_rng(1).random((1, 7, 8, 12, 3), np.float32)
  variables = jax.jit(model.init, compiler_options=FAST)(
      jax.random.key(0), window, None
  )
  restored = jax.jit(model.apply, compiler_options=FAST)(variables, window)
  assert restored.aux["hr_features"].shape == (1, 32, 48, 3)
  bicubic = bicubic_resize(window[:, 3], 4)
  error = np.abs(restored.frames - bicubic)
  assert 0 < error.max() < 0.1


def test_frames_are_paired_about_the_middle(variables, restore):
  window = np.random.default_rng(2).random((1, 7, 4, 172, 3), np.float32)
  reach = []
  for frame in range(7):
    change = np.zeros_like(window)
    change[0, frame, :, 84:88] = 1
    _, derivative = restore(variables, window, change)
    reach.append(np.abs(derivative.frames).max())
  assert all(value > 0 for value in reach)
  # With temp1 handing on the first frame of each triplet, in place of the
  # middle one, temp2 is given x_{t-3}, x_{t-2}, x_{t-1}, in that order.
  given = []
  model = models.build("fastdvdnet_vsr", **TINY)

  def first_frames(next_fun, args, kwargs, context):
    if context.module.name == "temp1":
      return args[0][:, 0]
    if context.module.name == "temp2":
      given.append(args[0])
    return next_fun(*args, **kwargs)

  with fastdvdnet_vsr.nn.intercept_methods(first_frames):
    model.apply(variables, window[..., :4, :])
  np.testing.assert_array_equal(given[0], window[:, :3, :, :4])


def test_a_pixel_reaches_as_far_as_the_halo_and_no_farther(variables, restore):
  window = np.random.default_rng(3).random((1, 7, 4, 172, 3), np.float32)
  # Column 3 is the last of its coarsest pixel; column 83 reaches back to it.
  change = np.zeros_like(window)
  change[0, 0, :, 3] = 1
  _, derivative = restore(variables, window, change)
  (columns,) = np.nonzero(np.abs(derivative.frames).max((0, 1, 3)))
  farthest = columns.max() // 4 - 3
  halo = models.build("fastdvdnet_vsr").halo
  assert halo - 1 <= farthest <= halo == 82


def test_training_normalises_by_the_batch_and_moves_the_statistics(variables):
  model = models.build("fastdvdnet_vsr", **TINY)
  window = np.random.default_rng(4).random((2, 7, 8, 8, 3), np.float32)
  restored, changed = jax.jit(
      lambda v, w: model.apply(v, w, train=True, mutable=["batch_stats"]),
      compiler_options=FAST,
  )(variables, window)
  assert np.isfinite(restored.frames).all()
  for path, leaf in jax.tree_util.tree_leaves_with_path(
      jax.tree.map(
          lambda a, b: np.abs(a - b).max(),
          dict(changed["batch_stats"]),
          variables["batch_stats"],
      )
  ):
    assert leaf > 0, path


def test_inputs_that_do_not_suit_are_named(variables):
  model = models.build("fastdvdnet_vsr", **TINY)
  with pytest.raises(ValueError, match="windows of 7 frames, but got 5"):
    model.apply(variables, np.zeros((1, 5, 8, 8, 3)))
  with pytest.raises(ValueError, match="Pad to 12x8"):
    model.apply(variables, np.zeros((1, 7, 9, 8, 3)))
  with pytest.raises(ValueError, match="takes noise=None"):
    model.apply(variables, np.zeros((1, 7, 8, 8, 3)), np.zeros((1, 8, 8, 1)))
  with pytest.raises(ValueError, match="one of b, c, d, but got 'a'"):
    models.build("fastdvdnet_vsr", head="a")
  with pytest.raises(ValueError, match=r"three scales, but got .*\(4, 8\)"):
    models.build("fastdvdnet_vsr", widths=(4, 8))
