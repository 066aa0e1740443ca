"""Published weights become models and come back: names, order and bytes."""

import importlib.util
import json
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
from flax import traverse_util

from experiments import evaluate
from vidrestore_jax import cli, converters, models, released
from vidrestore_jax.converters import checkpoints, torch_layouts

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
# Of `tests/golden`: the model, its arguments as inferred, prefix and layout.
CASES = {
    "dncnn_saoyan": (
        "dncnn",
        dict(depth=4, width=4, channels=1, bias=False, batch_norm=True),
        "module.",
        "saoyan",
    ),
    "dncnn_kair": (
        "dncnn",
        dict(depth=4, width=4, channels=3, bias=True, epsilon=1e-4),
        "",
        "kair",
    ),
    "noise2noise": (
        "noise2noise",
        dict(preset="pytorch", width=4, output_widths=[6, 5], channels=3),
        "",
        "joeylitalien",
    ),
}


def run(*words):
  assert cli.main([str(word) for word in words]) == 0


def named(path):
  """Tensors by their full names."""
  checkpoint = checkpoints.read(path)
  return {checkpoint.prefix + k: v for k, v in checkpoint.tensors.items()}


def assert_same(ours, theirs):
  for name in theirs:
    assert ours[name].dtype == theirs[name].dtype, name
    np.testing.assert_array_equal(ours[name], theirs[name], strict=True)
  assert len(ours) == len(theirs)


@pytest.mark.parametrize("case", CASES)
def test_a_conversion_does_what_pytorch_does_and_comes_back(
    case, tmp_path, capsys
):
  name, kwargs, prefix, layout = CASES[case]
  source = GOLDEN / f"{case}.pth"
  run(
      "convert", source, tmp_path / "model", f"--model={name}",
      f"--check={GOLDEN / case}.npz",
  )
  assert "output" in capsys.readouterr().out
  card = json.loads((tmp_path / "model" / "model.json").read_text())
  assert kwargs.items() <= card["kwargs"].items()
  assert card["source"]["layout"] == layout
  assert card["source"]["prefix"] == prefix
  # A shift by one tap or an epsilon of 1e-5 for 1e-4 would be above 1e-5.
  assert card["numbers"]["parity"]["max_abs_error"]["output"] < 2e-6

  original = named(source)
  for file in ("back.pth", "back.npz", "back.safetensors"):
    run("export-torch", tmp_path / "model", tmp_path / file)
    assert_same(named(tmp_path / file), original)
  assert list(named(tmp_path / "back.pth")) == list(original)
  run("export-torch", tmp_path / "model", tmp_path / "bare.pt", "--prefix=")
  bare = named(tmp_path / "bare.pt")
  assert list(bare) == [key.removeprefix(prefix) for key in original]


def test_what_is_exported_converts_to_the_same_model(tmp_path):
  """Folder, PyTorch, folder: a model of ours has no counts, so they are 0."""
  model = models.build("fastdvdnet", widths=(4, 6, 8), interm=2)
  generator = np.random.default_rng(0)
  shapes = released.variable_shapes(model)
  flat = {
      path: generator.normal(size=shape).astype(np.float32)
      for path, shape in shapes.items()
  }
  released.save(
      tmp_path / "ours",
      name="fastdvdnet",
      kwargs=dict(widths=(4, 6, 8), interm=2),
      variables=traverse_util.unflatten_dict(flat, sep="/"),
  )
  run("export-torch", tmp_path / "ours", tmp_path / "ours.pth")
  tensors = named(tmp_path / "ours.pth")
  # Grouped: each of six kernels sees one frame's three colours and its noise.
  grouped = tensors["temp1.inc.convblock.0.weight"]
  assert grouped.shape == (6, 4, 3, 3)
  np.testing.assert_array_equal(
      grouped[5, 2], flat["params/temp1/inc/conv_0/kernel"][:, :, 2, 5]
  )
  assert tensors["temp2.outc.convblock.1.num_batches_tracked"] == 0
  run("convert", tmp_path / "ours.pth", tmp_path / "back", "--model=fastdvdnet")
  rebuilt, back = released.load(tmp_path / "back")
  assert rebuilt == model
  back = traverse_util.flatten_dict(back, sep="/")
  assert_same(back, flat)


def test_a_layout_can_be_chosen_and_names_what_it_can(tmp_path, capsys):
  run("convert", GOLDEN / "dncnn_saoyan.pth", tmp_path / "m", "--model=dncnn")
  run("export-torch", tmp_path / "m", tmp_path / "k.pth", "--layout=kair")
  tensors = named(tmp_path / "k.pth")
  assert list(tensors)[:2] == ["module.model.0.weight", "module.model.2.weight"]
  capsys.readouterr()
  for options, message in (
      (["--layout=none"], "no layout 'none'; it has: kair, saoyan"),
      ([], "k.pth exists"),
  ):
    words = ["export-torch", tmp_path / "m", tmp_path / "k.pth", *options]
    assert cli.main([str(word) for word in words]) == 2
    line = capsys.readouterr().err
    assert message in line and line.count("\n") == 1
  words = ["export-torch", tmp_path / "m", tmp_path / "new.txt"]
  assert cli.main([str(word) for word in words]) == 2
  assert "no checkpoint by its name" in capsys.readouterr().err
  released.save(
      tmp_path / "blind",
      name="noise2noise",
      kwargs=dict(preset="original", width=2, output_widths=(2, 2)),
      variables=_zeros("noise2noise", "original"),
  )
  words = ["export-torch", tmp_path / "blind", tmp_path / "new.pth"]
  assert cli.main([str(word) for word in words]) == 2
  assert "the preset 'pytorch'" in capsys.readouterr().err
  assert not (tmp_path / "new.pth").exists()


def _zeros(name, preset):
  model = models.build(name, preset=preset, width=2, output_widths=(2, 2))
  shapes = released.variable_shapes(model)
  flat = {path: np.zeros(shape, "f4") for path, shape in shapes.items()}
  return traverse_util.unflatten_dict(flat, sep="/")


def test_released_dncnns_differ_in_norm_bias_and_noise_map(tmp_path):
  """KAIR's files: BatchNorm merged; FDnCNN sees one channel more."""
  generator = np.random.default_rng(0)

  def chain(given, made, width=5):
    widths = [given, width, width, made]
    tensors = {}
    for i in range(3):
      shape = (widths[i + 1], widths[i], 3, 3)
      tensors[f"model.{2 * i}.weight"] = generator.normal(size=shape)
      tensors[f"model.{2 * i}.bias"] = generator.normal(size=shape[:1])
    return {k: v.astype(np.float32) for k, v in tensors.items()}

  for given, made in ((3, 3), (4, 3), (2, 1)):
    path = tmp_path / f"{given}{made}.npz"
    checkpoints.write(path, chain(given, made))
    kwargs, variables, _ = converters.read("dncnn", path)
    fdncnn = given == made + 1
    assert kwargs["noise_map"] is fdncnn and kwargs["residual"] is not fdncnn
    assert not kwargs["batch_norm"] and kwargs["depth"] == 3
    assert set(variables) == {"params"}


@pytest.mark.parametrize("wrapper", [*checkpoints.WRAPPERS, "generator"])
def test_a_state_dict_is_found_where_training_checkpoints_keep_it(
    wrapper, tmp_path
):
  """Beside an optimizer's state, which stays unread."""
  plain = tmp_path / "plain.pth"
  checkpoints.write(plain, {"a.weight": np.ones((1, 2), np.float32)})
  with zipfile.ZipFile(plain) as archive:
    pickled = archive.read("archive/data.pkl")[2:-1]
    values = archive.read("archive/data/0")
  name = wrapper.encode()
  wrapped = b"".join([
      b"\x80\x02}(X", len(name).to_bytes(4, "little"), name, pickled,
      b"X\x05\x00\x00\x00epochK\x07u.",
  ])
  path = tmp_path / "wrapped.pth"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", wrapped)
    archive.writestr("archive/data/0", values)
  key = None if wrapper in checkpoints.WRAPPERS else wrapper
  found = checkpoints.read(path, key=key)
  assert found.key == wrapper and list(found.tensors) == ["a.weight"]


def test_axes_of_every_kind_go_there_and_back():
  generator = np.random.default_rng(0)
  cases = {
      # PyTorch's axes by size -> ours.
      "KERNEL": ((5, 2, 3, 4), (3, 4, 2, 5)),
      "TRANSPOSED": ((2, 5, 3, 4), (3, 4, 2, 5)),
      "KERNEL_3D": ((5, 2, 6, 3, 4), (6, 3, 4, 2, 5)),
      "KERNEL_OF_FRAME": ((5, 2, 1, 3, 4), (3, 4, 2, 5)),
      "VECTOR": ((5,), (5,)),
  }
  for name, (theirs, ours) in cases.items():
    kind = getattr(torch_layouts, name)
    value = generator.normal(size=theirs)
    assert kind.ours(value).shape == ours
    np.testing.assert_array_equal(kind.theirs(kind.ours(value)), value)


def test_arguments_that_shapes_do_not_tell_come_from_the_command_line(
    tmp_path, capsys
):
  run(
      "convert", GOLDEN / "dncnn_kair.pth", tmp_path / "model", "--model=dncnn",
      "--config.residual=false", "--config.epsilon=1e-3",
  )
  kwargs = released.read_card(tmp_path / "model")["kwargs"]
  assert kwargs["residual"] is False and kwargs["epsilon"] == 1e-3
  for words in (
      ["list", "--config.residual=false"],
      ["convert", "a.pth", "b", "--model=dncnn", "--residual=false"],
  ):
    with pytest.raises(SystemExit) as stopped:
      cli.main(words)
    assert stopped.value.code == 2
    assert f"unrecognized arguments: {words[-1]}" in capsys.readouterr().err


class Recorder(pickle.Unpickler):
  """Loads what a pickle asks for as (module, name, arguments)."""

  def find_class(self, module, name):
    if name == "OrderedDict":
      return StateDict
    if name.endswith("Storage"):
      return f"{module}.{name}"
    return lambda *arguments: (module, name, arguments)

  def persistent_load(self, pid):
    return pid


class StateDict(dict):

  def __setstate__(self, state):
    pass  # Versions of modules, which are optional.


def test_what_is_written_asks_pytorch_for_what_its_own_file_does(tmp_path):
  """The same calls with the same arguments, in the same order."""
  golden = GOLDEN / "dncnn_kair.pth"
  checkpoints.write(tmp_path / "ours.pth", checkpoints.read(golden).tensors)
  asked = []
  for path in (golden, tmp_path / "ours.pth"):
    with zipfile.ZipFile(path) as archive:
      folder = archive.namelist()[0].split("/")[0]
      with archive.open(f"{folder}/data.pkl") as file:
        asked.append(list(Recorder(file).load().items()))
      assert archive.read(f"{folder}/byteorder") == b"little"
      assert archive.read(f"{folder}/version") == b"3\n"
  assert len(asked[0]) == 18 and asked[0] == asked[1]


# Against PyTorch itself, where it is installed --------------------------------


@pytest.fixture
def torch():
  return pytest.importorskip("torch", reason="PyTorch is not installed")


def test_pytorch_reads_what_is_written_here(torch, tmp_path):
  tensors = {
      "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
      "count": np.array(70_000, np.int64),
      "empty": np.zeros((0, 3), np.float32),
  }
  checkpoints.write(tmp_path / "x.pth", tensors)
  for options in ({}, {"mmap": True}):
    loaded = torch.load(tmp_path / "x.pth", weights_only=True, **options)
    assert list(loaded) == list(tensors)
    assert_same({k: v.numpy() for k, v in loaded.items()}, tensors)


@pytest.mark.parametrize("new", [True, False])
def test_what_pytorch_writes_is_read_here(new, torch, tmp_path):
  shared = torch.arange(24.0).reshape(2, 3, 4)
  tensors = {
      "whole": shared,
      "transposed": shared.permute(2, 0, 1),
      "slice": shared[1:, :, ::2],
      "parameter": torch.nn.Parameter(torch.ones(3)),
      "half": torch.tensor([1.5, -2.0]).half(),
      "bfloat16": torch.tensor([1.5, -3.0]).bfloat16(),
      "double": torch.tensor([0.1], dtype=torch.float64),
      "count": torch.tensor(7),
  }
  path = tmp_path / "x.pth"
  torch.save(
      {"state_dict": tensors, "epoch": 3},
      path,
      _use_new_zipfile_serialization=new,
  )
  ours = checkpoints.read(path).tensors
  assert list(ours) == list(tensors)
  for name, value in tensors.items():
    expected = value.detach()
    if name == "bfloat16":
      expected = expected.float()
    np.testing.assert_array_equal(ours[name], expected.numpy(), strict=True)


def test_names_and_order_of_the_table_load_into_the_original(torch, tmp_path):
  """strict=True: no key missing or unexpected."""
  spec = importlib.util.spec_from_file_location(
      "make", GOLDEN / "make_torch_checkpoints.py"
  )
  make = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(make)
  run("convert", GOLDEN / "dncnn_kair.pth", tmp_path / "m", "--model=dncnn")
  run("export-torch", tmp_path / "m", tmp_path / "x.pth")
  loaded = torch.load(tmp_path / "x.pth", weights_only=True)
  original = make.Kair()
  original.load_state_dict(loaded, strict=True)
  with np.load(GOLDEN / "dncnn_kair.npz") as golden, torch.no_grad():
    output = original.eval()(torch.from_numpy(golden["input"])).numpy()
    np.testing.assert_allclose(output, golden["output"], atol=1e-6)


# Against published weights ----------------------------------------------------


@pytest.fixture(scope="module")
def reference(real_data):
  return real_data / "reference"


def test_fastdvdnet_does_what_its_release_does(reference, tmp_path, capsys):
  """Forward, first stage and sequence; then a size that must be padded."""
  whole = reference / "fastdvdnet_halved_128_s20.npz"
  source = reference / "fastdvdnet_halved.pth"
  run(
      "convert", source, tmp_path / "model", "--model=fastdvdnet",
      f"--check={whole}",
  )
  card = json.loads((tmp_path / "model" / "model.json").read_text())
  assert card["kwargs"] == {
      "channels": 3, "widths": [16, 32, 64], "interm": 30, "noise_map": True,
  }
  errors = card["numbers"]["parity"]["max_abs_error"]
  assert set(errors) == {
      "raw_forward_unclamped", "stage1_frames012", "seq_out_clamped",
  }
  assert max(errors.values()) < 2e-6  # 2e-5 is asked for.
  _, variables = released.load(tmp_path / "model")
  odd = reference / "fastdvdnet_halved_odd61x71_6f_s30.npz"
  report = converters.check("fastdvdnet", card["kwargs"], variables, odd)
  assert report["max_abs_error"]["seq_out_clamped"] < 2e-6

  run("export-torch", tmp_path / "model", tmp_path / "back.pth")
  assert_same(named(tmp_path / "back.pth"), named(source))
  assert list(named(tmp_path / "back.pth")) == list(named(source))


def test_spynet_checks_itself_against_the_original_flow(reference, tmp_path):
  run(
      "convert", reference / "spynet_weights.npz", tmp_path / "model",
      "--model=spynet", f"--check={reference / 'spynet_vid4_city_0_1.npz'}",
  )
  card = released.read_card(tmp_path / "model")
  assert card["kwargs"]["levels"] == 6  # Of which the crop takes three.
  assert card["numbers"]["parity"]["max_abs_error"]["crop_flow"] < 1e-4
  run("export-torch", tmp_path / "model", tmp_path / "back.npz")
  original = named(reference / "spynet_weights.npz")
  assert_same(named(tmp_path / "back.npz"), original)


# PSNR of the noisy and of the restored first 10 frames, by the release's code.
KNOWN = {
    20: {"davis_drift-chicane": (22.11, 35.42), "ntia_aspen": (22.11, 35.41)},
    50: {"davis_drift-chicane": (14.15, 31.52), "ntia_aspen": (14.15, 31.38)},
}


@pytest.mark.slow
def test_converted_fastdvdnet_reaches_the_known_numbers(reference, tmp_path):
  source = reference / "fastdvdnet_halved.pth"
  run("convert", source, tmp_path / "model", "--model=fastdvdnet")
  clips = tmp_path / "clips"
  clips.mkdir()
  for name in KNOWN[20]:
    (clips / name).symlink_to(reference.parent / "clips" / name)
  for sigma, known in KNOWN.items():
    out = tmp_path / f"{sigma}.json"
    status = evaluate.main([
        f"--model=noisy,{tmp_path / 'model'}", f"--data={clips}",
        "--protocol=fastdvdnet", f"--sigma={sigma}", "--frames=10",
        f"--json={out}",
    ])
    assert status == 0
    noisy, restored = json.loads(out.read_text())["results"]
    for name, (before, after) in known.items():
      assert abs(noisy["clips"][name]["psnr"] - before) < 0.01
      assert abs(restored["clips"][name]["psnr"] - after) < 0.01
