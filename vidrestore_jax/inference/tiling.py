"""Frames of any size: padding to a model's stride, tiles, and size buckets.

A pixel of the output depends on those of the input up to the model's `halo`
away. A tile is therefore cut with that much context wherever the frame goes on,
and only what lies deeper inside is kept; where the frame ends, the tile ends,
so that both see the same border. Tiles start at multiples of the stride, on the
same grid as the whole. Then nothing is left to blend: tiled equals whole. All
tiles are of one size, so that one compiled program serves frames of any size.

A bucket does the same for whole frames: they are padded further, to a multiple
that many sizes share, and every convolution is shown zeros beyond the frame's
own end, which is what it would have found there.
"""

import itertools
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vidrestore_jax.layers.convolution import (
    Conv,
    GroupedConv,
    TransposedConv,
)


def pad_to_multiple(frames, multiple: int):
  """Pads height and width at the bottom and right to a multiple.

  The border is mirrored without repeating the edge pixel, as in FastDVDnet's
  release; along a side that is too short to mirror (shorter than the padding
  plus one), the edge pixel is replicated.

  Args:
    frames: `[..., H, W, C]`, numpy or jax.
    multiple: of `model.stride`.

  Returns:
    The pair of padded frames, numpy where they were and else a jax array, and
    the size (H, W) that `crop` takes to undo it.
  """
  height, width = frames.shape[-3:-1]
  pad = np.pad if isinstance(frames, np.ndarray) else jnp.pad
  for axis, side in ((-3, height), (-2, width)):
    amount = -side % multiple
    if amount:
      widths = [(0, 0)] * frames.ndim
      widths[axis] = (0, amount)
      mode = "reflect" if amount < side else "edge"
      frames = pad(frames, widths, mode=mode)
  return frames, (height, width)


def crop(frames, size: tuple[int, int], *, scale: int = 1):
  """The top left (H, W) of `frames` `[..., H', W', C]`, times `scale`."""
  height, width = size
  return frames[..., : height * scale, : width * scale, :]


class Span(NamedTuple):
  """A tile along one axis, in pixels of the input.

  Attributes:
    start, stop: what the model is shown.
    first, last: what of it is kept, `last` itself not.
  """

  start: int
  stop: int
  first: int
  last: int


class Tile(NamedTuple):
  """A tile of a frame."""

  rows: Span
  columns: Span

  def cut(self, frame):
    """What the model is shown of `[H, W, C]`."""
    rows, columns = self
    return frame[rows.start : rows.stop, columns.start : columns.stop]

  def put(self, whole, part, scale: int = 1):
    """Keeps a part of what the model made, in the numpy array `whole`."""
    there = tuple(slice(s.first * scale, s.last * scale) for s in self)
    here = tuple(
        slice((s.first - s.start) * scale, (s.last - s.start) * scale)
        for s in self
    )
    whole[there] = part[here]


def least(model) -> int:
  """The smallest side of a tile for a model: its context and one stride."""
  return 2 * _context(model) + model.stride


def advisable(model) -> int:
  """A side of tiles of which no more than three quarters are context."""
  return max(4 * _context(model), least(model))


def tiles(model, size: tuple[int, int], side: int) -> list[Tile]:
  """Cuts a frame into tiles.

  Args:
    model: a model whose `halo` is a number.
    size: (H, W) of the frame, multiples of the model's stride.
    side: of a tile as the model is shown it, context included. Frames that are
      smaller along an axis are not cut there.

  Raises:
    ValueError: the model is global, or the tiles have no room for context.
  """
  check(model, side)
  side -= side % model.stride
  rows, columns = (
      _spans(length, side, _context(model), model.stride) for length in size
  )
  return [Tile(r, c) for r in rows for c in columns]


def check(model, side: int | None = None):
  """ValueError unless tiles, of this side, give what the whole frame gives."""
  kind = type(model).__name__
  if model.halo is None:
    raise ValueError(
        f"{kind} is not tiled: what it makes of a pixel depends on the whole"
        " frame (its flow, or what it pools over all of it), so tiles would"
        " differ from the frame and from one another. Restore whole frames, or"
        " choose a model with a halo, such as fastdvdnet."
    )
  if model.recurrent and _remembers(model):
    raise ValueError(
        f"{kind} is not tiled: it is recurrent, and a stream of tiles that was"
        " stopped would go on without their states. Restore whole frames, or"
        " choose a model without a state, such as fastdvdnet."
    )
  if side is not None and side < least(model):
    raise ValueError(
        f"Tiles for this {kind} are {least(model)} pixels or more to a side,"
        f" {_context(model)} of context on each, but {side} were asked for."
    )


def _remembers(model) -> bool:
  """Whether a recurrent model's state holds anything."""
  frame = jnp.zeros((1, model.stride, model.stride, model.channels))
  return bool(jax.tree.leaves(jax.eval_shape(model.init_state, frame)))


def _context(model) -> int:
  """Of a tile's neighbours, in pixels; a multiple of the stride."""
  return math.ceil(model.halo / model.stride) * model.stride


def _spans(length, side, context, stride):
  if length <= side:
    return [Span(0, length, 0, length)]
  count = math.ceil((length - 2 * context) / (side - 2 * context))
  starts = [
      i * (length - side) // (count - 1) // stride * stride
      for i in range(count)
  ]
  # Neighbours meet half-way through what both know.
  seams = [(a + side + b) // 2 for a, b in itertools.pairwise(starts)]
  return [
      Span(start, start + side, first, last)
      for start, first, last in zip(starts, [0, *seams], [*seams, length])
  ]


def check_bucket(model, bucket: int):
  """ValueError unless wider frames can be masked to give what theirs give."""
  kind = type(model).__name__
  if not getattr(model, "maskable", False):
    raise ValueError(
        f"{kind} takes no bucket: it looks at neighbours by more than"
        " convolutions that can be masked, so padding would change its"
        " results. Leave the bucket out."
    )
  if bucket < 1 or bucket % model.stride:
    raise ValueError(
        f"A bucket for this {kind} is a multiple of its stride {model.stride},"
        f" but got {bucket}."
    )


def usual_bucket(model, size: tuple[int, int]) -> int | None:
  """A bucket for frames of (H, W) that makes sides longer by 1/32 at most.

  None where the model takes none, or frames are so small that it would be the
  stride itself.
  """
  if not getattr(model, "maskable", False):
    return None
  bucket = model.stride
  while 2 * bucket * 32 <= min(size):
    bucket *= 2
  return bucket if bucket > model.stride else None


def pad_to_bucket(frame, stride: int, bucket: int) -> np.ndarray:
  """Pads a frame `[H, W, C]` to the stride, and then to the bucket.

  Beyond the stride's multiple, which is the frame's own for `masked`, it goes
  on as in its mirror with the edge repeated, for layers that interpolate.
  """
  frame, _ = pad_to_multiple(np.asarray(frame), stride)
  widths = [(0, -side % bucket) for side in frame.shape[:2]]
  return np.pad(frame, [*widths, (0, 0)], mode="symmetric")


def masked(size: tuple[int, int], valid):
  """A context in which convolutions see zeros beyond a frame's own end.

  Args:
    size: (H, W) of the padded frame.
    valid: `[2]`, how much of either is the frame's own; may be traced.
  """

  def intercept(call, arguments, options, context):
    kinds = (Conv, GroupedConv, TransposedConv)
    if isinstance(context.module, kinds) and context.method_name == "__call__":
      arguments = (_masked(arguments[0], size, valid), *arguments[1:])
    return call(*arguments, **options)

  return nn.intercept_methods(intercept)


def _masked(x, size, valid):
  """`x` `[..., h, w, C]`, at any scale of the frame, with zeros beyond it."""
  for axis, whole, own in zip((-3, -2), size, valid):
    length = x.shape[axis]
    # At the scale length / whole, of which the frame's own is a whole number.
    inside = jnp.arange(length) * whole < own * length
    x = jnp.where(jnp.expand_dims(inside, (-2, -1) if axis == -3 else -1), x, 0)
  return x
