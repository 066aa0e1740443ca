"""Losses and the differentiable measures beside them: functions of arrays.

Means are of the whole batch; see layers/whole_batch.py.
"""

import jax
import jax.numpy as jnp

from vidrestore_jax.layers import whole_batch


def mean_squared_error(restored, clean):
  """Mean of the squared difference over all axes, in float32."""
  difference = restored.astype(jnp.float32) - clean.astype(jnp.float32)
  return whole_batch.mean(jnp.square(difference))


def mean_absolute_error(restored, clean):
  """Mean of the absolute difference over all axes, in float32."""
  difference = restored.astype(jnp.float32) - clean.astype(jnp.float32)
  return whole_batch.mean(jnp.abs(difference))


def half_squared_error(restored, clean):
  """Sum of the squared difference over 2 N, N the batch; FastDVDnet's loss.

  Thousands of times `mean_squared_error` on the same frames, which only a
  threshold such as a clipped norm, or Adam's epsilon, can tell.
  """
  difference = restored.astype(jnp.float32) - clean.astype(jnp.float32)
  half = jnp.sum(jnp.square(difference)) / 2
  return whole_batch.average(half / len(restored))


def charbonnier(restored, clean, smoothing: float = 1e-3):
  """Mean of sqrt(d**2 + smoothing**2) over all axes, d the difference.

  Close to the absolute error, and quadratic below `smoothing`, in float32.
  """
  difference = restored.astype(jnp.float32) - clean.astype(jnp.float32)
  return whole_batch.mean(jnp.sqrt(jnp.square(difference) + smoothing**2))


def psnr_from_mse(mse):
  """10 log10(1 / MSE) in dB for values in [0, 1].

  Of the batch's mean error, so it is for curves; published numbers come from
  `vidrestore_jax.metrics`.
  """
  return -10 * jnp.log10(mse)


def end_point_error(flow, truth, smoothing: float = 1e-6):
  """Mean Euclidean distance of two flows `[..., 2]`, in pixels.

  sqrt(d**2 + smoothing**2): quadratic for distances below `smoothing`, so that
  the gradient at distance 0 is 0 rather than undefined.
  """
  squared = jnp.sum(jnp.square(flow - truth), -1)
  return whole_batch.mean(jnp.sqrt(squared + smoothing**2))


def offset_metrics(aux):
  """Metrics of how far deformable convolutions reach, where a model tells.

  A run whose offsets leave the frame is lost, since no gradient brings them
  back; they grow before its loss does.

  Args:
    aux: of `Restored`.

  Returns:
    `offset_mean` and `offset_max` of the batch in pixels, or nothing.
  """
  if "offset_mean" not in aux:
    return {}
  return {
      "offset_mean": whole_batch.mean(aux["offset_mean"]),
      "offset_max": whole_batch.largest(aux["offset_max"]),
  }


def to_unit_range(frames, max_value):
  """Integers `[B, ...]` to float32 in [0, 1], by each clip's `max_value`."""
  scale = max_value.reshape((-1,) + (1,) * (frames.ndim - 1))
  return frames.astype(jnp.float32) / scale


def example_keys(key, index):
  """A key for each example, from its index in the source: `[B]` keys.

  Folding in the index, rather than splitting by position, gives an example the
  same noise on one device, on eight and on two hosts.
  """
  return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
