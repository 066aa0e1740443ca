"""Which layers does the time go to? Each convolution alone, beside PyTorch's.

  python -m experiments.benchmarks.convolutions [--models=fastdvdnet,ncfl] \\
      [--size=854x480] [--gradients] [--batch=1] [--threads=2] \\
      [--repeats=7] [--row-seconds=6] [--budget=900] [--small] [--json=OUT]

Every convolution of a network's call (a window of FastDVDnet, a step of NCFL)
is taken from the PyTorch twin as it runs, with its shape and how often it
occurs, and timed alone on random values: ours as its layer computes it, and
PyTorch's with channels last. The last lines of a model have the sums, and the
time of the whole call, in which all else is as well (activations,
normalisations, warps, shuffles). A layer alone writes its result to memory of
its own at every call, which the whole uses again, so the sum may be above the
whole: it is to be read beside the other side's.

With --gradients a call is the convolution and both of its gradients, as in
training: --gradients --size=96x96 --batch=4 are the shapes of the step that
`experiments.benchmarks.training` times whole (five steps of NCFL, of which the
convolutions of one are here).
"""

import collections
import functools
import sys

import jax
import numpy as np

from experiments import commands
from experiments.benchmarks import beside_torch, measuring, subjects
from vidrestore_jax.layers import convolution

_MODELS = ("fastdvdnet", "ncfl")


def shapes(peer, case, program, size) -> collections.Counter:
  """How often each convolution occurs in a call of the twin.

  Args:
    peer: a `beside_torch.Torch`.
    case: the model's (name, arguments as items).
    program: of `beside_torch.PROGRAMS`.
    size: height and width.

  Returns:
    A counter of (kind, height, width, inputs, outputs, kernel, stride, groups,
    biased); height and width are the input's.
  """
  torch = peer.torch
  name, arguments = case
  model, variables = subjects.build(name, arguments, "float32")
  _, args, theirs = beside_torch.PROGRAMS[program](model, size, variables, 5)
  twin = peer.model(name, arguments, variables, "float32", "channels_last")
  found = collections.Counter()

  def note(layer, inputs, output):
    del output
    batch, _, height, width = inputs[0].shape
    kind = type(layer).__name__
    key = (
        kind, height, width, layer.in_channels, layer.out_channels,
        layer.kernel_size[0], layer.stride[0], layer.groups,
        layer.bias is not None,
    )
    found[key] += batch

  for layer in twin.modules():
    if isinstance(layer, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
      layer.register_forward_hook(note)
  put = functools.partial(
      peer.tensor, form="float32", torch_form="channels_last"
  )
  with torch.inference_mode():
    function, *tensors = theirs(twin, jax.tree.map(put, args))
    found.clear()  # A stream's state may have been made by the network too.
    function(*tensors)
  return found


def _ours(kind, outputs, kernel, stride, groups, biased):
  if kind == "ConvTranspose2d":
    return convolution.TransposedConv(outputs)
  if groups > 1 or not biased:
    return convolution.GroupedConv(outputs, groups, stride, use_bias=biased)
  return convolution.Conv(outputs, kernel, stride)


def measure(peer, report, key, count, batch, gradients) -> dict:
  """A row: one convolution on both sides, whose outputs are compared first.

  Args:
    peer: a `beside_torch.Torch`.
    report: a `measuring.Report`.
    key: of `shapes`.
    count: how often it occurs.
    batch: images that it is given.
    gradients: whether those with respect to image and kernel are taken too.
  """
  kind, height, width, inputs, outputs, kernel, stride, groups, biased = key
  torch = peer.torch
  layer = _ours(kind, outputs, kernel, stride, groups, biased)
  x = np.random.default_rng(0).standard_normal(
      (batch, height, width, inputs), np.float32
  )
  variables = layer.init(jax.random.key(0), x[:1, :8, :8])
  apply = layer.apply
  if groups > 1 and not gradients:  # As between FastDVDnet's layers.
    spare = convolution.spare_channels(outputs, x.dtype, groups)
    apply = functools.partial(apply, forward=True, spare=spare)

  def with_gradients(variables, x):
    y, pull = jax.vjp(apply, variables, x)
    along_variables, along_x = pull(y)
    kernel = next(w for w in jax.tree.leaves(along_variables) if w.ndim == 4)
    return y, along_x, kernel, along_variables

  program, about = measuring.compile_program(
      with_gradients if gradients else apply, variables, x
  )
  ours = functools.partial(
      measuring.waited, program, *jax.device_put((variables, x))
  )

  make = getattr(torch.nn, kind)
  options = {"output_padding": stride - 1} if "Transpose" in kind else {}
  twin = make(
      inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=biased,
      **options,
  )
  (weights,) = (w for w in jax.tree.leaves(variables) if w.ndim == 4)
  order = (2, 3, 0, 1) if "Transpose" in kind else (3, 2, 0, 1)
  with torch.no_grad():
    twin.weight.copy_(torch.tensor(np.asarray(weights).transpose(order)))
    if biased:
      twin.bias.zero_()
  twin = twin.to(peer.device, memory_format=torch.channels_last)
  tensor = peer.tensor(x, "float32", "channels_last")

  def twin_with_gradients():
    twin.zero_grad()
    x = tensor.detach().requires_grad_()
    y = twin(x)
    y.backward(y.detach())
    peer.weights.wait(peer.device)
    return y.detach(), x.grad, twin.weight.grad

  array = peer.weights.array
  if gradients:
    theirs = twin_with_gradients
    y, along_x, along_kernel = theirs()
    mine, along, kernel, _ = ours()
    back = tuple(order.index(axis) for axis in range(4))
    error = max(
        measuring.largest(array(y), mine),
        measuring.largest(array(along_x), along),
        # A sum over all pixels: to be compared by its own size.
        measuring.relative(
            along_kernel.cpu().numpy().transpose(back), np.asarray(kernel)
        ),
    )
  else:
    theirs = functools.partial(peer.waited, twin, tensor)
    error = measuring.largest(array(theirs()), ours()[..., :outputs])
  times = measuring.alternate(
      {"jax": ours, "torch channels_last": theirs}, report.repeats,
      limit=report.row_limit,
  )
  mine, other = (side["median_s"] for side in times.values())
  return measuring.check(
      error, 1e-4, sides=times, count=count, ratio=other / mine,
      tflops=subjects.rate(about["macs"], mine), **about,
  )


def title(key) -> str:
  """A convolution in words."""
  kind, height, width, inputs, outputs, kernel, stride, groups, _ = key
  return (
      f"{'transposed ' if 'Transpose' in kind else ''}{kernel}x{kernel}"
      f"{f' /{stride}' if stride > 1 else ''} {inputs} to {outputs}"
      f"{f' in {groups} groups' if groups > 1 else ''} at {width}x{height}"
  )


def lines(rows: list[dict]) -> list[list[str]]:
  """The rows of one model as cells, the longest first; then the sums."""
  rows = [row for row in rows if "sides" in row]
  whole = [row for row in rows if "count" not in row]
  rows = [row for row in rows if "count" in row]
  total = dict.fromkeys(("jax", "torch channels_last"), 0.0)
  cells = []
  for row in rows:
    ms = {
        side: 1e3 * row["count"] * row["sides"][side]["median_s"]
        for side in total
    }
    for side in total:
      total[side] += ms[side]
    cells.append((ms["jax"], [
        row["convolution"], str(row["count"]), f"{ms['jax']:.0f}",
        f"{ms['torch channels_last']:.0f}", f"{row['ratio']:.2f}",
        f"{1e3 * row['tflops']:.0f}",
    ]))
  found = [["", "times", "ms", "PyTorch ms", "ratio", "GFLOP/s"]]
  found += [cell for _, cell in sorted(cells, reverse=True)]
  ms, other = total.values()
  if ms:
    found.append(
        ["sum", "", f"{ms:.0f}", f"{other:.0f}", f"{other / ms:.2f}", ""]
    )
  for row in whole:
    for side, times in row["sides"].items():
      if side != "jax":
        ms, other = (
            1e3 * t["median_s"] for t in (row["sides"]["jax"], times)
        )
        found.append([
            f"whole, {side}", "", f"{ms:.0f}", f"{other:.0f}",
            f"{other / ms:.2f}", "",
        ])
  return found


def run(arguments) -> dict:
  """Measures what the command line asks for; returns what the JSON holds."""
  from experiments import evaluation

  size = commands.parse_size(arguments.size)[::-1]
  chosen = measuring.choices(arguments, models=_MODELS)["models"]
  commands.check_json(arguments.json)
  measuring.check_least(arguments, repeats=2, batch=1)
  if arguments.batch > 1 and not arguments.gradients:
    raise ValueError("--batch is of --gradients; a frame is restored alone.")
  peer = beside_torch.bound(arguments.threads)
  report = measuring.Report(
      arguments.json,
      arguments.budget,
      {"command": arguments.command, **measuring.surroundings()},
      arguments.repeats,
      arguments.row_seconds,
  )
  for label in chosen:
    case = subjects.case(label, arguments.small)
    program = "stream" if label == "ncfl" else "window"
    with peer.row("float32"):
      found = shapes(peer, case, program, size)
    for key, count in found.items():
      report.row(
          f"{label}/{title(key)}",
          lambda label=label, key=key, count=count: {
              "model": label, "convolution": title(key),
              **measure(
                  peer, report, key, count, arguments.batch,
                  arguments.gradients,
              ),
          },
      )
    if arguments.gradients:  # A whole step is the training benchmark's.
      continue
    beside_torch.compare(
        report, label, case, program, peer, size, ("float32",),
        ("channels_last", "compile"), label, model=label,
    )
  report.write()
  for label in chosen:
    rows = [row for row in report.content["rows"] if row.get("model") == label]
    print(f"\n{label}\n\n{evaluation.markdown(lines(rows))}")
  return report.content


def main(argv=None) -> int:
  """Runs the command; returns its exit status, 1 where outputs differ."""
  parser = measuring.parser("convolutions", __doc__, budget=900, repeats=7)
  parser.add_argument("--models", default=",".join(_MODELS), metavar="LIST")
  parser.add_argument("--size", default="854x480")
  parser.add_argument("--gradients", action="store_true")
  parser.add_argument("--batch", type=int, default=1)
  measuring.add_threads(parser)
  parser.add_argument("--row-seconds", type=float, default=6)
  parser.add_argument("--small", action="store_true")
  return measuring.command(parser, run, argv)


if __name__ == "__main__":
  sys.exit(main())
