import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import evaluate, evaluation, paper_numbers
from vidrestore_jax import data, models, released
from vidrestore_jax.data import raw
from vidrestore_jax.inference import frames_io, streaming
from vidrestore_jax.layers.resample import bicubic_resize
from vidrestore_jax.metrics import baselines, protocols
from vidrestore_jax.shapes import Restored

FASTDVDNET = protocols.get("fastdvdnet")
TINY = dict(
    motion_refiner="none",
    attention=False,
    widths=(4, 8),
    feature_channels=4,
    hidden_channels=4,
    latent_channels=4,
    prior_channels=(4, 4),
    reduction=2,
    motion=dict(levels=2, widths=(4, 4)),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """A released NCFL of random variables."""
  folder = tmp_path_factory.mktemp("released") / "ncfl"
  return _released(folder, "ncfl", TINY, frames=1)


@pytest.fixture(scope="module")
def enlarging(tmp_path_factory):
  """A released VDSR of random variables, x4."""
  folder = tmp_path_factory.mktemp("released") / "vdsr"
  return _released(folder, "vdsr", dict(depth=2, width=4), frames=1)


@pytest.fixture(scope="module")
def windowed(tmp_path_factory):
  """A released FastDVDnet of random variables, statistics included."""
  folder = tmp_path_factory.mktemp("released") / "fastdvdnet"
  kwargs = dict(widths=(4, 4, 4), interm=2)
  return _released(folder, "fastdvdnet", kwargs, frames=5)


def _released(folder, name, kwargs, frames):
  built = models.build(name, **kwargs)
  size = built.stride
  clip = jax.ShapeDtypeStruct((1, frames, size, size, 3), np.float32)
  noise = jax.ShapeDtypeStruct((1, size, size, 1), np.float32)
  noise = noise if built.noise_map else None
  shapes = jax.eval_shape(built.init, jax.random.key(0), clip, noise)
  generator = np.random.default_rng(0)
  variables = jax.tree.map(
      lambda leaf: generator.uniform(-0.1, 0.1, leaf.shape).astype(np.float32),
      shapes,
  )
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
    if path[-1].key == "var":
      np.abs(leaf, out=leaf)
  released.save(folder, name=name, kwargs=kwargs, variables=variables)
  return str(folder)


def _item(name="clip", frames=3, seed=0, size=(16, 20)):
  generator = np.random.default_rng(seed)
  clean = generator.integers(0, 256, (frames, *size, 3), np.uint8)
  return dict(name=name, clean=clean, max_value=255)


def _write_clip(folder, frames=3, seed=0, size=(16, 20)):
  folder.mkdir(parents=True)
  clip = _item(frames=frames, seed=seed, size=size)["clean"]
  for t, frame in enumerate(clip):
    frames_io.write_png(folder / f"{t}.png", frame)
  return clip


def _run(*arguments):
  return evaluate.main([str(argument) for argument in arguments])


# evaluation.evaluate.


def test_the_input_is_measured_as_it_is_and_outputs_clamped():
  item = _item()
  clean = item["clean"].astype(np.float32) / 255
  noisy = clean + FASTDVDNET.noise.draw(clean.shape, 30)
  results = evaluation.evaluate(
      {"noisy": None, "same": lambda clip, sigma: Restored(clip, {})},
      [item],
      FASTDVDNET,
      sigma=30,
  )

  def psnr(frames):
    errors = np.square(frames.astype(np.float64) - clean).mean((1, 2, 3))
    return np.mean(10 * np.log10(1 / errors))

  assert results["noisy"].mean["psnr"] == pytest.approx(psnr(noisy), abs=1e-5)
  assert results["same"].mean["psnr"] == pytest.approx(
      psnr(np.clip(noisy, 0, 1)), abs=1e-5
  )


def test_means_are_over_frames_then_over_clips():
  # One clip off by 0.1 in every frame (20 dB), one in one of its three frames.
  items = [_item("a", frames=1), _item("b", frames=3)]
  for item in items:
    item["degraded"] = np.full_like(item["clean"], 128)
    item["clean"] = item["degraded"].copy()
  items[0]["degraded"][0] += 26
  items[1]["degraded"][1] += 26
  result = evaluation.evaluate({"input": None}, items, FASTDVDNET)["input"]
  one = 20 * np.log10(255 / 26)
  assert result.clips["a"]["psnr"] == pytest.approx(one, abs=1e-4)
  expected = (one + 2 * protocols.MAX_PSNR) / 3
  assert result.clips["b"]["psnr"] == pytest.approx(expected, abs=1e-4)
  assert result.clips["b"]["frames"] == 3
  assert result.mean["psnr"] == pytest.approx((one + expected) / 2, abs=1e-4)


def test_restorers_are_told_sigma_and_given_the_first_frames():
  seen = []

  def restore(clip, sigma):
    seen.append((len(clip), sigma))
    return Restored(clip, {})

  restorers = {"it": restore}
  evaluation.evaluate(
      restorers, [_item(frames=5)], FASTDVDNET, sigma=51, frames=2
  )
  degraded = _item(frames=2) | {"degraded": _item(frames=2)["clean"]}
  evaluation.evaluate(restorers, [degraded], protocols.get("sr_y"))
  assert seen == [(2, 0.2), (2, None)]


def test_a_protocols_own_limit_of_frames_holds():
  clean = np.zeros((87, 11, 11, 3), np.uint8)
  item = dict(name="long", clean=clean, max_value=255)
  result = evaluation.evaluate(
      {"noisy": None}, [item], FASTDVDNET, sigma=10, frames=100
  )
  assert result["noisy"].clips["long"]["frames"] == 85


def test_bits_are_reported_per_pixel():
  def restore(clip, sigma):
    return Restored(clip, {"bits": np.array([160.0, 320.0, 480.0])})

  result = evaluation.evaluate({"it": restore}, [_item()], FASTDVDNET, sigma=10)
  # 320 bits a frame over 16x20 pixels.
  assert result["it"].mean["bits_per_pixel"] == pytest.approx(1.0)


def test_bits_of_the_padding_do_not_count(monkeypatch):
  class Model:
    restores, recurrent, noise_map, stride = True, True, True, 16

  def restore_clip(model, variables, clip, *, sigma, aux, only):
    # One bit for each pixel of the padded frame, 16x32 for 16x20.
    return Restored(clip, {"bits": np.full(len(clip), 16 * 32.0)})

  monkeypatch.setattr(streaming, "restore_clip", restore_clip)
  restore = evaluation.model_restorer(Model(), {})
  result = evaluation.evaluate({"it": restore}, [_item()], FASTDVDNET, sigma=10)
  assert result["it"].mean["bits_per_pixel"] == pytest.approx(1.0)


def test_examples_are_the_last_frames():
  items = [_item("a"), _item("b", seed=1), _item("c", seed=2)]
  result = evaluation.evaluate(
      {"median3": evaluation.restorer("median3")[0]},
      items,
      FASTDVDNET,
      sigma=20,
      examples=2,
  )["median3"]
  assert [example["name"] for example in result.examples] == ["a", "b"]
  second = result.examples[1]
  clean = items[1]["clean"].astype(np.float32) / 255
  noisy = clean + FASTDVDNET.noise.draw(clean.shape, 20)
  assert second["frame"] == 2
  np.testing.assert_array_equal(second["clean"], clean[2])
  np.testing.assert_array_equal(second["degraded"], noisy[2])
  np.testing.assert_array_equal(
      second["restored"], np.clip(baselines.median3(noisy)[2], 0, 1)
  )
  error = np.square(second["restored"].astype(np.float64) - clean[2]).mean()
  assert second["psnr"] == pytest.approx(10 * np.log10(1 / error), abs=1e-5)


def test_windows_of_one_clip_are_kept_apart():
  result = evaluation.evaluate(
      {"noisy": None}, [_item(), _item(seed=1)], FASTDVDNET, sigma=10
  )["noisy"]
  assert list(result.clips) == ["clip", "clip #2"]


def test_a_model_measures_as_its_stream_restores(model):
  restore, about = evaluation.restorer(model)
  assert about["name"] == "ncfl" and about["folder"] == model
  assert about["weights_sha256"] == released.file_sha256(
      pathlib.Path(model) / "weights.safetensors"
  )
  item = _item()
  clean = item["clean"].astype(np.float32) / 255
  noisy = clean + FASTDVDNET.noise.draw(clean.shape, 30)
  restored = streaming.restore_clip(
      *released.load(model), noisy, sigma=30 / 255
  )
  result = evaluation.evaluate({"it": restore}, [item], FASTDVDNET, sigma=30)
  score = protocols.score(
      protocols.clamp(restored.frames), clean, FASTDVDNET
  )
  assert result["it"].mean["psnr"] == pytest.approx(score["psnr"].mean())
  assert result["it"].mean["bits_per_pixel"] == pytest.approx(
      restored.aux["bits"].mean() / (16 * 20), rel=1e-6
  )


def test_temporal_gain_of_a_running_mean_is_that_of_averaging():
  # On a still clip the mean of five noisy frames has a fifth of the variance.
  clean = np.full((7, 64, 64, 3), 128, np.uint8)
  item = dict(name="still", clean=clean, max_value=255)

  def restore(clip, sigma):
    count = np.arange(1, len(clip) + 1)[:, None, None, None]
    return Restored(np.cumsum(clip, axis=0) / count, {})

  gain = evaluation.temporal_gain(restore, [item], FASTDVDNET, sigma=20)
  assert gain["mean"] == pytest.approx(10 * np.log10(5), abs=0.1)
  assert gain["clips"] == {"still": gain["mean"]}


def test_temporal_gain_of_a_window_counts_both_sides():
  clean = np.full((6, 64, 64, 3), 128, np.uint8)
  item = dict(name="still", clean=clean, max_value=255)

  def restore(clip, sigma):
    return Restored(np.broadcast_to(clip.mean(0), clip.shape), {})

  gain = evaluation.temporal_gain(
      restore, [item], FASTDVDNET, sigma=20, predecessors=1, successors=2
  )
  assert gain["mean"] == pytest.approx(10 * np.log10(4), abs=0.1)
  assert (gain["predecessors"], gain["successors"]) == (1, 2)


def test_temporal_gain_of_a_filter_of_single_frames_is_nil():
  gain = evaluation.temporal_gain(
      evaluation.restorer("median3")[0],
      [_item(frames=5)],
      FASTDVDNET,
      sigma=20,
  )
  assert gain["mean"] == 0.0


def test_what_cannot_be_measured_is_said_so():
  restorers = {"noisy": None}
  with pytest.raises(ValueError, match="no clips"):
    evaluation.evaluate(restorers, [], FASTDVDNET, sigma=30)
  with pytest.raises(ValueError, match="--sigma=30"):
    evaluation.evaluate(restorers, [_item()], FASTDVDNET)
  with pytest.raises(ValueError, match="--truth"):
    evaluation.evaluate(restorers, [_item()], protocols.get("sr_y"))
  with pytest.raises(ValueError, match=r"has 3 frames .* needs 5 or more"):
    evaluation.temporal_gain(None, [_item()], FASTDVDNET, sigma=30)
  with pytest.raises(FileNotFoundError, match="without a model are noisy"):
    evaluation.restorer("median7")


def test_a_scale_measures_what_enlarges_low_resolution_frames(model):
  with pytest.raises(ValueError, match="give --scale, such as --scale=4"):
    evaluation.restorer("bicubic")
  for name in ("noisy", "median3", "affine"):
    with pytest.raises(ValueError, match="measure --model=bicubic"):
      evaluation.restorer(name, scale=4)
  with pytest.raises(ValueError, match="restores at 1 times .* Leave out"):
    evaluation.restorer(model, scale=2)


def test_low_resolution_clips_are_cut_shrunk_and_rounded():
  # A ramp of slope 4 per pixel: by 4, one of slope 16, exact inside.
  row = np.arange(0, 4 * 43, 4, dtype=np.uint8)
  clean = np.broadcast_to(row[:, None], (2, 18, 43, 3))
  item = dict(name="ramp", clean=clean, max_value=255)
  protocol = protocols.get("sr_y")
  clean, low = evaluation.prepare(item, protocol, None, scale=4)
  assert clean.shape == (2, 16, 40, 3) and low.shape == (2, 4, 10, 3)
  levels = low * 255
  np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
  np.testing.assert_allclose(levels[0, 0, 2:-2, 0], 6 + 16 * np.arange(2, 8))
  restore, _ = evaluation.restorer("bicubic", scale=4)
  result = evaluation.evaluate(
      {"bicubic": restore}, [item], protocol, scale=4, examples=1
  )["bicubic"]
  example = result.examples[0]
  inside = np.s_[:, 12:-12]
  np.testing.assert_allclose(
      example["restored"][inside], example["clean"][inside], atol=0.5 / 255
  )
  assert example["degraded"].shape == (16, 40, 3)  # Squares, for pictures.
  with pytest.raises(ValueError, match="leave out --sigma"):
    evaluation.prepare(item, protocol, 30, scale=4)
  with pytest.raises(ValueError, match="43x18, too small for --scale=64"):
    evaluation.prepare(item, protocol, None, scale=64)


def test_further_protocols_stand_beside_the_first():
  item = _item()
  item["degraded"] = _item(seed=1)["clean"]
  first, other = protocols.get("rgb_uint8"), protocols.get("y_uint8")
  both = evaluation.evaluate({"it": None}, [item], first, also=[other])["it"]
  alone = evaluation.evaluate({"it": None}, [item], other)["it"]
  for key in ("psnr", "ssim"):
    assert both.mean[f"y_uint8/{key}"] == alone.mean[key]
    assert both.clips["clip"][f"y_uint8/{key}"] == alone.mean[key]
  cell = f"{alone.mean['psnr']:.2f} / {alone.mean['ssim']:.4f}"
  assert cell in evaluation.table({"it": both}, prefix="y_uint8/")
  assert cell not in evaluation.table({"it": both})


def test_an_oracle_is_shown_the_truth_and_a_restorer_is_not():
  item = _item()
  item["degraded"] = (item["clean"] // 2 + 60).astype(np.uint8)
  methods = ("degraded", "affine", "affine_rgb", "median3")
  results = evaluation.evaluate(
      {name: evaluation.restorer(name)[0] for name in methods},
      [item],
      protocols.get("rgb_uint8"),
  )
  # Half the contrast and an offset: undone but for the halves cut off.
  assert results["affine"].mean["psnr"] > 50
  assert results["affine_rgb"].mean["psnr"] > 50
  assert results["degraded"].mean["psnr"] < 20
  with pytest.raises(ValueError, match="restores nothing"):
    list(
        evaluation.look(evaluation.restorer("affine")[0], [item], frames=1)
    )


def test_mosaics_are_measured_as_packed_planes():
  mosaic = np.arange(2 * 8 * 8, dtype=np.uint16).reshape(2, 8, 8, 1) * 20
  item = dict(
      name="raw", clean=mosaic, degraded=mosaic + 5, max_value=3855,
      bayer="GBRG",
  )
  clean, degraded = evaluation.prepare(item, protocols.get("crvd_raw"), None)
  assert clean.shape == degraded.shape == (2, 4, 4, 4)
  # Red of GBRG lies in the second row, first column.
  assert clean[0, 0, 0, 0] == np.float32(mosaic[0, 1, 0, 0]) / 3855
  np.testing.assert_allclose(degraded - clean, 5 / 3855, rtol=1e-3)


def _write_mosaics(folder, clip, suffix):
  folder.mkdir(parents=True)
  for t, mosaic in enumerate(clip):
    Image.fromarray(mosaic).save(folder / f"{t}.{suffix}")


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_folders_of_mosaics_are_measured_by_the_protocols_of_raw(
    tmp_path, suffix
):
  rng = np.random.default_rng(0)
  clean = rng.integers(300, 3000, (2, 16, 24), np.uint16)
  # Ten DN off, and black: what lies below 240 does not count.
  noisy = clean + np.uint16(10)
  clean[:, 0], noisy[:, 0] = 230, 100
  for side, clip in (("clean", clean), ("noisy", noisy)):
    _write_mosaics(tmp_path / side / "a", clip, suffix)
  out = tmp_path / "out.json"
  status = _run(
      "--model=degraded", f"--data={tmp_path / 'noisy'}",
      f"--truth={tmp_path / 'clean'}", "--protocol=crvd_raw,crvd_srgb",
      f"--json={out}",
  )
  assert status == 0
  numbers = json.loads(out.read_text())["clips"]["a"]
  expected = -10 * np.log10((10 / 3855) ** 2 * 15 / 16)
  assert numbers["psnr"] == pytest.approx(expected, abs=1e-3)
  assert numbers["frames"] == 2 and 20 < numbers["crvd_srgb/psnr"] < 60


def test_mosaics_that_cannot_be_measured_are_named(tmp_path, capsys):
  good = np.full((1, 16, 16), 1000, np.uint16)
  _write_mosaics(tmp_path / "clean" / "a", good, "png")
  command = [
      "--model=degraded", "--protocol=crvd_raw", f"--data={tmp_path / 'in'}",
  ]
  truth = f"--truth={tmp_path / 'clean'}"
  for clip, arguments, fragments in (
      (good, [], "--truth=CLIPS"),
      (good[:, :14], [truth], "14, 16"),
      (good[:, :15], [truth], "even sides"),
      (good + 4000, [truth], "white level is 4095"),
      (good.astype(np.uint8), [truth], "greyscale of 16 bits"),
  ):
    shutil.rmtree(tmp_path / "in", ignore_errors=True)
    _write_mosaics(tmp_path / "in" / "a", clip, "png")
    assert _run(*command, *arguments) == 2
    assert fragments in capsys.readouterr().err
  (tmp_path / "in" / "a" / "0.png").write_bytes(b"II*\0")
  assert _run(*command, truth) == 2
  assert "0.png is no TIFF or PNG" in capsys.readouterr().err


def test_a_blind_look_needs_no_truth():
  item = _item(frames=4)
  seen = []

  def restore(clip, sigma):
    seen.append((len(clip), sigma))
    return Restored(clip + 2, {})

  (record,) = evaluation.look(restore, [item], frames=3)
  assert seen == [(3, None)]
  assert record["name"] == "clip" and record["frame"] == 2
  np.testing.assert_array_equal(
      record["degraded"], item["clean"][2] / np.float32(255)
  )
  assert (record["restored"] == 1).all()  # Clamped.


# The paper's numbers and the table.


def test_papers_numbers_are_as_printed():
  davis = paper_numbers.column("davis", 40)
  assert davis["NCFL"] == (34.06, 0.9267)
  assert davis["BasicVSR++"] == (33.96, 0.9229)
  # The text under table 3 gives the gains over BasicVSR++.
  gains = [
      paper_numbers.column("davis", sigma)["NCFL"][0]
      - paper_numbers.column("davis", sigma)["BasicVSR++"][0]
      for sigma in (10, 20, 30, 40, 50)
  ]
  np.testing.assert_allclose(gains, [-0.04, 0.03, 0.03, 0.10, 0.18], atol=1e-9)
  assert paper_numbers.column("set8", 50)["NCFL"] == (30.45, None)
  assert paper_numbers.column("set8_ablation", 50)["M_d"] == (30.29, None)
  assert paper_numbers.column("set8_lambda", 50)["1/2048"] == (30.45, None)
  assert paper_numbers.column("set8", 30)["FastDVDNet"] == (31.68, None)
  vimeo = paper_numbers.column("vimeo700", 25)
  assert vimeo["FastDVDNet"] == (32.13, 0.8754) and vimeo["jsc"][0] == 35.45
  assert "2001.00346" in paper_numbers.source("vimeo700")
  rain = paper_numbers.column("nturain", None)
  assert rain["NCFL"] == (40.22, 0.9811) and rain["SE"] == (25.73, 0.7614)
  light = paper_numbers.column("rainsynlight25", None)
  assert light["NCFL"] == (39.17, 0.9872) and len(light) == len(rain) == 9
  with pytest.raises(ValueError, match="davis, set8"):
    paper_numbers.column("vid4", 10)
  with pytest.raises(ValueError, match=r"sigma 10, 20, 30, 40, 50.* 25"):
    paper_numbers.column("davis", 25)
  with pytest.raises(ValueError, match=r"got none \(--sigma=30\)"):
    paper_numbers.column("davis", None)
  with pytest.raises(ValueError, match="leave out the sigma, 30"):
    paper_numbers.column("nturain", 30)
  with pytest.raises(ValueError, match="crvd are not in its supplementary"):
    paper_numbers.column("crvd", None)


def test_table_puts_the_papers_column_beside_ours():
  def result(value):
    numbers = {"psnr": value, "ssim": 0.9}
    clips = {"a": numbers | {"frames": 3}, "b": numbers | {"frames": 3}}
    return evaluation.Evaluation(clips, numbers, [])

  text = evaluation.table(
      {"noisy": result(14.15), "ncfl": result(30.0)},
      {"NCFL": (33.11, 0.9107), "EDVR": (32.41, None)},
  )
  rows = [
      [cell.strip() for cell in line.split("|")[1:-1]]
      for line in text.split("\n")
  ]
  assert rows[0] == ["PSNR (dB) / SSIM", "a", "b", "mean", "paper"]
  cell = "14.15 / 0.9000"
  assert rows[2] == ["noisy", cell, cell, cell, "-"]
  assert rows[3][-2:] == ["30.00 / 0.9000", "33.11 / 0.9107"]
  assert rows[4] == ["EDVR (paper)", "-", "-", "-", "32.41"]


# The command.


def test_command_writes_the_layout_that_others_read(tmp_path, model, capsys):
  for seed, name in enumerate(("a", "b")):
    _write_clip(tmp_path / "clips" / name, seed=seed)
  out = tmp_path / "out.json"
  status = _run(
      "--model", model, "--data", tmp_path / "clips", "--protocol=fastdvdnet",
      "--sigma=30", "--frames=2", "--json", out,
  )
  assert status == 0
  result = json.loads(out.read_text())
  assert set(result["clips"]) == {"a", "b"}
  for metric in ("psnr", "ssim"):
    values = [result["clips"][name][metric] for name in ("a", "b")]
    assert result["mean"][metric] == pytest.approx(np.mean(values))
  assert result["clips"]["a"]["frames"] == 2
  assert result["protocol"] == "fastdvdnet" and result["sigma"] == 30
  assert result["protocol_record"]["peak"] == 1.0
  assert len(result["model"]["weights_sha256"]) == 64
  assert "commit" in result
  assert f"{result['mean']['psnr']:.2f} / " in capsys.readouterr().out


def test_raw_clips_are_rendered_by_the_camera_that_took_them():
  clips = {"name": "procedural", "size": 1, "length": 1, "height": 32,
           "width": 32}
  (item,) = evaluation.source_clips(data.build("raw", source=clips))
  darker = item | {"degraded": (item["clean"] * 0.8).astype(np.uint16)}
  protocol = protocols.get("crvd_srgb")
  result = evaluation.evaluate({"degraded": None}, [darker], protocol)
  pair = [raw.pack(darker[k]) / 3855.0 for k in ("degraded", "clean")]
  own, default = (
      protocols.score(*pair, protocol, camera=camera)["psnr"][0]
      for camera in (item["metadata"], None)
  )
  assert result["degraded"].mean["psnr"] == pytest.approx(own, abs=1e-4)
  assert abs(own - default) > 0.1


def test_several_models_share_a_table(tmp_path, model, capsys):
  _write_clip(tmp_path / "clip", frames=5)
  out = tmp_path / "out.json"
  status = _run(
      f"--model=noisy,median3,{model}", "--data", tmp_path / "clip",
      "--protocol=fastdvdnet", "--sigma=30", "--temporal-gain", "--json", out,
  )
  assert status == 0
  results = json.loads(out.read_text())["results"]
  names = [result["model"]["name"] for result in results]
  assert names == ["noisy", "median3", "ncfl"]
  assert "temporal_gain" in results[2] and "temporal_gain" not in results[0]
  printed = capsys.readouterr().out
  for result in results:
    row = f"| {result['model']['name']:<16} | {result['mean']['psnr']:.2f} / "
    assert row in printed


def test_a_windowed_model_is_measured_as_it_streams(tmp_path, windowed):
  clean = _write_clip(tmp_path / "clip", frames=5) / np.float32(255)
  out = tmp_path / "out.json"
  status = _run(
      f"--model={windowed}", "--data", tmp_path / "clip", "--sigma=30",
      "--protocol=fastdvdnet", "--temporal-gain", "--json", out,
  )
  assert status == 0
  result = json.loads(out.read_text())
  restored = streaming.restore_clip(
      *released.load(windowed),
      clean + FASTDVDNET.noise.draw(clean.shape, 30),
      sigma=30 / 255,
  )
  score = protocols.score(protocols.clamp(restored.frames), clean, FASTDVDNET)
  assert result["mean"]["psnr"] == pytest.approx(score["psnr"].mean())
  gain = result["temporal_gain"]
  assert result["model"]["radius"] == 2
  assert (gain["predecessors"], gain["successors"]) == (2, 2)


def test_a_model_of_super_resolution_restores_what_bicubic_made_small(
    tmp_path, enlarging
):
  """And its luminance is measured in whole levels, beside bicubic's."""
  # 50x62 is cut to 48x60.
  clip = _write_clip(tmp_path / "clips" / "a", frames=2, size=(50, 62))
  out = tmp_path / "out.json"
  arguments = [f"--model=bicubic,{enlarging}", "--protocol=sr_y", "--scale=4"]
  assert _run(
      *arguments, "--data", tmp_path / "clips", "--json", out,
      "--pictures", tmp_path / "pictures",
  ) == 0
  bicubic, model = json.loads(out.read_text())["results"]
  assert model["scale"] == 4 and model["model"]["folder"] == enlarging
  truth = clip[:, :48, :60].astype(np.float32) / 255
  low = np.round(255 * bicubic_resize(truth, "1/4").clip(0, 1)) / 255
  restored = streaming.restore_clip(
      *released.load(enlarging), low.astype(np.float32)
  )
  assert restored.frames.shape == truth.shape
  for found, frames in (
      (bicubic, bicubic_resize(low.astype(np.float32), 4)),
      (model, restored.frames),
  ):
    rounded = np.round(255 * np.clip(frames, 0, 1).astype(np.float64))
    errors = np.square(
        (rounded - 255.0 * truth) @ [65.481 / 255, 128.553 / 255, 24.966 / 255]
    ).mean((1, 2))
    psnr = np.mean(10 * np.log10(255**2 / errors))
    assert found["mean"]["psnr"] == pytest.approx(psnr, abs=1e-3)
  assert bicubic["mean"]["psnr"] != model["mean"]["psnr"]
  # Frames that are small already are looked at beside their pixels as squares.
  look = tmp_path / "look"
  data = f"--data={tmp_path / 'clips'}"
  assert _run(f"--model={enlarging}", data, f"--pictures={look}") == 0
  assert [p.name for p in look.iterdir()] == ["a_vdsr.png"]


# Lists of clips, as Vimeo-90K's test set has them.


@pytest.fixture
def septuplets(tmp_path):
  """Five clips of three frames as Vimeo-90K lies, and two lists of four."""
  for index in range(5):
    folder = tmp_path / "sequences" / "00001" / f"000{index}"
    _write_clip(folder, seed=index, size=(48, 52))
  # BasicSR's lists say more of a clip; the fifth is in none, as nine are.
  (tmp_path / "fast.txt").write_text(
      "00001/0002 3 (48,52,3)\n\n00001/0000 3 (48,52,3)\n00001/0001 3\n"
  )
  (tmp_path / "slow.txt").write_text("00001/0003\n")
  return tmp_path


def _lists(folder):
  return f"--lists=fast={folder / 'fast.txt'},slow={folder / 'slow.txt'}"


def test_lists_have_means_and_weigh_by_their_clips(septuplets, capsys):
  out = septuplets / "out.json"
  status = _run(
      "--model=bicubic", "--data", septuplets, _lists(septuplets),
      "--frames=centre", "--protocol=sr_y", "--scale=4", "--json", out,
  )
  assert status == 0
  result = json.loads(out.read_text())
  names = [f"00001/000{index}" for index in (2, 0, 1, 3)]
  assert list(result["clips"]) == names and result["frames"] == "centre"
  for metric in ("psnr", "ssim"):
    rows = [result["clips"][name][metric] for name in names]
    lists = {name: row[metric] for name, row in result["lists"].items()}
    assert lists == pytest.approx({"fast": np.mean(rows[:3]), "slow": rows[3]})
    assert result["mean"][metric] == pytest.approx(np.mean(rows))
    average = (3 * lists["fast"] + lists["slow"]) / 4
    assert result["mean"][metric] == pytest.approx(average)
  assert [row["clips"] for row in result["lists"].values()] == [3, 1]
  # The middle frame of each, and it alone.
  clip = _item(seed=2, size=(48, 52))["clean"][1:2] / np.float32(255)
  (alone,) = evaluation.evaluate(
      {"bicubic": evaluation.restorer("bicubic", scale=4)[0]},
      [dict(name="alone", clean=clip, max_value=1)],
      protocols.get("sr_y"),
      scale=4,
  ).values()
  row = result["clips"]["00001/0002"]
  assert row["frames"] == 1
  assert row["ssim"] == pytest.approx(alone.mean["ssim"], abs=1e-9)
  printed = capsys.readouterr().out
  assert "| PSNR (dB) / SSIM | fast " in printed
  cell = "{psnr:.2f} / {ssim:.4f}".format(**result["lists"]["fast"])
  assert cell in printed


def test_the_centre_is_restored_from_the_whole_window(windowed):
  item = _item(frames=5)
  restore, _ = evaluation.restorer(windowed)
  given = dict(sigma=30, examples=1)
  whole = evaluation.evaluate({"it": restore}, [item], FASTDVDNET, **given)
  centre = evaluation.evaluate(
      {
          "it": restore,
          "noisy": None,
          "affine": evaluation.restorer("affine")[0],
      },
      [item],
      FASTDVDNET,
      centre=True,
      **given,
  )
  clean = item["clean"].astype(np.float32) / 255
  noisy = clean + FASTDVDNET.noise.draw(clean.shape, 30)
  restored = streaming.restore_clip(
      *released.load(windowed), noisy, sigma=30 / 255
  ).frames
  for name, frames in (
      ("it", protocols.clamp(restored)),
      ("noisy", noisy),
      ("affine", baselines.affine(noisy, clean)),
  ):
    score = protocols.score(frames[2:3], clean[2:3], FASTDVDNET)["psnr"]
    assert centre[name].mean["psnr"] == pytest.approx(score[0], abs=1e-4), name
  assert whole["it"].clips["clip"]["frames"] == 5
  (example,) = centre["noisy"].examples
  assert example["frame"] == 2
  np.testing.assert_array_equal(example["degraded"], noisy[2])
  np.testing.assert_array_equal(example["clean"], clean[2])
  with pytest.raises(ValueError, match="4 frames, of which none is the centre"):
    evaluation.evaluate(
        {"it": None}, [_item(frames=4)], FASTDVDNET, sigma=30, centre=True
    )


def test_lists_that_do_not_fit_are_refused(septuplets, capsys):
  good = {
      "--model": "noisy",
      "--data": septuplets,
      "--lists": _lists(septuplets).partition("=")[2],
      "--protocol": "fastdvdnet",
      "--sigma": 30,
  }

  def refused(change, fragment):
    arguments = (good | change).items()
    words = [k if v is True else f"{k}={v}" for k, v in arguments if v]
    assert _run(*words) == 2
    line = capsys.readouterr().err
    assert fragment in line and line.count("\n") == 1

  fast = septuplets / "fast.txt"
  refused({"--lists": fast}, "NAME=FILE[,NAME=FILE...]")
  refused({"--lists": f"a={fast},b={fast}"}, "is listed twice")
  refused({"--lists": f"a={septuplets / 'none.txt'}"}, "none.txt, which is no")
  refused({"--data": septuplets / "sequences" / "00001"}, "fast names clip")
  refused({"--truth": septuplets}, "Leave it out for --truth")
  refused({"--protocol": None, "--pictures": septuplets / "p"}, "--lists needs")
  refused({"--frames": "centre", "--temporal-gain": True}, "got centre")
  look = {"--protocol": None, "--pictures": septuplets / "p", "--lists": None}
  refused(look | {"--frames": "centre"}, "--frames=centre needs a --protocol")
  fast.write_text(" \n")
  refused({}, "names no clip")
  with pytest.raises(SystemExit):
    _run(*(f"{k}={v}" for k, v in (good | {"--frames": "middle"}).items()))
  assert "or centre, but got 'middle'" in capsys.readouterr().err


def test_degraded_clips_are_paired_with_their_truth(tmp_path):
  truth = _write_clip(tmp_path / "truth" / "a")
  degraded = _write_clip(tmp_path / "rain" / "a", seed=1)
  out = tmp_path / "out.json"
  status = _run(
      "--model=noisy", "--data", tmp_path / "rain", "--truth",
      tmp_path / "truth", "--protocol=sr_y", "--json", out,
  )
  assert status == 0
  expected = protocols.score(
      degraded / 255.0, truth / 255.0, protocols.get("sr_y")
  )
  result = json.loads(out.read_text())
  assert result["mean"]["psnr"] == pytest.approx(expected["psnr"].mean(), 1e-6)
  assert result["sigma"] is None


def test_numbers_on_both_colours_and_pictures_come_in_one_run(tmp_path):
  _write_clip(tmp_path / "truth" / "a")
  _write_clip(tmp_path / "rain" / "a", seed=1)
  out = tmp_path / "out.json"
  status = _run(
      "--model=degraded,affine", "--data", tmp_path / "rain", "--truth",
      tmp_path / "truth", "--protocol=rgb_uint8,y_uint8", "--json", out,
      "--pictures", tmp_path / "pictures",
  )
  assert status == 0
  degraded, affine = json.loads(out.read_text())["results"]
  assert affine["mean"]["psnr"] > degraded["mean"]["psnr"]
  assert degraded["also"]["y_uint8"]["colour"] == "y601"
  assert degraded["clips"]["a"]["y_uint8/psnr"] == (
      degraded["mean"]["y_uint8/psnr"]
  )
  pictures = sorted(p.name for p in (tmp_path / "pictures").iterdir())
  assert pictures == ["a_affine.png", "a_degraded.png"]


def _distance(one, other):
  """Stands in for LPIPS, which nobody here has the weights of."""
  return np.abs(one - other).mean()


def test_one_run_gives_every_protocol_with_intervals_and_a_manifest(
    tmp_path, capsys, monkeypatch
):
  for seed, name in enumerate("ab"):
    _write_clip(tmp_path / "clips" / name, frames=7, seed=seed, size=(48, 52))
  monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))
  out = tmp_path / "out.json"
  arguments = (
      "--model=noisy,median3", "--data", tmp_path / "clips", "--protocol=all",
      "--sigma=20", "--metrics=ad,warping_error",
      "--lpips=test_evaluate:_distance", "--json", out,
  )
  assert _run(*arguments) == 0
  noisy, median = json.loads(out.read_text())["results"]
  # The noise is the denoisers'; and all that measures images is there.
  assert noisy["protocol"] == "fastdvdnet"
  assert {"fastdvdnet", *noisy["also"]} == set(protocols.of_images())
  assert noisy["mean"]["psnr"] == pytest.approx(22.11, abs=0.1)
  further = {"ad", "warping_error", "lpips", "tlp100", "tecogan/tof"}
  assert further < set(noisy["mean"])
  assert noisy["clips"]["a"]["frames"] == 7
  # Between two clips lies the mean, and no more is known.
  for result in (noisy, median):
    values = [result["clips"][name]["vnlnet/psnr"] for name in "ab"]
    assert result["intervals"]["mean"]["vnlnet/psnr"] == sorted(values)
  gain = median["gain"]
  assert gain["over"] == "noisy" and "gain" not in noisy
  gains = [
      median["clips"][name]["psnr"] - noisy["clips"][name]["psnr"]
      for name in "ab"
  ]
  assert gain["mean"]["psnr"] == pytest.approx(np.mean(gains))
  assert gain["intervals"]["psnr"] == pytest.approx(sorted(gains))
  manifest = noisy["manifest"]
  assert manifest["command"][3:] == [str(word) for word in arguments]
  assert manifest["frames"] == {"a": 7, "b": 7}
  assert manifest["noise_seed"] == 1000
  assert manifest["versions"]["jax"] == jax.__version__
  printed = capsys.readouterr().out
  assert f"median3 over noisy: {np.mean(gains):+.2f} dB" in printed
  assert f"{noisy['mean']['tecogan/tof']:.4f}" in printed

  truth = tmp_path / "clips" / "a"  # One clip, degraded already, and equal.
  assert _run(
      "--model=degraded", "--data", truth, "--truth", truth, "--protocol=all",
      "--json", out,
  ) == 0
  result = json.loads(out.read_text())
  assert result["protocol"] == "basicsr" and result["mean"]["psnr"] == 100
  assert result["mean"]["tecogan/tof"] == 0
  assert result["intervals"]["mean"] is None
  assert "One clip" in capsys.readouterr().out


def test_examples_are_of_frames_that_count_and_show_the_first_stage():
  item = _item(frames=7)

  def restore(clip, sigma):
    return Restored(clip, {"pre_denoised": clip + 2})

  protocol = dataclasses.replace(FASTDVDNET, drop_ends=2)
  result = evaluation.evaluate(
      {"it": restore}, [item], protocol, sigma=20, examples=1
  )["it"]
  assert result.clips["clip"]["frames"] == 3
  (example,) = result.examples
  assert example["frame"] == 4 and (example["pre_denoised"] == 1).all()
  clean = item["clean"][4].astype(np.float32) / 255
  np.testing.assert_array_equal(example["clean"], clean)
  error = np.square(example["restored"].astype(np.float64) - clean).mean()
  assert example["psnr"] == pytest.approx(10 * np.log10(1 / error), abs=1e-5)


def test_clips_without_truth_are_only_looked_at(tmp_path, capsys):
  _write_clip(tmp_path / "clips" / "a")
  arguments = ["--data", tmp_path / "clips", "--pictures", tmp_path / "out"]
  assert _run("--model=median3", *arguments) == 0
  picture = tmp_path / "out" / "a_median3.png"
  assert f"a, median3: {picture}" in capsys.readouterr().out
  assert [p.name for p in (tmp_path / "out").iterdir()] == [picture.name]
  assert _run("--model=noisy", *arguments) == 2
  assert "restores nothing" in capsys.readouterr().err


def test_frames_are_paired_by_name_and_not_by_position(tmp_path):
  _write_clip(tmp_path / "truth")
  _write_clip(tmp_path / "rain")
  item, = evaluation.folder_clips(tmp_path / "rain", tmp_path / "truth")
  np.testing.assert_array_equal(item["degraded"], item["clean"])
  for t in (2, 1, 0):  # The same frames, called 1 to 3.
    (tmp_path / "rain" / f"{t}.png").rename(tmp_path / f"rain/{t + 1}.png")
  with pytest.raises(ValueError, match="Frame 0 .* only among the clean frame"):
    next(evaluation.folder_clips(tmp_path / "rain", tmp_path / "truth"))


def test_wrong_commands_end_in_one_line(tmp_path, model, capsys):
  clip, other = tmp_path / "clip", tmp_path / "other"
  _write_clip(clip)
  _write_clip(other, frames=2)
  good = {
      "--model": "noisy",
      "--data": clip,
      "--protocol": "fastdvdnet",
      "--sigma": 30,
      "--json": tmp_path / "out.json",
  }

  def refused(change, *fragments):
    arguments = good | change
    words = (k if v is True else f"{k}={v}" for k, v in arguments.items()
             if v is not None)
    status = _run(*words)
    line = capsys.readouterr().err
    assert status == 2 and line.startswith("error: ") and line.count("\n") == 1
    for fragment in fragments:
      assert fragment in line

  refused({"--data": tmp_path / "no"}, "no")
  refused({"--model": tmp_path / "no"}, "no model folder", "median5")
  refused({"--model": "noisy,noisy"}, "each model once")
  refused({"--temporal-gain": True}, "needs a released model")
  refused({"--protocol": "psnr"}, "fastdvdnet")
  refused({"--metrics": "vmaf"}, "no 'vmaf'", "ad, tof, warping_error")
  refused({"--lpips": "no_such:thing"}, "names no function")
  refused({"--protocol": "tecogan", "--truth": clip}, "5 or more", "got 3")
  refused({"--sigma": None}, "--sigma=30")
  refused({"--sigma": 300}, "0 and 255")
  refused({"--frames": 0}, "at least 1")
  refused({"--truth": other}, "Frame 2", "only among the degraded frames")
  refused({"--data": ""}, "No folder of clips was named")
  refused({"--json": tmp_path / "no" / "out.json"}, "no folder")
  refused({"--paper": "vid4"}, "davis, set8")
  refused({"--protocol": "sr_y"}, "--truth", "--scale=4")
  refused({"--protocol": None}, "--protocol says how", "--pictures=FOLDER")
  look = {"--protocol": None, "--pictures": tmp_path / "p"}
  refused(look, "--json needs a --protocol")
  refused({"--scale": 4}, "noisy keeps the size")
  refused({"--scale": 0}, "--scale is at least 1")
  refused({"--scale": 4, "--truth": clip}, "leave out --truth")
  assert not (tmp_path / "p").exists()
  assert not (tmp_path / "out.json").exists()


# Real clips.


@pytest.fixture
def clips(real_data):
  return real_data / "clips"


@pytest.mark.slow
def test_bicubic_reaches_matlabs_published_ssim(clips, tmp_path):
  """Vid4's BI row of the SR tables, over all frames."""
  for name in ("vid4_city", "vid4_walk"):
    (tmp_path / "clips").mkdir(exist_ok=True)
    (tmp_path / "clips" / name).symlink_to(clips / name)
  out = tmp_path / "out.json"
  status = _run(
      "--model=bicubic", "--data", tmp_path / "clips", "--protocol=sr_y",
      "--scale=4", "--json", out,
  )
  assert status == 0
  result = json.loads(out.read_text())
  assert result["clips"]["vid4_city"]["frames"] == 34
  assert result["clips"]["vid4_walk"]["frames"] == 47
  assert abs(result["clips"]["vid4_city"]["ssim"] - 0.6028) < 3e-4
  assert abs(result["clips"]["vid4_walk"]["ssim"] - 0.7974) < 3e-4


@pytest.mark.parametrize(
    ("clip", "truth", "expected"),
    [
        ("rgbd_hazy_b0.6_A0.85", "rgbd_clean", (10.8, 19.8)),
        ("videnn_tennis_noisy", "videnn_tennis_clean", (16.4, 18.4)),
        ("ntu_a1_rain", "ntu_a1_gt", (28.3, 28.5)),
    ],
)
def test_affine_reaches_what_needs_no_network(clips, clip, truth, expected):
  (item,) = evaluation.folder_clips(clips / clip, clips / truth)
  clean, degraded = evaluation.prepare(
      item, protocols.get("rgb_uint8"), None
  )
  for frames, value in zip(
      (degraded, baselines.affine(degraded, clean)), expected
  ):
    error = np.square(frames - clean).mean((1, 2, 3), np.float64)
    assert abs(np.mean(10 * np.log10(1 / error)) - value) < 0.06


def _measure(clips, names, sigma):
  restorers = {name: evaluation.restorer(name)[0] for name in names}
  results = evaluation.evaluate(
      restorers,
      evaluation.folder_clips(clips, frames=10),
      FASTDVDNET,
      sigma=sigma,
      frames=10,
  )
  return [result.mean["psnr"] for result in results.values()]


@pytest.mark.parametrize(("sigma", "expected"), [(20, 22.11), (50, 14.15)])
def test_noisy_real_clip_has_the_known_psnr(clips, sigma, expected):
  values = _measure(clips / "davis_drift-chicane", ["noisy"], sigma)
  assert values == pytest.approx([expected], abs=0.005)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [("davis_drift-chicane", [25.23, 26.32]), ("vid4_walk", [25.07, 24.96])],
)
def test_medians_reach_what_others_measured(clips, clip, expected):
  # Measured elsewhere under another draw of the noise, hence the tolerance.
  values = _measure(clips / clip, ["median3", "median5"], 30)
  assert values == pytest.approx(expected, abs=0.03)


def test_procedural_clips_need_no_folder_and_no_truth(tmp_path, capsys):
  out = tmp_path / "out.json"
  arguments = ["--data=procedural", "--protocol=fastdvdnet", "--sigma=30"]
  status = evaluate.main(
      ["--model=noisy", *arguments, "--frames=1", f"--json={out}"]
  )
  assert status == 0
  results = json.loads(out.read_text())
  assert len(results["clips"]) == 8
  # 20 log10(255 / 30), whatever the clip: the input is not clipped.
  assert abs(results["mean"]["psnr"] - 18.588) < 0.1
  assert evaluate.main(["--model=noisy", *arguments, "--truth=x"]) == 2
  assert "leave out --truth" in capsys.readouterr().err
