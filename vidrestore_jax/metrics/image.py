"""PSNR and SSIM of images, and the colour and border steps before them.

Every function takes images `[H, W, C]` (numpy, any real dtype; axes before H
are accepted only by `sequence_psnr`) and computes in float64, so that a result
does not depend on the dtype in which a model ran. `peak` is the value of white:
1 for images in [0, 1], 255 for 8-bit ones. Nothing is clipped or rounded here:
which steps come before a measurement is the protocol's to say
(`metrics.protocols`).
"""

import numpy as np

# Wang et al., "Image Quality Assessment: From Error Visibility to Structural
# Similarity", IEEE TIP 13(4), 2004, section III-C.
SSIM_TAPS = 11
SSIM_SIGMA = 1.5
SSIM_K1 = 0.01
SSIM_K2 = 0.03
# The window of scikit-image's structural_similarity with its defaults.
SSIM_UNIFORM_TAPS = 7

# Rec. ITU-R BT.601-7, studio range: black is 16 and white 235 on [0, 255].
_LUMA = np.array([65.481, 128.553, 24.966])
_LUMA_OFFSET = 16.0


def psnr(image, truth, *, peak: float = 1.0) -> float:
  """10 log10(peak^2 / mean((image - truth)^2)), in dB, over all pixels.

  Args:
    image: `[H, W, C]`.
    truth: the same shape.
    peak: value of white.

  Returns:
    Decibels; `inf` where the two are equal.
  """
  image, truth = _pair(image, truth)
  return _decibels(np.mean(np.square(image - truth)), peak)


def sequence_psnr(frames, truth, *, peak: float = 1.0) -> float:
  """PSNR of a clip by the one mean squared error of all its pixels, in dB.

  At most the mean of the frames' PSNRs (the logarithm is concave), and equal to
  it where all frames err equally.

  Args:
    frames: `[T, H, W, C]`.
    truth: the same shape.
    peak: value of white.

  Returns:
    Decibels; `inf` where the two are equal.
  """
  frames, truth = np.asarray(frames), np.asarray(truth)
  if frames.shape != truth.shape or frames.ndim != 4:
    raise ValueError(
        "A clip and its truth need one shape [T, H, W, C], but got"
        f" {frames.shape} and {truth.shape}."
    )
  # Frame by frame: the clip may not fit twice in float64.
  errors = [
      np.mean(np.square(np.subtract(*_pair(frame, true))))
      for frame, true in zip(frames, truth)
  ]
  return _decibels(np.mean(errors), peak)


def ssim(image, truth, *, peak: float = 1.0) -> float:
  """Mean structural similarity, 11x11 Gaussian window, mean over channels.

      SSIM = (2 mx my + c1) (2 sxy + c2)
             / ((mx^2 + my^2 + c1) (sx^2 + sy^2 + c2))

  with local means m, variances s^2 and covariance sxy under a Gaussian window
  of sigma 1.5 whose weights sum to one (so variances are the biased ones),
  c1 = (0.01 peak)^2 and c2 = (0.03 peak)^2. Only windows that lie wholly
  inside the image count ("valid"), as in the authors' MATLAB code; channels
  are measured separately and averaged.

  Args:
    image: `[H, W, C]`, both sides at least 11.
    truth: the same shape.
    peak: value of white.

  Returns:
    A number in [-1, 1]; 1 where the two are equal.

  Raises:
    ValueError: the shapes differ, or a side is shorter than the window.
  """
  return _structural_similarity(
      image, truth, peak, taps=_gaussian_taps(), unbiased=1.0
  )


def ssim_uniform(image, truth, *, peak: float = 1.0) -> float:
  """Mean structural similarity, 7x7 uniform window, mean over channels.

  What scikit-image computes by default, and so what many repositories report:
  the formula of `ssim` with equal weights, sample covariances (divided by 48,
  not by 49), and only windows that lie wholly inside the image.

  Args:
    image: `[H, W, C]`, both sides at least 7.
    truth: the same shape.
    peak: value of white.

  Returns:
    A number in [-1, 1]; 1 where the two are equal.

  Raises:
    ValueError: the shapes differ, or a side is shorter than the window.
  """
  count = SSIM_UNIFORM_TAPS**2
  taps = np.full(SSIM_UNIFORM_TAPS, 1 / SSIM_UNIFORM_TAPS)
  return _structural_similarity(
      image, truth, peak, taps=taps, unbiased=count / (count - 1)
  )


def luminance(image, *, peak: float = 1.0):
  """BT.601 luminance of RGB, studio range on [0, 255], not rounded.

      Y = 16 + (65.481 R + 128.553 G + 24.966 B) / peak

  Args:
    image: RGB, `[H, W, 3]`.
    peak: value of white in `image`.

  Returns:
    float64 `[H, W, 1]`, 16 for black and 235 for white whatever `peak` is.
  """
  image = np.asarray(image, np.float64)
  if image.ndim != 3 or image.shape[-1] != 3:
    raise ValueError(
        "BT.601 luminance needs an RGB image [H, W, 3], but got shape"
        f" {image.shape}."
    )
  return (image @ _LUMA / peak + _LUMA_OFFSET)[..., None]


def crop_border(image, border: int):
  """`image` `[H, W, C]` without `border` pixels on each of its four sides."""
  height, width = image.shape[:2]
  if border < 0 or 2 * border >= min(height, width):
    raise ValueError(
        f"A border of {border} pixels leaves nothing of {height}x{width};"
        f" it may be 0 to {(min(height, width) - 1) // 2}."
    )
  return image[border : height - border, border : width - border]


def crop_centre(image, multiple: int):
  """The middle of `image` `[H, W, C]`, its sides multiples of `multiple`.

  As TecoGAN crops (thunil/TecoGAN@dfee612 metrics.py:77-92): the largest
  multiple that leaves out half of `multiple` or more of each side, the odd
  pixel below or to the right.
  """
  sides = [
      (side - multiple // 2) // multiple * multiple for side in image.shape[:2]
  ]
  if min(sides) <= 0:
    raise ValueError(
        f"Cropping to multiples of {multiple} leaves nothing of"
        f" {image.shape[0]}x{image.shape[1]}; both sides need at least"
        f" {multiple + multiple // 2} pixels."
    )
  top, left = ((side - kept) // 2 for side, kept in zip(image.shape, sides))
  return image[top : top + sides[0], left : left + sides[1]]


def _pair(image, truth):
  """Both as float64 `[H, W, C]`; ValueError where they cannot be compared."""
  image = np.asarray(image, np.float64)
  truth = np.asarray(truth, np.float64)
  if image.shape != truth.shape or image.ndim != 3 or 0 in image.shape:
    raise ValueError(
        "An image and its truth need one shape [H, W, C], but got"
        f" {image.shape} and {truth.shape}."
    )
  return image, truth


def _decibels(error, peak):
  return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def _structural_similarity(image, truth, peak, *, taps, unbiased):
  """SSIM under the separable window `taps`, variances times `unbiased`."""
  image, truth = _pair(image, truth)
  size = len(taps)
  if min(image.shape[:2]) < size:
    raise ValueError(
        f"This SSIM needs images of at least {size}x{size}, the size of its"
        f" window, but got {image.shape[0]}x{image.shape[1]}."
    )
  c1 = (SSIM_K1 * peak) ** 2
  c2 = (SSIM_K2 * peak) ** 2
  values = []
  for x, y in zip(np.moveaxis(image, -1, 0), np.moveaxis(truth, -1, 0)):
    mean_x, mean_y = _window_mean(x, taps), _window_mean(y, taps)
    product = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    # sx^2 + sy^2 is all that the formula needs of the two variances.
    variances = unbiased * (_window_mean(x**2 + y**2, taps) - squares)
    covariance = unbiased * (_window_mean(x * y, taps) - product)
    values.append(
        np.mean(
            (2 * product + c1)
            * (2 * covariance + c2)
            / ((squares + c1) * (variances + c2))
        )
    )
  return float(np.mean(values))


def _gaussian_taps():
  """The window's weights along one axis, `[11]`, summing to one."""
  offsets = np.arange(SSIM_TAPS) - SSIM_TAPS // 2
  weights = np.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
  return weights / weights.sum()


def _window_mean(plane, taps):
  """Weighted mean of `[H, W]` at each whole window, `[H - n + 1, W - n + 1]`.

  Args:
    plane: `[H, W]`.
    taps: weights along one axis, `[n]` with n odd, symmetric.
  """
  half = len(taps) // 2
  for _ in range(2):  # Rows, then, transposed, columns: the window separates.
    size = plane.shape[0] - 2 * half
    mean = taps[half] * plane[half : half + size]
    for i in range(half):  # Symmetric taps share one product.
      far = len(taps) - 1 - i
      mean += taps[i] * (plane[i : i + size] + plane[far : far + size])
    plane = np.ascontiguousarray(mean.T)
  return plane
