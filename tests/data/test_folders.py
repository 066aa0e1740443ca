"""Folders of frames: read exactly, and every fault is named in one line."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax import data
from vidrestore_jax.data import folders


def _pixels(seed, shape=(12, 16, 3), dtype=np.uint8):
  return np.random.default_rng(seed).integers(
      0, np.iinfo(dtype).max, shape, dtype, endpoint=True
  )


def _write_png_16(path, pixels, filter_type=4):
  """A 16-bit PNG after the standard: Pillow writes none in colour.

  Each row uses `filter_type` (0 none, 4 Paeth), so that reading needs the
  real filters.
  """
  height, width, channels = pixels.shape
  rows = pixels.astype(">u2").view(np.uint8).reshape(height, -1).astype(int)
  size = 2 * channels
  left = np.pad(rows, ((0, 0), (size, 0)))[:, :-size]
  up = np.pad(rows, ((1, 0), (0, 0)))[:-1]
  corner = np.pad(rows, ((1, 0), (size, 0)))[:-1, :-size]
  guess = left + up - corner
  off = np.abs(np.stack([left - guess, up - guess, corner - guess]))
  paeth = np.choose(off.argmin(0), [left, up, corner])
  body = rows - (paeth if filter_type == 4 else 0)
  body = np.pad(body % 256, ((0, 0), (1, 0)), constant_values=filter_type)
  colour_type = {1: 0, 3: 2, 4: 6}[channels]

  def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", checksum
    )

  path.write_bytes(
      b"\x89PNG\r\n\x1a\n"
      + chunk(b"IHDR", struct.pack(
          ">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
      + chunk(b"IDAT", zlib.compress(body.astype(np.uint8).tobytes()))
      + chunk(b"IEND", b"")
  )


def _write_clip(folder, frames=6, shape=(12, 16, 3), suffix="png", first=0):
  folder.mkdir(parents=True)
  clip = np.stack([_pixels(first + t, shape) for t in range(frames)])
  for t, frame in enumerate(clip):
    Image.fromarray(frame).save(folder / f"{t:05d}.{suffix}")
  return clip


# Finding


def test_a_folder_of_clips_and_a_single_clip_are_found(tmp_path):
  _write_clip(tmp_path / "b10")
  _write_clip(tmp_path / "b9")
  (tmp_path / ".cache").mkdir()
  (tmp_path / "b9" / "._00000.png").write_bytes(b"")
  (tmp_path / "b9" / "notes.txt").write_text("shot at noon")
  found = folders.find_clips(tmp_path)
  assert [name for name, _ in found] == ["b9", "b10"]
  assert [path.name for path in found[0][1]] == [
      f"{t:05d}.png" for t in range(6)
  ]
  assert folders.find_clips(tmp_path / "b9") == [found[0]]


def test_frames_are_in_natural_order(tmp_path):
  for name in ("2.png", "10.PNG", "1.png"):
    Image.fromarray(_pixels(0)).save(tmp_path / name)
  (_, frames), = folders.find_clips(tmp_path)
  assert [frame.name for frame in frames] == ["1.png", "2.png", "10.PNG"]


def test_an_empty_path_is_not_the_current_folder(tmp_path, monkeypatch):
  _write_clip(tmp_path / "a")
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match="No folder of clips was named"):
    folders.find_clips("")
  assert folders.find_clips(".")[0][0] == "a"


def test_missing_and_empty_folders_are_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"No folder .*nowhere"):
    folders.find_clips(tmp_path / "nowhere")
  with pytest.raises(FileNotFoundError, match=r"holds no frame \(\.png"):
    folders.find_clips(tmp_path)
  (tmp_path / "a").mkdir()
  with pytest.raises(FileNotFoundError, match=r"None of the 1 folders"):
    folders.find_clips(tmp_path)
  _write_clip(tmp_path / "b")
  with pytest.raises(ValueError, match=r"a holds no frame .*1 of 2"):
    folders.find_clips(tmp_path)
  file = tmp_path / "b" / "00000.png"
  with pytest.raises(FileNotFoundError, match=r"00000.png is a file"):
    folders.find_clips(file)


def test_ambiguous_folders_are_refused(tmp_path):
  _write_clip(tmp_path / "a")
  Image.fromarray(_pixels(0)).save(tmp_path / "x.png")
  with pytest.raises(ValueError, match=r"frames \(x.png, .*beside folders"):
    folders.find_clips(tmp_path)
  Image.fromarray(_pixels(0)).save(tmp_path / "a" / "00003.jpg")
  with pytest.raises(ValueError, match=r"twice: 00003.jpg and 00003.png"):
    folders.find_clips(tmp_path / "a")


# Reading


def test_png_is_read_bit_exact_and_jpeg_as_pillow_decodes_it(tmp_path):
  clip = _write_clip(tmp_path / "a")
  paths = folders.find_clips(tmp_path / "a")[0][1]
  frames, white = folders.read_frames(paths[1:4])
  assert white == 255 and frames.dtype == np.uint8
  np.testing.assert_array_equal(frames, clip[1:4])
  _write_clip(tmp_path / "j", suffix="jpg")
  paths = folders.find_clips(tmp_path / "j")[0][1]
  frames, _ = folders.read_frames(paths[:1])
  np.testing.assert_array_equal(frames[0], np.asarray(Image.open(paths[0])))


@pytest.mark.parametrize("filter_type", [0, 4])
def test_16_bit_colour_keeps_both_bytes(tmp_path, filter_type):
  pixels = _pixels(1, dtype=np.uint16)
  _write_png_16(tmp_path / "0.png", pixels, filter_type)
  frames, white = folders.read_frames([tmp_path / "0.png"])
  assert white == 65535 and frames.dtype == np.uint16
  np.testing.assert_array_equal(frames[0], pixels)


def test_greyscale_of_either_depth_becomes_three_equal_channels(tmp_path):
  grey = _pixels(2, (12, 16))
  Image.fromarray(grey).save(tmp_path / "8.png")
  np.testing.assert_array_equal(
      folders.read_frames([tmp_path / "8.png"])[0][0],
      np.stack([grey] * 3, -1),
  )
  deep = _pixels(3, (12, 16, 1), np.uint16)
  _write_png_16(tmp_path / "16.png", deep)
  np.testing.assert_array_equal(
      folders.read_frames([tmp_path / "16.png"])[0][0],
      np.repeat(deep, 3, axis=-1),
  )
  Image.fromarray(grey > 127).save(tmp_path / "1.png")
  one = folders.read_frames([tmp_path / "1.png"])[0][0]
  np.testing.assert_array_equal(one[..., 1], (grey > 127) * 255)


def test_palette_is_read_as_the_colours_it_stands_for(tmp_path):
  image = Image.fromarray(_pixels(4)).quantize(16)
  image.save(tmp_path / "p.png")
  np.testing.assert_array_equal(
      folders.read_frames([tmp_path / "p.png"])[0][0],
      np.asarray(image.convert("RGB")),
  )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_dropped_where_opaque_and_refused_elsewhere(tmp_path, dtype):
  pixels = _pixels(5, (12, 16, 4), dtype)
  pixels[..., 3] = np.iinfo(dtype).max
  path = tmp_path / "a.png"

  def write():
    if dtype == np.uint16:
      _write_png_16(path, pixels)
    else:
      Image.fromarray(pixels).save(path)

  write()
  np.testing.assert_array_equal(
      folders.read_frames([path])[0][0], pixels[..., :3]
  )
  pixels[3, 4, 3] -= 1
  write()
  with pytest.raises(ValueError, match=r"a\.png has transparent pixels"):
    folders.read_frames([path])


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("keep", [0.0, 0.2, 0.6])
def test_a_truncated_file_is_named(tmp_path, suffix, keep):
  _write_clip(tmp_path / "a", shape=(64, 64, 3), suffix=suffix)
  path = tmp_path / "a" / f"00002.{suffix}"
  whole = path.read_bytes()
  path.write_bytes(whole[: int(keep * len(whole))])
  paths = folders.find_clips(tmp_path / "a")[0][1]
  with pytest.raises(ValueError, match=rf"2\.{suffix} is .*damaged") as info:
    folders.read_frames(paths)
  assert "\n" not in str(info.value)


def test_other_kinds_of_file_are_refused(tmp_path):
  Image.fromarray(_pixels(0)).convert("CMYK").save(tmp_path / "c.jpg")
  with pytest.raises(ValueError, match=r"c\.jpg has Pillow mode CMYK"):
    folders.read_frames([tmp_path / "c.jpg"])
  (tmp_path / "t.png").write_text("no image")
  with pytest.raises(ValueError, match=r"t\.png is not a PNG or JPEG"):
    folders.read_frames([tmp_path / "t.png"])
  header = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
  (tmp_path / "t.png").write_bytes(
      b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
      + struct.pack(">II4s", zlib.crc32(header), 8, b"IDAT") + bytes(12)
  )
  with pytest.raises(ValueError, match=r"t\.png declares more than 178,9"):
    folders.read_frames([tmp_path / "t.png"])
  with pytest.raises(ValueError, match="at least one path"):
    folders.read_frames([])


def test_mixed_sizes_and_depths_are_named(tmp_path):
  _write_clip(tmp_path / "a")
  Image.fromarray(_pixels(0, (12, 18, 3))).save(tmp_path / "a" / "00004.png")
  for read in (
      lambda: folders.read_frames(folders.find_clips(tmp_path)[0][1]),
      lambda: folders.build(tmp_path),
  ):
    with pytest.raises(ValueError, match=r"00004.png is 18x12, .*16x12"):
      read()
  _write_png_16(tmp_path / "a" / "00004.png", _pixels(0, dtype=np.uint16))
  for read in (
      lambda: folders.read_frames(folders.find_clips(tmp_path)[0][1]),
      lambda: folders.build(tmp_path),
  ):
    with pytest.raises(ValueError, match=r"00004.png has 16 bits .*has 8"):
      read()


# The source


def test_windows_cover_each_clip_and_decode_only_their_frames(tmp_path):
  clip = _write_clip(tmp_path / "a", frames=7)
  _write_clip(tmp_path / "b", frames=5, first=50)
  source = data.build("folders", clean=tmp_path, length=5, stride=2)
  assert len(source) == 3  # a from 0, a from 2, b from 0.
  # A frame outside the window may be broken without being noticed.
  file = tmp_path / "a" / "00000.png"
  file.write_bytes(file.read_bytes()[:80])
  example = source[1]
  np.testing.assert_array_equal(example["clean"], clip[2:7])
  assert example["name"] == "a/00002" and example["max_value"] == 255
  assert "degraded" not in example
  with pytest.raises(ValueError, match=r"00000\.png is damaged"):
    source[0]
  with pytest.raises(IndexError):
    source[3]


def test_pairs_are_matched_by_name(tmp_path):
  clean = _write_clip(tmp_path / "clean" / "a")
  rainy = _write_clip(tmp_path / "rain" / "a", first=70)
  source = folders.build(tmp_path / "clean", tmp_path / "rain", length=3)
  example = source[2]
  np.testing.assert_array_equal(example["clean"], clean[2:5])
  np.testing.assert_array_equal(example["degraded"], rainy[2:5])
  single = folders.build(tmp_path / "clean" / "a", tmp_path / "rain" / "a")
  np.testing.assert_array_equal(single[0]["degraded"], rainy[:5])


def test_unpaired_frames_and_clips_are_named(tmp_path):
  clean, rain = tmp_path / "clean", tmp_path / "rain"
  for side in (clean, rain):
    _write_clip(side / "a")
    _write_clip(side / "b")
  (rain / "b" / "00003.png").unlink()
  with pytest.raises(ValueError, match=r"Frame 00003 of clip b .*clean frame"):
    folders.build(clean, rain)
  for file in (rain / "b").iterdir():
    file.unlink()
  (rain / "b").rmdir()
  _write_clip(rain / "c")
  with pytest.raises(ValueError, match=r"Clip b has no partner in .*rain"):
    folders.build(clean, rain)
  _write_clip(clean / "c", shape=(12, 20, 3))
  _write_clip(rain / "b")
  with pytest.raises(ValueError, match=r"Clip c is 20x12 .*but 16x12"):
    folders.build(clean, rain)


def test_a_clip_that_is_too_short_is_named(tmp_path):
  _write_clip(tmp_path / "long")
  _write_clip(tmp_path / "short", frames=4)
  with pytest.raises(ValueError, match=r"Clip short .*has 4 frames.*length 5"):
    folders.build(tmp_path)
  with pytest.raises(ValueError, match=r"stride needs .* is 0"):
    folders.build(tmp_path, stride=0)


def test_arguments_that_a_source_does_not_take_are_named(tmp_path):
  with pytest.raises(ValueError, match=r"'folders' takes no .* flow\. .*clean"):
    data.build("folders", clean=tmp_path, flow=True)
  with pytest.raises(ValueError, match="'folders' needs the argument clean"):
    data.build("folders")
  with pytest.raises(ValueError, match=r"takes no .* hight\. .* height"):
    data.build("procedural", size=1, hight=96)
  with pytest.raises(ValueError, match="'procedural' needs the argument size"):
    data.build("procedural")
