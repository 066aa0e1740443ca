"""Augmentations of an example: (rng, example) -> example, NumPy only.

An example holds `clean`, optionally `degraded`, both `[T, H, W, C]`, and
optionally `flow` `[T, H, W, 2]` in pixels, (dx, dy), from frame t into frame
t - 1. A transform treats all of them alike, over the whole clip, and keeps
the flow true: mirroring x negates dx, transposing swaps dx and dy. Other
entries pass through. Nothing is changed in place; results may be views.
"""

import numpy as np

_CLIPS = ("clean", "degraded", "flow")


def window(example: dict, start: int, length: int) -> dict:
  """Frames start .. start + length - 1; the first has no flow any more."""
  frames = len(example["clean"])
  if start < 0 or start + length > frames:
    raise ValueError(
        f"{_name(example)} has {frames} frames, but frames {start} to"
        f" {start + length - 1} are asked for. Ask for shorter clips."
    )
  result = _map(example, lambda clip: clip[start : start + length])
  if start and "flow" in result:
    flow = result["flow"].copy()
    flow[0] = 0.0  # It points out of the window.
    result["flow"] = flow
  return result


def crop(example: dict, top: int, left: int, size: int) -> dict:
  """The square of `size` pixels whose corner is (top, left)."""
  height, width = example["clean"].shape[1:3]
  inside = 0 <= top <= height - size and 0 <= left <= width - size
  if not inside:
    raise ValueError(
        f"{_name(example)} has frames of {width}x{height} pixels, but a patch"
        f" of {size}x{size} at ({left}, {top}) is asked for. Lower patch_size"
        " or use larger frames."
    )
  return _map(
      example, lambda clip: clip[:, top : top + size, left : left + size]
  )


def flip_horizontal(example: dict) -> dict:
  """Mirrors x, so that dx changes its sign."""
  return _map(example, lambda clip: clip[:, :, ::-1], _scale_flow(-1, 1))


def flip_vertical(example: dict) -> dict:
  """Mirrors y, so that dy changes its sign."""
  return _map(example, lambda clip: clip[:, ::-1], _scale_flow(1, -1))


def transpose(example: dict) -> dict:
  """Swaps rows and columns, and so dx and dy."""
  return _map(
      example, lambda clip: clip.swapaxes(1, 2), lambda flow: flow[..., ::-1]
  )


def random_window(rng, example: dict, *, length: int) -> dict:
  """`length` consecutive frames from a uniformly drawn start."""
  # At least one value to draw, so that `window` makes the error.
  starts = max(len(example["clean"]) - length + 1, 1)
  return window(example, int(rng.integers(starts)), length)


def random_crop(rng, example: dict, *, size: int) -> dict:
  """A uniformly drawn square of `size` pixels."""
  height, width = example["clean"].shape[1:3]
  top = int(rng.integers(max(height - size + 1, 1)))
  left = int(rng.integers(max(width - size + 1, 1)))
  return crop(example, top, left, size)


def random_orientation(rng, example: dict) -> dict:
  """One of the eight flips and transposes of a square, equally often.

  Raises:
    ValueError: frames that are not square, which half of the eight would
      change in shape.
  """
  height, width = example["clean"].shape[1:3]
  if height != width:
    raise ValueError(
        f"{_name(example)} has frames of {width}x{height} pixels, but only"
        " squares keep their shape when they are transposed. Crop first."
    )
  for choice, change in zip(
      rng.integers(2, size=3), (flip_horizontal, flip_vertical, transpose)
  ):
    if choice:
      example = change(example)
  return example


def degrade(rng, example: dict, function) -> dict:
  """Adds what `function` makes of `clean`, and the card of what it drew.

  Args:
    rng: `numpy.random.Generator`, all that the result depends on beside
      `clean`.
    example: with `clean` of an integer type and `max_value`.
    function: (rng, float32 clip `[T, H, W, C]` in [0, 1]) -> (degraded clip,
      maybe of another size, card), as `degradations.build` makes it.

  Returns:
    The example with `degraded`, clipped to [0, 1] and rounded to the type and
    scale of `clean`, and `card`.

  Raises:
    ValueError: the example is a pair already.
  """
  if "degraded" in example:
    raise ValueError(
        f"{_name(example)} comes with its own degraded frames, so that it"
        " cannot be degraded. Use clean clips, or no degradation of the data."
    )
  clean, white = example["clean"], np.float32(example["max_value"])
  clip = clean.astype(np.float32, order="C") / white
  degraded, card = function(rng, clip)
  degraded = np.rint(np.clip(degraded, 0.0, 1.0) * white).astype(clean.dtype)
  return dict(example, degraded=degraded, card=card)


def _map(example, change, change_flow=lambda flow: flow):
  """Applies `change` to all clips, then `change_flow` to the vectors."""
  result = dict(example)
  for key in _CLIPS:
    if key in example:
      result[key] = change(example[key])
  if "flow" in result:
    result["flow"] = change_flow(result["flow"])
  return result


def _scale_flow(dx, dy):
  # A zero stays +0: examples of static clips compare equal bit for bit.
  return lambda flow: flow * np.array([dx, dy], flow.dtype) + 0.0


def _name(example):
  return f"Clip {example.get('name', '(unnamed)')}"
