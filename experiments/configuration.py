"""Config files, their variants, and overrides from the command line.

A config is `configs/<model>_<dataset>.py` with `get_config(variant="")`; it is
asked for as `FILE.py` or `FILE.py:variant`, and single values are changed by
`--config.section.key=value`. Everything that a person can mistype here ends in
one ValueError or FileNotFoundError that says what would have been right.
"""

import ast
import difflib
import importlib.util
import json
import pathlib

import ml_collections

from vidrestore_jax import models

# Keys of `config.model` that change its speed, not its parameters: a model
# that is fine-tuned (`config.init_from`) may differ in these alone. The last
# two every config takes whose model does.
SPEED = ("dtype", "unroll", "remat")


def load(name: str, overrides=()) -> ml_collections.ConfigDict:
  """The locked config of a file.

  Args:
    name: "configs/ncfl_davis.py" or "configs/ncfl_davis.py:m_d".
    overrides: pairs (dotted key, value as typed), applied in order.

  Raises:
    FileNotFoundError: no such file.
    ValueError: not a config file, an unknown variant or key, a value of
      another type than the config's, or one that `init_from` overrules.
  """
  file, variant = _split(name)
  if not file.is_file():
    raise FileNotFoundError(_missing(file))
  # Read from its path, so that configs may lie outside of this repository.
  spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, "get_config"):
    raise ValueError(
        f"{file} defines no get_config(variant), so it is no config file."
    )
  config = module.get_config(variant)
  config.lock()
  for key, text in overrides:
    _override(config, key, text)
  if config.get("init_from"):
    _check_not_overruled(config.init_from, overrides)
  return config


def _check_not_overruled(folder, overrides):
  """ValueError where an override would have no effect beside `init_from`."""
  for key, text in overrides:
    section, _, rest = key.partition(".")
    if section == "pretrain" or (section == "model" and rest not in SPEED):
      raise ValueError(
          f"--config.{key}={text} has no effect with --config.init_from: the"
          f" whole model is then that of {folder}, but for"
          f" {', '.join(f'config.model.{name}' for name in SPEED[1:])} and"
          " config.dtype. Leave it out, or leave out init_from and train anew."
      )


def as_json(config) -> dict:
  """The config as JSON gives it back: dictionaries, lists, plain values."""
  return json.loads(config.to_json())


def flatten(tree: dict, prefix: str = "") -> dict:
  """Nested dictionaries as {dotted key: value}, empty ones left out."""
  flat = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat |= flatten(value, f"{prefix}{key}.")
    else:
      flat[f"{prefix}{key}"] = value
  return flat


def parse_overrides(arguments) -> list[tuple[str, str]]:
  """`["--config.a.b=1", "--config.c", "2"]` as `[("a.b", "1"), ("c", "2")]`.

  Raises:
    ValueError: an argument that is no override, or one without a value.
  """
  pairs, rest = [], list(arguments)
  while rest:
    argument = rest.pop(0)
    if not argument.startswith("--config."):
      raise ValueError(
          f"Unknown argument {argument!r}. See --help; values of the config are"
          " changed by --config.section.key=value."
      )
    key, equals, value = argument.removeprefix("--config.").partition("=")
    if not equals:
      if not rest or rest[0].startswith("--"):
        raise ValueError(f"{argument} needs a value: {argument}=VALUE.")
      value = rest.pop(0)
    pairs.append((key, value))
  return pairs


def _split(name: str) -> tuple[pathlib.Path, str]:
  stem, dot, variant = name.rpartition(".py:")
  if dot:
    return pathlib.Path(f"{stem}.py"), variant
  if not name.endswith(".py"):
    raise ValueError(
        f"--config takes FILE.py or FILE.py:variant, but got {name!r}."
    )
  return pathlib.Path(name), ""


def _missing(file: pathlib.Path) -> str:
  folder = file.parent if file.parent.is_dir() else pathlib.Path("configs")
  present = [
      path.name
      for path in sorted(folder.glob("*.py"))
      if path.name not in ("__init__.py", "common.py")
  ]
  listed = f" {folder}/ has {', '.join(present)}." if present else (
      " Run it from the root of a checkout, where configs/ lies."
  )
  return f"There is no config file {file}.{listed}"


def _override(config, dotted: str, text: str):
  *sections, last = dotted.split(".")
  node, path = config, "config"
  for key in [*sections, last]:
    if not isinstance(node, ml_collections.ConfigDict):
      raise ValueError(f"{path} is a value: --config.{dotted} names nothing.")
    _offer(node, key)
    if key not in node:
      raise ValueError(_unknown(path, key, list(node.keys())))
    parent, node, path = node, node[key], f"{path}.{key}"
  if isinstance(node, ml_collections.ConfigDict):
    raise ValueError(
        f"{path} is a section; change one of its keys:"
        f" {', '.join(node.keys()) or 'it has none'}."
    )
  parent[last] = _convert(path, text, node)


def _offer(section, key: str):
  """Adds to a model's section what changes its speed, where a config has not.

  All but dtype, which is one for the whole config.
  """
  name = section.get("name")
  if key in SPEED[1:] and key not in section and name in models.available():
    known = models.defaults(name)
    if key in known:
      with section.unlocked():
        section[key] = known[key]


def _unknown(path: str, key: str, keys: list[str]) -> str:
  near = difflib.get_close_matches(key, keys, 1, 0.5)
  meant = f" Did you mean {path}.{near[0]}?" if near else ""
  return f"There is no {path}.{key}.{meant} {path} has: {', '.join(keys)}."


def _convert(path: str, text: str, old):
  """`text` as a value of the type of `old`."""
  kind = type(old)
  if kind is str:
    return text
  try:
    if kind is bool:
      return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    if kind is int:
      return int(text.replace("_", ""))
    if kind is float:
      return float(text)
    value = ast.literal_eval(text)
  except (KeyError, ValueError, SyntaxError):
    allowed = "value that Python reads, such as 0.1"
    if old is not None:
      allowed = f"value of type {kind.__name__}"
    raise ValueError(
        f"{path} is {old!r} and takes a {allowed}, but got {text!r}."
    ) from None
  if kind is tuple:  # "30" and "10,30" are both lists of sigmas.
    return value if isinstance(value, tuple) else (value,)
  return value
