"""Colours of video: by the formula, and the same way there and back."""

import numpy as np
import pytest

from vidrestore_jax import colour, data
from vidrestore_jax.degradations import compression

av = pytest.importorskip("av", reason="PyAV (the extra `video`)")

# Weights of red and blue in luma, ITU-R BT.601 and BT.709.
_601, _709 = (0.299, 0.114), (0.2126, 0.0722)
_COLOURS = np.array([
    [200, 30, 40], [30, 180, 50], [40, 50, 220], [210, 200, 20],
    [20, 190, 200], [128, 128, 128],
], np.uint8)


def _flat(height):
  """Squares of 16 pixels of each colour, uint8 `[height, 96, 3]`."""
  return np.tile(np.repeat(_COLOURS, 16, 0), (height, 1, 1))


def _yuv(rgb, red, blue):
  """Limited-range Y, Cb, Cr of 8 bits, not rounded."""
  r, g, b = np.moveaxis(rgb / 255, -1, 0)
  y = red * r + (1 - red - blue) * g + blue * b
  cb, cr = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
  return np.stack([16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr], -1)


def _convert():
  return av.video.reformatter.VideoReformatter()


@pytest.mark.parametrize(("height", "weights"), [(32, _601), (720, _709)])
def test_rgb_becomes_yuv_by_the_matrix_of_its_lines(height, weights):
  pixels = _flat(height)
  frame = colour.to_yuv(_convert(), pixels)
  assert frame.format.name == "yuv420p"
  planes = [
      np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
      for plane in frame.planes
  ]
  # In the middle of the squares, where no other colour reaches.
  found = np.stack([
      planes[0][8, 8:96:16], planes[1][4, 4:48:8], planes[2][4, 4:48:8]
  ], -1)
  np.testing.assert_allclose(found, _yuv(_COLOURS, *weights), atol=0.7)
  back = colour.to_rgb(_convert(), frame, *colour.of_frame(frame, "it"))
  middle = np.abs(back.astype(int) - pixels)[:, 8::16]
  assert middle.max() <= 2  # What 8 bits of chroma leave.


@pytest.mark.parametrize("height", [32, 720])
def test_a_file_is_read_as_its_frames_were_made(tmp_path, height):
  """Also where nothing in it names the matrix."""
  frame = colour.to_yuv(_convert(), _flat(height))
  expected = colour.to_rgb(_convert(), frame, *colour.of_frame(frame, "it"))
  for space in (colour.tags_for(height)[0], 2):
    path = tmp_path / f"{space}.mkv"
    with av.open(str(path), "w") as container:
      stream = container.add_stream("ffv1", rate=25)
      stream.height, stream.width, stream.pix_fmt = height, 96, "yuv420p"
      stream.codec_context.colorspace = space
      container.mux(stream.encode(frame))
      container.mux(stream.encode())
    clean = data.build("videos", path=path, length=1)[0]["clean"]
    np.testing.assert_array_equal(clean[0], expected)


@pytest.mark.parametrize(
    ("codec", "height"), [("h264", 32), ("h264", 720), ("vp9", 32)]
)
def test_coders_keep_the_colours(codec, height):
  """BT.601 taken for BT.709 would move these by up to 20 levels."""
  clip = _flat(height)[None] / np.float32(255)
  decoded, _ = compression.video(
      np.random.default_rng(0), clip, codec=codec, crf=(2, 2)
  )
  error = np.abs(decoded - clip)[:, :, 8::16] * 255
  assert error.max() < 4.5


@pytest.mark.parametrize("coder", [compression.jpeg, compression.video])
def test_chroma_is_coded_at_half_resolution(coder):
  """Columns of equal luma that differ in chroma run into one another."""
  chroma = np.where(np.arange(64) % 2, 40.0, -40.0)
  rgb = 128 + np.stack([1.402 * chroma, -0.714 * chroma, 0 * chroma], -1)
  clip = np.tile(rgb, (1, 32, 1, 1)).astype(np.float32) / 255
  option = {"quality": (95, 95)} if coder is compression.jpeg else {
      "crf": (2, 2)
  }
  decoded, _ = coder(np.random.default_rng(0), clip, **option)
  contrast = [
      np.abs(np.diff(frames[..., 0], axis=2))[:, 8:-8, 8:-8].mean()
      for frames in (clip, decoded)
  ]
  assert contrast[1] < 0.1 * contrast[0]
