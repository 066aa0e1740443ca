"""Bicubic interpolation as a model."""

import jax
import numpy as np
import pytest

from vidrestore_jax import models, released
from vidrestore_jax.inference import streaming
from vidrestore_jax.layers.resample import bicubic_resize


def test_it_enlarges_every_frame_and_is_released_like_any_model(tmp_path):
  clip = np.random.default_rng(0).random((3, 6, 7, 3), np.float32)
  folder = tmp_path / "bicubic"
  released.save(folder, name="bicubic", kwargs={"scale": 3}, variables={})
  model, variables = released.load(folder)
  restored = streaming.restore_clip(model, variables, clip).frames
  assert restored.shape == (3, 18, 21, 3)
  np.testing.assert_allclose(restored, bicubic_resize(clip, 3), atol=1e-6)


def test_its_halo_is_how_far_it_reads():
  model = models.build("bicubic", scale=4, channels=1)

  def large(x):
    return model.apply({}, x).frames[0, 32:36, 32:36]

  x = np.zeros((1, 1, 17, 17, 1), np.float32)
  read = np.abs(jax.jacobian(large)(x)).sum((0, 1, 2))[0, 0, :, :, 0]
  rows = np.flatnonzero(read.any(1))
  assert (rows.min(), rows.max()) == (8 - model.halo, 8 + model.halo)


def test_what_does_not_enlarge_is_refused():
  with pytest.raises(ValueError, match="from 2 on, but got 1"):
    models.build("bicubic", scale=1)
  with pytest.raises(ValueError, match="windows of 1 frame"):
    models.build("bicubic").apply({}, np.zeros((1, 3, 8, 8, 3)))
