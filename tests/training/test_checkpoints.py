"""Checkpoints: what is kept, what is passed over, what is refused."""

import errno
import json
import os
import shutil

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidrestore_jax import data
from vidrestore_jax.data import pipeline
from vidrestore_jax.training import checkpoints, sharding


def make_iterator():
  dataset = grain.MapDataset.range(100).seed(3).shuffle().repeat().batch(4)
  return iter(dataset.to_iter_dataset())


@pytest.fixture
def mesh():
  return sharding.data_mesh(1, jax.devices()[:1])


def make_state(mesh, step, width=3):
  state = {
      "step": np.int32(step),
      "params": {"a": {"kernel": np.full((width, 2), step, np.float32)}},
      "opt_state": ({"mu": np.full((width,), -step, np.float32)}, {}),
  }
  return sharding.replicate(state, mesh)


def filled(directory, mesh, steps, **kwargs):
  """Checkpoints at `steps`, the iterator having given as many batches."""
  store = checkpoints.Checkpoints(directory, keep=10, **kwargs)
  iterator, batches = make_iterator(), {}
  for step in range(1, max(steps) + 1):
    batches[step] = next(iterator)
    if step in steps:
      store.save(step, make_state(mesh, step), iterator)
  batches[step + 1] = next(iterator)
  store.close()
  return batches


def test_state_and_iterator_come_back_together(tmp_path, mesh):
  batches = filled(tmp_path, mesh, [2, 5])
  store = checkpoints.Checkpoints(tmp_path, keep=10)
  iterator = make_iterator()
  state, step = store.restore(make_state(mesh, 0), iterator)
  assert step == 5
  np.testing.assert_array_equal(state["params"]["a"]["kernel"], 5.0)
  np.testing.assert_array_equal(state["opt_state"][0]["mu"], -5.0)
  np.testing.assert_array_equal(next(iterator), batches[6])


def test_an_empty_folder_gives_the_state_it_was_given(tmp_path, mesh):
  store = checkpoints.Checkpoints(tmp_path, keep=1)
  state, step = store.restore(make_state(mesh, 0), make_iterator())
  assert step == 0
  np.testing.assert_array_equal(state["params"]["a"]["kernel"], 0.0)


def test_the_newest_and_the_best_are_kept(tmp_path, mesh):
  store = checkpoints.Checkpoints(tmp_path, keep=2)
  scores = {1: 30.0, 2: 33.0, 3: None, 4: 31.0, 5: None, 6: 32.0}
  for step, psnr in scores.items():
    metrics = None if psnr is None else {"psnr": psnr}
    store.save(step, make_state(mesh, step), make_iterator(), metrics)
  store.wait()
  assert sorted(os.listdir(tmp_path)) == ["2", "5", "6"]
  store.close()
  # Known again by a new process, which goes on to keep it.
  store = checkpoints.Checkpoints(tmp_path, keep=2)
  store.save(7, make_state(mesh, 7), make_iterator(), {"psnr": 29.0})
  store.wait()
  assert sorted(os.listdir(tmp_path)) == ["2", "6", "7"]


def test_the_best_may_be_the_smallest(tmp_path, mesh):
  store = checkpoints.Checkpoints(tmp_path, keep=1, metric="epe", mode="min")
  for step, epe in {1: 2.0, 2: 0.5, 3: 1.0, 4: 1.5}.items():
    store.save(step, make_state(mesh, step), make_iterator(), {"epe": epe})
  store.wait()
  assert sorted(os.listdir(tmp_path)) == ["2", "4"]


def test_saving_does_not_see_later_donated_steps(tmp_path, mesh):
  """The step after a save reuses the saved state's memory."""
  step_fn = sharding.jit_step(
      lambda state, batch: (jax.tree.map(lambda x: x + 1, state), {}), mesh
  )
  state = sharding.replicate({"w": np.zeros(3_000_000, np.float32)}, mesh)
  store = checkpoints.Checkpoints(tmp_path, keep=10)
  iterator = make_iterator()
  for step in range(1, 7):
    state, _ = step_fn(state, {"x": jnp.zeros((1,))})
    if step % 2 == 0:
      store.save(step, state, iterator)
  store.close()
  for step in (6, 4, 2):
    store = checkpoints.Checkpoints(tmp_path, keep=10)
    restored, _ = store.restore(state, make_iterator())
    assert set(np.unique(restored["w"])) == {np.float32(step)}
    store.close()
    shutil.rmtree(tmp_path / str(step))


def largest_file(folder):
  files = [path for path in folder.rglob("*") if path.is_file()]
  return max(files, key=lambda path: path.stat().st_size)


def truncate(folder):
  file = largest_file(folder / "state")
  file.write_bytes(file.read_bytes()[:40])


def zero(folder):
  for file in (folder / "state").rglob("*"):
    if file.is_file() and "d" in file.parent.name:
      file.write_bytes(bytes(file.stat().st_size))


DAMAGE = {
    "state missing": lambda folder: shutil.rmtree(folder / "state"),
    "state truncated": truncate,
    "state zeroed": zero,
    "metadata cut": lambda f: (f / "state" / "_METADATA").write_text("{"),
    "iterator missing": lambda folder: shutil.rmtree(folder / "data"),
    "iterator cut": lambda folder: next(
        (folder / "data").glob("*.json")
    ).write_text('{"next'),
    "everything missing": lambda folder: [
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in folder.iterdir()
    ],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, mesh, damage):
  batches = filled(tmp_path, mesh, [2, 5])
  DAMAGE[damage](tmp_path / "5")
  said = []
  store = checkpoints.Checkpoints(tmp_path, keep=10, say=said.append)
  iterator = make_iterator()
  state, step = store.restore(make_state(mesh, 0), iterator)
  assert step == 2
  np.testing.assert_array_equal(state["params"]["a"]["kernel"], 2.0)
  np.testing.assert_array_equal(next(iterator), batches[3])
  assert len(said) == 1 and str(tmp_path / "5") in said[0]
  # The step can be reached and saved again.
  store.save(5, state, iterator)
  store.close()
  assert sorted(os.listdir(tmp_path)) == ["2", "5", "5.damaged"]


def test_an_unfinished_checkpoint_is_removed_and_named(tmp_path, mesh):
  filled(tmp_path, mesh, [2])
  cut = tmp_path / "4.orbax-checkpoint-tmp"
  cut.mkdir()
  (cut / "state").write_text("half")
  said = []
  store = checkpoints.Checkpoints(tmp_path, keep=10, say=said.append)
  _, step = store.restore(make_state(mesh, 0), make_iterator())
  assert step == 2
  assert said == [
      "Checkpoint 4 was cut short while it was written"
      " (4.orbax-checkpoint-tmp): passed over."
  ]
  assert not cut.exists()


def test_another_models_checkpoint_is_refused_by_name(tmp_path, mesh):
  filled(tmp_path, mesh, [2])
  store = checkpoints.Checkpoints(tmp_path, keep=10)
  with pytest.raises(ValueError) as raised:
    store.restore(make_state(mesh, 0, width=7), make_iterator())
  message = str(raised.value)
  assert "params.a.kernel" in message
  assert "float32[3, 2] there" in message and "float32[7, 2] here" in message
  assert os.listdir(tmp_path) == ["2"]  # Not taken for damage.


def test_a_missing_parameter_is_named(tmp_path, mesh):
  filled(tmp_path, mesh, [2])
  state = make_state(mesh, 0)
  state["params"]["b"] = state["params"]["a"]
  store = checkpoints.Checkpoints(tmp_path, keep=10)
  with pytest.raises(ValueError, match=r"params\.b\.kernel is absent there"):
    store.restore(state, make_iterator())


def test_what_two_processes_wrote_goes_on_in_one(tmp_path, mesh):
  source = {"size": 12, "length": 2, "height": 16, "width": 16}

  def batches(index, count):
    return pipeline.train_iterator(
        data.build("procedural", flow=False, **source),
        batch_size=4, clip_length=2, patch_size=8, seed=3,
        shard_index=index, shard_count=count,
    )

  filled(tmp_path, mesh, [2])
  whole, hosts = batches(0, 1), [batches(i, 2) for i in range(2)]
  folder = tmp_path / "2" / "data"
  (folder / "process_0-of-1.json").unlink()
  for i, host in enumerate(hosts):
    for _ in range(2):
      next(host)
    (folder / f"process_{i}-of-2.json").write_text(
        json.dumps(host.get_state() | {"skipped": 3 + i})
    )
  store = checkpoints.Checkpoints(tmp_path, keep=10)
  _, step = store.restore(make_state(mesh, 0), whole)
  assert step == 2 and whole.skipped == 7
  together = np.concatenate([next(host)["index"] for host in hosts])
  assert sorted(next(whole)["index"]) == sorted(together)
  # And one in two, of which the first keeps the total.
  for host in hosts:
    host.set_states([{"next_index": 2, "skipped": 5}])
  assert [host.skipped for host in hosts] == [5, 0]
  again = np.concatenate([next(host)["index"] for host in hosts])
  assert sorted(again) == sorted(together)


def test_a_full_disk_is_one_clear_error(tmp_path, mesh, monkeypatch):
  store = checkpoints.Checkpoints(tmp_path, keep=10)
  store.save(1, make_state(mesh, 1), make_iterator())
  store.wait()

  def full(*args, **kwargs):
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    raise RuntimeError("tensorstore") from ValueError(
        "RESOURCE_EXHAUSTED: writing: [OS error 28: No space left on device]"
    )

  monkeypatch.setattr(store._manager, "save", full)
  with pytest.raises(OSError, match="No space left on the disk") as raised:
    store.save(2, make_state(mesh, 2), make_iterator())
  assert raised.value.errno == errno.ENOSPC
  assert os.listdir(tmp_path) == ["1"]


def test_a_checkpoint_that_will_not_fit_is_not_begun(
    tmp_path, mesh, monkeypatch
):
  usage = shutil.disk_usage(tmp_path)
  monkeypatch.setattr(
      shutil, "disk_usage", lambda path: usage._replace(free=16 * 2**20)
  )
  store = checkpoints.Checkpoints(tmp_path, keep=10)
  with pytest.raises(OSError, match="step 3 needs 17 MB and 17 MB") as raised:
    store.save(3, make_state(mesh, 3), make_iterator())
  assert raised.value.errno == errno.ENOSPC
  assert os.listdir(tmp_path) == []


def test_metrics_are_stored_beside_the_state(tmp_path, mesh):
  store = checkpoints.Checkpoints(tmp_path, keep=1)
  metrics = {"psnr": 31.5, "ssim": 0.9}
  store.save(1, make_state(mesh, 1), make_iterator(), metrics)
  store.close()
  stored = json.loads((tmp_path / "1" / "metrics" / "metrics").read_text())
  assert stored == metrics
