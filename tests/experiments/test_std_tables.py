"""Space-time distillation's tables: what is printed, and ours beside it."""

import json

import numpy as np
import pytest

from experiments import paper_numbers, std_figures, std_tables
from vidrestore_jax.inference import frames_io

COUNTS = {"fast": 1225, "medium": 4977, "slow": 1613}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
  """Four clips by Vid4's names, and two septuplets with their lists."""
  folder = tmp_path_factory.mktemp("clips")
  rng = np.random.default_rng(0)
  frames = {f"vid4/{name}": 2 for name in
            ("calendar", "vid4_city", "Foliage", "walk")}
  frames |= {f"vimeo/00001/000{i}": 7 for i in (1, 2, 3)}
  for name, count in frames.items():
    (folder / name).mkdir(parents=True)
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    frame = coarse.repeat(8, 0).repeat(8, 1)
    for t in range(count):
      frames_io.write_png(folder / name / f"im{t + 1}.png", frame)
  (folder / "fast").write_text("00001/0001\n")
  (folder / "slow").write_text("00001/0002\n")
  (folder / "medium").write_text("00001/0003\n")
  return folder


def test_what_is_implied_makes_every_row_fit_to_its_averages():
  implied, columns = paper_numbers.STD_IMPLIED, paper_numbers.STD_COLUMNS
  assert len(paper_numbers.STD) == 13
  wrong = []
  for method, row in paper_numbers.STD.items():
    for part, weights in (("vid4", None), ("vimeo", list(COUNTS.values()))):
      values = dict(row[part])
      for corrected in (False, True):
        if corrected:
          values |= {
              column: value for (name, where, column), value in implied.items()
              if (name, where) == (method, part)
          }
        *parts, average = (values[column] for column in columns[part])
        fits = abs(np.average(parts, weights=weights) - average) < 2e-4
        if not corrected and not fits:
          wrong.append((method, part))
      assert fits, (method, part)
  # And nothing is corrected that fits as it is printed.
  assert wrong == [(method, part) for method, part, _ in implied]


def test_claims_of_order_hold_in_the_printed_numbers():
  for student in ("VDSR", "VESPCN", "VSRNet", "FastDVDnet"):
    pair = [paper_numbers.STD[name] for name in (student, f"{student}+STD")]
    for part in ("vid4", "vimeo"):
      assert pair[0][part]["average"] < pair[1][part]["average"]


def test_both_sets_stand_beside_what_is_printed(clips, tmp_path, capsys):
  out = tmp_path / "out.json"
  arguments = [
      f"--vid4={clips}/vid4",
      f"--vimeo={clips}/vimeo",
      f"--lists=fast={clips}/fast,slow={clips}/slow",
      "--model=bicubic",
      f"--json={out}",
  ]
  assert std_tables.main(arguments) == 0
  found = json.loads(out.read_text())
  vid4 = found["columns"]["vid4"]["Bicubic"]
  four = [vid4[name] for name in ("calendar", "city", "foliage", "walk")]
  np.testing.assert_allclose(vid4["average"], np.mean(four))
  vimeo = found["columns"]["vimeo"]["Bicubic"]
  # Medium is not measured: there is nothing to set beside the paper's average.
  assert set(vimeo) == {"fast", "slow"}
  arguments[2] += f",medium={clips}/medium"
  assert std_tables.main(arguments) == 0
  whole = json.loads(out.read_text())["columns"]["vimeo"]["Bicubic"]
  parts = [whole[name] for name in ("fast", "medium", "slow")]
  np.testing.assert_allclose(whole["average"], np.mean(parts))
  clip = found["results"]["vimeo"]["Bicubic"]["clips"]["00001/0001"]
  assert clip["frames"] == 1 and clip["ssim"] == vimeo["fast"]
  text = capsys.readouterr().out
  shown = f"{vid4['city']:.4f}"
  assert any(
      line.startswith("| Bicubic") and shown in line and "0.6028" in line
      for line in text.splitlines()
  )
  assert all(f"* {note}" in text for note in found["notes"])


def test_rows_show_ours_and_what_is_printed_and_implied():
  rows = std_tables._ssim_rows("vimeo", {"VESPCN+STD": {"fast": 0.95}})
  row = next(row for row in rows if row[0] == "VESPCN+STD")
  assert row[1:5] == ["0.9500", "0.8409 [0.9409]", "-", "0.9121"]


def test_the_start_of_the_conv_lstm_is_a_table_of_its_own(clips, capsys):
  arguments = ["--table=1", f"--vid4={clips}/vid4", "--frames=1"]
  assert std_tables.main([*arguments, "--model=frozen=bicubic"]) == 0
  lines = capsys.readouterr().out.splitlines()
  row = next(line for line in lines if line.startswith("| frozen"))
  assert row.endswith("25.79 |") and row.split("|")[2].strip() != "-"
  assert std_tables.main([*arguments, "--model=bicubic"]) == 2
  assert "--model=random=FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vimeo={clips}/vimeo"], "--vimeo and --lists go together"),
        ([], "There is nothing to measure"),
        (["--table=1"], "--table=1 is of Vid4"),
        (["--vid4={clips}/vimeo/00001"], "none of Vid4's"),
        (
            ["--vimeo={clips}/vimeo", "--lists=quick={clips}/fast"],
            "the table's are fast, medium, slow",
        ),
        (["--vid4={clips}/vid4", "--frames=0"], "--frames is at least 1"),
    ],
)
def test_mistakes_are_one_line(clips, capsys, arguments, message):
  words = [word.format(clips=clips) for word in arguments]
  assert std_tables.main([*words, "--model=bicubic"]) == 2
  assert message in capsys.readouterr().err


def test_figures_show_each_model_beside_the_truth(clips, tmp_path, capsys):
  arguments = [f"--data={clips}/vid4", f"--out={tmp_path}", "--frames=1"]
  models = "--model=bicubic,fastdvdnet_std=bicubic"
  assert std_figures.main([*arguments, models]) == 0
  assert len(list(tmp_path.glob("*.png"))) == 4
  assert str(tmp_path / "vid4_city.png") in capsys.readouterr().out
  clean = np.zeros((48, 64, 3), np.float32)
  figure = std_figures.comparison(
      clean, {"a": clean + 0.1, "b": clean}, {"a": 20.0, "b": 31.4}
  )
  titles = [text.get_text() for ax in figure.axes for text in ax.texts]
  titles += [ax.get_title(loc="left") for ax in figure.axes]
  for title in ("ground truth", "a  ·  20.00 dB", "b  ·  31.40 dB, luminance"):
    assert any(title in text for text in titles), titles
  assert std_figures.main([*arguments[:2], "--frames=0", models]) == 2
  assert "--frames is at least 1" in capsys.readouterr().err
