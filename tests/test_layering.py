"""Imports run one way (README, "How the house is built")."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "vidrestore_jax"

# Room -> rooms that it may import. shapes is open to all.
ALLOWED = {
    "shapes": set(),
    "colour": set(),
    "compilation_cache": set(),
    "layers": set(),
    "models": {"layers"},
    "degradations": {"layers.resample", "colour"},
    "tasks": {"models", "layers", "degradations"},
    "training": {"tasks", "models", "layers"},
    "data": {"degradations", "colour"},
    "metrics": set(),
    "profiling": set(),
    "released": {"models"},
    "inference": {"models", "layers", "released", "colour"},
    "converters": {"models", "layers", "released", "inference"},
    "cli": {
        "cli_data", "cli_degrade", "cli_export", "cli_plan", "cli_restore",
        "models", "released", "inference", "converters", "data", "metrics",
        "degradations",
    },
    "cli_data": {"inference", "data", "metrics"},
    "cli_degrade": {"cli_data", "cli_output", "inference", "data"},
    "cli_arguments": set(),
    "cli_export": {"cli_arguments", "cli_output", "inference"},
    "cli_output": set(),
    "cli_plan": {
        "cli_arguments", "compilation_cache", "released", "inference", "data"
    },
    "cli_restore": {
        "cli_arguments", "cli_output", "compilation_cache", "profiling",
        "released", "inference", "data",
    },
    "__init__": {"released", "inference"},
}


def _imports(path):
  """Dotted names of the package's parts that a file imports."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: relative import"
      for alias in node.names:
        yield f"{node.module}.{alias.name}"


FILES = sorted((ROOT / PACKAGE).rglob("*.py"))


@pytest.mark.parametrize(
    "path", FILES, ids=lambda p: str(p.relative_to(ROOT / PACKAGE))
)
def test_imports_run_one_way(path):
  room = path.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py")
  allowed = ALLOWED[room] | {room, "shapes"}
  for name in _imports(path):
    if not name.startswith(f"{PACKAGE}."):
      top = name.split(".")[0]
      assert top not in ("tensorflow", "torch", "experiments", "configs"), name
      if top == "grain":
        assert path.name in ("pipeline.py", "checkpoints.py"), name
      continue
    target = name.removeprefix(f"{PACKAGE}.")
    assert any(
        target == a or target.startswith(f"{a}.") for a in allowed
    ), f"{path.name} ({room}) may not import {name}"


def test_training_knows_no_model_and_no_data():
  for path in (ROOT / PACKAGE / "training").glob("*.py"):
    for name in _imports(path):
      assert not name.startswith((
          f"{PACKAGE}.models", f"{PACKAGE}.data", f"{PACKAGE}.metrics",
          f"{PACKAGE}.tasks",
      )), f"{path.name} imports {name}"


def test_configs_import_no_experiment_and_no_part_of_the_package():
  for path in (ROOT / "configs").glob("*.py"):
    for name in _imports(path):
      top = name.split(".")[0]
      assert top in ("configs", "ml_collections"), f"{path.name}: {name}"


def test_importing_the_package_is_light():
  """No device, no jax, no tensorflow; layers need jax and flax alone."""
  code = (
      "import sys, vidrestore_jax\n"
      "assert 'jax' not in sys.modules and 'flax' not in sys.modules\n"
      "from vidrestore_jax.layers.gdn import GDN\n"
      "heavy = {'tensorflow', 'torch', 'grain', 'orbax', 'PIL', 'av',"
      " 'tensorflow_datasets', 'matplotlib', 'optax'}\n"
      "print(sorted(heavy & set(sys.modules)))\n"
      "import jax\n"
      "from jax._src import xla_bridge\n"
      "assert not xla_bridge._backends, 'a device was touched'\n"
  )
  done = subprocess.run(
      [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
  )
  assert done.returncode == 0, done.stderr
  # flax itself brings some of these; ours must not add data or video.
  for name in ("tensorflow", "torch", "grain", "av", "tensorflow_datasets"):
    assert name not in done.stdout
