"""Restores a clip by a streaming step that `vidrestore export` wrote.

  python restore.py NOISY.npy RESTORED.npy [SIGMA]

`export` puts this file beside the step, as restore.py. It needs jax, numpy and
the flatbuffers package, by which jax reads what it has exported, and nothing
else. NOISY.npy holds a clip, float [B, T, H, W, C] in [0, 1]; RESTORED.npy
becomes its restored frames, not clipped; SIGMA is the standard deviation of the
noise, 0 to 255, for a model that is told it.

A frame comes out `lag` steps after it went in. At both ends the clip therefore
goes on for as many frames, mirrored ("reflect") or with the last one repeated
("edge"), as the model is used to; the first 2 * lag outputs are of no frame. A
scene cut is an end and a beginning. export.json says shapes and dtypes.
"""

import json
import pathlib
import sys

import jax
import numpy as np
from jax import export


def restore(folder, clip, sigma=None):
  """Restores a clip.

  Args:
    folder: with export.json, init.jaxexport and step.jaxexport.
    clip: float32 `[B, T, H, W, C]` in [0, 1].
    sigma: standard deviation of its noise in [0, 1] units, a number or a map
      `[B, H, W, 1]`; None for a blind model.

  Returns:
    float32 `[B, T, H * scale, W * scale, C]`, not clipped.

  Raises:
    ValueError: not a clip, one that is not in [0, 1], of a size or of channels
      that the step does not take, or a sigma that the model does not take, or
      needs.
  """
  folder = pathlib.Path(folder)
  card = json.loads((folder / "export.json").read_text())
  if not np.issubdtype(clip.dtype, np.floating):
    raise ValueError(
        f"A clip is float32 in [0, 1], but got {clip.dtype}: divide by 255."
    )
  if clip.ndim != 5:
    raise ValueError(
        f"A clip is [B, T, H, W, C], but got the shape {clip.shape}."
    )
  channels = card["channels"]
  if not clip.shape[1] or clip.shape[4] != channels:
    raise ValueError(
        f"The step takes clips of one frame or more, of {channels} channels,"
        f" but got the shape {clip.shape}."
    )
  if clip.max() > 2:  # Noise goes a little beyond 1.
    raise ValueError(
        f"A clip is in [0, 1], but its largest value is {clip.max():g}: divide"
        " it by what white is, such as 255."
    )
  height, width = clip.shape[2:4]
  multiple = card["multiple"]  # None where the size is a number.
  if multiple and (height % multiple or width % multiple):
    raise ValueError(
        f"The step takes sides that are multiples of {multiple}, but got"
        f" {width}x{height}. Pad the clip, or export the model for that size:"
        f" --size={width}x{height}."
    )
  if (sigma is not None) != ("noise" in card):
    verb = "takes no" if sigma is not None else "needs a"
    raise ValueError(f"This model {verb} sigma, as its export.json says.")
  init, step = (
      jax.jit(export.deserialize((folder / name).read_bytes()).call)
      for name in ("init.jaxexport", "step.jaxexport")
  )
  around = [(0, 0), (card["lag"], card["lag"]), (0, 0), (0, 0), (0, 0)]
  frames = np.pad(clip.astype(np.float32), around, mode=card["border"])
  frames = np.moveaxis(frames, 1, 0)
  noise = []
  if sigma is not None:
    shape = (*frames.shape[1:4], 1)
    noise = [np.broadcast_to(np.float32(sigma), shape)]
  state, restored = init(frames[0]), []
  for frame in frames:
    state, output = step(state, frame, *noise)
    restored.append(np.asarray(output))
  return np.stack(restored[2 * card["lag"] :], 1)


def main(noisy, output, sigma=None):
  if sigma is not None:
    try:
      sigma = float(sigma) / 255
    except ValueError:
      raise ValueError(f"SIGMA is a number, but got {sigma!r}.") from None
  restored = restore(pathlib.Path(__file__).parent, np.load(noisy), sigma)
  np.save(output, restored)


if __name__ == "__main__":
  if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
  try:
    main(*sys.argv[1:])
  except (ValueError, OSError) as error:
    sys.exit(f"error: {error}")
