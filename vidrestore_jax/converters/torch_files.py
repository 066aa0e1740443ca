"""PyTorch's checkpoint files, read and written without PyTorch.

A checkpoint is a pickle, and a pickle may ask for any function of any library
to be called: opening a stranger's checkpoint can run a stranger's code.
`torch.load(weights_only=True)` therefore looks the names that a pickle asks for
up in a list of its own. This is the same rule with a shorter list, `_NAMES`,
so that converting weights needs no PyTorch and is safe by construction: what a
pickle can reach is the handful of names below, each of which this file defines,
and nothing is ever imported for it. Anything else is refused by name.

Both of PyTorch's formats are read: the zip archive, and the stream of before
version 1.6, in which many published weights still are. The zip is written.
"""

import io
import pathlib
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

# Of torch/serialization.py: how a stream of the old format begins.
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# More numbered objects than any checkpoint has.
_MEMO = 1_000_000
_AXES = 64  # PyTorch's limit, and NumPy's.
# How `zipfile`, the unpickler and what it calls fail on damaged or forged data:
# opcodes may bring any values to any place.
_DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError,
    RuntimeError, TypeError, ValueError, pickle.PickleError, struct.error,
    zipfile.BadZipFile,
)
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


class _RefusedError(Exception):
  """A file that could be read on, but must not be."""


def _keep_state(self, state):
  """`__setstate__` of all that a pickle reaches, which it must not change.

  Without one, the unpickler sets any attribute that the pickle names: a
  storage's size, behind which lies other memory, or a function's defaults.
  """
  raise _RefusedError("tries to change what it is read with")


class _StorageType(NamedTuple):
  dtype: str

  __setstate__ = _keep_state

  @property
  def itemsize(self):
    return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize


class _Storage:
  """Values of a storage; the old format gives them after the tensors."""

  __slots__ = ("count", "kind", "values")
  __setstate__ = _keep_state

  def __init__(self, kind, count):
    self.kind, self.count, self.values = kind, count, None

  def fill(self, data):
    if len(data) != self.count * self.kind.itemsize:
      raise _RefusedError("is cut short: it lacks some tensors' values")
    if self.kind.dtype == "bfloat16":  # The upper half of a float32.
      upper = np.frombuffer(data, "<u2").astype(np.uint32)
      self.values = (upper << 16).view(np.float32)
    else:
      self.values = np.frombuffer(data, self.kind.dtype)


class Tensor(NamedTuple):
  """A tensor of a checkpoint, its place in the file checked."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  __setstate__ = _keep_state

  def array(self) -> np.ndarray:
    """The values, read-only; bfloat16 as float32."""
    values = self.storage.values
    return np.lib.stride_tricks.as_strided(
        values[self.offset :],
        self.shape,
        [stride * values.itemsize for stride in self.strides],
        writeable=False,
    )


class _Dict(dict):
  """An OrderedDict; attributes are not taken over."""

  __slots__ = ()

  def __setstate__(self, state):
    pass  # A state dict's `_metadata`: versions of modules.


def _tensor(storage, offset, shape, strides, *_):
  """A tensor, its reach into the storage checked."""
  shape, strides = tuple(shape), tuple(strides)
  whole = (offset, *shape, *strides)
  if (
      not isinstance(storage, _Storage)
      or len(shape) != len(strides)
      or len(shape) > _AXES
  ):
    raise _RefusedError("describes a tensor as PyTorch does not")
  if not all(type(n) is int and n >= 0 for n in whole):
    raise _RefusedError("describes a tensor with negative or odd sizes")
  count, last = 1, offset
  for size, stride in zip(shape, strides):
    count, last = count * size, last + (size - 1) * stride
  # Repeating values (stride 0) would make a small file a huge array.
  if count and (last >= storage.count or count > storage.count):
    raise _RefusedError("describes a tensor that is larger than its values")
  return Tensor(storage, offset if count else 0, shape, strides)


def _parameter(tensor, *_):
  return tensor


class _Function:
  """A function that a pickle may call, and do nothing else with."""

  __slots__ = ("_function",)
  __setstate__ = _keep_state

  def __init__(self, function):
    self._function = function

  def __call__(self, *arguments):
    return self._function(*arguments)


# All that a pickle may name.
_NAMES = {
    ("collections", "OrderedDict"): _Function(_Dict),
    ("torch._utils", "_rebuild_tensor"): _Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(_parameter),
} | {("torch", name): _StorageType(d) for name, d in _DTYPES.items()}


class _Unpickler(pickle.Unpickler):
  """An unpickler that knows `_NAMES` and nothing else."""

  def __init__(self, file, storage=None):
    # Pickles of Python 2 hold bytes for text.
    super().__init__(file, encoding="utf-8")
    self._storage = storage

  def find_class(self, module, name):
    try:
      return _NAMES[module, name]
    except KeyError:
      raise _RefusedError(
          f"asks for {module}.{name}, which weights do not need and which"
          " could run code; nothing of it was run. If you trust the file,"
          " open it in PyTorch and save the model's state_dict() alone"
      ) from None

  def persistent_load(self, pid):
    if self._storage is None or type(pid) is not tuple or len(pid) < 5:
      raise _RefusedError("holds what is no tensor where a tensor should be")
    kind, storage_type, key, _, count, *view = pid
    if (
        kind != "storage"
        or not isinstance(storage_type, _StorageType)
        or not isinstance(key, str)
        or type(count) is not int
        or count < 0
        or any(part is not None for part in view)
    ):
      raise _RefusedError("holds what is no tensor where a tensor should be")
    return self._storage(storage_type, key, count)


def read(path):
  """What a checkpoint holds.

  Args:
    path: a file that `torch.save` wrote, of any version since 0.1.10.

  Returns:
    The object: dicts, lists, numbers and texts as they are, each tensor as a
    `Tensor`.

  Raises:
    ValueError: the file asks for more than tensors and plain values, is damaged
      or is none of PyTorch's.
  """
  data = pathlib.Path(path).read_bytes()
  try:
    if data.startswith(b"PK\x03\x04"):
      return _read_zip(data)
    return _read_stream(data)
  except _RefusedError as error:
    raise ValueError(f"{path} {error}.") from None
  except _DAMAGE as error:
    raise ValueError(
        f"{path} is damaged or no PyTorch checkpoint ({type(error).__name__})."
        " Copy or download it again."
    ) from error


def _read_zip(data):
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    names = archive.namelist()
    folder = names[0].split("/")[0]
    if f"{folder}/data.pkl" not in names:
      raise _RefusedError("is a zip archive, but not one of PyTorch's")
    if any(entry.compress_type for entry in archive.infolist()):
      # PyTorch compresses nothing; a small file could unpack to any size.
      raise _RefusedError("is compressed, which PyTorch's files are not")
    if f"{folder}/byteorder" in names:
      order = archive.read(f"{folder}/byteorder")
      if order != b"little":
        raise _RefusedError(f"has the byte order {order.decode()!r}")
    storages = {}

    def storage(kind, key, count):
      if key not in storages:
        storages[key] = _Storage(kind, count)
        storages[key].fill(archive.read(f"{folder}/data/{key}"))
      return storages[key]

    return _load(io.BytesIO(archive.read(f"{folder}/data.pkl")), storage)


def _read_stream(data):
  """The format of before PyTorch 1.6: five pickles, then the storages."""
  file = io.BytesIO(data)
  if _load(file) != _MAGIC:
    raise _RefusedError("is a pickle, but not a PyTorch checkpoint")
  protocol, system = _load(file), _load(file)
  if protocol != _PROTOCOL or not system["little_endian"]:
    raise _RefusedError("is of a machine or a PyTorch that is not read here")
  storages = {}

  def storage(kind, key, count):
    return storages.setdefault(key, _Storage(kind, count))

  loaded = _load(file, storage)
  keys = _load(file)
  if set(keys) != set(storages):
    raise _RefusedError("lists other tensors than it holds")
  for key in keys:
    stored = storages[key]
    (count,) = struct.unpack("<q", file.read(8))
    if count != stored.count:
      raise _RefusedError("says two sizes for one tensor")
    stored.fill(file.read(count * stored.kind.itemsize))
  return loaded


def _load(file, storage=None):
  """One pickle of a file."""
  start = file.tell()
  for opcode, argument, _ in pickletools.genops(file):
    # The unpickler makes room for as many as the highest number says.
    if opcode.name.endswith("PUT") and argument > _MEMO:
      raise _RefusedError("numbers its objects as no checkpoint does")
  file.seek(start)
  return _Unpickler(file, storage).load()


def write(file, tensors: Mapping[str, np.ndarray]):
  """Writes a state dict as `torch.save` would, float32 and int64.

  Args:
    file: a path or a binary file.
    tensors: arrays by name, in order.
  """
  parts = [b"\x80\x02", _global("collections", "OrderedDict"), b")R("]
  values = {}
  for index, (name, array) in enumerate(tensors.items()):
    parts += [_text(name), _pickled_tensor(str(index), array)]
    little = array.astype(array.dtype.newbyteorder("<"))
    values[f"data/{index}"] = little.tobytes()
  parts.append(b"u.")
  members = {"data.pkl": b"".join(parts), "byteorder": b"little"}
  with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
    for name, data in (members | values | {"version": b"3\n"}).items():
      # A fixed date: equal weights are equal files.
      entry = zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0))
      archive.writestr(entry, data)


def _pickled_tensor(key, array):
  """Opcodes of a call of _rebuild_tensor_v2 (pickle protocol 2)."""
  storage = {"f4": "FloatStorage", "i8": "LongStorage"}[array.dtype.str[1:]]
  strides, step = [], 1
  for size in reversed(array.shape):
    strides.insert(0, step)
    step *= size
  return b"".join([
      _global("torch._utils", "_rebuild_tensor_v2"),
      b"((",  # The call's arguments; the storage's identity.
      _text("storage"),
      _global("torch", storage),
      _text(key),
      _text("cpu"),
      _integer(array.size),
      b"tQ",
      _integer(0),  # Offset.
      _integers(array.shape),
      _integers(strides),
      b"\x89",  # requires_grad=False
      _global("collections", "OrderedDict"),
      b")RtR",  # No hooks.
  ])


def _global(module, name):
  return f"c{module}\n{name}\n".encode()


def _text(text):
  data = text.encode()
  return b"X" + struct.pack("<I", len(data)) + data


def _integer(number):
  return pickle.dumps(number, protocol=2)[2:-1]  # Without PROTO and STOP.


def _integers(numbers):
  return b"(" + b"".join(map(_integer, numbers)) + b"t"
