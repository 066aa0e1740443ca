import fractions
import io
import os

import numpy as np
import pytest
from PIL import Image

from tests.inference import tiny_videos
from vidrestore_jax import cli
from vidrestore_jax.inference import tiff
from vidrestore_jax.inference.video_reader import VideoReader


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_written_frames_are_read_back_exactly(dtype):
  top = np.iinfo(dtype).max
  frame = np.random.default_rng(0).integers(0, top, (13, 17, 3), dtype, True)
  read = tiff.decode(tiff.encode(frame), "a.tif")
  np.testing.assert_array_equal(read, frame)
  assert read.dtype == dtype


def test_pillow_reads_what_is_written_and_the_other_way_round():
  frame = np.random.default_rng(0).integers(0, 255, (13, 17, 3), np.uint8)
  with Image.open(io.BytesIO(tiff.encode(frame))) as image:
    np.testing.assert_array_equal(np.asarray(image), frame)
  for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "TIFF", compression=compression)
    np.testing.assert_array_equal(tiff.decode(file.getvalue(), "a"), frame)
  grey, file = frame[..., 0].astype(np.uint16) * 257, io.BytesIO()
  Image.fromarray(grey).save(file, "TIFF")
  np.testing.assert_array_equal(
      tiff.decode(file.getvalue(), "a"), np.repeat(grey[..., None], 3, -1)
  )


def test_damage_is_one_line():
  whole = tiff.encode(np.zeros((13, 17, 3), np.uint8))
  for content in (b"", b"no TIFF", whole[:20]):
    with pytest.raises(ValueError, match=r"a\.tif is no TIFF"):
      tiff.decode(content, "a.tif")
  file = io.BytesIO()
  Image.new("RGBA", (4, 4), (1, 2, 3, 7)).save(file, "TIFF")
  with pytest.raises(ValueError, match=r"a\.tif has transparent"):
    tiff.decode(file.getvalue(), "a.tif")


def test_a_folder_of_tiff_becomes_one_and_a_video(tmp_path, capsys):
  model = tiny_videos.release(tmp_path / "model")
  clip = np.random.default_rng(0).integers(0, 65535, (2, 6, 8, 3), np.uint16)
  (tmp_path / "in").mkdir()
  for index, frame in enumerate(clip):
    (tmp_path / "in" / f"{index}.tif").write_bytes(tiff.encode(frame))
  command = ["restore", tmp_path / "in", tmp_path / "out", "--model", model]
  assert cli.main(list(map(str, command))) == 0
  assert sorted(os.listdir(tmp_path / "out")) == ["0.tif", "1.tif"]
  written = (tmp_path / "out" / "1.tif").read_bytes()
  np.testing.assert_array_equal(tiff.decode(written, "1"), clip[1])
  video = tmp_path / "out.mkv"
  command[2:3] = [video, "--lossless", "--segment=1", "--fps=30000/1001"]
  assert cli.main(list(map(str, command))) == 0
  source = VideoReader(video)
  assert source.description.rate == fractions.Fraction(30000, 1001)
  pictures = list(source.pictures())
  assert [picture.pts for picture in pictures] == [0, 33]
  np.testing.assert_array_equal(np.stack(pictures[1].planes, -1), clip[1])
  del command[3:6]
  damaged = tmp_path / "in" / "2.tif"
  damaged.write_bytes(written[:30])
  command[2] = tmp_path / "again"
  capsys.readouterr()
  assert cli.main(list(map(str, command))) == 2
  assert "2.tif is no TIFF" in capsys.readouterr().err
