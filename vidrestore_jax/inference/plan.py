"""What a restoration will take, before anything of it is run.

Memory is read from the compiled programs, the same that the stream runs: their
temporary buffers and results, the weights, and the frames that wait on the
device for their windows. Time is that of one frame, of grey, run once after it
was compiled. Neither depends on what frames show.
"""

import dataclasses
import os
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vidrestore_jax.inference import row_bands, streaming, tiling

# On a CPU convolutions allocate beside what XLA plans. Measured on FastDVDnet,
# DnCNN and Noise2Noise of 50 to 700 MB: a share of the buffers, and some more,
# come within 7 % of what the process grows by.
_CPU_SHARE, _CPU_BYTES = 0.4, 40_000_000


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a restoration takes.

  Attributes:
    size: (H, W) of the frames.
    frames: how many there are, or None where that is not known.
    tile: side of the tiles, None for whole frames.
    bucket: what sides of whole frames are padded to multiples of, or None.
    tiles: how many a frame is cut into.
    memory: bytes on each device at once; on a CPU they are the computer's own,
      on top of what a process that has loaded jax and the model takes.
    available: bytes that each has free, or None where that is not known.
    seconds_per_frame: of computing alone; None where it does not fit.
    compile_seconds: what compiling took, which a kept program saves.
    flops: floating-point operations for a frame as XLA counts them, or None.
    device: what it is, as XLA names it.
    devices: how many, which frames are split over by rows.
  """

  size: tuple[int, int]
  frames: int | None
  tile: int | None
  bucket: int | None
  tiles: int
  memory: int
  available: int | None
  seconds_per_frame: float | None
  compile_seconds: float
  flops: float | None
  device: str
  devices: int = 1

  @property
  def fits(self) -> bool:
    """Whether there is memory enough, as far as that is known."""
    return self.available is None or self.memory <= self.available

  @property
  def seconds(self) -> float | None:
    """For all frames, compiling included; None where either is not known."""
    if self.frames is None or self.seconds_per_frame is None:
      return None
    return self.compile_seconds + self.frames * self.seconds_per_frame

  def __str__(self):
    height, width = self.size
    frames = "frames" if self.frames is None else f"{self.frames} frames"
    lines = [f"{frames} of {width}x{height} on {self.device}"]
    if self.devices > 1:
      rows = -(-height // self.devices)
      lines.append(f"in bands of {rows} rows on {self.devices} devices")
    elif self.tile:
      lines.append(f"in {self.tiles} tiles of {self.tile}x{self.tile} each")
    elif self.bucket:
      height, width = (side + -side % self.bucket for side in self.size)
      if (height, width) != self.size:
        lines.append(f"padded to {width}x{height}, as sizes near it are")
    free = ""
    if self.available is not None:
      free = f" of {_gigabytes(self.available)} free"
    if self.devices > 1:
      free += ", on each device"
    lines.append(f"memory: {_gigabytes(self.memory)}{free}")
    if not self.fits:
      lines.append("This does not fit.")
    if self.seconds_per_frame is not None:
      compiled = f"{self.compile_seconds:.1f} s to compile, once"
      if self.compile_seconds < 0.05:
        compiled = "compiled before"
      lines.append(
          f"time to compute: {self.seconds_per_frame:.3g} s a frame, and"
          f" {compiled}"
      )
    if self.seconds is not None:
      lines.append(
          f"in all: {_duration(self.seconds)}, without reading and writing"
      )
    return "\n".join(lines)


def make(
    model,
    variables,
    size: tuple[int, int],
    *,
    frames: int | None = None,
    tile: int | str | None = "auto",
    bucket: int | str | None = "auto",
    chunk: tuple[int, int] | None = None,
    devices: int | str = 1,
    available: int | None = None,
) -> Plan:
  """Plans a restoration.

  Args:
    model: a restoration model.
    variables: its variables.
    size: (H, W) of the frames.
    frames: how many there are; needed by a bidirectional model without chunks.
    tile: side of the tiles; None: whole frames. "auto": whole frames where they
      fit, else tiles, halved until they do, or until they would be little but
      context.
    bucket: of whole frames, see `tiling`; None: none. "auto":
      `tiling.usual_bucket`.
    chunk, devices: as `streaming.restore_stream` has them; frames that are
      split are planned whole where tile and bucket are "auto".
    available: bytes to fit into on each device; None: what it has free.

  Returns:
    The first plan that fits, or, where none does, the one that takes least.

  Raises:
    ValueError: the model does not restore, or does not suit the tile, the
      bucket or the devices, or the clip's length is needed.
  """
  streaming.check_streams(model)
  length = 1
  if getattr(model, "bidirectional", False):
    if chunk is None and frames is None:
      raise ValueError(
          f"{type(model).__name__} takes a whole clip, so its plan needs the"
          " number of frames, or a chunk."
      )
    length = chunk[0] + 2 * chunk[1] if chunk else frames
    if frames is not None and (chunk is None or frames < length):
      length = streaming.filled_length(model, frames)
  mesh = row_bands.mesh_of(devices, tile, bucket)
  if mesh is not None:
    row_bands.check(model, size[0], mesh.size)
    tile = bucket = None
  plan, compiled = _best(list(_attempts(
      model, variables, tuple(size), tile, bucket, frames=frames,
      length=length, mesh=mesh, available=available,
  )))
  if plan.fits:
    # What chunks share is made again in each.
    made = min(frames or length, chunk[0] if chunk else length)
    seconds = _timed(compiled, made, plan)
    plan = dataclasses.replace(plan, seconds_per_frame=seconds)
  return plan


def layout(
    model,
    variables,
    size: tuple[int, int],
    *,
    tile: int | str | None,
    bucket: int | str | None,
    aux: tuple[str, ...],
    note: Callable[[str], None],
) -> tuple[int | None, int | None]:
  """The tile and the bucket that `make` would plan with.

  What is compiled to find out is what then runs, so it takes no time of its
  own.

  Args:
    model, variables, size, tile, bucket: as `make` has them.
    aux: as `streaming.restore_stream` has it.
    note: called with a sentence where whole frames do not fit.
  """
  if tile != "auto" or model.halo is None:
    tile = None if tile == "auto" else tile
    if bucket == "auto":
      bucket = None if tile else tiling.usual_bucket(model, size)
    return tile, bucket
  attempts = list(
      _attempts(model, variables, tuple(size), tile, bucket, aux=aux)
  )
  plan, _ = _best(attempts)
  if len(attempts) > 1:
    (whole, _), (height, width) = attempts[0], size
    fit = "give the same frames" if plan.fits else "may not fit either"
    tiles = f"tiles of {plan.tile}x{plan.tile}" if plan.tile else "them"
    note(
        f"whole frames of {width}x{height} would take"
        f" {_gigabytes(whole.memory)} and {_gigabytes(plan.available)} are"
        f" free; going on with {tiles}, which {fit}"
    )
  return plan.tile, plan.bucket


def _best(attempts):
  """Of plans with programs the one that fits, or else takes least."""
  return min(attempts, key=lambda pair: (not pair[0].fits, pair[0].memory))


def _attempts(
    model, variables, size, tile, bucket, *, frames=None, length=1, aux=(),
    mesh=None, available=None,
):
  """Plans but for the time of a frame, with their programs, until one fits."""
  if available is None:
    available = free_memory(1 if mesh is None else mesh.size)
  search = tile == "auto"
  if search:
    tile = None
  if bucket == "auto":
    bucket = None if tile else tiling.usual_bucket(model, size)
  while True:
    plan, compiled = _compiled(
        model, variables, size, tile, bucket, frames=frames, length=length,
        aux=aux, mesh=mesh, available=available,
    )
    yield plan, compiled
    if plan.fits or not search or model.halo is None:
      return
    side = max((tile or max(size)) // 2, tiling.advisable(model))
    if side >= (tile or max(size)):
      return
    tile, bucket = side, None


def free_memory(count: int = 1) -> int | None:
  """Bytes that each of so many devices has free, or None: one does not say."""
  devices = jax.local_devices()[:count]
  if devices[0].platform == "cpu":  # However many, they share it.
    free = _free_of_the_computer()
    return free and free // len(devices)
  free = []
  for device in devices:
    statistics = device.memory_stats()
    if not statistics or "bytes_limit" not in statistics:
      return None
    free.append(statistics["bytes_limit"] - statistics.get("bytes_in_use", 0))
  return min(free)


def _free_of_the_computer():
  try:
    with open("/proc/meminfo", encoding="ascii") as file:
      for line in file:
        if line.startswith("MemAvailable:"):
          return int(line.split()[1]) * 1024
  except OSError:
    pass
  try:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
  except (AttributeError, OSError, ValueError):
    return None


def _compiled(
    model, variables, size, tile, bucket, *, frames, length, aux, mesh,
    available,
):
  """The plan but for the time of a frame, and [(program, its arguments)]."""
  shown, tiles, devices = size, 1, 1 if mesh is None else mesh.size
  if tile is not None:
    padded = tuple(side + -side % model.stride for side in size)
    cut = tiling.tiles(model, padded, tile)
    rows, columns = cut[0]
    shown, tiles = (rows.stop, columns.stop), len(cut)
  if bucket is not None:
    tiling.check_bucket(model, bucket)
  programs, made = streaming.programs(
      model, variables, shown, length=length, aux=aux, bucket=bucket, mesh=mesh
  )
  start = time.perf_counter()
  compiled = []
  for function, arguments in programs:
    program = function.lower(*arguments).compile()
    compiled.append((program, arguments[2:]))  # Two are static.
  seconds = time.perf_counter() - start
  weights = _bytes(variables)
  held, most, flops = 0, 0, 0.0
  for program, (_, *inputs) in compiled:
    memory = program.memory_analysis()
    # Of each of a frame's windows, all frames wait; and one result. XLA
    # speaks of one device.
    held += _bytes(inputs) // devices + memory.output_size_in_bytes
    most = max(most, memory.temp_size_in_bytes)
    cost = program.cost_analysis() or {}
    flops += cost.get("flops", float("nan"))
  device = jax.local_devices()[0]
  if device.platform == "cpu":
    most += int(_CPU_SHARE * most) + _CPU_BYTES // devices
  return Plan(
      size=size,
      frames=frames,
      tile=tile,
      bucket=bucket,
      tiles=tiles,
      memory=weights + tiles * held + most,
      available=available,
      seconds_per_frame=None,
      compile_seconds=seconds,
      flops=flops * tiles * devices / made if flops == flops else None,
      device=device.device_kind,
      devices=devices,
  ), compiled


def _timed(compiled, made, plan) -> float:
  """Seconds for one frame, of `made` in one go."""
  def grey(leaf):
    if jnp.issubdtype(getattr(leaf, "dtype", float), jnp.integer):
      # A bucket's valid part, or a clip's own length.
      return jnp.asarray(plan.size if leaf.shape else made, leaf.dtype)
    filled = jnp.full(getattr(leaf, "shape", ()), 0.5, jnp.float32)
    return jax.device_put(filled, getattr(leaf, "sharding", None))

  total = 0.0
  for program, arguments in compiled:
    given = jax.tree.map(grey, arguments)
    jax.block_until_ready(program(*given))  # The first one is slower.
    start = time.perf_counter()
    jax.block_until_ready(program(*given))
    total += time.perf_counter() - start
  return total * plan.tiles / made


def _bytes(tree) -> int:
  return sum(
      leaf.size * leaf.dtype.itemsize
      for leaf in jax.tree.leaves(tree)
      if hasattr(leaf, "dtype")
  )


def _gigabytes(count):
  return f"{count / 1e9:.2f} GB"


def _duration(seconds):
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02}:{seconds:02}"
