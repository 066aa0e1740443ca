"""Both sides of the benchmark of reading read the same frames."""

import pytest

from experiments.benchmarks import data_pipeline
from vidrestore_jax import data


def _drawn(count=2, length=6):
  return data_pipeline._draw(count, length, 48, 64, seed=1)


def _jpeg(folder):
  frames = data_pipeline._write_folders(folder, _drawn(), "jpg", quality=85)
  return data.build("folders", clean=frames, length=5)


def _video(folder):
  pytest.importorskip("av")
  path = data_pipeline._write_videos(folder / "videos", _drawn())
  return data.build("videos", path=path, length=5)


def _array_record(folder):
  from vidrestore_jax.data.builders import clip_folders

  frames = data_pipeline._write_folders(folder / "clips", _drawn(), "png")
  clip_folders.prepare(frames, folder / "tfds")
  return data.build("clip_folders", data_dir=folder / "tfds", length=5)


@pytest.mark.parametrize(
    ("name", "make", "most"),
    [
        ("jpeg", _jpeg, 0),
        ("video", _video, 4),
        ("array_record", _array_record, 0),
    ],
)
def test_both_sides_read_the_same_frames(tmp_path, name, make, most):
  source = make(tmp_path)
  assert len(source) == 4
  assert data_pipeline.difference(name, source) <= most


@pytest.mark.parametrize(("name", "make"), [("jpeg", _jpeg), ("video", _video)])
def test_other_frames_are_refused(tmp_path, monkeypatch, name, make):
  source, read = make(tmp_path), data_pipeline._READERS[name]
  monkeypatch.setitem(
      data_pipeline._READERS, name,
      lambda source, index: read(source, (index + 1) % len(source)),
  )
  with pytest.raises(ValueError, match=f"other frames of {name}"):
    data_pipeline.difference(name, source)
