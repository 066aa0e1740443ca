"""How a restored video is encoded: codec, pixel format, quality and tags.

What is not asked for is visually lossless and plays everywhere: H.264 with
chroma at half resolution for sources of 8 bits. Deeper ones become HEVC Main 10
(AV1 in WebM), not H.264 of 10 bits, which is what no phone, television or
browser decodes. `lossless` keeps the samples' format in FFV1.
"""

import dataclasses
import fractions
import pathlib
from typing import NamedTuple

import numpy as np

from vidrestore_jax.inference import pixel_formats, video_colour
from vidrestore_jax.inference.video_colour import Layout
from vidrestore_jax.inference.video_reader import Description, Tags, import_av
from vidrestore_jax.shapes import check_choice


class Codec(NamedTuple):
  """An encoder of FFmpeg's.

  Attributes:
    encoder: its name.
    crf: the default of its quality, and the worst; None where it has none.
    options: further ones.
  """

  encoder: str
  crf: tuple[int, int] | None
  options: dict[str, str]


CODECS = {
    "h264": Codec("libx264", (16, 51), {"preset": "medium"}),
    "hevc": Codec("libx265", (16, 51), {"preset": "medium"}),
    "vp9": Codec(
        "libvpx-vp9", (16, 63),
        {"b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "1"},
    ),
    "av1": Codec("libsvtav1", (18, 63), {"preset": "6"}),
    "prores": Codec("prores_ks", None, {"profile": "hq"}),
    "ffv1": Codec("ffv1", None, {"level": "3", "g": "1", "slicecrc": "1"}),
}
CONTAINERS = {
    ".mkv": ("h264", "hevc", "av1", "vp9", "prores", "ffv1"),
    ".mp4": ("h264", "hevc", "av1", "vp9"),
    ".m4v": ("h264", "hevc"),
    ".mov": ("h264", "hevc", "prores"),
    ".webm": ("vp9", "av1"),
}
_LEAST_HEVC = 64  # x265 writes beyond its memory with 48x32 and 34x66.
_LIMITED, _LEFT = 1, 1  # AVColorRange, AVChromaLocation.


@dataclasses.dataclass(frozen=True)
class Encoding:
  """How to encode.

  Attributes:
    codec: one of `CODECS`.
    pixel_format: FFmpeg's name.
    layout: what its samples mean.
    tags: what the file says of them.
    options: of the encoder.
    padding: rows and columns added at the bottom and right: 4:2:0 has even
      sizes.
    notes: what of the source is not kept, in words.
  """

  codec: str
  pixel_format: str
  layout: Layout
  tags: Tags
  options: dict[str, str]
  padding: tuple[int, int] = (0, 0)
  notes: tuple[str, ...] = ()


def choose(
    source: Description,
    output,
    *,
    size: tuple[int, int],
    codec: str | None = None,
    crf: int | None = None,
    pixel_format: str | None = None,
    lossless: bool = False,
) -> Encoding:
  """How to encode a restored video.

  Args:
    source: what it was made of.
    output: its path; the suffix says which container.
    size: its (width, height).
    codec: one of `CODECS`; None is what the module says.
    crf: the quality, smaller is better; None is the codec's default.
    pixel_format: FFmpeg's name; None is what the module says.
    lossless: FFV1, with the source's pixel format.

  Raises:
    ValueError: what cannot be had together.
  """
  suffix = pathlib.Path(output).suffix.lower()
  check_choice("The suffix of a video to write", suffix, CONTAINERS)
  held = CONTAINERS[suffix]
  if lossless:
    if codec not in (None, "ffv1") or crf is not None:
      raise ValueError(
          "--lossless is FFV1, which takes no --codec and no --crf beside it."
      )
    codec = "ffv1"
  depth = source.layout.depth
  if codec is None:
    codec = held[0] if depth == 8 else held[1]
  check_choice("--codec", codec, CODECS)
  if codec not in held:
    raise ValueError(
        f"{suffix} files do not hold {codec}; they hold {', '.join(held)}."
        f" Name {pathlib.Path(output).with_suffix('.mkv').name} or another"
        " --codec."
    )
  if codec == "hevc" and min(size) < _LEAST_HEVC:
    raise ValueError(
        f"{source.name} becomes {size[0]}x{size[1]}, and x265 fails with sides"
        f" below {_LEAST_HEVC}. Pass --lossless (to .mkv) or --codec=h264."
    )
  described = CODECS[codec]
  offered = _offered(described.encoder)
  wanted = pixel_format or (
      _same(source, offered) if lossless else _usual(depth, offered)
  )
  if wanted not in offered:
    raise ValueError(
        f"{codec} does not take the pixel format {wanted}; it takes"
        f" {', '.join(offered)}."
    )
  layout, tags = _meaning(source, wanted, size)
  width, height = size
  across, down = layout.subsampling
  padding = (0, 0)
  if codec not in ("ffv1", "vp9"):
    padding = (-height % (1 << down), -width % (1 << across))
  return Encoding(
      codec, wanted, layout, tags,
      _options(described, codec, crf, tags, layout), padding,
      tuple(_notes(source, wanted, layout, padding)),
  )


def _offered(encoder):
  """Pixel formats an encoder takes that are also read here."""
  formats = import_av().Codec(encoder, "w").video_formats or []
  return [
      item.name for item in formats
      if pixel_formats.is_supported(item.name)
      and not item.name.startswith("yuvj")
  ]


def _usual(depth, offered):
  """4:2:0 of 8 bits, or of 10 for deeper sources; ProRes has neither."""
  if depth > 8 and "yuv420p10le" in offered:
    return "yuv420p10le"
  return "yuv420p" if "yuv420p" in offered else "yuv422p10le"


def _same(source, offered):
  """The format of a codec that holds the source's samples as they are."""
  if source.pixel_format in offered:
    return source.pixel_format
  asked = source.layout
  for name in offered:
    layout = pixel_formats.layout_of(name)
    if not pixel_formats.has_alpha(name) and (
        layout.family, layout.depth, layout.subsampling
    ) == (asked.family, asked.depth, asked.subsampling):
      return name
  raise ValueError(
      f"FFV1 has no pixel format for {source.pixel_format} of {source.name}."
      " Name one with --pixel-format, such as gbrp16le or yuv444p16le."
  )


def _meaning(source, wanted, size):
  """Layout and tags: the source's, changed only where they must be."""
  layout, tags = pixel_formats.layout_of(wanted), source.tags
  given = source.layout
  if layout.family == "rgb":
    full = given.full if given.family == "rgb" else True
    if given.family != "rgb":
      tags = dataclasses.replace(tags, matrix=0, range=0, siting=0)
    return dataclasses.replace(layout, full=full), tags
  # Players guess by the number of lines, which super-resolution changes.
  _, lines = source.size
  matrix = video_colour.guessed_matrix(given.matrix, lines)
  if given.family == "rgb":
    matrix = video_colour.guessed_matrix(2, size[1])
    tags = dataclasses.replace(tags, matrix=matrix, range=_LIMITED, siting=0)
    given = dataclasses.replace(given, full=False, siting=(0.0, 0.5))
  elif matrix != video_colour.guessed_matrix(given.matrix, size[1]):
    tags = dataclasses.replace(tags, matrix=matrix)
  if layout.subsampling == (1, 1) != given.subsampling and not tags.siting:
    tags = dataclasses.replace(tags, siting={
        (0.5, 0.5): 2, (0.0, 0.0): 3,
    }.get(given.siting, _LEFT))
  return dataclasses.replace(
      layout, full=given.full, matrix=matrix, siting=given.siting
  ), tags


def _options(codec, name, crf, tags, layout):
  options = dict(codec.options)
  if codec.crf is None:
    if crf is not None:
      raise ValueError(f"{name} has no --crf.")
  else:
    default, worst = codec.crf
    crf = default if crf is None else crf
    if not 0 <= crf <= worst:
      raise ValueError(f"--crf of {name} lies between 0 and {worst}: {crf}.")
    options["crf"] = str(crf)
  if tags.siting and layout.subsampling == (1, 1):
    options["chroma_sample_location"] = str(tags.siting)
  if name == "hevc":
    options["x265-params"] = ":".join(["log-level=error", *_hdr(tags, name)])
  elif name == "h264":
    # With its macroblock tree x264 gives another stream now and then for the
    # same frames, and a job that goes on has to give the same.
    options["x264-params"] = ":".join(["mbtree=0", *_hdr(tags, name)])
  return options


def _hdr(tags, name):
  """Mastering display and light level, as x264 and x265 take them."""
  if tags.mastering is not None:
    red, green, blue, white = (
        ",".join(str(round(value * 50000)) for value in tags.mastering[i:i + 2])
        for i in (0, 2, 4, 6)
    )
    dark, bright = (round(value * 10000) for value in tags.mastering[8:])
    key = "master-display" if name == "hevc" else "mastering-display"
    yield (
        f"{key}=G({green})B({blue})R({red})WP({white})L({bright},{dark})"
    )
  if tags.light is not None:
    key = "max-cll" if name == "hevc" else "cll"
    yield f"{key}={tags.light[0]},{tags.light[1]}"


def _notes(source, wanted, layout, padding):
  given = source.layout
  less = []
  if layout.depth < given.depth:
    less.append("bits")
  if given.family != "gray" and (
      layout.family == "gray" or layout.subsampling > given.subsampling
  ):
    less.append("chroma")
  if less:
    yield (
        f"{source.pixel_format} becomes {wanted}, with less"
        f" {' and '.join(less)}; --pixel-format or --lossless (to .mkv) keep"
        " them"
    )
  if any(padding):
    yield (
        f"{wanted} has even sizes, so {padding[0]} row and {padding[1]} column"
        " are repeated at the border; --lossless (to .mkv) keeps the size"
    )


class Encoder:
  """Encodes frames into a file of its own, in Matroska.

  The file can be played, but its time stamps are rounded to milliseconds: who
  joins it has the exact ones.
  """

  def __init__(self, path, encoding: Encoding, source: Description, size):
    """Opens the file.

    Args:
      path: of it.
      encoding: how to encode.
      source: what the frames were made of.
      size: (width, height) of the frames, without padding.
    """
    av = import_av()
    self._encoding, self._stamps = encoding, {}
    self._time_base = source.time_base
    self._last = -1
    self._container = av.open(str(path), "w", format="matroska")
    self._stream = stream = self._container.add_stream(
        CODECS[encoding.codec].encoder,
        rate=source.rate or fractions.Fraction(25),
        options=dict(encoding.options),
        width=size[0] + encoding.padding[1],
        height=size[1] + encoding.padding[0],
        time_base=source.time_base,
        pix_fmt=encoding.pixel_format,
    )
    tag(stream.codec_context, encoding.tags, source.aspect)

  def write(self, planes, pts: int):
    """Encodes a frame of samples that is shown at `pts`."""
    down, across = self._encoding.padding
    if down or across:
      planes = [
          np.pad(plane, (
              (0, down if not i else 0), (0, across if not i else 0)
          ), "edge")
          for i, plane in enumerate(planes)
      ]
    frame = pixel_formats.write(planes, self._encoding.pixel_format)
    tags = self._encoding.tags
    frame.pts, frame.time_base = pts, self._time_base
    frame.colorspace, frame.color_range = tags.matrix, tags.range
    frame.color_primaries, frame.color_trc = tags.primaries, tags.transfer
    # Whole milliseconds, each once, whatever the rate.
    self._last = max(round(pts * self._time_base * 1000), self._last + 1)
    self._stamps[pts] = self._last
    self._mux(self._stream.encode(frame))

  def close(self):
    """Ends the stream and the file."""
    self._mux(self._stream.encode(None))
    self._container.close()

  def abandon(self):
    """Closes the file as it is."""
    self._container.close()

  def _mux(self, packets):
    for packet in packets:
      packet.time_base = fractions.Fraction(1, 1000)
      # Not after any frame that is still to come, and never falling.
      packet.dts = min(self._stamps.values())
      packet.pts, packet.duration = self._stamps.pop(packet.pts), 0
      self._container.mux(packet)


def tag(context, tags: Tags, aspect):
  """Puts tags and the aspect of pixels into a codec's context."""
  context.colorspace, context.color_range = tags.matrix, tags.range
  context.color_primaries, context.color_trc = tags.primaries, tags.transfer
  if aspect != 1:
    context.sample_aspect_ratio = aspect
