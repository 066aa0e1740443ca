"""From a source to training batches: shuffled, augmented, resumable.

The order is fixed, and it decides what holds. Every element of the endless
stream gets its shuffle position and its augmentation from (seed, position in
the stream) before the stream is dealt to the hosts; so n hosts together see
exactly what one host would have seen, and the number of workers changes the
speed alone.
"""

import os

import grain
import numpy as np

from vidrestore_jax.data import transforms

_ARRAYS = ("clean", "degraded", "flow")


def train_iterator(
    source,
    *,
    batch_size: int,
    clip_length: int,
    patch_size: int,
    seed: int,
    workers: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
    augment: bool = True,
):
  """An endless iterator over training batches of one host.

  Args:
    source: random access to examples (see `vidrestore_jax.data`).
    batch_size: clips per batch over all hosts.
    clip_length: frames per clip; a random window of longer ones.
    patch_size: side of the random square crop, in pixels.
    seed: of the order and the augmentation, 0 .. 2**32 - 1.
    workers: processes that read; 0 reads in threads of this process.
    shard_index, shard_count: which of how many hosts this is.
    augment: whether to flip and transpose at random.

  Returns:
    A grain iterator (`get_state`, `set_state`; saved with
    grain.checkpoint.CheckpointSave). Its batches are dicts of NumPy arrays
    with b = batch_size / shard_count: `clean` and, where the source has them,
    `degraded` `[b, T, P, P, C]` and `flow` `[b, T, P, P, 2]`, `max_value`
    float32 `[b]`, and `index` int32 `[b]`, the record in the source.

  Raises:
    ValueError: arguments that do not fit together or do not fit the source's
      first clip. Later clips are checked as they are read.
  """
  _check(
      source, batch_size, clip_length, patch_size, seed, workers, shard_index,
      shard_count,
  )

  def prepare(example, rng):
    example = transforms.random_window(rng, example, length=clip_length)
    example = transforms.random_crop(rng, example, size=patch_size)
    if augment:
      example = transforms.random_orientation(rng, example)
    arrays = {
        key: np.ascontiguousarray(example[key])
        for key in _ARRAYS if key in example
    }
    return dict(
        arrays,
        max_value=np.float32(example["max_value"]),
        index=np.int32(example["index"]),
    )

  dataset = (
      grain.MapDataset.source(_Indexed(source))
      .seed(seed)
      .shuffle()
      .repeat()  # Each epoch is shuffled anew.
      .random_map(prepare)
  )
  dataset = dataset[shard_index::shard_count]
  dataset = dataset.batch(batch_size // shard_count, drop_remainder=True)
  # A batch is the unit of reading here; a few in flight hide their cost, and
  # the default of 500 would hold gigabytes.
  threads = min(4, os.cpu_count() or 1)
  dataset = dataset.to_iter_dataset(
      grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
  )
  if workers:
    _mark_flags_parsed()
    dataset = dataset.mp_prefetch(
        grain.MultiprocessingOptions(
            num_workers=workers, per_worker_buffer_size=2
        )
    )
  return iter(dataset)


class _Indexed:
  """A source whose examples know their own record number."""

  def __init__(self, source):
    self._source = source

  def __len__(self):
    return len(self._source)

  def __getitem__(self, index):
    return dict(self._source[index], index=index)

  def __repr__(self):
    return f"_Indexed({self._source!r})"


def _check(
    source, batch_size, clip_length, patch_size, seed, workers, shard_index,
    shard_count,
):
  for name, given, least in (
      ("batch_size", batch_size, 1), ("clip_length", clip_length, 1),
      ("patch_size", patch_size, 1), ("seed", seed, 0), ("workers", workers, 0),
      ("shard_count", shard_count, 1), ("shard_index", shard_index, 0),
  ):
    if given < least:
      raise ValueError(f"{name} needs to be at least {least}, but is {given}.")
  if seed >= 2**32:
    raise ValueError(f"seed needs to be below 2**32, but is {seed}.")
  if shard_index >= shard_count:
    raise ValueError(
        f"shard_index needs to be below shard_count={shard_count}, but is"
        f" {shard_index}."
    )
  if batch_size % shard_count:
    below = batch_size - batch_size % shard_count
    raise ValueError(
        f"batch_size={batch_size} cannot be dealt to {shard_count} hosts"
        f" evenly. Take a multiple of {shard_count}, such as"
        f" {below + shard_count}."
    )
  if not len(source):
    raise ValueError(f"The source {source!r} holds no clip.")
  first = source[0]
  frames, height, width = first["clean"].shape[:3]
  if clip_length > frames:
    raise ValueError(
        f"clip_length={clip_length} is longer than the clips of the source:"
        f" {first['name']} has {frames} frames. Lower clip_length or build the"
        " source with longer clips."
    )
  if patch_size > min(height, width):
    raise ValueError(
        f"patch_size={patch_size} is larger than the frames of the source:"
        f" {first['name']} is {width}x{height}. Lower patch_size or use larger"
        " frames."
    )


def _mark_flags_parsed():
  """Lets mp_prefetch run where absl's app.run did not: tests, notebooks.

  It reads an absl flag, which fails before flags are parsed (grain #1355, in
  0.2.18); marked as parsed, flags have their defaults.
  """
  from absl import flags

  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
