"""What a backward pass computes anew instead of keeping: memory for time.

The policies of `remat`, which every model takes that has more than one layer of
them; parameters, their names and results are the same under each:

  none    every activation is kept
  step    of a time step, or of a stage of a windowed model, only what goes in
  block   likewise of each residual, attention or convolution block

"step" keeps least: the activations of one step at a time. "block" computes less
anew, since a block's last layer need not be.

XLA's CPU backend takes what is computed anew for what it already has, and so
keeps it; `training.sharding.jit` compiles so that it does not. `jax.pmap` takes
no options of the compiler: there a policy saves nothing on a CPU.
"""

import flax.linen as nn
import jax

from vidrestore_jax.shapes import check_choice

POLICIES = ("none", "step", "block")


def check_policy(model: str, remat: str, allowed=POLICIES):
  """Raises ValueError unless `remat` is one of `allowed`, for the model."""
  check_choice(f"{model}'s remat", remat, allowed)


def of_parts(remat: str) -> str:
  """The policy of parts that have blocks, in a model that has steps."""
  return "none" if remat == "step" else remat


def cheap(function):
  """The function of arrays; in a loop over time only what goes in is kept.

  For a few operations on each number, in float32 between layers in bfloat16:
  what they give on the way is twice as large as what is given to them, and a
  loop copies what it keeps for the backward pass. Outside of a loop XLA takes
  what is computed anew for what it already has.
  """
  return jax.checkpoint(function, prevent_cse=False)


def run(
    module,
    *inputs,
    recompute: bool,
    method: str = "__call__",
    after=None,
    **options,
):
  """What `module.method(*inputs, **options)` gives.

  Args:
    module: a Flax module, or the one that asks.
    *inputs: arrays, trees of them or None.
    recompute: the backward pass has the inputs alone, and runs it again.
    method: its name.
    after: what an earlier run gave that this one has no use for. With
      `recompute` this run waits for it, and its backward pass for this one's;
      else XLA may run both side by side, and keep what both need.
    **options: values that are no arrays.
  """

  def call(module, *inputs):
    return getattr(module, method)(*inputs, **options)

  if not recompute:
    return call(module, *inputs)
  call = nn.remat(call)
  if after is not None and not module.is_initializing():
    # By the parameters, as they are what both have a gradient of.
    call = nn.map_variables(
        call,
        "params",
        lambda params: jax.lax.optimization_barrier((params, after))[0],
    )
  return call(module, *inputs)


def scan_time(model, body, state, inputs, *, reverse: bool = False):
  """Runs `body(model, state, input)` over the time axis, 1.

  Args:
    model: a module. Clips up to its `unroll` frames leave no loop, in which a
      CPU runs less side by side; its `remat` "step" is that of the body.
    body: to the pair (state, result).
    state: before the first frame.
    inputs: arrays `[B, T, ...]`.
    reverse: from the last frame to the first.

  Returns:
    The pair (state after the last frame, results `[B, T, ...]`).
  """
  unrolled = jax.tree.leaves(inputs)[0].shape[1] <= model.unroll
  if model.remat == "step":
    # In a loop, the backward pass is another loop: nothing to take it for.
    body = nn.remat(body, prevent_cse=unrolled)
  scan = nn.scan(
      body,
      variable_broadcast="params",
      split_rngs={"params": False},
      in_axes=1,
      out_axes=1,
      reverse=reverse,
      # 0 leaves no loop; as many as there are frames would leave one for one.
      unroll=0 if unrolled else 1,
  )
  return scan(model, state, inputs)
