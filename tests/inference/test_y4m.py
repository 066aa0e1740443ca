import fractions
import io

import av
import numpy as np
import pytest

from tests.inference import tiny_videos
from vidrestore_jax.inference import pixel_formats, y4m
from vidrestore_jax.inference.video_colour import Layout

FORMATS = [
    "yuv420p", "yuv422p", "yuv444p", "yuv411p", "gray", "yuv420p9le",
    "yuv422p10le", "yuv444p12le", "yuv420p14le", "yuv422p16le", "gray16le",
]


@pytest.mark.parametrize("name", FORMATS)
def test_what_ffmpeg_writes_is_read(name):
  planes = tiny_videos.samples(name, 3, (18, 10))
  file = io.BytesIO()
  with av.open(
      file, "w", format="yuv4mpegpipe", container_options={"strict": "-1"}
  ) as container:
    stream = container.add_stream(
        "wrapped_avframe", rate=fractions.Fraction(30000, 1001), width=18,
        height=10, pix_fmt=name,
    )
    for index, frame_planes in enumerate(planes):
      frame = pixel_formats.write(frame_planes, name)
      frame.pts = index
      container.mux(stream.encode(frame))
  file.seek(0)
  source = y4m.Y4mReader(file, "stream")
  described = source.description
  assert described.size == (18, 10) and described.pixel_format == name
  assert described.rate == fractions.Fraction(30000, 1001)
  read = list(source.pictures())
  assert [picture.pts for picture in read] == [0, 1, 2]
  for given, picture in zip(planes, read, strict=True):
    for one, other in zip(given, picture.planes, strict=True):
      np.testing.assert_array_equal(other, one)


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_by_ffmpeg(tmp_path, name):
  (planes,) = tiny_videos.samples(name, 1, (18, 10))
  layout = pixel_formats.layout_of(name, full=True)
  path = tmp_path / "a.y4m"
  with path.open("wb") as file:
    writer = y4m.Y4mWriter(
        file, layout, (18, 10), fractions.Fraction(24), fractions.Fraction(4, 3)
    )
    writer.write(planes)
  with av.open(str(path)) as container:
    stream = container.streams.video[0]
    assert stream.average_rate == 24
    assert stream.sample_aspect_ratio == fractions.Fraction(4, 3)
    (frame,) = container.decode(stream)
    assert frame.color_range == 2
    read, _ = pixel_formats.read(frame)
  for one, other in zip(planes, read, strict=True):
    np.testing.assert_array_equal(other, one)


def test_a_stream_comes_back_as_it_is():
  header = b"YUV4MPEG2 W4 H2 F25:1 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n"
  given = header + 2 * (b"FRAME\n" + bytes(range(12)))
  source = y4m.Y4mReader(io.BytesIO(given), "stream")
  assert source.description.layout == Layout(
      "yuv", 8, (1, 1), siting=(0.0, 0.5)
  )
  file = io.BytesIO()
  described = source.description
  writer = y4m.Y4mWriter(
      file, described.layout, described.size, described.rate, described.aspect
  )
  for picture in source.pictures():
    writer.write(picture.planes)
  assert file.getvalue() == given


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"RIFF....AVI \n", "is no YUV4MPEG2 stream"),
        (b"", "is no YUV4MPEG2 stream"),
        (b"YUV4MPEG2 W4", "cut short in a header"),
        (b"YUV4MPEG2 W4 C420\n", "makes no sense"),
        (b"YUV4MPEG2 W99999 H99999\n", "declares frames of 99999x99999"),
        (b"YUV4MPEG2 W4 H2 It\n", "interlaced.*--progressive"),
        (b"YUV4MPEG2 W4 H2 C444alpha\n", "colour space 444alpha"),
        (b"YUV4MPEG2 W4 H2 C420p24\n", "colour space 420p24"),
        (b"YUV4MPEG2 W4 H2 C420\n", "holds no frame"),
    ],
)
def test_bad_headers_are_one_line(header, message):
  with pytest.raises(ValueError, match=f"pipe.*{message}"):
    y4m.Y4mReader(io.BytesIO(header), "pipe")


def test_bad_frames_are_one_line():
  header = b"YUV4MPEG2 W4 H2 Cmono\nFRAME\n01234567"
  for rest, message in (
      (b"FRAME\n123", "cut short in frame 1"), (b"NOISE\n", "after frame 1"),
  ):
    source = y4m.Y4mReader(io.BytesIO(header + rest), "pipe")
    with pytest.raises(ValueError, match=message):
      list(source.pictures())
