"""Video prediction by a convolutional LSTM.

Shi et al., NeurIPS 2015, arXiv:1506.04214, by one layer: of all frames so far,
the next one. Space-time distillation (Xiao et al., CVPR 2021, supplementary,
table 1) pretrains the ConvLSTM of its loss by such a task, without saying how;
here frames become as many channels as the networks that it compares have before
their last convolution, and the hidden state becomes the change to come.
"""

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers.conv_lstm import ConvLSTM
from vidrestore_jax.layers.convolution import Conv, small_normal
from vidrestore_jax.layers.recomputation import check_policy
from vidrestore_jax.shapes import (
    Restored,
    check_channels,
    check_dtype,
    check_noise,
    check_rank,
)


class FramePredictor(nn.Module):
  """The recurrent model: of each frame, the one that follows it.

  Attributes:
    conv_lstm: what is kept of it.
    embedding: channels that a frame becomes.
    channels: of a frame.
    dtype: compute dtype.
  """

  conv_lstm: nn.Module
  embedding: int = 64
  channels: int = 3
  dtype: str = "float32"

  restores = True
  recurrent = True
  noise_map = False
  radius = None  # Recurrent: no window.
  scale = 1
  stride = 1
  halo = None  # The hidden state spreads with every frame.

  def setup(self):
    self.embed = Conv(self.embedding, dtype=self.dtype)
    # Before training, the next frame is the last one.
    self.change = Conv(
        self.channels, dtype=self.dtype, kernel_init=small_normal
    )

  def __call__(self, clip, noise=None):
    """Predicts the frame after each of a clip.

    Args:
      clip: `[B, T, H, W, C]` around [0, 1].
      noise: None.

    Returns:
      `Restored` with `frames` `[B, T, H, W, C]`.

    Raises:
      ValueError: another shape, or a noise map.
    """
    check_rank("clip", clip, "BTHWC")
    check_channels("clip", clip, self.channels)
    check_noise("FramePredictor", noise, False, ())
    frames = clip.reshape(-1, *clip.shape[2:])
    embedded = self._embed(frames)
    embedded = embedded.reshape(*clip.shape[:2], *embedded.shape[1:])
    _, hidden = self.conv_lstm(embedded)
    hidden = hidden.reshape(-1, *hidden.shape[2:])
    return Restored(self._next(frames, hidden).reshape(clip.shape), {})

  def init_state(self, frame):
    """The state before `frame` `[B, H, W, C]`, the first one of a clip."""
    return self.conv_lstm.init_state(frame)

  def step(self, state, frame, noise=None):
    """The pair (state, Restored) after one more frame `[B, H, W, C]`."""
    check_rank("frame", frame, "BHWC")
    check_channels("frame", frame, self.channels)
    check_noise("FramePredictor", noise, False, ())
    state = self.conv_lstm.step(state, self._embed(frame))
    return state, Restored(self._next(frame, state.hidden), {})

  def _embed(self, frame):
    return nn.leaky_relu(self.embed(frame), 0.1)

  def _next(self, frame, hidden):
    return frame + self.change(hidden).astype(jnp.float32)


def build(
    *,
    embedding: int = 64,
    hidden: int = 64,
    channels: int = 3,
    remat: str = "none",
    dtype: str = "float32",
) -> FramePredictor:
  """A frame predictor.

  Args:
    embedding: channels that a frame becomes; those of the `hr_features` that
      the ConvLSTM is to compare.
    hidden: channels of the ConvLSTM.
    channels: of a frame.
    remat: see `layers.recomputation`; "none", or "step" for the gates.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: a dtype or a policy that does not exist.
  """
  check_dtype("FramePredictor", dtype)
  check_policy("FramePredictor", remat, ("none", "step"))
  conv_lstm = ConvLSTM(hidden, remat=remat, dtype=dtype)
  return FramePredictor(conv_lstm, embedding, channels, dtype)
