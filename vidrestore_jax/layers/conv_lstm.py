"""Convolutional LSTM with peepholes.

Shi et al., "Convolutional LSTM Network", NeurIPS 2015, arXiv:1506.04214, as
equation 1 of the supplementary of "Space-Time Distillation for Video
Super-Resolution" (Xiao et al., CVPR 2021) has it. With `*` a convolution and
`.` a product by channel:

  i_t = sigmoid(W_xi * x_t + W_hi * h_{t-1} + w_ci . c_{t-1} + b_i)
  f_t = sigmoid(W_xf * x_t + W_hf * h_{t-1} + w_cf . c_{t-1} + b_f)
  c_t = f_t . c_{t-1} + i_t . tanh(W_xc * x_t + W_hc * h_{t-1} + b_c)
  o_t = sigmoid(W_xo * x_t + W_ho * h_{t-1} + w_co . c_t + b_o)
  h_t = o_t . tanh(c_t)

The output gate sees the new cell; the supplementary prints W_ho there a second
time, for w_co. A peephole has a weight for each channel, not for each position,
so that the layer takes frames of any size.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers.convolution import GroupedConv
from vidrestore_jax.layers.recomputation import check_policy, scan_time
from vidrestore_jax.shapes import check_rank


class State(NamedTuple):
  """What a step hands to the next, float32 `[B, H, W, features]` each."""

  cell: Any
  hidden: Any


class ConvLSTM(nn.Module):
  """The cell, and its run over a sequence; kernels are 3x3.

  Peepholes and biases start at zero.

  Attributes:
    features: channels of cell and hidden state.
    unroll: sequences up to this length are unrolled rather than scanned over,
      which trains somewhat faster on a CPU.
    remat: see `layers.recomputation`; "none", or "step" for the gates.
    dtype: compute dtype of the convolutions; gates and state are float32, since
      a cell sums over all of a sequence.
  """

  features: int
  unroll: int = 8
  remat: str = "none"
  dtype: str = "float32"

  def setup(self):
    gates = 4 * self.features  # i, f, the cell's, o.
    self.input = GroupedConv(gates, dtype=self.dtype)
    self.hidden = GroupedConv(gates, use_bias=False, dtype=self.dtype)
    self.peephole = self.param(  # Of i, f and o.
        "peephole", nn.initializers.zeros, (3, self.features)
    )

  def __call__(self, sequence):
    """Runs over a sequence, from a state of zeros.

    Args:
      sequence: `[B, T, H, W, C]`.

    Returns:
      The pair (state after the last step, hidden states
      `[B, T, H, W, features]`).
    """
    check_policy("ConvLSTM", self.remat, ("none", "step"))
    check_rank("sequence", sequence, "BTHWC")
    batch, length = sequence.shape[:2]
    # What the inputs alone give needs no loop.
    driven = self.input(sequence.reshape(-1, *sequence.shape[2:]))
    driven = driven.reshape(batch, length, *driven.shape[1:])

    def body(layer, state, driven):
      state = layer.advance(state, driven)
      return state, state.hidden

    return scan_time(self, body, self.init_state(sequence[:, 0]), driven)

  def init_state(self, x):
    """The state of zeros before an input `x` `[B, H, W, C]`."""
    zeros = jnp.zeros((*x.shape[:3], self.features), jnp.float32)
    return State(zeros, zeros)

  def step(self, state: State, x) -> State:
    """The state after one more input `x` `[B, H, W, C]`."""
    return self.advance(state, self.input(x))

  def advance(self, state: State, driven) -> State:
    """`step`, of what `input` made of x, `[B, H, W, 4 features]`."""
    gates = (driven + self.hidden(state.hidden)).astype(jnp.float32)
    i, f, c, o = jnp.split(gates, 4, -1)
    w_ci, w_cf, w_co = self.peephole
    cell = nn.sigmoid(f + w_cf * state.cell) * state.cell
    cell += nn.sigmoid(i + w_ci * state.cell) * jnp.tanh(c)
    output = nn.sigmoid(o + w_co * cell)
    return State(cell, output * jnp.tanh(cell))
