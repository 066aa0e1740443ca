"""What holds for all sources: indices, and damage found when they are made."""

import pathlib

import numpy as np
import pytest

from vidrestore_jax import data
from vidrestore_jax.data import folders, pipeline
from vidrestore_jax.data.builders import clip_folders
from vidrestore_jax.inference import frames_io

av = pytest.importorskip("av", reason="PyAV (the extra `video`)")

_SIDE = 32
_BATCHES = dict(
    batch_size=2, clip_length=2, patch_size=16, seed=0, augment=False
)


def _write_frames(folder, count=4, seed=0):
  folder.mkdir(parents=True)
  rng = np.random.default_rng(seed)
  for t in range(count):
    frame = rng.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
    frames_io.write_png(folder / f"{t:05d}.png", frame)


def _write_video(path, count=4, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(count)
  with av.open(str(path), "w", options=options) as container:
    stream = container.add_stream("libx264", rate=25)
    stream.height, stream.width, stream.pix_fmt = _SIDE, _SIDE, "yuv420p"
    for _ in range(count):
      frame = rng.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
      frame = av.VideoFrame.from_ndarray(frame, format="rgb24")
      container.mux(stream.encode(frame))
    container.mux(stream.encode())


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
  """A source of each kind, of three or more clips."""
  root = tmp_path_factory.mktemp("sources")
  for name in "ab":
    _write_frames(root / "frames" / name, seed=ord(name))
    _write_video(root / "videos" / f"{name}.mp4")
  clip_folders.prepare(root / "frames", root / "tfds")
  procedural = dict(
      name="procedural", size=3, length=2, height=_SIDE, width=_SIDE
  )
  arguments = [
      procedural,
      dict(name="folders", clean=root / "frames", length=2),
      dict(name="videos", path=root / "videos", length=2),
      dict(name="clip_folders", data_dir=root / "tfds", length=2),
      dict(name="raw", source=procedural),
      dict(
          name="degraded", source=procedural,
          degradation={"name": "compression.jpeg"},
      ),
      dict(name="late", source=procedural),
  ]
  return {given["name"]: data.build(**given) for given in arguments}


def test_indices_are_those_of_a_sequence_in_every_source(sources):
  builders = pathlib.Path(data.__file__).parent / "builders"
  kinds = {
      name for name in data.available()
      if not (builders / f"{name}.py").exists()
  }
  assert sources.keys() == kinds | {"clip_folders"}  # One for all prepared.
  for source in sources.values():
    count = len(source)
    assert count >= 3
    for read in (source.__getitem__, getattr(source, "open", None)):
      if read is None:
        continue
      for index in (count - 1, 0):
        ahead, behind = read(index), read(index - count)
        assert ahead["name"] == behind["name"]
        for key in {"clean", "degraded"} & ahead.keys():
          np.testing.assert_array_equal(
              np.asarray(ahead[key]), np.asarray(behind[key])
          )
      for index in (count, -count - 1):
        with pytest.raises(IndexError):
          read(index)
  assert sources["folders"][-1]["name"] != sources["folders"][0]["name"]


@pytest.fixture
def damaged_folders(tmp_path):
  """Clips a, b and c; of b's four frames the last has no header."""
  for name in "abc":
    _write_frames(tmp_path / name, seed=ord(name))
  (tmp_path / "b" / "00003.png").write_bytes(b"\x89PNG" + bytes(40))
  return dict(name="folders", clean=tmp_path, length=2), "b/00003.png", {5}


@pytest.fixture
def damaged_videos(tmp_path):
  """Files a, b and c; b ends before the frames that its header promises."""
  for name in "abc":
    _write_video(tmp_path / f"{name}.mp4", movflags="faststart")
  content = (tmp_path / "b.mp4").read_bytes()
  (tmp_path / "b.mp4").write_bytes(content[: 3 * len(content) // 4])
  return dict(name="videos", path=tmp_path, length=2), "b.mp4", {3}


@pytest.mark.parametrize("kind", ["damaged_folders", "damaged_videos"])
def test_damage_found_at_the_start_stops_or_is_skipped_and_counted(
    kind, request
):
  given, file, records = request.getfixturevalue(kind)
  source = data.build(**given)
  assert len(source.damaged) == 1 and file in source.damaged[0]
  with pytest.raises(folders.CorruptRecord, match=f"{file}.*on_corrupt=skip"):
    pipeline.train_iterator(source, on_corrupt="stop", **_BATCHES)
  for read in (source.__getitem__, source.open):
    with pytest.raises(folders.CorruptRecord, match=file):
      clean = read(min(records))["clean"]
      np.asarray(clean)  # A frame is read here, if not before.
  said = []
  iterator = pipeline.train_iterator(
      source, on_corrupt="skip", say=said.append, **_BATCHES
  )
  assert len(said) == 1 and file in said[0] and "1 of 1" in said[0]
  seen = [i for _ in range(len(source)) for i in next(iterator)["index"]]
  # Two epochs, in which the record behind stands for the damaged one.
  expected = {record: 2 for record in set(range(len(source))) - records}
  expected[max(records) + 1] += 2 * len(records)
  assert {i: seen.count(i) for i in set(seen)} == expected
  assert iterator.skipped == 2 * len(records)


def test_sources_of_sources_pass_on_what_is_damaged(damaged_folders):
  given, file, _ = damaged_folders
  for outer in (
      dict(name="raw", source=given),
      dict(name="late", source=given),
      dict(name="degraded", source=given, degradation={
          "name": "compression.jpeg"
      }),
  ):
    assert file in data.build(**outer).damaged[0]


def test_pairs_with_a_damaged_side_are_found_at_the_start(tmp_path):
  for side in ("clean", "rainy"):
    for name in "ab":
      _write_frames(tmp_path / side / name, seed=ord(name))
  for t in range(4):  # No header of this side can be read.
    (tmp_path / "rainy" / "a" / f"{t:05d}.png").write_bytes(b"")
  source = data.build(
      "folders", clean=tmp_path / "clean", degraded=tmp_path / "rainy",
      length=3,
  )
  assert len(source.damaged) == 4 and "rainy/a/00000.png" in source.damaged[0]
  with pytest.raises(folders.CorruptRecord, match="rainy/a/00000.png"):
    source[0]
  assert source[2]["degraded"].shape == (3, _SIDE, _SIDE, 3)


def test_a_source_of_damaged_files_alone_is_an_error(tmp_path):
  _write_frames(tmp_path / "a", count=2)
  for t in range(2):
    (tmp_path / "a" / f"{t:05d}.png").write_bytes(b"")
  with pytest.raises(folders.CorruptRecord, match="a/00000.png"):
    data.build("folders", clean=tmp_path, length=2)
