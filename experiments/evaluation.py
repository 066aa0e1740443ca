"""Measuring restorers on clips under a protocol.

A restorer maps (degraded clip `[T, H, W, C]` float32, sigma in [0, 1] units or
None) to a `Restored`, and with `only=index` to that frame of it alone; None in
its place stands for the degraded clip itself,
and an `Oracle` is shown the truth as well. Sigma is in 8-bit units everywhere
else here, as protocols and people have it.
"""

import dataclasses
import functools
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments import intervals
from vidrestore_jax import released
from vidrestore_jax.data import folders, mosaics, raw
from vidrestore_jax.degradations import resize
from vidrestore_jax.inference import streaming
from vidrestore_jax.layers.resample import bicubic_resize
from vidrestore_jax.metrics import baselines, bootstrap, protocols
from vidrestore_jax.shapes import Restored


@dataclasses.dataclass(frozen=True)
class Oracle:
  """A method that is shown the truth: a bound, not a restorer.

  Attributes:
    function: (degraded clip, clean clip) -> frames.
  """

  function: Callable[[np.ndarray, np.ndarray], np.ndarray]


Restorer = Callable[[np.ndarray, float | None], Restored] | Oracle | None

# What stands for the degraded clip itself.
INPUTS = ("noisy", "degraded")
# Ends the name of the first of a model's two stages.
STAGE_ONE = " stage one"
# What needs no model.
METHODS = (*INPUTS, *baselines.FILTERS, *baselines.ORACLES, "bicubic")


class Evaluation(NamedTuple):
  """What one restorer reached.

  Attributes:
    clips: by clip, as the protocol pools its frames: `psnr` (dB), `ssim`,
      `frames` (how many counted), `bits_per_pixel` where the restorer's latent
      is coded, further numbers by name, and "NAME/psnr", "NAME/ssim" and so on
      of further protocols.
    mean: the means over clips of the same, without `frames`.
    examples: of the first clips, as many as were asked for, the last frame
      that counted: `name`, `frame` (its index), `clean`, `degraded` and
      `restored` `[H, W, C]` float32 (restored clamped to [0, 1]), `psnr`,
      `rate_map` `[h, w]` in bits, or None, and `pre_denoised` (the first
      stage's frame, clamped), or None.
  """

  clips: dict[str, dict[str, float]]
  mean: dict[str, float]
  examples: list[dict[str, Any]]


def model_restorer(model, variables, *, aux=streaming.AUX) -> Restorer:
  """A restoration model as a restorer; a blind one is not told sigma.

  Its `bits` are those of the padded frame, times the frame's share of it, so
  that they and the frame's own size give the bits per pixel.

  Args:
    model: a restoration model.
    variables: its variables.
    aux: what to keep beside the frames, as in `streaming.restore_clip`.

  Raises:
    ValueError: the model is no restoration model.
  """
  streaming.check_streams(model)

  def restore(clip, sigma, only=None):
    restored = streaming.restore_clip(
        model, variables, clip, sigma=sigma if model.noise_map else None,
        aux=aux, only=only,
    )
    if "bits" not in restored.aux:
      return restored
    share = 1.0
    for side in clip.shape[1:3]:
      share *= side / (side + -side % model.stride)
    bits = restored.aux["bits"] * share
    return restored._replace(aux=restored.aux | {"bits": bits})

  return restore


def restorer(
    name: str, *, scale: int | None = 1, aux=streaming.AUX
) -> tuple[Restorer, dict[str, str]]:
  """The restorer that a person names, and what to write of it beside numbers.

  Args:
    name: one of METHODS, or a released model's folder.
    scale: how many times larger the truth is than the degraded frames; None
      where there is no truth, for a model of any.
    aux: as in `model_restorer`.

  Returns:
    The restorer, and `{"name": ...}` with, for a model, `folder`,
    `weights_sha256` and `radius` (of its window; None where it has none).

  Raises:
    FileNotFoundError, ValueError: no such method or model, or one of another
      scale.
  """
  if name in METHODS:
    scale = scale or 1
    if (name == "bicubic") != (scale > 1):
      raise ValueError(
          "bicubic enlarges low-resolution frames: give --scale, such as"
          " --scale=4."
          if name == "bicubic"
          else f"{name} keeps the size of its input, which --scale={scale} has"
          " made smaller than the truth. Leave out --scale, or measure"
          " --model=bicubic."
      )
    return _method(name, scale), {"name": name}
  try:
    card = released.read_card(name)
  except FileNotFoundError as error:
    raise FileNotFoundError(
        f"{error} The methods without a model are {', '.join(METHODS)}."
    ) from error
  about = {
      "name": card["name"],
      "folder": name,
      "weights_sha256": card["weights_sha256"],
  }
  model, variables = released.load(name)
  restore = model_restorer(model, variables, aux=aux)
  about["radius"] = model.radius
  if scale is not None and model.scale != scale:
    raise ValueError(
        f"{name} restores at {model.scale} times the size of its input, but"
        f" --scale is {scale}. "
        + (
            f"Give --scale={model.scale}."
            if model.scale > 1
            else "Leave out --scale, or measure --model=bicubic."
        )
    )
  return restore, about


def first_stage_restorer(model, variables) -> Restorer:
  """The first stage of a model of two as a restorer, None of other models.

  A model of two stages has `first_stage(variables)`, the pair of a model and
  its variables.
  """
  if not hasattr(model, "first_stage"):
    return None
  return model_restorer(*model.first_stage(variables))


def first_stage(name: str) -> tuple[Restorer, dict[str, str]] | None:
  """As `restorer`, the first stage of a released model of two stages.

  Its numbers belong beside the whole model's, which need not be better: see
  tasks/first_image_then_video.py.

  Args:
    name: as `restorer` took it.

  Returns:
    The restorer and what to write of it, or None where there are no two stages.
  """
  restore = None
  if name not in METHODS:
    restore = first_stage_restorer(*released.load(name))
  if restore is None:
    return None
  card = released.read_card(name)
  return restore, {
      "name": card["name"] + STAGE_ONE,
      "stage_of": name,
      "weights_sha256": card["weights_sha256"],
  }


def restorers(
    text: str,
    names: Mapping[str, str],
    *,
    aux=streaming.AUX,
    stages: bool = False,
    scale: int = 1,
) -> tuple[dict, dict]:
  """What --model names, as ({name: restorer}, {name: about}).

  Args:
    text: "NAME_OR_FOLDER" or "NAME=FOLDER", joined by commas.
    names: {what a person may call a model in short: how the paper calls it}.
    aux: what models give beside frames, as in `streaming.restore_clip`.
    stages: name the first stage of a model of two as well.
    scale: as in `restorer`.

  Raises:
    ValueError, FileNotFoundError: no such model, or one name twice.
  """
  found, abouts = {}, {}
  for part in filter(None, text.split(",")):
    name, _, folder = part.rpartition("=")
    restore, about = restorer(folder, aux=aux, scale=scale)
    label = name or about["name"]
    label = names.get(label, label)
    if label in found:
      raise ValueError(
          f"--model has {label} twice. Give each its own name:"
          f" --model=first=FOLDER,second=FOLDER."
      )
    found[label], abouts[label] = restore, about
    # The unsupervised variant can at best equal its first stage: both stand in
    # the tables.
    if stages and (stage := first_stage(folder)) is not None:
      label += STAGE_ONE
      found[label], abouts[label] = stage
  if not found:
    raise ValueError("--model names no model; give one, such as median3.")
  return found, abouts


def _method(name, scale) -> Restorer:
  if name in INPUTS:
    return None
  if name in baselines.ORACLES:
    return Oracle(baselines.ORACLES[name])
  function = baselines.FILTERS.get(name)
  if name == "bicubic":
    function = functools.partial(bicubic_resize, scale=scale)

  def restore(clip, sigma, only=None):
    del sigma
    return Restored(function(_frame(clip, only)), {})

  return restore


def _frame(clip, only):
  """The clip, or that frame alone, `[1, H, W, C]`."""
  return clip if only is None else clip[only : only + 1]


def folder_clips(data, truth=None, frames: int | None = None) -> Iterator[dict]:
  """The clips of a folder as a source's items, read one at a time.

  Args:
    data: one clip's folder, or a folder of clip folders.
    truth: the same for clean clips, where `data` is already degraded; see
      `folders.check_pairs` for how they are paired and named.
    frames: the first so many of each clip; None for all.

  Yields:
    Dicts with `clean`, `max_value`, `name` and, given a truth, `degraded`.

  Raises:
    FileNotFoundError, ValueError: nothing there, unreadable, or the degraded
      clips and their truths do not go together.
  """
  clips = folders.find_clips(data)
  if truth is None:
    for name, paths in clips:
      clean, max_value = folders.read_frames(paths[:frames])
      yield dict(name=name, clean=clean, max_value=max_value)
    return
  truths = folders.find_clips(truth)
  pairs = folders.check_pairs(truths, clips, truth, data)
  for name, true_paths, paths in pairs:
    degraded, _ = folders.read_frames(paths[:frames])
    clean, max_value = folders.read_frames(true_paths[:frames])
    yield dict(name=name, clean=clean, max_value=max_value, degraded=degraded)


def mosaic_clips(
    data, truth=None, frames: int | None = None
) -> Iterator[dict]:
  """`folder_clips` of raw mosaics in files, as `data.mosaics` reads them.

  Yields:
    Dicts as `folder_clips` does, with `bayer`; the camera is CRVD's.

  Raises:
    FileNotFoundError, ValueError: as there.
  """
  clips = mosaics.find_clips(data)
  pairs = [(name, None, paths) for name, paths in clips]
  if truth is not None:
    pairs = folders.pair(mosaics.find_clips(truth), clips, truth, data)
  for name, true_paths, paths in pairs:
    item = dict(name=name, max_value=raw.MAX_VALUE, bayer=raw.PATTERN)
    key = "clean" if true_paths is None else "degraded"
    item[key] = mosaics.read(paths[:frames])
    if true_paths is not None:
      item["clean"] = mosaics.read(true_paths[:frames])
      if item["clean"].shape != item["degraded"].shape:
        raise ValueError(
            f"Clip {name} is {item['clean'].shape} (frames, rows, columns) in"
            f" {truth}, but {item['degraded'].shape} in {data}."
        )
    yield item


def source_clips(source) -> Iterator[dict]:
  """The items of a random-access source, in order.

  Raises:
    CorruptRecord: one of its files is damaged; before any item, if that was
      found when the source was made.
  """
  for line in getattr(source, "damaged", ()):
    raise folders.CorruptRecord(line)
  for index in range(len(source)):
    yield source[index]


def evaluate(
    restorers: dict[str, Restorer],
    clips: Iterable[dict],
    protocol: protocols.Protocol,
    *,
    also: Sequence[protocols.Protocol] = (),
    further: Mapping[str, Callable] | None = None,
    sigma: float | None = None,
    frames: int | None = None,
    scale: int = 1,
    centre: bool = False,
    examples: int = 0,
    say: Callable[[str], None] | None = None,
) -> dict[str, Evaluation]:
  """Measures restorers on the same degraded clips.

  Args:
    restorers: by the name that the result is given; None is the input itself.
    clips: items as sources have them (`clean`, `max_value`, `name`, optional
      `degraded`); those without `degraded` get the protocol's noise, or are
      made smaller by `scale`.
    protocol: how to measure.
    also: protocols whose numbers are given beside, under keys such as
      "y_uint8/psnr"; the clips, their degradation and frames stay `protocol`'s.
    further: what else to measure under `protocol`, as in `protocols.further`.
    sigma: noise level in 8-bit units. Needed where noise is to be added; where
      clips come degraded, it is what the restorers are told.
    frames: the first so many frames of a clip count, at most the protocol's.
    scale: of super-resolution; see `prepare`.
    centre: only the frame in the middle of each clip counts, as on Vimeo-90K;
      all of its frames are there to restore it from.
    examples: how many clips' last frames to keep for pictures.
    say: takes a line of progress after each clip and restorer.

  Returns:
    An `Evaluation` for each restorer.

  Raises:
    ValueError: no clips, no sigma where one is needed, or frames that cannot
      be measured.
  """
  results = {name: Evaluation({}, {}, []) for name in restorers}
  limit = None if centre else _limit(frames, protocol)
  for item in clips:
    clean, degraded = prepare(item, protocol, sigma, limit, scale=scale)
    clip = _unique(item["name"], next(iter(results.values())).clips)
    only = _centre(item["name"], len(clean)) if centre else None
    truth = clean
    clean = _frame(clean, only)
    for name, restore in restorers.items():
      restored = _restore(restore, degraded, sigma, truth, only)
      camera = item.get("metadata")
      scores = protocols.score(
          restored.frames, clean, protocol, camera=camera
      )
      numbers = protocols.pool(scores, protocol)
      numbers |= protocols.further(restored.frames, clean, protocol, further)
      for other in also:
        beside = protocols.score(
            restored.frames, clean, other, camera=camera
        )
        beside = protocols.pool(beside, other)
        beside |= protocols.further(restored.frames, clean, other)
        numbers |= {f"{other.name}/{key}": v for key, v in beside.items()}
      if "bits" in restored.aux:
        pixels = clean.shape[1] * clean.shape[2]
        numbers["bits_per_pixel"] = float(
            np.mean(restored.aux["bits"]) / pixels
        )
      result = results[name]
      counted = len(scores["psnr"])
      result.clips[clip] = numbers | {"frames": counted}
      if len(result.examples) < examples:
        last = len(clean) - 1 - protocol.drop_ends
        rate_map = restored.aux.get("rate_map")
        first_stage = restored.aux.get("pre_denoised")
        result.examples.append({
            "name": clip,
            "frame": last + (only or 0),
            "clean": clean[last],
            "degraded": _squares(_frame(degraded, only)[last], scale),
            "restored": protocols.clamp(restored.frames[last]),
            "psnr": float(scores["psnr"][-1]),
            "rate_map": None if rate_map is None else rate_map[last],
            "pre_denoised": (
                None
                if first_stage is None
                else protocols.clamp(first_stage[last])
            ),
        })
      if say is not None:
        say(
            f"{clip}, {name}: PSNR {numbers['psnr']:.2f} dB, SSIM"
            f" {numbers['ssim']:.4f} ({counted} frames)"
        )
  for result in results.values():
    if not result.clips:
      raise ValueError("There are no clips to evaluate.")
    rows = list(result.clips.values())
    for key in rows[0]:
      if key != "frames":
        result.mean[key] = float(np.mean([row[key] for row in rows]))
  return results


def look(
    restore: Restorer,
    clips: Iterable[dict],
    *,
    sigma: float | None = None,
    frames: int | None = None,
) -> Iterator[dict[str, Any]]:
  """Restores clips that have no truth, for the eye.

  Args:
    restore: a restorer, not an oracle.
    clips: items as sources have them; their `degraded` frames or, where there
      are none, the `clean` ones are taken for degraded as they are.
    sigma: noise level in 8-bit units that a model with a noise map is told.
    frames: the first so many frames of each clip; None for all.

  Yields:
    The last frame of each clip: `name`, `frame` (its index), `degraded` and
    `restored` `[H, W, C]` (restored clamped to [0, 1]; where it is larger, the
    pixels of the degraded frame as squares).

  Raises:
    ValueError: nothing is restored without a truth.
  """
  if restore is None or isinstance(restore, Oracle):
    raise ValueError(
        "The input itself, or a fit to the truth, restores nothing that could"
        " be looked at without a truth. Name a released model, or a filter."
    )
  for item in clips:
    shown = item.get("degraded", item["clean"])[:frames]
    degraded = shown.astype(np.float32) / np.float32(item["max_value"])
    restored = _restore(restore, degraded, sigma)
    scale = restored.frames.shape[1] // degraded.shape[1]
    yield {
        "name": item["name"],
        "frame": len(degraded) - 1,
        "degraded": _squares(degraded[-1], scale),
        "restored": restored.frames[-1],
    }


def _squares(frame, scale):
  """A frame whose pixels are squares, to stand beside one as much larger."""
  return frame.repeat(scale, 0).repeat(scale, 1)


def temporal_gain(
    restore: Restorer,
    clips: Iterable[dict],
    protocol: protocols.Protocol,
    *,
    sigma: float | None = None,
    frames: int | None = None,
    scale: int = 1,
    predecessors: int = 4,
    successors: int = 0,
) -> dict[str, Any]:
  """What the frames around a frame add to it, in dB.

  Each frame that has so many of them is restored twice, from a fresh state: in
  the clip of them and itself, and alone.

  Args:
    restore: a restorer.
    clips: as in `evaluate`.
    protocol: as in `evaluate`.
    sigma: as in `evaluate`.
    frames: as in `evaluate`.
    scale: as in `evaluate`.
    predecessors: how many frames come before.
    successors: how many come after.

  Returns:
    `clips` (mean gain in PSNR by clip), `mean` (over clips), `predecessors`,
    `successors`.

  Raises:
    ValueError: as `evaluate`, or a clip too short.
  """
  limit = _limit(frames, protocol)
  gains: dict[str, float] = {}
  for item in clips:
    clean, degraded = prepare(item, protocol, sigma, limit, scale=scale)
    around = predecessors + successors
    if len(clean) <= around:
      raise ValueError(
          f"Clip {item['name']} has {len(clean)} frames to measure, but the"
          f" temporal gain needs {around + 1} or more."
      )
    differences = []
    for index in range(predecessors, len(clean) - successors):
      values = []
      for before, after in ((predecessors, successors), (0, 0)):
        window = slice(index - before, index + after + 1)
        restored = _restore(restore, degraded[window], sigma, clean[window])
        score = protocols.score(
            restored.frames[before : before + 1],
            clean[index : index + 1],
            protocol,
            camera=item.get("metadata"),
        )
        values.append(float(score["psnr"][0]))
      differences.append(values[0] - values[1])
    gains[_unique(item["name"], gains)] = float(np.mean(differences))
  if not gains:
    raise ValueError("There are no clips to evaluate.")
  mean = float(np.mean(list(gains.values())))
  return {
      "clips": gains,
      "mean": mean,
      "predecessors": predecessors,
      "successors": successors,
  }


def prepare(item, protocol, sigma, frames=None, *, scale: int = 1):
  """A source's item as (clean, degraded), float32 `[T, H, W, C]`, white 1.

  Mosaics (items with `bayer`) are packed to four channels. With a `scale`, the
  clean frames are cut to multiples of it and the degraded ones are theirs made
  smaller by it: MATLAB's bicubic ("BI"), rounded to 8 bits, as the
  low-resolution files of published tables are.

  Args:
    item: as in `evaluate`.
    protocol: whose noise is added where the item is not degraded yet.
    sigma: in 8-bit units.
    frames: the first so many; None for all.
    scale: how many times smaller the degraded frames are made.

  Raises:
    ValueError: the item cannot be degraded as asked for.
  """

  def unit(clip):
    clip = clip[:frames]
    if "bayer" in item:
      clip = raw.pack(clip)
    return clip.astype(np.float32) / np.float32(item["max_value"])

  clean = unit(item["clean"])
  if scale > 1:
    return _low_resolution(item, clean, sigma, scale)
  if "degraded" in item:
    return clean, unit(item["degraded"])
  if protocol.noise is None:
    raise ValueError(
        f"Protocol {protocol.name} adds no noise of its own: it measures clips"
        " that are degraded already. Give the clean ones beside them"
        " (--truth=CLIPS), or make low-resolution ones (--scale=4)."
    )
  if sigma is None:
    raise ValueError(
        f"Protocol {protocol.name} adds noise to clean clips and needs its"
        " standard deviation in 8-bit units (--sigma=30)."
    )
  return clean, clean + protocol.noise.draw(clean.shape, sigma)


def _low_resolution(item, clean, sigma, scale):
  if "degraded" in item or sigma is not None:
    given = "--sigma" if sigma is not None else "--truth"
    raise ValueError(
        f"--scale={scale} makes the low-resolution clips of the clean ones,"
        f" and nothing else: leave out {given}."
    )
  height, width = (side - side % scale for side in clean.shape[1:3])
  if not height or not width:
    raise ValueError(
        f"Clip {item['name']} is {clean.shape[2]}x{clean.shape[1]}, too small"
        f" for --scale={scale}."
    )
  clean = clean[:, :height, :width]
  # Nothing is drawn, so any generator does.
  low, _ = resize.bicubic_down(None, clean, scale=scale)
  return clean, np.round(low * 255) / np.float32(255)


def _limit(frames, protocol) -> int | None:
  """How many frames of a clip count; None for all."""
  limits = [n for n in (frames, protocol.frames) if n is not None]
  return min(limits, default=None)


def _centre(name, frames) -> int:
  """The index of a clip's frame in the middle."""
  if frames % 2 == 0:
    raise ValueError(
        f"Clip {name} has {frames} frames, of which none is the centre. Give"
        " clips of an odd number of frames."
    )
  return frames // 2


def list_means(
    evaluation: Evaluation, lists: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
  """The means over the clips of each list, and how many those are, `clips`.

  `Evaluation.mean` is over all clips, so it weighs each list by its clips.
  """
  means = {}
  for name, clips in lists.items():
    rows = [evaluation.clips[clip] for clip in clips]
    means[name] = {"clips": len(rows)} | {
        key: float(np.mean([row[key] for row in rows]))
        for key in evaluation.mean
    }
  return means


def as_json(
    evaluation: Evaluation, protocol, about, *, sigma, scale=1, also=(),
    first: tuple[str, Evaluation] | None = None, centre: bool = False,
    lists: Mapping[str, Sequence[str]] | None = None,
) -> dict:
  """An evaluation as it is written to files for other programs.

  With the 95 % intervals of its means over clips, and of its gains over the
  first restorer, paired clip by clip.

  Args:
    evaluation: one restorer's.
    protocol: the `Protocol` it was measured under.
    about: of the restorer, from `restorer`.
    sigma: in 8-bit units, or None.
    scale: of super-resolution.
    also: as in `evaluate`.
    first: the first restorer's name and evaluation; None for no gains.
    centre: as in `evaluate`.
    lists: of clips, whose means are written too.
  """
  records = {other.name: protocols.as_dict(other) for other in also}
  return {
      "clips": evaluation.clips,
      "mean": evaluation.mean,
      **({"lists": list_means(evaluation, lists)} if lists else {}),
      "protocol": protocol.name,
      "protocol_record": protocols.as_dict(protocol),
      **({"also": records} if also else {}),
      "intervals": intervals.as_json(evaluation.clips),
      **({"gain": intervals.gain(evaluation, *first)} if first else {}),
      "sigma": sigma,
      "scale": scale,
      **({"frames": "centre"} if centre else {}),
      "model": about,
      "commit": commit(),
  }


def commit() -> str | None:
  """The checkout's commit, with "+changes" where files differ; None outside."""

  def git(*arguments):
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()

  folder = __file__.rpartition("/")[0]
  try:
    head = git("rev-parse", "HEAD")
    return head + ("+changes" if git("status", "--porcelain") else "")
  except (OSError, subprocess.CalledProcessError):
    return None


def table(
    evaluations: dict[str, Evaluation],
    published=None,
    *,
    prefix: str = "",
    with_intervals: bool = False,
    lists: Mapping[str, Sequence[str]] | None = None,
) -> str:
  """PSNR and SSIM as a Markdown table: a row for each restorer.

  What else was measured (tOF and so on) has a column each.

  Args:
    evaluations: by the name to print.
    published: `paper_numbers.column(...)`: adds the paper's column, and a row
      for each of its methods that was not measured here.
    prefix: of the numbers to print, such as "y_uint8/" for another protocol's.
    with_intervals: a column with the 95 % interval of the mean PSNR over clips
      (`metrics.bootstrap`), where there are clips enough for one.
    lists: of clips, which have a column each instead of the clips.
  """
  clips = list(next(iter(evaluations.values())).clips)
  # Beyond a few clips the columns would not fit a screen; the JSON has all.
  shown = clips if 1 < len(clips) <= 4 else []
  shown = list(lists or shown)
  coded = any("bits_per_pixel" in e.mean for e in evaluations.values())
  with_intervals = with_intervals and len(clips) > 1
  published = dict(published or {})
  by_name = {name.lower(): name for name in published}
  others = [
      key
      for key in next(iter(evaluations.values())).mean
      if key.startswith(prefix)
      and "/" not in (name := key.removeprefix(prefix))
      and name not in ("psnr", "ssim", "bits_per_pixel")
  ]

  def cell(numbers):
    psnr, ssim = (numbers[prefix + key] for key in ("psnr", "ssim"))
    return f"{psnr:.2f} / {ssim:.4f}"

  def paper(method):
    value, similarity = published.pop(method, (None, None))
    if value is None:
      return "-"
    return f"{value:.2f}" + (f" / {similarity:.4f}" if similarity else "")

  rows = [["PSNR (dB) / SSIM", *shown, "mean" if len(clips) > 1 else clips[0]]]
  rows[0] += ["95 % of PSNR"] if with_intervals else []
  rows[0] += [key.removeprefix(prefix) for key in others]
  rows[0] += (["bits per pixel"] if coded else []) + (
      ["paper"] if published else []
  )
  has_paper = bool(published)
  for name, evaluation in evaluations.items():
    columns = list_means(evaluation, lists) if lists else evaluation.clips
    row = [name, *(cell(columns[column]) for column in shown)]
    row.append(cell(evaluation.mean))
    if with_intervals:
      low, high = bootstrap.mean_interval(
          [numbers[f"{prefix}psnr"] for numbers in evaluation.clips.values()]
      )
      row.append(f"{low:.2f} to {high:.2f}")
    row += [f"{evaluation.mean[key]:.4f}" for key in others]
    if coded:
      bits = evaluation.mean.get("bits_per_pixel")
      row.append("-" if bits is None else f"{bits:.3f}")
    if has_paper:
      row.append(paper(by_name.get(name.lower())))
    rows.append(row)
  for method in list(published):
    blanks = ["-"] * (len(rows[0]) - 2)
    rows.append([f"{method} (paper)", *blanks, paper(method)])
  return markdown(rows)


def markdown(rows: list[list[str]]) -> str:
  """Rows of cells, the first the head, as an aligned Markdown table."""
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
  return "\n".join(
      "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |"
      for row in rows
  )


def _restore(restore, degraded, sigma, clean=None, only=None):
  """`Restored` clamped as protocols take it; the input itself as it is."""
  if restore is None:
    return Restored(_frame(degraded, only), {})
  if isinstance(restore, Oracle):
    frames = _frame(restore.function(degraded, clean), only)
    return Restored(protocols.clamp(frames), {})
  level = None if sigma is None else sigma / 255
  alone = {} if only is None else {"only": only}
  restored = restore(degraded, level, **alone)
  return restored._replace(frames=protocols.clamp(restored.frames))


def _unique(name, taken):
  """`name`, or "name #2" and so on where a source has several windows of it."""
  candidate, count = name, 1
  while candidate in taken:
    count += 1
    candidate = f"{name} #{count}"
  return candidate
