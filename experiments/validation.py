"""What a run is measured on: `config.eval`, during training and at its end."""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import numpy as np

from experiments import evaluation, figures, paper_numbers, report
from vidrestore_jax import data
from vidrestore_jax.data import folders
from vidrestore_jax.inference import streaming, tiling
from vidrestore_jax.layers.resample import bicubic_resize
from vidrestore_jax.metrics import protocols

OURS = "ours"
# Seeded as FastDVDnet's protocol is, so that every run sees the same noise.
_FLOW_NOISE = protocols.Noise(seed=1000)


@dataclasses.dataclass(frozen=True)
class Results:
  """The numbers and pictures of a run's end.

  Attributes:
    protocol: the record of how it was measured, as JSON.
    evaluations: by sigma in 8-bit units (None where clips come degraded), by
      method; the run's model is OURS.
    shown: keyword arguments of `report.write_report` with the pictures.
    published: by sigma, the paper's numbers on the same clips, if there are.
  """

  protocol: dict
  evaluations: dict[float | None, dict[str, evaluation.Evaluation]]
  shown: dict
  published: dict[float | None, dict]

  def metrics(self) -> dict:
    """`{"sigma_30": {"ours": {"psnr": ...}, "noisy": ...}}`, or "mean"."""
    return {
        "mean" if sigma is None else f"sigma_{sigma:g}": {
            method: result.mean for method, result in methods.items()
        }
        for sigma, methods in self.evaluations.items()
    }

  def table(self) -> str:
    """The numbers for a terminal, a table for each sigma."""
    tables = []
    for sigma, methods in self.evaluations.items():
      head = "" if sigma is None else f"sigma {sigma:g}\n"
      if "psnr" in methods[OURS].mean:
        table = evaluation.table(methods, self.published.get(sigma))
      else:
        table = "\n".join(
            f"{method}: end-point error {e.mean['end_point_error']:.3f} px"
            for method, e in methods.items()
        )
      tables.append(head + table)
      for other in self.protocol.get("also", ()):
        name = other["name"]
        table = evaluation.table(methods, prefix=f"{name}/")
        tables.append(f"protocol {name}\n{table}")
    return "\n\n".join(tables)


def build(config, model, say: Callable[[str], None]):
  """The measure for a model: of restored frames, or of flow.

  Raises:
    ValueError, FileNotFoundError: `config.eval` cannot be measured.
  """
  watch = config.eval.watch
  for name, value, least in (
      ("frames", config.eval.frames, 0),
      ("watch.clips", watch.clips, 1),
      ("watch.frames", watch.frames, 1),
  ):
    if value < least:
      raise ValueError(
          f"config.eval.{name} needs to be at least {least}, but is {value}."
      )
  kind = Restoration if model.restores else Flow
  return kind(config, model, say)


class Restoration:
  """PSNR, SSIM and rate under a protocol, beside baselines."""

  metric, mode = "psnr", "max"

  def __init__(self, config, model, say):
    self._eval, self._model, self._say = config.eval, model, say
    streaming.check_streams(model)
    self._protocol = protocols.get(config.eval.protocol)
    self._also = [protocols.get(name) for name in config.eval.also]
    self._clips = _clips(_data(config))
    self._sigmas = tuple(config.eval.sigmas) or (None,)
    self._published = _published(config.eval.published, self._sigmas)
    self._baselines = {
        name: evaluation.restorer(name, scale=model.scale)[0]
        for name in config.eval.baselines
    }
    for name, folder in config.eval.beside.items():
      if folder:  # Else it is not trained yet.
        self._baselines[name] = evaluation.restorer(
            folder, scale=model.scale
        )[0]
    if config.eval.look:  # Nothing there is found now, not at the end.
      folders.find_clips(config.eval.look)
    self._watched = []
    for item in itertools.islice(self._clips(), config.eval.watch.clips):
      # A sigma at which the protocol cannot degrade fails here, not at the end.
      evaluation.prepare(
          item, self._protocol, self._sigmas[0], 1, scale=model.scale
      )
      self._watched.append(item)

  def watch(self, variables):
    """Numbers and pictures of a few frames, for the log.

    Args:
      variables: of the model, on the host.

    Returns:
      The pair (scores by name, pictures `[H, W, 3]` uint8 by name).
    """
    sigma = self._sigmas[len(self._sigmas) // 2]
    result = evaluation.evaluate(
        {OURS: evaluation.model_restorer(self._model, variables)},
        self._watched,
        self._protocol,
        sigma=sigma,
        frames=self._eval.watch.frames,
        scale=self._model.scale,
        examples=len(self._watched),
    )[OURS]
    pictures = {
        example.name: figures.pixels(figures.strip(example))
        for example in self._examples(result, sigma)
    }
    return result.mean, pictures

  def full(self, variables) -> Results:
    """Everything that `config.eval` asks for."""
    restorers = {OURS: evaluation.model_restorer(self._model, variables)}
    stage = evaluation.first_stage_restorer(self._model, variables)
    if stage is not None:
      restorers[OURS + evaluation.STAGE_ONE] = stage
    restorers |= self._baselines
    evaluations = {}
    for sigma in self._sigmas:
      if sigma is not None:
        self._say(f"sigma {sigma:g}")
      evaluations[sigma] = evaluation.evaluate(
          restorers,
          self._clips(),
          self._protocol,
          also=self._also,
          sigma=sigma,
          frames=self._eval.frames or None,
          scale=self._model.scale,
          examples=self._eval.examples,
          say=self._say,
      )
    middle = self._sigmas[len(self._sigmas) // 2]
    trace, flows = self._over_time(variables, middle)
    return Results(
        protocol=protocols.as_dict(self._protocol)
        | {
            "clip_frames": self._eval.frames or self._protocol.frames,
            "also": [protocols.as_dict(other) for other in self._also],
        },
        evaluations=evaluations,
        shown=dict(
            examples=self._examples(evaluations[middle][OURS], middle),
            looks=self._looks(restorers[OURS], middle),
            traces=trace,
            flows=flows,
        ),
        published=self._published,
    )

  def _examples(self, result, sigma):
    return [
        report.Example.from_evaluation(example, sigma=sigma)
        for example in result.examples
    ]

  def _looks(self, restore, sigma):
    """The last frames of `config.eval.look`'s clips, which have no truth."""
    if not self._eval.look:
      return []
    self._say(f"Looks at {self._eval.look}")
    clips = evaluation.folder_clips(self._eval.look)
    frames = self._eval.frames or self._protocol.frames
    return [
        report.Look(**record)
        for record in evaluation.look(
            restore, clips, sigma=sigma, frames=frames
        )
    ]

  def _over_time(self, variables, sigma):
    """PSNR frame by frame, and the motion, of the first clip."""
    item = next(iter(self._clips()))
    limit = self._eval.frames or self._protocol.frames
    scale = self._model.scale
    clean, degraded = evaluation.prepare(
        item, self._protocol, sigma, limit, scale=scale
    )
    if len(clean) < 2:
      return [], []
    restored = streaming.restore_clip(
        self._model,
        variables,
        degraded,
        sigma=sigma / 255 if self._model.noise_map else None,
        aux=("flow",),
    )
    beside, shown = "degraded", degraded
    if scale > 1:
      beside, shown = "bicubic", protocols.clamp(bicubic_resize(shown, scale))
    psnr = {
        name: protocols.score(
            frames, clean, self._protocol, camera=item.get("metadata")
        )["psnr"]
        for name, frames in (
            (OURS, protocols.clamp(restored.frames)), (beside, shown)
        )
    }
    trace = report.Trace(item["name"], psnr, ours=OURS, sigma=sigma)
    flows = []
    if "flow" in restored.aux:
      flows.append(_flow_example(item, degraded[-1], restored.aux["flow"][-1]))
    return [trace], flows


class Flow:
  """End-point error of a motion estimator, beside standing still."""

  metric, mode = "end_point_error", "min"

  def __init__(self, config, model, say):
    del say
    self._eval, self._model = config.eval, model
    self._clips = _clips(_data(config))
    self._sigmas = tuple(config.eval.sigmas)
    if not self._sigmas:
      raise ValueError("config.eval.sigmas is empty; flow needs one or more.")
    item = next(iter(self._clips()))
    if "flow" not in item:
      raise ValueError(
          f"config.eval.data brings no true flow (its clips have"
          f" {', '.join(item)}). Measure on the source procedural."
      )

  def watch(self, variables):
    """As `Restoration.watch`, at the middle sigma."""
    sigma = self._sigmas[len(self._sigmas) // 2]
    clips = itertools.islice(self._clips(), self._eval.watch.clips)
    result, example = self._measure(variables, clips, sigma)
    picture = figures.pixels(figures.flow(example))
    return result[OURS].mean, {example.name: picture}

  def full(self, variables) -> Results:
    """Everything that `config.eval` asks for."""
    evaluations, flows = {}, []
    for sigma in self._sigmas:
      evaluations[sigma], example = self._measure(
          variables, self._clips(), sigma
      )
      flows.append(example)
    return Results(
        protocol={
            "name": "end_point_error",
            "frames": "each but the first, against the one before",
            "pooling": "mean over pixels and frames, then over clips",
            "noise_seed": _FLOW_NOISE.seed,
        },
        evaluations=evaluations,
        shown=dict(flows=flows[:1]),
        published={},
    )

  def _measure(self, variables, clips, sigma):
    """{method: Evaluation} over clips, and the first clip's last flow."""
    rows, example = {OURS: {}, "no motion": {}}, None
    for item in clips:
      frames = item["clean"].astype(np.float32) / item["max_value"]
      noisy = frames + _FLOW_NOISE.draw(frames.shape, sigma)
      flow, truth = self._flow(variables, noisy), item["flow"][1:]
      if example is None:
        example = _flow_example(item, noisy[-1], flow[-1])
      for method, guess in ((OURS, flow), ("no motion", np.zeros_like(truth))):
        error = float(np.linalg.norm(guess - truth, axis=-1).mean())
        rows[method][item["name"]] = {"end_point_error": error}
    return {
        method: evaluation.Evaluation(
            clips,
            {
                "end_point_error": float(
                    np.mean([row["end_point_error"] for row in clips.values()])
                )
            },
            [],
        )
        for method, clips in rows.items()
    }, example

  def _flow(self, variables, frames):
    """Flow `[T - 1, H, W, 2]` of each frame to the one before."""
    padded, size = tiling.pad_to_multiple(frames, self._model.stride)
    flow = _apply(self._model, variables, padded[1:], padded[:-1])
    return np.asarray(tiling.crop(flow, size))


@functools.partial(jax.jit, static_argnums=0)
def _apply(model, variables, current, reference):
  return model.apply(variables, current, reference)


def _data(config) -> dict:
  """`config.eval.data`; where it names no folder, that of `config.data.train`.

  Raises:
    ValueError: neither names one.
  """
  chosen, train = config.eval.data.to_dict(), config.data.train.to_dict()
  same = chosen["name"] == train["name"]
  if chosen["name"] == "folders" and not chosen["clean"]:
    for key in ("clean", "degraded"):
      if same and key in train and train[key] is not None:
        chosen[key] = train[key]
      if key in chosen and not chosen[key]:
        raise ValueError(
            f"There are no {key} clips: set"
            f" --config.{'data.train' if same else 'eval.data'}.{key}=CLIPS."
        )
  # One --config.data.train.data_dir moves both of a set's splits.
  if "data_dir" in chosen and not chosen["data_dir"]:
    chosen["data_dir"] = train.get("data_dir", "")
  return chosen


def _published(table: str, sigmas) -> dict:
  """The paper's numbers by sigma; ValueError where there are none."""
  if not table:
    return {}
  try:
    return {sigma: paper_numbers.column(table, sigma) for sigma in sigmas}
  except ValueError as error:
    raise ValueError(
        f"config.eval.published: {error} Set it to an empty string to compare"
        " with no paper."
    ) from error


def _clips(config: dict):
  """A function that gives the clips of `config.eval.data`, from the first."""
  if config["name"] == "folders":  # Whole clips, not windows of them.
    clean, degraded = config["clean"], config.get("degraded")
    if degraded:
      return lambda: evaluation.folder_clips(degraded, truth=clean)
    return lambda: evaluation.folder_clips(clean)
  source = data.build(**config)
  return lambda: evaluation.source_clips(source)


def _flow_example(item, frame, flow):
  truth = item["flow"][-1] if "flow" in item else None
  return report.FlowExample(
      item["name"], len(item["clean"]) - 1, frame, flow, truth
  )
