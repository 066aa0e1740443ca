"""Names that the video networks of XPixelGroup/BasicSR (and mmagic) share."""

import re

from vidrestore_jax.converters.torch_layouts import conv


def blocks(name: str, path: str, count: int):
  """Rules of residual blocks `name`.0, `name`.1, ...; `path`_0 here."""
  for i in range(count):
    for k in (0, 1):
      yield from conv(f"{name}.{i}.conv{k + 1}", f"{path}_{i}/conv_{k}/conv")


def count_blocks(name: str, shapes) -> int:
  """How many blocks `name`.0, `name`.1, ... a state dict has."""
  pattern = re.compile(re.escape(name) + r"\.\d+\.conv1\.weight")
  return sum(map(bool, map(pattern.fullmatch, shapes)))


def trunk(name: str, path: str, count: int):
  """Rules of a `layers.residual.ResTrunk`."""
  yield from conv(f"{name}.main.0", f"{path}/conv_in/conv")
  yield from blocks(f"{name}.main.2", f"{path}/block", count)


def reconstruction(upsample: str, path: str = "reconstruction"):
  """Rules of a `layers.reconstruction.Reconstruction`.

  Args:
    upsample: name of its sub-pixel convolutions, with {}.
    path: ours.
  """
  for i in (1, 2):
    yield from conv(upsample.format(i), f"{path}/upconv{i}/expand/conv")
  for part in ("conv_hr", "conv_last"):
    yield from conv(part, f"{path}/{part}/conv")
