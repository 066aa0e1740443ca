import errno
import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax.data import folders
from vidrestore_jax.inference import frames_io


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_written_frames_are_read_back_exactly(tmp_path, dtype):
  top = np.iinfo(dtype).max
  frame = np.random.default_rng(0).integers(0, top, (13, 17, 3), dtype, True)
  frames_io.write_png(tmp_path / "0.png", frame)
  read, max_value = folders.read_frames([tmp_path / "0.png"])
  np.testing.assert_array_equal(read[0], frame)
  assert read.dtype == dtype and max_value == top
  assert [path.name for path in tmp_path.iterdir()] == ["0.png"]


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_pillow_reads_grey_and_alpha(mode):
  channels = len(mode)
  frame = np.random.default_rng(0).integers(0, 256, (5, 6, channels), np.uint8)
  with Image.open(io.BytesIO(frames_io.encode_png(frame))) as image:
    assert image.mode == mode
    pixels = np.asarray(image).reshape(frame.shape)
  np.testing.assert_array_equal(pixels, frame)


def test_to_integers_rounds_and_clips():
  frame = np.array([-0.1, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.7])
  np.testing.assert_array_equal(
      frames_io.to_integers(frame, 255), [0, 0, 0, 1, 255, 255]
  )
  deep = frames_io.to_integers(frame, 65535)
  assert deep.dtype == np.uint16 and deep[2] == round(0.4 * 257)


def test_every_integer_survives_the_way_through_floats():
  for dtype in (np.uint8, np.uint16):
    top = np.iinfo(dtype).max
    values = np.arange(top + 1).astype(np.float32) / np.float32(top)
    np.testing.assert_array_equal(
        frames_io.to_integers(values, top), np.arange(top + 1)
    )


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
  real = pathlib.Path.write_bytes

  def write_bytes(path, data):
    real(path, data[:20])
    raise OSError(errno.ENOSPC, "No space left on device", str(path))

  monkeypatch.setattr(pathlib.Path, "write_bytes", write_bytes)
  with pytest.raises(OSError, match="No space left"):
    frames_io.write_png(tmp_path / "0.png", np.zeros((4, 4, 3), np.uint8))
  assert not list(tmp_path.iterdir())


def test_errors_name_the_given_and_the_allowed():
  with pytest.raises(ValueError, match="uint8 or uint16, but got float32"):
    frames_io.encode_png(np.zeros((4, 4, 3), np.float32))
  with pytest.raises(ValueError, match=r"1 to 4 channels, but got \(4, 4\)"):
    frames_io.encode_png(np.zeros((4, 4), np.uint8))
  with pytest.raises(ValueError, match=r"255 or 65535.* 1023"):
    frames_io.to_integers(np.zeros(3), 1023)
  with pytest.raises(ValueError, match="NaN"):
    frames_io.to_integers(np.array([np.nan]), 255)
