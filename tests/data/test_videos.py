"""Video files read at random give the frames of reading them in order."""

import pickle
import sys
from concurrent import futures

import numpy as np
import pytest

from vidrestore_jax import data
from vidrestore_jax.data import folders, videos

av = pytest.importorskip("av", reason="PyAV (the extra `video`)")


def _write(
    path, frames, codec="libx264", pix_fmt="yuv420p", pts=None, options=None,
    colorspace=2, color_range=0,
):
  """Encodes uint8 `[T, H, W, 3]`, given in the channels of `pix_fmt`."""
  with av.open(str(path), "w") as container:
    stream = container.add_stream(codec, rate=25, options=options or {})
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = pix_fmt
    stream.codec_context.colorspace = colorspace
    stream.codec_context.color_range = color_range
    for t, pixels in enumerate(frames):
      if pix_fmt == "yuv444p":
        pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        frame = av.VideoFrame.from_ndarray(pixels, format="yuv444p")
      else:
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
      frame.pts = t if pts is None else pts[t]
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  return path


def _moving(count, height=48, width=64):
  """Noise under a moving square, so that all frames differ."""
  rng = np.random.default_rng(0)
  frames = np.repeat(
      rng.integers(0, 256, (1, height, width, 3), np.uint8), count, 0
  )
  for t in range(count):
    left = 3 * t % (width - 16)
    frames[t, 10:26, left : left + 16] = rng.integers(0, 256, 3)
  return frames


_B_FRAMES = {"g": "8", "bf": "3", "sc_threshold": "0", "b_strategy": "0"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Files of several containers and codecs, B-frames and short GOPs."""
  path = tmp_path_factory.mktemp("videos")
  clip = _moving(30)
  _write(path / "h264.mp4", clip, options=_B_FRAMES)
  _write(path / "h264.mkv", clip, options=_B_FRAMES)
  _write(path / "h264.ts", clip, options=_B_FRAMES)
  open_gop = _B_FRAMES | {"x264-params": "open-gop=1"}
  _write(path / "open.mp4", clip, options=open_gop)
  _write(path / "mpeg2.mpg", clip, "mpeg2video", options={"g": "8", "bf": "2"})
  _write(path / "ffv1.mkv", clip, "ffv1", pix_fmt="bgr0")
  _write(path / "deep.mkv", clip, pix_fmt="yuv422p10le", options=_B_FRAMES)
  return path


_FILES = (
    "h264.mp4", "h264.mkv", "h264.ts", "open.mp4", "mpeg2.mpg", "ffv1.mkv",
    "deep.mkv",
)


def _in_order(path):
  """All frames, decoded from the start and converted whole: `[T, H, W, 3]`.

  For files that name no matrix.
  """
  flags = 0x40000 | 0x2000 | 4  # Accurate, full chroma, bicubic.
  with av.open(str(path)) as container:
    return np.stack([
        frame.reformat(
            format="rgb24", interpolation=flags, src_color_range="MPEG",
            dst_color_range="JPEG",
            src_colorspace="ITU709" if frame.height >= 720 else "ITU601",
        ).to_ndarray()
        for frame in container.decode(video=0)
    ])


@pytest.mark.parametrize("name", _FILES)
def test_windows_are_those_of_decoding_in_order(folder, name):
  whole = _in_order(folder / name)
  assert len(whole) == 30
  source = data.build("videos", path=folder / name, length=4, stride=1)
  assert len(source) == 27
  for index in np.random.default_rng(1).permutation(27)[:12]:
    item = source[int(index)]
    assert item["name"] == f"{name}/{index:05d}" and item["max_value"] == 255
    np.testing.assert_array_equal(item["clean"], whole[index : index + 4])
  all_of_it, = [data.build("videos", path=folder / name, length=None)[0]]
  np.testing.assert_array_equal(all_of_it["clean"], whole)


@pytest.mark.parametrize("name", _FILES)
def test_a_patch_is_converted_as_the_whole_frame_is(folder, name):
  source = data.build("videos", path=folder / name, length=3, stride=5)
  rng = np.random.default_rng(2)
  for index in range(len(source)):
    clip, whole = source.open(index)["clean"], source[index]["clean"]
    assert clip.shape == whole.shape == (3, 48, 64, 3)
    for _ in range(4):
      y, x = rng.integers(0, 48 - 17), rng.integers(0, 64 - 21)
      patch = clip[1:3, y : y + 17, x : x + 21]
      np.testing.assert_array_equal(
          patch, whole[1:3, y : y + 17, x : x + 21]
      )


@pytest.mark.parametrize(("name", "frames"), [("bbb", 132), ("bikes", 250)])
def test_real_files_are_read_exactly(name, frames, real_data):
  path = real_data / "videos" / f"{name}.mp4"
  source = data.build("videos", path=path, length=3, stride=1)
  assert len(source) == frames - 2
  whole = _in_order(path)
  starts = [0, 1, 29, 30, 31, 74, 75, frames - 3]
  for start in starts:
    np.testing.assert_array_equal(
        source[start]["clean"], whole[start : start + 3], err_msg=str(start)
    )


def test_a_window_costs_the_frames_from_the_key_frame_before_it(
    folder, monkeypatch
):
  source = data.build("videos", path=folder / "h264.mp4", length=2)
  keys = [
      int(np.searchsorted(source.videos[0].pts, pts))
      for pts, _ in source.videos[0].keys
  ]
  assert keys == [0, 8, 16, 24]
  fed = []
  inner = videos._Reader._packets_from

  def count(self, start):
    for packet in inner(self, start):
      fed.append(packet.pts)
      yield packet

  monkeypatch.setattr(videos._Reader, "_packets_from", count)
  source[25]
  # From key frame 24; the coder's delay may want packets after the window.
  assert 3 <= len(fed) <= 6, fed
  fed.clear()
  source[14]  # The last two before key frame 16: the GOP, and the delay.
  assert 8 <= len(fed) <= 12, fed


def test_threads_and_other_processes_read_the_same(folder):
  source = data.build("videos", path=folder, length=3, stride=7)
  expected = [source[i]["clean"] for i in range(len(source))]
  sent = pickle.loads(pickle.dumps(source))
  order = np.random.default_rng(3).permutation(np.repeat(range(len(source)), 3))
  with futures.ThreadPoolExecutor(4) as pool:
    for index, item in zip(order, pool.map(sent.__getitem__, order)):
      np.testing.assert_array_equal(item["clean"], expected[index])


def test_a_folder_is_read_in_natural_order(tmp_path):
  for name in ("10.mp4", "9.mp4", ".hidden.mp4"):
    _write(tmp_path / name, _moving(5))
  (tmp_path / "notes.txt").write_text("no video")
  source = data.build("videos", path=tmp_path, length=5)
  assert [source[i]["name"] for i in range(2)] == [
      "9.mp4/00000", "10.mp4/00000",
  ]


def test_frames_are_counted_where_the_rate_varies(tmp_path):
  pts = np.cumsum([0, *np.random.default_rng(4).integers(1, 30, 19)])
  path = _write(
      tmp_path / "v.mkv", _moving(20), pts=pts.tolist(), options=_B_FRAMES
  )
  whole = _in_order(path)
  source = data.build("videos", path=path, length=5)
  assert len(source) == 16
  for index in (11, 3, 15, 7):
    np.testing.assert_array_equal(
        source[index]["clean"], whole[index : index + 5]
    )


# Colour


def _formula(yuv, red, blue, full):
  """ITU-R BT.601/709/2020: Y'CbCr of 8 bits to R'G'B'."""
  y, cb, cr = np.moveaxis(yuv.astype(float), -1, 0)
  if full:
    y, cb, cr = y / 255, (cb - 128) / 255, (cr - 128) / 255
  else:
    y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
  r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
  g = (y - red * r - blue * b) / (1 - red - blue)
  return 255 * np.clip(np.stack([r, g, b], -1), 0, 1)


_601, _709, _2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)


@pytest.mark.parametrize(
    ("matrix", "full", "height", "weights"),
    [
        (1, False, 32, _709),
        (1, True, 32, _709),
        (5, False, 32, _601),
        (6, True, 32, _601),
        (9, False, 32, _2020),
        (2, False, 32, _601),  # Unspecified: by the number of lines.
        (2, False, 720, _709),
    ],
)
def test_colour_follows_the_matrix_and_range_of_the_stream(
    tmp_path, matrix, full, height, weights
):
  rng = np.random.default_rng(5)
  low, high = (0, 256) if full else (16, 236)
  clip = np.stack([
      rng.integers(low, high, (1, height, 16), np.uint8),
      *rng.integers(80, 177, (2, 1, height, 16), np.uint8),
  ], -1)
  path = _write(
      tmp_path / "c.mkv", clip, "ffv1", "yuv444p", colorspace=matrix,
      color_range=2 if full else 1,
  )
  clean = data.build("videos", path=path, length=1)[0]["clean"]
  # Half a level of rounding and the coefficients' own.
  np.testing.assert_allclose(clean, _formula(clip, *weights, full), atol=0.55)


def test_an_unknown_matrix_is_refused(tmp_path):
  path = _write(
      tmp_path / "c.mkv", _moving(1), "ffv1", "yuv444p", colorspace=8
  )
  with pytest.raises(ValueError, match=r"c\.mkv has the colour matrix 8"):
    data.build("videos", path=path, length=1)[0]


# Faults


def test_a_damaged_file_is_named(tmp_path, folder):
  whole = (folder / "h264.mp4").read_bytes()
  for name, content in (
      ("empty.mp4", b""), ("text.mp4", b"no video" * 99),
      ("cut.mp4", whole[: len(whole) // 2]),
  ):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(folders.CorruptRecord, match=name):
      data.build("videos", path=tmp_path / name)


def test_a_file_cut_short_behind_its_header_is_named(tmp_path):
  """The header, moved to the front, promises frames that are not there."""
  path = tmp_path / "fast.mp4"
  with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
    stream = container.add_stream("libx264", rate=25)
    stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
    for pixels in _moving(20):
      frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  whole = path.read_bytes()
  path.write_bytes(whole[: 3 * len(whole) // 4])
  with pytest.raises(folders.CorruptRecord, match=r"fast\.mp4 .*of its 20"):
    data.build("videos", path=path)


def test_damage_inside_a_file_is_found_where_it_is_read(tmp_path, folder):
  path = _write(tmp_path / "d.mp4", _moving(30), options={"g": "8", "bf": "0"})
  before = data.build("videos", path=path, length=2, stride=2)
  expected = [before[i]["clean"] for i in range(15)]
  content = bytearray(path.read_bytes())
  middle = len(content) // 2
  content[middle : middle + 300] = bytes(range(50, 250)) + bytes(100)
  path.write_bytes(content)
  damaged = []
  source = data.build("videos", path=path, length=2, stride=2)
  for index in range(15):
    try:
      clean = source[index]["clean"]
    except folders.CorruptRecord as error:
      assert f"d.mp4 is no video or is damaged near frame {2 * index}" in str(
          error
      )
      damaged.append(index)
    else:
      np.testing.assert_array_equal(clean, expected[index])
  # From the damage to the end of its group of pictures.
  assert 1 <= len(damaged) <= 4
  assert damaged == list(range(damaged[0], damaged[-1] + 1))


def test_without_pyav_the_extra_is_named(folder, monkeypatch):
  monkeypatch.setitem(sys.modules, "av", None)
  with pytest.raises(ImportError, match=r"install 'vidrestore_jax\[video\]'"):
    data.build("videos", path=folder)


def test_frames_without_time_stamps_are_refused(tmp_path):
  path = _write(tmp_path / "raw.h264", _moving(8), options=_B_FRAMES)
  with pytest.raises(ValueError, match=r"raw\.h264 .*without a time stamp"):
    data.build("videos", path=path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(length=31), ValueError, "has 30 frames, but clips of length 31"),
        (dict(length=0), ValueError, "length needs to be at least 1"),
        (dict(stride=0), ValueError, "stride needs to be at least 1"),
        (dict(path=""), ValueError, "No video was named"),
        (dict(path="nowhere"), FileNotFoundError, "No video file or folder"),
    ],
)
def test_what_cannot_be_read_is_named(folder, change, error, message):
  given = dict(path=folder / "h264.mp4") | change
  with pytest.raises(error, match=message):
    data.build("videos", **given)


def test_a_folder_without_videos_says_what_it_looks_for(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"holds no video \(\.avi"):
    data.build("videos", path=tmp_path)
