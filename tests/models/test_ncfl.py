"""NCFL: one program for step and clip, variants, state, precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import models
from vidrestore_jax.models import ncfl

TINY = dict(
    widths=(8, 12),
    feature_channels=8,
    attention_widths=(4, 8),
    attention_blocks=1,
    attention_middle_blocks=1,
    motion_channels=8,
    hidden_channels=8,
    latent_channels=8,
    prior_channels=(8, 8),
    reduction=4,
    motion=dict(levels=2, widths=(4, 4), kernel=3),
)
build = functools.partial(models.build, "ncfl", **TINY)


@pytest.fixture(scope="module")
def clip():
  return jax.random.uniform(jax.random.key(0), (2, 4, 16, 8, 3))


@pytest.fixture(scope="module")
def noise():
  return jnp.full((2, 16, 8, 1), 30 / 255)


def _init(model, clip, noise):
  return jax.jit(model.init)(jax.random.key(1), clip[:, :1], noise)


@pytest.fixture(scope="module")
def variables(clip, noise):
  return _init(build(), clip, noise)


def _steps(model, variables, clip, noise):
  step = jax.jit(functools.partial(model.apply, method="step"))
  state, outputs = model.init_state(clip[:, 0]), []
  for t in range(clip.shape[1]):
    state, restored = step(variables, state, clip[:, t], noise)
    outputs.append(restored)
  return jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *outputs)


def test_clip_equals_step_by_step_without_the_quantiser(clip, noise):
  """Scanned, unrolled, rematerialised and streamed are one function."""
  variables = _init(build(feature_refiner="noq"), clip, noise)
  streamed = _steps(build(feature_refiner="noq"), variables, clip, noise)
  for options in (dict(unroll=8), dict(unroll=1), dict(remat="step")):
    model = build(feature_refiner="noq", **options)
    whole = jax.jit(model.apply)(variables, clip, noise)
    np.testing.assert_allclose(whole.frames, streamed.frames, atol=1e-5)
    np.testing.assert_allclose(
        whole.aux["flow"], streamed.aux["flow"], atol=1e-5
    )
    assert set(whole.aux) == {"flow"}  # Without quantiser there is no rate.


def test_clip_equals_step_by_step_with_the_quantiser(variables, clip, noise):
  """A symbol may flip within float noise of a half, PSNR may not."""
  whole = jax.jit(build().apply)(variables, clip, noise)
  streamed = _steps(build(), variables, clip, noise)
  assert jnp.mean(jnp.square(whole.frames - streamed.frames)) < 1e-8
  np.testing.assert_allclose(
      whole.aux["bits"], streamed.aux["bits"], rtol=1e-3
  )
  assert whole.aux["bits"].shape == (2, 4)
  np.testing.assert_allclose(
      whole.aux["rate_map"].sum((2, 3)), whole.aux["bits"], rtol=1e-5
  )


def test_gradient_of_unrolled_scanned_and_rematerialised_agree(clip, noise):
  variables = _init(build(feature_refiner="noq"), clip, noise)

  def gradient(**options):
    model = build(feature_refiner="noq", **options)
    return jax.jit(
        jax.grad(
            lambda v: jnp.mean(
                jnp.square(model.apply(v, clip, noise).frames - 0.5)
            )
        )
    )(variables)

  expected = gradient(unroll=8)
  for options in (dict(unroll=1), dict(unroll=8, remat="step")):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-3),
        expected,
        gradient(**options),
    )


@pytest.mark.parametrize(
    ("frames", "unroll", "loop"), [(1, 8, False), (2, 8, False), (2, 1, True)]
)
def test_short_clips_have_no_loop(clip, noise, frames, unroll, loop):
  """In which gradients of convolutions are slow on a CPU: 4 times at T = 1."""
  model, clip = build(unroll=unroll), clip[:, :frames]
  variables = jax.eval_shape(model.init, jax.random.key(0), clip, noise)
  program = jax.jit(model.apply).lower(variables, clip, noise).as_text()
  assert ("stablehlo.while" in program) is loop


def test_it_is_causal(variables, clip, noise):
  """A frame does not change what was restored before it."""
  restore = jax.jit(build().apply)
  changed = clip.at[:, 3].set(0.0)
  before = restore(variables, clip, noise).frames
  after = restore(variables, changed, noise).frames
  np.testing.assert_array_equal(before[:, :3], after[:, :3])
  assert jnp.abs(before[:, 3] - after[:, 3]).max() > 1e-3


def test_the_past_reaches_the_present_through_the_feature(
    variables, clip, noise
):
  model = build()
  step = jax.jit(functools.partial(model.apply, method="step"))
  frame = clip[:, 0]
  first, _ = step(variables, model.init_state(frame), frame, noise)
  alone = step(variables, model.init_state(frame), frame, noise)[1].frames
  after = step(variables, first, frame, noise)[1].frames
  assert jnp.abs(alone - after).max() > 1e-4


def test_zero_output_layer_restores_the_input(variables, clip, noise):
  """The output is a residual on the frame."""
  params = dict(variables["params"])
  restoration = dict(params["restoration"])
  restoration["output"] = jax.tree.map(jnp.zeros_like, restoration["output"])
  params["restoration"] = restoration
  restored = jax.jit(build().apply)({"params": params}, clip, noise)
  np.testing.assert_array_equal(restored.frames, clip)


@pytest.mark.parametrize("options", [
    dict(preset="literal", feature_channels=8, attention_blocks=1,
         attention_middle_blocks=1, prior_channels=(8, 8)),
    dict(motion_refiner="mconv", feature_refiner="nconv", attention=False),
    dict(motion_refiner="none", feature_refiner="none", attention=False),
    dict(distribution="gaussian", add_mean_back=False, motion_residual=True),
    dict(channels=4, restoration="wnet"),
    dict(noise_map=False, fold=2),
])
def test_every_variant_trains_all_of_its_parameters(options):
  model = models.build("ncfl", **TINY | options)
  channels = model.channels
  clip = jax.random.uniform(jax.random.key(0), (1, 3, 16, 16, channels))
  noise = jnp.full((1, 16, 16, 1), 0.1) if model.noise_map else None
  variables = _init(model, clip, noise)

  def loss(variables):
    restored = model.apply(variables, clip, noise)
    rate = restored.aux["bits"].mean() if "bits" in restored.aux else 0.0
    return jnp.mean(jnp.square(restored.frames - 0.5)) + 1e-3 * rate

  gradients = jax.jit(jax.grad(loss))(variables)["params"]
  for name, part in gradients.items():
    norms = [float(jnp.abs(g).max()) for g in jax.tree.leaves(part)]
    assert np.isfinite(norms).all(), name
    # Channels that a ReLU switches off at the start are no dead part.
    assert np.mean(np.array(norms) > 0) > 0.8, name


def test_ablations_have_the_parts_of_table_1(clip, noise):
  parts = {
      ("none", "none", False): set(),
      ("mvr", "none", False): {"motion_refiner"},
      ("mconv", "none", False): {"motion_refiner"},
      ("mvr", "ncfl", False): {"motion_refiner", "compression"},
      ("mvr", "nconv", False): {"motion_refiner", "feature_refiner"},
      ("mvr", "ncfl", True): {"motion_refiner", "compression", "attention"},
  }
  for (motion_refiner, feature_refiner, attention), expected in parts.items():
    model = build(
        motion_refiner=motion_refiner,
        feature_refiner=feature_refiner,
        attention=attention,
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0), clip, noise)
    assert set(shapes["params"]) == {"motion", "restoration"} | expected


def test_noq_differs_only_by_its_prior(clip, noise):
  full = jax.eval_shape(build().init, jax.random.key(0), clip, noise)
  noq = jax.eval_shape(
      build(feature_refiner="noq").init, jax.random.key(0), clip, noise
  )
  without = dict(full["params"]["compression"])
  assert {k for k in without if k.startswith("prior")} == {
      "prior_0", "prior_1", "prior_2",
  }
  for name in ("prior_0", "prior_1", "prior_2"):
    del without[name]
  assert jax.tree.structure(without) == jax.tree.structure(
      noq["params"]["compression"]
  )


def test_quantisation_steps_start_at_one(variables):
  bias = variables["params"]["compression"]["prior_2"]["conv"]["bias"]
  np.testing.assert_array_equal(bias, np.repeat([0.0, 0.0, 1.0], 8))


def test_identity_start_passes_a_feature_on_up_to_its_steps():
  feature = 0.2 * jax.random.normal(jax.random.key(0), (1, 8, 12, 3))
  options = dict(hidden_channels=12, latent_channels=48, prior_channels=(4, 4))

  def passed_on(**more):
    module = ncfl.Compression(**options, **more)
    variables = module.init(jax.random.key(1), feature)
    return module.apply(variables, feature)

  # GDN and IGDN undo each other to first order: 0.1 * 0.2**2 of the rest.
  exact, bits = passed_on(identity_start=True, quantize=False)
  np.testing.assert_allclose(exact, feature, atol=5e-3)
  assert bits is None
  fine, bits = passed_on(
      identity_start=True, step_start=0.02, step_minimum=0.01
  )
  assert 1e-4 < jnp.abs(fine - exact).max() < 0.02
  assert bits.sum() > 0
  other, _ = passed_on(quantize=False)
  assert jnp.abs(other - feature).max() > 0.1
  options["latent_channels"] = 47
  with pytest.raises(ValueError, match="4 and 16 times the feature's 3"):
    passed_on(identity_start=True)
  with pytest.raises(ValueError, match="one of subpixel, but got 'transposed'"):
    build(upsample="transposed", identity_start=True)


def test_without_the_residual_the_output_is_the_networks_own(
    variables, clip, noise
):
  with_it = jax.jit(build().apply)(variables, clip, noise)
  without = jax.jit(build(residual=False).apply)(variables, clip, noise)
  np.testing.assert_allclose(
      with_it.frames, without.frames + clip, atol=1e-6
  )


bare = functools.partial(
    build, fold=2, residual=False, noise_map=False, motion_refiner="none",
    feature_refiner="none", attention=False,
)


@pytest.fixture(scope="module")
def bare_variables():
  return jax.jit(bare().init)(jax.random.key(1), _frame(), None)


def _frame():
  return jax.random.uniform(jax.random.key(2), (1, 1, 16, 16, 3))


def _logit(p):
  return np.log(p / (1 - p))


def test_scattering_undoes_haze_with_two_maps_of_a_folded_frame():
  """Whatever t and A are put out, the law has the scene: no detail is drawn."""
  transmission, airlight = 0.4, 0.8
  hazy = _frame() * transmission + airlight * (1 - transmission)
  logits = [_logit((transmission - 0.05) / 0.95), _logit(2 * airlight - 1) - 1]
  model = bare(scattering=True)
  params = jax.jit(model.init)(jax.random.key(1), _frame(), None)["params"]
  kernel = jnp.zeros((3, 3, TINY["widths"][0], 2))
  output = {"conv": {"kernel": kernel, "bias": jnp.array(logits)}}
  params["restoration"] = params["restoration"] | {"output": output}
  apply = jax.jit(model.apply)
  restored = apply({"params": params}, hazy, None).frames
  np.testing.assert_allclose(restored, _frame(), atol=1e-5)


def test_scattering_goes_with_every_network_and_no_residual():
  with pytest.raises(ValueError, match="Set residual=False"):
    build(scattering=True)
  with pytest.raises(ValueError, match="standard deviation above 0"):
    build(standardize=(0.5, 0.0))
  model = bare(scattering=True, restoration="wnet")
  shapes = jax.eval_shape(model.init, jax.random.key(0), _frame(), None)
  # The second net of a W-Net sees all that the first saw of the frame again.
  stem = shapes["params"]["restoration"]["net_1"]["stem"]["conv"]["kernel"]
  assert stem.shape[2] == 3 + 6 + TINY["widths"][0]


def test_the_network_sees_frames_standardised(bare_variables):

  @jax.jit
  def both(variables, frame):
    scaled = bare(standardize=(0.25, 0.5)).apply(variables, frame, None)
    plain = bare().apply(variables, (frame - 0.25) / 0.5, None)
    return scaled.frames, plain.frames

  scaled, plain = both(bare_variables, _frame())
  np.testing.assert_allclose(scaled, plain, atol=1e-6)


def test_bfloat16_computes_there_and_keeps_float32_where_it_matters(
    variables, clip, noise
):
  model = build(dtype="bfloat16")
  restored = jax.jit(model.apply)(variables, clip, noise)
  exact = jax.jit(build().apply)(variables, clip, noise)
  assert restored.frames.dtype == restored.aux["bits"].dtype == jnp.float32
  assert restored.aux["flow"].dtype == jnp.float32
  assert model.init_state(clip[:, 0])["feature"].dtype == jnp.bfloat16
  # 8 bits of mantissa: a per cent of the residual.
  np.testing.assert_allclose(restored.frames, exact.frames, atol=2e-2)


def test_folding_keeps_the_frame_and_scales_the_flow(clip):
  """Biases of (1, 0) pixels at half resolution are 2 pixels of the frame."""
  model = build(fold=2, noise_map=False, motion_refiner="none")
  frames = jnp.zeros((1, 1, 16, 16, 3))
  variables = jax.tree.map(jnp.zeros_like, _init(model, frames, None))
  top = variables["params"]["motion"]["level_1"]["conv_2"]["conv"]
  top["bias"] = jnp.array([1.0, 0.0])
  flow = jax.jit(model.apply)(variables, frames, None).aux["flow"]
  assert flow.shape == (1, 1, 16, 16, 2)
  np.testing.assert_allclose(flow[..., 0], 2.0, rtol=1e-6)
  np.testing.assert_allclose(flow[..., 1], 0.0)


def test_errors_name_the_given_and_the_way_out(variables, clip, noise):
  model = build()
  assert model.stride == 4
  apply = functools.partial(model.apply, variables)
  with pytest.raises(ValueError, match="divisible by 4.*Pad to 16x12"):
    apply(jnp.zeros((1, 2, 14, 12, 3)), jnp.zeros((1, 14, 12, 1)))
  with pytest.raises(ValueError, match="needs a map.*got None"):
    apply(clip, None)
  with pytest.raises(ValueError, match=r"\[2, 16, 8, 1\].*\[2, 16, 8, 3\]"):
    apply(clip, clip[:, 0])
  with pytest.raises(ValueError, match="needs 3 channels"):
    apply(clip[..., :1], noise)
  with pytest.raises(ValueError, match=r"5 axes \[B, T, H, W, C\]"):
    apply(clip[0], noise)
  with pytest.raises(ValueError, match="takes noise=None"):
    build(noise_map=False).apply(variables, clip, noise)
  with pytest.raises(ValueError, match="one of table, literal"):
    build(preset="paper")
  with pytest.raises(ValueError, match="takes no argument width"):
    build(width=3)
  with pytest.raises(ValueError, match="float32, bfloat16, but got.*'foo'"):
    build(dtype="foo")
  with pytest.raises(ValueError, match="no model 'nfcl'"):
    models.build("nfcl")
