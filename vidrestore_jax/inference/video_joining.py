"""Encoded segments and the source's other streams become one file.

Nothing is encoded here: sound, subtitles, chapters, attachments and metadata
are the source's, packet by packet; frames get the time stamps that they had.
"""

import fractions
import io
import itertools
import math
import pathlib
from typing import NamedTuple

from vidrestore_jax.inference import matroska, video_encoding
from vidrestore_jax.inference.video_encoding import Encoding
from vidrestore_jax.inference.video_reader import (
    Description,
    import_av,
    opened,
)

_FORMATS = {
    ".mkv": "matroska", ".webm": "webm", ".mp4": "mp4", ".m4v": "mp4",
    ".mov": "mov",
}
_MATROSKA = (".mkv", ".webm")
# Of a source's metadata, what is the container's own or no longer true.
_STALE = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "duration",
    "bps", "number_of_frames", "number_of_bytes",
}


class Segment(NamedTuple):
  """A part of a video, encoded.

  Attributes:
    path: of its file.
    pts: time stamps of its frames, growing.
    end: where the last frame ends.
  """

  path: pathlib.Path
  pts: list[int]
  end: int


class Window(NamedTuple):
  """The part of a source that is restored, in seconds of its time stamps."""

  start: fractions.Fraction
  end: fractions.Fraction | None  # None is the source's end.


def check_streams(source, output, drop=()) -> dict[int, str]:
  """Makes sure, before anything runs, that a file can hold all streams.

  Args:
    source: path of the video.
    output: path of the file to make.
    drop: streams that are left out: numbers, or kinds such as "subtitle".

  Returns:
    The numbers of streams of data (a camera's notes, mostly) that the file
    cannot hold, with words on each.

  Raises:
    ValueError: a stream that the file cannot hold.
  """
  av, left_out = import_av(), {}
  form = _FORMATS[pathlib.Path(output).suffix.lower()]
  with opened(source) as (container, video):
    for stream in _copied(container, video, drop):
      packet = _first_of(container, stream)
      trial = av.open(io.BytesIO(), "w", format=form)
      try:
        with trial:
          copy = trial.add_stream_from_template(stream, opaque=True)
          trial.start_encoding()
          # MP4 finds out as it ends, and only then, of which sound it does
          # not hold the layout of channels.
          if packet is not None:
            packet.stream = copy
            trial.mux(packet)
      except (ValueError, OSError) as error:
        what = _described(stream)
        if stream.type in ("data", "unknown"):
          left_out[stream.index] = what
          continue
        raise ValueError(
            f"{what} of {source} has no place in {form} ({error}). Name"
            f" {pathlib.Path(output).with_suffix('.mkv').name}, which holds"
            f" more, or leave it out with --drop={stream.index}."
        ) from error
  return left_out


def _first_of(container, stream):
  """A packet of sound, which is near; None of streams that may be sparse."""
  if stream.type != "audio":
    return None
  try:
    return next((p for p in container.demux(stream) if p.size), None)
  except (ValueError, OSError):
    return None  # Damage is found, and named, where the sound is copied.


def join(
    output,
    segments,
    description: Description,
    encoding: Encoding,
    source=None,
    *,
    form=None,
    window: Window | None = None,
    drop=(),
    left_out=(),
):
  """Writes the file.

  Args:
    output: its path.
    segments: iterable of `Segment`, in order.
    description: of the source.
    encoding: of the segments.
    source: path of the video whose other streams are copied; None for frames
      that came from elsewhere.
    form: a path whose suffix says the container; None is `output`.
    window: the part of it; None is all. Its start becomes the file's.
    drop: as in `check_streams`.
    left_out: numbers of streams that the file cannot hold.
  """
  suffix = pathlib.Path(form or output).suffix.lower()
  parts = (
      output, suffix, list(segments), description, encoding, source, window,
      drop, left_out,
  )
  if suffix not in _MATROSKA:
    _join(*parts, {
        "movflags": "+faststart",
        "video_track_timescale": str(description.time_base.denominator),
    })
    return
  # Sound of MP4 often starts before 0, with what its coder needs to get going.
  # FFmpeg would move everything by that, which is not called for: Matroska has
  # a field for it. What has no such excuse is moved after all.
  _join(*parts, {"avoid_negative_ts": "disabled"})
  if not _starts(output, parts[2][0].pts[0], description, window):
    _join(*parts, {})
  if description.aspect != 1:
    matroska.set_aspect(output, description.aspect)


def _starts(path, pts, description, window):
  """Whether a file's first frame has the time that it should have."""
  shift = window.start if window is not None else 0
  with opened(path) as (container, stream):
    stamps = (p.pts * p.time_base for p in container.demux(stream) if p.size)
    wanted = pts * description.time_base - shift
    return abs(min(itertools.islice(stamps, 32)) - wanted) < 0.002


def _join(
    output, suffix, segments, description, encoding, source, window, drop,
    left_out, options,
):
  av = import_av()
  with (
      av.open(
          str(output), "w", format=_FORMATS[suffix], container_options=options
      ) as target,
      av.open(str(segments[0].path)) as first,
  ):
    template = first.streams.video[0]
    if source is None:
      video = _add_video(target, template, description, encoding, None)
      _mux(target, video, _packets(segments, description, None), ())
    else:
      with opened(source) as (container, stream):
        video, copies = None, {}
        for other in container.streams:
          if other.index == stream.index:
            video = _add_video(target, template, description, encoding, other)
        for other in _copied(container, stream, drop):
          if other.index not in left_out:
            copies[other.index] = _add_copy(target, other)
        target.metadata.update(_kept(container.metadata))
        _set_chapters(target, container, window)
        wanted = [
            other for other in container.streams
            if other.index in copies and other.type != "attachment"
        ]
        packets = _packets(segments, description, window)
        others = _copies(container, wanted, copies, window) if wanted else ()
        _mux(target, video, packets, others)


def _add_video(target, template, description, encoding, source):
  """The stream of restored video."""
  stream = target.add_stream_from_template(template, opaque=True)
  video_encoding.tag(
      stream.codec_context, encoding.tags, description.aspect
  )
  # Players of Apple's ask for this name of HEVC.
  if encoding.codec == "hevc" and target.format.name in ("mp4", "mov"):
    stream.codec_context.codec_tag = "hvc1"
  if description.rate:
    stream.codec_context.framerate = description.rate
  if description.display_matrix is not None:
    stream.set_display_matrix(description.display_matrix)
  stream.time_base = fractions.Fraction(1, description.time_base.denominator)
  if source is not None:
    stream.metadata.update(_kept(source.metadata))
    stream.disposition = source.disposition
  return stream


def _add_copy(target, stream):
  copy = target.add_stream_from_template(stream, opaque=True)
  copy.metadata.update(stream.metadata)
  copy.disposition = stream.disposition
  return copy


def _copied(container, video, drop):
  """The streams beside the one that is restored."""
  known = {str(other.index) for other in container.streams}
  kinds = ("audio", "subtitle", "attachment", "data", "video")
  for item in drop:
    if str(item) not in known and item not in kinds:
      raise ValueError(
          f"--drop takes a stream's number ({', '.join(sorted(known))}) or one"
          f" of {', '.join(kinds)}, but got {item}."
      )
  return [
      other for other in container.streams
      if other.index != video.index
      and str(other.index) not in map(str, drop) and other.type not in drop
  ]


def _described(stream):
  codec = stream.codec_context.name if stream.codec_context else stream.name
  language = stream.metadata.get("language", "und")
  where = "" if language == "und" else f", {language}"
  return f"Stream {stream.index} ({stream.type} {codec or '?'}{where})"


def _kept(metadata):
  return {
      key: value for key, value in metadata.items()
      if key.lower() not in _STALE and not key.startswith("_STATISTICS")
  }


def _set_chapters(target, container, window):
  chapters = []
  for chapter in container.chapters():
    start, end = (
        chapter[side] * chapter["time_base"] for side in ("start", "end")
    )
    if window is not None:
      start = max(start, window.start)
      end = end if window.end is None else min(end, window.end)
      if start >= end:
        continue
      start, end = start - window.start, end - window.start
    base = chapter["time_base"]
    chapters.append(dict(
        chapter, start=round(start / base), end=round(end / base)
    ))
  if chapters:
    target.set_chapters(chapters)


def _packets(segments, description, window):
  """Packets of video with the frames' own time stamps."""
  av = import_av()
  base = description.time_base
  shift = round(window.start / base) if window is not None else 0
  delay = max(_delay(segment) for segment in segments)
  all_pts = [pts for segment in segments for pts in segment.pts]
  step = all_pts[1] - all_pts[0] if len(all_pts) > 1 else 1
  count = 0
  for position, segment in enumerate(segments):
    with av.open(str(segment.path)) as container:
      stream = container.streams.video[0]
      packets = [p for p in container.demux(stream) if p.size]
    # A frame is known by its rank: a segment's file counts milliseconds.
    order = sorted(range(len(packets)), key=lambda i: packets[i].pts)
    ranks = {index: rank for rank, index in enumerate(order)}
    if len(packets) != len(segment.pts):
      raise ValueError(
          f"{segment.path} holds {len(packets)} frames where"
          f" {len(segment.pts)} were written; remove it and run again."
      )
    following = [*segment.pts[1:], (
        segments[position + 1].pts[0] if position + 1 < len(segments)
        else segment.end
    )]
    for index, packet in enumerate(packets):
      pts = segment.pts[ranks[index]]
      # As encoders have it: a frame is decoded when the one `delay` before it
      # in the order of display is shown.
      early = count - delay
      dts = all_pts[early] if early >= 0 else all_pts[0] + early * step
      packet.time_base = base
      packet.pts, packet.dts = pts - shift, dts - shift
      packet.duration = max(following[ranks[index]] - pts, 0)
      count += 1
      yield packet


def _delay(segment):
  """By how many frames the order of decoding runs ahead of display."""
  av = import_av()
  with av.open(str(segment.path)) as container:
    stamps = [p.pts for p in container.demux(container.streams.video[0])
              if p.size]
  ranks = {pts: rank for rank, pts in enumerate(sorted(stamps))}
  return max(
      (index - ranks[pts] for index, pts in enumerate(stamps)), default=0
  )


def _copies(container, wanted, copies, window):
  """Packets of the other streams, those outside the window left out."""
  shown = {}  # By stream, what of its subtitles is shown as the window begins.
  for packet in container.demux(wanted):
    if not packet.size:
      continue
    stream = packet.stream.index
    if window is not None:
      time = _time(packet)
      if _lasts(packet) and time < window.start:
        if _is_whole(packet):
          shown[stream] = []
        shown.setdefault(stream, []).append(packet)
        continue
      # Another stream's packets may come this much before their turn.
      for index in list(shown):
        if index == stream or time > window.start + 1:
          yield from _begun(shown.pop(index), copies, window)
      if not _fit(packet, window):
        continue
    packet.stream = copies[stream]
    yield packet
  for packets in shown.values():
    yield from _begun(packets, copies, window)


def _lasts(packet):
  """Whether it is a subtitle that is shown until the next one."""
  return packet.stream.type == "subtitle" and not packet.duration


def _is_whole(packet):
  """Whether a subtitle needs nothing of those before it.

  A PGS display set opens with its composition, whose state, at byte 10, is zero
  where it goes on with pictures that earlier sets brought.
  """
  data = bytes(packet)
  if packet.stream.codec_context.name != "pgssub":
    return True
  return data[:1] == b"\x16" and data[10:11] != b"\0"


def _begun(packets, copies, window):
  """Subtitles from before the window, shown from its beginning."""
  for packet in packets:
    packet.pts = math.ceil(window.start / packet.time_base)
    packet.dts = packet.pts
    if _fit(packet, window):
      packet.stream = copies[packet.stream.index]
      yield packet


def _fit(packet, window):
  """Moves a packet into the window's time; False where it is outside.

  Text that is being shown as the window begins or ends is shown for as long as
  is inside. Subtitles without a duration are shown until the next one.
  """
  stamp = packet.pts if packet.pts is not None else packet.dts
  if stamp is None:
    return False
  kind, base = packet.stream.type, packet.time_base
  if kind == "video":  # A cover is shown throughout.
    return True
  begin = math.ceil(window.start / base)
  end = None if window.end is None else math.ceil(window.end / base)
  if end is not None and stamp >= end:
    return False
  shift = round(window.start / base)
  if kind == "subtitle" and packet.duration:
    first, last = max(stamp, begin), stamp + packet.duration
    if end is not None:
      last = min(last, end)
    if first >= last:
      return False
    packet.pts = packet.dts = max(first - shift, 0)
    packet.duration = last - first
    return True
  if stamp < begin:
    return False
  packet.pts = None if packet.pts is None else packet.pts - shift
  packet.dts = None if packet.dts is None else packet.dts - shift
  return True


def _mux(target, video, packets, others):
  """Writes two sequences of packets, interleaved by time."""
  others = iter(others)
  other = next(others, None)
  for packet in packets:
    time = packet.dts * packet.time_base
    while other is not None and _time(other) <= time:
      target.mux(other)
      other = next(others, None)
    packet.stream = video
    target.mux(packet)
  while other is not None:
    target.mux(other)
    other = next(others, None)


def _time(packet):
  stamp = packet.dts if packet.dts is not None else packet.pts
  return (stamp or 0) * packet.time_base
