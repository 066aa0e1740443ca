"""A contact sheet: where frames and text come to stand."""

import numpy as np

from vidrestore_jax.inference import contact_sheet


def _flat(value, height, width):
  return np.full((height, width, 3), value, np.uint8)


def test_rows_stand_below_one_another_and_frames_side_by_side():
  first = [_flat(10, 4, 160), _flat(20, 4, 160)]
  second = [_flat(30, 4, 160), _flat(40, 4, 160)]
  sheet = contact_sheet.draw("title", [("clip", [first, second])])
  assert sheet.dtype == np.uint8 and sheet.shape[1] == 12 + 646 + 12
  # Twice as large: frames of 320x8, 6 apart, 12 from the border.
  for x, values in ((12, (10, 30)), (12 + 326, (20, 40))):
    column = sheet[:, x + 100, 0]
    rows = [np.flatnonzero(column == value) for value in values]
    assert [len(row) for row in rows] == [8, 8]
    assert rows[1][0] == rows[0][-1] + 7
  assert (sheet[-12:] == 255).all() and (sheet[:, -12:] == 255).all()


def test_each_clip_has_its_text_above_it():
  clips = [("one", [[_flat(100, 320, 320)]]), ("two", [[_flat(50, 9, 320)]])]
  sheet = contact_sheet.draw("two\nlines", clips)
  starts = [
      int(np.flatnonzero((sheet[:, 20] == value).all(-1))[0])
      for value in (100, 50)
  ]
  dark = (sheet[:, :, 0] < 60) & (sheet[:, :, 0] != 50)
  text = np.flatnonzero(dark.any(1))
  assert len(text[text < starts[0]]) > 20  # Three lines.
  between = text[(text > starts[0] + 320) & (text < starts[1])]
  assert len(between) > 5


def test_large_frames_shrink_in_proportion():
  frame = np.zeros((540, 960, 3), np.uint8)
  frame[:, 480:] = 200
  sheet = contact_sheet.draw("", [("", [[frame]])])
  inside = sheet[(sheet[:, 12] == 0).all(-1)]
  assert inside.shape[:2] == (180, 320 + 24)
  assert (inside[:, 20] == 0).all() and (inside[:, 300] == 200).all()


def test_long_text_widens_the_sheet():
  long = "a clip of a very long name, " * 20
  sheet = contact_sheet.draw("t", [(long, [[_flat(9, 20, 20)]])])
  assert sheet.shape[1] > 1500
  assert (sheet[:, -12:] == 255).all()
