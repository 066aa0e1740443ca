"""CRVD, on a small look-alike of its unpacked archives."""

import collections
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax import cli, data
from vidrestore_jax.data import pipeline, raw
from vidrestore_jax.data.builders import crvd

_HEIGHT, _WIDTH = 20, 24
_PRESENT = {"train": ((1, 1600), (6, 25600)), "test": ((11, 3200),)}


def _noisy(scene, iso, frame, take):
  return f"scene{scene}/ISO{iso}/frame{frame}_noisy{take}.tiff"


def _clean(scene, iso, frame):
  return (
      f"scene{scene}/ISO{iso}/frame{frame}_clean_and_slightly_denoised.tiff"
  )


def _write(file, rng):
  """A mosaic, also of values below black, as real noise has."""
  file.parent.mkdir(parents=True, exist_ok=True)
  values = rng.integers(200, 4096, (_HEIGHT, _WIDTH)).astype(np.uint16)
  Image.fromarray(values).save(file)


def _write_tree(root):
  rng = np.random.default_rng(0)
  for scene, iso in (*_PRESENT["train"], *_PRESENT["test"]):
    for frame in range(1, 8):
      _write(root / "indoor_raw_gt" / _clean(scene, iso, frame), rng)
      for take in range(10):
        file = _noisy(scene, iso, frame, take)
        _write(root / "indoor_raw_noisy" / file, rng)
      # The average without denoising, which is not the truth.
      average = f"scene{scene}/ISO{iso}/frame{frame}_clean.tiff"
      _write(root / "indoor_raw_noisy" / average, rng)
  return root


def _read(file):
  """Values above black, by another way than the one under test."""
  values = np.asarray(Image.open(file)).astype(int) - 240
  return np.where(values < 0, 0, values).astype(np.uint16)[..., None]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
  return _write_tree(tmp_path_factory.mktemp("official") / "CRVD_dataset")


@pytest.fixture(scope="module")
def data_dir(tree, tmp_path_factory):
  folder = tmp_path_factory.mktemp("tfds")
  command = ["data", "prepare", "crvd", f"--from={tree}", "--partial"]
  assert cli.main([*command, f"--data-dir={folder}"]) == 0
  return folder


def test_the_test_split_is_take_0_less_the_black_level(tree, data_dir):
  source = data.build("crvd", data_dir=data_dir, split="test", length=None)
  assert len(source) == 1
  item = source[0]
  assert item["name"] == "scene11_ISO3200"
  assert (item["max_value"], item["bayer"]) == (3855, "GBRG")
  assert item["clean"].dtype == item["degraded"].dtype == np.uint16
  assert item["clean"].shape == (7, _HEIGHT, _WIDTH, 1)
  for t in range(7):
    clean = tree / "indoor_raw_gt" / _clean(11, 3200, t + 1)
    noisy = tree / "indoor_raw_noisy" / _noisy(11, 3200, t + 1, 0)
    np.testing.assert_array_equal(item["clean"][t], _read(clean))
    np.testing.assert_array_equal(item["degraded"][t], _read(noisy))
  assert item["degraded"].min() == 0  # Of values from 200 to 240.


def test_training_draws_a_take_for_each_frame_and_index(tree, data_dir):
  source = crvd.build(data_dir=data_dir, length=5, seed=7, draws=40)
  windows = 2 * 3
  assert len(source) == 40 * windows
  takes = collections.Counter()
  rows = []
  for index in range(1, 40 * windows, windows):
    item = source[index]  # Always frames 2 to 6 of the first sequence.
    assert item["name"] == "scene1_ISO1600/00001"
    row = []
    for t in range(5):
      clean = tree / "indoor_raw_gt" / _clean(1, 1600, t + 2)
      np.testing.assert_array_equal(item["clean"][t], _read(clean))
      equal = [
          take for take in range(10)
          if np.array_equal(item["degraded"][t], _read(
              tree / "indoor_raw_noisy" / _noisy(1, 1600, t + 2, take)
          ))
      ]
      assert len(equal) == 1
      row.extend(equal)
    rows.append(tuple(row))
    takes.update(row)
  assert set(takes) == set(range(10))
  assert len(set(rows)) == len(rows)  # No draw is that of another index.
  again = crvd.build(data_dir=data_dir, length=5, seed=7, draws=40)
  other = crvd.build(data_dir=data_dir, length=5, seed=8, draws=40)
  np.testing.assert_array_equal(again[8]["degraded"], source[8]["degraded"])
  assert (other[8]["degraded"] != source[8]["degraded"]).any()
  with pytest.raises(IndexError):
    source[40 * windows]


def test_training_patches_are_packed_at_even_places(data_dir):
  source = crvd.build(data_dir=data_dir, length=5, draws=2)
  batch = next(pipeline.train_iterator(
      source, batch_size=2, clip_length=5, patch_size=6, seed=0, augment=False
  ))
  assert batch["clean"].shape == batch["degraded"].shape == (2, 5, 6, 6, 4)
  np.testing.assert_array_equal(batch["max_value"], [3855, 3855])
  for b, index in enumerate(batch["index"]):
    item = source[int(index)]
    clean, noisy = raw.pack(item["clean"]), raw.pack(item["degraded"])
    places = [
        (top, left)
        for top in range(_HEIGHT // 2 - 5) for left in range(_WIDTH // 2 - 5)
        if np.array_equal(
            clean[:, top : top + 6, left : left + 6], batch["clean"][b]
        )
        and np.array_equal(
            noisy[:, top : top + 6, left : left + 6], batch["degraded"][b]
        )
    ]
    assert len(places) == 1


@pytest.mark.parametrize("layout", ["scene archives", "one folder"])
def test_the_other_layouts_give_the_same(layout, tree, data_dir, tmp_path):
  for side in ("indoor_raw_gt", "indoor_raw_noisy"):
    for scene in (tree / side).iterdir():
      target = tmp_path / "t" / "CRVD_data" / scene.name
      if layout == "scene archives":
        target = tmp_path / "t" / side / f"{side}_{scene.name}" / scene.name
      shutil.copytree(scene, target, dirs_exist_ok=True)
  counts = crvd.prepare(tmp_path / "t", tmp_path / "tfds", partial=True)
  assert counts == {"train": 2, "test": 1}
  for split in counts:
    ours = crvd.build(data_dir=tmp_path / "tfds", split=split, length=None)
    theirs = crvd.build(data_dir=data_dir, split=split, length=None)
    assert ours.names == theirs.names
    for index in range(len(ours)):
      for key in ("clean", "degraded"):
        np.testing.assert_array_equal(ours[index][key], theirs[index][key])


def _refused(tree, tmp_path, damage, *, partial=True):
  """The error of preparing a copy of the tree that `damage` has changed."""
  copy = tmp_path / "CRVD_dataset"
  shutil.copytree(tree, copy)
  damage(copy)
  with pytest.raises((FileNotFoundError, ValueError)) as info:
    crvd.prepare(copy, tmp_path / "tfds", partial=partial)
  with pytest.raises(FileNotFoundError, match="CRVD is not prepared"):
    crvd.build(data_dir=tmp_path / "tfds")
  assert "\n" not in str(info.value)
  return copy, str(info.value)


def test_a_missing_take_or_truth_is_named(tree, tmp_path):
  take = f"indoor_raw_noisy/{_noisy(6, 25600, 3, 9)}"
  truth = f"indoor_raw_gt/{_clean(1, 1600, 7)}"
  for number, file in enumerate((take, truth)):
    copy, text = _refused(
        tree, tmp_path / str(number), lambda copy, file=file: (
            copy / file
        ).unlink()
    )
    assert text.startswith(f"There is no {copy / file}.")


def test_a_scene_without_its_noisy_side_is_named(tree, tmp_path):
  copy, text = _refused(
      tree, tmp_path,
      lambda copy: shutil.rmtree(copy / "indoor_raw_noisy" / "scene11"),
  )
  assert text.startswith(f"{copy} lacks indoor_raw_noisy/scene11/ISO3200, whi")


def test_a_truncated_mosaic_is_named(tree, tmp_path):
  file = f"indoor_raw_noisy/{_noisy(1, 1600, 2, 4)}"

  def damage(copy):
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[:-10])

  copy, text = _refused(tree, tmp_path, damage)
  assert text.startswith(f"{copy / file} is no TIFF or PNG, or damaged")


@pytest.mark.parametrize("pixels, cause", [
    (np.zeros((_HEIGHT, _WIDTH), np.uint8), r"uint8 .*greyscale of 16 bits"),
    (np.full((_HEIGHT, _WIDTH), 65535, np.uint16), r"65535, .*level is 4095"),
    (np.zeros((_HEIGHT, 2 * _WIDTH), np.uint16), r"is 48x20 with 16 bits"),
])
def test_a_mosaic_of_another_kind_is_named(pixels, cause, tree, tmp_path):
  file = f"indoor_raw_gt/{_clean(6, 25600, 5)}"
  copy, text = _refused(
      tree, tmp_path, lambda copy: Image.fromarray(pixels).save(copy / file)
  )
  assert text.startswith(str(copy / file))
  assert re.search(cause, text)


def test_the_whole_set_is_asked_for_unless_partial(tree, tmp_path):
  copy, text = _refused(tree, tmp_path, lambda copy: None, partial=False)
  assert text.startswith(
      f"{copy} lacks indoor_raw_gt/scene1/ISO3200 of train of CRVD (28 of 30"
  )
  with pytest.raises(FileNotFoundError, match=r"Found no CRVD in .*: looked"):
    crvd.prepare(copy / "indoor_raw_gt" / "scene1", tmp_path / "tfds")
