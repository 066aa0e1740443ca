import itertools

import jax
import numpy as np
import pytest

from vidrestore_jax import models
from vidrestore_jax.inference import streaming, tiling

# The quantiser is off ("noq"), so that two programs may be held together
# tightly: design.md, "Equality under rounding".
TINY = dict(
    feature_refiner="noq",
    widths=(4, 8),
    attention_widths=(4, 4),
    attention_blocks=1,
    attention_middle_blocks=1,
    feature_channels=4,
    motion_channels=4,
    hidden_channels=4,
    latent_channels=4,
    reduction=2,
    motion=dict(levels=2, widths=(4, 4)),
)


def _init(model):
  """Random variables; drawn here, since compiling `model.init` takes longer."""
  size = model.stride
  clip = jax.ShapeDtypeStruct((1, 1, size, size, 3), np.float32)
  noise = jax.ShapeDtypeStruct((1, size, size, 1), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip, noise)
  generator = np.random.default_rng(0)
  return jax.tree.map(
      lambda leaf: generator.uniform(-0.4, 0.5, leaf.shape).astype(np.float32),
      shapes,
  )


@pytest.fixture(scope="module")
def restorer():
  model = models.build("ncfl", **TINY)
  return model, _init(model)


def _clip(frames=4, height=14, width=19):
  return np.random.default_rng(0).random((frames, height, width, 3), np.float32)


def test_stream_equals_the_whole_clip(restorer):
  model, variables = restorer
  clip = _clip()
  padded, _ = tiling.pad_to_multiple(clip, model.stride)
  noise = np.full((1, *padded.shape[1:3], 1), 0.1, np.float32)
  whole = jax.jit(model.apply)(variables, padded[None], noise)
  streamed = streaming.restore_clip(
      model, variables, clip, sigma=0.1, aux=("flow",)
  )
  np.testing.assert_allclose(
      streamed.frames, whole.frames[0, :, :14, :19], atol=1e-5
  )
  np.testing.assert_allclose(
      streamed.aux["flow"], whole.aux["flow"][0, :, :14, :19], atol=1e-4
  )


def test_state_is_carried_across_frames(restorer):
  model, variables = restorer
  clip = _clip()
  together = streaming.restore_clip(model, variables, clip, sigma=0.1).frames
  alone = streaming.restore_clip(model, variables, clip[3:], sigma=0.1).frames
  assert np.abs(together[3] - alone[0]).max() > 1e-4


def test_an_endless_stream_is_read_one_frame_ahead(restorer):
  model, variables = restorer
  clip = _clip()
  taken = []

  def frames():
    for index in itertools.count():
      taken.append(index)
      yield clip[index % 4]

  stream = streaming.restore_stream(model, variables, frames(), sigma=0.1)
  assert not taken  # Nothing runs before the first `next`.
  first = next(stream)
  next(stream)
  assert taken == [0, 1, 2]
  expected = streaming.restore_clip(model, variables, clip, sigma=0.1).frames[0]
  np.testing.assert_array_equal(first.frames, expected)


def test_coded_latents_report_their_bits():
  model = models.build(
      "ncfl", **(TINY | {"feature_refiner": "ncfl", "prior_channels": (4, 4)})
  )
  restored = streaming.restore_clip(
      model, _init(model), _clip(2), sigma=0.1
  )
  # 14x19 is padded to 16x20; the latent has a quarter of that.
  assert restored.aux["rate_map"].shape == (2, 4, 5)
  np.testing.assert_allclose(
      restored.aux["bits"], restored.aux["rate_map"].sum((1, 2)), rtol=1e-5
  )


def test_sigma_must_suit_the_model(restorer):
  model, variables = restorer
  with pytest.raises(ValueError, match="needs a sigma"):
    streaming.restore_clip(model, variables, _clip(1))
  with pytest.raises(ValueError, match=r"between 0 and 1.* 30"):
    streaming.restore_clip(model, variables, _clip(1), sigma=30)
  blind = models.build("ncfl", **TINY, noise_map=False)
  with pytest.raises(ValueError, match="blind"):
    streaming.restore_clip(blind, {}, _clip(1), sigma=0.1)


def test_frames_must_suit_the_stream(restorer):
  model, variables = restorer
  frames = [_clip(1)[0], _clip(1, 10, 12)[0]]
  with pytest.raises(ValueError, match=r"Frame 1 is 12x10 .* 19x14"):
    list(streaming.restore_stream(model, variables, frames, sigma=0.1))
  with pytest.raises(ValueError, match="3 channels"):
    list(
        streaming.restore_stream(
            model, variables, [_clip(1)[0, ..., :1]], sigma=0.1
        )
    )
  with pytest.raises(ValueError, match="no frames"):
    streaming.restore_clip(model, variables, _clip(0), sigma=0.1)


def test_a_model_that_does_not_restore_is_refused():
  with pytest.raises(ValueError, match="SpyNet is no restoration model"):
    streaming.check_streams(models.build("spynet"))
