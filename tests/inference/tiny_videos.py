"""Tiny videos and models for the tests of reading, restoring and writing."""

import fractions

import av
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vidrestore_jax import models, released
from vidrestore_jax.inference import pixel_formats
from vidrestore_jax.shapes import Restored

TIME_BASE = fractions.Fraction(1, 12800)
NCFL = dict(
    motion_refiner="none",
    feature_refiner="none",
    attention=False,
    widths=(4, 8),
    feature_channels=4,
    reduction=2,
    motion=dict(levels=2, widths=(4, 4)),
)


def identity():
  """(model, variables) of a model that changes nothing and takes no sigma."""
  return built("dncnn", 0.0, depth=2, width=2, batch_norm=False)


def recurrent():
  """(model, variables) of a recurrent model with a noise map."""
  return built("ncfl", **NCFL)


def windowed():
  """(model, variables) of a cascade of windows with a noise map."""
  return built("fastdvdnet", widths=(4, 4, 4), interm=2)


class Neighbours:
  """The mean of frames within two of each, less noise; it wants whole clips."""

  restores, recurrent, radius, bidirectional = True, False, None, True
  noise_map, stride, scale, channels, halo = True, 2, 1, 3, None

  def __repr__(self):
    return "Neighbours()"

  def apply(self, variables, clip, noise):
    index = jnp.arange(clip.shape[1])
    near = jnp.abs(index[:, None] - index) <= 2
    weights = near / near.sum(1, keepdims=True)
    frames = jnp.einsum("st,btyxc->bsyxc", weights, clip)
    return Restored(frames - noise[:, None], {})


def neighbours():
  """(model, variables) of a bidirectional model with a noise map."""
  return Neighbours(), {}


def release(folder, name=None, **kwargs):
  """A released folder, as text; without arguments that of `identity`."""
  if name is None:
    name, kwargs = "dncnn", dict(depth=2, width=2, batch_norm=False)
    _, variables = identity()
  else:
    _, variables = built(name, **kwargs)
  released.save(folder, name=name, kwargs=kwargs, variables=variables)
  return str(folder)


def built(name, gain=1.0, **kwargs):
  """(model, variables), drawn so that what passes keeps its size times gain."""
  model = models.build(name, **kwargs)
  generator = np.random.default_rng(0)

  def draw(path, shape):
    if path.endswith(("var", "scale")):
      return np.ones(shape)
    if len(shape) < 2:
      return generator.uniform(-0.1, 0.1, shape) * gain
    deviation = gain / np.prod(shape[:-1]) ** 0.5
    return generator.normal(0, deviation, shape)

  variables = {
      path: draw(path, shape).astype(np.float32)
      for path, shape in released.variable_shapes(model).items()
  }
  return model, traverse_util.unflatten_dict(variables, sep="/")


def samples(pixel_format, frames, size, seed=0):
  """Random planes of so many frames (width, height), every code possible."""
  layout = pixel_formats.layout_of(pixel_format)
  width, height = size
  shapes = [(height, width)] * {"rgb": 3, "gray": 1, "yuv": 1}[layout.family]
  if layout.family == "yuv":
    shapes += [layout.chroma_size(height, width)] * 2
  generator = np.random.default_rng(seed)
  return [
      [
          generator.integers(0, 1 << layout.depth, shape).astype(layout.dtype)
          for shape in shapes
      ]
      for _ in range(frames)
  ]


def film(scenes, size, sigmas, seed=0):
  """Noisy frames `[T, H, W, 3]` in [0, 1] with cuts between scenes.

  Args:
    scenes: how many frames each has.
    size: (width, height).
    sigmas: of each scene's noise.
    seed: of all of it.
  """
  generator = np.random.default_rng(seed)
  width, height = size
  frames = []
  for length, sigma in zip(scenes, sigmas):
    blocks = generator.uniform(0.2, 0.8, (height // 8 + 1, width // 8 + 1, 3))
    still = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
    noise = generator.standard_normal((length, *still.shape))
    frames.append(np.clip(still + sigma * noise, 0, 1))
  return np.concatenate(frames).astype(np.float32)


def planes_of(clip):
  """8-bit planes of frames `[T, H, W, 3]`, to be written as bgr0."""
  codes = np.rint(255 * clip).astype(np.uint8)
  return [[frame[..., channel] for channel in range(3)] for frame in codes]


def write(
    path,
    planes,
    pixel_format,
    *,
    codec="ffv1",
    steps=(512, 700, 300),
    tags=(2, 2, 2, 0),
    options=None,
    edit=lambda container, stream: None,
    sound=None,
    time_base=TIME_BASE,
    start=0,
):
  """Writes a video of those frames, whose durations go round in `steps`.

  `edit` may add to the container before its header is written; `sound` is a
  codec, of which some packets are added. Returns the time stamps.
  """
  height, width = planes[0][0].shape
  stamps, pts = [], start
  with av.open(str(path), "w") as container:
    stream = container.add_stream(
        codec, rate=25, width=width, height=height, pix_fmt=pixel_format,
        time_base=time_base, options=options or {},
    )
    context = stream.codec_context
    (context.colorspace, context.color_primaries, context.color_trc,
     context.color_range) = tags
    edit(container, stream)
    heard = container.add_stream(sound, rate=44100) if sound else None
    for index, frame_planes in enumerate(planes):
      frame = pixel_formats.write(frame_planes, pixel_format)
      (frame.colorspace, frame.color_primaries, frame.color_trc,
       frame.color_range) = tags
      frame.pts, frame.time_base = pts, time_base
      stamps.append(pts)
      pts += steps[index % len(steps)]
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    if heard:
      generator = np.random.default_rng(1)
      for index in range(12):
        kind = heard.codec_context.format.name
        noise = generator.normal(0, 0.1, (2, 1024)).astype(np.float32)
        if kind == "s16":
          noise = (noise.T.reshape(1, -1) * 20000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(noise, format=kind, layout="stereo")
        frame.sample_rate, frame.pts = 44100, index * 1024
        container.mux(heard.encode(frame))
      container.mux(heard.encode(None))
  return stamps


def packets(path, kind):
  """(time, bytes) of the packets of all streams of a kind."""
  with av.open(str(path)) as container:
    streams = [s for s in container.streams if s.type == kind]
    return [
        (packet.pts * packet.time_base, bytes(packet))
        for packet in (container.demux(streams) if streams else ())
        if packet.size
    ]
