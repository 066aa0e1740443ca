"""Batches are a function of (source, seed, position) and nothing else."""

import contextlib
import functools
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys

import grain
import numpy as np
import pytest
from PIL import Image

from vidrestore_jax.data import folders, lazy, pipeline, procedural

_COMMON = dict(batch_size=4, clip_length=3, patch_size=24, seed=5)


@pytest.fixture(scope="module")
def source():
  # Ten clips and batches of four: batches cross the ends of epochs.
  return procedural.ProceduralClips(
      10, length=4, height=32, width=40, cache=True
  )


def _batches(source, count, **kwargs):
  iterator = pipeline.train_iterator(source, **(_COMMON | kwargs))
  return [next(iterator) for _ in range(count)]


def _assert_equal(ours, theirs):
  assert len(ours) == len(theirs)
  for one, other in zip(ours, theirs):
    assert one.keys() == other.keys()
    for key in one:
      np.testing.assert_array_equal(one[key], other[key], err_msg=key)
      assert one[key].dtype == other[key].dtype


def test_batches_keep_the_contract(source):
  batch, = _batches(source, 1)
  shapes = {key: (value.shape, value.dtype) for key, value in batch.items()}
  assert shapes == {
      "clean": ((4, 3, 24, 24, 3), np.uint8),
      "flow": ((4, 3, 24, 24, 2), np.float32),
      "max_value": ((4,), np.float32),
      "index": ((4,), np.int32),
  }
  assert (batch["max_value"] == 255).all()
  assert not batch["flow"][:, 0].any()


def test_index_names_the_record_and_an_epoch_visits_each_once(source):
  """Whole frames and no augmentation: the clips themselves come back."""
  small = procedural.ProceduralClips(6, length=2, height=24, width=24)
  batches = _batches(
      small, 6, batch_size=2, clip_length=2, augment=False
  )
  order = np.concatenate([batch["index"] for batch in batches])
  assert sorted(order[:6]) == sorted(order[6:]) == list(range(6))
  assert order[:6].tolist() != order[6:].tolist()  # Reshuffled.
  for batch in batches[:3]:
    for clean, index in zip(batch["clean"], batch["index"]):
      np.testing.assert_array_equal(clean, small[index]["clean"])


def test_seed_decides_the_stream(source):
  _assert_equal(_batches(source, 3), _batches(source, 3))
  one, = _batches(source, 1)
  other, = _batches(source, 1, seed=6)
  assert (one["clean"] != other["clean"]).any()


@pytest.mark.parametrize("count", [1, 7, 300])
def test_each_epoch_is_an_order_of_its_own(count):
  def epoch(number, seed=5):
    numbers = pipeline._shuffled(count, seed).repeat()
    numbers = pickle.loads(pickle.dumps(numbers))  # As a worker gets it.
    order = list(numbers[number * count : (number + 1) * count])
    assert sorted(order) == list(range(count))
    return order

  first, second = epoch(0), epoch(1)
  if count > 1:
    others = (second, epoch(0, seed=6), epoch(1, seed=6), list(range(count)))
    assert first not in others and second not in others[1:]
  assert first == epoch(0)


def test_a_large_source_is_not_held_as_an_order():
  pipeline._permutation.cache_clear()
  orders = [
      [pipeline._shuffled(count, 5)[i] for i in range(1_000)]
      for count in (pipeline._LARGE, 1_000_000)
  ]
  assert not pipeline._permutation.cache_info().currsize
  assert all(len(set(order)) == 1_000 for order in orders)


def test_augmentation_differs_from_epoch_to_epoch(source):
  seen = {}
  for batch in _batches(source, 10):
    for clean, index in zip(batch["clean"], batch["index"]):
      seen.setdefault(int(index), set()).add(clean.tobytes())
  assert sum(map(len, seen.values())) > 30  # Of 40, on ten records.


def test_two_shards_together_are_the_stream_of_one_host(source):
  whole = _batches(source, 6)
  shards = [
      _batches(source, 6, shard_index=i, shard_count=2) for i in range(2)
  ]
  for batch, *parts in zip(whole, *shards):
    for key, value in batch.items():
      dealt = np.empty_like(value)
      for i, part in enumerate(parts):
        assert len(part[key]) == 2
        dealt[i::2] = part[key]
      np.testing.assert_array_equal(dealt, value, err_msg=key)


def test_restored_state_replays_exactly(source):
  iterator = pipeline.train_iterator(source, **_COMMON)
  for _ in range(3):
    next(iterator)
  state = iterator.get_state()
  expected = [next(iterator) for _ in range(5)]
  fresh = pipeline.train_iterator(source, **_COMMON)
  fresh.set_state(state)
  _assert_equal([next(fresh) for _ in range(5)], expected)


def test_iterator_is_one_that_grain_can_checkpoint(source):
  iterator = pipeline.train_iterator(source, **_COMMON)
  assert isinstance(iterator, grain.DatasetIterator)


class _Source:
  """Clips of 4 frames, 40x32, with 16-bit pairs; some are damaged."""

  def __init__(self, clips=1, broken=()):
    self._clips, self._broken = clips, broken

  def __len__(self):
    return self._clips

  def __getitem__(self, index):
    if index in self._broken:
      raise folders.CorruptRecord(f"clip {index} is cut short")
    clean = np.arange(4 * 32 * 40 * 3).reshape(4, 32, 40, 3)
    clean = (clean + index).astype(np.uint16)
    return dict(
        clean=clean, degraded=clean + np.uint16(1), max_value=65535, name="b"
    )


def test_16_bit_pairs_stay_paired_and_exact():
  batch, = _batches(_Source(), 1)
  assert batch["clean"].dtype == np.uint16 and "flow" not in batch
  np.testing.assert_array_equal(batch["degraded"], batch["clean"] + 1)
  assert (batch["max_value"] == 65535).all()


def _darken(rng, clip):
  """A gain of 2/8 to 6/8, drawn per clip."""
  gain = rng.integers(2, 7) / 8
  return clip * np.float32(gain), {"gain": gain}


def test_degradation_comes_last_and_from_the_elements_own_generator(source):
  plain = _batches(source, 5)
  paired = _batches(source, 5, degrade=_darken)
  gains = []
  for batch, clean in zip(paired, plain):
    degraded = batch["degraded"]
    _assert_equal([clean | {"degraded": degraded}], [batch])  # All else stays.
    assert degraded.dtype == np.uint8
    for ours, theirs in zip(clean["clean"].astype(np.float32), degraded):
      fits = [
          gain for gain in range(2, 7)
          if np.abs(ours * gain / 8 - theirs).max() < 0.501
      ]
      assert len(fits) == 1  # Rounded, and of this very clip.
      gains += fits
  assert set(gains) == set(range(2, 7))  # A draw for each clip.
  _assert_equal(_batches(source, 5, degrade=_darken), paired)


def test_degraded_clips_keep_the_type_of_clean_and_may_shrink():
  class Clean(_Source):
    def __getitem__(self, index):
      item = super().__getitem__(index)
      del item["degraded"]
      return item

  def shrink(rng, clip):
    return clip[:, ::4, ::4] * 2 - 1e-3, {}

  batch, = _batches(Clean(), 1, degrade=shrink, augment=False)
  assert batch["degraded"].shape == (4, 3, 6, 6, 3)
  assert batch["degraded"].dtype == np.uint16
  exact = batch["clean"][:, :, ::4, ::4] * 2.0 - 65.535
  np.testing.assert_allclose(
      batch["degraded"], np.clip(exact, 0, 65535), atol=0.51
  )
  with pytest.raises(ValueError, match="Clip b comes with its own degraded"):
    _batches(_Source(), 1, degrade=shrink)


def test_example_batch_has_the_shapes_and_types_of_batches(source):
  for given, degrade in ((source, None), (source, _darken), (_Source(), None)):
    batch, = _batches(given, 1, degrade=degrade)
    example = pipeline.example_batch(
        given, clip_length=3, patch_size=24, augment=True, degrade=degrade
    )
    assert example.keys() == batch.keys()
    for key, value in example.items():
      assert value.shape == (1, *batch[key].shape[1:]), key
      assert value.dtype == batch[key].dtype, key
    assert example["max_value"] == batch["max_value"][0]


# Damaged records


def _skipping(source, **kwargs):
  """An iterator and the list of what it says."""
  said = []
  given = _COMMON | kwargs
  return pipeline.train_iterator(
      source, on_corrupt="skip", say=said.append, **given
  ), said


def test_a_damaged_record_stops_the_reading_by_name():
  iterator = pipeline.train_iterator(_Source(6, broken=(4,)), **_COMMON)
  with pytest.raises(
      folders.CorruptRecord, match="clip 4 is cut short .*on_corrupt=skip"
  ):
    for _ in range(2):
      next(iterator)


def test_a_damaged_record_is_replaced_by_the_next_named_once_and_counted():
  iterator, said = _skipping(_Source(6, broken=(1, 2, 5)))
  batches = [next(iterator) for _ in range(6)]
  order = np.concatenate([batch["index"] for batch in batches])
  # Four epochs: 1 and 2 fall to 3, and 5, the last, to 0.
  assert np.bincount(order).tolist() == [8, 0, 0, 12, 4]
  assert iterator.skipped == 12
  assert len(said) == 3
  for record in (1, 2, 5):
    assert sum(f"clip {record} is cut short" in line for line in said) == 1
  # All else is as if nothing were damaged.
  whole = _batches(_Source(6), 6)
  for ours, theirs in zip(batches, whole):
    same = ours["index"] == theirs["index"]
    assert ours.keys() == theirs.keys()
    np.testing.assert_array_equal(ours["clean"][same], theirs["clean"][same])


def test_a_count_of_skips_goes_on_where_it_was():
  iterator, _ = _skipping(_Source(6, broken=(1,)))
  whole = [next(iterator) for _ in range(9)]
  first, _ = _skipping(_Source(6, broken=(1,)))
  _assert_equal([next(first) for _ in range(4)], whole[:4])
  again, said = _skipping(_Source(6, broken=(1,)))
  again.set_state(json.loads(json.dumps(first.get_state())))
  _assert_equal([next(again) for _ in range(5)], whole[4:])
  assert again.skipped == iterator.skipped == 6
  assert len(said) == 1  # A new process names it anew.


def test_the_first_record_may_be_damaged_too():
  iterator, _ = _skipping(_Source(3, broken=(0,)))
  assert set(next(iterator)["index"]) == {1, 2}
  example = pipeline.example_batch(
      _Source(3, broken=(0,)), clip_length=3, patch_size=24, augment=True
  )
  assert example["clean"].shape == (1, 3, 24, 24, 3)


def test_a_source_of_damaged_records_alone_is_an_error():
  with pytest.raises(folders.CorruptRecord, match="None of the 3 .*clip 0"):
    _skipping(_Source(3, broken=(0, 1, 2)))


class _LazySource(_Source):
  """`_Source` behind lazy clips of which frame 3 is damaged in one record."""

  def open(self, index):
    item = self[index]

    def read(first, end, box, clip):
      if index == 2 and first <= 3 < end:
        raise folders.CorruptRecord("frame 3 of clip 2 is cut short")
      top, bottom, left, right = box
      return clip[first:end, top:bottom, left:right]

    for key in ("clean", "degraded"):
      clip = item[key]
      item[key] = lazy.LazyClip(
          functools.partial(read, clip=clip), clip.shape, clip.dtype
      )
    return item


def test_a_source_that_threads_do_not_speed_up_is_read_by_one(monkeypatch):
  made = []
  inner = pipeline._pool

  def spy(threads):
    made.append(threads)
    return inner(threads)

  monkeypatch.setattr(pipeline, "_pool", spy)
  monkeypatch.setattr(pipeline.os, "sched_getaffinity", lambda _: range(6))

  class Drawn(_Source):
    max_threads = 1

  for source, expected in (
      (_Source(8), 6), (Drawn(8), 1), (procedural.ProceduralClips(8), 1),
  ):
    made.clear()
    iterator = pipeline.train_iterator(source, **_COMMON)
    with contextlib.closing(iterator):
      next(iterator)
    assert set(made) == {expected}


def test_lazy_clips_make_the_same_batches():
  whole = _batches(_Source(4), 9)
  _assert_equal(_batches(_LazySource(2), 9), _batches(_Source(2), 9))
  iterator, _ = _skipping(_LazySource(4))
  replaced = 0
  for expected in whole:
    batch = next(iterator)
    for i in range(4):
      if batch["index"][i] == expected["index"][i]:
        for key in batch:
          np.testing.assert_array_equal(batch[key][i], expected[key][i])
      else:  # Windows of clip 2 that hold its frame 3.
        assert (batch["index"][i], expected["index"][i]) == (3, 2)
        replaced += 1
  assert 0 < replaced == iterator.skipped < 9  # Others of clip 2 are whole.


@pytest.mark.slow  # Spawned processes, twice: 15 s.
def test_workers_read_what_none_reads_and_resume_in_other_numbers():
  """Longer than what this process reads before its workers take over."""
  source = _Source(7, broken=(2, 5, 6))
  reference, _ = _skipping(source)
  expected = [next(reference) for _ in range(20)]
  iterator, _ = _skipping(source, workers=2)
  with contextlib.closing(iterator):
    _assert_equal([next(iterator) for _ in range(11)], expected[:11])
    state = json.loads(json.dumps(iterator.get_state()))
  for workers in (1, 0):
    fresh, said = _skipping(source, workers=workers)
    fresh.set_state(state)
    with contextlib.closing(fresh):
      _assert_equal([next(fresh) for _ in range(9)], expected[11:])
      assert fresh.skipped == reference.skipped
      assert len(said) == 3


@pytest.mark.slow  # A spawned process: 5 s.
def test_damage_that_a_worker_meets_stops_the_reading_by_name():
  whole = _batches(_Source(60), 9)
  met = int(whole[7]["index"][1])  # By then a worker reads.
  iterator = pipeline.train_iterator(
      _Source(60, broken=(met,)), workers=1, **_COMMON
  )
  with contextlib.closing(iterator):
    _assert_equal([next(iterator) for _ in range(7)], whole[:7])
    with pytest.raises(
        folders.CorruptRecord, match=f"^clip {met} is cut short .*=skip"
    ):
      next(iterator)
  assert not multiprocessing.active_children()


@pytest.mark.slow  # A spawned process: 5 s.
def test_a_worker_that_dies_ends_the_reading_in_one_line():
  iterator = pipeline.train_iterator(_Source(60), workers=1, **_COMMON)
  with contextlib.closing(iterator):
    for _ in range(6):
      batch = next(iterator)
    assert type(batch["clean"]) is np.ndarray  # No memory of the worker's.
    worker, = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(
        ChildProcessError, match=r"exit code -9.*config\.data\.workers"
    ):
      for _ in range(20):
        next(iterator)


@pytest.mark.slow  # Spawned processes: 5 s.
def test_an_end_by_damage_is_one_line_with_workers_too(tmp_path):
  """Nothing of Python's own on memory or processes that were left."""
  rng = np.random.default_rng(0)
  for record in range(60):
    path = tmp_path / f"clip{record:02}" / "0.png"
    path.parent.mkdir()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
  source = folders.build(tmp_path, length=1)
  given = dict(batch_size=4, clip_length=1, patch_size=48, seed=5)
  met = int(_batches(source, 9, **given)[8]["index"][0])
  damaged = tmp_path / f"clip{met:02}" / "0.png"
  damaged.write_bytes(damaged.read_bytes()[:900])
  code = f"""if __name__ == "__main__":
    import contextlib, sys
    from vidrestore_jax.data import folders, pipeline
    source = folders.build({str(tmp_path)!r}, length=1)
    iterator = pipeline.train_iterator(source, workers=2, **{given})
    with contextlib.closing(iterator):
      try:
        for count in range(20):
          next(iterator)
      except folders.CorruptRecord as error:
        sys.exit(f"{{count}}: {{error}}")
  """
  script = tmp_path / "script.py"
  script.write_text(code)
  done = subprocess.run(
      [sys.executable, script], capture_output=True, text=True, timeout=120
  )
  line, = done.stderr.splitlines()
  assert line.startswith(f"8: {damaged} is damaged, cut short"), line
  assert done.returncode == 1 and not done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(on_corrupt="ignore"), r"stop, skip, but got 'ignore'"),
        (dict(patch_size=33), r"patch_size=33 .*b is 40x32"),
        (dict(clip_length=5), r"clip_length=5 .*b has 4 frames"),
        (dict(batch_size=5, shard_count=2), r"batch_size=5 .*2 hosts.* 6\."),
        (dict(shard_index=2, shard_count=2), r"below shard_count=2, but is 2"),
        (dict(seed=-1), r"seed needs to be at least 0"),
        (dict(seed=2**32), r"seed needs to be below 2\*\*32"),
        (dict(source=_Source(0)), r"holds no clip"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
  given = dict(source=_Source()) | _COMMON | change
  with pytest.raises(ValueError, match=message):
    pipeline.train_iterator(**given)
