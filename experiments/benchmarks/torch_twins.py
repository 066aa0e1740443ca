"""PyTorch twins of models, to be timed against them; nothing else uses them.

Written from the papers with the names of the modules here, so that one table
carries the weights of them all. They take and give `[B, ..., C, H, W]`.
"""

import contextlib

import numpy as np
import torch
from flax import traverse_util
from torch import nn

_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class ConvBlock(nn.Module):
  """3x3 convolutions, each followed by batch normalisation and ReLU."""

  def __init__(self, inputs, features, stride=1, groups=1, linear_end=False):
    super().__init__()
    self.count, self.linear_end = len(features), linear_end
    for i, width in enumerate(features):
      conv = nn.Conv2d(
          inputs, width, 3, padding=1, bias=False,
          stride=1 if i else stride, groups=1 if i else groups,
      )
      self.add_module(f"conv_{i}", conv)
      if not (linear_end and i == len(features) - 1):
        self.add_module(f"norm_{i}", nn.BatchNorm2d(width))
      inputs = width

  def forward(self, x):
    for i in range(self.count):
      x = getattr(self, f"conv_{i}")(x)
      if self.linear_end and i == self.count - 1:
        return x
      x = torch.relu(getattr(self, f"norm_{i}")(x))
    return x


class DenBlock(nn.Module):
  """A stage of FastDVDnet: three frames and a noise map to the middle one."""

  def __init__(self, channels, widths, interm):
    super().__init__()
    fine, middle, coarse = widths
    self.inc = ConvBlock(3 * (channels + 1), (3 * interm, fine), groups=3)
    self.downc0 = ConvBlock(fine, (middle,) * 3, stride=2)
    self.downc1 = ConvBlock(middle, (coarse,) * 3, stride=2)
    self.upc2 = ConvBlock(coarse, (coarse, coarse, 4 * middle), linear_end=True)
    self.upc1 = ConvBlock(middle, (middle, middle, 4 * fine), linear_end=True)
    self.outc = ConvBlock(fine, (fine, channels), linear_end=True)
    self.shuffle = nn.PixelShuffle(2)

  def forward(self, first, middle, last, noise):
    x = torch.cat([first, noise, middle, noise, last, noise], 1)
    full = self.inc(x)
    half = self.downc0(full)
    x = self.upc2(self.downc1(half))
    x = self.upc1(half + self.shuffle(x))
    return middle - self.outc(full + self.shuffle(x))


class FastDVDnet(nn.Module):
  """Five frames `[B, 5, C, H, W]` to the middle one."""

  def __init__(self, channels=3, widths=(32, 64, 128), interm=30):
    super().__init__()
    self.temp1 = DenBlock(channels, widths, interm)
    self.temp2 = DenBlock(channels, widths, interm)

  def forward(self, window, noise):
    frames = window.unbind(1)
    first = [self.temp1(*frames[i : i + 3], noise) for i in range(3)]
    return self.temp2(*first, noise)

  def step(self, frames, made, noise):
    """The newest frames' first stage and, with `made` before, the second."""
    newest = self.temp1(*frames, noise)
    return self.temp2(*made, newest, noise), newest


def load(twin: nn.Module, variables) -> nn.Module:
  """Puts the weights of the model here into its twin, by name.

  Raises:
    RuntimeError: names or shapes that do not fit.
  """
  state = to_state(twin, variables)
  counts = {
      key: value
      for key, value in twin.state_dict().items()
      if key.endswith("num_batches_tracked")
  }
  twin.load_state_dict(state | counts)
  return twin


def to_state(twin: nn.Module, variables) -> dict[str, torch.Tensor]:
  """Variables, or gradients of them, as the twin names and lays them."""
  state = {}
  for tree in variables.values():
    for path, value in traverse_util.flatten_dict(dict(tree)).items():
      *modules, leaf = path
      module = twin.get_submodule(".".join(modules))
      value = np.asarray(value, np.float32)
      if value.ndim == 4:  # HWIO, with taps in PyTorch's own order.
        up = isinstance(module, nn.ConvTranspose2d)
        value = value.transpose((2, 3, 0, 1) if up else (3, 2, 0, 1))
      name = ".".join([*modules, _NAMES.get(leaf, leaf)])
      state[name] = torch.from_numpy(np.array(value, order="C"))
  return state


def tensor(array, device, *, dtype=torch.float32, channels_last=False):
  """`[..., H, W, C]` as a tensor `[..., C, H, W]` on the device."""
  x = torch.from_numpy(np.array(array, np.float32)).to(device, dtype)
  x = x.movedim(-1, -3)  # Strided as channels last; of 5 axes as well.
  return x if channels_last else x.contiguous()


def array(x) -> np.ndarray:
  """A tensor `[..., C, H, W]` as a float32 array `[..., H, W, C]`."""
  return x.detach().float().movedim(-3, -1).cpu().numpy()


@contextlib.contextmanager
def tf32(allowed: bool):
  """Lets CUDA's float32 products and convolutions round to TF32, or not."""
  backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
  before = [backend.allow_tf32 for backend in backends]
  try:
    for backend in backends:
      backend.allow_tf32 = allowed
    yield
  finally:
    for backend, value in zip(backends, before):
      backend.allow_tf32 = value


def wait(device):
  """Waits for what was sent to the device."""
  if device.type == "cuda":
    torch.cuda.synchronize(device)
