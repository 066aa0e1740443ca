"""From frames to restored frames: the one way that every door takes.

A frame is looked at (does a scene start with it, and how strong is its noise?),
restored by `streaming`, whole or in tiles, and blended with what it was.
"""

import collections
import dataclasses
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from vidrestore_jax.inference import (
    plan,
    row_bands,
    scene_cuts,
    streaming,
    tiling,
)
from vidrestore_jax.inference.noise_estimation import (
    NoiseEstimate,
    NoiseTracker,
    check_strength,
    with_strength,
)
from vidrestore_jax.shapes import check_choice

NOISES = ("gaussian", "signal")
# How many frames before one say whether a scene starts with it; its noise is
# measured against the one before.
CONTEXT = scene_cuts.BEFORE


@dataclasses.dataclass(frozen=True)
class Settings:
  """How frames are restored, whatever holds them.

  Attributes:
    sigma: standard deviation of the noise in [0, 1] units. None: what is
      estimated of each frame, for a model with a noise map.
    noise: what is estimated: "gaussian", one level for a frame; "signal", a map
      of levels that depend on how bright a pixel is.
    strength: which part is taken of what the model removes, 0 to 1.
    cuts: look for scene cuts, across which nothing is carried.
    tile: side of tiles in pixels; None: whole frames; "auto": whole frames
      where they fit into memory, else tiles that do.
    bucket: whole frames are padded to multiples of it, so that similar sizes
      share a compiled program; None: none; "auto": `tiling.usual_bucket`.
    verify_tiles: measure how far tiles are from whole frames, on the first two.
    chunk: of a bidirectional model (length, overlap), as
      `streaming.restore_stream` has it; None: whole scenes.
    devices: whole frames are split over so many by rows, or over "all"; see
      `row_bands`. As it changes rounding alone, a job that was stopped may go
      on with more of them or fewer.
    plot_noise: path of a PNG that is made of the noise over time, or None.
  """

  sigma: float | None = None
  noise: str = "gaussian"
  strength: float = 1.0
  cuts: bool = True
  tile: int | str | None = "auto"
  bucket: int | str | None = "auto"
  verify_tiles: bool = False
  chunk: tuple[int, int] | None = None
  devices: int | str = 1
  plot_noise: str | os.PathLike | None = None

  def identity(self) -> dict[str, Any]:
    """Those on which the result depends."""
    return {
        "sigma": self.sigma,
        "noise": self.noise,
        "strength": self.strength,
        "cuts": self.cuts,
        "tile": self.tile,
        "bucket": self.bucket,
        "chunk": self.chunk,
    }


class Known(NamedTuple):
  """What is known of a frame, with all that the next one's depends on.

  Attributes:
    starts_scene: whether nothing before it has to do with it.
    estimate: of its noise, or None where nobody asks.
    recent: of `NoiseTracker`, after it.
  """

  starts_scene: bool = False
  estimate: NoiseEstimate | None = None
  recent: tuple[NoiseEstimate, ...] = ()


class Resume(NamedTuple):
  """Where frames go on that were stopped; see `restored`.

  Attributes:
    known: of the frames that are given before the first new one.
    again: how many of those the model is shown again; see `look_back`.
    state: leaves of a recurrent model's state after the last of them.
    layout: of the last of them, see `Result`.
  """

  known: Sequence[Known]
  again: int
  state: Any
  layout: tuple[int | None, int | None]


class Result(NamedTuple):
  """A restored frame.

  Attributes:
    frame: float32 `[H, W, C]`, not clipped.
    known: of the frame that was given.
    state: a recurrent model's after it, where that was asked for.
    layout: (tile, bucket) of the frame after it, should memory suffice.
  """

  frame: np.ndarray
  known: Known
  state: Any
  layout: tuple[int | None, int | None]


def warn(sentence: str):
  """What happens to a note unless the caller has a better place for it."""
  warnings.warn(sentence, RuntimeWarning, stacklevel=3)


def check(model, settings: Settings):
  """ValueError unless the model can do what is asked."""
  kind = type(model).__name__
  streaming.check_streams(model)
  if settings.sigma is not None or not model.noise_map:
    streaming.check_sigma(model, settings.sigma)
  check_choice("The noise", settings.noise, NOISES)
  if settings.noise == "signal" and not _is_told(model, settings):
    raise ValueError(
        "Noise that depends on the signal is estimated, for a model with a"
        " noise map: "
        + (
            "state no sigma with it."
            if model.noise_map
            else f"this {kind} has none."
        )
    )
  check_strength(settings.strength, model.scale)
  if isinstance(settings.tile, int):
    tiling.check(model, settings.tile)
  elif settings.tile not in ("auto", None):
    raise ValueError(
        "Tiles are a number of pixels to a side, auto or none, but got"
        f" {settings.tile!r}."
    )
  if settings.verify_tiles:
    if settings.tile is None:
      raise ValueError("There are no tiles to verify: their size is none.")
    tiling.check(model)
  if isinstance(settings.bucket, int):
    tiling.check_bucket(model, settings.bucket)
  streaming.check_chunk(model, settings.chunk)
  mesh = row_bands.mesh_of(settings.devices, settings.tile, settings.bucket)
  if mesh is not None and settings.verify_tiles:
    raise ValueError(
        "There are no tiles to verify: frames that are split over devices are"
        " restored whole."
    )


def look_back(
    model, chunk: tuple[int, int] | None, index: int, scene: int
) -> int:
  """How many frames before one the model is shown to restore it as in a clip.

  Args:
    model: a restoration model; one with a state is shown none again.
    chunk: of a bidirectional one.
    index: of the frame.
    scene: of the frame that its scene started with.
  """
  if model.recurrent:
    return 0
  since = index - scene
  if not getattr(model, "bidirectional", False):
    return min(model.radius, since)
  if chunk is None:
    return since
  # Chunks begin at multiples of their length. The last one is as long as the
  # others and so begins in the one before.
  length, overlap = chunk
  begun = max((since - overlap) // length - 1, 0)
  return since - begun * length


def restored(
    model,
    variables,
    frames: Iterable,
    settings: Settings,
    *,
    aux: tuple[str, ...] = (),
    resume: Resume | None = None,
    note: Callable[[str], None] = warn,
) -> Iterator[Result]:
  """Restores frames one by one; a generator, see `streaming.restore_stream`.

  Args:
    model: a restoration model.
    variables: its variables.
    frames: `[H, W, C]` in [0, 1], of one size.
    settings: how.
    aux: "state" to get it.
    resume: to go on where an earlier run stopped; then `frames` begin with
      those that it knows of, whose results are left out.
    note: called with a sentence, without its stop, that a person should read.

  Raises:
    ValueError: as `check` and `streaming.restore_stream`.
  """
  check(model, settings)
  frames = _checked(model, frames)
  first = next(frames, None)
  if first is None:
    return
  frames = itertools.chain([first], frames)
  if settings.chunk is not None:
    aux = (*aux, "seam")
  if row_bands.count(settings.devices) > 1:
    layout = None, None  # Whatever one device had to do.
  elif resume is not None:
    layout = resume.layout
  else:
    layout = plan.layout(
        model, variables, first.shape[:2], tile=settings.tile,
        bucket=settings.bucket, aux=aux, note=note,
    )
  if settings.verify_tiles:
    frames = _verified(model, variables, frames, settings, layout[0], note)
  before, again, state = ((), 0, None) if resume is None else resume[:3]
  waiting = collections.deque()  # (pixels, Known) of those on their way.

  def given():
    looked = looked_at(model, frames, settings, before)
    for pixels, known in itertools.islice(looked, len(before) - again, None):
      waiting.append((pixels if settings.strength < 1 else None, known))
      sigma = _level(model, settings, pixels, known.estimate)
      yield streaming.Frame(pixels, sigma, known.starts_scene)

  def shrunk(sentence, side):
    nonlocal layout
    layout = side, None
    note(sentence.removesuffix("."))

  results = streaming.restore_stream(
      model, variables, given(), sigma=settings.sigma, aux=aux, state=state,
      tile=layout[0], bucket=layout[1], chunk=settings.chunk,
      devices=settings.devices, shrunk=shrunk,
  )
  seam = 0.0
  for index, result in enumerate(results):
    pixels, known = waiting.popleft()
    seam = max(seam, float(result.aux.get("seam", 0.0)))
    if index < again:
      continue
    frame = result.frames
    if settings.strength < 1:
      frame = with_strength(np.asarray(pixels), frame, settings.strength)
    yield Result(frame, known, result.aux.get("state"), layout)
  if settings.chunk is not None:
    note(
        f"where chunks meet they differ by at most {255 * seam:.2g} (8-bit"
        " units); a longer overlap makes it less"
    )


def _checked(model, frames):
  """The frames, each of which suits the model and those before it."""
  shape = None
  for index, pixels in enumerate(frames):
    streaming.check_frame(model, pixels, index, shape)
    shape = pixels.shape
    yield pixels


def _is_told(model, settings):
  """Whether the model is told what is estimated."""
  return model.noise_map and settings.sigma is None


def looked_at(
    model, frames: Iterable, settings: Settings, before: Sequence[Known] = ()
) -> Iterator[tuple[Any, Known]]:
  """Frames with what is found out of them: where scenes start, and the noise.

  Args:
    model, frames, settings: as `restored` has them.
    before: what is known of the first ones.
  """
  if settings.cuts:
    frames = scene_cuts.marked(frames)
  else:
    frames = ((pixels, False) for pixels in frames)
  tracker = None
  if _is_told(model, settings) or settings.plot_noise is not None:
    tracker = NoiseTracker()
  for index, (pixels, starts) in enumerate(frames):
    if index < len(before):
      # A cut is judged by frames before it that the search has not seen, and a
      # level by as many as the tracker remembers: neither is found out again.
      known = before[index]
      if tracker is not None and index == len(before) - 1:
        tracker.go_on(pixels, known.recent)
    elif tracker is None:
      known = Known(starts)
    else:
      if starts:
        tracker.reset()
      estimate = tracker(pixels)
      known = Known(starts, estimate, tracker.recent)
    yield pixels, known


def _level(model, settings, pixels, estimate):
  """The sigma of a frame, or None where it is the stream's or there is none."""
  if not _is_told(model, settings):
    return None
  if settings.noise == "signal":
    return np.minimum(estimate.noise_map(pixels), 1.0)
  return min(estimate.sigma, 1.0)  # Of frames that are noise alone, more.


def _verified(model, variables, frames, settings, tile, note):
  """The frames; their seam is measured on the first two."""
  if tile is None:
    note("whole frames fit, so there are no tiles to verify")
    return frames
  head = [np.asarray(frame) for frame in itertools.islice(frames, 2)]
  sigma = settings.sigma
  if _is_told(model, settings):
    sigma = min(NoiseTracker()(head[0]).sigma, 1.0)
  seam = streaming.verify_tiles(
      model, variables, np.stack(head), tile=tile, sigma=sigma
  )
  note(
      f"tiles of {tile}x{tile} differ from whole frames by at most"
      f" {255 * seam:.2g} (8-bit units)"
  )
  return itertools.chain(head, frames)
