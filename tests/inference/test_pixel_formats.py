import av
import numpy as np
import pytest

from tests.inference import tiny_videos
from vidrestore_jax.inference import pixel_formats

PLANAR = [
    f"{stem}{depth}"
    for stem in ("yuv420p", "yuv422p", "yuv444p", "gbrp", "gray")
    for depth in ("", "9le", "10be", "10le", "12le", "14le", "16be", "16le")
] + ["yuv411p", "yuv410p", "yuv440p", "yuv440p12le", "yuva444p10le", "gbrap"]
PACKED = [
    "nv12", "nv21", "nv16", "nv24", "nv42", "nv20le", "p010le", "p012le",
    "p016le", "p210le", "p212le", "p216le", "p410le", "p412le", "p416le",
    "yuyv422", "uyvy422", "yvyu422", "y210le", "y212le", "y216le", "vuya",
    "vuyx", "ayuv", "uyva", "vyu444", "ayuv64le", "xv36le", "xv48le", "rgb24",
    "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr",
    "rgb48le", "rgb48be", "bgr48le", "rgba64le", "bgra64be", "ya8", "ya16le",
]
SIZE = (14, 6)


@pytest.mark.parametrize("name", PLANAR + PACKED)
def test_samples_are_written_and_read_exactly(name):
  (planes,) = tiny_videos.samples(name, 1, SIZE)
  frame = pixel_formats.write(planes, name)
  read, alpha = pixel_formats.read(frame)
  for given, made in zip(planes, read, strict=True):
    np.testing.assert_array_equal(made, given)
  assert (alpha is not None) == pixel_formats.has_alpha(name)
  if alpha is not None:
    top = (1 << pixel_formats.layout_of(name).depth) - 1
    assert (alpha == top).all()


@pytest.mark.parametrize("name", PACKED)
def test_packed_formats_are_unfolded_as_libswscale_does(name):
  """Neither of the two could have its order of components wrong alone."""
  layout = pixel_formats.layout_of(name)
  depth = "" if layout.depth == 8 else f"{layout.depth}le"
  planar = {
      "rgb": "gbrp", "gray": "gray",
      "yuv": f"yuv{ {(1, 1): 420, (1, 0): 422}.get(layout.subsampling, 444)}p",
  }[layout.family] + depth
  (planes,) = tiny_videos.samples(name, 1, SIZE)
  frame = pixel_formats.write(planes, name)
  unfolded, _ = pixel_formats.read(frame.reformat(format=planar, threads=1))
  for given, made in zip(planes, unfolded, strict=True):
    np.testing.assert_array_equal(made, given)


@pytest.mark.parametrize("name", ["rgb565le", "monow"])
def test_small_formats_are_unfolded(name):
  colours = av.VideoFrame.from_ndarray(
      np.full((6, 14, 3), 255, np.uint8), format="rgb24"
  )
  planes, _ = pixel_formats.read(colours.reformat(format=name))
  for plane in planes:
    np.testing.assert_array_equal(plane, 255)


@pytest.mark.parametrize("name", ["gbrpf32le", "xyz12le", "bayer_rggb16le"])
def test_others_are_refused(name):
  with pytest.raises(ValueError, match=f"{name} is not supported.*ffmpeg"):
    pixel_formats.layout_of(name)
