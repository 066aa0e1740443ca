import json
import pathlib
import subprocess
import sys

import pytest

from experiments.benchmarks import formulations, page

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--cases=5x5", "one of 3x3_16, 3x3_64"),
        ("--cases=", "--cases names none of 3x3_16"),
        ("--repeats=1", "--repeats is at least 2"),
    ],
)
def test_refuses_what_it_cannot_measure(option, message, capsys):
  assert formulations.main([option]) == 2
  assert message in capsys.readouterr().err


def test_a_budget_that_is_used_up_is_no_success(tmp_path):
  out = tmp_path / "formulations_x.json"
  # Processes of their own, since they bind themselves to a processor.
  command = [
      sys.executable, "-m", "experiments.benchmarks.formulations", "--small",
      "--repeats=2", "--threads=1", f"--json={out}",
  ]
  done = subprocess.run(
      [*command, "--budget=0"], cwd=ROOT, text=True, capture_output=True
  )
  assert done.returncode == 1 and "nothing was measured" in done.stderr


@pytest.mark.slow  # Compiles some twenty programs.
def test_all_forms_compute_the_same(tmp_path):
  out = tmp_path / "formulations_x.json"
  chosen = set(formulations.cases(True)) - {"3x3_64", "3x3_128"}  # As 3x3_16.
  subprocess.run(
      [
          sys.executable, "-m", "experiments.benchmarks.formulations",
          "--small", "--repeats=2", "--threads=1", f"--json={out}",
          f"--cases={','.join(sorted(chosen))}",
      ],
      cwd=ROOT, check=True,
  )
  content = json.loads(out.read_text())
  assert not content["failed"] and not content["skipped"]
  for row in content["rows"]:
    assert row["error"] < 1e-4 and len(row["sides"]) > 1
  lines = formulations.lines(content["rows"])
  assert len(content["rows"]) == len(chosen)
  assert ["3x3 16", "1x24x32x16 by 3x3x16x16", "ours"] in [
      line[:3] for line in lines
  ]
  text = page.render(page.read(tmp_path))
  assert "Forms of a convolution" in text and "winograd" in text
