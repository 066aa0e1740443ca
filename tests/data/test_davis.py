"""DAVIS 2017, on a small look-alike of the official tree and archives."""

import io
import pickle
import shutil
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax import data
from vidrestore_jax.data.builders import davis

_SEQUENCES = {
    "train": {"bear": 7, "boat": 6},
    "val": {"camel": 5},
    "test_dev": {"aerobatics": 6},
}


def _write_tree(root, splits):
  """DAVIS/ as it is unpacked; frames are noise, so that all differ."""
  rng = np.random.default_rng(0)
  lists = root / "DAVIS" / "ImageSets" / "2017"
  lists.mkdir(parents=True, exist_ok=True)
  for split in splits:
    file = lists / f"{split.replace('_', '-')}.txt"
    file.write_text("".join(f"{name}\n" for name in _SEQUENCES[split]))
    for name, count in _SEQUENCES[split].items():
      folder = root / "DAVIS" / "JPEGImages" / "480p" / name
      folder.mkdir(parents=True)
      for t in range(count):
        pixels = rng.integers(0, 256, (24, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{t:05d}.jpg", quality=90)
  return root


def _truth(root, name):
  folder = root / "DAVIS" / "JPEGImages" / "480p" / name
  return np.stack([
      np.asarray(Image.open(frame)) for frame in sorted(folder.glob("*.jpg"))
  ])


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
  root = tmp_path_factory.mktemp("official")
  return _write_tree(root, ["train", "val", "test_dev"])


@pytest.fixture(scope="module")
def data_dir(tree, tmp_path_factory):
  folder = tmp_path_factory.mktemp("tfds")
  counts = davis.prepare(tree, folder, partial=True)
  assert counts == {"train": 2, "val": 1, "test_dev": 1}
  return folder


def test_windows_are_bit_exact_in_the_official_order(tree, data_dir):
  source = data.build("davis", data_dir=data_dir, split="train", length=5)
  assert len(source) == 3 + 2
  for index, (name, start) in enumerate(
      [("bear", 0), ("bear", 1), ("bear", 2), ("boat", 0), ("boat", 1)]
  ):
    example = source[index]
    np.testing.assert_array_equal(
        example["clean"], _truth(tree, name)[start : start + 5]
    )
    assert example["name"] == f"{name}/{start:05d}"
    assert example["max_value"] == 255
  with pytest.raises(IndexError):
    source[5]


def test_stride_skips_and_trainval_joins(tree, data_dir):
  source = davis.build(
      data_dir=data_dir, split="trainval", length=5, stride=2
  )
  assert len(source) == 2 + 1 + 1
  np.testing.assert_array_equal(
      source[1]["clean"], _truth(tree, "bear")[2:7]
  )
  np.testing.assert_array_equal(source[3]["clean"], _truth(tree, "camel"))
  test_dev = davis.build(data_dir=data_dir, split="test_dev", length=6)
  np.testing.assert_array_equal(
      test_dev[0]["clean"], _truth(tree, "aerobatics")
  )


def test_encoded_frames_are_stored_unchanged(tree, data_dir):
  source = davis.build(data_dir=data_dir, split="val")
  stored = [source.encoded(0, t) for t in range(5)]
  folder = tree / "DAVIS" / "JPEGImages" / "480p" / "camel"
  assert stored == [
      frame.read_bytes() for frame in sorted(folder.glob("*.jpg"))
  ]


def test_source_survives_the_way_to_a_worker(data_dir):
  source = davis.build(data_dir=data_dir, split="train")
  copy = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(copy[4]["clean"], source[4]["clean"])
  assert copy[4]["name"] == "boat/00001"


def test_archives_give_the_same_as_the_tree(tree, data_dir, tmp_path):
  for archive, splits in zip(
      davis._ARCHIVES, (["train", "val"], ["test_dev"])
  ):
    part = tmp_path / archive.removesuffix(".zip")
    (part / "DAVIS").mkdir(parents=True)
    lists = part / "DAVIS" / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    for split in splits:
      file = f"ImageSets/2017/{split.replace('_', '-')}.txt"
      shutil.copy(tree / "DAVIS" / file, part / "DAVIS" / file)
      for name in _SEQUENCES[split]:
        shutil.copytree(
            tree / "DAVIS" / "JPEGImages" / "480p" / name,
            part / "DAVIS" / "JPEGImages" / "480p" / name,
        )
    shutil.make_archive(
        str(part), "zip", root_dir=part, base_dir="DAVIS"
    )
    shutil.rmtree(part)
  counts = davis.prepare(tmp_path, tmp_path / "tfds", partial=True)
  assert counts == {"train": 2, "val": 1, "test_dev": 1}
  for split in ("train", "test_dev"):
    ours = davis.build(data_dir=tmp_path / "tfds", split=split)
    theirs = davis.build(data_dir=data_dir, split=split)
    assert len(ours) == len(theirs)
    np.testing.assert_array_equal(ours[1]["clean"], theirs[1]["clean"])


def test_one_archive_alone_prepares_its_splits(tmp_path):
  _write_tree(tmp_path / "t", ["test_dev"])
  counts = davis.prepare(
      tmp_path / "t" / "DAVIS", tmp_path / "tfds", partial=True
  )
  assert counts == {"test_dev": 1}
  with pytest.raises(FileNotFoundError, match=r"trainval-480p\.zip"):
    davis.build(data_dir=tmp_path / "tfds", split="train")


def test_unprepared_data_says_where_it_looked_and_what_to_type(tmp_path):
  with pytest.raises(FileNotFoundError) as info:
    data.build("davis", data_dir=tmp_path)
  message = str(info.value)
  assert str(tmp_path / "davis2017" / "trainval_480p") in message
  assert "vidrestore data prepare davis --from=" in message
  assert f"--data-dir={tmp_path}" in message
  assert "\n" not in message


def test_missing_parts_are_named_and_nothing_is_written(tmp_path):
  root, out = tmp_path / "t", tmp_path / "tfds"
  with pytest.raises(FileNotFoundError, match=r"No file or folder .*t\."):
    davis.prepare(root, out)
  root.mkdir()
  with pytest.raises(FileNotFoundError, match=r"Found no DAVIS 2017 in .*t:"):
    davis.prepare(root, out)
  _write_tree(root, ["train", "val"])
  with pytest.raises(ValueError, match=r"2 sequences, .* has 60\..*--partial"):
    davis.prepare(root, out)
  folder = root / "DAVIS" / "JPEGImages" / "480p" / "boat"
  for frame in folder.iterdir():
    frame.unlink()
  with pytest.raises(FileNotFoundError, match=r"train.txt lists .* boat, but"):
    davis.prepare(root, out, partial=True)
  (root / "DAVIS" / "ImageSets" / "2017" / "val.txt").unlink()
  with pytest.raises(FileNotFoundError, match=r"lacks val.txt"):
    davis.prepare(root, out, partial=True)
  assert not out.exists()


@pytest.mark.parametrize("kept, missing, held", [
    ((0, 1, 5), 2, "0 to 5"),
    ((1, 2, 3, 4, 5), 0, "1 to 5"),
])
def test_a_gap_in_a_sequence_is_named_even_with_partial(
    tmp_path, kept, missing, held
):
  _write_tree(tmp_path, ["test_dev"])
  folder = tmp_path / "DAVIS" / "JPEGImages" / "480p" / "aerobatics"
  for t in set(range(6)) - set(kept):
    (folder / f"{t:05d}.jpg").unlink()
  with pytest.raises(FileNotFoundError) as info:
    davis.prepare(tmp_path, tmp_path / "tfds", partial=True)
  assert str(info.value) == (
      "test-dev.txt lists the sequence aerobatics, but"
      f" {folder} lacks frame {missing} (it has {held}). Unpack or download it"
      " again."
  )
  assert not (tmp_path / "tfds").exists()


def test_a_damaged_frame_or_archive_is_named(tmp_path):
  _write_tree(tmp_path, ["train", "val"])
  frame = tmp_path / "DAVIS" / "JPEGImages" / "480p" / "bear" / "00002.jpg"
  frame.write_bytes(frame.read_bytes()[:-200])
  with pytest.raises(ValueError, match=r"00002.jpg is damaged") as info:
    davis.prepare(tmp_path, tmp_path / "tfds", partial=True)
  assert "\n" not in str(info.value)
  header = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
  frame.write_bytes(
      b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
      + struct.pack(">II4s", zlib.crc32(header), 8, b"IDAT") + bytes(12)
  )
  with pytest.raises(ValueError, match=r"00002.jpg declares more than 178,9"):
    davis.prepare(tmp_path, tmp_path / "tfds", partial=True)
  with pytest.raises(FileNotFoundError, match="not prepared"):
    davis.build(data_dir=tmp_path / "tfds")
  content = io.BytesIO()
  with zipfile.ZipFile(content, "w") as archive:
    archive.writestr("DAVIS/ImageSets/2017/train.txt", "bear\n")
  archive = tmp_path / "DAVIS-2017-trainval-480p.zip"
  archive.write_bytes(content.getvalue()[:-30])
  with pytest.raises(ValueError, match=r"480p.zip is not a whole zip"):
    davis.prepare(archive, tmp_path / "tfds")


def test_unknown_splits_and_long_windows_are_named(data_dir):
  with pytest.raises(ValueError, match=r"no split 'test'.*'test_dev'"):
    davis.build(data_dir=data_dir, split="test")
  with pytest.raises(ValueError, match=r"Sequence boat .*has 6 frames"):
    davis.build(data_dir=data_dir, split="train", length=7)
