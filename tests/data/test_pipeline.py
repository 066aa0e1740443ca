"""Batches are a function of (source, seed, position) and nothing else."""

import grain
import numpy as np
import pytest

from vidrestore_jax.data import pipeline, procedural

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


@pytest.mark.slow  # Two spawned processes, twice: 13 s.
def test_two_workers_read_what_none_reads_and_resume(source):
  iterator = pipeline.train_iterator(source, workers=2, **_COMMON)
  expected = _batches(source, 6)
  _assert_equal([next(iterator) for _ in range(3)], expected[:3])
  state = iterator.get_state()
  fresh = pipeline.train_iterator(source, workers=2, **_COMMON)
  fresh.set_state(state)
  _assert_equal([next(fresh) for _ in range(3)], expected[3:])


class _Source:
  """One clip of 4 frames, 40x32, with 16-bit pairs."""

  def __init__(self, clips=1):
    self._clips = clips

  def __len__(self):
    return self._clips

  def __getitem__(self, index):
    clean = np.arange(4 * 32 * 40 * 3).reshape(4, 32, 40, 3)
    clean = clean.astype(np.uint16)
    return dict(
        clean=clean, degraded=clean + np.uint16(1), max_value=65535, name="b"
    )


def test_16_bit_pairs_stay_paired_and_exact():
  batch, = _batches(_Source(), 1)
  assert batch["clean"].dtype == np.uint16 and "flow" not in batch
  np.testing.assert_array_equal(batch["degraded"], batch["clean"] + 1)
  assert (batch["max_value"] == 65535).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
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
