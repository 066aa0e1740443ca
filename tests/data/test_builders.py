"""Builders of clean sets, each on a small look-alike of the authors' files."""

import dataclasses
import importlib
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax import data
from vidrestore_jax.data import prepared
from vidrestore_jax.data.builders import clip_folders, reds, set8, vimeo90k
from vidrestore_jax.inference import frames_io

_SEPTUPLET = [f"im{i}.png" for i in range(1, 8)]


def _frames(count, digits):
  return [f"{t:0{digits}d}.png" for t in range(count)]


# Set -> split -> folder of a sequence -> names of its frames, as the files
# unpack; the sequence's name follows.
_TREES = {
    "set8": {
        "test": {
            "test_sequences/tractor": _frames(5, 3),
            "test_sequences/gopro_540p/rafting": _frames(6, 2),
        }
    },
    "vid4": {
        "test": {
            "GT/calendar": _frames(5, 8),
            "GT/walk": [f"Frame {t:03d}.png" for t in range(1, 8)],
        }
    },
    "reds": {
        "train": {
            f"train/train_sharp/{name}": _frames(5, 8)
            for name in ("000", "001", "011")
        },
        "val": {"val/val_sharp/000": _frames(6, 8)},
    },
    "vimeo90k": {
        "train": {
            f"sequences/{name}": _SEPTUPLET
            for name in ("00001/0001", "00002/0005")
        },
        "test": {"sequences/00001/0266": _SEPTUPLET},
    },
    "clip_folders": {
        "train": {"nine": _frames(5, 2), "clip 10": _frames(6, 2)}
    },
}


def _name(dataset, folder):
  depth = 2 if dataset == "vimeo90k" else 1
  return "/".join(folder.split("/")[-depth:])


def _write(dataset, root):
  """Makes the look-alike; returns split -> name -> pixels `[T, H, W, 3]`."""
  rng = np.random.default_rng(0)
  pixels = {}
  for split, folders in _TREES[dataset].items():
    pixels[split] = {}
    for folder, names in folders.items():
      clip = rng.integers(0, 256, (len(names), 6, 8, 3), np.uint8)
      pixels[split][_name(dataset, folder)] = clip
      (root / folder).mkdir(parents=True)
      for name, frame in zip(names, clip):
        Image.fromarray(frame).save(root / folder / name)
    if dataset == "vimeo90k":
      lines = "".join(f"{name}\n" for name in pixels[split])
      (root / f"sep_{split}list.txt").write_text(lines + "\n")
  return pixels


@pytest.fixture(params=sorted(_TREES))
def tree(request, tmp_path):
  """(builder, its folder, its pixels)."""
  dataset = request.param
  builder = importlib.import_module(f"vidrestore_jax.data.builders.{dataset}")
  root = tmp_path / "official"
  return builder, root, _write(dataset, root)


def _stem(builder):
  return builder.__name__.rpartition(".")[2]


def _folders(builder, root):
  return [
      root / folder
      for folders in _TREES[_stem(builder)].values() for folder in folders
  ]


def test_a_tree_is_read_back_bit_exactly(tree, tmp_path):
  builder, root, pixels = tree
  counts = builder.prepare(root, tmp_path / "tfds", partial=True)
  assert counts == {split: len(clips) for split, clips in pixels.items()}
  for split, clips in pixels.items():
    source = data.build(
        _stem(builder), data_dir=tmp_path / "tfds", split=split, length=None
    )
    items = [source[i] for i in range(len(source))]
    assert sorted(item["name"] for item in items) == sorted(clips)
    for item in items:
      np.testing.assert_array_equal(item["clean"], clips[item["name"]])
      assert item["max_value"] == 255 and "degraded" not in item
    windows = builder.build(
        data_dir=tmp_path / "tfds", split=split, length=4, stride=2
    )
    assert len(windows) == sum((len(c) - 4) // 2 + 1 for c in clips.values())
    name = windows.names[0]
    np.testing.assert_array_equal(windows[0]["clean"], clips[name][:4])


def test_the_files_own_bytes_are_stored(tree, tmp_path):
  builder, root, _ = tree
  builder.prepare(root, tmp_path / "tfds", partial=True)
  split = next(iter(_TREES[_stem(builder)]))
  source = builder.build(data_dir=tmp_path / "tfds", split=split, length=5)
  for folder, names in _TREES[_stem(builder)][split].items():
    number = source.names.index(_name(_stem(builder), folder))
    for t, name in enumerate(names):
      content = (root / folder / name).read_bytes()
      assert source.encoded(number, t) == content


def test_a_truncated_file_is_named(tree, tmp_path):
  builder, root, _ = tree
  frame = sorted(_folders(builder, root)[-1].iterdir())[2]
  frame.write_bytes(frame.read_bytes()[:-40])
  with pytest.raises(ValueError, match=f"{frame} is damaged") as info:
    builder.prepare(root, tmp_path / "tfds", partial=True)
  assert "\n" not in str(info.value)


def test_a_frame_of_another_size_is_named(tree, tmp_path):
  builder, root, _ = tree
  frame = sorted(_folders(builder, root)[-1].iterdir())[2]
  frames_io.write_png(frame, np.zeros((6, 9, 3), np.uint8))
  with pytest.raises(ValueError, match=f"{frame} is 9x6 .* 8x6"):
    builder.prepare(root, tmp_path / "tfds", partial=True)


def test_an_empty_sequence_is_named(tree, tmp_path):
  builder, root, _ = tree
  folder = _folders(builder, root)[-1]
  for frame in folder.iterdir():
    frame.unlink()
  if _stem(builder) == "vimeo90k":
    with pytest.raises(FileNotFoundError, match=f"{folder}/im1.png is missing"):
      builder.prepare(root, tmp_path / "tfds")
  else:
    with pytest.raises(
        (FileNotFoundError, ValueError), match=f"{folder} holds no frame"
    ):
      builder.prepare(root, tmp_path / "tfds", partial=True)
  assert not (tmp_path / "tfds").exists()


def test_nothing_of_the_set_is_said_so(tree, tmp_path):
  builder, _, _ = tree
  (tmp_path / "empty").mkdir()
  with pytest.raises(FileNotFoundError, match=f"{tmp_path}/empty"):
    builder.prepare(tmp_path / "empty", tmp_path / "tfds")
  with pytest.raises(FileNotFoundError, match=f"{tmp_path}/nowhere"):
    builder.prepare(tmp_path / "nowhere", tmp_path / "tfds")
  assert not (tmp_path / "tfds").exists()


_OFFICIAL = {
    "set8": r"official lacks touchdown, park_joy, .* of Set8",
    "vid4": r"GT/city holds no frame",
    "reds": r"Found 3 sequences of train of REDS, which has 240\.",
    "vimeo90k": r"Found 2 sequences of train of Vimeo-90K, which has 64612\.",
}


@pytest.mark.parametrize("dataset", sorted(_OFFICIAL))
def test_a_copy_that_lacks_sequences_needs_partial(dataset, tmp_path):
  _write(dataset, tmp_path / "official")
  builder = importlib.import_module(f"vidrestore_jax.data.builders.{dataset}")
  with pytest.raises(
      (FileNotFoundError, ValueError), match=_OFFICIAL[dataset]
  ):
    builder.prepare(tmp_path / "official", tmp_path / "tfds")
  assert not (tmp_path / "tfds").exists()


@pytest.mark.parametrize("dataset, size", [
    ("set8", (960, 540)), ("vid4", (720, 576)), ("reds", (1280, 720)),
    ("vimeo90k", (448, 256)),
])
def test_a_copy_of_the_wrong_size_is_refused(
    dataset, size, tmp_path, monkeypatch
):
  builder = importlib.import_module(f"vidrestore_jax.data.builders.{dataset}")
  (cls,) = (
      value for value in vars(builder).values()
      if isinstance(value, type) and issubclass(value, prepared.Dataset)
  )
  _write(dataset, tmp_path / "official")
  if dataset == "set8":
    monkeypatch.setattr(builder, "NAMES", ("tractor", "rafting"))
  if dataset == "vid4":
    monkeypatch.setattr(builder, "_FRAMES", {"calendar": 5, "walk": 7})
  splits = {
      split: dataclasses.replace(cls.SPLITS[split], sequences=len(folders))
      for split, folders in _TREES[dataset].items()
  }
  monkeypatch.setattr(cls, "SPLITS", splits)
  if dataset in ("vid4", "reds"):
    with pytest.raises(ValueError, match=r"holds \d frames, but seq"):
      builder.prepare(tmp_path / "official", tmp_path / "tfds")
  for split, official in splits.items():
    splits[split] = dataclasses.replace(official, frames=None)
  with pytest.raises(ValueError, match=r"{}x{}\. Get the off".format(*size)):
    builder.prepare(tmp_path / "official", tmp_path / "tfds")
  for split, official in splits.items():
    splits[split] = dataclasses.replace(official, size=(8, 6))
  builder.prepare(tmp_path / "official", tmp_path / "tfds")
  source = builder.build(data_dir=tmp_path / "tfds", split=next(iter(splits)))
  assert not source.partial


# One by one


def _zip(folder, archive, prefix=""):
  with zipfile.ZipFile(archive, "w") as file:
    for path in sorted(folder.rglob("*")):
      file.write(path, prefix + str(path.relative_to(folder)))


@pytest.mark.parametrize("dataset, archives", [
    ("set8", {"official": "test_sequences-001.zip"}),
    ("vid4", {"official": "Vid4.zip"}),
    ("vimeo90k", {"official": "vimeo_septuplet.zip"}),
    ("reds", {"official/train": "train_sharp.zip",
              "official/val": "val_sharp.zip"}),
])
def test_archives_need_no_unpacking(dataset, archives, tmp_path):
  pixels = _write(dataset, tmp_path / "official")
  builder = importlib.import_module(f"vidrestore_jax.data.builders.{dataset}")
  given = tmp_path / "zips"
  given.mkdir()
  for folder, archive in archives.items():
    prefix = {"vimeo90k": "vimeo_septuplet/", "reds": folder[9:] + "/"}
    _zip(tmp_path / folder, given / archive, prefix.get(dataset, ""))
  shutil.rmtree(tmp_path / "official")
  if dataset == "set8":  # Its archive has no name of its own.
    given /= archives["official"]
  builder.prepare(given, tmp_path / "tfds", partial=True)
  for split, clips in pixels.items():
    source = builder.build(data_dir=tmp_path / "tfds", split=split, length=5)
    assert sorted(source.names) == sorted(clips)
    np.testing.assert_array_equal(
        source[0]["clean"], clips[source.names[0]][:5]
    )


def test_regrouped_reds_is_told_apart_and_reds4_is_held_out(tmp_path):
  home = tmp_path / "train_sharp"
  _write("reds", tmp_path / "official")
  shutil.copytree(tmp_path / "official/train/train_sharp", home)
  shutil.copytree(tmp_path / "official/val/val_sharp/000", home / "240")
  for given in (home, tmp_path):
    out = tmp_path / f"tfds-{given.name}"
    assert reds.prepare(given, out, partial=True) == {"train": 3, "val": 1}
    assert reds.build(data_dir=out, split="val").names == ["000"]
  assert reds.build(data_dir=out, split="reds4").names == ["000", "011"]
  assert reds.build(data_dir=out, split="train_but_reds4").names == ["001"]


def test_one_split_of_reds_can_come_later(tmp_path):
  _write("reds", tmp_path / "official")
  out = tmp_path / "tfds"
  counts = reds.prepare(tmp_path / "official/val", out, partial=True)
  assert counts == {"val": 1}
  with pytest.raises(FileNotFoundError, match=r"Download train_sharp.zip from"):
    reds.build(data_dir=out, split="reds4")
  assert reds.prepare(tmp_path / "official", out, partial=True)["train"] == 3
  assert len(reds.build(data_dir=out, split="reds4", length=None)) == 2


def test_the_700_of_vimeo_are_drawn_from_the_sorted_list(tmp_path):
  names = [f"{i:05d}/{j:04d}" for i in range(1, 10) for j in range(1, 100)]
  chosen = vimeo90k._test700(names)
  assert len(set(chosen)) == 700 and set(chosen) < set(names)
  assert chosen == vimeo90k._test700(names[::-1])  # The list's order is void.
  expected = np.random.default_rng(0).choice(names, 700, replace=False)
  assert chosen == list(expected)
  _write("vimeo90k", tmp_path / "official")
  vimeo90k.prepare(tmp_path / "official", tmp_path / "tfds", partial=True)
  with pytest.raises(ValueError, match=r"test700 draws 700 .* only 1 of it"):
    vimeo90k.build(data_dir=tmp_path / "tfds", split="test700")


def test_a_list_of_names_chooses_clips_of_vimeo(tmp_path):
  pixels = _write("vimeo90k", tmp_path / "official")
  vimeo90k.prepare(tmp_path / "official", tmp_path / "tfds", partial=True)
  file = tmp_path / "meta_info_Vimeo90K_test_fast_GT.txt"
  file.write_text("00002/0005 7 (256,448,3)\n")
  source = vimeo90k.build(
      data_dir=tmp_path / "tfds", split="train", length=7, names=file
  )
  assert source.names == ["00002/0005"]
  np.testing.assert_array_equal(
      source[0]["clean"], pixels["train"]["00002/0005"]
  )
  file.write_text("00009/0001 7 (256,448,3)\n")
  with pytest.raises(ValueError, match="no sequence 00009/0001"):
    vimeo90k.build(data_dir=tmp_path / "tfds", split="train", names=file)


def test_a_partial_vimeo_leaves_whole_clips_out_but_no_frames(tmp_path):
  _write("vimeo90k", tmp_path / "official")
  clip = tmp_path / "official/sequences/00001/0001"
  (clip / "im7.png").unlink()
  with pytest.raises(FileNotFoundError, match=f"{clip}/im7.png is missing"):
    vimeo90k.prepare(tmp_path / "official", tmp_path / "tfds", partial=True)
  shutil.rmtree(clip)
  counts = vimeo90k.prepare(
      tmp_path / "official", tmp_path / "tfds", partial=True
  )
  assert counts == {"train": 1, "test": 1}


def test_set8_keeps_its_published_order_wherever_folders_lie(tmp_path):
  for folder in ("a/b/tractor", "Derfs/sunflower", "snowboard"):
    (tmp_path / "files" / folder).mkdir(parents=True)
    for t in range(5):
      frames_io.write_png(
          tmp_path / "files" / folder / f"{t}.png",
          np.full((6, 8, 3), t, np.uint8),
      )
  set8.prepare(tmp_path / "files", tmp_path / "tfds", partial=True)
  source = set8.build(data_dir=tmp_path / "tfds")
  assert source.names == ["tractor", "sunflower", "snowboard"]


def _set8_frames(tmp_path, names):
  folder = tmp_path / "files" / "tractor"
  folder.mkdir(parents=True)
  for name in names:
    frames_io.write_png(folder / name, np.full((6, 8, 3), 9, np.uint8))
  return folder


@pytest.mark.parametrize("names, error, message", [
    (
        ["000.png", "001.png", "003.png"], FileNotFoundError,
        r"tractor lacks frame 2 \(it has 0 to 3\)\. Unpack or download it",
    ),
    (
        ["t540_01.png", "t540_02.png", "t540_20261231235959.png"],
        FileNotFoundError, r"tractor lacks frame 3 \(it has 1 to 2026123123",
    ),
    (
        ["01.png", "02.png", "002.png"], ValueError,
        r"tractor holds frame 2 twice: 0?02\.png and 0?02\.png\. Keep one",
    ),
    (
        ["01.png", "01 (copy).png"], ValueError,
        r"tractor/01 \(copy\)\.png has no number at the end of its name",
    ),
])
def test_frames_of_set8_that_are_no_row_of_numbers_are_refused(
    tmp_path, names, error, message
):
  _set8_frames(tmp_path, names)
  with pytest.raises(error, match=message) as info:
    set8.prepare(tmp_path / "files", tmp_path / "tfds", partial=True)
  assert "\n" not in str(info.value)
  assert not (tmp_path / "tfds").exists()


def test_frames_of_set8_may_start_at_any_number(tmp_path):
  folder = _set8_frames(tmp_path, [f"t540_{t}.png" for t in range(8, 12)])
  frames_io.write_png(folder / "t540_11.png", np.full((6, 8, 3), 5, np.uint8))
  set8.prepare(tmp_path / "files", tmp_path / "tfds", partial=True)
  clean = set8.build(data_dir=tmp_path / "tfds", length=4)[0]["clean"]
  assert clean[:, 0, 0, 0].tolist() == [9, 9, 9, 5]  # 10 follows 9.


# Any folder


def _pairs(tmp_path):
  """Two folders of clips: 16-bit PNG, and the same plus one."""
  rng = np.random.default_rng(0)
  clean = {n: rng.integers(0, 65535, (5, 6, 8, 3), np.uint16) for n in "ab"}
  for name, clip in clean.items():
    for side, plus in (("clean", 0), ("rain", 1)):
      (tmp_path / side / name).mkdir(parents=True)
      for t, frame in enumerate(clip):
        frames_io.write_png(tmp_path / side / name / f"{t}.png", frame + plus)
  return clean


def test_pairs_of_folders_are_exact_in_sixteen_bits(tmp_path):
  clean = _pairs(tmp_path)
  counts = clip_folders.prepare(
      tmp_path / "clean", tmp_path / "tfds", degraded=tmp_path / "rain",
      dataset="rain", split="test",
  )
  assert counts == {"test": 2}
  source = clip_folders.build(
      data_dir=tmp_path / "tfds", dataset="rain", split="test", length=3
  )
  assert len(source) == 6
  item = source[4]
  assert (item["name"], item["max_value"]) == ("b/00001", 65535)
  np.testing.assert_array_equal(item["clean"], clean["b"][1:4])
  np.testing.assert_array_equal(item["degraded"], clean["b"][1:4] + 1)
  with pytest.raises(FileNotFoundError) as info:
    clip_folders.build(data_dir=tmp_path / "tfds", dataset="rain")
  assert str(info.value).endswith(
      "Type: vidrestore data prepare clip_folders --from=FOLDER --name=rain"
      f" --split=train --data-dir={tmp_path / 'tfds'}"
  )


def test_folders_that_do_not_pair_are_refused(tmp_path):
  _pairs(tmp_path)
  given = dict(
      source_path=tmp_path / "clean", data_dir=tmp_path / "tfds",
      degraded=tmp_path / "rain",
  )
  for name in ("a b", "../a", "a__b", ""):
    with pytest.raises(ValueError, match="The name of a set is letters"):
      clip_folders.prepare(**given, dataset=name)
  (tmp_path / "rain" / "b" / "4.png").unlink()
  with pytest.raises(ValueError, match=r"Frame 4 of clip b exists only among"):
    clip_folders.prepare(**given)
  shutil.rmtree(tmp_path / "rain" / "b")
  with pytest.raises(ValueError, match=r"Clip b has no partner in .*rain"):
    clip_folders.prepare(**given)
  assert not (tmp_path / "tfds").exists()
  assert clip_folders.prepare(**given, partial=True) == {"train": 1}
  frames_io.write_png(
      tmp_path / "rain" / "a" / "2.png", np.zeros((6, 9, 3), np.uint16)
  )
  with pytest.raises(ValueError, match=r"rain/a/2.png is 9x6"):
    clip_folders.prepare(**given, partial=True, split="other")


def test_a_jpeg_frame_keeps_its_bytes(tmp_path):
  rng = np.random.default_rng(0)
  folder = tmp_path / "clips" / "one"
  folder.mkdir(parents=True)
  for t in range(5):
    pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f"{t}.jpg", quality=80)
  clip_folders.prepare(tmp_path / "clips", tmp_path / "tfds")
  source = clip_folders.build(data_dir=tmp_path / "tfds")
  for t in range(5):
    content = (folder / f"{t}.jpg").read_bytes()
    assert source.encoded(0, t) == content
    np.testing.assert_array_equal(
        source[0]["clean"][t], np.asarray(Image.open(folder / f"{t}.jpg"))
    )
