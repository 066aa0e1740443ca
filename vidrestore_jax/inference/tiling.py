"""Frames of any size for models that need multiples of their stride."""

import jax.numpy as jnp


def pad_to_multiple(frames, multiple: int):
  """Pads height and width at the bottom and right to a multiple.

  The border is mirrored without repeating the edge pixel, as in FastDVDnet's
  release; along a side that is too short to mirror (shorter than the padding
  plus one), the edge pixel is replicated.

  Args:
    frames: `[..., H, W, C]`, numpy or jax.
    multiple: of `model.stride`.

  Returns:
    The pair of padded frames, a jax array, and the size (H, W) that `crop`
    takes to undo it.
  """
  height, width = frames.shape[-3:-1]
  padded = jnp.asarray(frames)
  for axis, side in ((-3, height), (-2, width)):
    amount = -side % multiple
    if amount:
      widths = [(0, 0)] * padded.ndim
      widths[axis] = (0, amount)
      mode = "reflect" if amount < side else "edge"
      padded = jnp.pad(padded, widths, mode=mode)
  return padded, (height, width)


def crop(frames, size: tuple[int, int], *, scale: int = 1):
  """The top left (H, W) of `frames` `[..., H', W', C]`, times `scale`."""
  height, width = size
  return frames[..., : height * scale, : width * scale, :]
