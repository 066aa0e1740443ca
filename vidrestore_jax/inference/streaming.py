"""Restoring a stream of frames at constant memory, whatever its length.

A recurrent model is run step by step: one frame and the state are all that is
held, and the state is carried from the first frame to the last, so that no
chunk border exists. Whole clips go through the same step.

A windowed model slides over the frames; beyond both ends they are mirrored
without repeating the edge, or the last one is repeated where the model's
`border` is "replicate". Where it is a cascade of stages, each stage slides
over the results of the one before, so that every result is made once.

A bidirectional model restores each frame from all others, so it is no stream:
the whole clip is held in memory, on the device as well, or chunks of it that
overlap. Clips are filled up where that changes nothing, so that scenes of many
lengths share a program.

A frame may say that a scene starts with it. Then nothing is carried across: the
state starts anew, and windows end there as at a clip's end.

Each of them runs on whole frames, on one device or split by rows over several,
or on tiles of them; a stream of tiles is a stream of its own, side by side with
the others.
"""

import collections
import contextlib
import dataclasses
import functools
import itertools
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vidrestore_jax.inference import row_bands, tiling
from vidrestore_jax.shapes import (
    Restored,
    check_channels,
    check_choice,
    check_rank,
)

# What of `Restored.aux` is worth the way from the device for each frame.
AUX = ("bits", "rate_map", "flow")
# Those that are of the padded input, and of the padded output.
_CROPPED, _CROPPED_OUTPUT = ("flow", "pre_denoised"), ("hr_features",)
_OF_A_STREAM = ("state", "seam")  # Those that the stream adds.
BORDERS = ("mirror", "replicate")


class Frame(NamedTuple):
  """A frame of a stream with what is known of it.

  Attributes:
    pixels: `[H, W, C]` in [0, 1].
    sigma: standard deviation of its noise in [0, 1] units, a number or a map
      `[H, W, 1]`; None: as the stream's.
    starts_scene: whether nothing before it has to do with it.
  """

  pixels: Any
  sigma: Any = None
  starts_scene: bool = False


def restore_stream(
    model,
    variables,
    frames: Iterable,
    *,
    sigma: float | None = None,
    aux: tuple[str, ...] = AUX,
    state=None,
    tile: int | None = None,
    bucket: int | None = None,
    chunk: tuple[int, int] | None = None,
    devices: int | str = 1,
    shrunk: Callable[[str, int], None] | None = None,
) -> Iterator[Restored]:
  """Restores frames one by one; a generator, nothing runs before `next`.

  A frame is dispatched to the device before the result of the one before it
  is waited for, so reading, computing and writing overlap; a result comes one
  frame late, and as many more as a window reaches ahead (the model's radius).

  Where a frame runs out of memory, it is tried again in smaller and smaller
  tiles, and `shrunk` is told; later ones follow.

  Args:
    model: a restoration model.
    variables: its variables.
    frames: iterable of `[H, W, C]` in [0, 1] or of `Frame`, all of one size;
      any size, they are padded to the model's stride and cropped back.
    sigma: standard deviation of the noise in [0, 1] units; needed by a model
      with a noise map and refused by a blind one.
    aux: which keys of the model's `aux` to return where it has them; of tiles
      and buckets, those of a frame's size. "state" is a recurrent model's state
      after the frame, on the device (`row_bands.whole` of one that is split
      has its leaves); "seam" is that of a chunk.
    state: the leaves of such a state, to go on where a stream stopped; None
      starts a clip, and so does a first frame that starts a scene.
    tile: side of the tiles, see `tiling.tiles`; None: whole frames.
    bucket: sides are padded to multiples of it, so that frames of similar size
      share a program; see `tiling`. None: to those of the model's stride.
    chunk: of a bidirectional model (length, overlap): so many frames at a time,
      restored with so many more on either side; None: the whole clip.
    devices: to split frames over by rows, a number or "all"; see `row_bands`.
    shrunk: called with a sentence and the side of the tiles when memory ran
      out; None: the sentence is a RuntimeWarning.

  Yields:
    `Restored` on the host for each frame: `frames` float32 `[H, W, C]`, not
    clipped, H and W the model's `scale` times those given; `aux["bits"]` a
    float and `aux["rate_map"]` `[h, w]`, both of the padded frame; an
    `aux["flow"]` is cropped as the frame is. Of a cascade,
    `aux["pre_denoised"]` `[H, W, C]` is what its first stage made of the frame,
    and nothing else is kept. `aux["seam"]` is how far, at most, the first
    frame of a chunk differs from what the chunk before made of it, which saw
    one frame less than the overlap after it; 0 for all others.

  Raises:
    ValueError: the model does not restore, `sigma`, `tile`, `bucket`, `chunk`
      or `devices` does not suit it, or the frames change their size.
    MemoryError: there is too little even for small tiles, or the model takes
      none.
  """
  run = _Run(
      model, variables, aux, tile, bucket, chunk, devices, shrunk=shrunk
  )
  yield from _restored(run, frames, sigma, state)


def restore_clip(
    model,
    variables,
    clip,
    *,
    sigma: float | None = None,
    aux: tuple[str, ...] = AUX,
    only: int | None = None,
    tile: int | None = None,
    bucket: int | None = None,
    chunk: tuple[int, int] | None = None,
    devices: int | str = 1,
) -> Restored:
  """Restores a clip held in memory; see `restore_stream`.

  Args:
    model: a restoration model.
    variables: its variables.
    clip: `[T, H, W, C]` in [0, 1].
    sigma: standard deviation of the noise in [0, 1] units.
    aux: which keys of the model's `aux` to return where it has them.
    only: the index of the one frame to return, as it is restored in the clip;
      what it does not need is not computed. None returns them all.
    tile, bucket, chunk, devices: as `restore_stream` has them.

  Returns:
    `Restored` of numpy arrays: `frames` float32 `[T, H, W, C]` (T is 1 with
    `only`), not clipped, `aux["bits"]` `[T]`, `aux["rate_map"]` `[T, h, w]`.

  Raises:
    ValueError: as `restore_stream`, or the clip has no frames, or not that one.
  """
  check_rank("A clip", clip, "THWC")
  if not len(clip):
    raise ValueError("The clip to restore has no frames.")
  if only is not None and not 0 <= only < len(clip):
    raise ValueError(
        f"The clip has the frames 0 to {len(clip) - 1}, but frame {only} is"
        " asked for."
    )
  run = _Run(model, variables, aux, tile, bucket, chunk, devices, only=only)
  steps = list(_restored(run, clip, sigma, None))
  return jax.tree.map(lambda *leaves: np.stack(leaves), *steps)


def verify_tiles(
    model, variables, clip, *, tile: int, sigma: float | None = None
) -> float:
  """Measures the seam of tiles: how far a tiled clip is from the whole.

  Args:
    model, variables, clip, sigma: as `restore_clip` has them; a few frames say
      it all. Whole frames have to fit into memory.
    tile: side of the tiles.

  Returns:
    The greatest absolute difference, of values in [0, 1]; rounding leaves some
    1e-6, or 1e-5 on a CPU that computes one of the two in fewer products.

  Raises:
    ValueError: as `restore_clip`.
  """
  whole, tiled = (
      restore_clip(
          model, variables, clip, sigma=sigma, aux=(), tile=side
      ).frames
      for side in (None, tile)
  )
  return float(np.abs(whole - tiled).max())


@dataclasses.dataclass
class _Run:
  """What a stream is made with; `tile` shrinks where memory runs out."""

  model: Any
  variables: Any
  aux: tuple[str, ...]
  tile: int | None = None
  bucket: int | None = None
  chunk: tuple[int, int] | None = None
  devices: int | str = 1
  only: int | None = None  # Of all frames, the one to return.
  shrunk: Callable[[str, int], None] | None = None
  mesh: Any = None  # Of the devices that frames are split over.

  def __post_init__(self):
    check_streams(self.model)
    if self.tile is not None:
      tiling.check(self.model, self.tile)
      if self.bucket is not None:
        raise ValueError(
            "Tiles are of one size already: give a tile or a bucket, not both."
        )
    if self.bucket is not None:
      tiling.check_bucket(self.model, self.bucket)
    check_chunk(self.model, self.chunk)
    self.mesh = row_bands.mesh_of(self.devices, self.tile, self.bucket)
    where = None if self.mesh is None else row_bands.replicated(self.mesh)
    self.variables = jax.device_put(self.variables, where)

  def put(self, frame):
    """A `Frame` on the device, or split over them."""
    if self.mesh is None:
      return frame._replace(pixels=jnp.asarray(frame.pixels, jnp.float32))

    def put(array):
      numbers = jnp if isinstance(array, jax.Array) else np
      return row_bands.put(numbers.asarray(array, numbers.float32), self.mesh)

    sigma = put(frame.sigma) if np.ndim(frame.sigma) else frame.sigma
    return frame._replace(pixels=put(frame.pixels), sigma=sigma)


def _restored(run, frames, sigma, state=None):
  """`restore_stream`, checked."""
  for scene in _scenes(_checked(run.model, frames, sigma)):
    yield from _scene(run, scene, state)
    state = None


def _scenes(frames):
  """An iterator for each scene over its frames."""
  number = 0

  def scene(frame):
    nonlocal number
    number += frame.starts_scene
    return number

  for _, group in itertools.groupby(frames, scene):
    yield group


def _scene(run, frames, state):
  """A scene's results on the host, the sides of its tiles found out."""
  # What the model looks back at, to go on in smaller tiles from any frame. Of
  # a clip, which is made as a whole, that would be all of it.
  back = 0 if run.model.recurrent else run.model.radius
  frames, done, again = _Rewindable(frames), 0, 0
  while True:
    results = itertools.islice(_laid_out(run, frames, state), again, None)
    try:
      for result in _one_late(results):
        yield result
        done += 1
        frames.forget(done if back is None else done - back)
      return
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error) or (done and back is None):
        raise
      _shrink(run, frames.last.pixels.shape[:2], error)
      again = done - frames.rewind()


def _one_late(results):
  """What functions return, each called once the next one is there.

  The first is called at once: what cannot be had is not asked for twice.
  """
  pending = next(results, None)
  if pending is None:
    return
  first = pending()
  pending = lambda: first  # noqa: E731
  for result in results:
    yield pending()
    pending = result
  yield pending()


class _Rewindable:
  """An iterator that can go back to items that it has not forgotten.

  Attributes:
    last: the last item.
  """

  def __init__(self, items):
    self._items, self._again = iter(items), collections.deque()
    self._seen, self._forgotten = collections.deque(), 0
    self.last = None

  def __iter__(self):
    return self

  def __next__(self):
    item = self._again.popleft() if self._again else next(self._items)
    self._seen.append(item)
    self.last = item
    return item

  def rewind(self) -> int:
    """Goes back as far as possible, to the item of the returned index."""
    self._again.extendleft(reversed(self._seen))
    self._seen.clear()
    return self._forgotten

  def forget(self, count: int):
    """Lets go of the first `count` of all items."""
    while self._forgotten < count:
      self._seen.popleft()
      self._forgotten += 1


def _shrink(run, size, error):
  """Makes the run's tiles smaller; MemoryError where that is no way out."""
  kind = type(run.model).__name__
  before = run.tile or max(size)
  given = f"frames of {size[1]}x{size[0]}"
  if run.tile:
    given += f" in tiles of {before}x{before}"
  if run.mesh is not None:
    raise MemoryError(
        f"{kind} ran out of memory with {given}, split over {run.mesh.size}"
        " devices. Split them over more, or restore in tiles on one where the"
        " model takes them."
    ) from error
  try:
    tiling.check(run.model)
  except ValueError as reason:
    raise MemoryError(
        f"{kind} ran out of memory with {given}. {reason}"
    ) from error
  side = max(before // 2, tiling.advisable(run.model))
  if side >= before:
    raise MemoryError(
        f"{kind} ran out of memory with {given}, and smaller tiles would be"
        " little but context. Free some memory, or ask for tiles of down to"
        f" {tiling.least(run.model)} pixels."
    ) from error
  run.tile, run.bucket = side, None
  sentence = (
      f"{kind} ran out of memory with {given}; going on with tiles of"
      f" {side}x{side}, which give the same frames but take longer."
  )
  if run.shrunk is not None:
    run.shrunk(sentence, side)
  else:
    warnings.warn(sentence, RuntimeWarning, stacklevel=2)


def _laid_out(run, frames, state):
  """`_scene`'s results, on frames that are whole, padded or cut into tiles."""
  first = next(frames, None)
  if first is None:
    return
  if first.starts_scene:
    state = None
  if run.mesh is not None:
    row_bands.check(run.model, first.pixels.shape[0], run.mesh.size)
  frames = itertools.chain([first], frames)
  if run.tile is None and run.bucket is None:
    for result in _results(run, frames, state):
      yield functools.partial(_to_host, result)
    return
  stride, bucket = run.model.stride, run.bucket or 1
  size = first.pixels.shape[:2]
  padded = tuple(side + -side % stride for side in size)
  frames = (_reshaped(frame, stride, bucket) for frame in frames)
  if run.bucket is not None:
    shown = (tiling.Span(0, a + -a % bucket, 0, a) for a in padded)
    tiles = [tiling.Tile(*shown)]
    valid = jnp.asarray(padded, jnp.int32)
    streams = [_results(run, frames, state, valid)]
  else:
    tiles = tiling.tiles(run.model, padded, run.tile)
    streams = [
        _results(run, map(functools.partial(_cut, tile), copy))
        for tile, copy in zip(tiles, itertools.tee(frames, len(tiles)))
    ]
  for parts in zip(*streams):
    yield functools.partial(
        _gathered, run.model.scale, size, padded, tiles, parts
    )


def _reshaped(frame, stride, bucket):
  """A frame padded to the stride and the bucket, as is a map of its noise."""
  def pad(pixels):
    return tiling.pad_to_bucket(pixels, stride, bucket)

  sigma = frame.sigma if np.ndim(frame.sigma) == 0 else pad(frame.sigma)
  return frame._replace(pixels=pad(frame.pixels), sigma=sigma)


def _cut(tile, frame):
  """What a tile shows of a frame and of a map of its noise."""
  sigma = frame.sigma
  if np.ndim(sigma):
    sigma = tile.cut(sigma)
  return frame._replace(pixels=tile.cut(frame.pixels), sigma=sigma)


def _gathered(scale, size, padded, tiles, parts):
  """What tiles made of a frame, on the host."""
  def gather(pieces, times):
    height, width = (side * times for side in padded)
    whole = np.empty((height, width, pieces[0].shape[-1]), np.float32)
    for tile, piece in zip(tiles, pieces):
      tile.put(whole, np.asarray(piece), times)
    return tiling.crop(whole, size, scale=times)

  aux = parts[0].aux
  kept = {key: aux[key] for key in _OF_A_STREAM if key in aux}
  for keys, times in ((_CROPPED, 1), (_CROPPED_OUTPUT, scale)):
    for key in keys:
      if key in aux:
        kept[key] = gather([part.aux[key] for part in parts], times)
  return Restored(gather([part.frames for part in parts], scale), kept)


def programs(
    model,
    variables,
    size: tuple[int, int],
    *,
    length: int = 1,
    aux: tuple[str, ...] = AUX,
    bucket: int | None = None,
    mesh=None,
):
  """What a stream compiles and runs for each frame, for those who plan.

  Args:
    model: a restoration model.
    variables: its variables, or their shapes.
    size: (H, W) of what the model is given: frames, or tiles of them.
    length: of a bidirectional model's clip, or of a chunk with its overlap.
    aux, bucket: as `restore_stream` has them.
    mesh: of the devices that frames are split over, or None.

  Returns:
    The pair of a list of (jitted function, its arguments with shapes in the
    arrays' place), in the order of a frame's way, and of how many frames they
    make in one go.
  """
  def array(*shape):
    if mesh is not None:
      return row_bands.described(shape, mesh)
    return jax.ShapeDtypeStruct(shape, jnp.float32)

  check_streams(model)
  where = None if mesh is None else row_bands.replicated(mesh)
  variables = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(
          leaf.shape, jnp.float32, sharding=where
      ),
      variables,
  )
  valid = None
  if bucket is not None:
    size = tuple(side + -side % bucket for side in size)
    valid = jax.ShapeDtypeStruct((2,), jnp.int32)
  frame = array(*size, model.channels)
  sigma = 0.1 if model.noise_map else None
  if model.recurrent:
    state = jax.eval_shape(functools.partial(_init_state, model), frame)
    state = row_bands.described_again(state)
    given = (model, aux, variables, state, frame, sigma, valid)
    return [(_step, given)], 1
  if _bidirectional(model):
    own = jax.ShapeDtypeStruct((), jnp.int32) if _fillable(model) else None
    clip = array(length, *frame.shape)
    return [(_clip, (model, aux, variables, clip, sigma, own))], length
  if not hasattr(model, "stages"):
    window = (frame,) * (2 * model.radius + 1)
    return [(_window, (model, aux, variables, window, sigma, valid))], 1
  padded = [side + -side % model.stride for side in size]
  made = []
  for index, radius in enumerate(model.stages):
    window = (frame,) * (2 * radius + 1)
    given = (model, index, variables, window, sigma, valid)
    made.append((_stage, given))
    frame = array(1, *padded, model.channels)
  return made, 1


def check_streams(model):
  """ValueError unless `model` restores frames one after another."""
  kind = type(model).__name__
  if not getattr(model, "restores", False):
    raise ValueError(
        f"{kind} is no restoration model: it does not make frames of frames."
        " Choose the released folder of one that does, such as ncfl."
    )


def check_sigma(model, sigma, size: tuple[int, int] | None = None):
  """ValueError unless `sigma` suits the model.

  Args:
    model: a restoration model.
    sigma: in [0, 1] units, a number, a map `[H, W, 1]` or None.
    size: (H, W) that a map has.
  """
  kind = type(model).__name__
  if model.noise_map and sigma is None:
    raise ValueError(
        f"This {kind} is told how strong the noise is, so it needs a sigma"
        " (in 8-bit units on the command line: --sigma=30)."
    )
  if not model.noise_map and sigma is not None:
    raise ValueError(
        f"This {kind} is blind: it judges the noise itself and takes no sigma."
    )
  if sigma is None:
    return
  if np.ndim(sigma) and np.shape(sigma) != (*size, 1):
    raise ValueError(
        f"A map of sigma for frames of {_size(size)} has the shape"
        f" {[*size, 1]}, but got {list(np.shape(sigma))}."
    )
  low, high = np.min(sigma), np.max(sigma)
  if not 0 <= low <= high <= 1:
    raise ValueError(
        "sigma lies between 0 and 1 here (0 to 255 on the command line), but"
        f" got {low if low < 0 else high}."
    )


def check_frame(model, pixels, index: int, shape=None):
  """ValueError unless a frame suits the model and those before it.

  Args:
    model: a restoration model.
    pixels: of the frame.
    index: its number.
    shape: of those before it, if there are any.
  """
  check_rank("A frame", pixels, "HWC")
  check_channels("A frame", pixels, model.channels)
  if shape is not None and pixels.shape != shape:
    raise ValueError(
        f"Frame {index} is {_size(pixels.shape)} while those before it are"
        f" {_size(shape)}. Restore clips of different sizes one by one."
    )


def check_chunk(model, chunk: tuple[int, int] | None):
  """ValueError unless the model takes chunks such as this one."""
  if chunk is None:
    return
  if not _bidirectional(model):
    raise ValueError(
        f"{type(model).__name__} streams frame by frame and takes no chunks;"
        " only bidirectional models do."
    )
  if min(chunk) < 1:
    raise ValueError(
        f"A chunk has a length and an overlap of 1 or more, but got {chunk}."
    )


def extended(
    frames: Iterable, radius: int, border: str = "mirror"
) -> Iterator:
  """Frames with `radius` more at either end.

  Args:
    frames: any iterable; no more than radius + 1 of its items are held.
    radius: how many more.
    border: "mirror": the edge is not repeated, frame i of a clip of T stands
      for -i and for 2 (T - 1) - i (FastDVDnet's release); a clip too short for
      that is mirrored again and again, and a single frame has only itself for
      neighbour. "replicate": the first and the last frame are repeated (STD).

  Yields:
    The items, T + 2 radius of them where there are any.

  Raises:
    ValueError: no such border.
  """
  check_choice("A model's border", border, BORDERS)
  inside = {"mirror": _reflect, "replicate": _clamp}[border]
  frames = iter(frames)
  head = list(itertools.islice(frames, radius + 1))
  tail = collections.deque(head, radius + 1)
  for distance in range(-radius, 0):
    if head:
      yield head[inside(distance, len(head))]
  yield from head
  for frame in frames:
    tail.append(frame)
    yield frame
  for distance in range(radius):
    if tail:
      yield tail[inside(len(tail) + distance, len(tail))]


def _reflect(index, length):
  """The index of [0, length) that a mirror at both ends leads to."""
  period = max(2 * (length - 1), 1)
  return min(index % period, -index % period)


def _clamp(index, length):
  """The index of [0, length) that is nearest."""
  return min(max(index, 0), length - 1)


def _checked(model, frames, sigma):
  """`Frame`s that suit the model, one after another; else ValueError."""
  shape = None
  for index, frame in enumerate(frames):
    frame = frame if isinstance(frame, Frame) else Frame(frame)
    check_frame(model, frame.pixels, index, shape)
    shape = frame.pixels.shape
    if frame.sigma is None:
      frame = frame._replace(sigma=sigma)
    check_sigma(model, frame.sigma, shape[:2])
    yield frame


def _results(run, frames, state=None, valid=None):
  """Results on the device, of frames as the model is to be shown them."""
  model, only = run.model, run.only
  frames = map(run.put, frames)
  if model.recurrent:
    results = _recurrent(run, frames, state, valid)
  elif _bidirectional(model):
    results = _clips(run, frames)
  else:
    border = getattr(model, "border", "mirror")
    frames = extended(frames, model.radius, border)
    if only is not None:  # Then no other window is made.
      frames = itertools.islice(frames, only, only + 2 * model.radius + 1)
      only = 0
    results = _windowed(run, frames, valid)
  return results if only is None else itertools.islice(results, only, only + 1)


def _bidirectional(model):
  return getattr(model, "bidirectional", False)


def _recurrent(run, frames, leaves, valid):
  """A recurrent model's results, step by step."""
  state = None
  for frame in frames:
    if state is None:
      state = _init_state(run.model, frame.pixels)
      if leaves is not None:
        state = jax.tree.unflatten(jax.tree.structure(state), leaves)
        state = row_bands.put_again(state)
    state, result = _step(
        run.model, run.aux, run.variables, state, *frame[:2], valid
    )
    if "state" in run.aux:
      result = result._replace(aux=dict(result.aux, state=state))
    yield result


@functools.partial(row_bands.jit, static_argnums=0)
def _init_state(model, frame):
  """The model's state before `frame` `[H, W, C]`."""
  padded, _ = tiling.pad_to_multiple(frame[None], model.stride)
  return model.init_state(padded)


@functools.partial(row_bands.jit, static_argnums=(0, 1))
def _step(model, aux, variables, state, frame, sigma, valid):
  """One frame `[H, W, C]`: (state, Restored without batch, cropped)."""
  padded, size = tiling.pad_to_multiple(frame[None], model.stride)
  noise = _noise_map(padded, sigma)
  with _masked(padded, valid):
    state, restored = model.apply(
        variables, state, padded, noise, method="step"
    )
  return state, _finish(restored, size, model.scale, aux)


def _clips(run, frames):
  """A bidirectional model's results, of the whole clip or chunk by chunk.

  Chunks are all of one length, so the last one begins earlier than its turn.
  """
  if run.chunk is None:
    frames = list(frames)
    if frames:
      length = filled_length(run.model, len(frames))
      restored = _restored_clip(run, frames, length)
      for index in range(len(frames)):
        yield jax.tree.map(operator.itemgetter(index), restored)
    return
  length, overlap = run.chunk
  held = collections.deque(maxlen=length + 2 * overlap)
  count, done, before = 0, 0, None

  def chunk(stop):
    """Results of the frames `done` .. `stop` of those that are held."""
    nonlocal done, before
    origin, filled = count - len(held), held.maxlen
    if len(held) < filled:
      filled = filled_length(run.model, len(held))
    restored = _restored_clip(run, list(held), filled)
    for index in range(done, stop):
      result = jax.tree.map(operator.itemgetter(index - origin), restored)
      if "seam" in run.aux:
        seam = jnp.zeros(())
        if index == done and before is not None:
          seam = _distance(result.frames, before)
        result.aux["seam"] = seam
      yield result
    done = stop
    if stop < count:
      before = jax.tree.map(
          operator.itemgetter(stop - origin), restored.frames
      )

  for frame in frames:
    if count >= held.maxlen and (count - held.maxlen) % length == 0:
      yield from chunk(count - overlap)
    held.append(frame)
    count += 1
  if held:
    yield from chunk(count)


def filled_length(model, length: int) -> int:
  """The frames that a clip of a bidirectional model is filled up to.

  Four to an octave where the model takes such clips, so that scenes of some
  hundred lengths share twenty programs, for a quarter more work at most.
  """
  step = max(2 ** (length.bit_length() - 3), 1) if _fillable(model) else 1
  return length + -length % int(step)


def _fillable(model):
  return getattr(model, "fillable", False)


def _restored_clip(run, frames, length):
  """Restored of `Frame`s that are restored together, filled up to a length."""
  pixels = [frame.pixels for frame in frames]
  clip = _stacked(pixels + [pixels[-1]] * (length - len(pixels)))
  own = np.int32(len(frames)) if _fillable(run.model) else None
  sigma = frames[0].sigma
  if sigma is not None:  # One map for them all.
    squares = [np.square(frame.sigma) for frame in frames]
    sigma = np.sqrt(sum(squares) / len(frames))
  return _clip(run.model, run.aux, run.variables, clip, sigma, own)


def _stacked(arrays):
  """Arrays, banded or not, along a new first axis."""
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays)


@row_bands.jit
def _distance(one, other):
  """The greatest absolute difference."""
  return jnp.abs(one - other).max()


@functools.partial(row_bands.jit, static_argnums=(0, 1))
def _clip(model, aux, variables, clip, sigma, own):
  """A clip `[T, H, W, C]`: Restored without batch, cropped.

  `own` is how many of its frames do not fill up; None of a model that takes
  none that do.
  """
  clip, size = tiling.pad_to_multiple(clip[None], model.stride)
  length = {} if own is None else dict(length=own)
  noise = _noise_map(clip[:, 0], sigma)
  restored = model.apply(variables, clip, noise, **length)
  return _finish(restored, size, model.scale, aux)


def _windowed(run, frames, valid):
  """A windowed model's results: the middles of its windows in `frames`."""
  model = run.model
  if not hasattr(model, "stages"):
    for window in _windows(frames, model.radius):
      pixels = tuple(frame.pixels for frame in window)
      sigma = window[model.radius].sigma
      yield _window(model, run.aux, run.variables, pixels, sigma, valid)
    return
  made = (
      _Made(frame.pixels, None, frame.pixels.shape[:2], frame.sigma)
      for frame in frames
  )
  for index in range(len(model.stages)):
    made = _slide(run, index, made, valid)
  for frame, first, size, _ in made:
    restored = Restored(frame, {"pre_denoised": first})
    yield _finished(restored, size, model.scale, run.aux)


class _Made(NamedTuple):
  """What a stage made of a frame.

  Attributes:
    frame: its result, `[1, H', W', C]`, of the padded size.
    first: the first stage's.
    size: (H, W) of the frame itself.
    sigma: of its noise.
  """

  frame: Any
  first: Any
  size: tuple[int, int]
  sigma: Any


def _slide(run, index, made, valid):
  """The results of one stage, of those of the stage before."""
  radius = run.model.stages[index]
  for window in _windows(made, radius):
    middle = window[radius]
    frames = tuple(item.frame for item in window)
    frame = _stage(
        run.model, index, run.variables, frames, middle.sigma, valid
    )
    first = middle.first if index else frame
    yield middle._replace(frame=frame, first=first)


def _windows(items, radius):
  """Every 2 radius + 1 items that follow one another, as a tuple."""
  window = collections.deque(maxlen=2 * radius + 1)
  for item in items:
    window.append(item)
    if len(window) == window.maxlen:
      yield tuple(window)


@functools.partial(row_bands.jit, static_argnums=(0, 1))
def _stage(model, index, variables, frames, sigma, valid):
  """The result of a stage of a cascade, padded.

  Stage 0 takes frames `[H, W, C]`, those after it the results of the one
  before.
  """
  window = jnp.stack(frames, 1) if index else jnp.stack(frames)[None]
  window, _ = tiling.pad_to_multiple(window, model.stride)
  noise = _noise_map(window[:, 0], sigma)
  with _masked(window, valid):
    return model.apply(variables, index, window, noise, method="stage")


@functools.partial(row_bands.jit, static_argnums=(0, 1))
def _window(model, aux, variables, frames, sigma, valid):
  """One window of frames `[H, W, C]`: Restored without batch, cropped."""
  window = jnp.stack(frames)[None]
  window, size = tiling.pad_to_multiple(window, model.stride)
  noise = _noise_map(window[:, 0], sigma)
  with _masked(window, valid):
    restored = model.apply(variables, window, noise)
  return _finish(restored, size, model.scale, aux)


def _masked(frames, valid):
  """Shows convolutions the `valid` part of frames `[..., H, W, C]` alone."""
  if valid is None:
    return contextlib.nullcontext()
  return tiling.masked(frames.shape[-3:-1], valid)


def _noise_map(frame, sigma):
  """`[B, H, W, 1]` for frames `[B, H, W, C]`, or None.

  Args:
    frame: padded.
    sigma: a number, or a map `[h, w, 1]` of the frame before it was padded.
  """
  if sigma is None:
    return None
  noise = jnp.asarray(sigma, jnp.float32)
  for axis in range(noise.ndim - 1):
    amount = frame.shape[1 + axis] - noise.shape[axis]
    widths = [(0, amount if i == axis else 0) for i in range(noise.ndim)]
    noise = jnp.pad(noise, widths, mode="edge")
  return jnp.broadcast_to(noise, (*frame.shape[:3], 1))


def _finish(restored, size, scale, aux):
  """What is kept of `restored`, cropped and without its batch axis."""
  frames = tiling.crop(restored.frames, size, scale=scale)
  kept = {k: v for k, v in restored.aux.items() if k in aux}
  for keys, times in ((_CROPPED, 1), (_CROPPED_OUTPUT, scale)):
    for key in keys:
      if key in kept:
        kept[key] = tiling.crop(kept[key], size, scale=times)
  result = Restored(frames.astype(jnp.float32), kept)
  return jax.tree.map(lambda leaf: leaf[0], result)


_finished = row_bands.jit(_finish, static_argnums=(1, 2, 3))


def _to_host(result):
  aux = {
      key: value if key == "state" else np.asarray(value)
      for key, value in result.aux.items()
  }
  return Restored(np.asarray(result.frames), aux)


def _size(shape):
  return f"{shape[1]}x{shape[0]}"
