"""The main command: what it leaves, how it resumes, what it refuses."""

import importlib.util
import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import configuration, job, main, train, validation
from tests import profiles
from vidrestore_jax import released
from vidrestore_jax.data import pipeline
from vidrestore_jax.training import sharding

ROOT = pathlib.Path(__file__).parents[2]
TINY = str(pathlib.Path(__file__).with_name("tiny.py"))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
  monkeypatch.chdir(ROOT)


def fails(capsys, *argv) -> str:
  """The one line on stderr of a command that must exit with 2."""
  assert main.main(list(argv)) == 2
  lines = capsys.readouterr().err.strip().splitlines()
  assert len(lines) == 1 and lines[0].startswith("error: "), lines
  return lines[0]


def state_of(config):
  """A job and its state before the first step."""
  built = job.build(config)
  item = {"clean": np.zeros((3, 24, 24, 3), np.uint8), "max_value": 255}
  if config.task.name == "optical_flow":
    item["flow"] = np.zeros((3, 24, 24, 2), np.float32)
  mesh = sharding.data_mesh(config.batch_size, jax.devices()[:1])
  create = sharding.jit_init(built.create_state, mesh)
  batch = pipeline.example_batch(
      [item],
      clip_length=config.clip_length,
      patch_size=config.patch_size,
      augment=False,
  )
  return built, create(batch)


def test_a_run_leaves_everything_that_is_promised(tmp_path):
  """A whole run in two jobs: a SpyNet, then the NCFL that starts from it."""
  config = configuration.load(TINY)
  flow = configuration.load(f"{TINY}:flow")
  for section in (config, flow):
    section.steps, section.checkpoint_every = 4, 2
  with config.unlocked():
    config.pretrain = {"motion": flow}
  train.run(config, tmp_path, command="COMMAND", profile=True)

  present = {path.name for path in tmp_path.iterdir()}
  assert present - {p for p in present if p.startswith("events.")} == {
      ".lock",
      "checkpoints",
      "config.json",
      "metrics.jsonl",
      "model",
      "pretrain",
      "profile",
      "report",
      "summary.json",
  }
  assert profiles.steps(tmp_path / "profile", "train") == [3]
  summary = json.loads((tmp_path / "summary.json").read_text())
  assert summary["step"] == 4
  assert summary["protocol"]["name"] == "fastdvdnet"
  numbers = summary["metrics"]["sigma_30"]
  assert set(numbers) == {"ours", "noisy", "median3", "median5"}
  # Noise of sigma 30: 20 log10(255 / 30) is 18.59 dB.
  assert abs(numbers["noisy"]["psnr"] - 18.59) < 0.2
  assert "COMMAND" in (tmp_path / "report" / "index.html").read_text()

  model, variables = released.load(tmp_path / "model")
  assert model == job.build(config).model
  # Motion was frozen for all of these 4 steps, so it is the pretrained one,
  # but for the rounding of its moving average.
  _, given = released.load(tmp_path / "pretrain" / "motion" / "model")
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
      variables["params"]["motion"],
      given["params"],
  )
  flow_summary = json.loads(
      (tmp_path / "pretrain" / "motion" / "summary.json").read_text()
  )
  errors = flow_summary["metrics"]["sigma_30"]
  assert errors["no motion"]["end_point_error"] > 0
  # The released model is the EMA, the hash is of the raw parameters.
  sha256 = released.params_sha256(given["params"])
  assert sha256 != flow_summary["params_sha256"]

  # The same command again, and a measurement only, change no number.
  for training in (True, False):
    train.run(config, tmp_path, command="COMMAND", training=training)
    again = json.loads((tmp_path / "summary.json").read_text())
    assert again["params_sha256"] == summary["params_sha256"]
    assert again["metrics"] == summary["metrics"]

  # Another config is refused in the same folder, and its key is named.
  with pytest.raises(ValueError) as raised:
    changed = configuration.load(TINY, [("optimizer.b2", "0.99")])
    train.run(changed, tmp_path, command="COMMAND")
  message = str(raised.value)
  assert "optimizer.b2 (0.999 there, 0.99 here)" in message
  assert f"--config.init_from={tmp_path}/model" in message


def test_fine_tuning_starts_from_the_released_parameters(tmp_path):
  config = configuration.load(TINY)
  built, state = state_of(config)
  params = jax.tree.map(lambda x: np.asarray(x) + 0.25, state.params)
  released.save(
      tmp_path / "model",
      name="ncfl",
      kwargs=built.model_kwargs,
      variables={"params": params},
  )
  config.init_from = str(tmp_path / "model")
  started = job.start_from_released(config, built, state)
  jax.tree.map(np.testing.assert_array_equal, started.params, params)
  jax.tree.map(np.testing.assert_array_equal, started.ema, params)
  # Donation needs each buffer once.
  pointers = [
      leaf.unsafe_buffer_pointer()
      for leaf in jax.tree.leaves((started.params, started.ema))
  ]
  assert len(set(pointers)) == len(pointers)

  other = configuration.load(TINY, [("model.latent_channels", "4")])
  other.init_from = config.init_from
  with pytest.raises(ValueError) as raised:
    built, state = state_of(other)
    job.start_from_released(other, built, state)
  message = str(raised.value)
  assert "compression.latent_channels is 8 there and 4 here" in message


def test_a_part_of_another_kind_is_refused_by_its_field(tmp_path):
  flow = configuration.load(f"{TINY}:flow")
  flow.model = flow.model.to_dict() | {"align_corners": True}
  built, state = state_of(flow)
  released.save(
      tmp_path / "spynet",
      name="spynet",
      kwargs=built.model_kwargs,
      variables={"params": state.params},
  )
  config = configuration.load(
      TINY, [("model.init_from.motion", str(tmp_path / "spynet"))]
  )
  with pytest.raises(ValueError) as raised:
    built, state = state_of(config)
    job.start_from_released(config, built, state)
  message = str(raised.value)
  assert "config.model.motion" in message
  assert "align_corners is True there and False here" in message


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--config.modle.name=ncfl", "Did you mean config.model?"),
        ("--config.model.widhts=(8,)", "Did you mean config.model.widths?"),
        ("--config.steps=many", "config.steps is 12 and takes a value of type"),
        ("--config.data.degradation=x", "is None and takes a value that"),
        ("--config.model=ncfl", "config.model is a section"),
        ("--config.steps.more=1", "config.steps is a value"),
        ("--config.steps", "needs a value"),
        ("--wrokdir=x", "Unknown argument '--wrokdir=x'"),
        ("--config.model.name=nfcl", "There is no model 'nfcl'"),
        ("--config.task.name=x", "There is no task 'x'"),
        ("--config.eval.protocol=x", "Unknown protocol 'x'"),
        ("--config.data.train.name=x", "no data source 'x'"),
        ("--config.patch_size=1000", "patch_size=1000 is larger"),
        ("--config.clip_length=9", "clip_length=9 is longer"),
        ("--config.patch_size=18", "18"),
        ("--config.init_from=/nope", "no model folder /nope"),
        ("--config.model.init_from.motion=/nope", "no model folder /nope"),
        ("--config.eval.published=davos", "No published table 'davos'"),
        ("--config.eval.baselines=('medan',)", "no model folder medan"),
        ("--config.eval.frames=-1", "config.eval.frames needs to be at least"),
        ("--config.eval.watch.clips=0", "config.eval.watch.clips needs to be"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    tmp_path, capsys, argument, said
):
  workdir = tmp_path / "run"
  line = fails(capsys, f"--config={TINY}", f"--workdir={workdir}", argument)
  assert said in line
  assert not workdir.exists()


def test_the_architecture_is_that_of_the_model_to_fine_tune(tmp_path):
  config = configuration.load(TINY)
  built, state = state_of(config)
  released.save(
      tmp_path / "model",
      name="ncfl",
      kwargs=built.model_kwargs,
      variables={"params": state.params},
  )
  workdir = tmp_path / "run"
  other = configuration.load(
      "configs/ncfl_folder.py", [("init_from", str(tmp_path / "model"))]
  )
  with other.unlocked():
    other.model.remat = "step"
  resolved = job.resolve(other, workdir)
  assert resolved.model.remat == "step"
  assert job.build(resolved).model == built.model.clone(remat="step")
  assert resolved.model.init_from.to_dict() == {"motion": ""}
  # The same command is the same config, also when the folder is gone.
  job.claim(workdir, resolved)
  (tmp_path / "model").rename(tmp_path / "moved")
  job.check_claim(workdir, job.resolve(other, workdir))
  assert other.model.motion.levels == 6  # What was given is not changed.


@pytest.mark.parametrize(
    "argument",
    [
        "model.widths=(4,8)",
        "model.init_from.motion=x",
        "pretrain.motion.steps=3",
    ],
)
def test_values_that_the_model_to_fine_tune_overrules_are_refused(
    capsys, argument
):
  line = fails(
      capsys,
      "--config=configs/ncfl_demo.py",
      "--workdir=/nowhere",
      f"--config.{argument}",
      "--config.init_from=runs/other/model",
  )
  assert f"--config.{argument} has no effect with --config.init_from" in line
  assert "runs/other/model" in line and "config.dtype" in line


@pytest.mark.parametrize(
    "name, key, value",
    [("ncfl_demo", "unroll", 8), ("restore_default", "remat", "block")],
)
def test_a_config_need_not_have_what_changes_only_the_speed(name, key, value):
  name = f"configs/{name}.py"
  config = configuration.load(name, [(f"model.{key}", str(value))])
  assert getattr(job.build(config).model, key) == value
  with pytest.raises(ValueError, match=f"config.model.x{key}"):
    configuration.load(name, [(f"model.x{key}", str(value))])


def test_what_a_model_does_not_take_is_no_key_of_its_config():
  with pytest.raises(ValueError, match="There is no config.model.unroll"):
    configuration.load("configs/restore_default.py", [("model.unroll", "8")])


def test_values_that_change_only_the_speed_go_with_fine_tuning():
  config = configuration.load(
      "configs/ncfl_davis.py",
      [("init_from", "x"), ("model.remat", "step"), ("dtype", "bfloat16")],
  )
  assert config.model.remat == "step"


@pytest.mark.parametrize("variant", ["", ":pairs"])
def test_measuring_falls_back_to_the_clips_of_training(tmp_path, variant):
  for clip in ("clean", "degraded"):
    (tmp_path / clip).mkdir()
    for i in range(5):
      frame = np.full((16, 24, 3), 40 * i, np.uint8)
      Image.fromarray(frame).save(tmp_path / clip / f"{i}.png")
  given = [("data.train.clean", str(tmp_path / "clean"))]
  if variant:
    given.append(("data.train.degraded", str(tmp_path / "degraded")))
  name = f"configs/ncfl_folder.py{variant}"
  config = configuration.load(name, given)
  measure = validation.build(config, job.build(config).model, print)
  (item,) = measure._clips()
  assert item["clean"].shape == (5, 16, 24, 3)
  assert ("degraded" in item) == bool(variant)

  config = configuration.load(name, given[:-1])
  with pytest.raises(ValueError, match=r"set --config\.data\.train\.\w+=CLIPS"):
    validation.build(config, job.build(config).model, print)


def test_a_missing_config_lists_those_that_exist(tmp_path, capsys):
  line = fails(capsys, "--config=configs/ncfl_davs.py", f"--workdir={tmp_path}")
  assert "There is no config file configs/ncfl_davs.py" in line
  assert "ncfl_folder.py" in line


def test_an_unknown_variant_lists_those_that_exist(tmp_path, capsys):
  line = fails(capsys, f"--config={TINY}:fast", f"--workdir={tmp_path}")
  assert line == (
      "error: tiny has no variant 'fast'. It has: noq, flow, fastdvdnet."
  )


def test_a_missing_folder_of_clips_is_named(tmp_path, capsys):
  workdir, missing = tmp_path / "run", tmp_path / "clips"
  line = fails(
      capsys,
      "--config=configs/ncfl_folder.py",
      f"--workdir={workdir}",
      f"--config.data.train.clean={missing}",
  )
  assert str(missing) in line
  assert not workdir.exists()


def test_measuring_before_training_says_what_to_do(tmp_path, capsys):
  workdir = tmp_path / "run"
  line = fails(
      capsys, f"--config={TINY}", f"--workdir={workdir}", "--mode=eval"
  )
  assert "has no checkpoints to measure" in line and "Train first" in line
  assert not workdir.exists()


def test_overrides_take_the_type_of_what_they_replace():
  given = ["--config.steps=1_000", "--config.data.augment", "false"]
  given += ["--config.eval.sigmas=50", "--config.optimizer.b1=1"]
  given += ["--config.model.widths=(4,6)", "--config.dtype=bfloat16"]
  config = configuration.load(TINY, configuration.parse_overrides(given))
  assert config.steps == 1000
  assert config.data.augment is False
  assert config.eval.sigmas == (50,)
  assert config.optimizer.b1 == 1.0
  assert isinstance(config.optimizer.b1, float)
  assert config.model.widths == (4, 6)
  assert config.dtype == "bfloat16"


def test_importing_the_command_is_light():
  """Worker processes import it again."""
  spec = importlib.util.find_spec("experiments.main")
  text = pathlib.Path(spec.origin).read_text()
  head = text[: text.index("def run(")]
  for name in ("jax", "vidrestore_jax", "experiments", "numpy"):
    assert f"\nimport {name}\n" not in head
    assert f"\nfrom {name} " not in head


def test_a_profile_of_no_steps_is_refused(tmp_path, capsys):
  command = [f"--config={TINY}", f"--workdir={tmp_path}", "--mode=eval"]
  assert main.main([*command, "--profile"]) == 2
  assert "Leave out one" in capsys.readouterr().err
