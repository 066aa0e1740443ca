"""Weights and arrays from here to PyTorch and back, for what is timed beside.

A twin (`twins`) has the names of the modules here, so that one table carries
the weights of them all. They take and give `[B, ..., C, H, W]`.
"""

import contextlib

import numpy as np
import torch
from flax import traverse_util
from torch import nn

_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "negative_slope": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


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
      module, names = twin, []
      for name in path[:-1]:
        found = _find(module, name) or []  # Else it holds one layer, itself.
        names += found
        module = module.get_submodule(".".join(found))
      value = np.asarray(value, np.float32)
      if path[-1] == "kernel":  # [..., I, O], with taps in PyTorch's own order.
        transposed = isinstance(module, nn.ConvTranspose2d)
        value = np.moveaxis(value, (-2, -1), (0, 1) if transposed else (1, 0))
        if isinstance(module, nn.Conv3d) and value.ndim == 4:
          value = value[:, :, None]  # Of one frame.
      elif path[-1] == "gamma":
        value = value.T  # [I, O] of a product; [O, I] of a convolution.
      elif path[-1] == "negative_slope":
        value = value.reshape(1)
      key = ".".join([*names, _NAMES.get(path[-1], path[-1])])
      state[key] = torch.from_numpy(np.array(value, order="C"))
  return state


def _find(module, name) -> list[str] | None:
  """Where `name` is in a module: "a_0_1" may be item 1 of item 0 of its "a"."""
  for child, inner in module.named_children():
    if child == name:
      return [child]
    if name.startswith(f"{child}_"):
      rest = _find(inner, name.removeprefix(f"{child}_"))
      if rest is not None:
        return [child, *rest]
  return None


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
