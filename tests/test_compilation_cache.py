import os
import subprocess
import sys

import jax
import pytest

from vidrestore_jax import compilation_cache

_PROGRAM = """
import sys, jax, jax.numpy as jnp
from vidrestore_jax import compilation_cache as cache
found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
if len(sys.argv) > 1:
  cache.enable(sys.argv[1])
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()
print(found.count("/jax/compilation_cache/cache_hits") > 0)
"""


def _run(*arguments):
  """Whether a process finds its program compiled."""
  env = dict(os.environ)
  del env["JAX_COMPILATION_CACHE_DIR"]  # Which other tests have filled.
  done = subprocess.run(
      [sys.executable, "-c", _PROGRAM, *arguments],
      capture_output=True, text=True, check=True, env=env,
  )
  return done.stdout.split()[-1] == "True"


def test_a_second_process_finds_its_programs(tmp_path):
  place = str(tmp_path / "a" / "programs")
  assert [_run(place), _run(place), _run()] == [False, True, False]


def test_what_was_used_longest_ago_goes_first(tmp_path):
  for index in range(4):
    path = tmp_path / f"{index}-cache"
    path.write_bytes(bytes(100))
    os.utime(path, (1000 + index, 1000))
  (tmp_path / "other.txt").write_bytes(bytes(1000))
  compilation_cache._trim(tmp_path, 250)
  left = sorted(path.name for path in tmp_path.iterdir())
  assert left == ["2-cache", "3-cache", "other.txt"]


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path):
  (tmp_path / "file").write_text("")
  before = jax.config.jax_compilation_cache_dir
  assert compilation_cache.enable(tmp_path / "file" / "programs") is None
  assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's folders")
def test_the_folder_is_the_users(monkeypatch):
  for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
    monkeypatch.delenv(name, raising=False)
  home = compilation_cache.folder()
  assert home.parts[-3:] == (".cache", "vidrestore_jax", "programs")
  monkeypatch.setenv("XDG_CACHE_HOME", "/there")
  assert str(compilation_cache.folder()) == "/there/vidrestore_jax/programs"


@pytest.fixture
def restored_settings():
  names = (
      "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
  )
  before = {name: getattr(jax.config, name) for name in names}
  yield
  for name, value in before.items():
    jax.config.update(name, value)


@pytest.mark.usefixtures("restored_settings")
def test_the_place_that_the_user_names_is_left_as_it_is(tmp_path, monkeypatch):
  other = tmp_path / "of-another-project-cache"
  other.write_bytes(bytes(100))
  for place in (str(tmp_path), "gs://bucket/programs"):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", place)
    monkeypatch.chdir(tmp_path)
    assert compilation_cache.enable(limit=10) == place
    assert jax.config.jax_compilation_cache_dir == place
  assert list(tmp_path.iterdir()) == [other]
