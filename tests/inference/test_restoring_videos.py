"""With an identity model a restored video is the video."""

import fractions
import os
import struct

import av
import numpy as np
import pytest

import vidrestore_jax
from tests.inference import tiny_videos
from vidrestore_jax.inference import restoring, video_encoding
from vidrestore_jax.inference.restoring import Options
from vidrestore_jax.inference.video_reader import VideoReader

BT709, BT601, BT2020 = 1, 6, 9
PQ = 16
LIMITED, FULL = 1, 2


@pytest.fixture(scope="module")
def model():
  return tiny_videos.identity()


def _restore(path, output, model, **options):
  return restoring.restore_file(path, output, *model, Options(**options))


def _read(path):
  source = VideoReader(path)
  return source.description, list(source.pictures())


@pytest.mark.parametrize(
    ("pixel_format", "tags"),
    [
        ("yuv420p", (BT709, BT709, BT709, LIMITED)),
        ("yuv420p", (BT601, 6, 6, FULL)),
        ("yuv420p", (2, 2, 2, 0)),
        ("yuv422p", (BT709, 1, 1, LIMITED)),
        ("yuv444p", (BT709, 1, 1, FULL)),
        ("yuv440p", (BT709, 1, 1, LIMITED)),
        ("yuv411p", (BT601, 5, 6, LIMITED)),
        ("yuv410p", (BT601, 6, 6, LIMITED)),
        ("yuv420p10le", (BT2020, 9, PQ, LIMITED)),
        ("yuv422p10le", (BT2020, 9, 18, LIMITED)),
        ("yuv444p12le", (BT709, 1, 1, FULL)),
        ("yuv420p16le", (BT709, 1, 1, LIMITED)),
        ("gray", (2, 2, 2, FULL)),
        ("gray16le", (2, 2, 2, LIMITED)),
        ("bgr0", (0, 1, 13, FULL)),
        ("gbrp10le", (0, 9, PQ, FULL)),
        ("gbrp16le", (0, 2, 2, 0)),
    ],
)
def test_samples_tags_times_and_sound_come_back(
    tmp_path, model, pixel_format, tags
):
  planes = tiny_videos.samples(pixel_format, 5, (20, 12))
  given, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
  tiny_videos.write(given, planes, pixel_format, tags=tags, sound="pcm_s16le")
  assert _restore(given, output, model, lossless=True, segment=2).frames == 5
  before, _ = _read(given)
  after, pictures = _read(output)
  assert after.tags == before.tags and after.pixel_format == pixel_format
  assert (after.tags.matrix, after.tags.range) == (tags[0], tags[3])
  # Matroska counts milliseconds.
  stamps = [p.pts for p in VideoReader(given).pictures()]
  assert [p.pts for p in pictures] == stamps == [0, 40, 95, 118, 158]
  for given_planes, picture in zip(planes, pictures, strict=True):
    for index, (one, other) in enumerate(
        zip(given_planes, picture.planes, strict=True)
    ):
      error = np.abs(one.astype(int) - other).max()
      assert error <= (2 if index and sum(after.layout.subsampling) else 1)
  heard = tiny_videos.packets(given, "audio")
  assert len(heard) == 12 and heard == tiny_videos.packets(output, "audio")


@pytest.mark.parametrize(
    ("pixel_format", "planar"),
    [("nv12", "yuv420p"), ("yuyv422", "yuv422p"), ("rgb24", "bgr0")],
)
def test_packed_formats_keep_their_samples_in_planes(
    tmp_path, model, pixel_format, planar
):
  planes = tiny_videos.samples(pixel_format, 2, (16, 6))
  given, output = tmp_path / "in.nut", tmp_path / "out.mkv"
  tiny_videos.write(given, planes, pixel_format, codec="rawvideo")
  _restore(given, output, model, lossless=True)
  after, pictures = _read(output)
  assert after.pixel_format == planar
  for one, other in zip(planes[1], pictures[1].planes, strict=True):
    np.testing.assert_array_equal(other, one)


def _full(container, stream):
  container.metadata["title"] = "holiday"
  container.set_chapters([
      dict(id=1, start=0, end=100, time_base=fractions.Fraction(1, 1000),
           metadata={"title": "one"}),
  ])
  stream.metadata["language"] = "fra"
  stream.codec_context.sample_aspect_ratio = fractions.Fraction(16, 11)
  stream.set_display_rotation(90)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_the_default_keeps_all_but_the_samples(tmp_path, model, suffix):
  planes = tiny_videos.samples("yuv420p", 6, (32, 16))
  smooth = [[plane // 8 + 96 for plane in frame] for frame in planes]
  given, output = tmp_path / "in.mp4", tmp_path / f"out{suffix}"
  stamps = tiny_videos.write(
      given, smooth, "yuv420p", codec="libx264", sound="aac", edit=_full,
      tags=(BT709, 1, 1, LIMITED), options={"crf": "4"},
  )
  _restore(given, output, model, segment=4)
  before, shown = _read(given)
  after, pictures = _read(output)
  assert after.tags == before.tags
  assert after.display_matrix == before.display_matrix is not None
  exact = suffix != ".mkv"
  base = after.time_base
  if exact:
    assert [p.pts * base for p in pictures] == [
        pts * tiny_videos.TIME_BASE for pts in stamps
    ]
  else:
    assert [p.pts for p in pictures] == [0, 40, 95, 118, 158, 213]
  assert [data for _, data in tiny_videos.packets(given, "audio")] == [
      data for _, data in tiny_videos.packets(output, "audio")
  ]
  errors = [
      np.abs(a.planes[0].astype(int) - b.planes[0]).mean()
      for a, b in zip(shown, pictures, strict=True)
  ]
  assert max(errors) < 4  # Visually lossless, of noise.
  with av.open(str(output)) as container:
    stream = container.streams.video[0]
    assert stream.codec_context.name == "h264"
    assert stream.sample_aspect_ratio == fractions.Fraction(16, 11)
    assert stream.metadata["language"] == "fra"
    metadata = {k.lower(): v for k, v in container.metadata.items()}
    assert metadata["title"] == "holiday"
    (chapter,) = container.chapters()
    assert chapter["metadata"]["title"] == "one"
    assert chapter["end"] * chapter["time_base"] == fractions.Fraction(1, 10)


def _add_subtitles(container, stream):
  del stream
  container.add_attachment("font.ttf", "font/ttf", b"letters")


def _with_subtitles(path, frames=3, text=None, sets=None):
  """A video with a stream of text, or of PGS `sets`, and an attachment."""
  plain = path.with_name("plain.mkv")
  tiny_videos.write(
      plain, tiny_videos.samples("yuv420p", frames, (16, 16)), "yuv420p",
      edit=_add_subtitles,
  )
  script = path.with_name("text.srt")
  script.write_text(text or "1\n00:00:00,010 --> 00:00:00,090\nhello\n")
  if sets is not None:
    script = path.with_name("pictures.sup")
    script.write_bytes(sets)
  with (
      av.open(str(plain)) as video, av.open(str(script)) as words,
      av.open(str(path), "w") as joined,
  ):
    streams = {
        ("v", s.index): joined.add_stream_from_template(s, opaque=True)
        for s in video.streams
    }
    sub = joined.add_stream_from_template(words.streams[0], opaque=True)
    for packet in video.demux(video.streams.video[0]):
      if packet.size:
        packet.stream = streams["v", packet.stream.index]
        joined.mux(packet)
    for packet in words.demux():
      if packet.size:
        packet.stream = sub
        joined.mux(packet)


def test_subtitles_and_attachments_are_copied_or_named(tmp_path, model):
  given = tmp_path / "in.mkv"
  _with_subtitles(given)
  _restore(given, tmp_path / "out.mkv", model)
  texts = tiny_videos.packets(given, "subtitle")
  assert [data for _, data in texts] == [b"hello"]
  assert tiny_videos.packets(tmp_path / "out.mkv", "subtitle") == texts
  with av.open(str(tmp_path / "out.mkv")) as container:
    (font,) = (s for s in container.streams if s.type == "attachment")
    assert font.data == b"letters"
  with pytest.raises(ValueError, match=r"subtitle.*mp4.*out\.mkv.*--drop="):
    _restore(given, tmp_path / "out.mp4", model, drop=("attachment",))
  _restore(
      given, tmp_path / "out.mp4", model, drop=("attachment", "subtitle")
  )
  assert not tiny_videos.packets(tmp_path / "out.mp4", "subtitle")
  with pytest.raises(ValueError, match="--drop takes.*but got 17"):
    _restore(given, tmp_path / "new.mp4", model, drop=("17",))


def test_sound_that_would_be_refused_at_the_end_is_so_at_the_start(
    tmp_path, model
):
  """Matroska does not say which channels are left and right; MP4 has to."""
  given = tmp_path / "in.mkv"
  planes = tiny_videos.samples("yuv420p", 3, (16, 16))
  tiny_videos.write(given, planes, "yuv420p", sound="pcm_s16le")
  with pytest.raises(ValueError, match=r"pcm_s16le.*no place in mp4.*\.mkv"):
    _restore(given, tmp_path / "out.mp4", model)
  assert os.listdir(tmp_path) == ["in.mkv"]
  _restore(given, tmp_path / "out.mp4", model, drop=("audio",))


def test_a_plot_and_an_output_in_one_place_are_refused(tmp_path, model):
  given = tmp_path / "in.mkv"
  planes = tiny_videos.samples("yuv420p", 3, (16, 16))
  tiny_videos.write(given, planes, "yuv420p")
  output, plot = tmp_path / "out.mkv", tmp_path / "noise.png"
  for name in ("compare", "plot_noise"):
    with pytest.raises(ValueError, match="name another"):
      _restore(given, output, model, **{name: str(tmp_path / "." / output)})
  plot.write_bytes(b"holiday")
  with pytest.raises(FileExistsError, match="noise.png exists"):
    _restore(given, output, model, plot_noise=plot)
  _restore(given, output, model, plot_noise=plot, overwrite=True)
  assert plot.read_bytes() != b"holiday"


def test_a_part_begins_at_zero_with_its_sound(tmp_path, model):
  planes = tiny_videos.samples("yuv420p", 8, (16, 16))
  given, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
  tiny_videos.write(
      given, planes, "yuv420p", sound="pcm_s16le", steps=(512,)
  )
  _restore(
      given, output, model, lossless=True, start=fractions.Fraction(1, 25) * 3,
      duration=fractions.Fraction(1, 10),
  )
  _, pictures = _read(output)
  assert [p.pts for p in pictures] == [0, 40, 80]
  for one, other in zip(planes[3], pictures[0].planes, strict=True):
    np.testing.assert_array_equal(other, one)
  heard = tiny_videos.packets(output, "audio")
  whole = tiny_videos.packets(given, "audio")
  start, end = fractions.Fraction(12, 100), fractions.Fraction(22, 100)
  assert heard == [
      (time - start, data) for time, data in whole if start <= time < end
  ]


_SUBTITLES = """1
00:00:00,010 --> 00:00:00,030
gone

2
00:00:00,020 --> 00:00:00,150
before

3
00:00:00,130 --> 00:00:00,140
within

4
00:00:00,200 --> 00:00:09,000
after

5
00:00:00,300 --> 00:00:00,400
late
"""


def test_subtitles_are_shown_for_as_long_as_the_part_has_them(
    tmp_path, model
):
  given, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
  _with_subtitles(given, 12, _SUBTITLES)
  _restore(
      given, output, model, start=fractions.Fraction("0.1"),
      duration=fractions.Fraction("0.15"),
  )
  with av.open(str(output)) as container:
    (stream,) = container.streams.subtitles
    shown = [
        (float(p.pts * p.time_base), float(p.duration * p.time_base), bytes(p))
        for p in container.demux(stream) if p.size
    ]
  assert [text for *_, text in shown] == [b"before", b"within", b"after"]
  assert [time for time, *_ in shown] == pytest.approx([0, 0.03, 0.1])
  assert [length for _, length, _ in shown] == pytest.approx(
      [0.05, 0.01, 0.05]
  )


def _display_set(milliseconds, state, number):
  """A display set of PGS without a picture: its composition, and its end."""
  composition = struct.pack(
      ">HHBHBBBB", 16, 16, 0x10, number, state, 0, 0, 0
  )
  return b"".join(
      b"PG" + struct.pack(
          ">IIBH", 90 * milliseconds, 0, kind, len(data)
      ) + data
      for kind, data in ((0x16, composition), (0x80, b""))
  )


@pytest.mark.parametrize(("duration", "expected"), [
    ("0.15", [(0, 1), (0, 2), (0.05, 3)]), ("0.02", [(0, 1), (0, 2)]),
])
def test_pictures_of_subtitles_are_shown_until_the_next(
    tmp_path, model, duration, expected
):
  """They have no duration; 2 goes on with what 1 brought."""
  whole, goes_on = 0x80, 0
  given, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
  _with_subtitles(given, 12, sets=b"".join([
      _display_set(0, whole, 0), _display_set(20, whole, 1),
      _display_set(40, goes_on, 2), _display_set(150, goes_on, 3),
      _display_set(300, whole, 4),
  ]))
  _restore(
      given, output, model, start=fractions.Fraction("0.1"),
      duration=fractions.Fraction(duration),
  )
  shown = tiny_videos.packets(output, "subtitle")
  assert [data[9] for _, data in shown] == [number for _, number in expected]
  assert [float(time) for time, _ in shown] == pytest.approx(
      [time for time, _ in expected]
  )


def test_the_default_suits_the_source():
  planes = {"8": "yuv420p", "10": "yuv420p10le"}
  for depth, suffix, codec in (
      ("8", ".mp4", "h264"), ("10", ".mp4", "hevc"), ("8", ".webm", "vp9"),
      ("10", ".webm", "av1"),
  ):
    source = _described(planes[depth])
    encoding = video_encoding.choose(source, f"a{suffix}", size=(64, 64))
    assert (encoding.codec, encoding.pixel_format) == (codec, planes[depth])
    assert not encoding.notes
  (note,) = video_encoding.choose(
      _described("yuv422p12le"), "a.mp4", size=(64, 64)
  ).notes
  assert "yuv422p12le becomes yuv420p10le, with less bits and chroma" in note


def test_what_cannot_be_had_together_is_refused():
  with pytest.raises(ValueError, match="48x32, and x265 fails.*--codec=h264"):
    video_encoding.choose(_described("yuv420p10le"), "a.mp4", size=(48, 32))
  source = _described("yuv420p")
  for options, message in (
      (dict(output="a.mp4", lossless=True), r"do not hold ffv1.*a\.mkv"),
      (dict(output="a.webm", codec="h264"), "hold vp9, av1"),
      (dict(output="a.mkv", codec="mpeg9"), "--codec is one of h264"),
      (dict(output="a.mkv", crf=99), "between 0 and 51: 99"),
      (dict(output="a.mkv", lossless=True, crf=1), "takes no --codec"),
      (dict(output="a.mkv", pixel_format="pal8"), "does not take.*yuv444p"),
  ):
    with pytest.raises(ValueError, match=message):
      video_encoding.choose(
          source, options.pop("output"), size=(64, 48), **options
      )


def test_a_guessed_matrix_is_written_where_players_would_guess_another():
  """A small video without tags is of BT.601, also when it is enlarged."""
  source = _described("yuv420p")
  same = video_encoding.choose(source, "a.mkv", size=(64, 48))
  large = video_encoding.choose(source, "a.mkv", size=(1280, 960))
  assert (same.tags.matrix, large.tags.matrix) == (2, BT601)
  assert same.layout.matrix == large.layout.matrix == BT601


def _described(pixel_format):
  from vidrestore_jax.inference import pixel_formats
  from vidrestore_jax.inference.video_reader import Description, Tags

  return Description(
      "in.mkv", (64, 48), pixel_format, pixel_formats.layout_of(pixel_format),
      Tags(), tiny_videos.TIME_BASE, fractions.Fraction(25), 3,
  )


def test_odd_sizes_are_restored(tmp_path, model):
  planes = tiny_videos.samples("yuv420p", 2, (17, 19))
  given = tmp_path / "in.mkv"
  tiny_videos.write(given, planes, "yuv420p")
  _restore(given, tmp_path / "out.mkv", model, lossless=True)
  assert _read(tmp_path / "out.mkv")[0].size == (17, 19)
  _restore(given, tmp_path / "out.mp4", model)
  assert _read(tmp_path / "out.mp4")[0].size == (18, 20)


def test_arrays_generators_and_files_are_restored(tmp_path, model):
  import vidrestore_jax

  clip = np.random.default_rng(0).integers(0, 255, (3, 6, 8, 3), np.uint8)
  np.testing.assert_array_equal(vidrestore_jax.restore(clip, model), clip)
  frames = vidrestore_jax.restore(iter(clip / np.float32(255)), model)
  np.testing.assert_allclose(next(frames), clip[0] / 255, atol=1e-6)
  planes = tiny_videos.samples("bgr0", 2, (16, 6))
  tiny_videos.write(tmp_path / "in.mkv", planes, "bgr0")
  (first, _) = vidrestore_jax.restore(tmp_path / "in.mkv", model)
  np.testing.assert_allclose(first[..., 0], planes[0][0] / 255, atol=1e-6)
  output = tmp_path / "out.mkv"
  assert vidrestore_jax.restore(
      tmp_path / "in.mkv", model, output=output
  ) == output
  assert _read(output)[0].frames == 2
  with pytest.raises(ValueError, match="output, codec are for files"):
    vidrestore_jax.restore(clip, model, output=output, codec="h264")


@pytest.mark.parametrize(("codec", "suffix"), [("hevc", ".mp4"),
                                               ("h264", ".mkv")])
def test_hdr_keeps_its_display_and_its_light(tmp_path, model, codec, suffix):
  # x265 takes the first decoding times from memory it never wrote where it is
  # given fewer than three frames; the muxer then refuses one file in many.
  planes = tiny_videos.samples("yuv420p10le", 4, (64, 64))
  smooth = [[plane // 8 + 448 for plane in frame] for frame in planes]
  given, output = tmp_path / "in.mkv", tmp_path / f"out{suffix}"
  display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)"
  tiny_videos.write(
      given, smooth, "yuv420p10le", codec="libx265",
      tags=(BT2020, 9, PQ, LIMITED), options={
          "x265-params": f"log-level=none:max-cll=1000,400:master-display="
          f"{display}L(10000000,50)"
      },
  )
  _restore(
      given, output, model, codec=codec,
      pixel_format=None if codec == "hevc" else "yuv420p10le",
  )
  before, after = _read(given)[0].tags, _read(output)[0].tags
  assert before.light == (1000, 400)
  assert before.mastering[:2] == (
      fractions.Fraction(34000, 50000), fractions.Fraction(16000, 50000)
  )
  assert before.mastering[8:] == (fractions.Fraction(50, 10000), 1000)
  assert after == before


@pytest.mark.parametrize("options, message", [
    (dict(compare="k.txt"), "suffix of a video"),
    (dict(compare="k.mp4", compare_as="top"), "layout of a comparison"),
    (dict(compare="out.mp4"), "The comparison, .*, is the output too"),
    (dict(compare="in.mp4"), "The comparison, .*, is the input too"),
    (dict(compare="k.mp4", plot_noise="k.png"), "is the comparison's picture"),
    (dict(compare="mine.mp4"), "mine.png exists"),
    (dict(plot_noise="mine.png"), "mine.png exists"),
    (dict(plot_noise="none/k.png"), "There is no folder"),
    (dict(sigmaa=1), "has no option sigmaa"),
])
def test_what_is_made_beside_costs_no_file(tmp_path, options, message):
  """All of it is refused before a frame is restored."""
  tiny_videos.write(
      tmp_path / "in.mp4", tiny_videos.samples("yuv420p", 3, (32, 16)),
      "yuv420p",
  )
  (tmp_path / "mine.png").write_bytes(b"mine")
  options = {
      key: str(tmp_path / value) if key in ("compare", "plot_noise") else value
      for key, value in options.items()
  }
  with pytest.raises((ValueError, OSError), match=message):
    vidrestore_jax.restore(
        tmp_path / "in.mp4", tiny_videos.identity(),
        output=tmp_path / "out.mp4", **options,
    )
  assert (tmp_path / "mine.png").read_bytes() == b"mine"
  assert sorted(os.listdir(tmp_path)) == ["in.mp4", "mine.png"]


@pytest.mark.parametrize("frames, message", [
    (np.zeros((0, 8, 8, 3), np.float32), "at least one frame"),
    (np.zeros((8, 8, 3), np.float32), "A clip is"),
    (np.full((2, 8, 8, 3), 255.0), "Divide by the value of white"),
    (np.zeros((2, 8, 8, 3), np.int32), "uint8, uint16 or floats"),
])
def test_arrays_that_are_no_clips(frames, message):
  with pytest.raises(ValueError, match=message):
    vidrestore_jax.restore(frames, tiny_videos.identity())
