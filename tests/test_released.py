import hashlib
import json
import os

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors

import vidrestore_jax
from vidrestore_jax import models, released

TINY = dict(levels=2, widths=(4, 6))
BIAS = "params/level_1/conv_0/conv/bias"


@pytest.fixture(scope="module")
def variables():
  frame = np.zeros((1, 8, 8, 3), np.float32)
  model = models.build("spynet", **TINY)
  return jax.jit(model.init)(jax.random.key(0), frame, frame)


@pytest.fixture
def folder(tmp_path, variables):
  path = tmp_path / "model"
  released.save(path, name="spynet", kwargs=TINY, variables=variables)
  return path


def _exchange_weights(folder, change):
  """Rewrites the tensors by `change`, and the card's sum to fit."""
  tensors = safetensors.load_file(folder / released.WEIGHTS)
  change(tensors)
  (folder / released.WEIGHTS).write_bytes(safetensors.save(tensors))
  card = json.loads((folder / released.CARD).read_text())
  card["weights_sha256"] = released.file_sha256(folder / released.WEIGHTS)
  (folder / released.CARD).write_text(json.dumps(card))


def test_load_gives_back_what_was_saved(folder, variables):
  model, loaded = vidrestore_jax.load(folder)
  assert model == models.build("spynet", **TINY)
  assert jax.tree.structure(loaded) == jax.tree.structure(dict(variables))
  jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_what_training_recomputed_is_not_of_a_released_model(
    tmp_path, variables
):
  path = tmp_path / "model"
  kwargs = TINY | {"remat": "block"}
  released.save(path, name="spynet", kwargs=kwargs, variables=variables)
  card = json.loads((path / released.CARD).read_text())
  assert set(card["kwargs"]) == set(TINY)
  card["kwargs"]["remat"] = False  # As it was said before it had names.
  (path / released.CARD).write_text(json.dumps(card))
  assert vidrestore_jax.load(path)[0] == models.build("spynet", **TINY)


def test_the_statistics_of_a_normalisation_belong_to_a_model(tmp_path):
  kwargs = dict(widths=(2, 2, 2), interm=1, noise_map=False)
  model = models.build("fastdvdnet", **kwargs)
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), np.zeros((1, 5, 4, 4, 3), "float32"), None
  )
  variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, "float32"), shapes)
  given = dict(name="fastdvdnet", kwargs=kwargs)
  released.save(tmp_path / "model", **given, variables=variables)
  _, loaded = vidrestore_jax.load(tmp_path / "model")
  jax.tree.map(np.testing.assert_array_equal, loaded, dict(variables))
  with pytest.raises(ValueError, match="batch_stats/temp1/downc0/.* missing"):
    released.save(
        tmp_path / "bare", **given,
        variables={"params": variables["params"]},
    )


def test_the_card_says_what_the_weights_are(tmp_path, variables):
  path = tmp_path / "model"
  numbers = {"epe": np.float32(0.5), "protocol": "own"}
  released.save(
      path,
      name="spynet",
      kwargs=TINY | {"dtype": np.dtype("float32")},
      variables=variables,
      task="optical_flow",
      numbers=numbers,
  )
  card = json.loads((path / "model.json").read_text())
  assert card["name"] == "spynet" and card["task"] == "optical_flow"
  assert card["kwargs"] == {"levels": 2, "widths": [4, 6], "dtype": "float32"}
  assert card["numbers"] == {"epe": 0.5, "protocol": "own"}
  tensors = safetensors.load_file(path / "weights.safetensors")
  assert tensors[BIAS].shape == (4,)
  assert sorted(os.listdir(path)) == ["model.json", "weights.safetensors"]


def test_bfloat16_kwargs_survive(tmp_path, variables):
  path = tmp_path / "model"
  kwargs = TINY | {"dtype": jax.numpy.bfloat16}
  released.save(path, name="spynet", kwargs=kwargs, variables=variables)
  model, _ = released.load(path)
  assert model.dtype == "bfloat16"


def test_saving_again_replaces_the_model(folder, variables):
  other = jax.tree.map(lambda leaf: leaf + 1, variables)
  released.save(folder, name="spynet", kwargs=TINY, variables=other)
  _, loaded = released.load(folder)
  jax.tree.map(np.testing.assert_array_equal, loaded, other)
  assert os.listdir(folder.parent) == ["model"]


def test_a_folder_of_other_things_is_not_replaced(tmp_path, variables):
  (tmp_path / "thesis.tex").write_text("chapter 1")
  with pytest.raises(FileExistsError, match="not a released model"):
    released.save(tmp_path, name="spynet", kwargs=TINY, variables=variables)
  assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_failed_save_leaves_the_old_model_whole(
    folder, variables, monkeypatch
):
  before = (folder / released.WEIGHTS).read_bytes()

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(released, "file_sha256", full)
  other = jax.tree.map(lambda leaf: leaf + 1, variables)
  with pytest.raises(OSError, match="No space left"):
    released.save(folder, name="spynet", kwargs=TINY, variables=other)
  assert (folder / released.WEIGHTS).read_bytes() == before
  assert os.listdir(folder.parent) == ["model"]


def test_nothing_that_is_not_finite_is_saved(tmp_path, variables):
  broken = jax.tree.map(lambda leaf: leaf * np.nan, variables)
  with pytest.raises(ValueError, match="NaN"):
    released.save(
        tmp_path / "model", name="spynet", kwargs=TINY, variables=broken
    )
  assert not os.listdir(tmp_path)


def test_variables_of_another_model_are_not_saved(tmp_path, variables):
  with pytest.raises(ValueError, match="left over"):
    released.save(
        tmp_path / "model",
        name="spynet",
        kwargs=TINY | {"levels": 1},
        variables=variables,
    )


def test_missing_and_left_over_tensors_are_named(folder):
  def change(tensors):
    tensors["params/other"] = tensors.pop(BIAS)

  _exchange_weights(folder, change)
  with pytest.raises(
      ValueError, match=f"{BIAS} missing; params/other left over"
  ):
    released.load(folder)


def test_a_tensor_of_another_shape_is_named(folder):
  def change(tensors):
    tensors[BIAS] = np.zeros(5, np.float32)

  _exchange_weights(folder, change)
  with pytest.raises(ValueError, match=rf"{BIAS} has shape \(5,\).*\(4,\)"):
    released.load(folder)


def test_nan_in_weights_is_refused(folder):
  def change(tensors):
    tensors[BIAS][1] = np.nan

  _exchange_weights(folder, change)
  with pytest.raises(ValueError, match=f"NaN or infinite values in {BIAS}"):
    released.load(folder)


def test_damaged_weights_are_noticed(folder):
  path = folder / released.WEIGHTS
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(data)
  with pytest.raises(ValueError, match="sha256 differs"):
    released.load(folder)


def test_what_is_no_released_folder_is_said_so(folder, tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no model folder .*nowhere"):
    released.load(tmp_path / "nowhere")
  with pytest.raises(FileNotFoundError, match=r"name .*model instead"):
    released.load(tmp_path)  # A workdir: the model is one level down.
  (folder / released.WEIGHTS).unlink()
  with pytest.raises(FileNotFoundError, match="weights are missing"):
    released.load(folder)
  (folder / released.CARD).write_text("{")
  with pytest.raises(ValueError, match="is not JSON"):
    released.load(folder)
  (folder / released.CARD).write_text("{}")
  with pytest.raises(ValueError, match="needs the keys format, kwargs"):
    released.load(folder)


def test_a_model_that_does_not_exist_is_named(folder):
  card = json.loads((folder / released.CARD).read_text())
  (folder / released.CARD).write_text(json.dumps(card | {"name": "vrt"}))
  with pytest.raises(ValueError, match=r"model\.json cannot be built: .*'vrt'"):
    released.load(folder)


def test_params_sha256_is_over_bytes_in_sorted_path_order():
  first = np.array([1.0, 2.0], np.float32)
  second = np.array([[3.0]], np.float32)
  expected = hashlib.sha256(first.tobytes() + second.tobytes()).hexdigest()
  assert released.params_sha256({"b": second, "a": {"x": first}}) == expected
  assert released.params_sha256({"a": {"x": first}, "b": second}) == expected
  assert released.params_sha256({"a": second, "b": first}) != expected


def test_the_packages_own_model_is_small_and_restores():
  files = list(released.PACKAGED.iterdir())
  assert {path.name for path in files} == {released.CARD, released.WEIGHTS}
  assert sum(path.stat().st_size for path in files) <= 10_000_000
  model, _ = vidrestore_jax.load()
  assert model.noise_map and model.scale == 1
  clean = np.full((5, 64, 64, 3), 0.5, np.float32)
  clean[:, :, 32:] = 0.3
  noise = np.random.default_rng(0).normal(0, 0.1, clean.shape)
  noisy = (clean + noise).astype(np.float32)
  restored = vidrestore_jax.restore(noisy)
  assert np.square(restored - clean).mean() < 0.1 * np.square(noise).mean()
