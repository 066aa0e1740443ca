"""Convolutions with the padding and the up-sampling of the papers' code.

All of them map `[B, H, W, C]`, have a bias unless told otherwise, keep
parameters in float32 and compute in `dtype`.
"""

import contextlib
import contextvars
import functools
import math

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from vidrestore_jax.layers import fewer_products
from vidrestore_jax.layers.fewer_products import plain
from vidrestore_jax.layers.resample import depth_to_space
from vidrestore_jax.shapes import check_choice

# Keeps the variance of its input. PyTorch's default, a third of that, loses the
# signal in a deep network whose blocks are not normalised; with it the first
# hundreds of steps of a short run learn nothing.
kernel_init = nn.initializers.lecun_normal()


def kaiming_normal(gain: float = 2.0):
  """He et al., ICCV 2015: variance gain / fan-in; not truncated, as PyTorch's.

  Args:
    gain: 2 in front of a ReLU, 1 where a variance is to be kept.
  """
  return nn.initializers.variance_scaling(gain, "fan_in", "normal")


@jax.custom_jvp
def add_bias(x, bias):
  """`x` `[..., C]` and a float32 bias `[C]`, in the dtype of `x`.

  In the dtype of `x`, as what comes right behind a convolution can be made one
  with it on a GPU. The bias' gradient is summed in float32: a sum of bfloat16
  stops growing where its terms are too small to change it.
  """
  return x + bias.astype(x.dtype)


@add_bias.defjvp
def _add_bias_tangent(primals, tangents):
  along_x, along_bias = tangents
  return add_bias(*primals), (along_x + along_bias).astype(along_x.dtype)


# With fewer output channels than this XLA's gradient with respect to the kernel
# takes two to fourteen times as long as it need on a CPU.
_NARROW = 32


def convolve(
    x, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), bias=None
):
  """A convolution, in a form that is fast where it runs.

  On a CPU its gradients are convolutions in the one order of axes that XLA
  computes fast there wherever they are; those of its own making it brings into
  that order outside of loops alone, and in a loop over time a backward pass
  takes twenty times as long. A wide kernel for very few channels, as in
  the last layer of a flow, is one of columns. A 1x1 convolution is a matrix
  product, which takes a half to a quarter of the time of XLA's convolution.
  In float32, and where a CPU is JAX's only device, kernels for many channels
  are computed in fewer products (`layers.fewer_products`) unless gradients are
  taken, and the gradients of kernels that take much work are summed over bands
  of rows.
  On a GPU, in bfloat16, see `for_tensor_cores`. What is traced on one platform
  for another, as by `jax.export`, is best traced in `use_form("usual")`.

  Args:
    x: `[B, H, W, C]`.
    kernel: `[k, l, C, features]`.
    stride: of rows and of columns.
    padding: zeros before and behind the rows, and the columns.
    bias: `[features]` in float32, or None.

  Returns:
    `[B, H', W', features]`.
  """
  padding, stride = tuple(map(tuple, padding)), tuple(stride)
  if kernel.shape[:2] == stride == (1, 1) and not any(map(any, padding)):
    # Of pixels as rows: as a product over more axes its gradient is slower.
    y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    y = y.reshape(*x.shape[:-1], -1)
  elif has_tensor_cores(x.dtype):
    return for_tensor_cores(x, kernel, stride, padding, bias)
  elif _form.get() == "plain":
    y = plain(x, kernel, padding, stride)
  else:
    y = _convolve(*_varying_alike(x, kernel), padding, stride)
  return y if bias is None else add_bias(y, bias)


FORMS = ("plain", "usual", "tensor_cores")
_form = contextvars.ContextVar("form", default=None)


@contextlib.contextmanager
def use_form(form: str):
  """A context in which convolutions are traced in a form, wherever they run.

  What was jitted and traced before keeps the form that it has.

  Args:
    form: "plain", XLA's own, with the taps of the paper and no more; "usual",
      that of CPUs and of float32, but for what is chosen by where it runs; or
      "tensor_cores", see `for_tensor_cores`.

  Raises:
    ValueError: there is no such form.
  """
  check_choice("The form of convolutions", form, FORMS)
  token = _form.set(form)
  try:
    yield
  finally:
    _form.reset(token)


def has_tensor_cores(dtype) -> bool:
  """Whether convolutions in it have the form of `for_tensor_cores`.

  On a GPU those in bfloat16 do, unless `use_form` says otherwise.
  """
  if _form.get() is not None:
    return _form.get() == "tensor_cores"
  return jax.default_backend() == "gpu" and dtype == jnp.bfloat16


def spare_channels(channels: int, dtype, groups: int = 1) -> int:
  """How many channels of zeros make as many as are computed fast.

  Args:
    channels: that a convolution makes for another one.
    dtype: of both.
    groups: of the first; see `GroupedConv`.
  """
  if has_tensor_cores(dtype):
    return _missing(channels)
  return -channels % _VECTOR if groups > 1 and _is_on_cpu() else 0


_VECTOR = 16  # Channels that fill the vector registers of any CPU.


def _is_on_cpu():
  """Whether a convolution may have a form that is for CPUs alone."""
  return _form.get() is None and jax.default_backend() == "cpu"


_ALIGNED = 8  # Channels whose values a GPU reads at once.


def _missing(channels):
  """From there to a number of input channels that an H200 is fast with.

  Of 36 channels a 3x3 convolution took 156 us as of 40, 114 as of 48 and 97 as
  of 64.
  """
  if channels % _ALIGNED == 0:
    return 0
  return -channels % (16 if channels < 32 else 32)


def for_tensor_cores(x, kernel, stride, padding, bias):
  """A convolution as `convolve` has it, of shapes that cuDNN is fast with.

  Of fewer than 32 channels it computes no faster than of 32 or 64. So where 16
  or fewer come in or go out, and no more than 64, neighbouring columns become
  channels, which in memory they are already, and the kernel the one over these
  that is the same: with zeros, but on an H200 in a quarter to three quarters of
  the time, gradients too. What is no multiple of eight channels it copies on
  the way in and out: zeros are added here, where whatever makes x may write
  them.

  Args:
    x: as in `convolve`, like the others.
    kernel: likewise.
    stride: likewise.
    padding: likewise.
    bias: likewise.

  Returns:
    Likewise.
  """
  _, columns, channels, features = kernel.shape
  fold = 1
  if (
      stride == (1, 1)
      and 1 < columns == sum(padding[1]) + 1  # As many come out as go in.
      and min(channels, features) <= 16
      and max(channels, features) <= 64
      and not jax.export.is_symbolic_dim(x.shape[2])
  ):
    fold = math.gcd(x.shape[2], 4 if columns > 3 else 2)
  aligned = _ALIGNED // fold
  missing = _missing(channels) if fold == 1 else -channels % aligned
  more = (missing, -features % aligned)
  if any(more):
    x = jnp.pad(x, ((0, 0),) * 3 + ((0, more[0]),))
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, more[0]), (0, more[1])))
    if bias is not None:
      bias = jnp.pad(bias, (0, more[1]))
  batch, height, width = x.shape[:3]
  if fold > 1:
    x = x.reshape(batch, height, width // fold, -1)
    kernel, padding = _folded(kernel, padding, fold)
    bias = None if bias is None else jnp.tile(bias, fold)
  y = plain(x, kernel, padding, stride)
  if bias is not None:
    y = add_bias(y, bias)
  if fold > 1:
    y = y.reshape(*y.shape[:2], width, -1)
  return y[..., :features]


def _folded(kernel, padding, fold):
  """A kernel and its padding for `fold` columns as channels, first columns."""
  rows, columns, channels, features = kernel.shape
  before = padding[1][0]
  first, last = -before // fold, (fold - 1 + columns - 1 - before) // fold
  blocks = np.arange(first, last + 1)[:, None, None]
  # Column q of an output block reads column p of a block with the tap that is
  # as far away, if there is one.
  p, q = np.arange(fold)[:, None], np.arange(fold)
  tap = fold * blocks + p - q + before
  chosen = tap == np.arange(columns)[:, None, None, None]
  kernel = jnp.einsum(
      "ktcf,tbpq->kbpcqf", kernel, chosen.astype(kernel.dtype),
      precision="highest",
  )
  kernel = kernel.reshape(rows, len(blocks), fold * channels, fold * features)
  return kernel, (padding[0], (-first, last))


def _varying_alike(*arrays):
  """The arrays, in `jax.shard_map` varying over the same axes of its mesh.

  JAX sees to this in its own operations. What has a derivative of its own has
  to be given such, and its gradients are then summed over the devices.
  """
  axes = [jax.typeof(array).manual_axis_type.varying for array in arrays]
  every = frozenset().union(*axes)
  return [
      jax.lax.pcast(array, tuple(sorted(every - own)), to="varying")
      for array, own in zip(arrays, axes)
  ]


def _is_on_one_cpu(x):
  """Whether x may be computed in tiles or bands of rows.

  With more devices, of which each has a part of x, all would gather it.
  """
  return (
      _is_on_cpu()
      and jax.device_count() == 1
      and x.dtype == jnp.float32
      and not any(map(jax.export.is_symbolic_dim, x.shape))
  )


def _of_fewer_products(x, kernel, padding, stride):
  """The form of fewer products that is the fastest, if one is, or None.

  It has to be worth its compilation: two layers of a pyramid's level take 0.7 s
  more `by_frequency`, one 0.1 to 0.3 s more `by_minimal_filtering`. Below these
  sizes they gain less than 10 and 4 ms.
  """
  if stride != (1, 1) or not _is_on_one_cpu(x):
    return None
  height = x.shape[1] + sum(padding[0]) - kernel.shape[0] + 1
  pixels, channels = math.prod(x.shape[:3]), min(kernel.shape[2:])
  if min(kernel.shape[:2]) >= 7 and channels >= 32 and pixels >= 2**14:
    form = fewer_products.by_frequency
    rows = fewer_products.FREQUENCY_ROWS
  elif (
      kernel.shape[:2] == (3, 3)
      and channels >= 96
      and pixels * math.prod(kernel.shape) >= 2**29
  ):
    form = fewer_products.by_minimal_filtering
    rows = len(fewer_products.F43.outputs)
  else:
    return None
  # Tiles that are mostly filled.
  return form if height > 0 and -height % rows <= height / 4 else None


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _convolve(x, kernel, padding, stride):
  form = _of_fewer_products(x, kernel, padding, stride)
  if form is not None:
    return form(x, kernel, padding)
  return _direct(x, kernel, padding, stride)


def _direct(x, kernel, padding, stride):
  rows, columns, channels, features = kernel.shape
  if columns < 5 or columns * features > _NARROW or stride != (1, 1):
    return plain(x, kernel, padding, stride)
  # The columns of taps as outputs of their own, which are shifted and added:
  # two outputs of 7x7 taps take a fifth of the time so.
  taps = kernel.swapaxes(1, 2).reshape(rows, 1, channels, -1)
  y = plain(x, taps, (padding[0], (0, 0))).astype(jnp.float32)
  y = jnp.pad(y, ((0, 0), (0, 0), padding[1], (0, 0)))
  width = y.shape[2] - columns + 1
  parts = [
      y[:, :, i : i + width, i * features : (i + 1) * features]
      for i in range(columns)
  ]
  return sum(parts).astype(x.dtype)


@_convolve.defjvp
def _tangent(padding, stride, primals, tangents):
  x, kernel = primals
  y = _direct(x, kernel, padding, stride)
  if jax.default_backend() != "cpu":
    along_x = plain(tangents[0], kernel, padding, stride)
    return y, along_x + plain(x, tangents[1], padding, stride)
  # The same, said so that their transposes are the gradients below. For these a
  # loop keeps each frame's x, and not what they make of it; what they make of
  # the kernel is the same for all frames.
  gradients = (
      functools.partial(_input_gradient, x.shape, padding, stride, kernel),
      functools.partial(_kernel_gradient, kernel.shape, padding, stride),
  )
  (along_x,) = jax.linear_transpose(gradients[0], y)(tangents[0])

  @functools.partial(jax.checkpoint, prevent_cse=False)
  def along_kernel(x, tangent):
    gradient = functools.partial(gradients[1], x)
    return jax.linear_transpose(gradient, y)(tangent)[0]

  return y, along_x + along_kernel(x, tangents[1])


def _input_gradient(shape, padding, stride, kernel, gradient):
  """The gradient of a convolution with respect to its input of that shape."""
  pads = []
  for size, taps, (before, _), step, outputs in zip(
      shape[1:3], kernel.shape, padding, stride, gradient.shape[1:3]
  ):
    first = taps - 1 - before
    pads.append((first, size + before - 1 - (outputs - 1) * step))
  back = kernel[::-1, ::-1].swapaxes(-1, -2)
  return plain(gradient, back, pads, lhs_dilation=stride)


def _kernel_gradient(shape, padding, stride, x, gradient):
  """The gradient of a convolution with respect to its kernel of that shape.

  A convolution of one of the two by the other, whose channels are the outputs:
  of x by the gradient or, with all taps reversed, of the gradient by x. XLA's
  form for a CPU is fast where there are 32 outputs or more: where there are
  fewer it is made of the wider of the two, filled up with zeros. What is worth
  a loop is `_summed_over_bands`, whose outputs are the wider of the two.
  """
  channels, features = shape[2:]
  banded = (
      stride == (1, 1)
      and _is_on_one_cpu(x)
      and math.prod(gradient.shape[:3]) * math.prod(shape) >= _WORTH_A_LOOP
      # Or reversed it would be cropped.
      and all(max(pad) < taps for pad, taps in zip(padding, shape))
  )
  if banded:
    reverse = features < channels
  else:
    reverse = stride == (1, 1) and features < _NARROW and channels >= features
  pads = []
  for size, taps, (before, behind), step, outputs in zip(
      x.shape[1:3], shape, padding, stride, gradient.shape[1:3]
  ):
    if reverse:
      pads.append((taps - 1 - before, taps - 1 - behind))
    else:
      pads.append((before, taps + (outputs - 1) * step - size - before))
  if reverse:
    x, gradient = gradient, x
  if banded:
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    found = _summed_over_bands(x, gradient, shape[:2])
    return found[::-1, ::-1].swapaxes(2, 3) if reverse else found
  if stride == (1, 1):
    missing = max(_NARROW - gradient.shape[-1], 0)
    gradient = jnp.pad(gradient, ((0, 0),) * 3 + ((0, missing),))
  # Channels are what is a batch else, and examples what is summed over.
  found = plain(
      x.transpose(3, 1, 2, 0),
      gradient.transpose(1, 2, 0, 3),
      pads,
      rhs_dilation=stride,
  )[..., : channels if reverse else features]
  if reverse:
    return found[:, ::-1, ::-1].transpose(1, 2, 3, 0)
  return found.transpose(1, 2, 0, 3)


_WORTH_A_LOOP = 2**26  # Products, which take some 10 ms.
# Of a band. Half as many take a tenth longer, twice as many up to a third
# (3x3 and 7x7 of 32 to 64 channels, 96x96).
_PIXELS = 1536


def _summed_over_bands(x, gradient, taps):
  """The gradient of a kernel, band of rows by band of rows.

  For each row of taps, a band's gradient times the columns that it reads
  (im2col): products that fit the caches where frames are as narrow as in
  training. Against XLA's convolution for it see
  experiments/benchmarks/formulations.py: on some hosts that takes several times
  as long as on others, and in a loop over time many times.

  Args:
    x: `[B, H + k - 1, W + l - 1, C]`, padded.
    gradient: `[B, H, W, features]`.
    taps: k and l.

  Returns:
    `[k, l, C, features]`.
  """
  batch, height, width, features = gradient.shape
  more = taps[0] - 1
  bands = -(-height // max(_PIXELS // width, 1))
  rows = max(-(-height // bands), more)  # Nearly none of them to be filled up.
  bands = -(-height // rows)
  missing = bands * rows - height
  gradient = jnp.pad(gradient, ((0, 0), (0, missing), (0, 0), (0, 0)))
  x = jnp.pad(x, ((0, 0), (0, missing + rows - more), (0, 0), (0, 0)))
  # A band reads its own rows and the first of the next.
  own, following = (
      part.reshape(batch * bands, rows, *x.shape[2:])
      for part in (x[:, :-rows], x[:, rows:])
  )
  x = jnp.concatenate([own, following[:, :more]], 1)
  # Transposed once here: of what is multiplied along its columns, in the loop,
  # XLA makes a slower product.
  gradient = gradient.reshape(batch * bands, rows * width, features)
  gradient = gradient.swapaxes(1, 2)

  # Or the columns of all bands would be kept for the transpose.
  @functools.partial(jax.checkpoint, prevent_cse=False)
  def add(total, band):
    x, gradient = band
    # The columns of a row of taps, side by side. Each row of taps then
    # multiplies a slice of them that begins some rows further down.
    columns = jnp.concatenate(
        [x[:, i : i + width] for i in range(taps[1])], -1
    )
    found = [
        gradient @ columns[i : i + rows].reshape(rows * width, -1)
        for i in range(taps[0])
    ]
    return total + jnp.stack(found), None

  # Of what varies over the axes of a mesh as they do.
  first = jnp.zeros_like(
      gradient, shape=(taps[0], features, taps[1] * x.shape[-1])
  )
  total, _ = jax.lax.scan(add, first, (x, gradient))
  total = total.reshape(taps[0], features, taps[1], -1)
  return total.transpose(0, 2, 3, 1)


class _Biased(nn.Module):
  """The convolution of a `Conv`, whose parameters are named after it."""

  features: int
  kernel: int
  stride: int
  dtype: str
  kernel_init: nn.initializers.Initializer
  bias_init: nn.initializers.Initializer

  @nn.compact
  def __call__(self, x):
    side, pad = self.kernel, self.kernel // 2
    shape = (side, side, x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape)
    bias = self.param("bias", self.bias_init, shape[-1:])
    x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
    y = x.reshape(-1, *x.shape[-3:])
    y = convolve(y, kernel, (self.stride,) * 2, ((pad, pad),) * 2, bias)
    return y.reshape(*x.shape[:-3], *y.shape[1:])


# A hundredth of that: what is added to a frame starts as nearly nothing.
small_normal = kaiming_normal(2e-4)


class Conv(nn.Module):
  """A k x k convolution, zero-padded by k // 2 on every side.

  At stride 2 this differs from SAME padding, which pads the bottom and right
  only; the symmetric form is PyTorch's, so published weights fit.
  """

  features: int
  kernel: int = 3
  stride: int = 1
  dtype: str = "float32"
  kernel_init: nn.initializers.Initializer = kernel_init
  bias_init: nn.initializers.Initializer = nn.initializers.zeros

  @nn.compact
  def __call__(self, x):
    """[..., H, W, C] to [..., ceil(H / stride), ceil(W / stride), features]."""
    return _Biased(
        self.features,
        self.kernel,
        self.stride,
        self.dtype,
        self.kernel_init,
        self.bias_init,
        name="conv",
    )(x)


class GroupedConv(nn.Module):
  """A 3x3 convolution in contiguous groups of channels, zero-padded by 1.

  Computed group by group: XLA's own grouped convolution takes many times as
  long on a CPU. In the form for tensor cores, and on a CPU where no gradient is
  taken, as one convolution whose kernel has zeros between the groups; on a CPU
  that is faster only with the spare channels (measured by
  experiments/benchmarks/formulations.py). One group is the plain convolution.
  """

  features: int
  groups: int = 1
  stride: int = 1
  use_bias: bool = True
  dtype: str = "float32"
  kernel_init: nn.initializers.Initializer = kernel_init

  @nn.compact
  def __call__(
      self, x, affine=None, *, unread: int = 0, spare: int = 0,
      forward: bool = False,
  ):
    """[B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), features].

    Args:
      x: the array.
      affine: None, or a factor and a constant `[features]`, float32, of what
        follows: kernel and bias then do that too.
      unread: channels at the end of x that are no part of C; of finite values.
      spare: channels of zeros behind the features; see `spare_channels`.
      forward: no gradient will be taken, or it may be slow.

    Raises:
      ValueError: C or features do not split into the groups.
    """
    channels, groups = x.shape[-1] - unread, self.groups
    if channels % groups or self.features % groups:
      raise ValueError(
          f"A convolution in {groups} groups takes and makes multiples of"
          f" {groups} channels, but got {channels} in and {self.features} out."
      )
    kernel = self.param(
        "kernel", self.kernel_init, (3, 3, channels // groups, self.features)
    )
    bias = None
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (self.features,))
    if affine is not None:
      factor, constant = affine
      kernel = kernel * factor
      bias = constant if bias is None else bias * factor + constant
    x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
    run = functools.partial(
        convolve, stride=(self.stride,) * 2, padding=((1, 1), (1, 1))
    )
    dense = has_tensor_cores(x.dtype) or (forward and _is_on_cpu())
    if groups > 1 and not dense:
      x = x[..., :channels]
      pairs = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1))
      x = jnp.concatenate([run(part, weights) for part, weights in pairs], -1)
      x = x if bias is None else add_bias(x, bias)
      return jnp.pad(x, ((0, 0),) * 3 + ((0, spare),))
    if groups > 1:
      kernel = dense_kernel(kernel, groups)
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, unread), (0, spare)))
    bias = None if bias is None else jnp.pad(bias, (0, spare))
    return run(x, kernel, bias=bias)


def dense_kernel(kernel, groups):
  """The kernel `[k, l, C, features]` of one in groups `[k, l, C / g, ...]`."""
  parts = jnp.split(kernel, groups, -1)
  channels = kernel.shape[2]
  return jnp.concatenate(
      [
          jnp.pad(
              part,
              (
                  (0, 0), (0, 0),
                  (i * channels, (groups - 1 - i) * channels), (0, 0),
              ),
          )
          for i, part in enumerate(parts)
      ],
      -1,
  )


class SpaceTimeConv(nn.Module):
  """A 3x3x3 convolution, zero-padded by 1 in space, and in time unless told.

  Computed as 2-D convolutions of the frames. XLA's 3-D convolution takes three
  to ten times as long on a CPU.
  """

  features: int
  pad_time: bool = True
  dtype: str = "float32"
  kernel_init: nn.initializers.Initializer = kernel_init

  @nn.compact
  def __call__(self, x):
    """[B, T, H, W, C] to [B, T, H, W, features], unpadded T - 2 frames."""
    batch, frames, height, width, channels = x.shape
    shape = (3, 3, 3, channels, self.features)  # Time first.
    kernel = self.param("kernel", self.kernel_init, shape)
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)

    def of_frames(x, kernel):
      images = x.reshape(-1, height, width, channels)
      y = convolve(images, kernel, padding=((1, 1), (1, 1)))
      return y.reshape(batch, -1, height, width, kernel.shape[-1])

    if self.pad_time:
      # Each frame once, for the outputs before, at and after its time.
      parts = of_frames(x, jnp.concatenate(kernel, -1))
      parts = jnp.pad(parts, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
      parts = [
          part[:, i : i + frames]
          for i, part in enumerate(jnp.split(parts, 3, -1))
      ]
    else:
      parts = [
          of_frames(x[:, i : i + frames - 2], kernel[i]) for i in range(3)
      ]
    return add_bias(sum(parts), bias)


class SubPixelConv(nn.Module):
  """A convolution to 4 * features channels, then depth to space: x2."""

  features: int
  kernel: int = 3
  dtype: str = "float32"
  kernel_init: nn.initializers.Initializer = kernel_init

  @nn.compact
  def __call__(self, x):
    """[B, h, w, C] to [B, 2 h, 2 w, features]."""
    expand = Conv(
        4 * self.features,
        self.kernel,
        dtype=self.dtype,
        kernel_init=self.kernel_init,
        name="expand",
    )
    return depth_to_space(expand(x))


class TransposedConv(nn.Module):
  """A 3x3 transposed convolution of stride 2: x2.

  out[2 i + k - 1] += x[i] * kernel[k] along each axis, that is PyTorch's
  ConvTranspose2d(kernel 3, stride 2, padding 1, output_padding 1).

  Computed as its four output phases (1x1, 1x2, 2x1 and 2x2 taps), the nine
  taps that a transposed convolution really has. XLA's own form, a convolution
  over an input with zeros between the pixels, takes ten times as long to
  differentiate on a CPU.
  """

  features: int
  dtype: str = "float32"
  kernel_init: nn.initializers.Initializer = kernel_init

  @nn.compact
  def __call__(self, x):
    """[B, h, w, C] to [B, 2 h, 2 w, features]."""
    batch, height, width, channels = x.shape
    kernel = self.param(
        "kernel", self.kernel_init, (3, 3, channels, self.features)
    )
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
    # An even output reads its own input with tap 1; an odd one reads its own
    # with tap 2 and the next with tap 0. The next past the border is zero.
    taps = (slice(1, 2), slice(None, None, -2))
    phases = [
        convolve(x, kernel[rows, columns], padding=((0, i), (0, j)))
        for i, rows in enumerate(taps)
        for j, columns in enumerate(taps)
    ]
    phases = jnp.stack(phases, -1).reshape(
        batch, height, width, 4 * self.features
    )
    return add_bias(depth_to_space(phases), bias)


class WideTransposedConv(nn.Module):
  """A transposed convolution of a wide kernel, to `stride` times the size.

  out[s i + k - r] += x[i] * kernel[k] along each axis, k = 0 .. 2 r, that is
  PyTorch's ConvTranspose2d(kernel 2 r + 1, stride s, padding r, output_padding
  s - 1).

  Computed as one convolution to s**2 phases, in which taps that a phase does
  not have are zeros (63 of 144 for 9x9 and s = 4). That takes a fifth of the
  time of XLA's own form, or of one convolution for each phase, to
  differentiate on a CPU.
  """

  features: int
  kernel: int
  stride: int
  dtype: str = "float32"
  kernel_init: nn.initializers.Initializer = kernel_init

  @nn.compact
  def __call__(self, x):
    """[B, h, w, C] to [B, stride h, stride w, features]."""
    side, stride, pad = self.kernel, self.stride, self.kernel // 2
    shape = (side, side, x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape)
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
    # Phase p of an output reads the input d pixels away with tap p + r - s d.
    reach = -(-pad // stride)
    distances = np.arange(-reach, reach + 1)[:, None]
    taps = np.arange(stride) + pad - stride * distances
    taps[(taps < 0) | (taps >= side)] = side  # The row of zeros.
    kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    kernel = kernel[taps][:, :, taps]  # [d, p, d, p, C, features]
    kernel = kernel.transpose(0, 2, 4, 5, 1, 3)
    phases = convolve(
        x,
        kernel.reshape(*kernel.shape[:3], self.features * stride**2),
        padding=((reach, reach), (reach, reach)),
    )
    return add_bias(depth_to_space(phases, stride), bias)
