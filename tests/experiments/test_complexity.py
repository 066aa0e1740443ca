"""The costs that experiments.complexity counts, against counts by hand."""

import json
import os
import pathlib
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from experiments import complexity, paper_numbers, tracing
from vidrestore_jax import released
from vidrestore_jax.shapes import Restored


def shape(*dims):
  return jax.ShapeDtypeStruct(dims, jnp.float32)


def macs_of(module, *inputs):
  """MACs of `module` by name stack, on shapes only."""
  variables = jax.eval_shape(module.init, jax.random.key(0), *inputs)
  return tracing.count_macs(module.apply, variables, *inputs)


@pytest.mark.parametrize(
    ("module", "channels", "expected"),
    [
        # 6x10 outputs, 3x3 taps, 4 -> 8 channels; the border counts in full.
        (nn.Conv(8, (3, 3)), 4, 60 * 9 * 4 * 8),
        (nn.Conv(8, (1, 1)), 4, 60 * 4 * 8),
        # Stride 2 computes 3x5 outputs.
        (nn.Conv(8, (3, 3), strides=2), 4, 15 * 9 * 4 * 8),
        # Two groups: each output sees 2 of the 4 channels.
        (nn.Conv(8, (3, 3), feature_group_count=2), 4, 60 * 9 * 2 * 8),
        # Depthwise: each output sees one channel.
        (nn.Conv(4, (5, 5), feature_group_count=4), 4, 60 * 25 * 4),
        # Dilation spreads the taps and does not add any.
        (nn.Conv(8, (3, 3), kernel_dilation=2), 4, 60 * 9 * 4 * 8),
        # Transposed, stride 2: each of the 60 inputs meets each tap once.
        (nn.ConvTranspose(8, (3, 3), strides=(2, 2)), 4, 60 * 9 * 4 * 8),
        (nn.ConvTranspose(8, (4, 4), strides=(2, 2)), 4, 60 * 16 * 4 * 8),
        # A matrix product at each of the 60 positions.
        (nn.Dense(7), 4, 60 * 4 * 7),
    ],
)
def test_one_layer_costs_what_the_hand_counts(module, channels, expected):
  assert macs_of(module, shape(1, 6, 10, channels)).total() == expected


def test_products_count_batch_free_and_contracted_axes():
  macs = tracing.count_macs(
      lambda a, b: jnp.einsum("bik,bjk->bij", a, b),
      shape(2, 3, 5),
      shape(2, 7, 5),
  )
  assert macs.total() == 2 * 3 * 7 * 5


def test_elementwise_work_and_pooling_are_no_macs():
  macs = tracing.count_macs(
      lambda x: nn.avg_pool(jnp.tanh(x) * x, (2, 2), (2, 2)), shape(1, 8, 8, 3)
  )
  assert macs.total() == 0


def test_scan_counts_its_body_as_often_as_it_runs():
  def fn(weight, xs):
    return jax.lax.scan(lambda h, x: (h @ weight + x, None), xs[0], xs)[0]

  assert tracing.count_macs(fn, shape(4, 4), shape(5, 4)).total() == 5 * 16


def test_scan_equals_the_unrolled_loop():
  def rolled(weight, xs, unroll):
    body = jax.checkpoint(lambda h, x: (jax.jit(jnp.matmul)(h, weight), x))
    return jax.lax.scan(body, xs[0], xs, unroll=unroll)

  counts = [
      tracing.count_macs(
          lambda w, x, n=n: rolled(w, x, n), shape(4, 4), shape(6, 4)
      ).total()
      for n in (1, 2, 6)
  ]
  assert counts == [6 * 16] * 3


def test_cond_counts_its_dearest_branch():
  def fn(flag, x, narrow, wide):
    return jax.lax.cond(
        flag, lambda: (x @ narrow).sum(), lambda: (x @ wide).sum()
    )

  macs = tracing.count_macs(
      fn, jax.ShapeDtypeStruct((), bool), shape(3, 4), shape(4, 1), shape(4, 9)
  )
  assert macs.total() == 3 * 4 * 9


def test_custom_derivatives_count_the_forward_program_once():
  @jax.custom_vjp
  def product(a, b):
    return a @ b

  product.defvjp(lambda a, b: (a @ b, (a, b)), lambda res, g: (g, g))
  macs = tracing.count_macs(product, shape(3, 3), shape(3, 3))
  assert macs.total() == 27


def test_a_while_loop_with_products_is_refused_by_name():
  def fn(x):
    return jax.lax.while_loop(lambda y: y.sum() < 1, lambda y: y @ y, x)

  with pytest.raises(ValueError, match="`while`"):
    tracing.count_macs(fn, shape(3, 3))
  # One without is no obstacle.
  free = tracing.count_macs(
      lambda x: jax.lax.while_loop(lambda y: y.sum() < 1, jnp.tanh, x), shape(3)
  )
  assert free.total() == 0


class Block(nn.Module):
  """Two convolutions, one level further down."""

  features: int

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(self.features, (3, 3), name="first")(x))
    return nn.Conv(self.features, (1, 1), name="last")(x)


class Recurrent(nn.Module):
  """A recurrent restorer with each kind of cost, small enough to count.

  Also stands for what transformations do to name stacks: `tail` is wrapped in
  `nn.remat`, and a clip is a `nn.scan` of the step.
  """

  recurrent = True
  stride = 4
  radius = None
  scale = 1
  halo = None
  channels = 3
  noise_map = True

  def setup(self):
    self.head = Block(8)
    self.tail = nn.remat(Block)(3)
    self.mix = self.param("mix", nn.initializers.ones, (3, 3))

  def init_state(self, frame):
    return jnp.zeros((*frame.shape[:-1], 8))

  def step(self, state, frame, noise):
    state = self.head(jnp.concatenate([frame, noise, state], -1))
    return state, Restored(self.tail(state) @ self.mix + frame, {})

  def __call__(self, clip, noise):
    body = nn.scan(
        lambda module, state, frame: module.step(state, frame, noise),
        variable_broadcast="params",
        split_rngs={"params": False},
        in_axes=1,
        out_axes=1,
    )
    return body(self, self.init_state(clip[:, 0]), clip)[1]


HEAD = 9 * 12 * 8 + 8 * 8  # MACs per pixel.
TAIL = 9 * 8 * 3 + 3 * 3
MIX = 3 * 3


def test_modules_get_their_own_costs_and_add_up():
  total, modules = complexity.measure(Recurrent(), width=16, height=8)
  assert {name: cost.macs for name, cost in modules.items()} == {
      complexity.OWN: 128 * MIX,
      "head": 128 * HEAD,
      "tail": 128 * TAIL,
  }
  # Kernels and biases of two convolutions each, and the matrix.
  assert {name: cost.params for name, cost in modules.items()} == {
      complexity.OWN: 9,
      "head": HEAD + 8 + 8,
      "tail": TAIL + 3 + 3,
  }
  assert total.macs == 128 * (HEAD + TAIL + MIX)
  assert total.gflops == 2 * total.macs / 1e9


def test_depth_divides_the_same_total():
  total, modules = complexity.measure(Recurrent(), width=16, height=8, depth=2)
  assert modules["head/first"].macs == 128 * 9 * 12 * 8
  assert modules["tail/last"] == complexity.Cost(3 * 3 + 3, 128 * 9)
  assert total == complexity.measure(Recurrent(), width=16, height=8)[0]
  assert sum(cost.macs for cost in modules.values()) == total.macs


def test_padded_sizes_pay_for_the_pixels_asked_for():
  # 15x7 is traced as 16x8; 105 of its 128 pixels are charged.
  total, modules = complexity.measure(Recurrent(), width=15, height=7)
  assert modules["head"].macs == 105 * HEAD
  assert total.macs == 105 * (HEAD + TAIL + MIX)


def test_a_clip_through_scan_costs_its_frames():
  model = Recurrent()
  clip, noise = shape(1, 5, 8, 16, 3), shape(1, 8, 16, 1)
  stacks = macs_of(model, clip, noise)
  assert stacks.total() == 5 * 128 * (HEAD + TAIL + MIX)
  params = {("head", "first", "kernel"), ("tail", "last", "kernel"), ("mix",)}
  by_module = {}
  for stack, macs in stacks.items():
    module = complexity.module_of(stack, params, 1)
    by_module[module] = by_module.get(module, 0) + macs
  assert by_module["tail"] == 5 * 128 * TAIL


class Window(nn.Module):
  """A windowed restorer: the centre frame from three."""

  recurrent = False
  stride = 1
  radius = 1
  scale = 1
  halo = 0
  channels = 3
  noise_map = False

  @nn.compact
  def __call__(self, window, noise):
    assert noise is None
    frames = jnp.concatenate([window[:, t] for t in range(3)], -1)
    return Restored(nn.Conv(3, (1, 1), name="fuse")(frames), {})


def test_a_windowed_model_pays_for_its_whole_window():
  _, modules = complexity.measure(Window(), width=10, height=6)
  assert modules == {"fuse": complexity.Cost(9 * 3 + 3, 60 * 9 * 3)}


class Clip(nn.Module):
  """A bidirectional restorer: pairs of frames, and then each by itself."""

  recurrent = False
  bidirectional = True
  stride = 1
  radius = None
  scale = 1
  halo = 0
  channels = 3
  noise_map = False

  @nn.compact
  def __call__(self, clip, noise):
    assert noise is None
    pairs = jnp.concatenate([clip[:, 1:], clip[:, :-1]], -1)
    pairs = nn.Conv(3, (1, 1), name="pair")(pairs)
    pairs = jnp.pad(pairs, ((0, 0), (1, 0), *[(0, 0)] * 3))
    return Restored(nn.Conv(3, (1, 1), name="single")(clip + pairs), {})


def test_a_bidirectional_model_costs_what_one_frame_more_adds():
  """Not a clip's cost by its frames, of which the first has no pair."""
  total, modules = complexity.measure(Clip(), width=10, height=6)
  assert modules == {
      "pair": complexity.Cost(6 * 3 + 3, 60 * 6 * 3),
      "single": complexity.Cost(3 * 3 + 3, 60 * 3 * 3),
  }
  assert total.macs == 60 * 9 * 3
  # The memory is a whole clip's.
  clip = 5 * 60 * 3 * 4
  assert complexity.peak_memory(Clip(), width=10, height=6) >= 2 * clip


def test_peak_memory_holds_at_least_inputs_and_outputs():
  memory = complexity.peak_memory(Recurrent(), width=64, height=64)
  params = HEAD + 16 + TAIL + 6 + MIX
  inputs = params + 64 * 64 * (8 + 3 + 1)  # State, frame and noise map.
  outputs = 64 * 64 * (8 + 3)
  assert memory >= 4 * (inputs + outputs)
  # Feature maps of 8 channels, of which a few live at once, and no more.
  assert memory <= 4 * (inputs + outputs) + 4 * 64 * 64 * 8 * 8


@pytest.fixture
def config_file(tmp_path):
  path = tmp_path / "tiny.py"
  path.write_text("""
import ml_collections

def get_config(arg=""):
  if arg not in ("", "small"):
    raise ValueError(f"Unknown variant {arg!r}: the variants are small.")
  config = ml_collections.ConfigDict(dict(
      dtype="float32", model=dict(name="spynet", levels=1 if arg else 2)))
  return config.lock()
""")
  return str(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size=960"], "WIDTHxHEIGHT"),
        (["--size=0x540"], "WIDTHxHEIGHT"),
        (["--size=9x9", "--depth=0"], "--depth=0"),
        (["--size=9x9", "--sise=3"], "--sise=3"),
        (["--size=9x9", "--config.model.width=3"], "config.model.width"),
        (["--size=9x9", "--config.model.levels=two"], "levels"),
        (["--size=9x9", "--config.model.name=spynot"], "spynet"),
    ],
)
def test_a_mistake_is_one_line_and_status_two(
    config_file, arguments, said, capsys
):
  assert complexity.main([f"--config={config_file}", *arguments]) == 2
  captured = capsys.readouterr()
  assert captured.err.startswith("error: ")
  assert captured.err.count("\n") == 1
  assert said in captured.err


def test_an_unknown_config_is_one_line_that_names_it(config_file, capsys):
  assert complexity.main(["--config=nowhere.py", "--size=9x9"]) == 2
  assert "nowhere.py" in capsys.readouterr().err
  assert complexity.main([f"--config={config_file}:big", "--size=9x9"]) == 2
  assert "the variants are small" in capsys.readouterr().err


# Point 3 of the issue: the ablations of the paper's table, and section 6 of
# the reconstruction for the modules (MAC/px of SpyNet on a 544-row frame).
NCFL_GFLOPS = {
    "m_a": 534.0,
    "m_b": 549.6,
    "m_c": 557.3,
    "m_d": 611.4,
    "m_e": 640.9,
    "m_f": 769.5,
}
MODULE_GFLOPS = {
    "motion": 331.6,
    "restoration": 202.5,
    "motion_refiner": 15.6,
    "compression": 61.8,
    "feature_refiner": 91.4,
    "attention": 158.1,
}
STAND_IN_MODULE_GFLOPS = {"m_c": {"motion_refiner": 23.3}}  # M-Conv.
CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
DAVIS = CONFIGS / "ncfl_davis.py"
FASTDVDNET = CONFIGS / "fastdvdnet_davis.py"


@pytest.mark.parametrize("variant", NCFL_GFLOPS)
def test_ncfl_variants_cost_what_the_paper_says(variant, tmp_path):
  out = tmp_path / "cost.json"
  argv = [f"--config={DAVIS}:{variant}", "--size=960x540", f"--json={out}"]
  assert complexity.main([*argv, "--nomemory"]) == 0
  result = json.loads(out.read_text())
  assert result["gflops"] == pytest.approx(NCFL_GFLOPS[variant], rel=5e-3)
  published = paper_numbers.GFLOPS[variant.replace("m_", "M_")]
  assert result["gflops"] == pytest.approx(published, rel=5e-3)
  assert result["gflops"] == 2 * result["macs"] / 1e9
  assert sum(m["macs"] for m in result["modules"].values()) == result["macs"]
  assert result["size"] == "960x540"
  expected = MODULE_GFLOPS | STAND_IN_MODULE_GFLOPS.get(variant, {})
  for name, cost in result["modules"].items():
    assert cost["gflops"] == pytest.approx(expected[name], rel=5e-3), name


def test_fastdvdnet_costs_half_as_a_stream(tmp_path):
  out = tmp_path / "cost.json"
  argv = [f"--config={FASTDVDNET}", "--size=448x256", f"--json={out}"]
  assert complexity.main([*argv, "--nomemory"]) == 0
  result = json.loads(out.read_text())
  assert result["params"] == 2_479_096
  assert result["macs"] == 636_192 * 448 * 256  # 72.96 GMAC.
  assert result["modules"]["temp1"]["macs"] == 3 * 159_048 * 448 * 256
  assert result["streamed_gflops"] == result["gflops"] / 2


def test_a_model_is_named_or_is_a_released_folder(tmp_path, capsys):
  out, folder = tmp_path / "cost.json", tmp_path / "bicubic"
  released.save(folder, name="bicubic", kwargs={"scale": 2}, variables={})
  size = ["--size=180x120", f"--json={out}", "--nomemory"]
  assert complexity.main([f"--model={folder}", *size]) == 0
  found = json.loads(out.read_text())
  assert (found["model"], found["params"]) == ("bicubic", 0)
  assert complexity.main(["--model=vdsr", *size]) == 0
  found = json.loads(out.read_text())
  assert found["params"] == 665_921
  assert found["macs"] == pytest.approx(0.2297e12, rel=5e-3)
  for wrong, text in (
      (["--model=nowhere", *size], "neither a released folder nor one of"),
      (["--model=vdsr", *size, "--config.seed=1"], "--config.seed changes"),
  ):
    assert complexity.main(wrong) == 2
    assert text in capsys.readouterr().err


def test_the_command_runs_from_the_checkout(config_file, tmp_path):
  out = tmp_path / "deep" / "cost.json"
  done = subprocess.run(
      [
          *(sys.executable, "-m", "experiments.complexity", "--size=64x32"),
          f"--config={config_file}:small",
          f"--json={out}",
      ],
      capture_output=True,
      text=True,
      check=True,
      env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )
  result = json.loads(out.read_text())
  # One level: 7x7 convolutions 8 -> 32 -> 64 -> 32 -> 16 -> 2.
  weights = 49 * (8 * 32 + 32 * 64 + 64 * 32 + 32 * 16 + 16 * 2)
  assert result["macs"] == weights * 64 * 32
  assert result["params"] == weights + 32 + 64 + 32 + 16 + 2
  assert result["peak_memory_bytes"] > 4 * result["params"]
  assert "total" in done.stdout and "peak memory" in done.stdout
  assert [p.name for p in out.parent.iterdir()] == ["cost.json"]
