"""Which axis of what lies on which device: data parallelism.

The state is replicated, a batch is split along its first axis. One device is
the trivial case of the same program, several hosts the general one. PARALLEL
names the two ways to compile a step: `jax.jit`, where the compiler finds out
what is to be exchanged, and `jax.pmap`, where it is written down
(layers/whole_batch.py). States are the same in both.
"""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vidrestore_jax.layers import whole_batch

_AXIS = whole_batch.AXIS


def data_mesh(batch_size: int, devices=None, *, parts: int = 1) -> Mesh:
  """A mesh of one axis, "data", over devices of all processes.

  Args:
    batch_size: examples in one step, over all devices.
    devices: the devices to use, `fitting_devices` or others; all where None.
    parts: in which each device computes its share, one after another.

  Raises:
    ValueError: the batch does not split evenly over devices and parts.
  """
  if parts < 1:
    raise ValueError(
        f"A batch is computed in one part or more, but accumulate is {parts}."
        " Use --config.accumulate=1 for the whole batch at once."
    )
  devices = jax.devices() if devices is None else devices
  count = len(devices)
  if batch_size % (count * parts):
    ways = f"{count} devices" + f" in {parts} parts each" * (parts > 1)
    fitting = -(-batch_size // (count * parts)) * count * parts
    raise ValueError(
        f"batch_size {batch_size} does not split over {ways}. Use"
        f" --config.batch_size={fitting}, or let JAX see fewer devices"
        " (JAX_NUM_CPU_DEVICES, CUDA_VISIBLE_DEVICES)"
        + (", or set another --config.accumulate." if parts > 1 else ".")
    )
  # Explicit axes, make_mesh's default, refuse pixel shuffles and concatenation
  # with constants; Auto leaves the propagation to the compiler.
  return jax.make_mesh(
      (count,), (_AXIS,), axis_types=(AxisType.Auto,), devices=devices
  )


def fitting_devices(batch_size: int, *, parts: int = 1) -> list:
  """The most devices, equally many of each process, that a batch splits over.

  Args:
    batch_size: examples in one step, over all devices.
    parts: as of `data_mesh`.

  Returns:
    In order of the processes; all devices where none fit, which `data_mesh`
    refuses.
  """
  by_process = {}
  for device in jax.devices():
    by_process.setdefault(device.process_index, []).append(device)
  for count in range(min(map(len, by_process.values())), 0, -1):
    if batch_size % (len(by_process) * count * max(parts, 1)) == 0:
      return [d for own in by_process.values() for d in own[:count]]
  return jax.devices()


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device holds the whole array."""
  return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
  """Every device holds its part of the first axis."""
  return NamedSharding(mesh, PartitionSpec(_AXIS))


def to_devices(batch, mesh: Mesh):
  """Global arrays from this process's part of a batch.

  Args:
    batch: numpy arrays `[b, ...]`, b the examples of this process; process i
      holds the i-th part of the global batch.
    mesh: from `data_mesh`.
  """
  sharding = split(mesh)
  return jax.tree.map(
      lambda x: jax.make_array_from_process_local_data(sharding, x), batch
  )


def replicate(tree, mesh: Mesh):
  """The same values, given on every host, as replicated global arrays."""
  sharding = replicated(mesh)
  return jax.tree.map(
      lambda x: jax.make_array_from_process_local_data(
          sharding, jax.device_get(x)
      ),
      tree,
  )


def jit(function, **options):
  """`jax.jit`, with which `nn.remat` saves memory on a CPU as well.

  XLA's CPU backend drops the barriers of what is computed anew before it looks
  for common subexpressions, takes the first values for the second, and so
  keeps them all.
  """
  kept = {"xla_disable_hlo_passes": "cse_barrier_expander"}
  on_cpu = jax.default_backend() == "cpu"
  return jax.jit(
      function, compiler_options=kept if on_cpu else None, **options
  )


def jit_init(init, mesh: Mesh):
  """Compiles `init(...) -> state` so that the state is born replicated."""
  # A random draw for each parameter takes XLA's CPU backend long to optimise
  # (11 s for a small NCFL, 3 s without), and it runs but once.
  fast = {"xla_backend_optimization_level": 0}
  return jax.jit(
      init,
      out_shardings=replicated(mesh),
      compiler_options=fast if jax.default_backend() == "cpu" else None,
  )


def jit_step(step, mesh: Mesh):
  """Compiles `step(state, batch) -> (state, metrics)`.

  The state that goes in is donated: its memory becomes the new state's, and it
  must not be used again.
  """
  whole, parts = replicated(mesh), split(mesh)
  return jit(
      step,
      in_shardings=(whole, parts),
      out_shardings=(whole, whole),
      donate_argnums=0,
  )


def pmap_step(step, mesh: Mesh):
  """As `jit_step`; batches are those of `to_replicas`."""
  mapped = jax.pmap(
      step,
      axis_name=_AXIS,
      in_axes=(None, 0),
      out_axes=None,
      devices=mesh.devices.flat,
      donate_argnums=0,
  )
  if jax.process_count() == 1:
    return mapped

  def of_all_processes(state, batch):
    state, metrics = mapped(state, batch)
    return jax.tree.map(lambda x: _as_global(x, mesh), state), metrics

  return of_all_processes


def to_replicas(batch, mesh: Mesh):
  """`[b, ...]` to `[n, b / n, ...]`, n the devices of this process.

  Args:
    batch: numpy arrays, the examples of this process.
    mesh: from `data_mesh`.
  """
  count = mesh.local_mesh.size
  return jax.tree.map(
      lambda x: np.reshape(x, (count, -1, *np.shape(x)[1:])), batch
  )


# By name, how a step is compiled and what gives it its batches.
PARALLEL = {"jit": (jit_step, to_devices), "pmap": (pmap_step, to_replicas)}


def _as_global(x, mesh: Mesh):
  """This process's replicas, of which pmap makes an array, as part of all."""
  return jax.make_array_from_single_device_arrays(
      x.shape, replicated(mesh), [shard.data for shard in x.addressable_shards]
  )


def lost_others(error: Exception) -> bool:
  """Whether an error says that another process of this run is gone.

  It comes as RuntimeError from a step, and as ValueError from what Orbax asks
  of the others.
  """
  signs = ("Gloo", "NCCL", "heartbeat", "oordination service", "Barrier")
  return jax.process_count() > 1 and any(sign in str(error) for sign in signs)


def connect(mesh: Mesh | None = None):
  """Returns once every process has met all others, over the same devices.

  For the first exchange over some devices processes on CPUs wait 30 s for each
  other, which two that compile a step are easily apart; for any later one they
  wait long.

  Args:
    mesh: from `data_mesh`; None for all devices.
  """
  if jax.process_count() == 1:
    return
  mesh = mesh or data_mesh(jax.device_count())
  total = jax.jit(lambda x: x.sum(), out_shardings=replicated(mesh))
  ones = to_devices(np.ones(mesh.local_mesh.size, np.float32), mesh)
  total(ones).block_until_ready()


def any_process(mesh: Mesh):
  """Makes processes agree, without waiting for each other.

  Args:
    mesh: from `data_mesh`.

  Returns:
    A function of a flag. All processes call it equally often, each with its
    own; it returns whether any of them gave True at the call before. One
    process alone is given its own at once.
  """
  if jax.process_count() == 1:
    return lambda flag: flag
  count = mesh.local_mesh.size
  any_of = jax.jit(lambda flags: flags.any(), out_shardings=replicated(mesh))
  pending = []

  def agree(flag: bool) -> bool:
    pending.append(any_of(to_devices(np.full(count, flag), mesh)))
    return len(pending) > 1 and bool(pending.pop(0))

  return agree
