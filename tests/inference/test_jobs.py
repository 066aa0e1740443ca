"""Restorations that are stopped and go on."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.inference import tiny_videos
from vidrestore_jax.inference import jobs, restoring
from vidrestore_jax.inference.restoring import Options
from vidrestore_jax.inference.video_reader import VideoReader

JOB = ".vidrestore"


class Killed(Exception):  # noqa: N818 - it is no error.
  """Stands for the end of the process."""


def _restore(given, output, model, stop=(), **options):
  """Restores; stopped after each number in `stop`, and begun again."""
  stop, begun = list(stop), []

  def told(done, known):
    if stop and done == stop[0]:
      stop.pop(0)
      raise Killed

  options = Options(**(dict(lossless=True, segment=3) | options))
  while True:
    try:
      restoring.restore_file(
          given, output, *model, options, told=told,
          begun=lambda done, total, notes: begun.append(done),
      )
      return begun
    except Killed:
      assert not output.exists()


def _pictures(path):
  return [
      (picture.pts, [plane.tobytes() for plane in picture.planes])
      for picture in VideoReader(path).pictures()
  ]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
  path = tmp_path_factory.mktemp("videos") / "in.mkv"
  planes = tiny_videos.samples("yuv420p", 11, (16, 12))
  tiny_videos.write(path, planes, "yuv420p", sound="pcm_s16le")
  return path


@pytest.mark.parametrize("kind", ["recurrent", "windowed", "identity"])
def test_a_job_that_was_stopped_ends_as_one_that_was_not(
    tmp_path, given, kind
):
  model = getattr(tiny_videos, kind)()
  sigma = 0.1 if model[0].noise_map else None
  _restore(given, tmp_path / "whole.mkv", model, sigma=sigma)
  # In the first segment, at its end, in later ones, after the last frame.
  begun = _restore(
      given, tmp_path / "parts.mkv", model, stop=(2, 3, 7, 11), sigma=sigma
  )
  # The frame that was told is not yet in a segment that has ended.
  assert begun == [0, 0, 0, 6, 9]
  expected = _pictures(tmp_path / "whole.mkv")
  assert len(expected) == 11
  assert _pictures(tmp_path / "parts.mkv") == expected
  assert tiny_videos.packets(tmp_path / "parts.mkv", "audio") == (
      tiny_videos.packets(given, "audio")
  )
  assert sorted(os.listdir(tmp_path)) == ["parts.mkv", "whole.mkv"]


@pytest.fixture(scope="module", params=[5, 6, 7], ids="cut_{}".format)
def cut_film(tmp_path_factory, request):
  """Its second scene starts before, with or after the third segment.

  The noise jumps inside of the first one, so that the tracker forgets there. A
  flash before the last segment is no cut, as frames before it show.
  """
  path = tmp_path_factory.mktemp("videos") / "film.mkv"
  scenes = (request.param, 14 - request.param)
  quiet, loud = (
      tiny_videos.film(scenes, (40, 32), sigmas)
      for sigmas in ((0.02, 0.05), (0.1, 0.05))
  )
  film = np.concatenate([quiet[:2], loud[2:]])
  film[11] = 1 - film[11]
  planes = tiny_videos.planes_of(film)
  tiny_videos.write(path, planes, "bgr0")
  return path


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("recurrent", {}),
        ("windowed", {"noise": "signal", "strength": 0.7}),
        ("windowed", {"cuts": False, "tile": 164}),
        ("neighbours", {}),
        ("neighbours", {"chunk": (2, 1)}),
    ],
)
@pytest.mark.filterwarnings("ignore:where chunks meet")
def test_levels_and_cuts_go_on_as_if_nothing_had_been(
    tmp_path, cut_film, kind, options
):
  model = getattr(tiny_videos, kind)()
  plot = tmp_path / "whole.png"
  _restore(cut_film, tmp_path / "whole.mkv", model, plot_noise=plot, **options)
  begun = _restore(
      cut_film, tmp_path / "parts.mkv", model, stop=(4, 7, 8, 10, 13),
      plot_noise=tmp_path / "parts.png", **options,
  )
  assert begun == [0, 3, 6, 6, 9, 12]
  expected = _pictures(tmp_path / "whole.mkv")
  assert len(expected) == 14
  assert _pictures(tmp_path / "parts.mkv") == expected
  assert (tmp_path / "parts.png").read_bytes() == plot.read_bytes()


def test_a_part_without_estimates_is_a_gap_in_the_plot(tmp_path, given):
  model, output = tiny_videos.windowed(), tmp_path / "out.mkv"

  def told(done, known):
    assert (known.estimate is None) == (options.plot_noise is None)
    if done == 8 and options.plot_noise is None:
      raise Killed

  options = Options(sigma=0.1, segment=3)
  with pytest.raises(Killed):
    restoring.restore_file(given, output, *model, options, told=told)
  options = Options(sigma=0.1, segment=3, plot_noise=tmp_path / "out.png")
  outcome = restoring.restore_file(given, output, *model, options, told=told)
  assert [found is None for found in outcome.noise] == 6 * [True] + 5 * [False]
  assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    "option",
    [
        dict(sigma=0.2), dict(noise="signal"), dict(strength=0.5),
        dict(cuts=False), dict(tile=200), dict(bucket=None),
    ],
    ids=lambda option: next(iter(option)),
)
def test_every_setting_is_of_the_job(tmp_path, given, option):
  model, output = tiny_videos.windowed(), tmp_path / "out.mkv"

  def told(done, known):
    raise Killed

  with pytest.raises(Killed):
    restoring.restore_file(given, output, *model, Options(), told=told)
  (name,) = option
  with pytest.raises(FileExistsError, match=f"differs in {name}"):
    restoring.restore_file(given, output, *model, Options(**option))


def test_segments_shorter_than_the_look_back_go_on(tmp_path, given):
  model = tiny_videos.windowed()
  _restore(given, tmp_path / "whole.mkv", model, sigma=0.1)
  _restore(
      given, tmp_path / "parts.mkv", model, stop=(2, 4, 5), sigma=0.1,
      segment=1,
  )
  assert _pictures(tmp_path / "parts.mkv") == _pictures(tmp_path / "whole.mkv")


def test_a_source_that_cannot_be_searched_is_read_from_its_start(
    tmp_path, given, monkeypatch
):
  model = tiny_videos.recurrent()
  _restore(given, tmp_path / "whole.mkv", model, sigma=0.1)
  monkeypatch.setattr(VideoReader, "_from_mark", lambda *_: None)
  _restore(given, tmp_path / "parts.mkv", model, stop=(8,), sigma=0.1)
  assert _pictures(tmp_path / "parts.mkv") == _pictures(tmp_path / "whole.mkv")


def test_a_job_of_other_arguments_is_not_continued(tmp_path, given):
  model = tiny_videos.identity()
  output = tmp_path / "out.mkv"
  options = Options(lossless=True, segment=3)
  stopped = iter(range(20))

  def told(done, known):
    if done == 8 and next(stopped) == 0:
      raise Killed

  def run(options):
    restoring.restore_file(given, output, *model, options, told=told)

  with pytest.raises(Killed):
    run(options)
  with pytest.raises(FileExistsError, match="differs in encoding.*--restart"):
    run(Options(segment=3))
  run(Options(segment=3, restart=True))
  assert VideoReader(output).description.frames == 11


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_source_that_was_changed_is_another_source(tmp_path, is_folder):
  """In its middle, so that its length and its ends are as they were."""
  path = file = tmp_path / "in"
  if is_folder:
    path.mkdir()
    file = path / "0.png"
  content = bytearray(3 << 20)
  file.write_bytes(content)
  before = {"source": jobs.identity_of(path)}
  assert {"source": jobs.identity_of(path)} == before
  jobs.Journal(tmp_path / "out.mkv", before).close()
  content[len(content) // 2] = 1
  file.write_bytes(content)
  # Clocks of file systems are coarse.
  os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
  with pytest.raises(FileExistsError, match="differs in source"):
    jobs.Journal(tmp_path / "out.mkv", {"source": jobs.identity_of(path)})


@pytest.mark.parametrize("moment", ["replace", "unlink"])
def test_a_job_that_was_killed_as_it_ended_has_ended(
    tmp_path, given, monkeypatch, moment
):
  model, output = tiny_videos.identity(), tmp_path / "out.mkv"
  options = Options(
      lossless=True, segment=3, compare=str(tmp_path / "both.mkv"),
      plot_noise=str(tmp_path / "noise.png"),
  )
  told = []

  def kill(*_, **__):
    raise Killed

  with monkeypatch.context() as patch:
    if moment == "replace":  # Before the output is in its place.
      real = os.replace
      patch.setattr(os, "replace", lambda a, b: (
          kill() if str(b) == str(output) else real(a, b)
      ))
    else:  # After it.
      patch.setattr(jobs, "clear_away", kill)
    with pytest.raises(Killed):
      restoring.restore_file(given, output, *model, options)
  assert output.exists() == (moment == "unlink")
  outcome = restoring.restore_file(
      given, output, *model, options, told=lambda done, _: told.append(done)
  )
  assert outcome.frames == 11 and not told
  assert sorted(os.listdir(tmp_path)) == [
      "both.mkv", "both.png", "noise.png", "out.mkv"
  ]
  assert VideoReader(output).description.frames == 11
  with pytest.raises(FileExistsError, match="--overwrite"):
    restoring.restore_file(given, output, *model, options)


def test_a_damaged_journal_is_no_traceback(tmp_path, given):
  journal = jobs.Journal(tmp_path / "out.mkv", {"a": 1})
  journal.close()
  (journal.folder / "journal.json").write_text("{")
  with pytest.raises(FileExistsError, match="differs in a, format"):
    jobs.Journal(tmp_path / "out.mkv", {"a": 1})


def test_two_processes_do_not_share_a_job(tmp_path):
  journal = jobs.Journal(tmp_path / "out.mkv", {"a": 1})
  with pytest.raises(BlockingIOError, match="Another process"):
    jobs.Journal(tmp_path / "out.mkv", {"a": 1})
  journal.close()
  journal = jobs.Journal(tmp_path / "out.mkv", {"a": 1})
  journal.joined.write_bytes(b"video")
  journal.end(tmp_path / "out.mkv")
  assert os.listdir(tmp_path) == ["out.mkv"]


def test_a_folder_with_other_things_is_not_emptied(tmp_path):
  folder = tmp_path / "out.mkv.vidrestore"
  folder.mkdir()
  (folder / "thesis.tex").write_text("chapter 1")
  with pytest.raises(FileExistsError, match="thesis.tex, which is no part"):
    jobs.Journal(tmp_path / "out.mkv", {"a": 1}, restart=True)
  assert (folder / "thesis.tex").exists()


def test_a_frame_that_is_not_finite_stops_the_job(tmp_path, given):
  model, variables = tiny_videos.identity()
  variables["params"]["conv_1"]["bias"][:] = np.nan
  with pytest.raises(ValueError, match="NaN"):
    restoring.restore_file(
        given, tmp_path / "out.mkv", model, variables, Options()
    )
  assert not (tmp_path / "out.mkv").exists()


# Killing.


@pytest.mark.slow
def test_twenty_kills_leave_no_mark(tmp_path):
  """SIGKILL at random moments; the file equals the uninterrupted one."""
  given, frames = tmp_path / "in.mp4", 480
  scenes = [7] * (frames // 7) + [frames % 7]
  film = tiny_videos.film(scenes, (64, 48), np.linspace(0.02, 0.2, len(scenes)))
  planes = [
      [plane[..., 0], plane[::2, ::2, 1], plane[::2, ::2, 2]]
      for plane in np.rint(255 * film).astype(np.uint8)
  ]
  tiny_videos.write(
      given, planes, "yuv420p", codec="libx264", sound="aac"
  )
  model = tiny_videos.release(tmp_path / "model", "ncfl", **tiny_videos.NCFL)
  command = [
      sys.executable, "-m", "vidrestore_jax.cli", "restore", str(given), "OUT",
      f"--model={model}", "--segment=4",
  ]

  def start(output):
    return subprocess.Popen(
        [str(output) if word == "OUT" else word for word in command],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )

  whole, output = tmp_path / "whole.mp4", tmp_path / "out.mp4"
  folder = tmp_path / f"{output.name}{JOB}"

  def cards(folder=folder):
    return len(list(folder.glob("segment_*.json")))

  began = time.monotonic()
  process = start(whole)
  while process.poll() is None and not cards(tmp_path / f"{whole.name}{JOB}"):
    time.sleep(0.02)
  begins = time.monotonic() - began
  _, errors = process.communicate()
  assert process.returncode == 0, errors.decode()
  lasts = time.monotonic() - began - begins
  generator = random.Random(0)
  for kill in range(20):
    process, done = start(output), cards()
    # At any moment: while it starts, or once it has done a little more.
    if kill % 4 == 0:
      time.sleep(generator.uniform(0.0, 0.8 * begins))
    else:
      while process.poll() is None and cards() == done:
        time.sleep(0.005)
      time.sleep(generator.uniform(0.0, lasts / 80))  # Of 120 segments, 1.5.
    assert process.poll() is None, "it ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.communicate()
  assert not output.exists() and 15 <= cards() < 120
  process = start(output)
  _, errors = process.communicate()
  assert process.returncode == 0, errors.decode()
  assert _pictures(output) == _pictures(whole)
  assert [pts for pts, _ in _pictures(output)] == [
      picture.pts for picture in VideoReader(given).pictures()
  ]
  assert tiny_videos.packets(output, "audio") == (
      tiny_videos.packets(given, "audio")
  )
  assert not folder.exists()
  assert sorted(path.name for path in tmp_path.iterdir()) == [
      "in.mp4", "model", "out.mp4", "whole.mp4"
  ]
