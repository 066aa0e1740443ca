"""Lazy clips: slices of them are slices of the whole, and cost no more."""

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax import data
from vidrestore_jax.data import folders
from vidrestore_jax.data.lazy import LazyClip

_WHOLE = np.random.default_rng(0).integers(0, 256, (9, 12, 16, 3), np.uint8)


@pytest.fixture
def asked():
  return []


@pytest.fixture
def clip(asked):
  """Frames 2 .. 7 of the whole."""
  def read(first, end, box):
    asked.append((first, end, box))
    top, bottom, left, right = box
    return _WHOLE[first:end, top:bottom, left:right]

  return LazyClip(read, (6, 12, 16, 3), np.uint8, first=2)


def test_slices_are_those_of_the_whole(clip, asked):
  plain = _WHOLE[2:8]
  np.testing.assert_array_equal(np.asarray(clip), plain)
  np.testing.assert_array_equal(
      clip[1:4, 2:7, -5:], plain[1:4, 2:7, -5:]
  )
  window = clip[2:5]
  assert window.shape == (3, 12, 16, 3) and len(window) == 3
  np.testing.assert_array_equal(window[:, 3:9, 4:9], plain[2:5, 3:9, 4:9])
  np.testing.assert_array_equal(window[1:][:, :4], plain[3:5, :4])
  assert asked == [
      (2, 8, (0, 12, 0, 16)),
      (3, 6, (2, 7, 11, 16)),
      (4, 7, (3, 9, 4, 9)),
      (5, 7, (0, 4, 0, 16)),
  ]


@pytest.mark.parametrize("key", [0, slice(0, 4, 2), (slice(None), 3)])
def test_what_is_no_box_is_refused(clip, key):
  with pytest.raises(IndexError, match="three slices without a step"):
    clip[key]


def _images(tmp_path):
  """A clip for every way that frames are decoded."""
  rng = np.random.default_rng(1)
  for name, mode, suffix in (
      ("rgb", "RGB", "png"), ("jpeg", "RGB", "jpg"), ("grey", "L", "png"),
      ("deep", "I;16", "png"), ("palette", "P", "png"), ("bits", "1", "png"),
      ("opaque", "RGBA", "png"),
  ):
    (tmp_path / name).mkdir()
    for t in range(3):
      image = Image.fromarray(rng.integers(0, 256, (20, 26, 3), np.uint8))
      if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (20, 26), np.uint16))
      image.convert(mode).save(tmp_path / name / f"{t}.{suffix}")
    yield tmp_path / name


def test_folders_decode_a_patch_as_the_whole_frame(tmp_path):
  rng = np.random.default_rng(2)
  for folder in _images(tmp_path):
    source = data.build("folders", clean=folder, degraded=folder, length=2)
    for index in range(2):
      whole, item = source[index], source.open(index)
      assert item["name"] == whole["name"]
      assert item["max_value"] == whole["max_value"]
      for key in ("clean", "degraded"):
        assert item[key].shape == whole[key].shape
        assert item[key].dtype == whole[key].dtype
        np.testing.assert_array_equal(np.asarray(item[key]), whole[key])
        y, x = rng.integers(0, 12, 2)
        np.testing.assert_array_equal(
            item[key][:, y : y + 7, x : x + 9],
            whole[key][:, y : y + 7, x : x + 9],
            err_msg=folder.name,
        )


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_patch_above_the_damage_is_damaged_too(tmp_path, suffix):
  """Else a record would be damaged for some of its patches only."""
  path = tmp_path / f"0.{suffix}"
  Image.fromarray(_WHOLE[0].repeat(8, 0).repeat(8, 1)).save(path)
  content = path.read_bytes()
  path.write_bytes(content[: 3 * len(content) // 4])
  clip = data.build("folders", clean=tmp_path, length=1).open(0)["clean"]
  with pytest.raises(folders.CorruptRecord, match=rf"0\.{suffix} is damaged"):
    clip[:, :8, :8]


def test_a_file_that_shrank_is_no_frame_with_a_black_border(tmp_path):
  Image.fromarray(_WHOLE[0]).save(tmp_path / "0.png")
  clip = data.build("folders", clean=tmp_path, length=1).open(0)["clean"]
  Image.fromarray(_WHOLE[0, :8]).save(tmp_path / "0.png")
  with pytest.raises(ValueError, match=r"0\.png is 16x8, but rows to 12"):
    clip[:, 6:12, :4]
