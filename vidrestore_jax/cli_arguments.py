"""Arguments that several commands share.

Importing this loads the standard library only.
"""

import argparse
import re


def add_model(sub):
  """Adds --model."""
  sub.add_argument(
      "--model", metavar="FOLDER",
      help="a released model; default the one that the package brings",
  )


def add_layout(sub):
  """Adds --tile, --chunk and --devices."""
  sub.add_argument(
      "--tile", type=_tile, default="auto", metavar="N",
      help="restore in tiles of NxN pixels, which gives the same frames with"
      " less memory; none: whole frames; default auto: tiles where whole frames"
      " do not fit into memory",
  )
  sub.add_argument(
      "--chunk", type=_chunk, metavar="N:M",
      help="of a bidirectional model: N frames at a time, seen with M more on"
      " either side; default whole scenes",
  )
  sub.add_argument(
      "--devices", type=_devices, default=1, metavar="N",
      help="split frames by rows over N devices, or all, for those too large"
      " for one; default 1",
  )


def parse_size(text: str) -> tuple[int, int]:
  """(width, height) of `"960x540"`."""
  match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
  if not match:
    raise ValueError(
        f"{text} is no frame size: give WIDTHxHEIGHT in pixels, such as"
        " 960x540."
    )
  return int(match[1]), int(match[2])


def _tile(text):
  """"auto", None or a number of pixels."""
  if text in ("auto", "none"):
    return text if text == "auto" else None
  if text.isdecimal() and int(text):
    return int(text)
  raise argparse.ArgumentTypeError(
      f"{text} is no number of pixels such as 512, nor auto, nor none"
  )


def _devices(text):
  """"all" or how many."""
  if text == "all":
    return text
  if text.isdecimal() and int(text):
    return int(text)
  raise argparse.ArgumentTypeError(
      f"{text} is no number of devices such as 2, nor all"
  )


def _chunk(text):
  """The pair of a length and an overlap."""
  parts = text.split(":")
  if len(parts) == 2 and all(part.isdecimal() for part in parts):
    return tuple(map(int, parts))
  raise argparse.ArgumentTypeError(
      f"{text} is no length and overlap such as 30:10"
  )
