"""Published SpyNet weights into a released model.

Three key layouts of the same network are known, all PyTorch's OIHW:

* `modelL{1..6}_F-{1..5}-{weight,bias}`, the original release as NumPy;
* `moduleBasic.{level}.moduleMain.{0,2,4,6,8}.{weight,bias}`, or `netBasic` for
  `moduleMain`'s parent: sniklaus/pytorch-spynet;
* `basic_module.{level}.basic_module.{0,2,4,6,8}.{weight,bias}`: BasicSR.

Levels count from the coarsest. The weights expect ImageNet's normalisation and
flow that is up-sampled with aligned corners. They are for research only; this
project ships none.
"""

import re
import zipfile

import numpy as np

_LAYOUTS = (
    (re.compile(r"modelL(\d+)_F-(\d+)-(weight|bias)"), 1, lambda i: i - 1),
    (
        re.compile(
            r"(?:netBasic|moduleBasic)\.(\d+)\.(?:netBasic|moduleMain|moduleBasic)"
            r"\.(\d+)\.(weight|bias)"
        ),
        0,
        lambda i: i // 2,
    ),
    (
        re.compile(r"basic_module\.(\d+)\.basic_module\.(\d+)\.(weight|bias)"),
        0,
        lambda i: i // 2,
    ),
    (
        # mmagic and BasicSR's ConvModule form.
        re.compile(
            r"basic_module\.(\d+)\.basic_module\.(\d+)\.conv\.(weight|bias)"
        ),
        0,
        lambda i: i,
    ),
)


def convert(path, *, levels: int | None = None):
  """Reads a checkpoint.

  Args:
    path: an `.npz` file in one of the layouts above.
    levels: use the coarsest so many levels only, as the original code does on
      small frames; all of them by default.

  Returns:
    The pair (arguments of `models.spynet.build`, variables).

  Raises:
    FileNotFoundError: no such file.
    ValueError: not an npz, or a tensor that is unknown, missing, of the wrong
      shape or not finite.
  """
  try:
    with np.load(path, allow_pickle=False) as archive:
      tensors = {name: archive[name] for name in archive.files}
  except AttributeError:
    raise ValueError(f"{path} is a single array, not an .npz.") from None
  except FileNotFoundError:
    raise FileNotFoundError(f"There is no checkpoint {path}.") from None
  except (ValueError, zipfile.BadZipFile, EOFError, OSError):
    # NumPy's own text would advise to unpickle, which runs the file's code.
    raise ValueError(
        f"{path} is not a readable .npz file of plain arrays."
    ) from None
  return from_tensors(tensors, levels=levels)


def from_tensors(tensors, *, levels: int | None = None):
  """As `convert`, from a mapping of names to OIHW arrays."""
  if not tensors:
    raise ValueError("The checkpoint holds no arrays, so it is no SpyNet.")
  params = {}
  for name, value in tensors.items():
    level, layer, kind = _parse(name)
    module = params.setdefault(f"level_{level}", {})
    conv = module.setdefault(f"conv_{layer}", {}).setdefault("conv", {})
    value = np.asarray(value, np.float32)
    if not np.isfinite(value).all():
      raise ValueError(f"SpyNet tensor {name} has values that are not finite.")
    if kind == "weight":
      conv["kernel"] = value.transpose(2, 3, 1, 0)  # OIHW to HWIO.
    else:
      conv["bias"] = value
  found = len(params)
  _check_complete(params)
  if levels is not None:
    if not 1 <= levels <= found:
      raise ValueError(
          f"The checkpoint has {found} levels; levels = {levels} asks for"
          f" none of 1 to {found}."
      )
    params = {f"level_{i}": params[f"level_{i}"] for i in range(levels)}
  first = params["level_0"]
  widths = tuple(
      first[f"conv_{i}"]["conv"]["kernel"].shape[-1]
      for i in range(len(first) - 1)
  )
  kwargs = dict(
      levels=len(params),
      align_corners=True,
      normalize=True,
      widths=widths,
      kernel=first["conv_0"]["conv"]["kernel"].shape[0],
  )
  return kwargs, {"params": params}


def _parse(name):
  for pattern, first_level, layer in _LAYOUTS:
    match = pattern.fullmatch(name)
    if match:
      level, index, kind = match.groups()
      return int(level) - first_level, layer(int(index)), kind
  # Buffers that only normalise the input: constants of ours.
  raise ValueError(
      f"There is no rule for the tensor {name!r}; SpyNet's are named like"
      " modelL1_F-1-weight, moduleBasic.0.moduleMain.0.weight or"
      " basic_module.0.basic_module.0.weight."
  )


def _check_complete(params):
  """Every level has the first one's layers and shapes, none is left out."""
  expected = None
  for level in range(len(params)):
    module = params.get(f"level_{level}")
    if module is None:
      raise ValueError(
          f"The checkpoint has levels {sorted(params)}, but level_{level} is"
          " missing."
      )
    shapes = {}
    for layer in range(len(module)):
      conv = module.get(f"conv_{layer}", {}).get("conv", {})
      if set(conv) != {"kernel", "bias"}:
        raise ValueError(
            f"Level {level}, layer {layer} of the checkpoint needs a weight"
            f" and a bias, but has {sorted(conv) or 'neither'}."
        )
      shapes[layer] = conv["kernel"].shape
    expected = expected or shapes
    if shapes != expected or shapes[0][2] != 8:
      raise ValueError(
          f"Level {level} of the checkpoint has kernels {shapes}, but SpyNet's"
          f" levels are alike and read 8 channels (level 0: {expected})."
      )
