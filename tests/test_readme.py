"""The README tells the truth about names, files and commands."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
NAMED = re.findall(r"`([\w/]+\.py): ([\w.]+)`", README)


def _defined(path):
  """Names that a file defines: `f`, `C`, `C.method`, constants."""
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      yield node.name
    if isinstance(node, ast.ClassDef):
      for part in node.body:
        if isinstance(part, ast.FunctionDef):
          yield f"{node.name}.{part.name}"
    if isinstance(node, ast.Assign):
      yield from (t.id for t in node.targets if isinstance(t, ast.Name))
    if isinstance(node, ast.AnnAssign):
      yield node.target.id


def test_the_table_from_the_paper_is_long_enough_to_be_complete():
  papers_own = [f"table {n}" for n in (1, 2, 3, 5)]
  papers_own += ["figure 1a", "figure 1b", "figure 2", "figure 3", "figure 4"]
  papers_own += ["figures 5 and 6"]
  rows = [line for line in README.splitlines() if line.startswith("| ")]
  for item in papers_own:
    assert any(item in row for row in rows), f"{item} has no row"


@pytest.mark.parametrize("file, name", NAMED)
def test_every_name_in_the_table_exists(file, name):
  assert name in set(_defined(ROOT / file)), f"{file} defines no {name}"


def test_every_config_is_listed_and_every_listed_config_exists():
  listed = set(re.findall(r"configs/(\w+)\.py", README))
  present = {
      p.stem for p in (ROOT / "configs").glob("*.py")
  } - {"__init__", "common"}
  assert listed - {"x_dataset"} == present


def test_the_first_blocks_are_the_two_commands():
  blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
  assert "experiments.main --config=configs/ncfl_demo.py" in blocks[0]
  assert "pytest" in blocks[1] and "[test]" in blocks[1]
