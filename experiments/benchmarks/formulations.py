"""Is another form of a convolution faster than ours? Those that were tried.

  python -m experiments.benchmarks.formulations [--cases=LIST] [--threads=2] \\
      [--repeats=9] [--row-seconds=20] [--budget=600] [--small] [--json=OUT]

Each case is a layer of FastDVDnet or NCFL in float32 at the size of a frame of
854x480, or its gradients at that of training: in the form that
`vidrestore_jax.layers.convolution` gives it on this machine ("ours"), in XLA's
own, and in others that compute the same. All forms' outputs are compared with
ours before the clock starts; then they take turns, two calls each, of which the
second counts.

Of the others: "taps" sums a product for each tap of the kernel, "columns" is
one product of all taps side by side (im2col), "minimal" is the project's
`by_minimal_filtering`, and "winograd" that along both axes, F(4x4, 3x3) of
Lavin and Gray (CVPR 2016); "blocks" is a strided convolution of blocks of
pixels, "dense" one in groups as one whose kernel has zeros.
"""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np

from experiments import commands, evaluation
from experiments.benchmarks import measuring
from vidrestore_jax.layers import convolution, fewer_products, resample

_BOUND = 1e-4  # Of errors, in units of the largest value.


# Forms of a convolution with a kernel [k, k, C, features], zero-padded


def own(x, kernel, *, stride=1, groups=1, dilation=1, padding=None):
  """XLA's convolution, without any form of this project's."""
  side = kernel.shape[0] // 2
  return jax.lax.conv_general_dilated(
      x, kernel, (stride,) * 2, [padding or (side, side)] * 2,
      lhs_dilation=(dilation,) * 2, feature_group_count=groups,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def _shifted(x, side):
  """x as each tap of a kernel of that side sees it."""
  _, height, width, _ = x.shape
  pad = side // 2
  x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  return [
      x[:, i : i + height, j : j + width]
      for i in range(side) for j in range(side)
  ]


def taps(x, kernel):
  """A product for each tap, summed."""
  flat = kernel.reshape(-1, *kernel.shape[2:])
  return sum(
      part @ weights
      for part, weights in zip(_shifted(x, kernel.shape[0]), flat)
  )


def columns(x, kernel):
  """One product, of all taps side by side."""
  found = jnp.concatenate(_shifted(x, kernel.shape[0]), -1)
  rows = found.reshape(-1, found.shape[-1])
  y = rows @ kernel.reshape(-1, kernel.shape[-1])
  return y.reshape(*x.shape[:3], -1)


def winograd(x, kernel):
  """F(4x4, 3x3): a quarter of the products, between sums over tiles."""
  batch, height, width, channels = x.shape
  rows, across = -(-height // 4), -(-width // 4)
  features = kernel.shape[-1]
  x = jnp.pad(x, (
      (0, 0), (1, 4 * rows + 1 - height), (1, 4 * across + 1 - width), (0, 0)
  ))
  inputs, weights, outputs = fewer_products.F43
  sums = fewer_products.weighted_sums
  found = sums(inputs, [x[:, i : i + 4 * rows - 3 : 4] for i in range(6)])
  found = jnp.stack([
      tile
      for row in found
      for tile in sums(
          inputs, [row[:, :, j : j + 4 * across - 3 : 4] for j in range(6)]
      )
  ]).reshape(36, -1, channels)
  weights = np.float32(weights)
  weights = jnp.einsum("ai,bj,ijcd->abcd", weights, weights, kernel)
  found = found @ weights.reshape(36, channels, features)
  found = found.reshape(6, 6, batch, rows, across, features)
  found = [sums(outputs, list(found[:, j])) for j in range(6)]
  found = [
      jnp.stack(sums(outputs, [column[i] for column in found]), 3)
      for i in range(4)
  ]
  y = jnp.stack(found, 2)  # [B, rows, 4, across, 4, features]
  y = y.reshape(batch, 4 * rows, 4 * across, features)
  return y[:, :height, :width]


def blocks(x, kernel):
  """A 3x3 convolution of stride 2 as a 2x2 one of blocks of 2x2 pixels."""
  channels, features = kernel.shape[2:]
  # Rows 2 i - 1 to 2 i + 1 are the second of a block and both of the next.
  kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
  kernel = kernel.reshape(2, 2, 2, 2, channels, features)
  kernel = kernel.transpose(0, 2, 4, 1, 3, 5)  # C before a block's pixels.
  kernel = kernel.reshape(2, 2, 4 * channels, features)
  return own(resample.space_to_depth(x), kernel, padding=(1, 0))


def by_group(x, kernel, groups):
  """A convolution for each group of channels."""
  parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1))
  return jnp.concatenate([own(part, weights) for part, weights in parts], -1)


def dense(x, kernel, groups):
  """One convolution, with zeros between the groups."""
  return own(x, convolution.dense_kernel(kernel, groups))


def in_a_loop(convolve, x, kernel):
  """Five steps of it over time, each of what the last one gave."""
  def step(x, _):
    return jnp.tanh(convolve(x, kernel)), None

  return jax.lax.scan(step, x, length=5)[0]


def _gradients(function):
  """Both gradients of a form, along its own output."""
  def run(x, kernel):
    y, pull = jax.vjp(function, x, kernel)
    return y, *pull(y)

  return run


def _kernel_gradient(function):
  """That of the kernel alone, along x."""
  def run(x, kernel):
    return jax.vjp(functools.partial(function, x), kernel)[1](x)[0]

  return run


def ours(x, kernel, stride=1):
  """The form that the layers have."""
  pad = kernel.shape[0] // 2
  return convolution.convolve(x, kernel, (stride,) * 2, ((pad, pad),) * 2)


def _ours_in_groups(x, kernel, groups):
  features = kernel.shape[-1]
  layer = convolution.GroupedConv(features, groups, use_bias=False)
  spare = convolution.spare_channels(features, x.dtype, groups)
  return layer.apply(
      {"params": {"kernel": kernel}}, x, forward=True, spare=spare
  )


def _ours_transposed(x, kernel):
  layer = convolution.TransposedConv(kernel.shape[-1])
  bias = jnp.zeros(kernel.shape[-1])
  return layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)


def _own_transposed(x, kernel):
  return own(x, kernel[::-1, ::-1], dilation=2, padding=(1, 2))


def cases(small: bool) -> dict[str, tuple]:
  """{name: (shape of x, shape of the kernel, {form: function of the two})}."""
  height, width = (24, 32) if small else (480, 856)
  patch = (1, 8, 8) if small else (4, 96, 96)
  minimal = functools.partial(
      fewer_products.by_minimal_filtering, padding=((1, 1), (1, 1))
  )
  same = {
      "ours": ours, "XLA's own": own, "taps": taps, "columns": columns,
      "minimal": minimal, "winograd": winograd,
  }
  alone = {"ours": _kernel_gradient(ours), "XLA's own": _kernel_gradient(own)}
  looped = {
      name: _gradients(functools.partial(in_a_loop, form))
      for name, form in (("ours", ours), ("XLA's own", own))
  }
  found = {
      f"3x3_{channels}": (
          (1, height // share, width // share, channels),
          (3, 3, channels, channels), same,
      )
      for channels, share in ((16, 1), (64, 2), (128, 4))
  }
  return found | {
      "7x7": (
          (1, 128, 128, 32) if small else (1, 480, 864, 32), (7, 7, 32, 64),
          {"ours": ours, "XLA's own": own},
      ),
      "1x1": (
          (1, height, width, 64), (1, 1, 64, 32),
          {"ours": ours, "XLA's own": own},
      ),
      "strided": (
          (1, height, width, 32), (3, 3, 32, 64),
          {
              "ours": functools.partial(ours, stride=2),
              "blocks": blocks,
          },
      ),
      "groups": (
          (1, height, width, 12), (3, 3, 4, 90),
          {
              "ours": functools.partial(_ours_in_groups, groups=3),
              "group by group": functools.partial(by_group, groups=3),
              "dense to 90 channels": functools.partial(dense, groups=3),
              "XLA's own": functools.partial(own, groups=3),
          },
      ),
      "transposed": (
          (1, height // 2, width // 2, 32), (3, 3, 32, 16),
          {"ours": _ours_transposed, "XLA's own": _own_transposed},
      ),
      "narrow_gradients": (
          (*patch, 32), (3, 3, 32, 3),
          {"ours": _gradients(ours), "XLA's own": _gradients(own)},
      ),
      "wide_gradients": (
          (1, 64, 64, 32) if small else (*patch, 32), (7, 7, 32, 64),
          {"ours": _gradients(ours), "XLA's own": _gradients(own)},
      ),
      "3x3_kernel_gradient": ((*patch, 48), (3, 3, 48, 48), alone),
      "7x7_kernel_gradient": ((*patch, 48), (7, 7, 48, 48), alone),
      "gradients_in_a_loop": ((*patch, 48), (3, 3, 48, 48), looped),
  }


_CASES = tuple(cases(True))


def measure(report, x_shape, kernel_shape, forms) -> dict:
  """A row: the forms of one case."""
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], x_shape)
  kernel = jax.random.normal(keys[1], kernel_shape)
  kernel /= np.sqrt(np.prod(kernel_shape[:3]))
  features = kernel_shape[-1]
  programs = {name: jax.jit(form) for name, form in forms.items()}
  wanted, *others = (
      jax.tree.map(np.asarray, program(x, kernel))
      for program in programs.values()
  )
  if not isinstance(wanted, tuple):  # Without what is spare.
    wanted, *others = (y[..., :features] for y in (wanted, *others))
  error = max(
      measuring.largest(found, right)
      for other in others
      for found, right in zip(jax.tree.leaves(other), jax.tree.leaves(wanted))
  )
  times = measuring.alternate(
      {
          name: functools.partial(measuring.waited, program, x, kernel)
          for name, program in programs.items()
      },
      report.repeats, before=1, limit=report.row_limit,
  )
  fastest = min(times, key=lambda name: times[name]["median_s"])
  return measuring.check(
      error, _BOUND, x=x_shape, kernel=kernel_shape, sides=times,
      fastest=fastest,
  )


def lines(rows: list[dict]) -> list[list[str]]:
  """The rows as cells: a line for each form, ours first."""
  found = [["", "input, kernel", "form", "ms", "of ours"]]
  for row in rows:
    if "sides" not in row:
      continue
    shapes = " by ".join(
        "x".join(map(str, row[key])) for key in ("x", "kernel")
    )
    mine = row["sides"]["ours"]["median_s"]
    for form, times in row["sides"].items():
      name = row["name"].partition("/")[2].replace("_", " ")
      first = form == "ours"
      found.append([
          name if first else "", shapes if first else "", form,
          f"{1e3 * times['median_s']:.1f}", f"{times['median_s'] / mine:.2f}",
      ])
  return found


def run(arguments) -> dict:
  """Measures what the command line asks for; returns what the JSON holds."""
  chosen = measuring.choices(arguments, cases=_CASES)["cases"]
  measuring.check_least(arguments, repeats=2)
  commands.check_json(arguments.json)
  measuring.bind_threads(arguments.threads)
  report = measuring.Report(
      arguments.json,
      arguments.budget,
      {"command": arguments.command, **measuring.surroundings()},
      arguments.repeats,
      arguments.row_seconds,
  )
  known = cases(arguments.small)
  for name in chosen:
    report.row(
        f"formulations/{name}",
        lambda name=name: measure(report, *known[name]),
    )
  print(f"\n{evaluation.markdown(lines(report.content['rows']))}")
  return report.content


def main(argv=None) -> int:
  """Runs the command; returns its exit status, 1 where outputs differ."""
  parser = measuring.parser("formulations", __doc__, budget=600, repeats=9)
  parser.add_argument("--cases", default=",".join(_CASES), metavar="LIST")
  measuring.add_threads(parser)
  parser.add_argument("--row-seconds", type=float, default=20)
  parser.add_argument("--small", action="store_true")
  return measuring.command(parser, run, argv)


if __name__ == "__main__":
  sys.exit(main())
