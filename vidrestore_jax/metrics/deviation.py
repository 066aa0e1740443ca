"""The average deviation (AD) of an image's residual: where a restorer blurs.

Wang et al., "First image then video" (FITVNet), arXiv:2001.00346, section 4.2
and equation 12. Structure that a restorer smoothed away stays in the difference
to the clean image, where it makes the patches at moving edges deviate more than
the rest.

The paper leaves open what is chosen here: a patch's standard deviation is that
of all its pixels and channels together, divided by their number (not one less),
in [0, 1] units (its example, 0.0222, is 33 dB then); patches that the border
would cut are left out, which 256x448 has none of.
"""

from typing import NamedTuple

import numpy as np

PATCH = 32  # Side of a patch in pixels, as published.


class AverageDeviation(NamedTuple):
  """Equation 12 of one image.

  Attributes:
    index: AD, the mean of the selected patches' deviations; where no patch
      deviates more than the mean, all are equal and AD is that mean.
    threshold: the mean deviation of all patches.
    patches: `[rows, columns]`, the standard deviation of each patch.
    selected: `[rows, columns]`, which patches lie above the threshold.
  """

  index: float
  threshold: float
  patches: np.ndarray
  selected: np.ndarray


class Summary(NamedTuple):
  """AD over images, the columns of the paper's table 2.

  Attributes:
    average: AD_avg, the mean of the images' AD.
    maximum: AD_max, the largest.
    count: #AD, how many images have an AD above the limit.
  """

  average: float
  maximum: float
  count: int


def average_deviation(image, truth) -> AverageDeviation:
  """AD of an image, with the map of its patches.

      AD = mean of rho_k over the k with rho_k > mean of rho

  where rho_k is the standard deviation of image - truth in patch k of 32x32.

  Args:
    image: `[H, W, C]`, white is 1, both sides at least 32.
    truth: the same shape.

  Raises:
    ValueError: the shapes differ, or no patch fits.
  """
  image, truth = np.asarray(image, np.float64), np.asarray(truth, np.float64)
  if image.shape != truth.shape or image.ndim != 3:
    raise ValueError(
        "An image and its truth need one shape [H, W, C], but got"
        f" {image.shape} and {truth.shape}."
    )
  rows, columns = (side // PATCH for side in image.shape[:2])
  if not rows or not columns:
    raise ValueError(
        f"The AD index needs images of at least {PATCH}x{PATCH}, the size of"
        f" its patches, but got {image.shape[0]}x{image.shape[1]}."
    )
  residual = (image - truth)[: rows * PATCH, : columns * PATCH]
  patches = residual.reshape(rows, PATCH, columns, PATCH, -1)
  deviations = patches.std((1, 3, 4))
  threshold = deviations.mean()
  selected = deviations > threshold
  index = deviations[selected].mean() if selected.any() else threshold
  return AverageDeviation(
      float(index), float(threshold), deviations, selected
  )


def summary(indices, *, limit: float | None = None) -> Summary:
  """AD_avg, AD_max and #AD of the images' AD.

  Args:
    indices: AD of each image.
    limit: an AD above it counts; None for AD_avg, the paper's words. Another
      method's AD_avg lets two methods' #AD compare.

  Raises:
    ValueError: there are no images.
  """
  indices = np.asarray(indices, np.float64)
  if not indices.size:
    raise ValueError("There are no images to summarise the AD index of.")
  average = float(indices.mean())
  count = np.count_nonzero(indices > (average if limit is None else limit))
  return Summary(average, float(indices.max()), int(count))
