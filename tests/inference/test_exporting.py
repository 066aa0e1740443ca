"""What is exported gives the package's frames, in a process without it."""

import errno
import json
import os
import pathlib
import re
import subprocess
import sys

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from tests import requirements
from vidrestore_jax import cli, models, released
from vidrestore_jax.inference import exported_clip, exporting, streaming
from vidrestore_jax.shapes import Restored

NCFL = dict(
    widths=(4, 8),
    attention_widths=(4, 4),
    attention_blocks=1,
    attention_middle_blocks=1,
    feature_channels=4,
    motion_channels=4,
    hidden_channels=4,
    latent_channels=4,
    prior_channels=(4, 4),
    reduction=2,
    motion=dict(levels=2, widths=(4, 4), kernel=3),
)
FASTDVDNET = dict(widths=(4, 4, 8), interm=2)
BASICVSR = dict(online=True, width=4, blocks=1, motion=NCFL["motion"])
EDVR = dict(
    frames=3, width=4, deformable_groups=2, extraction_blocks=1,
    reconstruction_blocks=1,
)
BLIND = NCFL | dict(feature_refiner="none", noise_map=False)
# Name -> (model, its arguments, how it is exported, (H, W) of the frames).
FAST = {
    "packaged": (None, None, {}, (16, 24)),
    "noq": (
        "ncfl", NCFL | dict(feature_refiner="noq"), dict(size=(6, 9)), (6, 9),
    ),
    "fastdvdnet_vsr": ("fastdvdnet_vsr", dict(widths=(4, 4, 8)), {}, (8, 12)),
    "basicvsr": ("basicvsr", BASICVSR, {}, (5, 6)),
    "conv_lstm": ("conv_lstm", dict(embedding=4, hidden=4), {}, (5, 6)),
    "dncnn": ("dncnn", dict(width=4, depth=3), {}, (5, 6)),
}
SLOW = {
    "fastdvdnet": ("fastdvdnet", FASTDVDNET, dict(size=(7, 10)), (7, 10)),
    "bfloat16": ("fastdvdnet", FASTDVDNET, dict(dtype="bfloat16"), (8, 12)),
    "fitvnet": ("fitvnet", dict(), {}, (32, 32)),
    "ncfl": ("ncfl", NCFL | dict(feature_refiner="ncfl"), {}, (8, 12)),
    "nconv": ("ncfl", NCFL | dict(feature_refiner="nconv"), {}, (8, 12)),
    "none": ("ncfl", BLIND, {}, (8, 12)),
    "edvr": ("edvr", EDVR, {}, (8, 12)),
    "edvr_of_a_size": ("edvr", EDVR, dict(size=(6, 9)), (6, 9)),
}
FRAMES = 5
# Arguments without which a model is not built.
NEEDED = {"pisr": dict(decoder=dict(name="fsrcnn"))}

# Neither the package nor what it needs but jax can be imported where this runs.
BLOCKED = {"vidrestore_jax"} | requirements.modules(
    without=("jax", "numpy", "flatbuffers")
)
SCRIPT = f"""\
import importlib.util, json, pathlib, sys
for name in {sorted(BLOCKED)}:
  assert name not in sys.modules
  sys.modules[name] = None
import numpy as np
for folder in pathlib.Path(sys.argv[1]).iterdir():
  spec = importlib.util.spec_from_file_location("r", folder / "step/restore.py")
  restore = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(restore)
  given = np.load(folder / "given.npz")
  sigma = given["sigma"] if "sigma" in given else None
  for batch in (1, 3):
    some = None if sigma is None else sigma[:batch]
    restored = restore.restore(folder / "step", given["clip"][:batch], some)
    np.save(folder / f"restored_{{batch}}.npy", restored)
"""


def _variables(model):
  """Random variables that keep the size of what passes through."""
  inputs = released._init_inputs(model)
  shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
  generator = np.random.default_rng(0)

  def draw(leaf):
    if len(leaf.shape) < 2:  # Of these, variances are above zero.
      return generator.uniform(0, 0.2, leaf.shape).astype(np.float32)
    deviation = 1 / np.sqrt(np.prod(leaf.shape[:-1]))
    return generator.normal(0, deviation, leaf.shape).astype(np.float32)

  return jax.tree.map(draw, shapes)


def _alone(script, *arguments):
  """What a Python prints that has no path to this package."""
  environment = dict(os.environ)
  environment.pop("PYTHONPATH", None)
  done = subprocess.run(
      [sys.executable, "-c", script, *map(str, arguments)],
      capture_output=True, text=True, cwd=arguments[0], env=environment,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def _streamed(name, root, model, kwargs, options, size):
  """Exports a case below `root`, with a clip; its frames as streamed here."""
  kept = None
  if model is not None:
    kept = root / "released" / name
    variables = _variables(models.build(model, **kwargs))
    released.save(kept, name=model, kwargs=kwargs, variables=variables)
  folder = root / "exported" / name
  exporting.export(kept, folder / "step", **options)
  model, variables = released.load(kept, dtype=options.get("dtype"))
  generator = np.random.default_rng(1)
  given = dict(clip=generator.random((3, FRAMES, *size, 3), np.float32))
  sigmas = [None] * 3
  if model.noise_map:
    sigmas = generator.random((3, *size, 1), np.float32) / 5
    given["sigma"] = sigmas
  np.savez(folder / "given.npz", **given)
  return np.stack([
      streaming.restore_clip(model, variables, clip, sigma=sigma, aux=()).frames
      for clip, sigma in zip(given["clip"], sigmas)
  ])


@pytest.fixture(
    scope="module",
    params=[FAST, pytest.param(SLOW, marks=pytest.mark.slow)],
    ids=["fast", "slow"],
)
def exported(request, tmp_path_factory):
  """The folder of exports, and of each (streamed here, restored there)."""
  root = tmp_path_factory.mktemp("exports")
  streamed = {
      name: _streamed(name, root, *case)
      for name, case in request.param.items()
  }
  _alone(SCRIPT, root / "exported")
  return root / "exported", {
      name: (
          frames,
          [np.load(root / "exported" / name / f"restored_{n}.npy")
           for n in (1, 3)],
      )
      for name, frames in streamed.items()
  }


def test_a_process_with_jax_alone_restores_the_same_frames(exported):
  for name, (streamed, restored) in exported[1].items():
    assert np.ptp(streamed) > 0.1
    for batch, frames in zip((1, 3), restored):
      assert frames.dtype == np.float32
      assert frames.shape == (batch, *streamed.shape[1:])
      largest = max(1, np.abs(streamed).max())
      error = np.abs(frames - streamed[:batch]) / largest
      if name == "ncfl":  # Where a symbol near a half may flip.
        assert np.square(error).mean() < 1e-7, name
      else:
        assert error.max() < (2e-2 if name == "bfloat16" else 1e-5), name


@pytest.mark.parametrize("border", streaming.BORDERS)
@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_numpy_continues_a_clip_as_streams_do(border, length):
  mode = exporting.PAD_MODES[border]
  frames = list(streaming.extended(range(length), 3, border))
  np.testing.assert_array_equal(np.pad(np.arange(length), 3, mode), frames)


@pytest.fixture(scope="module")
def step(tmp_path_factory):
  """The packaged model's step, exported by the command."""
  folder = tmp_path_factory.mktemp("command") / "step"
  assert cli.main(["export", str(folder)]) == 0
  return folder


def test_a_step_is_lowered_for_cpu_cuda_and_tpu(step):
  for name in ("init", "step"):
    program = jax.export.deserialize(
        (step / f"{name}.jaxexport").read_bytes()
    )
    assert program.platforms == ("cpu", "cuda", "tpu")
  card = json.loads((step / "export.json").read_text())
  assert card["platforms"] == ["cpu", "cuda", "tpu"]
  assert card["frame"] == "float32[b, 4*h, 4*w, 3]"
  assert card["step"] == "step(state, frame, noise) -> (state, restored)"
  assert (card["lag"], card["border"]) == (2, "reflect")


@pytest.mark.parametrize(
    "name, kwargs",
    [
        ("dncnn", dict(width=4, depth=3)),
        ("fastdvdnet", dict(widths=(4, 4, 4), interm=2, dtype="bfloat16")),
    ],
)
def test_an_export_is_the_same_wherever_it_is_made(monkeypatch, name, kwargs):
  """A GPU's form of convolutions would be slow on the other platforms."""
  model = models.build(name, **kwargs)
  variables = _variables(model)
  made = []
  for backend in ("cpu", "gpu"):  # Of the machine that exports.
    monkeypatch.setattr(jax, "default_backend", lambda found=backend: found)
    made.append(exporting.lower(model, variables, size=(8, 8)))
  first, second = (programs.step.mlir_module() for programs in made)
  assert first == second


def test_the_readmes_example_and_the_script_beside_the_step_restore(step):
  readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
  blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
  (example,) = (block for block in blocks if "deserialize" in block)
  clip = np.random.default_rng(0).random((1, 7, 16, 20, 3), np.float32)
  np.save(step.parent / "noisy.npy", clip)
  _alone(
      f"{example}\n"
      "np.save('example.npy', np.stack(restored, 1))\n"
      "import runpy, sys\n"
      "sys.argv = ['restore.py', 'noisy.npy', 'script.npy', '30']\n"
      "runpy.run_path('step/restore.py', run_name='__main__')\n",
      step.parent,
  )
  streamed = streaming.restore_clip(
      *released.load(), clip[0], sigma=30 / 255, aux=()
  ).frames
  np.testing.assert_allclose(
      np.load(step.parent / "script.npy")[0], streamed, atol=1e-5
  )
  # The example has no frames beyond the ends: those that need none are equal.
  np.testing.assert_allclose(
      np.load(step.parent / "example.npy")[0, 4:], streamed[2:-2], atol=1e-5
  )


def test_the_script_refuses_what_would_be_restored_wrongly(step):
  clip = np.zeros((1, 1, 8, 8, 3), np.float32)
  with pytest.raises(ValueError, match="needs a sigma"):
    exported_clip.restore(step, clip)
  with pytest.raises(ValueError, match="got uint8: divide by 255"):
    exported_clip.restore(step, clip.astype(np.uint8), 0.1)
  with pytest.raises(ValueError, match=r"\[B, T, H, W, C\]"):
    exported_clip.restore(step, clip[0], 0.1)
  with pytest.raises(ValueError, match="multiples of 4, but got 8x6"):
    exported_clip.restore(step, clip[:, :, :6], 0.1)
  for wrong in (clip[:, :0], clip[..., :2]):
    with pytest.raises(ValueError, match="one frame or more, of 3 channels"):
      exported_clip.restore(step, wrong, 0.1)
  with pytest.raises(ValueError, match="largest value is 255: divide"):
    exported_clip.restore(step, clip + 255, 0.1)
  np.save(step.parent / "zeros.npy", clip)
  with pytest.raises(ValueError, match="SIGMA is a number, but got 'abc'"):
    exported_clip.main(step.parent / "zeros.npy", step.parent / "out", "abc")


class _OfOneSize(nn.Module):
  restores, recurrent, noise_map = True, False, False
  radius, scale, stride, channels = 0, 1, 1, 3

  def __call__(self, window, noise):
    rows = np.arange(window.shape[2], dtype=np.float32)  # Needs to know it.
    return Restored(window[:, 0] * rows[:, None, None], {})


def test_a_program_that_has_to_know_the_size_asks_for_it():
  with pytest.raises(ValueError, match="one size only, .* --size=WxH"):
    exporting.lower(_OfOneSize(), {})
  made = exporting.lower(_OfOneSize(), {}, size=(2, 3))
  assert made.card["frame"] == "float32[b, 2, 3, 3]"
  ones = jnp.ones((2, 2, 3, 3))
  _, restored = made.step.call(made.init.call(ones), ones)
  np.testing.assert_array_equal(restored[1, :, 2, 0], [0, 1])


def test_what_cannot_be_exported_is_refused(tmp_path, capsys):
  with pytest.raises(ValueError, match="BasicVSR .*no streaming.*online=true"):
    exporting.lower(models.build("basicvsr"), {})
  with pytest.raises(ValueError, match="SpyNet is no restoration model"):
    exporting.lower(models.build("spynet"), {})
  for option, message in (
      ("--platforms=gpu", "one of cpu, cuda, tpu, rocm, but got 'gpu'"),
      ("--platforms=cpu,cpu", "cpu,cpu names a platform twice"),
      ("--size=640", "640 is no frame size"),
      ("--dtype=float16", "float32, bfloat16, but got dtype 'float16'"),
  ):
    assert cli.main(["export", str(tmp_path / "out"), option]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
  (tmp_path / "mine.txt").touch()
  assert cli.main(["export", str(tmp_path)]) == 2
  assert "not empty" in capsys.readouterr().err
  with pytest.raises(FileExistsError, match="not empty"):
    exporting.export(None, tmp_path)


def test_what_is_cut_short_leaves_no_folder(tmp_path, monkeypatch):
  class Written:
    def serialize(self):
      return b"program"

  programs = exporting.Programs(Written(), Written(), {})
  monkeypatch.setattr(exporting, "lower", lambda *_, **__: programs)

  def full(source, target):
    assert pathlib.Path(target).with_name("step.jaxexport").exists()
    raise OSError(errno.ENOSPC, "No space left on device")

  copyfile = exporting.shutil.copyfile
  monkeypatch.setattr(exporting.shutil, "copyfile", full)
  (tmp_path / "out").mkdir()  # Empty, it may be there.
  with pytest.raises(OSError, match="No space"):
    exporting.export(None, tmp_path / "out")
  assert [path.name for path in tmp_path.rglob("*")] == ["out"]
  monkeypatch.setattr(exporting.shutil, "copyfile", copyfile)
  (tmp_path / "out.partial").mkdir()  # Of one that was killed.
  exporting.export(None, tmp_path / "out")
  assert {path.name for path in tmp_path.rglob("*")} == {
      "out", "init.jaxexport", "step.jaxexport", "restore.py", "export.json"
  }


@pytest.mark.slow
@pytest.mark.parametrize("name", models.available())
def test_every_model_that_streams_is_exported_for_frames_of_any_size(name):
  model = models.build(name, **NEEDED.get(name, {}))
  if not model.restores or getattr(model, "bidirectional", False):
    return
  made = exporting.lower(model, _variables(model))
  assert made.card["frame"].startswith("float32[b, ")
  assert "h" in made.card["restored"] and "w" in made.card["restored"]
