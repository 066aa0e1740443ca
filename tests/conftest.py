"""Settings of every test run."""

import os
import tempfile

# Tiny networks spend their time in the compiler, and most of that optimising
# what then runs for milliseconds.
_FLAG = "--xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{_FLAG} {os.environ.get('XLA_FLAGS', '')}".strip()

# Commands keep what they compile; tests do not, in the user's own folder.
_KEPT = tempfile.TemporaryDirectory()
os.environ["JAX_COMPILATION_CACHE_DIR"] = _KEPT.name
