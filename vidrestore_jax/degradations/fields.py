"""Smooth random fields, for what varies slowly over a frame."""

import numpy as np
from PIL import Image


def smooth(height: int, width: int, cell: float, rng):
  """Bicubic interpolation of white noise on a grid of `cell` pixels.

  Args:
    height, width: of the field, in pixels.
    cell: distance of the grid's nodes in pixels; detail ends there.
    rng: a NumPy generator.

  Returns:
    `[height, width]`, float32, mean 0 and variance 1 at the nodes.
  """
  # Two nodes more than fit, so that the border lies between nodes too.
  rows, columns = int(height / cell) + 3, int(width / cell) + 3
  nodes = rng.standard_normal((rows, columns), np.float32)
  return sample(nodes, height, width, 1 / cell, (1.0, 1.0))


def sample(image, height: int, width: int, step: float, corner):
  """Reads an image on a regular grid, bicubic.

  Args:
    image: `[h, w]`, float32.
    height, width: of the grid.
    step: distance of the grid's points, in pixels of `image`.
    corner: (x, y) of the grid's first corner in the image, in its pixels.

  Returns:
    `[height, width]`, float32; 0 where the grid leaves the image.
  """
  x, y = corner
  moved = Image.fromarray(np.ascontiguousarray(image, np.float32)).transform(
      (width, height),
      Image.Transform.AFFINE,
      (step, 0.0, x, 0.0, step, y),
      Image.Resampling.BICUBIC,
  )
  return np.asarray(moved)
