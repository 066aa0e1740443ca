"""Broken and hostile files end in one line, and cost nobody anything."""

import fractions
import os
import subprocess
import sys

import av
import numpy as np
import pytest

from tests.inference import tiny_videos
from vidrestore_jax import cli
from vidrestore_jax.inference import pixel_formats
from vidrestore_jax.inference.video_reader import VideoReader


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  return tiny_videos.release(tmp_path_factory.mktemp("released") / "identity")


@pytest.fixture
def video(tmp_path):
  path = tmp_path / "in.mp4"
  planes = tiny_videos.samples("yuv420p", 8, (32, 16))
  tiny_videos.write(path, planes, "yuv420p", codec="libx264", sound="aac")
  return path


def _run(*arguments):
  return cli.main(["restore", *map(str, arguments)])


def _refused(capsys, tmp_path, *arguments, message):
  """One line, status 2, no file made and none changed."""
  def content():
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in tmp_path.rglob("*") if os.access(path, os.R_OK)
    }

  before = content()
  status = _run(*arguments)
  line = capsys.readouterr().err
  assert status == 2, line
  assert line.startswith("error: ") and line.count("\n") == 1, line
  for fragment in [message] if isinstance(message, str) else message:
    assert fragment in line, line
  assert content() == before


def test_a_title_that_is_no_utf8_stops_nothing(tmp_path, model):
  given, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
  tiny_videos.write(
      given, tiny_videos.samples("yuv420p", 3, (32, 16)), "yuv420p",
      codec="libx264",
      edit=lambda container, _: container.metadata.update(title="caf@ au lait"),
  )
  content = given.read_bytes()
  assert content.count(b"caf@") == 1
  given.write_bytes(content.replace(b"caf@", b"caf\xe9"))  # Latin-1.
  assert _run(given, output, "--model", model) == 0
  written = output.read_bytes()
  assert b"caf" in written and b" au lait" in written


def test_files_that_are_no_whole_video_are_refused(
    tmp_path, model, video, capsys
):
  whole = video.read_bytes()
  cases = {
      "empty.mp4": (b"", "empty.mp4 is no video or is damaged"),
      "text.mp4": (b"not a video at all\n" * 40, "text.mp4"),
      "short.mp4": (whole[: len(whole) // 2], "short.mp4"),
      "image.mp4": (b"\x89PNG\r\n\x1a\n" + bytes(64), "image.mp4"),
  }
  for name, (content, message) in cases.items():
    given = tmp_path / name
    given.write_bytes(content)
    _refused(
        capsys, tmp_path, given, tmp_path / "out.mp4", "--model", model,
        message=message,
    )


def test_a_video_that_was_cut_short_is_salvaged_on_demand(
    tmp_path, model, capsys
):
  given, output = tmp_path / "in.avi", tmp_path / "out.mkv"
  planes = tiny_videos.samples("yuv420p", 8, (32, 16))
  tiny_videos.write(given, planes, "yuv420p", steps=(512,))
  given.write_bytes(given.read_bytes()[: given.stat().st_size // 2])
  _refused(
      capsys, tmp_path, given, output, "--model", model,
      message=("in.avi", "--salvage"),
  )
  assert _run(
      given, output, "--model", model, "--lossless", "--salvage"
  ) == 0
  pictures = list(VideoReader(output).pictures())
  assert 1 < len(pictures) < 8
  np.testing.assert_array_equal(pictures[0].planes[0], planes[0][0])


def test_damage_within_is_found_where_it_is(tmp_path, model, capsys):
  given = tmp_path / "in.mkv"
  planes = tiny_videos.samples("yuv420p", 8, (128, 96))
  tiny_videos.write(given, planes, "yuv420p", codec="mpeg4")
  content = bytearray(given.read_bytes())
  middle = len(content) * 5 // 8
  content[middle : middle + 400] = bytes(400)
  given.write_bytes(content)
  assert _run(given, tmp_path / "out.mkv", "--model", model) == 2
  line = capsys.readouterr().err.splitlines()[-1]
  assert line.startswith("error: ") and "near frame" in line, line
  assert "--salvage" in line
  assert not (tmp_path / "out.mkv").exists()


def test_sound_alone_is_no_video(tmp_path, model, capsys):
  given = tmp_path / "in.mkv"
  with av.open(str(given), "w") as container:
    stream = container.add_stream("pcm_s16le", rate=44100)
    frame = av.AudioFrame.from_ndarray(
        np.zeros((1, 2048), np.int16), format="s16", layout="stereo"
    )
    frame.sample_rate = 44100
    container.mux(stream.encode(frame))
  _refused(
      capsys, tmp_path, given, tmp_path / "out.mkv", "--model", model,
      message="holds no video stream",
  )


def test_a_size_that_is_a_trap_is_refused(tmp_path, model, capsys):
  given = tmp_path / "in.mkv"
  planes = tiny_videos.samples("yuv420p", 2, (160, 120))
  tiny_videos.write(given, planes, "yuv420p", codec="mjpeg", options={
      "strict": "unofficial"
  })
  content = given.read_bytes()
  # The JPEGs' own headers, and the container's.
  small, huge = (120).to_bytes(2, "big") + (160).to_bytes(2, "big"), b"\xff" * 4
  assert small in content
  content = content.replace(small, huge).replace(
      b"\xb0\x81\xa0", b"\xb0\x81\xff"
  )
  given.write_bytes(content)
  _refused(
      capsys, tmp_path, given, tmp_path / "out.mkv", "--model", model,
      message="in.mkv",
  )


def test_the_output_is_never_the_input(tmp_path, model, video, capsys):
  link, hard = tmp_path / "link.mp4", tmp_path / "hard.mp4"
  link.symlink_to(video)
  hard.hardlink_to(video)
  for output in (video, link, hard, tmp_path / "." / "in.mp4"):
    _refused(
        capsys, tmp_path, video, output, "--model", model, "--overwrite",
        message="is the input",
    )


def test_places_that_cannot_be_written_are_one_line(
    tmp_path, model, video, capsys
):
  (tmp_path / "out.mp4").write_bytes(b"my thesis")
  (tmp_path / "file").write_bytes(b"")
  (tmp_path / "folder.mp4").mkdir()
  for output, message in (
      ("out.mp4", "--overwrite"), ("file/out.mp4", "file"),
      ("folder.mp4", "is a folder"), ("out.xyz", "OUT is a video"),
  ):
    _refused(
        capsys, tmp_path, video, tmp_path / output, "--model", model,
        message=message,
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_rights_that_are_missing_are_one_line(tmp_path, model, video, capsys):
  locked = tmp_path / "locked"
  locked.mkdir()
  locked.chmod(0o555)
  _refused(
      capsys, tmp_path, video, locked / "out.mp4", "--model", model,
      message="Permission denied",
  )
  video.chmod(0)
  _refused(
      capsys, tmp_path, video, tmp_path / "out.mp4", "--model", model,
      message="Permission denied",
  )


def test_interlaced_frames_need_a_word(tmp_path, model, capsys):
  given, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
  planes = tiny_videos.samples("yuv420p", 2, (32, 16))
  flat = [[plane // 8 + 96 for plane in frame] for frame in planes]
  tiny_videos.write(
      given, flat, "yuv420p", codec="libx264", options={"x264-params": "tff=1"}
  )
  frame = next(av.open(str(given)).decode(video=0))
  assert frame.interlaced_frame
  _refused(
      capsys, tmp_path, given, output, "--model", model,
      message=("interlaced", "bwdif", "--progressive"),
  )
  assert _run(given, output, "--model", model, "--progressive") == 0


def test_transparent_pixels_are_refused(tmp_path, model, capsys):
  given = tmp_path / "in.mkv"
  planes = tiny_videos.samples("yuva420p", 1, (32, 16))
  tiny_videos.write(given, planes, "yuva420p")  # Opaque: read.
  assert _run(given, tmp_path / "a.mp4", "--model", model) == 0
  with av.open(str(given), "w") as container:
    stream = container.add_stream("ffv1", width=32, height=16, rate=25)
    stream.pix_fmt = "yuva420p"
    frame = pixel_formats.write(planes[0], "yuva420p")
    np.frombuffer(frame.planes[3], np.uint8)[:] = 7
    container.mux([*stream.encode(frame), *stream.encode(None)])
  capsys.readouterr()
  assert _run(given, tmp_path / "b.mp4", "--model", model) == 2
  assert "transparent pixels" in capsys.readouterr().err


def test_names_with_colons_and_patterns_are_names(tmp_path, model, video):
  (tmp_path / "out").mkdir()
  for name in ("12:30.mp4", "a%03d.mp4", "-x.mp4", "http:x.mp4"):
    given = tmp_path / name
    given.write_bytes(video.read_bytes())
    assert _run(given, tmp_path / "out" / f"{name}.mkv", "--model", model) == 0


def test_several_files_go_into_a_folder_and_are_made_once(
    tmp_path, model, video, capsys
):
  other = tmp_path / "other.mkv"
  tiny_videos.write(
      other, tiny_videos.samples("yuv420p", 2, (32, 16)), "yuv420p"
  )
  out = tmp_path / "out"
  command = [video, other, out, "--model", model]
  assert _run(*command) == 0
  assert sorted(os.listdir(out)) == ["in.mp4", "other.mkv"]
  capsys.readouterr()
  assert _run(*command) == 0
  assert capsys.readouterr().out.count("is there already") == 2


def test_a_comparison_shows_both(tmp_path, model, video):
  for how, width in (("split", 32), ("side", 64)):
    file = tmp_path / f"{how}.mp4"
    assert _run(
        video, tmp_path / f"{how}_out.mp4", "--model", model,
        "--compare", file, "--compare-as", how,
    ) == 0
    assert VideoReader(file).description.size == (width, 16)
    assert file.with_suffix(".png").exists()


def test_pipes_and_folders(tmp_path, model, capsysbinary, monkeypatch):
  given = tmp_path / "in.mkv"
  planes = tiny_videos.samples("yuv420p", 3, (32, 16))
  tiny_videos.write(given, planes, "yuv420p", steps=(512,))
  assert _run(given, "-", "--model", model) == 0
  stream = capsysbinary.readouterr().out
  assert stream.startswith(b"YUV4MPEG2 W32 H16 F25:1 Ip A1:1 C420mpeg2")
  first = stream.index(b"FRAME\n") + 6
  assert stream[first : first + 32 * 16] == planes[0][0].tobytes()
  piped = tmp_path / "piped.y4m"
  piped.write_bytes(stream)
  assert _run(piped, tmp_path / "again.y4m", "--model", model) == 0
  assert (tmp_path / "again.y4m").read_bytes() == stream
  assert _run(given, tmp_path / "frames", "--model", model) == 0
  assert sorted(os.listdir(tmp_path / "frames")) == [
      "000000.png", "000001.png", "000002.png"
  ]
  tiny_videos.write(given, planes, "yuv420p")
  assert _run(given, "-", "--model", model) == 2
  assert b"shown for different times" in capsysbinary.readouterr().err


def test_an_interrupt_says_how_to_go_on(tmp_path, model, video, capsys,
                                        monkeypatch):
  from vidrestore_jax import cli_output

  output = tmp_path / "out.mkv"
  real = cli_output.Progress.advance

  def advance(self, *clip):
    real(self, *clip)
    if self._done == 5:
      raise KeyboardInterrupt

  command = [video, output, "--model", model, "--segment=2", "--lossless"]
  with monkeypatch.context() as patch:
    patch.setattr(cli_output.Progress, "advance", advance)
    assert _run(*command) == 130
  assert "stopped after frame 5; the same command" in capsys.readouterr().err
  assert _run(*command) == 0
  assert "goes on after frame 4" in capsys.readouterr().err
  assert VideoReader(output).description.frames == 8


# Fuzzing.

_FUZZ = """
import pathlib, random, sys, time
import av
from vidrestore_jax.inference.video_reader import VideoReader
av.logging.set_level(None)
folder = pathlib.Path(sys.argv[1])
seed, count = map(int, sys.argv[2:])
seeds = sorted(folder.glob("seed*"))
good = bad = 0
longest = 0.0
for number in range(seed, seed + count):
  generator = random.Random(number)
  source = seeds[number % len(seeds)]
  content = bytearray(source.read_bytes())
  for _ in range(generator.choice([1, 3, 10, 50])):
    at = generator.randrange(len(content))
    match generator.randrange(5):
      case 0:
        content[at] = generator.randrange(256)
      case 1:
        content[at] ^= 1 << generator.randrange(8)
      case 2:
        end = at + generator.randrange(1, 64)
        content[at:end] = generator.randbytes(len(content[at:end]))
      case 3:
        del content[at : at + generator.randrange(1, 200)]
      case 4:
        content[at:at] = generator.choice([bytes(8), b"\\xff" * 8])
    if not content:
      content = bytearray(b"0")
  if generator.random() < 0.1:
    del content[generator.randrange(len(content)) + 1 :]
  path = folder / f"mutated_{seed}{source.suffix}"
  path.write_bytes(content)
  print(number, flush=True)
  began = time.monotonic()
  try:
    reader = VideoReader(path, salvage=generator.random() < 0.3)
    for picture in reader.pictures():
      pass
    good += 1
  except (ValueError, OSError) as error:
    bad += 1
    assert str(path) in str(error) or str(error), number
  longest = max(longest, time.monotonic() - began)
print("done", good, bad, round(longest, 2))
"""


def _seeds(folder):
  planes = tiny_videos.samples("yuv420p", 6, (48, 32))
  flat = [[plane // 4 + 64 for plane in frame] for frame in planes]
  for name, codec, sound in (
      ("seed0.mp4", "libx264", "aac"), ("seed1.mkv", "ffv1", "pcm_s16le"),
      ("seed2.webm", "libvpx-vp9", None), ("seed3.avi", "mpeg4", "mp2"),
      ("seed4.ts", "mpeg2video", "mp2"), ("seed5.mov", "libx265", None),
      ("seed6.nut", "ffv1", None), ("seed7.mkv", "mjpeg", None),
      ("seed8.flv", "flv", None), ("seed9.mp4", "libsvtav1", None),
  ):
    options = {"strict": "unofficial"} if codec == "mjpeg" else {}
    if codec == "libx265":
      options = {"x265-params": "log-level=none"}
    size = (64, 64) if codec in ("libsvtav1", "libx265") else (48, 32)
    frames = flat if size == (48, 32) else [
        [plane // 4 + 64 for plane in frame]
        for frame in tiny_videos.samples("yuv420p", 6, size)
    ]
    tiny_videos.write(
        folder / name, frames, "yuv420p", codec=codec, sound=sound,
        steps=(1,), time_base=fractions.Fraction(1, 25), options=options,
    )


def fuzz(folder, count, *, first=0, seconds=600):
  """Reads so many mutated files in a process of its own; returns its words.

  Raises:
    AssertionError: it crashed or hung; says at which file.
  """
  _seeds(folder)
  process = subprocess.run(
      [sys.executable, "-c", _FUZZ, str(folder), str(first), str(count)],
      capture_output=True, text=True, timeout=seconds,
  )
  words = process.stdout.splitlines()
  assert process.returncode == 0, (words[-1:], process.stderr[-2000:])
  return words[-1]


@pytest.mark.slow
def test_mutated_files_neither_hang_nor_crash(tmp_path):
  done, good, bad, longest = fuzz(tmp_path, 300).split()
  assert done == "done" and int(good) + int(bad) == 300 and int(bad) > 50
  assert float(longest) < 20
