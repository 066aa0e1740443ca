"""What all prepared sets share, on a toy set of a few tiny frames."""

import io
import itertools
import json
import pickle
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from vidrestore_jax.data import folders, prepared
from vidrestore_jax.data.prepared import dataset, reading
from vidrestore_jax.inference import frames_io


class Toy(prepared.Dataset):
  TITLE = "Toy"
  HOMEPAGE = "https://toy.example"
  SPLITS = {
      "train": prepared.Split(archive="toy set.zip"),
      "test": prepared.Split(sequences=2, frames=4, size=(6, 4), takes=3),
  }
  JOINED = {"both": ("train", "test")}
  SUBSETS = {"last": ("train", lambda names: names[-1:])}


def _write(folder, frames, seed=0, dtype=np.uint8, shape=(4, 6, 3)):
  """A folder of noise as PNG; returns its pixels."""
  folder.mkdir(parents=True)
  rng = np.random.default_rng(seed)
  clip = rng.integers(0, np.iinfo(dtype).max, (frames, *shape), dtype, True)
  for t, frame in enumerate(clip):
    frames_io.write_png(folder / f"{t:03d}.png", frame)
  return clip


@pytest.fixture
def clips(tmp_path):
  """Name -> pixels of two sequences below tmp_path/files."""
  return {
      name: _write(tmp_path / "files" / name, frames, seed)
      for seed, (name, frames) in enumerate({"b": 5, "a": 3}.items())
  }


def _found(tmp_path, names="ba"):
  return [
      prepared.Sequence(name, prepared.frames(tmp_path / "files" / name))
      for name in names
  ]


def _prepare(tmp_path, found=None, **kwargs):
  found = found or {"train": _found(tmp_path)}
  return prepared.prepare(Toy, found, tmp_path / "tfds", **kwargs)


def _build(tmp_path, split="train", length=3, **kwargs):
  return prepared.build(
      Toy, data_dir=tmp_path / "tfds", split=split, length=length, **kwargs
  )


def _paired(tmp_path, takes=3):
  """The test split: two sequences of 4 frames, value 100 k + 10 s + t."""
  sequences = []
  for s, name in enumerate("pq"):
    sides = []
    for k in range(1 + takes):
      folder = tmp_path / name / str(k)
      folder.mkdir(parents=True)
      for t in range(4):
        frame = np.full((4, 6, 3), 50 * k + 10 * s + t, np.uint8)
        frames_io.write_png(folder / f"{t}.png", frame)
      sides.append(prepared.frames(folder))
    sequences.append(prepared.Sequence(name, sides[0], sides[1:]))
  return {"test": sequences}


# Reading


def test_windows_are_exact_across_shards(tmp_path, clips, monkeypatch):
  size = len((tmp_path / "files" / "b" / "000.png").read_bytes())
  monkeypatch.setattr(dataset, "_SHARD_BYTES", 3 * size)
  assert _prepare(tmp_path) == {"train": 2}
  assert len(list((tmp_path / "tfds").rglob("*array_record*"))) == 3
  source = _build(tmp_path)
  assert len(source) == 3 + 1
  for index, (name, start) in enumerate(
      [("b", 0), ("b", 1), ("b", 2), ("a", 0)]
  ):
    item = source[index]
    np.testing.assert_array_equal(
        item["clean"], clips[name][start : start + 3]
    )
    assert (item["name"], item["max_value"]) == (f"{name}/{start:05d}", 255)
    assert "degraded" not in item
  whole = _build(tmp_path, length=None)
  assert [item["name"] for item in map(whole.__getitem__, (0, 1))] == ["b", "a"]
  np.testing.assert_array_equal(whole[0]["clean"], clips["b"])
  assert source.layouts == {"6x4, 8 bit": 8}
  for index in (-5, 4):
    with pytest.raises(IndexError):
      source[index]


def test_a_clip_costs_its_own_frames_alone(tmp_path, clips, monkeypatch):
  _prepare(tmp_path)
  read = []
  real = reading._Records.__getitem__
  monkeypatch.setattr(
      reading._Records, "__getitem__",
      lambda self, record: (read.append(record), real(self, record))[1],
  )
  source = _build(tmp_path, length=2)
  assert read == []  # Opening reads the index.
  source[2]
  assert read == [2, 3]
  source[5]  # The second of `a`, whose frames follow the five of `b`.
  assert read == [2, 3, 6, 7]


def test_subsets_names_and_joined_splits_choose_sequences(tmp_path, clips):
  _prepare(tmp_path)
  _prepare(tmp_path, _paired(tmp_path))
  assert _build(tmp_path, split="last").names == ["a"]
  source = _build(tmp_path, names=["a"])
  np.testing.assert_array_equal(source[0]["clean"], clips["a"])
  assert _build(tmp_path, split="both").names == ["b", "a", "p", "q"]
  with pytest.raises(ValueError, match=r"no sequence c \(1 of 2 names"):
    _build(tmp_path, names=["a", "c"])
  with pytest.raises(ValueError, match=r"no split 'val'; .*'both', 'last'"):
    _build(tmp_path, split="val")
  with pytest.raises(ValueError, match="Sequence a of Toy has 3 frames"):
    _build(tmp_path, length=4)
  for wrong in ("length", "stride", "draws"):
    with pytest.raises(ValueError, match=f"{wrong} needs to be at least 1"):
      _build(tmp_path, **{wrong: 0})


def test_takes_are_drawn_per_frame_from_seed_and_index(tmp_path):
  _prepare(tmp_path, _paired(tmp_path))
  first = _build(tmp_path, "test", 4)
  assert [int(v) for v in first[1]["degraded"][:, 0, 0, 0]] == [60, 61, 62, 63]
  assert [int(v) for v in first[1]["clean"][:, 0, 0, 0]] == [10, 11, 12, 13]
  drawn = [_build(tmp_path, "test", 4, seed=s) for s in range(40)]
  takes = np.stack([
      [source[i]["degraded"][:, 0, 0, 0] // 50 - 1 for i in range(2)]
      for source in drawn
  ])  # [seed, clip, frame]
  assert np.bincount(takes.ravel(), minlength=3).min() > 60  # Of 320: 107 each.
  assert (takes[:, 0] != takes[:, 1]).any()
  assert (takes[:, :, :1] != takes[:, :, 1:]).any()  # Not one take a clip.
  chosen = np.random.default_rng([7, 1]).integers(3, size=4)
  np.testing.assert_array_equal(takes[7, 1], chosen)
  more = _build(tmp_path, "test", 4, seed=7, draws=3)
  assert len(more) == 6 and more[4]["name"] == more[0]["name"] == "p/00000"
  chosen = np.random.default_rng([7, 4]).integers(3, size=4)
  np.testing.assert_array_equal(
      more[4]["degraded"][:, 0, 0, 0] // 50 - 1, chosen
  )
  copy = pickle.loads(pickle.dumps(drawn[7]))
  np.testing.assert_array_equal(copy[1]["degraded"], drawn[7][1]["degraded"])


def test_a_patch_is_the_patch_of_the_whole(tmp_path, clips):
  _prepare(tmp_path, _paired(tmp_path))
  _prepare(tmp_path)
  for source in (_build(tmp_path, "test", 3, seed=5), _build(tmp_path)):
    for index in range(len(source)):
      lazy, whole = source.open(index), source[index]
      assert lazy.keys() == whole.keys()
      for key in ("clean", "degraded"):
        if key in whole:
          assert lazy[key].shape == whole[key].shape
          assert lazy[key].dtype == whole[key].dtype
          np.testing.assert_array_equal(np.asarray(lazy[key]), whole[key])
          np.testing.assert_array_equal(
              lazy[key][1:3][:, 1:3, 2:6], whole[key][1:3, 1:3, 2:6]
          )
      assert (lazy["name"], lazy["max_value"]) == (whole["name"], 255)


class Tiff(prepared.Dataset):
  """16-bit mosaics, which come as TIFF."""

  TITLE = "Tiff"
  SPLITS = {"train": prepared.Split()}

  @staticmethod
  def encode(content, name):
    with Image.open(io.BytesIO(content), formats=["TIFF"]) as image:
      return frames_io.encode_png(np.asarray(image)[..., None])


def _above_black(encoded, name):
  mosaic = folders.decode_native(encoded, name)
  return np.maximum(mosaic, 240) - 240


def test_sixteen_bit_mosaics_are_recoded_without_loss(tmp_path):
  mosaics = np.random.default_rng(0).integers(0, 4096, (2, 4, 6), np.uint16)
  for t, mosaic in enumerate(mosaics):
    Image.fromarray(mosaic).save(tmp_path / f"frame{t}.tiff")
  files = prepared.frames(tmp_path, (".tiff",))
  found = {"train": [prepared.Sequence("s", files)]}
  prepared.prepare(Tiff, found, tmp_path / "tfds")
  source = prepared.build(
      Tiff, data_dir=tmp_path / "tfds", split="train", length=2,
      decode=_above_black, max_value=3855, extra={"bayer": "GBRG"},
  )
  item = source[0]
  assert item["clean"].dtype == np.uint16
  np.testing.assert_array_equal(
      item["clean"][..., 0], np.maximum(mosaics, 240) - 240
  )
  assert (item["max_value"], item["bayer"]) == (3855, "GBRG")
  assert source.layouts == {"6x4, 16 bit": 2}
  # What is compared is the TIFF's size, not that of what was stored.
  assert prepared.prepare(Tiff, found, tmp_path / "tfds") == {"train": 1}
  files[1].write_bytes(files[1].read_bytes() + b"\0")
  with pytest.raises(ValueError, match="sequence s of train had .* bytes in"):
    prepared.prepare(Tiff, found, tmp_path / "tfds")
  with pytest.raises(ValueError, match="is not a PNG or JPEG"):
    prepared.prepare(Toy, found, tmp_path / "other")


# Records that turn out damaged


def _shards(tmp_path):
  return sorted((tmp_path / "tfds").rglob("*array_record*"))


def test_damaged_records_are_named_and_the_others_still_read(
    tmp_path, clips, monkeypatch
):
  monkeypatch.setattr(dataset, "_SHARD_BYTES", 1)  # A shard per frame.
  _prepare(tmp_path)
  shards = _shards(tmp_path)
  whole = shards[1].read_bytes()
  home = str(shards[1].parent)
  flipped = whole[:100] + bytes(b ^ 255 for b in whole[100:108]) + whole[108:]
  for damaged in (flipped, whole[:80], b"", shards[6].read_bytes()):
    shards[1].write_bytes(damaged)
    source = _build(tmp_path)
    for index in (0, 1):
      with pytest.raises(folders.CorruptRecord) as info:
        source[index]
      message = str(info.value)
      assert "Frame 1 of sequence b in train of Toy is damaged" in message
      assert home in message and "\n" not in message
      with pytest.raises(folders.CorruptRecord, match="Frame 1 of sequence b"):
        np.asarray(source.open(index)["clean"])
    np.testing.assert_array_equal(source[2]["clean"], clips["b"][2:])
    np.testing.assert_array_equal(source[3]["clean"], clips["a"])
  shards[1].unlink()
  with pytest.raises(FileNotFoundError, match=r"00001-of-00008 is missing"):
    _build(tmp_path)


def test_a_frame_that_no_longer_decodes_names_its_take(tmp_path):
  _prepare(tmp_path, _paired(tmp_path))

  def decode(encoded, name):
    pixels = folders.decode(encoded, name)
    if pixels[0, 0, 0] == 50 * 2 + 10 + 3:
      raise folders.CorruptRecord("no")
    return pixels

  # A seed that draws take 1 for the last frame of clip 1.
  seed = next(
      s for s in itertools.count()
      if np.random.default_rng([s, 1]).integers(3, size=4)[3] == 1
  )
  source = _build(tmp_path, "test", 4, decode=decode, seed=seed)
  with pytest.raises(
      folders.CorruptRecord,
      match=r"Frame 3 \(degraded, take 1\) of sequence q in test of Toy",
  ):
    source[1]


# Refusing files


def _png(shape, dtype=np.uint8):
  return frames_io.encode_png(np.zeros(shape, dtype))


@pytest.mark.parametrize("content, message", [
    (_png((4, 7, 3)), r"b/003.png is 7x4 with 8 bits, but 000.png .* 6x4"),
    (_png((4, 6, 3), np.uint16), r"b/003.png is 6x4 with 16 bits, but 000.png"),
    (_png((4, 6, 3))[:-30], r"b/003.png is damaged, cut short"),
    (_png((4, 6, 3))[:50] + b"!" + _png((4, 6, 3))[51:], r"b/003.png is dam"),
    (b"", r"b/003.png is not a PNG or JPEG image"),
    (_png((4, 6, 4)), r"b/003.png has transparent pixels"),
])
def test_a_bad_frame_is_named_and_nothing_is_left(
    tmp_path, clips, content, message
):
  (tmp_path / "files" / "b" / "003.png").write_bytes(content)
  with pytest.raises(ValueError, match=message) as info:
    _prepare(tmp_path)
  assert "\n" not in str(info.value)
  assert [p for p in (tmp_path / "tfds").rglob("*") if p.is_file()] == []
  with pytest.raises(FileNotFoundError, match="Toy is not prepared: looked in"):
    _build(tmp_path)
  (tmp_path / "files" / "b" / "003.png").write_bytes(_png((4, 6, 3)))
  assert _prepare(tmp_path) == {"train": 2}  # And it can be tried again.


def test_cmyk_is_refused_when_it_is_prepared(tmp_path, clips):
  frame = tmp_path / "files" / "a" / "000.jpg"
  Image.new("CMYK", (6, 4)).save(frame)
  with pytest.raises(ValueError, match=r"000.jpg has Pillow mode CMYK"):
    _prepare(tmp_path, {"train": [prepared.Sequence("a", [frame])]})


def test_numbers_other_than_the_official_ones_need_partial(tmp_path):
  full = _paired(tmp_path)
  p, q = full["test"]
  few = {"test": [p]}
  short = prepared.Sequence("q", q.clean[:3], [take[:3] for take in q.takes])
  for found, message in (
      (few, r"Found 1 sequences of test of Toy, which has 2\. .*--partial"),
      ({"test": [p, short]}, r"q/0 holds 3 frames, but sequence q .* has 4\."),
      (
          {"test": [p, prepared.Sequence("q", q.clean, q.takes[:2])]},
          r"q of test of Toy has 2 degraded takes .* officially 3",
      ),
  ):
    with pytest.raises(ValueError, match=message):
      _prepare(tmp_path, found)
    assert not (tmp_path / "tfds").exists()
  for frame in (q.clean[0], *(take[0] for take in q.takes)):
    frame.write_bytes(_png((5, 6, 3)))
  for frames in zip(q.clean[1:], *(take[1:] for take in q.takes)):
    for frame in frames:
      frame.write_bytes(_png((5, 6, 3)))
  with pytest.raises(ValueError, match=r"q/0/0.png is 6x5, .* are 6x4.*--part"):
    _prepare(tmp_path, full)
  assert _prepare(tmp_path, {"test": [p, short]}, partial=True) == {"test": 2}
  source = _build(tmp_path, "test")
  assert source.partial
  assert source.layouts == {"6x4, 8 bit": 16, "6x5, 8 bit": 12}


def test_pairs_need_the_same_number_and_names_are_unique(tmp_path):
  p, q = _paired(tmp_path)["test"]
  uneven = prepared.Sequence("q", q.clean, [*q.takes[:2], q.takes[2][:3]])
  with pytest.raises(ValueError, match=r"q/3 holds 3 degraded .*/q/0 4 clean"):
    _prepare(tmp_path, {"test": [p, uneven]}, partial=True)
  with pytest.raises(ValueError, match=r"has 2 sequences called p\."):
    _prepare(tmp_path, {"test": [p, p]})
  with pytest.raises(FileNotFoundError, match="Found no sequence of test"):
    _prepare(tmp_path, {"test": []})


def test_what_was_prepared_is_kept_and_other_files_are_refused(tmp_path, clips):
  _prepare(tmp_path)
  before = {p: p.stat().st_mtime_ns for p in _shards(tmp_path)}
  assert _prepare(tmp_path) == {"train": 2}
  assert {p: p.stat().st_mtime_ns for p in _shards(tmp_path)} == before
  for names, first in (("a", "a"), ("b", "a"), ("ab", "a")):
    with pytest.raises(
        ValueError,
        match=rf"prepared before .*: 2 sequences in train, while {len(names)}"
        rf" were found now; the first that differs is {first}\. Remove",
    ):
      _prepare(tmp_path, {"train": _found(tmp_path, names)})


def _refused(tmp_path, found, change):
  (split,) = found
  with pytest.raises(ValueError) as info:
    _prepare(tmp_path, found, partial=True)
  folder = tmp_path / "tfds" / "toy" / split / "1.0.0"
  assert str(info.value) == (
      f"{folder} was prepared before from other files: {change}. Remove it to"
      " prepare Toy anew."
  )


def test_a_changed_file_is_refused_until_the_old_set_is_removed(
    tmp_path, clips
):
  _prepare(tmp_path)
  frame = tmp_path / "files" / "a" / "001.png"
  before = sum(f.stat().st_size for f in frame.parent.iterdir())
  grown = len(_png((4, 6, 3))) - frame.stat().st_size
  assert grown != 0
  frame.write_bytes(_png((4, 6, 3)))
  _refused(
      tmp_path, {"train": _found(tmp_path)},
      f"sequence a of train had {before} bytes in its files, while"
      f" {before + grown} were found now",
  )
  np.testing.assert_array_equal(_build(tmp_path)[3]["clean"], clips["a"])
  shutil.rmtree(tmp_path / "tfds" / "toy" / "train" / "1.0.0")
  assert _prepare(tmp_path) == {"train": 2}
  assert (_build(tmp_path)[3]["clean"][1] == 0).all()


def test_other_numbers_of_frames_or_takes_name_the_first_sequence(tmp_path):
  p, q = _paired(tmp_path)["test"]
  _prepare(tmp_path, {"test": [p, q]})
  short = prepared.Sequence("q", q.clean[:3], [take[:3] for take in q.takes])
  _refused(
      tmp_path, {"test": [p, short]},
      "sequence q of test had 4 frames, while 3 were found now",
  )
  few = prepared.Sequence("p", p.clean, p.takes[:2])
  _refused(
      tmp_path, {"test": [few, short]},
      "sequence p of test had 3 degraded takes, while 2 were found now",
  )
  p.takes[2][3].write_bytes(_png((4, 6, 3)) + b"more")
  with pytest.raises(ValueError, match="sequence p of test had .* bytes in"):
    _prepare(tmp_path, {"test": [p, q]})


def test_a_set_that_was_written_without_sizes_is_read_and_kept(tmp_path, clips):
  _prepare(tmp_path)
  (file,) = (tmp_path / "tfds").rglob("metadata.json")
  metadata = json.loads(file.read_text())
  sizes = metadata["index"]["train"].pop("bytes")
  assert sizes == [
      sum(f.stat().st_size for f in (tmp_path / "files" / name).iterdir())
      for name in "ba"
  ]
  file.write_text(json.dumps(metadata))
  assert _prepare(tmp_path) == {"train": 2}
  np.testing.assert_array_equal(_build(tmp_path)[3]["clean"], clips["a"])
  _refused(
      tmp_path,
      {"train": [
          prepared.Sequence(s.name, s.clean[:3]) for s in _found(tmp_path)
      ]},
      "sequence b of train had 5 frames, while 3 were found now",
  )


def test_preparing_prints_nothing_and_leaves_the_set_alone(
    tmp_path, clips, capsys
):
  _prepare(tmp_path)
  assert capsys.readouterr().out == ""
  home = tmp_path / "tfds" / "toy" / "train" / "1.0.0"
  assert [p for p in (tmp_path / "tfds").rglob("*") if p.is_dir()] == [
      tmp_path / "tfds" / "toy", home.parent, home,
  ]


# Finding files


def test_archives_are_read_like_folders(tmp_path, clips):
  archive = tmp_path / "toy.zip"
  with zipfile.ZipFile(archive, "w") as file:
    for frame in sorted((tmp_path / "files").rglob("*.png")):
      file.write(frame, frame.relative_to(tmp_path))
    file.writestr("files/b/._000.png", b"")
    file.writestr("__MACOSX/x", b"")
  for given in (archive, tmp_path / "elsewhere"):
    if given != archive:
      given.mkdir()
      archive.rename(given / "toy.zip")
    (tree,) = prepared.find_trees(
        given, "a", archives=["toy.zip"], inner=("", "files")
    )
    assert [f.name for f in prepared.subfolders(tree)] == ["a", "b"]
    found = {
        "train": [
            prepared.Sequence(f.name, prepared.frames(f))
            for f in prepared.subfolders(tree)
        ]
    }
    out = given.with_name(f"tfds-{given.name}")
    prepared.prepare(Toy, found, out)
    source = prepared.build(Toy, data_dir=out, split="train", length=None)
    for item, name in zip((source[0], source[1]), "ab"):
      np.testing.assert_array_equal(item["clean"], clips[name])
    unpacked = {"train": _found(tmp_path, "ab")}
    assert prepared.prepare(Toy, unpacked, out) == {"train": 2}  # The same.


def test_a_damaged_member_of_an_archive_is_named(tmp_path, clips):
  archive = tmp_path / "toy.zip"
  with zipfile.ZipFile(archive, "w") as file:
    file.write(tmp_path / "files" / "a" / "000.png", "a/000.png")
  content = bytearray(archive.read_bytes())
  content[60] ^= 255
  archive.write_bytes(content)
  (tree,) = prepared.find_trees(archive, "a")
  found = {"train": [prepared.Sequence("a", prepared.frames(tree / "a"))]}
  with pytest.raises(ValueError, match=r"zip/a/000.png is damaged \(Bad CRC"):
    _prepare(tmp_path, found)


def test_numbered_pairs_find_gaps_and_lonely_frames(tmp_path):
  folder = tmp_path / "c"
  _write(folder, 0)
  for n in range(1, 12):  # 10 follows 9, though "10" sorts before it.
    for k, prefix in enumerate(("gt-", "rain-")):
      frames_io.write_png(
          folder / f"{prefix}{n}.png", np.full((4, 6, 3), 100 * k + n, np.uint8)
      )
  wanted = [("c", folder, folder), ("gone", tmp_path / "x", tmp_path / "x")]

  def pairs(optional=()):
    return prepared.pairs(
        wanted, (".png",), first=1, optional=optional,
        prefixes=("gt-", "rain-"),
    )

  (sequence,) = pairs(["gone"])
  for files, prefix in ((sequence.clean, "gt"), (sequence.takes[0], "rain")):
    names = [f"{prefix}-{n}.png" for n in range(1, 12)]
    assert [file.name for file in files] == names
  with pytest.raises(FileNotFoundError, match=r"/x holds no frame \(.png\)"):
    pairs()
  frames_io.write_png(folder / "rain-04.png", np.zeros((4, 6, 3), np.uint8))
  with pytest.raises(ValueError, match=r"holds frame 4 twice: rain-"):
    pairs(["gone"])
  for name in ("rain-04.png", "rain-4.png"):
    (folder / name).unlink()
  with pytest.raises(ValueError, match=r"gt-4.png has no partner"):
    pairs(["gone"])
  (folder / "gt-4.png").unlink()
  with pytest.raises(FileNotFoundError, match=r"/c lacks frame 4 \(it has 1"):
    pairs(["gone"])


def test_the_way_out_of_an_unprepared_set_is_a_command(tmp_path):
  with pytest.raises(FileNotFoundError) as info:
    _build(tmp_path)
  assert str(info.value).endswith(
      f"looked in {tmp_path / 'tfds' / 'toy' / 'train' / '1.0.0'}. Download toy"
      " set.zip from https://toy.example and type: vidrestore data prepare"
      f" test_prepared --from='toy set.zip' --data-dir={tmp_path / 'tfds'}"
  )
