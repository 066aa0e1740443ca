"""Measuring raw video: hand values, scikit-image, and the plain ISP."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from vidrestore_jax.data import raw as raw_data
from vidrestore_jax.degradations import raw as raw_noise
from vidrestore_jax.metrics import image, protocols, raw


def _clip(seed=0, shape=(2, 16, 18, 4)):
  return np.random.default_rng(seed).random(shape).astype(np.float32)


def test_truncation_drops_fractions_of_a_digital_number():
  dn = np.array([-5.0, 0.4, 1000.9, 1001.0, 3854.99, 4000.0])
  expected = [0, 0, 1000, 1001, 3854, 3855]
  np.testing.assert_allclose(raw.truncate(dn / 3855) * 3855, expected)


def test_truncation_keeps_every_digital_number_that_float32_carried():
  dn = np.arange(3856)
  carried = (dn / 3855).astype(np.float32)
  np.testing.assert_array_equal(np.rint(raw.truncate(carried) * 3855), dn)


def test_raw_psnr_is_that_of_the_truncated_mosaic():
  protocol = protocols.get("crvd_raw")
  truth = np.full((1, 8, 8, 4), 1000 / 3855, np.float32)
  frames = truth + np.float32(38.9 / 3855)  # Truncated: 38.
  score = protocols.score(frames, truth, protocol)
  assert score["psnr"][0] == pytest.approx(20 * np.log10(3855 / 38), abs=1e-9)

  frames, truth = _clip(1), _clip(2)
  score = protocols.score(frames, truth, protocol)
  for t in range(2):
    mosaics = [
        np.floor(3855 * raw_data.unpack(np.float64(clip[t])) + 1e-3) / 3855
        for clip in (frames, truth)
    ]
    expected = -10 * np.log10(np.mean((mosaics[0] - mosaics[1]) ** 2))
    assert score["psnr"][t] == pytest.approx(expected, abs=1e-9)


def test_raw_ssim_is_the_mean_of_scikit_images_over_four_planes():
  truth = _clip()
  frames = (truth + 0.2 * _clip(3)) / 1.2
  score = protocols.score(frames, truth, protocols.get("crvd_raw"))
  for t in range(2):
    expected = np.mean([
        structural_similarity(
            raw.truncate(frames[t, ..., plane]),
            raw.truncate(truth[t, ..., plane]),
            data_range=1.0,
        )
        for plane in range(4)
    ])
    assert score["ssim"][t] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("camera", [
    None, dict(rgb_gain=1.1, red_gain=1.9, blue_gain=2.1, cam2rgb=np.eye(3)),
])
def test_srgb_is_measured_behind_the_cameras_isp_on_8_bits_rounded_down(
    camera
):
  frames, truth = _clip(1), _clip(2)
  protocol = protocols.get("crvd_srgb")
  score = protocols.score(frames, truth, protocol, camera=camera)
  for t in range(2):
    pair = [
        np.floor(255 * raw.isp(clip[t], **camera or {})) / 255
        for clip in (frames, truth)
    ]
    assert score["psnr"][t] == pytest.approx(image.psnr(*pair), abs=1e-9)
    expected = structural_similarity(*pair, data_range=1.0, channel_axis=-1)
    assert score["ssim"][t] == pytest.approx(expected, abs=1e-9)


def test_raw_protocols_refuse_images():
  frames = _clip(shape=(1, 16, 16, 3))
  for name in ("crvd_raw", "crvd_srgb"):
    with pytest.raises(ValueError, match=f"{name} measures packed.*raw.pack"):
      protocols.score(frames, frames, protocols.get(name))


def test_demosaicing_is_exact_on_ramps_of_colour():
  y, x = np.mgrid[:12, :16]
  scene = np.stack([0.1 + x / 40, 0.9 - y / 40, (x + 2 * y) / 50], -1)
  packed = np.stack([
      scene[1::2, 0::2, 0],
      scene[1::2, 1::2, 1],
      scene[0::2, 1::2, 2],
      scene[0::2, 0::2, 1],
  ], -1)
  inside = (slice(1, -1), slice(1, -1))  # The border is mirrored.
  np.testing.assert_allclose(
      raw.demosaic(packed)[inside], scene[inside], atol=1e-12
  )


def test_demosaicing_invents_no_colour_at_the_border():
  packed = np.broadcast_to([0.3, 0.6, 0.2, 0.6], (2, 3, 5, 4))
  np.testing.assert_allclose(
      raw.demosaic(packed), np.broadcast_to([0.3, 0.6, 0.2], (2, 6, 10, 3))
  )


def test_demosaicing_refuses_what_is_not_packed():
  with pytest.raises(ValueError, match=r"planes.*shape \(8, 8, 1\)"):
    raw.demosaic(np.zeros((8, 8, 1)))


def test_isp_of_grey_by_hand():
  # A grey card at linear 0.18 as CRVD's camera sees it.
  card = 0.18 * np.array([0.5527, 1.0, 0.4844, 1.0])
  display = 0.18 ** (1 / 2.2)
  expected = 3 * display**2 - 2 * display**3
  srgb = raw.isp(np.broadcast_to(card, (4, 4, 4)))
  np.testing.assert_allclose(srgb, expected, atol=1e-6)


def test_isp_clips_what_white_balance_drives_above_white():
  srgb = raw.isp(np.ones((4, 4, 4)))
  np.testing.assert_allclose(srgb, 1.0, atol=1e-6)
  np.testing.assert_array_equal(raw.isp(np.full((4, 4, 4), -0.1)), 0.0)


def test_matrix_of_crvds_camera_is_that_of_its_authors():
  cam2xyz = np.array([
      [0.4679, 0.2145, 0.3176],
      [0.1433, 0.8236, 0.0331],
      [0.0003, -0.3607, 1.3604],
  ])
  rgb2xyz = np.array([
      [0.4124564, 0.3575761, 0.1804375],
      [0.2126729, 0.7151522, 0.0721750],
      [0.0193339, 0.1191920, 0.9503041],
  ])
  rgb2cam = np.linalg.inv(cam2xyz) @ rgb2xyz
  rgb2cam /= rgb2cam.sum(-1, keepdims=True)
  np.testing.assert_allclose(raw.CAM2RGB, np.linalg.inv(rgb2cam), atol=1e-6)


def test_data_noise_and_metrics_speak_of_one_camera():
  assert raw.PLANES == raw_data.PLANES
  assert raw.WHITE == raw_data.MAX_VALUE == raw_noise.WHITE - raw_noise.BLACK
  assert (raw_data.BLACK, raw_data.WHITE) == (raw_noise.BLACK, raw_noise.WHITE)
