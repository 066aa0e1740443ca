"""What every part may import: the result of a model, and checks of inputs.

Axes: B batch, T time, H height, W width, C channels. See the package's
docstring for ranges and units.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

DTYPES = ("float32", "bfloat16")


class Restored(NamedTuple):
  """What a restoration model returns.

  Attributes:
    frames: restored frames, `[B, T, H, W, C]` for a clip and `[B, H, W, C]`
      for one step or one window, values around [0, 1], not clipped.
    aux: further results by name; the keys that have a fixed meaning are
      `bits` `[B, T]` (total bits of a frame's latent), `rate_map`
      `[B, T, h, w]` (bits per latent position), `flow` `[B, T, H, W, 2]`
      (pixels), `pre_denoised` `[B, n, H, W, C]` (what a first stage made of
      n frames around a window's middle), `hr_features`, and `offset_mean` and
      `offset_max` `[B]` (how far deformable convolutions reach, in pixels,
      what flow guides them apart). A step drops the T axis.
  """

  frames: Any
  aux: dict[str, Any]


def check_arguments(what: str, parameters, given):
  """Raises ValueError unless `given` names suit `parameters`.

  Args:
    what: starts the message, such as "Model 'ncfl'".
    parameters: `inspect.Parameter`s that a person may give.
    given: names that were given.
  """
  parameters = {p.name: p for p in parameters}
  unknown = sorted(set(given) - set(parameters))
  missing = [
      name
      for name, parameter in parameters.items()
      if parameter.default is parameter.empty and name not in given
  ]
  for problem, names in (
      ("takes no argument", unknown), ("needs the argument", missing)
  ):
    if names:
      raise ValueError(
          f"{what} {problem} {', '.join(names)}. It takes:"
          f" {', '.join(parameters)}."
      )


def check_choice(name: str, given, allowed):
  """Raises ValueError unless `given` is one of `allowed`.

  Args:
    name: of what is chosen, as the error calls it: "NCFL's preset".
    given: to check.
    allowed: what there is, in the order to list it.
  """
  if given not in allowed:
    raise ValueError(
        f"{name} is one of {', '.join(map(str, allowed))}, but got {given!r}."
    )


def check_dtype(name: str, dtype: str):
  """Raises ValueError unless `dtype` is one that models compute in."""
  if dtype not in DTYPES:
    raise ValueError(
        f"{name} computes in one of {', '.join(DTYPES)}, but got dtype"
        f" {dtype!r}."
    )


def check_rank(name: str, array, axes: str):
  """Raises ValueError unless `array` has one axis for each letter of `axes`."""
  if array.ndim != len(axes):
    raise ValueError(
        f"{name} needs {len(axes)} axes [{', '.join(axes)}], but has shape"
        f" {tuple(array.shape)}."
    )


def check_channels(name: str, array, channels: int):
  """Raises ValueError unless the last axis of `array` has `channels`."""
  if array.shape[-1] != channels:
    raise ValueError(
        f"{name} needs {channels} channels in its last axis (channels-last),"
        f" but has shape {tuple(array.shape)}."
    )


def check_window(name: str, window, frames: int, channels: int):
  """Raises ValueError unless `window` is `[B, frames, H, W, channels]`."""
  check_rank("window", window, "BTHWC")
  check_channels("window", window, channels)
  if window.shape[1] != frames:
    way_out = (
        "Fold time into the batch." if frames == 1 else
        "Restore clips with vidrestore_jax.inference.streaming.restore_clip."
    )
    raise ValueError(
        f"{name} takes windows of {frames} frame{'s' * (frames > 1)}, but got"
        f" {window.shape[1]} in shape {tuple(window.shape)}. {way_out}"
    )


def check_multiple(name: str, height: int, width: int, stride: int):
  """Raises ValueError unless height and width are multiples of `stride`."""
  if height % stride or width % stride:
    padded = (-(-height // stride) * stride, -(-width // stride) * stride)
    raise ValueError(
        f"{name} needs height and width divisible by {stride}, but got"
        f" {height}x{width}. Pad to {padded[0]}x{padded[1]} with"
        " vidrestore_jax.inference.tiling.pad_to_multiple."
    )


def check_noise(name: str, noise, wanted: bool, shape: tuple[int, ...]):
  """Raises ValueError unless `noise` is `shape`, or None where not wanted."""
  if not wanted:
    if noise is not None:
      raise ValueError(
          f"{name} was built blind (noise_map=False) and takes noise=None, but"
          f" got a map of shape {tuple(noise.shape)}."
      )
    return
  if noise is None:
    raise ValueError(
        f"{name} was built with noise_map=True and needs a map of standard"
        f" deviations {list(shape)} in [0, 1] units, but got None. Pass"
        " jnp.full(shape, sigma / 255), or build it with noise_map=False."
    )
  if tuple(noise.shape) != shape:
    raise ValueError(
        f"{name} needs a noise map of shape {list(shape)}, but got"
        f" {list(noise.shape)}."
    )


def check_named(what: str, given):
  """Checks that `given` is a mapping with a `name`, as a config names parts.

  Args:
    what: whose part it is and which, for the error: "degraded's source".
    given: to check.

  Raises:
    ValueError: it is something else, or has no name.
  """
  if not isinstance(given, Mapping) or "name" not in given:
    raise ValueError(
        f"{what} needs a name, and what goes with it: {{'name': ...}}; but got"
        f" {given!r}."
    )
