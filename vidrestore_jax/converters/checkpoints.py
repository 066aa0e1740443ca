"""Checkpoint files of every kind as tensors by name, and back.

The kind goes by the suffix: `.pth`, `.pt`, `.tar` and `.ckpt` are PyTorch's,
`.npz` is NumPy's, `.safetensors` its own. None of them can run code here.
"""

import os
import pathlib
import zipfile
from typing import NamedTuple

import numpy as np

from vidrestore_jax.converters import torch_files

TORCH = (".pth", ".pt", ".tar", ".ckpt")
SUFFIXES = (*TORCH, ".npz", ".safetensors")
# Under which key published training checkpoints keep a state dict.
WRAPPERS = ("state_dict", "params", "params_ema", "model")
# What DataParallel and mmagic put before every name.
PREFIXES = ("module.", "generator.")


class Checkpoint(NamedTuple):
  """A state dict.

  Attributes:
    tensors: arrays by name, in the file's order, without `prefix`.
    prefix: that of `PREFIXES` which every name had, else "".
    key: under which the file kept them, "" at its top.
  """

  tensors: dict[str, np.ndarray]
  prefix: str = ""
  key: str = ""


def read(path, *, key: str | None = None) -> Checkpoint:
  """Reads a checkpoint.

  Args:
    path: a file of one of `SUFFIXES`.
    key: under which a PyTorch file keeps its state dict, where that is none of
      `WRAPPERS` or where it has several of them.

  Raises:
    FileNotFoundError: no such file.
    ValueError: not readable as what its suffix says, or not tensors by name;
      or a pickle that wants code, of which nothing is run.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    raise ValueError(f"{path} is a folder; a checkpoint is a file.")
  if not path.is_file():
    raise FileNotFoundError(f"There is no checkpoint {path}.")
  suffix = _suffix(path)
  if suffix == ".npz":
    found, used = read_arrays(path), ""
  elif suffix == ".safetensors":
    found, used = _read_safetensors(path), ""
  else:
    found, used = _state_dict(path, torch_files.read(path), key)
  if key is not None and used != key:
    raise ValueError(f"{path} has no key {key!r}: it holds tensors at its top.")
  for prefix in PREFIXES:
    if found and all(name.startswith(prefix) for name in found):
      found = {name.removeprefix(prefix): found[name] for name in found}
      return Checkpoint(found, prefix, used)
  return Checkpoint(found, "", used)


def read_arrays(path) -> dict[str, np.ndarray]:
  """Arrays of an `.npz` by name.

  Raises:
    FileNotFoundError: no such file.
    ValueError: another kind of file, or arrays that only code could read.
  """
  try:
    archive = np.load(path, allow_pickle=False)
    if isinstance(archive, np.ndarray):
      raise ValueError
    with archive:
      found = {name: archive[name] for name in archive.files}
    # NumPy hands out members that are no arrays as bytes.
    if all(isinstance(array, np.ndarray) for array in found.values()):
      return found
  except FileNotFoundError:
    raise FileNotFoundError(f"There is no file {path}.") from None
  except (ValueError, zipfile.BadZipFile, EOFError, OSError):
    pass  # NumPy's own text would advise to unpickle, which runs code.
  raise ValueError(f"{path} is not a readable .npz file of plain arrays.")


def write(path, tensors):
  """Writes tensors by name, whole or not at all.

  Args:
    path: a file of one of `SUFFIXES`, which is not there yet.
    tensors: float32 and int64 arrays by name.

  Raises:
    FileExistsError: the file exists.
    FileNotFoundError: there is no folder for it.
    ValueError: another suffix.
  """
  path = pathlib.Path(path)
  suffix = _suffix(path)
  if path.exists():
    raise FileExistsError(f"{path} exists. Name another file, or remove it.")
  if not path.parent.is_dir():
    raise FileNotFoundError(f"There is no folder {path.parent} for {path}.")
  beside = path.with_name(path.name + ".partial")
  try:
    with open(beside, "wb") as file:
      if suffix == ".npz":
        np.savez(file, **tensors)
      elif suffix == ".safetensors":
        from safetensors import numpy as safetensors

        file.write(safetensors.save(dict(tensors)))
      else:
        torch_files.write(file, tensors)
    os.rename(beside, path)
  finally:
    beside.unlink(missing_ok=True)


def _suffix(path):
  suffix = path.suffix.lower()
  if suffix not in SUFFIXES:
    raise ValueError(
        f"{path} is no checkpoint by its name: {', '.join(SUFFIXES)} are."
    )
  return suffix


def _read_safetensors(path):
  from safetensors import SafetensorError
  from safetensors import numpy as safetensors

  try:
    return safetensors.load_file(path)
  except SafetensorError as error:
    raise ValueError(f"{path} is no safetensors file: {error}.") from error


def _state_dict(path, loaded, key):
  """The one state dict of what a PyTorch file holds, and where it was."""
  if isinstance(loaded, dict) and key is not None and key in loaded:
    loaded = loaded[key]
  elif isinstance(loaded, dict):
    key = ""
    kept = [k for k in WRAPPERS if isinstance(loaded.get(k), dict)]
    if len(kept) > 1:
      raise ValueError(
          f"{path} keeps several state dicts: {', '.join(kept)}. Choose one"
          f" with --key={kept[0]}."
      )
    if kept:
      key = kept[0]
      loaded = loaded[key]
  if not isinstance(loaded, dict):
    raise ValueError(
        f"{path} holds a {type(loaded).__name__} where a state dict, tensors"
        " by name, was expected."
    )
  for name, value in loaded.items():
    if not isinstance(name, str) or not isinstance(value, torch_files.Tensor):
      raise ValueError(
          f"{path} holds no state dict: {str(name)[:80]!r} is a"
          f" {type(value).__name__}, not a tensor. If one lies under a key of"
          " its own, name it with --key=NAME."
      )
  return {name: value.array() for name, value in loaded.items()}, key
