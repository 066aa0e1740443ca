"""The README tells the truth about names, files and commands."""

import ast
import pathlib
import re
import shlex

import pytest
from PIL import Image

from experiments import configuration
from experiments.benchmarks import memory, page

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
  papers_own = [f"table {n}" for n in (1, 2, 3, 4, 5)]
  papers_own += ["figure 1a", "figure 1b", "figure 2", "figure 3", "figure 4"]
  papers_own += ["figures 5 to 8"]
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


def test_the_tables_of_measurements_are_those_of_the_results():
  tables = page.readme_tables(page.read(ROOT / "experiments" / "results"))
  assert {"speed", "growth", "memory"} <= set(tables)
  assert page.into_readme(README, tables) == README


def test_the_pictures_of_measurements_are_those_of_the_results():
  folder = ROOT / "experiments" / "results"
  found = page.plotted(page.read(folder))
  assert {"speed", "growth"} <= set(found)
  for name, source in found.items():
    assert Image.open(folder / f"{name}.png").text[page.SOURCE] == source, name


def test_the_commands_of_measurements_are_those_that_made_the_results():
  files = page.read(ROOT / "experiments" / "results")
  found = []
  for line in README.replace("\\\n", " ").splitlines():
    named = re.match(r"python .* --json=experiments/results/(\w+)\.json$", line)
    # The card's file is of two runs, each of a part.
    if named and not named[1].startswith("accelerator"):
      (run,) = page.runs(files[named[1]])
      out = f"--json=experiments/results/{named[1]}.json"
      ran = [out if part == "--json=OUT" else part for part in run["command"]]
      assert shlex.split(line) == ran
      found.append(named[1].split("_")[0])
  assert {"inference", "training", "growth", "memory"} <= set(found)


def test_the_results_are_what_is_accepted():
  """Of PyTorch's best speed 0.8 and half a step's; half of the memory."""
  files = page.read(ROOT / "experiments" / "results")
  for name, least in (("inference", 0.8), ("training", 0.5)):
    runs = page.runs(files[f"{name}_2_epyc_cores"])
    rows = [row for run in runs for row in run["rows"]]
    ratios = {row["name"]: row["ratio"] for row in rows if "ratio" in row}
    assert len(ratios) > 1 and min(ratios.values()) >= least, ratios
    assert all(row["ok"] for row in rows), rows
  shares = {}
  for name, content in files.items():
    for row in content["rows"] if name.startswith("memory_") else ():
      if row.get("ratio", 2) < memory.LONGER:
        shares.setdefault(row["model"], []).append(row["measured_share"])
  assert {"fastdvdnet", "ncfl"} == set(shares)
  assert all(min(found) <= 0.5 for found in shares.values()), shares


def test_nothing_is_left_to_be_filled_in():
  assert "PLACEHOLDER" not in README and "PAPER_MAP" not in README


def _commands():
  """Config files and overrides of the README's main commands."""
  text = README.replace("\\\n", " ")
  for line in text.splitlines():
    match = re.search(r"experiments\.main (.*)", line)
    if match and "=" in match[1]:
      words = [w for w in match[1].split() if w.startswith("--config")]
      yield words[0].removeprefix("--config="), words[1:]


def test_every_main_command_names_configs_and_keys_that_exist(monkeypatch):
  monkeypatch.chdir(ROOT)
  commands = list(_commands())
  assert len(commands) >= 4
  for name, overrides in commands:
    configuration.load(name, configuration.parse_overrides(overrides))


def test_the_key_hints_of_the_prose_exist(monkeypatch):
  monkeypatch.chdir(ROOT)
  hints = re.findall(r"--config\.[\w.]+=\w+", README.replace("\n", ""))
  hints = [
      hint
      for hint in hints
      if re.match(r"--config\.(model\.(?!init_from)|dtype|parallel)", hint)
  ]
  assert len(set(hints)) == 5
  configuration.load(
      "configs/ncfl_davis.py", configuration.parse_overrides(hints)
  )
