"""Compression: what JPEG and video coders leave of a clip.

Both code 8 bits with chroma at half resolution (4:2:0), as cameras and the
web do; colours of video are converted as `vidrestore_jax.colour` says. The
bytes are the coder's, so they are the same for the same version of Pillow, or
of PyAV and the coder it ships; the card says which.
"""

import fractions
import io

import numpy as np
import PIL
from PIL import Image

from vidrestore_jax import colour
from vidrestore_jax.degradations import ranges
from vidrestore_jax.shapes import check_channels, check_rank

# Codecs: what encodes, what decodes, the highest crf, and options, chosen to
# give the same bytes for the same input. No coder promises that with several
# threads. On one thread, x264's macroblock tree still gave a dozen streams for
# one clip, with B-frames and assembly; x265 gave two or three now and then,
# with B-frames and without, and so is not here.
_CODECS = {
    "h264": (
        "libx264", "h264", 51, {"preset": "medium", "x264-params": "mbtree=0"}
    ),
    "vp9": (
        "libvpx-vp9", "vp9", 63,
        # b: 0 leaves crf alone to decide.
        {"b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "0"},
    ),
}


def jpeg(rng, clip, *, quality: tuple[int, int] = (30, 95)):
  """Each frame as a JPEG file of one quality for the clip.

  Args:
    rng: a NumPy generator.
    clip: `[T, H, W, C]` in [0, 1], float32, C 1 or 3.
    quality: lowest and highest, 1 .. 95, in libjpeg's units; drawn uniformly.

  Returns:
    The pair (decoded clip, card).

  Raises:
    ValueError: a range outside 1 .. 95, or neither gray nor RGB.
  """
  check_rank("compression.jpeg", clip, "THWC")
  low, high = (int(q) for q in ranges.check("quality", quality, 1, 95))
  drawn = int(rng.integers(low, high + 1))
  if clip.shape[-1] == 1:
    frames = _to_bytes(clip)[..., 0]
  else:
    check_channels("compression.jpeg", clip, 3)
    frames = _to_bytes(clip)
  decoded = []
  for frame in frames:
    file = io.BytesIO()
    Image.fromarray(frame).save(
        file, "JPEG", quality=drawn, subsampling="4:2:0"
    )
    decoded.append(np.asarray(Image.open(file)))
  result = np.stack(decoded).reshape(clip.shape).astype(np.float32) / 255
  return result, {"quality": drawn, "coder": f"Pillow {PIL.__version__}"}


def video(
    rng, clip, *, codec: str = "h264", crf: tuple[int, int] = (18, 35)
):
  """The clip through a video coder at a constant rate factor.

  Needs PyAV (the extra `video`). One thread, so that the result does not
  depend on the machine's cores. Odd sizes are padded for the coder.

  Args:
    rng: a NumPy generator.
    clip: `[T, H, W, 3]` in [0, 1], float32.
    codec: "h264" (x264, as the web has it), or "vp9" (libvpx, several times
      slower).
    crf: lowest and highest rate factor, drawn uniformly; 0 (best) .. 51 for
      h264, 63 for vp9.

  Returns:
    The pair (decoded clip, card); the card holds the size in bytes too.

  Raises:
    ImportError: PyAV is not installed.
    ValueError: an option outside what it may be, or not RGB.
  """
  check_rank("compression.video", clip, "THWC")
  check_channels("compression.video", clip, 3)
  if codec not in _CODECS:
    raise ValueError(
        f"codec needs to be one of {', '.join(_CODECS)}, but is {codec!r}."
    )
  encoder_name, decoder_name, worst, options = _CODECS[codec]
  low, high = (int(c) for c in ranges.check("crf", crf, 0, worst))
  drawn = int(rng.integers(low, high + 1))
  try:
    import av
    from av.video.reformatter import VideoReformatter
  except ImportError:
    raise ImportError(
        "compression.video needs PyAV: pip install vidrestore_jax[video]"
    ) from None
  height, width = clip.shape[1:3]
  frames = np.pad(
      _to_bytes(clip), ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge"
  )
  encoder = av.CodecContext.create(encoder_name, "w")
  encoder.height, encoder.width = frames.shape[1:3]
  encoder.pix_fmt = "yuv420p"
  encoder.colorspace, encoder.color_range = colour.tags_for(frames.shape[1])
  encoder.time_base = fractions.Fraction(1, 25)
  encoder.framerate = 25
  encoder.thread_count = 1
  encoder.options = {"crf": str(drawn), **options}
  packets, convert = [], VideoReformatter()
  for time, frame in enumerate(frames):
    picture = colour.to_yuv(convert, frame)
    picture.pts = time
    packets += encoder.encode(picture)
  packets += encoder.encode(None)
  decoder = av.CodecContext.create(decoder_name, "r")
  decoder.thread_count = 1
  pictures = [p for packet in packets for p in decoder.decode(packet)]
  pictures += decoder.decode(None)
  if len(pictures) != len(clip):
    raise RuntimeError(
        f"{encoder_name} made {len(pictures)} of {len(clip)} frames."
    )
  convert = VideoReformatter()
  decoded = np.stack([
      colour.to_rgb(convert, picture, *colour.of_frame(picture, codec))
      for picture in pictures
  ])
  card = {
      "codec": codec,
      "crf": drawn,
      "bytes": sum(packet.size for packet in packets),
      "coder": f"PyAV {av.__version__} {encoder_name}",
  }
  return decoded[:, :height, :width].astype(np.float32) / 255, card


def _to_bytes(clip):
  return np.rint(np.clip(clip, 0.0, 1.0) * 255).astype(np.uint8)
