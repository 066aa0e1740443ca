"""The notebooks run top to bottom in a kernel, at small sizes on the CPU."""

import ast
import importlib.metadata
import json
import os
import pathlib
import re
import signal
import types

import nbclient
import nbformat
import numpy as np
import pytest
from nbclient.exceptions import DeadKernelError
from PIL import Image

from experiments.notebooks import install

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))
ADDRESS = re.search(r'url="(.+)"', (ROOT / "setup.py").read_text())[1]
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def _read(path):
  return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def _cell(notebook, name):
  return next(cell for cell in notebook.cells if cell.id == name)


@pytest.fixture
def execute(tmp_path, monkeypatch):
  """Runs a notebook as a user would whose Jupyter starts anywhere."""
  path = os.environ.get("PYTHONPATH", "")
  monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{path}")
  monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
  monkeypatch.delenv("MPLBACKEND", raising=False)

  def execute(name, before="", **parameters):
    """Returns the cells by id; `before` runs after the parameters are set."""
    notebook = _read(ROOT / f"experiments/notebooks/{name}.ipynb")
    given = _cell(notebook, "parameters")
    unknown = parameters.keys() - _assigned(given.source)
    assert not unknown, f"{name} has no parameter {unknown}"
    lines = [f"{key} = {value!r}" for key, value in parameters.items()]
    given.source = "\n".join([given.source, *lines, before])
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    return {cell.id: cell for cell in notebook.cells}

  return execute


def _assigned(source):
  """Names that a cell's top level assigns."""
  nodes = [n for n in ast.parse(source).body if isinstance(n, ast.Assign)]
  targets = [target for node in nodes for target in node.targets]
  return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}


def _text(cell):
  """What a cell printed, and the text of what it showed."""
  shown = [out.get("data", {}).get("text/plain", "") for out in cell.outputs]
  return "".join(out.get("text", "") for out in cell.outputs) + "".join(shown)


def _pictures(cell):
  return [out for out in cell.outputs if "image/png" in out.get("data", {})]


def test_there_are_four():
  assert [path.stem for path in NOTEBOOKS] == [
      "layers_in_another_project",
      "reproduce_tables",
      "restore_your_video",
      "train",
  ]


@each
def test_a_notebook_is_valid_and_stripped(path):
  notebook = _read(path)
  nbformat.validate(notebook)
  assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
  for cell in notebook.cells:
    if cell.cell_type == "code":
      assert cell.outputs == [] and cell.execution_count is None, (
          f"{path.name} holds outputs: jupyter nbconvert --clear-output"
          f" --inplace {path}"
      )


@each
def test_a_notebook_opens_in_colab_and_starts_alike(path):
  """The repository's address is setup.py's, and the second cell is shared."""
  notebook = _read(path)
  colab = ADDRESS.replace("github.com", "colab.research.google.com/github")
  badge = f"({colab}/blob/main/{path.relative_to(ROOT)})"
  assert badge in notebook.cells[0].source
  assert badge in (ROOT / "README.md").read_text()
  assert notebook.cells[1].metadata.tags == ["parameters"]
  setup = _cell(notebook, "setup").source
  assert f"!git clone -q {ADDRESS} {{root}}\n" in setup
  assert setup == _cell(_read(NOTEBOOKS[0]), "setup").source


@pytest.mark.parametrize(
    "smi, installed, extra",
    [
        ("", {"jax"}, ""),
        ("", {"jax", "libtpu"}, "tpu"),
        ("| CUDA Version: 12.4 |", {"jax"}, "cuda12"),
        ("| CUDA Version: 13.0 |", {"jax", "libtpu"}, "cuda13"),
        ("| CUDA Version: 13.0 |", {"jax", "jax-cuda12-plugin"}, "cuda12"),
        ("NVIDIA-SMI has failed", {"jax"}, ""),
    ],
)
def test_the_jax_to_install_is_that_of_the_device(smi, installed, extra):
  assert install.extra(smi, installed) == extra
  known = importlib.metadata.metadata("jax").get_all("Provides-Extra")
  assert not extra or extra in known


def test_what_was_imported_before_it_was_upgraded_is_told():
  modules = {
      "numpy": types.SimpleNamespace(__version__="2.0.2"),
      "jax": types.SimpleNamespace(__version__="0.11.0"),
  }
  versions = {"numpy": "2.4.0", "jax": "0.11.0"}
  assert install.outdated(modules, versions.get) == ["numpy 2.0.2 (now 2.4.0)"]
  assert install.outdated({}, versions.get) == []


@pytest.mark.slow
def test_training_goes_on_where_the_session_died(execute, tmp_path):
  changes = {
      "steps": 30, "batch_size": 2, "patch_size": 16, "log_every": 3,
      "checkpoint_every": 1, "model.depth": 3, "model.width": 4,
      "eval.sigmas": 30, "eval.data.size": 2, "eval.data.length": 2,
      "eval.data.height": 24, "eval.data.width": 24,
  }
  given = {
      "config": "configs/dncnn_davis.py:demo",
      "changes": changes,
      "storage": str(tmp_path / "drive"),
      "run": "a run",
  }
  workdir = tmp_path / "drive" / "a run"
  # The machine is taken away once there is something to go on from.
  killer = f"""
import os, pathlib, threading, time
def _die():
  while not pathlib.Path({str(workdir / "checkpoints" / "3")!r}).is_dir():
    time.sleep(0.001)
  os.kill(os.getpid(), {int(signal.SIGKILL)})
threading.Thread(target=_die, daemon=True).start()
"""
  with pytest.raises(DeadKernelError):
    execute("train", killer, **given)
  assert not (workdir / "summary.json").exists()
  cells = execute("train", **given)
  said = _text(cells["train"])
  assert "--config.model.depth=3\n" in said
  step = re.search(r"Goes on from step (\d+)", said)
  assert step and int(step[1]) >= 3
  assert json.loads((workdir / "summary.json").read_text())["step"] == 30
  assert re.search(r"median5 +\| [\d.]+ / ", said)  # The table.
  assert "Device" in _text(cells["device"])
  assert len(_pictures(cells["curves"])) == 1
  assert len(_pictures(cells["frames"])) == 2  # config.eval.examples.
  assert "DnCNN" in _text(cells["use"])


@pytest.mark.slow
def test_a_video_is_made_and_restored(execute, tmp_path):
  cells = execute(
      "restore_your_video",
      start=0.04,
      seconds=0.12,
      made={"length": 6, "height": 48, "width": 64},
      folder=str(tmp_path / "out folder"),
  )
  assert "6 frames" in _text(cells["plan"])
  assert "3 frames" in _text(cells["preview"])
  said = _text(cells["whole"])
  noise = re.search(r"noisy_restored.mp4: 6 frames. Noise of ([\d.]+)", said)
  assert noise and abs(float(noise[1]) - 30) < 5
  kinds = [kind for out in cells["preview"].outputs
           for kind in out.get("data", {})]
  assert "text/html" in kinds  # The video, in the page.
  assert len(_pictures(cells["look"])) == 2
  assert "0.0 MB" in _text(cells["download"])


@pytest.mark.slow
def test_the_layers_make_a_codec_that_learns(execute):
  cells = execute(
      "layers_in_another_project",
      weights=(0.03, 0.003),
      steps=60,
      channels=12,
      latents=12,
      pictures=16,
      side=48,
      crop=32,
      batch=4,
      held_out=2,
      test_side=64,
  )
  point = r"weight ([\d.]+): ([\d.]+) bpp, ([\d.]+) dB"
  points = np.float64(re.findall(point, _text(cells["measure"])))
  assert points.shape == (2, 3)
  assert (points[:, 1] > 0).all()
  assert points[1, 1] < points[0, 1]  # Less weight, fewer bits.
  assert points[0, 2] > 16  # A mean colour alone reaches less.
  for name in ("data", "plot", "pictures"):
    assert len(_pictures(cells[name])) == 1, name


@pytest.mark.slow
def test_the_tables_are_made(execute, tmp_path):
  for clip in ("a", "b"):
    (tmp_path / "clips" / clip).mkdir(parents=True)
    for index in range(2):
      y, x = np.mgrid[:32, :48]
      wave = 128 + 60 * np.sin((x + 2 * y + 3 * index) / 7)
      frame = np.repeat(wave[..., None], 3, -1).astype(np.uint8)
      path = tmp_path / "clips" / clip / f"{index}.png"
      Image.fromarray(frame).save(path)
  cells = execute(
      "reproduce_tables",
      data=str(tmp_path / "clips"),
      sigmas=(20, 50),
      frames=2,
      size=(96, 54),
      folder=str(tmp_path / "tables"),
  )
  (cost,) = cells["cost"].outputs
  rows = cost.data["text/markdown"].splitlines()
  assert [len(row.split("|")) for row in rows] == [9] * 4
  assert "771" in rows[2] and "96x54" in rows[3]
  (table,) = cells["psnr-table"].outputs
  rows = table.data["text/markdown"].splitlines()
  psnr = {}
  for _, name, *levels, _ in (row.split("|") for row in rows[2:]):
    psnr[name.strip()] = [float(level.split("/")[0]) for level in levels]
  assert list(psnr) == ["noisy", "median3", "median5", "fastdvdnet"]
  assert abs(psnr["noisy"][0] - 22.11) < 0.5  # -20 log10(20 / 255).
  assert psnr["fastdvdnet"][1] > psnr["median3"][1] > psnr["noisy"][1]
  assert len(_pictures(cells["psnr-picture"])) == 1
  assert "39.67 / 0.9782" in cells["paper"].outputs[0].data["text/markdown"]
