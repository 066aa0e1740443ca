import ast
import errno
import json
import os
import pathlib
import shlex
import shutil
import struct
import subprocess
import sys
import zlib

import jax
import numpy as np
import pytest
from PIL import Image

from vidrestore_jax import cli, data, degradations, models, released
from vidrestore_jax.data import folders
from vidrestore_jax.data.builders import clip_folders, davis
from vidrestore_jax.inference import frames_io, streaming

TINY = dict(
    motion_refiner="none",
    feature_refiner="none",
    attention=False,
    widths=(4, 8),
    feature_channels=4,
    reduction=2,
    motion=dict(levels=2, widths=(4, 4)),
)


def _release(folder, name="ncfl", **kwargs):
  """A released model of random variables."""
  if name == "ncfl":
    kwargs = TINY | kwargs
  model = models.build(name, **kwargs)
  size = model.stride
  clip = jax.ShapeDtypeStruct((1, 1, size, size, 3), np.float32)
  noise = jax.ShapeDtypeStruct((1, size, size, 1), np.float32)
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), clip, noise if model.noise_map else None
  )
  generator = np.random.default_rng(0)
  variables = jax.tree.map(
      lambda leaf: generator.uniform(-0.2, 0.2, leaf.shape).astype(np.float32),
      shapes,
  )
  released.save(folder, name=name, kwargs=kwargs, variables=variables)
  return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  return _release(tmp_path_factory.mktemp("released") / "ncfl")


def _write_clip(folder, frames=3, dtype=np.uint8, seed=0):
  folder.mkdir(parents=True)
  top = np.iinfo(dtype).max
  generator = np.random.default_rng(seed)
  clip = generator.integers(0, top, (frames, 14, 19, 3), dtype, True)
  for t, frame in enumerate(clip):
    frames_io.write_png(folder / f"{t:03}.png", frame)
  return clip


def _run(*arguments):
  return cli.main([str(argument) for argument in arguments])


def _check_rounded(written, frames, top):
  """Asserts that these are the frames' nearest codes.

  Two programs differ by rounding in float32, which may move what lies half-way.
  """
  exact = top * np.clip(np.asarray(frames, np.float64), 0, 1)
  np.testing.assert_allclose(written, exact, rtol=0, atol=0.5 + 1e-5 * top)


def _fails(capsys, status, *fragments):
  """Asserts one line on stderr with each of `fragments`, and status 2."""
  line = capsys.readouterr().err
  assert status == 2
  assert line.startswith("error: ") and line.count("\n") == 1, line
  for fragment in fragments:
    assert fragment in line


# Restoring.


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_restore_writes_what_the_library_computes(tmp_path, model, dtype):
  clip = _write_clip(tmp_path / "in", dtype=dtype)
  out = tmp_path / "out"
  command = ["restore", tmp_path / "in", out, "--model", model, "--sigma=30"]
  assert _run(*command) == 0
  top = np.iinfo(dtype).max
  expected = streaming.restore_clip(
      *released.load(model), clip.astype(np.float32) / top, sigma=30 / 255
  )
  written, white = folders.read_frames(sorted(out.iterdir()))
  assert white == top
  _check_rounded(written, expected.frames, top)
  assert sorted(os.listdir(out)) == ["000.png", "001.png", "002.png"]
  assert sorted(os.listdir(tmp_path)) == ["in", "out"]


def test_restore_takes_a_folder_of_clips(tmp_path, model):
  for seed, name in enumerate(("a", "b")):
    _write_clip(tmp_path / "in" / name, frames=2, seed=seed)
  single = tmp_path / "single"
  for source, out in (("in", tmp_path / "out"), ("in/b", single)):
    given = tmp_path / source
    assert _run("restore", given, out, "--model", model, "--sigma=30") == 0
  assert sorted(os.listdir(tmp_path / "out")) == ["a", "b"]
  # Each clip starts from a fresh state: b after a is b alone.
  for name in ("000.png", "001.png"):
    together = (tmp_path / "out" / "b" / name).read_bytes()
    assert together == (single / name).read_bytes()


def test_restore_enlarges_with_a_model_of_super_resolution(tmp_path):
  model = _release(tmp_path / "vdsr", "vdsr", depth=2, width=4)
  clip = _write_clip(tmp_path / "in")
  out = tmp_path / "out"
  assert _run("restore", tmp_path / "in", out, "--model", model) == 0
  written, _ = folders.read_frames(sorted(out.iterdir()))
  assert written.shape == (3, 56, 76, 3)
  expected = streaming.restore_clip(
      *released.load(model), clip.astype(np.float32) / 255
  )
  _check_rounded(written, expected.frames, 255)


def test_restore_reports_rate_and_time_left(tmp_path, model, capsys):
  _write_clip(tmp_path / "in")
  out = tmp_path / "out"
  _run("restore", tmp_path / "in", out, "--model", model, "--sigma=9")
  progress = capsys.readouterr().err
  assert "in: frame 3 of 3" in progress
  assert "frames/s, 0:00:00 left" in progress


def test_a_blind_model_takes_no_sigma(tmp_path, capsys):
  blind = _release(tmp_path / "blind", noise_map=False)
  _write_clip(tmp_path / "in")
  command = ["restore", tmp_path / "in", tmp_path / "out", "--model", blind]
  _fails(capsys, _run(*command, "--sigma=30"), "blind")
  assert _run(*command) == 0


def test_an_earlier_result_is_replaced_only_on_demand(tmp_path, model, capsys):
  _write_clip(tmp_path / "in", frames=1)
  _write_clip(tmp_path / "out", frames=2)
  command = ["restore", tmp_path / "in", tmp_path / "out", "--model", model]
  command.append("--sigma=30")
  _fails(capsys, _run(*command), "not empty", "--overwrite")
  assert len(os.listdir(tmp_path / "out")) == 2
  assert _run(*command, "--overwrite") == 0
  assert os.listdir(tmp_path / "out") == ["000.png"]


def test_overwrite_spares_folders_of_other_things(tmp_path, model, capsys):
  _write_clip(tmp_path / "in", frames=1)
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "thesis.tex").write_text("chapter 1")
  status = _run(
      "restore", tmp_path / "in", tmp_path / "out", "--model", model,
      "--sigma=30", "--overwrite",
  )
  _fails(capsys, status, "thesis.tex")
  assert (tmp_path / "out" / "thesis.tex").read_text() == "chapter 1"


# Refusing.


def _refused(tmp_path, capsys, arguments, *fragments):
  """Asserts that a restore fails with one line and leaves nothing."""
  before = sorted(tmp_path.rglob("*"))
  _fails(capsys, _run("restore", *arguments), *fragments)
  assert sorted(tmp_path.rglob("*")) == before


def test_bad_arguments_are_refused(tmp_path, model, capsys):
  given, out = tmp_path / "in", tmp_path / "out"
  _write_clip(given)
  good = [given, out, "--model", model, "--sigma=30"]
  nowhere = [tmp_path / "nowhere", *good[1:]]
  _refused(tmp_path, capsys, nowhere, "nowhere")
  _refused(tmp_path, capsys, [given, given, *good[2:]], "lie in one another")
  inside = [given, given / "out", *good[2:]]
  _refused(tmp_path, capsys, inside, "lie in one another")
  for options, words in (
      (["--strength=1.5"], ["The strength lies between 0", "1.5"]),
      (["--noise=pink"], ["one of gaussian, signal", "pink"]),
      (["--noise=signal"], ["state no sigma with it"]),
      (["--tile=64"], ["NCFL is not tiled"]),
      (["--tile=none", "--verify-tiles"], ["no tiles to verify"]),
      (["--chunk=4:2"], ["takes no chunks"]),
  ):
    _refused(tmp_path, capsys, [*good, *options], *words)
  _refused(tmp_path, capsys, [*good[:-1], "--sigma=300"], "0 and 255", "300")
  _refused(
      tmp_path, capsys, [given, out, "--model", tmp_path, "--sigma=30"],
      "not a released model",
  )
  (tmp_path / "file").write_text("")
  onto = [given, tmp_path / "file", *good[2:]]
  _refused(tmp_path, capsys, onto, "is a file")
  (tmp_path / "out.partial").mkdir()
  _refused(tmp_path, capsys, good, "out.partial", "--overwrite")


def test_a_model_that_restores_nothing_is_refused(tmp_path, capsys):
  small = models.build("spynet", levels=1, widths=(2,))
  frame = np.zeros((1, 4, 4, 3), np.float32)
  variables = jax.jit(small.init)(jax.random.key(0), frame, frame)
  released.save(
      tmp_path / "flow",
      name="spynet",
      kwargs=dict(levels=1, widths=(2,)),
      variables=variables,
  )
  _write_clip(tmp_path / "in")
  arguments = [tmp_path / "in", tmp_path / "out", "--model", tmp_path / "flow"]
  _refused(tmp_path, capsys, arguments, "SpyNet is no restoration model")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_found_before_anything_runs(
    tmp_path, suffix, capsys
):
  _write_clip(tmp_path / "in")
  bad = tmp_path / "in" / f"zzz.{suffix}"
  pixels = np.random.default_rng(0).integers(0, 255, (14, 19, 3), np.uint8)
  Image.fromarray(pixels).save(bad)
  bad.write_bytes(bad.read_bytes()[:-200])
  # The model does not exist: the frames are looked at first.
  arguments = [tmp_path / "in", tmp_path / "out", "--model=none", "--sigma=30"]
  _refused(tmp_path, capsys, arguments, f"zzz.{suffix}", "cut short")


def test_a_frame_of_far_too_many_pixels_is_refused(tmp_path, capsys):
  _write_clip(tmp_path / "in")
  header = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
  (tmp_path / "in" / "002.png").write_bytes(
      b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
      + struct.pack(">II4s", zlib.crc32(header), 8, b"IDAT") + bytes(12)
  )
  status = _run("restore", tmp_path / "in", tmp_path / "out", "--model=none")
  _fails(capsys, status, "002.png declares more than 178,956,970 pixels")


def test_an_empty_input_is_not_the_current_folder(
    tmp_path, monkeypatch, capsys
):
  _write_clip(tmp_path / "in")
  monkeypatch.chdir(tmp_path / "in")
  status = _run("restore", "", tmp_path / "out", "--model=none")
  _fails(capsys, status, "No folder of clips was named")


def test_mixed_frames_are_refused(tmp_path, model, capsys):
  given = tmp_path / "in"
  arguments = [given, tmp_path / "out", "--model", model, "--sigma=30"]
  _write_clip(given)
  odd = given / "odd.png"
  frames_io.write_png(odd, np.zeros((14, 18, 3), np.uint8))
  _refused(tmp_path, capsys, arguments, "odd.png", "18x14", "19x14")
  frames_io.write_png(odd, np.zeros((14, 19, 3), np.uint16))
  _refused(tmp_path, capsys, arguments, "odd.png", "depth")


def test_a_full_disk_leaves_nothing(tmp_path, model, monkeypatch, capsys):
  _write_clip(tmp_path / "in")
  real, calls = pathlib.Path.write_bytes, []

  def write_bytes(path, data):
    calls.append(path)
    if len(calls) == 2:
      raise OSError(errno.ENOSPC, "No space left on device", str(path))
    return real(path, data)

  monkeypatch.setattr(pathlib.Path, "write_bytes", write_bytes)
  arguments = [tmp_path / "in", tmp_path / "out", "--model", model, "--sigma=3"]
  _refused(tmp_path, capsys, arguments, "disk", "full")


def test_an_interrupt_leaves_nothing(tmp_path, model, monkeypatch):
  _write_clip(tmp_path / "in")

  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(frames_io, "write_png", interrupt)
  out = tmp_path / "out"
  status = _run("restore", tmp_path / "in", out, "--model", model, "--sigma=9")
  assert status == 130
  assert os.listdir(tmp_path) == ["in"]


def test_debug_shows_the_traceback(tmp_path):
  with pytest.raises(FileNotFoundError):
    _run("restore", tmp_path / "no", tmp_path / "out", "--model=m", "--debug")


# The other commands.


def test_list_names_models_protocols_and_sources(capsys):
  assert _run("list") == 0
  words = capsys.readouterr().out.split()
  for name in (
      "ncfl", "spynet", "fastdvdnet", "sr_y", "procedural", "folders",
      *degradations.available(), "(light,",
  ):
    assert name in words
  assert "unet" not in words  # A part of NCFL.


def test_convert_makes_a_released_folder(tmp_path, capsys):
  shapes = [(8, 32), (32, 64), (64, 32), (32, 16), (16, 2)]
  generator = np.random.default_rng(0)
  arrays = {}
  for level in range(1, 7):
    for layer, (given, made) in enumerate(shapes, 1):
      name = f"modelL{level}_F-{layer}"
      kernel = generator.normal(size=(made, given, 7, 7))
      arrays[f"{name}-weight"] = kernel.astype(np.float32)
      arrays[f"{name}-bias"] = np.full(made, level, np.float32)
  np.savez(tmp_path / "weights.npz", **arrays)
  command = ["convert", tmp_path / "weights.npz", tmp_path / "spynet"]
  assert _run(*command, "--model=spynet") == 0
  built, variables = released.load(tmp_path / "spynet")
  assert built.levels == 6 and built.align_corners
  # PyTorch's OIHW is flax's HWIO.
  np.testing.assert_array_equal(
      variables["params"]["level_0"]["conv_0"]["conv"]["kernel"],
      arrays["modelL1_F-1-weight"].transpose(2, 3, 1, 0),
  )

  capsys.readouterr()
  _fails(capsys, _run(*command, "--model=spynet"), "not empty")
  _fails(capsys, _run(*command, "--model=vrt"), "'vrt'", "spynet")
  missing = ["convert", tmp_path / "no.npz", tmp_path / "new"]
  _fails(capsys, _run(*missing, "--model=spynet"), "no.npz")
  (tmp_path / "text.npz").write_text("no archive")
  broken = ["convert", tmp_path / "text.npz", tmp_path / "new"]
  _fails(capsys, _run(*broken, "--model=spynet"), "text.npz")
  assert not (tmp_path / "new").exists()


def test_prepare_refuses_what_it_cannot_read(tmp_path, capsys):
  status = _run("data", "prepare", "davis", "--from", tmp_path / "no.zip")
  _fails(capsys, status, "no.zip")
  status = _run("data", "prepare", "kinetics", "--from", tmp_path)
  _fails(capsys, status, "'kinetics'", "davis")


def test_prepare_hands_its_arguments_to_the_builder(monkeypatch, capsys):
  def prepare(path, data_dir, *, partial):
    assert (path, data_dir, partial) == ("davis.zip", "sets", True)
    return {"train": 3, "validation": 2}

  monkeypatch.setattr(davis, "prepare", prepare)
  command = ["data", "prepare", "davis", "--from=davis.zip", "--partial"]
  assert _run(*command, "--data-dir=sets") == 0
  printed = capsys.readouterr().out
  assert "davis is ready: 3 in train, 2 in validation" in printed


@pytest.mark.parametrize("builder, name, origin", [
    (davis, "davis", "DAVIS-2017-trainval-480p.zip"),
    (clip_folders, "clip_folders", "FOLDER"),
])
def test_the_command_that_an_unprepared_data_set_names_parses(
    tmp_path, builder, name, origin
):
  home = tmp_path / "data sets; of $HOME"
  with pytest.raises(FileNotFoundError) as info:
    builder.build(data_dir=home)
  command = shlex.split(str(info.value).partition("ype: ")[2])
  assert command[0] == "vidrestore"
  arguments = cli._parser().parse_args(command[1:])
  assert arguments.name == name and arguments.data_dir == str(home)
  assert arguments.origin == origin


# Data sets.


def _top(path, column, frame):
  """Where a small frame starts in a column of a contact sheet, in pixels.

  It is enlarged by whole pixels there, so it is found exactly.
  """
  sheet = np.asarray(Image.open(path).convert("RGB"))
  scale = 320 // frame.shape[1]
  large = frame.repeat(scale, 0).repeat(scale, 1)
  left = 12 + column * (large.shape[1] + 6)
  strip = sheet[:, left : left + large.shape[1]]
  top = int((strip == large[0]).all((1, 2)).argmax())
  np.testing.assert_array_equal(strip[top : top + len(large)], large)
  return top


def test_a_set_is_prepared_and_shown(tmp_path, capsys):
  for seed, (side, name) in enumerate(
      (side, name) for side in ("clean", "noisy") for name in ("a", "b")
  ):
    _write_clip(tmp_path / side / name, frames=7, seed=seed)
  clean, noisy = (
      {
          name: folders.read_frames(sorted((tmp_path / side / name).iterdir()))
          for name in ("a", "b")
      }
      for side in ("clean", "noisy")
  )
  where = ["--data-dir", tmp_path / "tfds", "--name=pairs", "--split=test"]
  command = ["data", "prepare", "clip_folders", "--from", tmp_path / "clean"]
  assert _run(*command, "--degraded", tmp_path / "noisy", *where) == 0
  assert capsys.readouterr().out == "clip_folders is ready: 2 in test.\n"

  out = tmp_path / "look.png"
  command = ["data", "show", "clip_folders", *where, "--out", out]
  assert _run(*command) == 0
  assert capsys.readouterr().out.splitlines() == [
      "clip_folders: sequences 2, frames 14 (7 each)",
      "19x14, 8 bit: files 28",
      "white is 255; clean and degraded",
      f"{out}: a picture of 2 of them.",
  ]
  tops = []
  for name in ("a", "b"):
    for frames in (noisy, clean):
      row = frames[name][0][[0, 3, 6]]
      (top,) = {_top(out, column, frame) for column, frame in enumerate(row)}
      tops.append(top)
  assert tops == sorted(tops)  # Degraded above clean, a above b.


def test_sources_without_preparation_are_shown(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert _run("data", "show", "procedural", "--clips=2") == 0
  assert capsys.readouterr().out.splitlines() == [
      "procedural: clips 2, of 5 frames",
      "96x96, 8 bit",
      "white is 255; clean only",
      "procedural.png: a picture of 2 of them.",
  ]
  _write_clip(tmp_path / "clips" / "short", frames=2, dtype=np.uint16)
  _write_clip(tmp_path / "clips" / "one", frames=1, dtype=np.uint16)
  assert _run("data", "show", "folders", "--from=clips") == 0
  assert capsys.readouterr().out.splitlines()[:3] == [
      "folders: sequences 2, frames 3 (1 to 2 each)",
      "19x14, 16 bit: files 3",
      "white is 65535; clean only",
  ]
  given = "source={'name': 'procedural', 'size': 1, 'height': 32, 'width': 48}"
  command = ["data", "show", "raw", "--set", given, "--set", "seed=3"]
  assert _run(*command) == 0
  assert capsys.readouterr().out.splitlines()[1:4] == [
      "48x32, 16 bit", "one channel, GBRG", "white is 3855; clean only",
  ]
  command = ["data", "show", "procedural", "--degradation=compression.jpeg"]
  assert _run(*command, "--set=height=32", "--clips=1", "--out=x.png") == 0
  printed = capsys.readouterr().out
  assert "clean and degraded" in printed and "96x32" in printed
  assert sorted(p.name for p in tmp_path.glob("*.png")) == [
      "folders.png", "procedural.png", "raw.png", "x.png",
  ]


def test_what_cannot_be_shown_is_refused(tmp_path, capsys):
  for arguments, fragments in (
      (["davis", "--data-dir", tmp_path], ["not prepared", "data prepare"]),
      (["davis", "--from=x"], ["davis takes no --from", "data prepare"]),
      (["procedural", "--clips=0"], ["--clips", "at least 1"]),
      (["procedural", "--out=look.jpg"], ["PNG", "look.jpg"]),
      (["procedural", "--out", tmp_path / "no" / "x.png"], ["no folder"]),
      (["procedural", "--set=height"], ["KEY=VALUE", "'height'"]),
      (["procedural", "--split=test"], ["takes no argument split"]),
      (["davis", "--split=val", "--set=split=train"],
       ["gives split twice", "'val'", "--set split=train"]),
      (["folders", "--from=x", "--set=clean=y"], ["clean twice", "--from"]),
      (["raw"], ["needs the argument source"]),
      (["kinetics"], ["'kinetics'", "davis"]),
      (["folders", "--from", tmp_path], ["holds no frame"]),
  ):
    _fails(capsys, _run("data", "show", *arguments), *fragments)
  command = ["data", "prepare", "davis", "--from", tmp_path, "--split=val"]
  _fails(capsys, _run(*command), "davis is prepared without --split")
  assert list(tmp_path.iterdir()) == []


def test_a_shown_degradation_takes_options(tmp_path, monkeypatch, capsys):
  _write_clip(tmp_path / "clips" / "a")
  monkeypatch.chdir(tmp_path)
  command = ["data", "show", "folders", "--from=clips", "--set=length=3"]
  pictures = []
  for number, quality in enumerate(("(5,5)", "(95,95)", "(5,5)")):
    out = f"{number}.png"
    assert _run(
        *command, "--degradation=compression.jpeg",
        f"--set=degradation.quality={quality}", f"--out={out}",
    ) == 0
    pictures.append((tmp_path / out).read_bytes())
  assert pictures[0] == pictures[2] != pictures[1]
  capsys.readouterr()
  for arguments, fragments in (
      (["--set=degradation.quality=3"], ["--degradation=NAME"]),
      (["--set=lens.blur=3"], ["an argument of lens"]),
      (
          ["--degradation=rain.streaks", "--set=degradation.preset=mist"],
          ["no preset 'mist'", "light"],
      ),
  ):
    _fails(capsys, _run(*command, *arguments), *fragments)


# Degrading.


def _content(folder):
  return {
      str(path.relative_to(folder)): path.read_bytes()
      for path in sorted(folder.rglob("*")) if path.is_file()
  }


def test_degrade_writes_frames_and_cards_that_a_seed_decides(tmp_path, capsys):
  clips = {
      name: _write_clip(tmp_path / "in" / name, 2, np.uint16, seed=seed)
      for seed, name in enumerate("ab")
  }
  command = ["data", "degrade", tmp_path / "in"]
  noise = [
      "--degradation=noise.gaussian_clipped",
      "--set=degradation.sigma=(0.1,0.3)",
  ]
  for out, seed in (("x", 4), ("again", 4), ("other", 5)):
    assert _run(*command, tmp_path / out, *noise, f"--seed={seed}") == 0
  assert f"{tmp_path / 'other'}: 4 frames of 2 clip(s)." in (
      capsys.readouterr().out
  )
  files = _content(tmp_path / "x")
  assert sorted(files) == [
      "a.json", "a/00000.png", "a/00001.png", "b.json", "b/00000.png",
      "b/00001.png",
  ]
  assert files == _content(tmp_path / "again")
  other = _content(tmp_path / "other")
  assert all(files[name] != other[name] for name in files)
  source = data.build(
      "degraded", seed=4,
      source={"name": "folders", "clean": tmp_path / "in", "length": None},
      degradation={"name": "noise.gaussian_clipped", "sigma": (0.1, 0.3)},
  )
  for index, name in enumerate("ab"):
    written, white = folders.read_frames(
        sorted((tmp_path / "x" / name).iterdir())
    )
    assert white == 65535 and len(written) == len(clips[name])
    item = source[index]
    np.testing.assert_array_equal(written, item["degraded"])
    card = json.loads(files[f"{name}.json"])
    assert card["name"] == "noise.gaussian_clipped" and card["clip"] == name
    assert (card["seed"], card["index"]) == (4, index)
    assert card["options"] == {"sigma": [0.1, 0.3]}
    assert card["drawn"]["level"] == item["card"]["drawn"]["level"]


def test_degrade_writes_mosaics_as_a_camera_does_and_their_truth(tmp_path):
  given = "{'name': 'procedural', 'size': 1, 'length': 2, 'height': 32}"
  out, clean = tmp_path / "noisy", tmp_path / "clean"
  assert _run(
      "data", "degrade", "raw", out, f"--clean={clean}",
      f"--set=source={given}", "--degradation=raw.poisson_gaussian",
      "--set=degradation.isos=(25600,)",
  ) == 0
  ((name, *sides),) = folders.check_pairs(
      folders.find_clips(clean), folders.find_clips(out), clean, out
  )
  assert name == "procedural_000000"
  frames = [folders.read_frames(paths)[0] for paths in sides]
  assert (frames[0] != frames[1]).mean() > 0.5
  image = Image.open(sides[0][0])
  assert image.mode == "I;16" and np.asarray(image).min() >= 240
  original = data.build("raw", source=ast.literal_eval(given))[0]["clean"][0]
  np.testing.assert_array_equal(np.asarray(image), original[..., 0] + 240)
  card = json.loads((out / f"{name}.json").read_text())
  assert card["drawn"]["iso"] == 25600


def test_degrade_takes_videos_and_prepared_sets(tmp_path):
  av = pytest.importorskip("av")
  _write_clip(tmp_path / "clips" / "a", frames=3)
  with av.open(str(tmp_path / "film.mkv"), "w") as container:
    stream = container.add_stream("ffv1", rate=25)
    stream.height, stream.width, stream.pix_fmt = 32, 32, "bgr0"
    for level in range(3):
      frame = np.full((32, 32, 3), 50 * level, np.uint8)
      frame = av.VideoFrame.from_ndarray(frame, format="rgb24")
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  clip_folders.prepare(tmp_path / "clips", tmp_path / "tfds")
  for source, clip in (
      ([tmp_path / "film.mkv"], "film.mkv"),
      (["clip_folders", "--data-dir", tmp_path / "tfds"], "a"),
  ):
    out = tmp_path / f"degraded_{clip}"
    command = ["data", "degrade", source[0], out, *source[1:]]
    assert _run(*command, "--degradation=compression.jpeg") == 0
    assert sorted(_content(out)) == [
        f"{clip}.json", *(f"{clip}/{t:05d}.png" for t in range(3))
    ]


def test_degrade_leaves_nothing_half_written(tmp_path, monkeypatch, capsys):
  _write_clip(tmp_path / "in" / "a")
  out = tmp_path / "out"
  command = ["data", "degrade", tmp_path / "in", out]
  jpeg = "--degradation=compression.jpeg"
  assert _run(*command, jpeg) == 0
  before = _content(out)
  capsys.readouterr()
  _fails(capsys, _run(*command, jpeg), "not empty", "--overwrite")
  again = [*command, jpeg, "--overwrite", "--seed=1"]
  (tmp_path / "in" / "b").mkdir()
  for broken, fragments in (
      (b"\x89PNG", ["b/00000.png"]),  # Found at the start,
      ((tmp_path / "in" / "a" / "000.png").read_bytes()[:-40], ["b/00000.png"]),
  ):  # or when it is read.
    (tmp_path / "in" / "b" / "00000.png").write_bytes(broken)
    _fails(capsys, _run(*again), *fragments)
    assert _content(out) == before
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]
  shutil.rmtree(tmp_path / "in" / "b")
  for arguments, fragments in (
      ([tmp_path / "in", tmp_path / "in" / "x", jpeg], ["lie in one another"]),
      ([tmp_path / "in", tmp_path / "x", f"--clean={tmp_path / 'x'}", jpeg],
       ["lie in one another"]),
      ([tmp_path / "no", tmp_path / "x", jpeg], ["No folder"]),
      ([tmp_path / "in", tmp_path / "x", jpeg, "--seed=-1"], ["seed"]),
      ([tmp_path / "in", tmp_path / "x", "--degradation=rain"], ["rain"]),
      ([tmp_path / "in", tmp_path / "x", jpeg, "--set=name=davis"],
       ["name=davis sets no name"]),
      ([tmp_path / "in", tmp_path / "x", jpeg, "--set",
        "degradation.name=rain.streaks"], ["sets no name"]),
      ([tmp_path / "in", tmp_path / "x", jpeg, "--set=clean=other"],
       ["gives clean twice", "other"]),
      ([tmp_path / "in", tmp_path / "x", "--degradation=haze.scattering",
        "--set=degradation.depth=far"], ["depth needs to be an array", "far"]),
  ):
    _fails(capsys, _run("data", "degrade", *arguments), *fragments)
  assert _run(*again) == 0
  assert _content(out) != before


def test_help_needs_the_standard_library_alone():
  code = (
      "import sys; from vidrestore_jax import cli\n"
      "try: cli.main(['restore', '--help'])\n"
      "except SystemExit: pass\n"
      "heavy = {'jax', 'numpy', 'PIL', 'flax'} & set(sys.modules)\n"
      "assert not heavy, heavy"
  )
  result = subprocess.run(
      [sys.executable, "-c", code], capture_output=True, text=True
  )
  assert result.returncode == 0, result.stderr
  assert "--sigma" in result.stdout
