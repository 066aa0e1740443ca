import numpy as np
import pytest
from PIL import Image

from tests.inference import tiny_videos
from vidrestore_jax import cli


@pytest.fixture
def model(tmp_path):
  return f"--model={tiny_videos.release(tmp_path / 'model')}"


def test_plan(model, tmp_path, capsys):
  folder = tmp_path / "frames"
  folder.mkdir()
  for index in range(3):
    picture = np.full((60, 90, 3), index, np.uint8)
    Image.fromarray(picture).save(folder / f"{index}.png")
  assert cli.main(["plan", str(folder), model]) == 0
  said = capsys.readouterr().out
  assert "3 frames of 90x60" in said and "in all: 0:00:0" in said
  assert "tiles" not in said
  assert cli.main(["plan", str(folder), model, "--tile=32"]) == 0
  assert "in 8 tiles of 32x32 each" in capsys.readouterr().out
  assert cli.main(["plan", str(folder), model, "--memory=0.001"]) == 0
  said = capsys.readouterr().out
  assert "This does not fit." in said and "s a frame" not in said


def test_what_cannot_be_planned_ends_in_a_line(model, tmp_path, capsys):
  for path, words in (("none.mp4", "There is no"), (".", "")):
    assert cli.main(["plan", str(tmp_path / path), model]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error
    assert error.count("\n") == 1
  for memory in ("nan", "0", "-1", "inf"):
    assert cli.main(["plan", str(tmp_path), model, f"--memory={memory}"]) == 2
    assert f"positive number of GB, not {memory}" in capsys.readouterr().err
