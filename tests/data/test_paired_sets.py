"""Rain and haze pairs, on small look-alikes of the authors' unpacked files."""

import importlib
import shutil

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax import cli
from vidrestore_jax.data import pipeline, prepared
from vidrestore_jax.data.builders import (
    rainsynall100,
    rainsyncomplex25,
    rainsynlight25,
)

# Set -> split -> clip -> (clean files, rainy or hazy ones), {} the number.
_LIGHT = "RainSynLight25/video_rain_light"
_HEAVY = "frames_heavy"
_ALL = "Video_rain_synthesis"
_LAYOUTS = {
    "nturain": {
        "train": {
            f"t{scene}_Rain_0{rain}": (
                f"Dataset_Training_Synthetic/t{scene}_GT/{{:05d}}.jpg",
                f"Dataset_Training_Synthetic/t{scene}_Rain_0{rain}/{{:05d}}.jpg",
            )
            for scene, rain in ((1, 1), (1, 2), (2, 3))
        },
        "test": {
            "b4_Rain": (
                "Dataset_Testing_Synthetic/b4_GT/{:05d}.jpg",
                "Dataset_Testing_Synthetic/b4_Rain/{:05d}.jpg",
            )
        },
    },
    "revide": {
        split: {
            clip: (
                f"REVIDE_indoor/{folder}/gt/{clip}/{{:05d}}.JPG",
                f"REVIDE_indoor/{folder}/hazy/{clip}/{{:05d}}.JPG",
            )
            for clip in clips
        }
        for split, folder, clips in (
            ("train", "Train", ("C001", "E001")), ("test", "Test", ("J004",)),
        )
    },
    "rainsynall100": {
        split: {
            clip: (
                f"{_ALL}_{split}/GT/{clip}/{{}}.jpg",
                f"{_ALL}_{split}/Rain_Haze/{clip}/{{}}.jpg",
            )
            for clip in clips
        }
        for split, clips in (("train", ("0001", "0899")), ("test", ("0900",)))
    },
    "rainsynlight25": {
        split: {
            clip: (
                f"{_LIGHT}/{split}/processed/{clip}/{{}}.png",
                f"{_LIGHT}/{split}/input/{clip}/{{}}.png",
            )
            for clip in clips
        }
        for split, clips in (("train", ("2", "10")), ("test", ("27",)))
    },
    "rainsyncomplex25": {
        split: {
            clip: (
                f"{_HEAVY}_{split}_JPEG/{clip}/gtc-{{}}.jpg",
                f"{_HEAVY}_{split}_JPEG/{clip}/rfc-{{}}.jpg",
            )
            for clip in clips
        }
        for split, clips in (("train", ("2", "10")), ("test", ("1",)))
    },
}
_FIRST = {name: 0 if name == "revide" else 1 for name in _LAYOUTS}
_FRAMES = 11  # So that 10.png is among them, which follows 9.png.


def _files(root, name, split, clip):
  """Clean and degraded files of a clip, in order."""
  numbers = range(_FIRST[name], _FIRST[name] + _FRAMES)
  return [
      [root / pattern.format(number) for number in numbers]
      for pattern in _LAYOUTS[name][split][clip]
  ]


def _write_tree(root, name):
  """The set as it unpacks, of noise, so that no two frames are equal."""
  rng = np.random.default_rng(0)
  for split, clips in _LAYOUTS[name].items():
    for clip in clips:
      for files in _files(root, name, split, clip):
        for file in files:
          file.parent.mkdir(parents=True, exist_ok=True)
          pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
          Image.fromarray(pixels).save(file, quality=95)
          if "rfc-" in file.name or "gtc-" in file.name:  # Grey twins.
            twin = file.with_name(file.name.replace("c-", "-"))
            Image.fromarray(pixels[..., 0]).save(twin)
  (root / "Thumbs.db").write_bytes(b"not a frame")
  return root


def _truth(files):
  return np.stack([np.asarray(Image.open(file)) for file in files])


def _module(name):
  return importlib.import_module(f"vidrestore_jax.data.builders.{name}")


@pytest.fixture(scope="module", params=list(_LAYOUTS))
def ready(request, tmp_path_factory):
  """(set, its look-alike tree, where the command line prepared it)."""
  name = request.param
  tree = _write_tree(tmp_path_factory.mktemp(name), name)
  data_dir = tmp_path_factory.mktemp(f"{name}_tfds")
  command = ["data", "prepare", name, f"--from={tree}", "--partial"]
  assert cli.main([*command, f"--data-dir={data_dir}"]) == 0
  return name, tree, data_dir


def test_every_pair_reads_back_bit_exactly(ready):
  name, tree, data_dir = ready
  for split, clips in _LAYOUTS[name].items():
    source = _module(name).build(data_dir=data_dir, split=split, length=None)
    assert source.names == list(clips)
    for index, clip in enumerate(clips):
      clean, degraded = _files(tree, name, split, clip)
      item = source[index]
      np.testing.assert_array_equal(item["clean"], _truth(clean))
      np.testing.assert_array_equal(item["degraded"], _truth(degraded))
      assert item["max_value"] == 255
      assert [
          source.encoded(index, t, take=0) for t in range(_FRAMES)
      ] == [file.read_bytes() for file in degraded]


def test_training_patches_are_cut_alike_from_both_sides(ready):
  name, _, data_dir = ready
  source = _module(name).build(data_dir=data_dir, length=5, stride=3)
  assert len(source) == 3 * len(_LAYOUTS[name]["train"])
  batch = next(pipeline.train_iterator(
      source, batch_size=2, clip_length=5, patch_size=16, seed=3, augment=False
  ))
  assert batch["clean"].shape == batch["degraded"].shape == (2, 5, 16, 16, 3)
  for b, index in enumerate(batch["index"]):
    clip = source[int(index)]
    places = [
        (top, left)
        for top in range(20 - 16 + 1) for left in range(24 - 16 + 1)
        if all(
            (
                clip[key][:, top : top + 16, left : left + 16]
                == batch[key][b]
            ).all()
            for key in ("clean", "degraded")
        )
    ]
    assert len(places) == 1


def _prepare_damaged(ready, tmp_path, damage):
  """Prepares a copy of the tree in which `damage` has changed a file.

  Returns:
    The file, and the error's text.
  """
  name, tree, _ = ready
  shutil.copytree(tree, tmp_path / "tree")
  split = "train"
  clip = list(_LAYOUTS[name][split])[-1]
  files = _files(tmp_path / "tree", name, split, clip)
  file = damage(*files)
  with pytest.raises((FileNotFoundError, ValueError)) as info:
    _module(name).prepare(tmp_path / "tree", tmp_path / "tfds", partial=True)
  with pytest.raises(FileNotFoundError, match="is not prepared"):
    _module(name).build(data_dir=tmp_path / "tfds")
  text = str(info.value)
  assert "\n" not in text
  return file, text


def test_a_frame_without_partner_is_named(ready, tmp_path):
  def damage(clean, degraded):
    degraded[4].unlink()
    return clean[4]

  file, text = _prepare_damaged(ready, tmp_path, damage)
  assert text.startswith(f"{file} has no partner in ")


def test_a_frame_that_both_sides_lack_is_named(ready, tmp_path):
  def damage(clean, degraded):
    clean[4].unlink()
    degraded[4].unlink()
    return clean[4]

  file, text = _prepare_damaged(ready, tmp_path, damage)
  number = 4 + _FIRST[ready[0]]
  assert text.startswith(f"{file.parent} lacks frame {number} ")


def test_a_missing_side_is_named(ready, tmp_path):
  def damage(clean, degraded):
    for file in clean:
      file.unlink()
    if clean[0].parent != degraded[0].parent:
      shutil.rmtree(clean[0].parent)
    return clean[0].parent

  file, text = _prepare_damaged(ready, tmp_path, damage)
  if ready[0] == "rainsyncomplex25":  # Both sides lie in one folder.
    assert text.startswith(f"{file} holds no frame gtc-1.jpg or the like")
  else:
    assert text.startswith(f"{file} holds no frame (")


def test_a_frame_of_another_size_is_named(ready, tmp_path):
  def damage(clean, degraded):
    Image.new("RGB", (24, 18)).save(degraded[10])
    return degraded[10]

  file, text = _prepare_damaged(ready, tmp_path, damage)
  assert text.startswith(f"{file} is 24x18 with 8 bits, but ")


def test_a_truncated_frame_is_named(ready, tmp_path):
  def damage(clean, degraded):
    clean[0].write_bytes(clean[0].read_bytes()[:-200])
    return clean[0]

  file, text = _prepare_damaged(ready, tmp_path, damage)
  assert text.startswith(f"{file} is damaged, cut short")


def test_a_folder_without_the_set_is_named(ready, tmp_path):
  name, *_ = ready
  with pytest.raises(FileNotFoundError, match=r"^Found no .* in .*: looked"):
    _module(name).prepare(tmp_path, tmp_path / "tfds")
  with pytest.raises(FileNotFoundError, match=r"^No file or folder .*none"):
    _module(name).prepare(tmp_path / "none", tmp_path / "tfds")


def test_fewer_clips_than_the_set_has_need_partial(ready, tmp_path):
  name, tree, _ = ready
  missing = {
      "nturain": r"^.*t1_Rain_03 holds no frame .*--partial",
      "revide": r"^.*Test/gt/C005 holds no frame .*--partial",
      "rainsynall100": r"^.*train/GT/0002 holds no frame .*--partial",
      "rainsynlight25": r"^.*processed/1 holds no frame .*--partial",
      "rainsyncomplex25": r"^.*train_JPEG/1 holds no frame .*--partial",
  }
  with pytest.raises(FileNotFoundError, match=missing[name]):
    _module(name).prepare(tree, tmp_path)
  if name == "revide":  # What is known of the training clips is their number.
    shutil.copytree(tree, tmp_path / "tree")
    shutil.rmtree(tmp_path / "tree" / "REVIDE_indoor" / "Test")
    with pytest.raises(ValueError, match=r"2 .*train of REVIDE, .* has 42\."):
      _module(name).prepare(tmp_path / "tree", tmp_path)


def _write_clips(root, patterns, names, suffix):
  """Clips of one frame; what is in it does not matter here."""
  for pattern in patterns:
    for name in names:
      file = root / pattern.format(name) / f"1{suffix}"
      file.parent.mkdir(parents=True, exist_ok=True)
      file.write_bytes(b"")


def _found(monkeypatch, module, path):
  """The sequences that a set's `prepare` would have written."""
  kept = {}
  monkeypatch.setattr(
      prepared, "prepare", lambda dataset, found, *_, **__: kept.update(found)
  )
  module.prepare(path)
  return {split: [s.name for s in found] for split, found in kept.items()}


def test_both_releases_of_rainsyncomplex25_are_whole(tmp_path, monkeypatch):
  old, new = tmp_path / "old", tmp_path / "new"
  for folder, names in (
      ("train", set(range(1, 191))), ("test", set(range(1, 26)))
  ):
    root = old / f"frames_heavy_{folder}_JPEG"
    for name in names:
      (root / str(name)).mkdir(parents=True)
      for kind in ("rf", "rfc", "gt", "gtc"):
        (root / str(name) / f"{kind}-1.jpg").write_bytes(b"")
  found = _found(monkeypatch, rainsyncomplex25, old)
  assert found["train"] == [str(name) for name in range(1, 191)]
  assert found["test"] == [str(name) for name in range(1, 26)]

  lacking = set(range(1, 191)) - {107, 108, 119}
  for folder, names in (("train", lacking), ("test", set(range(1, 34)))):
    _write_clips(
        new / "video_rain_heavy" / folder, ("input/{}", "gt/{}"), names, ".png"
    )
  found = _found(monkeypatch, rainsyncomplex25, new)
  assert found["train"] == [str(name) for name in sorted(lacking)]
  assert found["test"] == [str(name) for name in range(1, 34)]
  shutil.rmtree(new / "video_rain_heavy" / "test" / "input" / "33")
  with pytest.raises(FileNotFoundError, match=r"test/input/33 holds no frame"):
    rainsyncomplex25.prepare(new)


def test_rainsynlight25_has_nine_frames_a_clip(tmp_path):
  for folder, names in (("train", range(1, 191)), ("test", range(1, 28))):
    _write_clips(
        tmp_path / folder, ("input/{}", "processed/{}"), names, ".png"
    )
  with pytest.raises(ValueError, match=r"1 holds 1 frames, but .* has 9\."):
    rainsynlight25.prepare(tmp_path, tmp_path / "tfds")


def test_rainsynall100_leaves_the_test_clips_out_of_training(
    tmp_path, monkeypatch
):
  everything = [f"{number:04d}" for number in range(1, 1000)]
  root = tmp_path / "Video_rain_synthesis_train"
  _write_clips(root, ("GT/{}", "Rain_Haze/{}"), everything, ".jpg")
  for path in (tmp_path, root):
    found = _found(monkeypatch, rainsynall100, path)
    assert found == {"train": everything[:899]}
  # As the authors' own loader has it.
  (tmp_path / "data").mkdir()
  root.rename(tmp_path / "data" / "test")
  found = _found(monkeypatch, rainsynall100, tmp_path / "data")
  assert found == {"test": everything[899:]}


def test_ntu_rain_has_25_and_8_pairs_in_either_layout(tmp_path, monkeypatch):
  module = _module("nturain")
  train = [f"t{scene}" for scene in range(1, 9)]
  test = [f"{group}{scene}" for group in "ab" for scene in range(1, 5)]
  rains = [f"{s}_Rain_{rain:02d}" for s in train for rain in (1, 2, 3)]
  rains.insert(rains.index("t7_Rain_03") + 1, "t7_Rain_04")
  names = [
      *rains, *(f"{s}_GT" for s in train + test), *(f"{s}_Rain" for s in test)
  ]
  _write_clips(tmp_path, ("{}",), names, ".jpg")
  found = _found(monkeypatch, module, tmp_path)
  assert found == {"train": rains, "test": [f"{s}_Rain" for s in test]}
  assert [len(found[split]) for split in ("train", "test")] == [25, 8]

  clone = tmp_path / "clone" / "Dataset_Testing_Synthetic"
  clone.mkdir(parents=True)
  for name in test:
    for kind in ("GT", "Rain"):
      (tmp_path / f"{name}_{kind}").rename(clone / f"{name}_{kind}")
  assert _found(monkeypatch, module, clone.parent) == {"test": found["test"]}


def test_a_frame_that_is_there_twice_is_named(tmp_path):
  for name in ("1.png", "2.png", "02.png", "mask.png"):
    (tmp_path / name).write_bytes(b"")
  with pytest.raises(ValueError, match=r"holds frame 2 twice: 02?\.png and 0?"):
    prepared.pairs([("clip", tmp_path, tmp_path)], (".png",), first=1)
