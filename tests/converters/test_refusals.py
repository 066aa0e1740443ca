"""What must not be converted is refused with one line, and leaves nothing.

Every case goes through the command. A pickle that would run code writes a
marker file; the first test shows that it does where it is let.
"""

import io
import os
import pathlib
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest

from vidrestore_jax import cli
from vidrestore_jax.converters import checkpoints

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
GOOD = GOLDEN / "dncnn_kair.pth"  # PyTorch's zip format.
OLD = GOLDEN / "dncnn_saoyan.pth"  # And that of before.
MAGIC = 0x1950A86A20F9469CFC6C


class Call:
  """What a pickle of it asks for: `function(*arguments)`."""

  def __init__(self, function, *arguments):
    self.call = function, arguments

  def __reduce__(self):
    return self.call


def zipped(data, *, method=zipfile.ZIP_STORED, **others):
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w", method) as archive:
    archive.writestr("archive/data.pkl", data)
    for name, content in others.items():
      archive.writestr(f"archive/{name}", content)
  return file.getvalue()


def old_format(data):
  """`data` where the old format has its state dict."""
  system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
  start = [pickle.dumps(part, 2) for part in (MAGIC, 1001, system)]
  return b"".join([*start, data, pickle.dumps([])])


def refused(tmp_path, capsys, path, *fragments, model="dncnn", options=()):
  """Asserts one line with each of `fragments`, status 2 and nothing written."""
  folder = tmp_path / "made"
  before = sorted(tmp_path.iterdir())
  status = cli.main(
      ["convert", str(path), str(folder), f"--model={model}", *options]
  )
  line = capsys.readouterr().err
  assert status == 2, line
  assert line.startswith("error: ") and line.count("\n") == 1, line
  assert str(path) in line
  for fragment in fragments:
    assert re.search(fragment, line), line
  assert sorted(tmp_path.iterdir()) == before


def payloads(marker):
  """Pickles that write `marker`, by the way in which they ask for it."""
  command = f"touch {marker}"
  weights = {"model.0.weight": Call(os.system, command)}
  return {
      **{
          f"protocol {n}": pickle.dumps(weights, n)
          for n in range(pickle.HIGHEST_PROTOCOL + 1)
      },
      "builtins": pickle.dumps(Call(eval, f"open({str(marker)!r}, 'w')"), 2),
      "nested": pickle.dumps({"params": {}, "args": Call(os.system, command)}),
      # Opcodes that no pickler of today writes: an instance by its class name.
      "inst": f"(S'{command}'\nios\nsystem\n.".encode(),
  }


@pytest.mark.parametrize("way", payloads("marker"))
def test_a_pickle_that_wants_code_is_refused_and_not_run(
    way, tmp_path, capsys
):
  marker = tmp_path / "marker"
  payload = payloads(marker)[way]
  pickle.loads(payload)
  assert marker.exists()  # So much for pickles.
  marker.unlink()
  files = {
      "zip.pth": zipped(payload),
      "old.pth": old_format(payload),
      "bare.pt": payload,
      "epoch.pth.tar": zipped(payload),
  }
  asked = (
      r"asks for (posix|os|nt|__builtin__|builtins)\.(system|eval)"
      ".*nothing of it was run"
  )
  for name, data in files.items():
    path = tmp_path / name
    path.write_bytes(data)
    refused(tmp_path, capsys, path, asked)
    assert not marker.exists()


def test_a_whole_module_or_numpy_object_is_refused_by_name(tmp_path, capsys):
  path = tmp_path / "model.pth"
  path.write_bytes(zipped(b"\x80\x02cmodels\nDnCNN\n)\x81."))
  refused(tmp_path, capsys, path, r"asks for models\.DnCNN", r"state_dict\(\)")
  objects = tmp_path / "objects.npz"
  np.savez(objects, weight=np.array([{"a": 1}], dtype=object))
  refused(tmp_path, capsys, objects, "plain arrays")


@pytest.mark.parametrize("source", [GOOD, OLD], ids=["zip", "old"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.97, 0.999])
def test_a_truncated_file_is_refused(source, kept, tmp_path, capsys):
  data = source.read_bytes()
  path = tmp_path / "cut.pth"
  path.write_bytes(data[: int(kept * len(data))])
  refused(tmp_path, capsys, path, "damaged|cut short")


def test_a_changed_byte_of_a_tensor_is_noticed(tmp_path, capsys):
  data = bytearray(GOOD.read_bytes())
  with zipfile.ZipFile(GOOD) as archive:
    name = next(n for n in archive.namelist() if n.endswith("data/0"))
    values = archive.read(name)
  data[bytes(data).index(values)] ^= 1
  path = tmp_path / "changed.pth"
  path.write_bytes(data)
  refused(tmp_path, capsys, path, "damaged")


def _tensor(shape, strides, *, count=4, offset=0, key="0"):
  """A state dict of one tensor, as it is pickled."""

  def numbers(values):
    return b"(" + b"".join(pickle.dumps(v, 2)[2:-1] for v in values) + b"t"

  def text(value):
    return b"X" + struct.pack("<I", len(value)) + value

  return b"".join([
      b"\x80\x02}(", text(b"model.0.weight"),
      b"ctorch._utils\n_rebuild_tensor_v2\n((", text(b"storage"),
      b"ctorch\nFloatStorage\n", text(key.encode()), text(b"cpu"),
      pickle.dumps(count, 2)[2:-1], b"tQ", pickle.dumps(offset, 2)[2:-1],
      numbers(shape), numbers(strides), b"\x89NtRu.",
  ])


@pytest.mark.parametrize(("change", "message"), [
    (dict(shape=(10**12,), strides=(0,)), "larger than its values"),
    (dict(shape=(2, 2), strides=(2, 2)), "larger than its values"),
    (dict(shape=(4,), strides=(1,), offset=1), "larger than its values"),
    (dict(shape=(4,), strides=(1,), offset=-4), "negative"),
    (dict(shape=(-4,), strides=(-1,)), "negative"),
    (dict(shape=(4,), strides=(1, 1)), "as PyTorch does not"),
    (dict(shape=(1,) * 65, strides=(1,) * 65), "as PyTorch does not"),
    (dict(shape=(8,), strides=(1,), count=8), "lacks some tensors' values"),
    (dict(shape=(4,), strides=(1,), key="../x"), "damaged"),
])
def test_a_tensor_outside_its_values_is_refused(
    change, message, tmp_path, capsys
):
  path = tmp_path / "forged.pth"
  values = {"data/0": np.ones(4, np.float32).tobytes()}
  path.write_bytes(zipped(_tensor((4,), (1,)), **values))
  assert list(checkpoints.read(path).tensors["model.0.weight"]) == [1] * 4
  path.write_bytes(zipped(_tensor(**change), **values))
  refused(tmp_path, capsys, path, message)


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
STORAGE += b"X\x03\x00\x00\x00cpuK\x04tQ"  # Four values.


@pytest.mark.parametrize("reached", {
    "storage": STORAGE,
    "storage type": b"ctorch\nFloatStorage\n",
    "function": REBUILD,
    "tensor": REBUILD + b"(" + STORAGE + b"K\x00K\x04\x85K\x01\x85\x89NtR",
}.items(), ids=lambda pair: pair[0])
@pytest.mark.parametrize("slots", [False, True])
def test_a_pickle_cannot_change_what_reads_it(
    reached, slots, tmp_path, capsys
):
  """Else a storage of four values could be said to have a million."""
  state = pickle.dumps({"count": 1_000_000, "__defaults__": (1,)}, 2)[2:-1]
  state = b"N" + state + b"\x86" if slots else state
  path = tmp_path / "forged.pth"
  values = {"data/0": np.ones(4, np.float32).tobytes()}
  data = b"\x80\x02}X\x01\x00\x00\x00a" + reached[1]
  path.write_bytes(zipped(data + state + b"bs.", **values))
  refused(tmp_path, capsys, path, "tries to change")


@pytest.mark.parametrize(("data", "message"), [
    (b"", "damaged"),
    (b"no pickle", "damaged"),
    (pickle.dumps({"model.0.weight": 1.0}), "a pickle, but not a PyTorch"),
    (old_format(pickle.dumps([1, 2])), "holds a list"),
    (old_format(pickle.dumps({"model.0.weight": 1.0})), "is a float"),
    (old_format(pickle.dumps({})), "holds no tensors"),
    (zipped(pickle.dumps({}), method=zipfile.ZIP_DEFLATED), "compressed"),
    (zipped(pickle.dumps({}), byteorder=b"big"), "byte order 'big'"),
    # It would make an unpickler reserve 32 GB.
    (zipped(b"\x80\x02}r\xff\xff\xff\x7f."), "numbers its objects"),
    (zipped(b"\x80\x02(X\x01\x00\x00\x00ai\x00tQ."), "damaged"),
    (zipped(b"\x80\x02K\x01Q."), "no tensor where a tensor should be"),
    (
        zipped(pickle.dumps({"params": {}, "params_ema": {}})),
        "several state dicts: params, params_ema.*--key=params",
    ),
])
def test_what_is_no_state_dict_is_refused(data, message, tmp_path, capsys):
  path = tmp_path / "weights.pth"
  path.write_bytes(data)
  refused(tmp_path, capsys, path, message)


def test_paths_that_are_no_checkpoint_are_refused(tmp_path, capsys):
  folder = tmp_path / "folder.pth"
  folder.mkdir()
  refused(tmp_path, capsys, folder, "is a folder")
  refused(tmp_path, capsys, tmp_path / "no.pth", "no file")
  other = tmp_path / "weights.onnx"
  other.write_bytes(b"")
  refused(tmp_path, capsys, other, r"\.pth, .*\.npz, \.safetensors are")
  for name in ("broken.npz", "broken.safetensors"):
    broken = tmp_path / name
    broken.write_bytes(b"PK\x03\x04 not a zip")
    refused(tmp_path, capsys, broken, "not a readable|no safetensors")
  # An .npz of bytes, and what is an array and no archive.
  checkpoint = tmp_path / "torch.npz"
  checkpoint.write_bytes(GOOD.read_bytes())
  refused(tmp_path, capsys, checkpoint, "not a readable")
  np.save(tmp_path / "one.npy", np.zeros(3))
  one = (tmp_path / "one.npy").rename(tmp_path / "one.npz")
  refused(tmp_path, capsys, one, "not a readable")


def renamed(tensors, old, new):
  return {new if k == old else k: v for k, v in tensors.items()}


def changed(tensors, name, value):
  return tensors | {name: value}


@pytest.mark.parametrize(("change", "messages"), [
    (
        lambda t: renamed(t, "model.2.weight", "model.2.wieght"),
        [r"model\.2\.weight missing; no rule for model\.2\.wieght"],
    ),
    (
        lambda t: changed(t, "model.99.weight", np.ones(3, np.float32)),
        [r"no rule for model\.99\.weight"],
    ),
    (
        lambda t: {k: v for k, v in t.items() if k != "model.3.running_var"},
        [r"model\.3\.running_var missing"],
    ),
    (
        lambda t: {k: v for k, v in t.items() if k != "model.0.weight"},
        ["missing|no rule"],
    ),
    (
        lambda t: changed(t, "model.2.weight", t["model.2.weight"][:, :3]),
        [r"model\.2\.weight has shape \(4, 3, 3, 3\)", r"needs \(4, 4, 3, 3\)"],
    ),
    (
        lambda t: changed(t, "model.2.weight", t["model.2.bias"]),
        ["no rule for model"],
    ),
    (
        lambda t: changed(t, "model.2.bias", np.array([1, np.nan, 1, 1], "f4")),
        [r"model\.2\.bias holds NaN"],
    ),
    (
        lambda t: changed(
            t, "model.3.running_var", np.array([1, np.inf, 1, 1], "f4")
        ),
        [r"model\.3\.running_var holds NaN or infinite"],
    ),
    (
        lambda t: changed(t, "model.2.bias", np.ones(4, np.int64)),
        [r"model\.2\.bias is int64"],
    ),
    (
        lambda t: changed(t, "model.3.num_batches_tracked", np.ones(2, "i8")),
        [r"num_batches_tracked is no single integer"],
    ),
    (
        lambda t: {f"net.{k}": v for k, v in t.items()},
        [r"is no dncnn: it holds net\.model", r"model\.0\.weight \(kair\)"],
    ),
    (
        lambda t: changed(t, "model.0.weight", np.ones((0, 3, 3, 3), "f4")),
        [r"holds no values in model\.0\.weight"],
    ),
    # A name that would clear the terminal.
    (
        lambda t: changed(t, "\x1b[2J\n", np.ones(3, np.float32)),
        [r"no rule for \?\[2J \.$"],
    ),
    # Not one release's `module.`: some names have it, some do not.
    (
        lambda t: renamed(t, "model.0.bias", "module.model.0.bias"),
        [r"no rule for module\.model\.0\.bias|missing"],
    ),
])
def test_tensors_that_are_not_the_models_are_refused(
    change, messages, tmp_path, capsys
):
  tensors = change(checkpoints.read(GOOD).tensors)
  path = tmp_path / "weights.pth"
  checkpoints.write(path, tensors)
  refused(tmp_path, capsys, path, *messages)


@pytest.mark.parametrize("shape", [(), (5,), (0, 4, 3, 3)])
@pytest.mark.parametrize(("model", "name"), [
    ("fastdvdnet", "temp1.inc.convblock.0.weight"),
    ("noise2noise", "_block1.0.weight"),
    ("spynet", "modelL1_F-1-weight"),
])
def test_a_tensor_that_is_no_kernel_tells_no_widths(
    model, name, shape, tmp_path, capsys
):
  path = tmp_path / "weights.npz"
  np.savez(path, **{name: np.ones(shape, np.float32)})
  message = "four axes" if 0 not in shape else "holds no values in"
  refused(tmp_path, capsys, path, message, re.escape(name), model=model)


def test_another_model_or_argument_is_refused(tmp_path, capsys):
  refused(tmp_path, capsys, GOOD, "is no fastdvdnet", model="fastdvdnet")
  for argument, message in (
      ("--config.width=5", r"shape \(4, 3, 3, 3\).*needs \(5, 3, 3, 3\)"),
      ("--config.depth=3", "no rule for"),
      ("--config.dpeth=3", "takes no argument dpeth"),
      ("--config.depth=deep", "cannot|depth|str"),
      ("--key=net", "no key 'net'"),
  ):
    refused(tmp_path, capsys, GOOD, message, options=[argument])


def test_weights_that_do_not_do_the_same_are_not_written(tmp_path, capsys):
  """BatchNorm's epsilon of another library: no shape tells."""
  options = [f"--check={GOLDEN / 'dncnn_kair.npz'}", "--config.epsilon=0.01"]
  folder = tmp_path / "made"
  status = cli.main(
      ["convert", str(GOOD), str(folder), "--model=dncnn", *options]
  )
  output = capsys.readouterr()
  assert status == 2 and not any(tmp_path.iterdir())
  assert "output" in output.out and "Nothing was written" in output.err
  for wrong, message in (
      (GOLDEN / "dncnn_saoyan.npz", "channels"),
      (GOLDEN / "none.npz", "no file"),
      (GOLDEN / "dncnn_kair.pth", "not a readable"),
  ):
    status = cli.main(
        ["convert", str(GOOD), str(folder), "--model=dncnn", f"--check={wrong}"]
    )
    line = capsys.readouterr().err
    assert status == 2 and message in line and line.count("\n") == 1, line
    assert not any(tmp_path.iterdir())
