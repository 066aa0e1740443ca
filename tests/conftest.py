"""Settings of every test run, and the real material that some tests need."""

import os
import pathlib
import tempfile

import pytest

# Tiny networks spend their time in the compiler, and most of that optimising
# what then runs for milliseconds.
_FLAG = "--xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{_FLAG} {os.environ.get('XLA_FLAGS', '')}".strip()

# Commands keep what they compile; tests do not, in the user's own folder.
_KEPT = tempfile.TemporaryDirectory()
os.environ["JAX_COMPILATION_CACHE_DIR"] = _KEPT.name


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
  """The folder of real clips and public weights; without it the test skips."""
  folder = os.environ.get("VIDRESTORE_TEST_DATA")
  if not folder:
    pytest.skip("VIDRESTORE_TEST_DATA is unset: no clips and weights here")
  return pathlib.Path(folder)
