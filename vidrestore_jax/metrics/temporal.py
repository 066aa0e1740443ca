"""How consistent a restored clip is in time: tOF, warping error, tLP.

Motion comes from a function `flow(frame, following)` of two frames `[H, W, C]`
in [0, 1] that gives `[H, W, 2]` in pixels, (dx, dy), pointing from the first
into the second. `farneback` is the default; it needs OpenCV, the extra
`metrics`.
"""

from collections.abc import Callable

import numpy as np

from vidrestore_jax.shapes import check_rank

# As TecoGAN calls it (thunil/TecoGAN@dfee612 metrics.py:147): scale of the
# pyramid, levels, window, iterations, size and sigma of the polynomial, flags.
FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]


def farneback(frame, following) -> np.ndarray:
  """Optical flow by OpenCV's Farneback with TecoGAN's parameters.

  Args:
    frame: `[H, W, C]` in [0, 1], grey or RGB; rounded to 8 bits and made grey
      by OpenCV, as the reference reads files.
    following: the same shape.

  Returns:
    float32 `[H, W, 2]`, pixels, from `frame` into `following`.

  Raises:
    ImportError: OpenCV is not installed.
  """
  cv2 = _opencv()

  def grey(image):
    check_rank("A frame", image, "HWC")
    image = np.rint(255 * np.clip(image, 0.0, 1.0)).astype(np.uint8)
    if image.shape[-1] == 1:
      return image[..., 0]
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)

  return cv2.calcOpticalFlowFarneback(
      grey(frame), grey(following), None, *FARNEBACK
  )


def tof(
    frames, truth, *, flow: Flow = farneback, crop: Callable = lambda x: x
) -> float:
  """tOF: how far a clip's motion is from its truth's, in pixels.

  The mean over pairs of neighbouring frames, then over pixels, of
  |flow(truth[t-1], truth[t]) - flow(frames[t-1], frames[t])|, the length of the
  difference: Chu et al., TecoGAN, ACM TOG 2020, as their metrics.py computes it
  (thunil/TecoGAN@dfee612 metrics.py:143-168, which calls the length an L1
  norm).

  Args:
    frames: `[T, H, W, C]` in [0, 1], T at least 2.
    truth: the same shape.
    flow: see the module.
    crop: takes the part of a flow `[H, W, 2]` that counts.
  """
  _check_pair("tOF", frames, truth)
  distances = []
  for t in range(1, len(frames)):
    true = crop(np.asarray(flow(truth[t - 1], truth[t]), np.float64))
    own = crop(np.asarray(flow(frames[t - 1], frames[t]), np.float64))
    distances.append(np.linalg.norm(true - own, axis=-1).mean())
  return float(np.mean(distances))


def warping_error(frames, guide, *, flow: Flow = farneback) -> float:
  """E_warp: how much a clip flickers along the motion of its guide.

      E(t) = sum(m |frames[t] - warp(frames[t+1], f)|^2) / (C sum(m))

  and the mean over t: f is the flow guide[t] -> guide[t+1] and m leaves out
  what is occluded, which is zero where a perfectly still result stays still.
  Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018, as their
  evaluation computes it (phoenix104104/fast_blind_video_consistency
  evaluate_WarpError.py:73-116; means over channels too). They use FlowNet2, so
  numbers by another flow compare among themselves alone.

  Args:
    frames: `[T, H, W, C]` in [0, 1], T at least 2.
    guide: the same shape, whose motion counts: the clean clip where there is
      one, or the input.
    flow: see the module.
  """
  _check_pair("The warping error", frames, guide)
  errors = []
  for t in range(len(frames) - 1):
    forward = np.asarray(flow(guide[t], guide[t + 1]), np.float64)
    backward = np.asarray(flow(guide[t + 1], guide[t]), np.float64)
    seen = ~occluded(forward, backward)
    # As released: where all is occluded, the sum of nothing counts as zero.
    warped = _warp(np.asarray(frames[t + 1], np.float64), forward)
    squares = np.square(warped - frames[t]).mean(-1)
    errors.append((squares * seen).sum() / max(seen.sum(), 1))
  return float(np.mean(errors))


def occluded(forward, backward) -> np.ndarray:
  """Pixels of the first frame that the second does not show, or that may not.

  Where forward flow and the backward flow it leads to do not cancel, and where
  the forward flow changes sharply (motion boundaries): Ruder et al., GCPR 2016,
  as fast_blind_video_consistency's utils.py, detect_occlusion, computes it.

  Args:
    forward: `[H, W, 2]`, flow from the first frame into the second.
    backward: `[H, W, 2]`, from the second into the first.

  Returns:
    bool `[H, W]`.
  """
  returned = _warp(backward, forward)

  def squared(vectors):
    return np.square(vectors).sum(-1)

  lost = squared(returned + forward) > (
      0.01 * (squared(returned) + squared(forward)) + 0.5
  )
  gradient = np.zeros(forward.shape[:2])
  gradient[:, :-1] += squared(np.diff(forward, axis=1))
  gradient[:-1] += squared(np.diff(forward, axis=0))
  return lost | (gradient > 0.01 * squared(forward) + 0.002)


def perceptual_distance(frames, truth, *, distance: Callable) -> float:
  """Mean over frames of a distance between images, such as LPIPS.

  No such network is part of this library.

  Args:
    frames: `[T, H, W, C]` in [0, 1].
    truth: the same shape.
    distance: of two images `[H, W, C]` in [0, 1], a number.
  """
  _check_pair("A perceptual distance", frames, truth, least=1)
  return float(np.mean([float(distance(*pair)) for pair in zip(frames, truth)]))


def tlp(frames, truth, *, distance: Callable) -> float:
  """tLP: how much a clip changes from frame to frame, against its truth.

  100 times the mean over pairs of neighbouring frames of
  |distance(truth[t-1], truth[t]) - distance(frames[t-1], frames[t])|, with
  LPIPS for a distance (thunil/TecoGAN@dfee612 metrics.py:194-199).

  Args:
    frames: `[T, H, W, C]` in [0, 1], T at least 2.
    truth: the same shape.
    distance: as in `perceptual_distance`.
  """
  _check_pair("tLP", frames, truth)
  changes = [
      abs(
          float(distance(truth[t - 1], truth[t]))
          - float(distance(frames[t - 1], frames[t]))
      )
      for t in range(1, len(frames))
  ]
  return 100 * float(np.mean(changes))


def _opencv():
  try:
    import cv2  # Heavy, and of an extra: only where it is needed.
  except ImportError as error:
    raise ImportError(
        "Farneback's flow needs OpenCV, which is not installed: pip install"
        ' "vidrestore_jax[metrics]", or pass another flow.'
    ) from error
  return cv2


def _warp(image, flow):
  """`image` `[H, W, C]` read bilinearly at each pixel plus its flow.

  Positions outside count as the nearest border's (FlowNet2's Resample2d).
  """
  height, width = flow.shape[:2]
  rows, columns = np.mgrid[:height, :width]
  x, y = columns + flow[..., 0], rows + flow[..., 1]
  left, top = np.floor(x), np.floor(y)
  right_share, lower_share = (x - left)[..., None], (y - top)[..., None]

  def at(row, column):
    row = np.clip(row, 0, height - 1).astype(int)
    return image[row, np.clip(column, 0, width - 1).astype(int)]

  upper = (1 - right_share) * at(top, left) + right_share * at(top, left + 1)
  lower = (1 - right_share) * at(top + 1, left) + right_share * at(
      top + 1, left + 1
  )
  return (1 - lower_share) * upper + lower_share * lower


def _check_pair(what, frames, other, *, least=2):
  if np.shape(frames) != np.shape(other) or np.ndim(frames) != 4:
    raise ValueError(
        f"{what} needs two clips of one shape [T, H, W, C], but got"
        f" {np.shape(frames)} and {np.shape(other)}."
    )
  if len(frames) < least:
    raise ValueError(
        f"{what} needs {least} frames or more, but got {len(frames)}."
    )
