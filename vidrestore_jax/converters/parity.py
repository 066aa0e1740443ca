"""Converted weights against outputs that the original network left.

Original outputs are an `.npz` in PyTorch's layout, channels before height and
width. A converter's `outputs(model, variables, reference)` computes what it can
of them from the inputs beside them, under the same names. An output `name` may
be kept in part: as `name_s7`, every seventh row and column, or as
`name_y0-64_x8-72`, a block.
"""

import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

from vidrestore_jax import released
from vidrestore_jax.shapes import check_rank

# Float32 of two frameworks, values around [0, 1].
TOLERANCE = 2e-5
_PART = re.compile(r"(.+)_(?:s(\d+)|y(\d+)-(\d+)_x(\d+)-(\d+))")


def channels_last(array):
  """[N, C, H, W] to [N, H, W, C], float32."""
  check_rank("An image of the original outputs", array, "NCHW")
  return np.asarray(array, np.float32).transpose(0, 2, 3, 1)


def channels_first(array):
  """[..., H, W, C] to [..., C, H, W]."""
  return np.moveaxis(np.asarray(array), -1, -3)


def clips(reference):
  """A reference's `input_u8` `[N, T, C, H, W]` as `[N, T, H, W, C]` in [0, 1].
  """
  need(reference, "input_u8")
  array = reference["input_u8"]
  check_rank("The input of the original outputs", array, "NTCHW")
  return np.moveaxis(array, 2, -1).astype(np.float32) / np.float32(255)


def need(reference, *keys):
  """ValueError unless a reference holds arrays of these names."""
  missing = [key for key in keys if key not in reference]
  if missing:
    raise ValueError(
        f"The original outputs lack {', '.join(missing)}; they hold:"
        f" {', '.join(reference)}."
    )


@functools.partial(jax.jit, static_argnums=0)
def restore(model, variables, window, noise=None):
  """A windowed model on one window."""
  return model.apply(variables, window, noise)


def noise_map(model, reference, shape):
  """The map [N, H, W, 1] of a reference's `sigma`; None for a blind model."""
  if not model.noise_map:
    return None
  need(reference, "sigma")
  return jnp.full((*shape[:3], 1), float(reference["sigma"]))


def image_outputs(model, variables, reference):
  """Of an image denoiser: `output` of `input`, both `[N, C, H, W]`.

  Where the model has a noise map, `sigma` is the standard deviation, in [0, 1]
  units.
  """
  need(reference, "input", "output")
  frames = channels_last(reference["input"])
  noise = noise_map(model, reference, frames.shape)
  restored = restore(model, variables, frames[:, None], noise)
  return {"output": channels_first(restored.frames)}


def compare(found, reference, tolerance: float, path) -> dict:
  """The largest absolute error of each output.

  Args:
    found: our outputs by name.
    reference: the original's, whole or in part; what was not computed is not
      compared.
    tolerance: what each may differ by.
    path: of the reference.

  Returns:
    `reference` (file name), `sha256`, `tolerance` and `max_abs_error`, errors
    by output.

  Raises:
    ValueError: nothing to compare, or shapes differ.
  """
  errors = {}
  for name, original in reference.items():
    array = _kept(found, name)
    if array is None:
      continue
    if array.shape != original.shape:
      raise ValueError(
          f"{path}: {name} has shape {original.shape}, but the converted"
          f" model makes {array.shape}."
      )
    difference = np.abs(array - original.astype(np.float32))
    errors[name] = float(difference.max())
  if not errors:
    raise ValueError(
        f"{path} holds none of the outputs {', '.join(found)} to compare with."
    )
  return {
      "reference": pathlib.Path(path).name,
      "sha256": released.file_sha256(path),
      "tolerance": tolerance,
      "max_abs_error": errors,
  }


def _kept(found, name):
  """What a reference keeps as `name`, of ours; None where we have no such."""
  if name in found:
    return found[name]
  match = _PART.fullmatch(name)
  if match is None or match[1] not in found:
    return None
  step, *block = (number and int(number) for number in match.groups()[1:])
  if step:
    return found[match[1]][..., ::step, ::step]
  top, bottom, left, right = block
  return found[match[1]][..., top:bottom, left:right]
