"""A part of a video is the frames that the whole has there."""

import fractions
import itertools

import numpy as np
import pytest

from tests.inference import tiny_videos
from vidrestore_jax.inference.video_reader import VideoReader, opened

_FRAMES = 40
_CLOSED = {"x264-params": "keyint=5:scenecut=0:bframes=2:b-adapt=0"}
_OPEN = {"x264-params": _CLOSED["x264-params"] + ":open-gop=1"}
_HEVC = {
    "x265-params": "keyint=5:min-keyint=5:scenecut=0:bframes=2:open-gop=1:"
    "log-level=none"
}
_MPEG = {"g": "5", "bf": "2"}
_VARIABLE = 512, 700, 300


@pytest.fixture
def decoded(monkeypatch):
  """How many frames have been decoded."""
  count = [0]
  real = VideoReader._decoded

  def counted(*args):
    for frame in real(*args):
      count[0] += 1
      yield frame

  monkeypatch.setattr(VideoReader, "_decoded", counted)
  return count


def _frames(path, **part):
  return [
      (picture.pts, [plane.tobytes() for plane in picture.planes])
      for picture in VideoReader(path, **part).pictures()
  ]


def _video(path, codec, options, start, steps):
  smooth = np.add.outer(np.arange(64), np.arange(64)) % 256
  planes = []
  for index in range(_FRAMES):
    luma = np.uint8((smooth + 3 * index) % 256 // 2 + 60)
    planes.append([luma, luma[::2, ::2], 255 - luma[::2, ::2]])
  if codec in ("mpeg2video", "mpeg4"):
    time_base = fractions.Fraction(1, 25)
  else:
    time_base = tiny_videos.TIME_BASE
  return tiny_videos.write(
      path, planes, "yuv420p", codec=codec, options=options, start=start,
      steps=steps, time_base=time_base,
  )


@pytest.mark.parametrize(
    ("name", "codec", "options", "start", "steps", "is_sought"),
    [
        ("a.mkv", "libx264", _CLOSED, 0, _VARIABLE, True),
        ("a.mp4", "libx264", _CLOSED, 0, _VARIABLE, True),
        ("a.mov", "libx264", _OPEN, 0, _VARIABLE, True),
        ("a.mkv", "libx264", _OPEN, 40000, _VARIABLE, True),
        ("a.mp4", "libx264", _OPEN, 40000, _VARIABLE, True),
        ("a.mkv", "libx265", _HEVC, 0, _VARIABLE, True),
        ("a.mp4", "libx265", _HEVC, 1024, _VARIABLE, True),
        ("a.mkv", "mpeg2video", _MPEG, 0, (1,), True),
        ("a.mkv", "ffv1", {"g": "5"}, 0, _VARIABLE, True),
        # Without an index, and without all time stamps.
        ("a.ts", "libx264", _CLOSED, 40000, (512,), False),
        ("a.mpg", "mpeg2video", _MPEG, 0, (1,), False),
        ("a.avi", "mpeg4", _MPEG, 0, (1,), False),
    ],
)
def test_a_part_is_the_frames_of_the_whole(
    tmp_path, decoded, name, codec, options, start, steps, is_sought
):
  path = tmp_path / name
  _video(path, codec, options, start, steps)
  whole = _frames(path)
  with opened(path) as (_, stream):
    base, origin = stream.time_base, stream.start_time * stream.time_base
  length, moment = fractions.Fraction(1, 8), fractions.Fraction(1, 1000)
  # On a key frame, just before one, far behind one, and a moment beside them.
  for index, shift in itertools.product((3, 19, 20, 29), (-moment, 0, moment)):
    begin = whole[index][0] * base + shift
    decoded[0] = 0
    part = _frames(path, start=begin - origin, duration=length)
    wanted = [
        frame for frame in whole if begin <= frame[0] * base < begin + length
    ]
    assert part == wanted and len(part) >= 3, (index, shift)
    if is_sought:
      assert decoded[0] <= 16
