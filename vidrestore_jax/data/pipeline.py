"""From a source to training batches: shuffled, augmented, resumable.

The order is fixed, and it decides what holds. Every element of the endless
stream gets its shuffle position and its augmentation from (seed, position in
the stream) before the stream is dealt to the hosts; so n hosts together see
exactly what one host would have seen, and the number of workers changes the
speed alone. Where a run stands is the number of batches that it has taken.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from concurrent import futures

import grain
import numpy as np

from vidrestore_jax.data import transforms
from vidrestore_jax.data.folders import CorruptRecord
from vidrestore_jax.shapes import check_choice

ON_CORRUPT = ("stop", "skip")
_ADVICE = (
    " To train without such records, set on_corrupt to skip"
    " (--config.data.on_corrupt=skip)."
)

_ARRAYS = ("clean", "degraded", "flow")
# Grain's shuffle holds no permutation, but takes up to milliseconds an element
# of sources smaller than this: it draws from 2**16 numbers until one fits.
_LARGE = 2**16
# Batches that this process reads itself after each start, while its workers
# come up, which takes them seconds.
_HEAD = 4
# Two batches under way keep all threads at work from one to the next; the
# default buffer of 500 would hold gigabytes.
_READ = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
# Smaller arrays come from workers by pipe rather than by shared memory.
_SHARED = grain.experimental.DatasetOptions(min_shm_size=1024)


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
    degrade=None,
    on_corrupt: str = "stop",
    say=print,
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
    degrade: None, or a function of (rng, float32 clip `[T, P, P, C]` in
      [0, 1]) that returns (degraded clip, card), applied last, with the
      element's own generator.
    on_corrupt: what a record that raises `folders.CorruptRecord` does: "stop"
      lets the error out, "skip" takes the source's next whole record in its
      place, whoever reads it. Damage that the source found when it was made
      (`source.damaged`) stops here, at the start, or is told here.
    say: takes a line for each damaged record that was passed over, once.

  Returns:
    A grain iterator (`get_state`, `set_state`, `close`; saved with
    grain.checkpoint.CheckpointSave). Its batches are dicts of NumPy arrays
    with b = batch_size / shard_count: `clean` `[b, T, P, P, C]` and, where the
    source or `degrade` makes them, `degraded`, of the same type, and `flow`
    `[b, T, P, P, 2]`, `max_value` float32 `[b]`, and `index` int32 `[b]`, the
    record in the source. Mosaics (examples with `bayer`) become packed clips
    of four channels, P the side of the packed patch. Its attribute `skipped`
    counts the clips so far, on this host, that stand for a damaged one; it is
    part of the state, as the number of batches is.

  Raises:
    ValueError: arguments that do not fit together or do not fit the source's
      first clip. Later clips are checked as they are read.
    CorruptRecord: a file is damaged, and `on_corrupt` is "stop".
  """
  check_choice("on_corrupt", on_corrupt, ON_CORRUPT)
  element = _Element(
      source,
      skip=on_corrupt == "skip",
      clip_length=clip_length,
      patch_size=patch_size,
      augment=augment,
      degrade=degrade,
  )
  _check(
      source, element, batch_size, clip_length, patch_size, seed, workers,
      shard_index, shard_count,
  )
  damaged = getattr(source, "damaged", ())
  if damaged and on_corrupt == "stop":
    raise CorruptRecord(f"{damaged[0]}{_ADVICE}")
  if shard_index == 0:  # All hosts found the same.
    for number, line in enumerate(damaged, 1):
      say(
          f"Damaged file {number} of {len(damaged)}, whose clips are passed"
          f" over: {line}"
      )
  elements = _shuffled(len(source), seed).repeat().random_map(element)
  batches = functools.partial(
      _Batches, elements[shard_index::shard_count], batch_size // shard_count
  )
  return _Stream(
      batches, element, _threads(source), workers, say, shard_index
  )


def example_batch(
    source, *, clip_length: int, patch_size: int, augment: bool, degrade=None
) -> dict[str, np.ndarray]:
  """Zeros of the shapes of a batch of one, to create a state from.

  The arguments are those of `train_iterator`, which prepares the source's
  first clip in the same way.
  """
  element = _Element(
      source, skip=True, clip_length=clip_length, patch_size=patch_size,
      augment=augment, degrade=degrade,
  )
  example = element(0, np.random.default_rng(0))
  del example["skipped"]
  return {
      key: (np.zeros_like(value) if key in _ARRAYS else value)[None]
      for key, value in example.items()
  }


def _shuffled(count: int, seed: int) -> grain.MapDataset:
  """Numbers from 0 to count - 1; past the end they go on in another order."""
  numbers = grain.MapDataset.range(count).seed(seed)
  if count < _LARGE:
    return _Permuted(numbers, seed)
  return numbers.shuffle()


class _Permuted(grain.MapDataset):
  """Shuffles a small dataset, each epoch anew, by (seed, epoch) alone."""

  def __init__(self, elements, seed: int):
    super().__init__(elements)
    self._seed = seed

  def __len__(self):
    return len(self._parent)

  def __getitem__(self, index):
    if isinstance(index, slice):
      return self.slice(index)
    epoch, position = divmod(index, len(self))
    order = _permutation(self._seed, epoch, len(self))
    return self._parent[int(order[position])]


@functools.lru_cache(4)  # Threads that read ahead are in an epoch or two.
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
  return np.random.default_rng((seed, epoch)).permutation(count)


class _Element:
  """Makes an element of a batch from a record number: window, crop, the rest.

  Its `skipped` is the number of records that were passed over because what is
  needed of them is damaged: those before its `index`, the last record before
  the first.
  """

  def __init__(
      self, source, *, skip, clip_length, patch_size, augment, degrade
  ):
    self._source, self.count, self._skip = source, len(source), skip
    # Where the source can, only what is cut out is decoded.
    self._open = getattr(source, "open", source.__getitem__)
    self._length, self._size = clip_length, patch_size
    self._augment, self._degrade = augment, degrade

  def __call__(self, index, rng) -> dict:
    state = rng.bit_generator.state
    for skipped in range(self.count):
      record = (index + skipped) % self.count
      try:
        arrays = self._prepare(self._open(record), rng)
      except CorruptRecord as error:
        self._pass_over(error)
        rng.bit_generator.state = state  # As if it had not been tried.
      else:
        numbers = {"index": record, "skipped": skipped}
        return arrays | {k: np.int32(v) for k, v in numbers.items()}
    raise self._nothing()

  def first(self) -> dict:
    """The first of the source's examples that is whole."""
    for record in range(self.count):
      try:
        return self._open(record)
      except CorruptRecord as error:
        self._pass_over(error)
    raise self._nothing()

  def damage(self, record: int) -> str:
    """What is wrong with a record, which another process may have read."""
    try:
      self._source[record]
    except CorruptRecord as error:
      return str(error)
    return f"Record {record} could not be read, but can be now."

  def _pass_over(self, error: CorruptRecord):
    if not self._skip:
      raise CorruptRecord(f"{error}{_ADVICE}") from error

  def _nothing(self) -> CorruptRecord:
    return CorruptRecord(
        f"None of the {self.count} records of {self._source!r} can be read; the"
        f" first: {self.damage(0)}"
    )

  def _prepare(self, example, rng) -> dict:
    example = transforms.random_window(rng, example, length=self._length)
    if "bayer" in example:
      from vidrestore_jax.data import raw

      example = raw.random_patch(
          rng, example, size=self._size, augment=self._augment
      )
    else:
      example = transforms.random_crop(rng, example, size=self._size)
      if self._augment:
        example = transforms.random_orientation(rng, example)
    if self._degrade is not None:
      example = transforms.degrade(rng, example, self._degrade)
    arrays = {
        key: np.ascontiguousarray(example[key])
        for key in _ARRAYS if key in example
    }
    return arrays | {"max_value": np.float32(example["max_value"])}


class _Batches(grain.MapDataset):
  """Batches of `size` elements, which several threads read together.

  So the first batch is there as soon as it can be: grain's own `batch` reads
  its elements one after the other, and several batches at a time.
  """

  def __init__(self, elements, size: int, threads: int):
    super().__init__(elements)
    self._size, self._threads = size, threads

  def __len__(self):
    return len(self._parent) // self._size

  def __getitem__(self, index):
    if isinstance(index, slice):
      return self.slice(index)
    positions = range(index * self._size, (index + 1) * self._size)
    read = _pool(self._threads).map
    elements = list(read(self._parent.__getitem__, positions))
    return {
        key: np.stack([element[key] for element in elements])
        for key in elements[0]
    }


@functools.cache
def _pool(threads: int) -> futures.Executor:
  """This process's threads for reading; no part of what is pickled."""
  return futures.ThreadPoolExecutor(threads, "vidrestore-read")


class _Stream(grain.DatasetIterator):
  """What `train_iterator` returns.

  Attributes:
    skipped: clips so far that stand for a damaged one.
  """

  def __init__(
      self, batches, element, threads: int, workers: int, say, shard_index: int
  ):
    super().__init__()
    self._here = batches(threads)
    self._there = batches(max(1, threads // max(1, workers)))
    self._element, self._workers, self._say = element, workers, say
    self._shard_index = shard_index
    self._taken = self.skipped = 0
    self._reported = set()  # Damaged records.
    self._reader = self._rest = None  # Of the batches now, and of those after.
    self._fresh = False  # Whether the reader has given out nothing yet.

  def __next__(self) -> dict:
    self.start_prefetch()
    try:
      batch = next(self._reader, None)
      if batch is None:  # The head is read; the workers take over.
        self._reader.close()
        self._reader, self._rest = self._rest, None
        batch = next(self._reader)
    except RuntimeError as error:
      if "process was terminated" not in str(error):
        raise
      raise ChildProcessError(
          f"A process that reads the data died: {error} Where it ran out of"
          " memory, use fewer (--config.data.workers)."
      ) from error
    batch = _owned(batch)
    if self._fresh and self._workers:
      # Not before the first batch is there: starting takes the CPU's time too.
      self._rest = self._start_workers(self._taken + _HEAD)
    self._fresh = False
    self._taken += 1
    skipped = batch.pop("skipped")
    if skipped.any():
      self._report(batch["index"], skipped)
    return batch

  def start_prefetch(self):
    if self._closed:
      raise ValueError("The data iterator is closed.")
    if self._reader is None:
      batches = self._here[self._taken :]
      if self._workers:
        batches = batches[:_HEAD]
      self._reader = iter(batches.to_iter_dataset(_READ))
      self._reader.start_prefetch()
      self._fresh = True

  def _start_workers(self, position: int):
    _mark_flags_parsed()
    batches = self._there[position:].to_iter_dataset(_READ)
    options = grain.MultiprocessingOptions(
        num_workers=self._workers, per_worker_buffer_size=2
    )
    batches = grain.experimental.WithOptionsIterDataset(batches, _SHARED)
    reader = iter(batches.mp_prefetch(options, _end_with_parent))
    reader.get_state()  # Makes the iterators that start_prefetch starts.
    with _sigterm_blocked():  # Which processes inherit.
      reader.start_prefetch()
    return reader

  def get_state(self) -> dict:
    return {"next_index": self._taken, "skipped": self.skipped}

  def set_state(self, state: dict):
    self._let_go()
    self._taken, self.skipped = state["next_index"], state["skipped"]

  def set_states(self, states: list[dict]):
    """Goes on from where another number of hosts stood.

    Together they had taken the clips that these have taken by then.

    Args:
      states: of each of them, in order.
    """
    (taken,) = {state["next_index"] for state in states}
    skipped = sum(state["skipped"] for state in states)
    self.set_state(
        {"next_index": taken, "skipped": 0 if self._shard_index else skipped}
    )

  def close(self):
    self._closed = True
    self._let_go()

  def _let_go(self):
    for reader in (self._reader, self._rest):
      if reader is not None:
        reader.close()
    self._reader = self._rest = None

  def _report(self, index, skipped):
    """Counts the clips of a batch that are replaced, and names the damaged."""
    self.skipped += int(np.count_nonzero(skipped))
    for last, count in zip(index.tolist(), skipped.tolist()):
      for back in range(count, 0, -1):
        record = (last - back) % self._element.count
        if record not in self._reported:
          self._reported.add(record)
          self._say(
              f"Damaged record {record} is passed over"
              f" ({len(self._reported)} so far):"
              f" {self._element.damage(record)}"
          )


@contextlib.contextmanager
def _sigterm_blocked():
  """Where a scheduler tells all processes to end, readers end with training.

  A signal to this process waits, or is heard by another thread.
  """
  if not hasattr(signal, "pthread_sigmask"):
    yield
    return
  before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent(*_):
  """In a worker process: ends it when its parent ends, however that does."""

  def wait():
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=wait, daemon=True).start()


def _owned(batch: dict) -> dict:
  """Copies what lies in memory shared with a worker, and gives that back.

  So a run that ends, or is ended, leaves none of it behind.
  """
  owned = {
      key: value if type(value) is np.ndarray else np.array(value)
      for key, value in batch.items()
  }
  batch.clear()  # Grain's threads hold the last one.
  return owned


def _check(
    source, element, batch_size, clip_length, patch_size, seed, workers,
    shard_index, shard_count,
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
  first = element.first()
  frames, height, width = first["clean"].shape[:3]
  if clip_length > frames:
    raise ValueError(
        f"clip_length={clip_length} is longer than the clips of the source:"
        f" {first['name']} has {frames} frames. Lower clip_length or build the"
        " source with longer clips."
    )
  if "bayer" in first:  # Patches are of packed frames.
    height, width = height // 2, width // 2
  if patch_size > min(height, width):
    raise ValueError(
        f"patch_size={patch_size} is larger than the frames of the source:"
        f" {first['name']} is {width}x{height}. Lower patch_size or use larger"
        " frames."
    )


def _threads(source) -> int:
  """Threads that reading may use, over all workers of this host."""
  cpus = os.cpu_count() or 1
  if hasattr(os, "sched_getaffinity"):
    cpus = len(os.sched_getaffinity(0))  # Those that this process may use.
  return min(cpus, getattr(source, "max_threads", None) or cpus)


def _mark_flags_parsed():
  """Lets mp_prefetch run where absl's app.run did not: tests, notebooks.

  It reads an absl flag, which fails before flags are parsed (grain #1355, in
  0.2.18); marked as parsed, flags have their defaults.
  """
  from absl import flags

  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
