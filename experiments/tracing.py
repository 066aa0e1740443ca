"""Multiply-accumulates of a JAX program, counted from its trace.

Two primitives carry the arithmetic of a network: `conv_general_dilated` and
`dot_general`. `count_macs` walks the traced program with all its inner
programs, adds up what these two execute, and keeps the account by name stack,
which is where Flax writes the path of the module that asked for the work.

Convolutions are traced in their plain form: some of those that run have zeros
among their taps, to be faster.

What counts: every tap of a convolution, also where it reads the padding; of a
transposed convolution only the taps that fall on real samples, not those that
fall on the zeros inserted between them. Elementwise work, gathers (warps) and
pooling are not multiply-accumulates and do not count.
"""

import collections
import math

import jax
from jax.extend import core

from vidrestore_jax.layers import convolution

# Primitives that run their inner program exactly once.
_CALLS = {
    "checkpoint",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "jit",
    "pjit",
    "remat",
    "remat2",
}


def count_macs(fn, *args) -> collections.Counter:
  """Counts the multiply-accumulates of `fn(*args)` by name stack.

  Args:
    fn: function that JAX can trace.
    args: its arguments; `jax.ShapeDtypeStruct` serves, since nothing is
      computed.

  Returns:
    Counter from name stack, such as `"NCFL.step/fa/conv_in"`, to MACs.

  Raises:
    ValueError: where the number of executions cannot be read from the program:
      a contraction inside a `while` loop or inside a primitive not known here.
  """
  if hasattr(fn, "lower"):  # What is jitted may be traced in another form.
    fn = fn.__wrapped__
  with convolution.use_form("plain"):
    jaxpr = jax.make_jaxpr(lambda *args: fn(*args))(*args)
  return _count(jaxpr.jaxpr, "")


def equations(jaxpr):
  """Every equation of a program, those of its inner programs too."""
  for equation in jaxpr.eqns:
    yield equation
    for inner in _inner_jaxprs(equation):
      yield from equations(inner)


def convolution_dtypes(fn, *args) -> list[str]:
  """In what `fn(*args)` convolves, in order."""
  return [
      equation.outvars[0].aval.dtype.name
      for equation in equations(jax.make_jaxpr(fn)(*args).jaxpr)
      if equation.primitive.name == "conv_general_dilated"
  ]


def _count(jaxpr, stack: str) -> collections.Counter:
  counts = collections.Counter()
  for eqn in jaxpr.eqns:
    # An inner program's stacks are relative to the equation that runs it.
    name = "/".join(filter(None, [stack, str(eqn.source_info.name_stack)]))
    primitive = eqn.primitive.name
    if primitive == "conv_general_dilated":
      counts[name] += _convolution_macs(eqn)
    elif primitive == "dot_general":
      counts[name] += _product_macs(eqn)
    else:
      inner = [_count(sub, name) for sub in _inner_jaxprs(eqn)]
      if any(macs.total() for macs in inner):
        counts += _executed(eqn, inner)
  return counts


def _executed(eqn, inner) -> collections.Counter:
  """The counts of an equation's inner programs, as often as they run."""
  primitive = eqn.primitive.name
  if primitive == "scan":
    (body,) = inner
    return collections.Counter(
        {name: macs * eqn.params["length"] for name, macs in body.items()}
    )
  if primitive == "cond":
    return max(inner, key=collections.Counter.total)  # The dearest branch.
  if primitive in _CALLS:
    return sum(inner, collections.Counter())
  raise ValueError(
      f"Cannot count the multiply-accumulates inside `{primitive}`: the"
      " program does not say how often it runs them. Counted are scan, cond"
      f" and {', '.join(sorted(_CALLS))}; write the loop as a scan."
  )


def _inner_jaxprs(eqn):
  for value in eqn.params.values():
    for item in value if isinstance(value, (tuple, list)) else (value,):
      if isinstance(item, core.ClosedJaxpr):
        yield item.jaxpr
      elif isinstance(item, core.Jaxpr):
        yield item


def _convolution_macs(eqn) -> int:
  """Outputs times the taps of one output; inserted zeros are not taps."""
  kernel = eqn.invars[1].aval.shape
  # rhs_spec: output features, input features of one group, spatial axes.
  features = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
  taps = math.prod(kernel) // features
  outputs = math.prod(eqn.outvars[0].aval.shape)
  # On average over outputs, one tap in prod(lhs_dilation) meets a sample.
  return outputs * taps // math.prod(eqn.params["lhs_dilation"])


def _product_macs(eqn) -> int:
  (contracted, _), _ = eqn.params["dimension_numbers"]
  lhs = eqn.invars[0].aval.shape
  outputs = math.prod(eqn.outvars[0].aval.shape)
  return outputs * math.prod(lhs[axis] for axis in contracted)
