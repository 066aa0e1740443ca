"""Video restoration in JAX: models, training, measurement and inference.

Conventions, everywhere in this package:

* Frames are `[H, W, C]`, clips `[B, T, H, W, C]`, channels last, float32 with
  values in [0, 1].
* Flow is `[..., H, W, 2]` in pixels, (dx, dy), and points from the current
  frame into the one that is warped.
* Noise levels are standard deviations in [0, 1] units; 8-bit units
  (sigma = 50) appear only where a person reads or types them.

Importing this package touches no device and imports neither jax nor flax:
`vidrestore_jax.load` and `vidrestore_jax.restore` are resolved when they are
first used.
"""

import importlib

__version__ = "0.1.0"

__all__ = ["__version__", "load", "restore"]

_DEFERRED = {
    "load": "vidrestore_jax.released",
    "restore": "vidrestore_jax.inference.restoring",
}


def __getattr__(name):
  if name in _DEFERRED:
    return getattr(importlib.import_module(_DEFERRED[name]), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
  return sorted(__all__)
