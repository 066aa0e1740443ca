"""Convolutions of stride 1 in fewer products than they have taps, for a CPU.

Along the rows alone: along the columns each product is a convolution of XLA's,
which is `plain`. Made in tiles of rows, in float32. One value that is infinite,
or no number, spreads over the rows of its tile.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def plain(x, kernel, padding, stride=(1, 1), **dilations):
  """XLA's own convolution, of `[B, H, W, C]` and `[k, l, C, features]`."""
  return jax.lax.conv_general_dilated(
      x, kernel, stride, padding, dimension_numbers=_DIMENSIONS, **dilations
  )


def _in_tiles(x, padding, taps, rows):
  """(x with its rows padded for whole tiles, tiles, rows that come out).

  Args:
    x: `[B, H, W, C]`.
    padding: zeros above and below.
    taps: rows of the kernel.
    rows: that a tile gives.
  """
  above, below = padding
  height = x.shape[1] + above + below - taps + 1
  tiles = -(-height // rows)
  below += tiles * rows - height
  x = jnp.pad(x, ((0, 0), (above, below), (0, 0), (0, 0)))
  return x, tiles, height


# Of a tile by frequency. 10 to 18 take as long, 26 longer (864 columns).
FREQUENCY_ROWS = 16


@functools.cache
def _to_products(taps):
  """The matrices from rows and taps to products, and from these to a tile.

  Rows and taps are correlated by the discrete Fourier transform, whose size is
  that of the rows that are read. A complex product is three real ones:
  (a + b i)(c + d i) = (p - r) + (p + q) i, where p = (a + b) c, q = a (d - c)
  and r = b (c + d).

  Returns:
    `[P, FREQUENCY_ROWS + taps - 1]` of the input, `[P, taps]` of the kernel and
    `[FREQUENCY_ROWS, P]` of the output.
  """
  size = FREQUENCY_ROWS + taps - 1
  angles = 2 * np.pi / size * np.arange(size)
  inputs, weights, outputs = [], [], []
  for frequency in range(size // 2 + 1):
    cos, sin = np.cos(frequency * angles), np.sin(frequency * angles)
    if 2 * frequency % size == 0:
      inputs.append(cos)
      weights.append(cos)
      outputs.append(cos / size)
    else:
      inputs += [cos - sin, cos, -sin]
      weights += [cos, sin - cos, cos + sin]
      # Of this frequency and of its conjugate, which is left out.
      outputs += [2 / size * part for part in (cos - sin, -sin, -cos)]
  return tuple(
      np.asarray(matrix, np.float32)
      for matrix in (
          np.stack(inputs),
          np.stack(weights)[:, :taps],
          np.stack(outputs, 1)[:FREQUENCY_ROWS],
      )
  )


def by_frequency(x, kernel, padding):
  """A convolution of stride 1 as `convolve` has it, for wide kernels on a CPU.

  Along the rows by a Fourier transform, in tiles: the taps of a column are
  multiplied by 32 products for 16 rows, not by 112 (of 7x7). Along the columns
  these are convolutions. On two cores it takes 0.6 to 0.8 of the time of XLA's
  own (experiments/benchmarks/formulations.py), and more memory.

  Args:
    x: as in `convolve`, in float32, like the others.
    kernel: likewise.
    padding: likewise.

  Returns:
    Likewise, to some 1e-6 of its largest values.
  """
  batch, _, width, channels = x.shape
  taps, _, _, features = kernel.shape
  inputs, weights, outputs = _to_products(taps)
  products, reach = inputs.shape
  along, beside = padding
  x, tiles, height = _in_tiles(x, along, taps, FREQUENCY_ROWS)
  kernels = jnp.einsum("pi,ijcf->pjcf", weights, kernel, precision="highest")

  def multiply(_, pair):
    rows, kernel = pair
    return None, plain(rows[None, None], kernel[None], ((0, 0), beside))

  def rows_of(i):
    start = (i // tiles, i % tiles * FREQUENCY_ROWS, 0, 0)
    tile = jax.lax.dynamic_slice(x, start, (1, reach, width, channels))
    found = (inputs @ tile.reshape(reach, -1)).reshape(products, width, -1)
    # All at once would be as fast, and take twice as long to compile.
    found = jax.lax.scan(multiply, None, (found, kernels), unroll=4)[1]
    return outputs @ found.reshape(products, -1)

  y = jax.lax.map(rows_of, jnp.arange(batch * tiles))
  return y.reshape(batch, tiles * FREQUENCY_ROWS, -1, features)[:, :height]


class MinimalFilter(NamedTuple):
  """Matrices from inputs and taps to products, and from these to outputs."""

  inputs: tuple
  taps: tuple
  outputs: tuple


# F(4, 3): four outputs of three taps, at the points 0, 1, -1, 2, -2, infinity.
F43 = MinimalFilter(
    inputs=(
        (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1),
    ),
    taps=(
        (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
    ),
    outputs=(
        (1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0),
        (0, 1, -1, 8, -8, 1),
    ),
)


def weighted_sums(matrix, parts) -> list:
  """A matrix of numbers times a column of arrays; each row is one loop."""
  return [
      sum(factor * part for factor, part in zip(row, parts) if factor)
      for row in matrix
  ]


def by_minimal_filtering(x, kernel, padding):
  """A convolution of stride 1 as `convolve` has it, of three rows, on a CPU.

  Along the rows by minimal filtering (Winograd; Lavin and Gray, CVPR 2016): six
  products for four rows, not twelve. Along the columns these are convolutions:
  done there too, sums over tiles take longer than the products that they save.
  On two cores layers of 128 channels and more take 0.6 to 0.8 of the time of
  XLA's own, and more memory; those of 64 take as long or longer
  (experiments/benchmarks/formulations.py).

  Args:
    x: as in `convolve`, in float32, like the others.
    kernel: likewise.
    padding: likewise.

  Returns:
    Likewise, to some 1e-5 of its largest values.
  """
  inputs, weights, outputs = F43
  along, beside = padding
  rows = len(outputs)
  x, tiles, height = _in_tiles(x, along, kernel.shape[0], rows)
  kernels = jnp.einsum(
      "pi,ijcf->pjcf", np.float32(weights), kernel, precision="highest"
  )
  # Row i of every tile.
  parts = [x[:, i : i + rows * (tiles - 1) + 1 : rows] for i in range(rows + 2)]
  found = [
      plain(part, kernel[None], ((0, 0), beside))
      for part, kernel in zip(weighted_sums(inputs, parts), kernels)
  ]
  y = jnp.stack(weighted_sums(outputs, found), 2)
  return y.reshape(len(x), tiles * rows, *y.shape[3:])[:, :height]
