"""A picture of some frames of some clips, with their names as text."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_WIDTH = 320  # Of a thumbnail, in pixels.
_MARGIN, _GAP, _SIZE = 12, 6, 14  # Of the text: _SIZE.
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def draw(title: str, clips) -> np.ndarray:
  """Puts clips below one another, the frames of a clip side by side.

  Args:
    title: text at the top; may have several lines.
    clips: `[(text, rows)]`, each row a list of frames uint8 `[h, w, 3]`; rows
      stand below one another, as degraded above clean.

  Returns:
    uint8 `[H, W, 3]`.
  """
  font = ImageFont.load_default(size=_SIZE)
  blocks = [(title, [])] + [
      (text, [[_thumbnail(frame) for frame in row] for row in rows])
      for text, rows in clips
  ]
  width = max(
      max((_row_width(row) for _, rows in blocks for row in rows), default=0),
      max(_text_size(text, font)[0] for text, _ in blocks),
  )
  height = sum(
      _text_size(text, font)[1] + _GAP
      + sum(row[0].height + _GAP for row in rows) + _MARGIN
      for text, rows in blocks
  )
  sheet = Image.new("RGB", (width + 2 * _MARGIN, height + _MARGIN), _PAPER)
  pen = ImageDraw.Draw(sheet)
  y = _MARGIN
  for text, rows in blocks:
    pen.multiline_text((_MARGIN, y), text, fill=_INK, font=font)
    y += _text_size(text, font)[1] + _GAP
    for row in rows:
      x = _MARGIN
      for image in row:
        sheet.paste(image, (x, y))
        x += image.width + _GAP
      y += row[0].height + _GAP
    y += _MARGIN
  return np.asarray(sheet)


def _thumbnail(frame) -> Image.Image:
  image = Image.fromarray(np.ascontiguousarray(frame))
  if image.width <= _WIDTH:  # Whole pixels stay squares.
    scale = max(1, _WIDTH // image.width)
    size = (image.width * scale, image.height * scale)
    return image.resize(size, Image.Resampling.NEAREST)
  height = max(1, round(image.height * _WIDTH / image.width))
  return image.resize((_WIDTH, height), Image.Resampling.LANCZOS)


def _row_width(row):
  return sum(image.width for image in row) + _GAP * (len(row) - 1)


def _text_size(text, font):
  pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
  left, _, right, bottom = pen.multiline_textbbox((0, 0), text, font=font)
  return int(right - left) + 1, int(bottom) + 1
