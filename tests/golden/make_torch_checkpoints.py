"""Small checkpoints and outputs by PyTorch, which the tests do not need then.

  python tests/golden/make_torch_checkpoints.py

Made with torch 2.13.0 on a CPU. The networks have the layers, and so the names
and the order, of the public code that each is called after; their weights are
random. Both of PyTorch's file formats are there: `dncnn_saoyan.pth` is of the
old one, in which that repository's own weights are.
"""

import pathlib

import numpy as np
import torch
from torch import nn

FOLDER = pathlib.Path(__file__).parent


def _dncnn(depth, width, channels, *, bias, epsilon):
  """Conv, ReLU; conv, BatchNorm, ReLU; ...; conv."""
  layers = []
  for i in range(depth):
    given = width if i else channels
    made = width if i < depth - 1 else channels
    layers.append(nn.Conv2d(given, made, 3, padding=1, bias=bias))
    if 0 < i < depth - 1:
      layers.append(nn.BatchNorm2d(made, eps=epsilon))
    if i < depth - 1:
      layers.append(nn.ReLU())
  return nn.Sequential(*layers)


class SaoYan(nn.Module):
  """SaoYan/DnCNN-PyTorch, models.py: predicts the noise."""

  def __init__(self):
    super().__init__()
    self.dncnn = _dncnn(4, 4, 1, bias=False, epsilon=1e-5)

  def forward(self, x):
    return x - self.dncnn(x)  # The subtraction is in its test.py.


class Kair(nn.Module):
  """cszn/KAIR, models/network_dncnn.py with act_mode "BR"."""

  def __init__(self):
    super().__init__()
    self.model = _dncnn(4, 4, 3, bias=True, epsilon=1e-4)

  def forward(self, x):
    return x - self.model(x)


class UNet(nn.Module):
  """joeylitalien/noise2noise-pytorch, src/unet.py, with other widths."""

  def __init__(self, width=4, ends=(6, 5), channels=3):
    super().__init__()
    wide = 2 * width

    def conv(given, made):
      return [nn.Conv2d(given, made, 3, padding=1), nn.ReLU()]

    def up(channels):
      return nn.ConvTranspose2d(
          channels, channels, 3, stride=2, padding=1, output_padding=1
      )

    self._block1 = nn.Sequential(
        *conv(channels, width), *conv(width, width), nn.MaxPool2d(2)
    )
    self._block2 = nn.Sequential(*conv(width, width), nn.MaxPool2d(2))
    self._block3 = nn.Sequential(*conv(width, width), up(width))
    self._block4 = nn.Sequential(*conv(wide, wide), *conv(wide, wide), up(wide))
    self._block5 = nn.Sequential(
        *conv(wide + width, wide), *conv(wide, wide), up(wide)
    )
    self._block6 = nn.Sequential(
        *conv(wide + channels, ends[0]),
        *conv(*ends),
        nn.Conv2d(ends[1], channels, 3, padding=1),
        nn.LeakyReLU(0.1),
    )

  def forward(self, x):
    pools = [self._block1(x)]
    for _ in range(4):
      pools.append(self._block2(pools[-1]))
    y = self._block3(pools[4])
    y = self._block4(torch.cat((y, pools[3]), 1))
    for skip in (pools[2], pools[1], pools[0]):
      y = self._block5(torch.cat((y, skip), 1))
    return self._block6(torch.cat((y, x), 1))


def make(name, model, shape, *, module=False, old_format=False):
  """Draws every tensor, and writes weights, an input and its output."""
  with torch.no_grad():
    for key, value in model.state_dict().items():
      if key.endswith("running_var"):
        value.uniform_(0.4, 1.6)
      elif key.endswith("num_batches_tracked"):
        value.fill_(1234)
      elif value.ndim == 4:
        value.normal_(0, (2 / (9 * value.shape[1])) ** 0.5)
      else:
        value.normal_(0.2, 0.3)
    x = torch.rand(shape)
    y = model.eval()(x)
  saved = nn.DataParallel(model) if module else model
  torch.save(
      saved.state_dict(),
      FOLDER / f"{name}.pth",
      _use_new_zipfile_serialization=not old_format,
  )
  np.savez(FOLDER / f"{name}.npz", input=x.numpy(), output=y.numpy())


if __name__ == "__main__":
  torch.manual_seed(0)
  make(
      "dncnn_saoyan", SaoYan(), (2, 1, 9, 12), module=True, old_format=True
  )
  make("dncnn_kair", Kair(), (1, 3, 9, 12))
  make("noise2noise", UNet(), (1, 3, 32, 64))
