"""NCFL: neural compression-based feature learning for video restoration.

Huang et al., CVPR 2022. Section numbers are those of its supplementary. One
recurrent, causal step restores a frame x_t from it and from the feature
c_{t-1} that the step before left:

  1. v = SpyNet(x_t, x_{t-1});  v^ = MVR(v);  c^ = warp(c_{t-1}, v^)  alignment
  2. c' = FA(x_t, c^) * c^                                   feature attention
  3. c~ = decode(quantize(encode(c')))            compression as noise removal
  4. y_t, c_t = U-Net(x_t, c~)                                        fusion
"""

import functools

import flax.linen as nn
import jax.numpy as jnp

from vidrestore_jax.layers import recomputation
from vidrestore_jax.layers.convolution import (
    Conv,
    SubPixelConv,
    TransposedConv,
    kernel_init,
)
from vidrestore_jax.layers.entropy import INTERVALS, symbol_bits
from vidrestore_jax.layers.gdn import GDN
from vidrestore_jax.layers.quantization import adaptive_quantize, bounded_step
from vidrestore_jax.layers.resample import (
    average_pool,
    depth_to_space,
    space_to_depth,
    upsample_bilinear,
)
from vidrestore_jax.layers.residual import ResBlock
from vidrestore_jax.layers.scattering import CUES, clear_view, haze_cues
from vidrestore_jax.layers.warp import backward_warp
from vidrestore_jax.models import spynet, unet
from vidrestore_jax.shapes import (
    Restored,
    check_channels,
    check_choice,
    check_dtype,
    check_multiple,
    check_noise,
    check_rank,
)

# The supplementary leaves widths and up-sampling open. "table" is the reading
# that gives Table 1's GFLOPs, "literal" its text word by word; no reading
# gives both.
PRESETS = {
    "table": dict(
        feature_channels=32,
        upsample="subpixel",
        normalize_latent=False,
        prior_channels=(64, 128),
        attention_blocks=4,
        attention_middle_blocks=12,
        skip="concat",
    ),
    "literal": dict(
        feature_channels=64,
        upsample="transposed",
        normalize_latent=True,
        prior_channels=(64, 64),
        attention_blocks=1,
        attention_middle_blocks=5,
        skip="conv_add",
    ),
}
MOTION_REFINERS = ("mvr", "mconv", "none")
FEATURE_REFINERS = ("ncfl", "noq", "nconv", "none")
UPSAMPLING = {"subpixel": SubPixelConv, "transposed": TransposedConv}

_leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.01)


def _fold_kernel(key, shape, dtype=jnp.float32):
  """A strided 3x3 kernel that is `space_to_depth`; `shape` is HWIO."""
  del key
  kernel = jnp.zeros(shape, dtype)
  channel = jnp.arange(shape[2])
  for i in range(2):
    for j in range(2):  # An output is centred on the first of its block.
      kernel = kernel.at[1 + i, 1 + j, channel, 4 * channel + 2 * i + j].set(1)
  return kernel


def _centre_kernel(key, shape, dtype=jnp.float32):
  """A 3x3 kernel that is the identity."""
  del key
  return jnp.zeros(shape, dtype).at[1, 1].set(jnp.eye(shape[3], dtype=dtype))


class Encoder(nn.Module):
  """conv s2, GDN, conv s2: [B, H, W, C] to [B, H/4, W/4, latent_channels].

  `normalize_latent` puts a GDN behind the second convolution too. With
  `identity_start` both convolutions start as foldings of 2x2 pixels into
  channels, which a decoder that starts likewise undoes up to the GDN.
  """

  hidden_channels: int
  latent_channels: int
  normalize_latent: bool
  dtype: str
  identity_start: bool = False

  @nn.compact
  def __call__(self, x):
    widths = (self.hidden_channels, self.latent_channels)
    if self.identity_start and widths != (4 * x.shape[-1], 16 * x.shape[-1]):
      raise ValueError(
          "identity_start needs hidden_channels and latent_channels of 4 and 16"
          f" times the feature's {x.shape[-1]}, but they are {widths}."
      )
    start = _fold_kernel if self.identity_start else kernel_init

    def down(index):
      return Conv(
          widths[index],
          stride=2,
          dtype=self.dtype,
          kernel_init=start,
          name=f"conv_{index}",
      )

    x = GDN(dtype=self.dtype, name="gdn_0")(down(0)(x))
    x = down(1)(x)
    if self.normalize_latent:
      x = GDN(dtype=self.dtype, name="gdn_1")(x)
    return x


class Decoder(nn.Module):
  """up x2, IGDN, up x2: [B, h, w, C] to [B, 4 h, 4 w, channels]."""

  channels: int
  hidden_channels: int
  upsample: str
  dtype: str
  identity_start: bool = False

  @nn.compact
  def __call__(self, x):
    up = UPSAMPLING[self.upsample]
    if self.identity_start:
      up = functools.partial(up, kernel_init=_centre_kernel)
    x = up(self.hidden_channels, dtype=self.dtype, name="up_0")(x)
    x = GDN(inverse=True, dtype=self.dtype, name="igdn_0")(x)
    return up(self.channels, dtype=self.dtype, name="up_1")(x)


class MotionRefiner(nn.Module):
  """MVR (section 2, figure 1a): an auto-encoder of the flow, not quantised.

  `residual` adds its input back, so that a run that starts from a good flow
  starts with it.
  """

  hidden_channels: int = 64
  upsample: str = "subpixel"
  normalize_latent: bool = False
  residual: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(self, flow):
    """Maps [B, H, W, 2] to [B, H, W, 2], pixels."""
    hidden = self.hidden_channels
    code = Encoder(
        hidden, hidden, self.normalize_latent, self.dtype, name="encoder"
    )(flow)
    decode = Decoder(2, hidden, self.upsample, self.dtype, name="decoder")
    refined = decode(code).astype(jnp.float32)
    return flow + refined if self.residual else refined


class ConvStack(nn.Module):
  """Three 3x3 convolutions at full resolution, LeakyReLU between.

  The ablation's stand-ins of equal cost: M-Conv (48 channels, for the MVR) and
  N-Conv (72 channels, for the compression module), section 4.1.
  """

  hidden_channels: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x):
    """Maps [B, H, W, C] to [B, H, W, C] in x's dtype."""
    channels, dtype = x.shape[-1], x.dtype
    for i in range(2):
      conv = Conv(self.hidden_channels, dtype=self.dtype, name=f"conv_{i}")
      x = _leaky_relu(conv(x))
    return Conv(channels, dtype=self.dtype, name="conv_2")(x).astype(dtype)


class FeatureAttention(nn.Module):
  """FA (section 2, figure 1b): which parts of the aligned feature to trust.

  An auto-encoder over three scales with `blocks` ResBlocks at each scale on
  either way and `middle_blocks` at the coarsest, ending in a sigmoid. The
  supplementary's "4 ResBlocks at the largest scale to increase the receptive
  field" are read as the coarsest scale, where they do that.
  """

  widths: tuple[int, ...] = (16, 32, 64)
  blocks: int = 4
  middle_blocks: int = 12
  dtype: str = "float32"
  remat: str = "none"

  @nn.compact
  def __call__(self, frame, feature):
    """Maps [B, H, W, .] and [B, H, W, C] to a mask [B, H, W, C] in (0, 1)."""

    def blocks(name, count, x):
      for i in range(count):
        block = ResBlock(dtype=self.dtype, name=f"{name}_{i}")
        x = recomputation.run(block, x, recompute=self.remat == "block")
      return x

    x = jnp.concatenate([frame.astype(feature.dtype), feature], -1)
    x = Conv(self.widths[0], dtype=self.dtype, name="stem")(x)
    skips = []
    for i, width in enumerate(self.widths[1:]):
      x = blocks(f"encoder_{i}", self.blocks, x)
      skips.append(x)
      x = Conv(width, stride=2, dtype=self.dtype, name=f"down_{i}")(x)
    x = blocks("middle", self.middle_blocks, x)
    for i, width in reversed(list(enumerate(self.widths[:-1]))):
      x = TransposedConv(width, dtype=self.dtype, name=f"up_{i}")(x)
      x = jnp.concatenate([x, skips[i]], -1)
      x = Conv(width, dtype=self.dtype, name=f"fuse_{i}")(x)
      x = blocks(f"decoder_{i}", self.blocks, x)
    mask = Conv(feature.shape[-1], dtype=self.dtype, name="mask")(x)
    return nn.sigmoid(mask)


class Compression(nn.Module):
  """The NCFL module (section 2, figure 2): filters a feature by coding it.

  A prior of three convolutions predicts mean, scale and step of every latent
  element; the latent is quantised with them and decoded. What the rate term
  does not find worth its bits, noise first, is gone.

  Attributes:
    hidden_channels: between the two strided convolutions.
    latent_channels: of the latent.
    prior_channels: the prior's two hidden widths.
    upsample: "subpixel" or "transposed".
    normalize_latent: a GDN behind the encoder's last convolution too.
    quantize: False is the ablation NoQ: no prior, no rate.
    distribution: "laplace" or "gaussian".
    add_mean_back: whether the dequantised latent contains the mean.
    step_minimum: lower bound of the quantisation step.
    step_start: the step before training, where the prior's last kernel adds
      little. What is finer than a step is lost; a short run starts low.
    identity_start: encoder and decoder start as inverses of each other, so
      that a short run needs not first learn to pass a feature on at all.
    dtype: compute dtype; prior, symbols and rate are float32.
  """

  hidden_channels: int = 64
  latent_channels: int = 64
  prior_channels: tuple[int, int] = (64, 128)
  upsample: str = "subpixel"
  normalize_latent: bool = False
  quantize: bool = True
  distribution: str = "laplace"
  add_mean_back: bool = True
  step_minimum: float = 0.5
  step_start: float = 1.0
  identity_start: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(self, feature):
    """Maps [B, H, W, C] to a feature of that shape and bits [B, h, w, L].

    Bits are those of each latent element (h = H / 4), None without
    quantisation.
    """
    latent = Encoder(
        self.hidden_channels,
        self.latent_channels,
        self.normalize_latent,
        self.dtype,
        self.identity_start,
        name="encoder",
    )(feature)
    bits = None
    if self.quantize:
      mean, scale, step = self._prior(feature)
      latent, symbols = adaptive_quantize(
          latent, mean, step, add_mean_back=self.add_mean_back
      )
      interval = INTERVALS[self.distribution]
      bits = recomputation.cheap(
          lambda symbols, scale: symbol_bits(interval(symbols, scale))
      )(symbols, scale)
    decoded = Decoder(
        feature.shape[-1],
        self.hidden_channels,
        self.upsample,
        self.dtype,
        self.identity_start,
        name="decoder",
    )(latent)
    return decoded, bits

  def _prior(self, feature):
    """Mean, scale (in steps) and step of each latent element, float32."""
    x = feature
    for i, (channels, stride) in enumerate(zip(self.prior_channels, (2, 2))):
      x = Conv(channels, stride=stride, dtype=self.dtype, name=f"prior_{i}")(x)
      x = _leaky_relu(x)

    def bias_init(key, shape, dtype=jnp.float32):
      # Means start at 0, scales at softplus(0) = 0.7 steps.
      starts = jnp.array([0.0, 0.0, self.step_start], dtype)
      return jnp.repeat(starts, shape[0] // 3)

    x = Conv(
        3 * self.latent_channels,
        dtype=self.dtype,
        bias_init=bias_init,
        kernel_init=nn.initializers.variance_scaling(
            1e-2, "fan_in", "truncated_normal"
        ),
        name="prior_2",
    )(x)
    mean, scale, step = jnp.split(x.astype(jnp.float32), 3, -1)
    return mean, nn.softplus(scale), bounded_step(step, self.step_minimum)


class NCFL(nn.Module):
  """The recurrent restorer. `build` makes it from names and numbers.

  Attributes:
    motion: a SpyNet.
    motion_refiner: maps flow to flow, or None.
    attention: a FeatureAttention, or None.
    compression: a Compression, or None.
    feature_refiner: a ConvStack in the compression's place, or None.
    restoration: a UNet or WNet.
    channels: of a frame, 3 for RGB and 4 for packed Bayer (R, Gr, B, Gb).
    feature_channels: of the feature c_t.
    residual: whether the U-Net's output is added to the frame.
    scattering: whether that output is maps of transmission and airlight.
    standardize: mean and deviation of what the network sees of a frame.
    noise_map: whether it is told the noise level, as a map.
    fold: everything runs at 1 / fold of the resolution, on frames folded into
      channels (FFDNet, arXiv:1710.04026); 1 is the paper's network.
    unroll: clips up to this length are unrolled rather than scanned over; see
      `build`.
    remat: see `layers.recomputation`; a block is each ResBlock, CAB, level of
      the motion, refiner of it and compression.
    dtype: compute dtype.
  """

  motion: nn.Module
  motion_refiner: nn.Module | None
  attention: nn.Module | None
  compression: nn.Module | None
  feature_refiner: nn.Module | None
  restoration: nn.Module
  channels: int = 3
  feature_channels: int = 32
  residual: bool = True
  scattering: bool = False
  standardize: tuple[float, float] = (0.0, 1.0)
  noise_map: bool = True
  fold: int = 1
  unroll: int = 1
  remat: str = "none"
  dtype: str = "float32"

  restores = True
  recurrent = True
  radius = None  # Recurrent: no window.
  scale = 1
  halo = None  # Global: pooled attention and flow see the whole frame.

  @property
  def stride(self) -> int:
    """Height and width must be multiples of this."""
    # The compression module and the attention need 4; powers of two nest.
    return self.fold * max(self.motion.stride, self.restoration.stride, 4)

  def __call__(self, clip, noise):
    """Restores a clip, frame after frame.

    Args:
      clip: `[B, T, H, W, C]` around [0, 1].
      noise: `[B, H, W, 1]` standard deviations, or None for a blind model.

    Returns:
      `Restored` with `frames` `[B, T, H, W, C]`; `aux` has `flow`
      `[B, T, H, W, 2]` and, where features are compressed, `bits` `[B, T]` and
      `rate_map` `[B, T, h, w]`.
    """
    check_rank("clip", clip, "BTHWC")

    def body(model, state, frame):
      return model.step(state, frame, noise)

    first = self.init_state(clip[:, 0])
    return recomputation.scan_time(self, body, first, clip)[1]

  def init_state(self, frame):
    """The state before `frame` `[B, H, W, C]`, the first one of a clip.

    No feature yet, and the frame itself as its predecessor, so that the first
    step is the same program as every other.
    """
    guide = self._guide(frame)
    shape = (*guide.shape[:3], self.feature_channels)
    return {"guide": guide, "feature": jnp.zeros(shape, self.dtype)}

  def step(self, state, frame, noise):
    """Restores the next frame.

    Args:
      state: of the frame before, or `init_state(frame)`.
      frame: `[B, H, W, C]`.
      noise: as in the call.

    Returns:
      The pair (state, Restored without a time axis).
    """
    check_rank("frame", frame, "BHWC")
    check_channels("frame", frame, self.channels)
    check_multiple("NCFL", *frame.shape[1:3], self.stride)
    check_noise("NCFL", noise, self.noise_map, (*frame.shape[:3], 1))

    block = functools.partial(
        recomputation.run, recompute=self.remat == "block"
    )
    guide = self._guide(frame)
    flow = self.motion(guide, state["guide"])
    if self.motion_refiner is not None:
      flow = block(self.motion_refiner, flow)
    feature = backward_warp(state["feature"], flow)

    mean, deviation = self.standardize
    observed = (frame - mean) / deviation
    if self.scattering:
      observed = haze_cues(observed, self.fold)
    elif self.fold > 1:
      observed = space_to_depth(observed, self.fold)
    if noise is not None:
      observed = jnp.concatenate([observed, average_pool(noise, self.fold)], -1)
    observed = observed.astype(self.dtype)
    if self.attention is not None:
      feature = feature * self.attention(observed, feature)
    aux = {"flow": flow}
    if self.compression is not None:
      feature, bits = block(self.compression, feature)
      if bits is not None:
        aux |= {"bits": bits.sum((1, 2, 3)), "rate_map": bits.sum(-1)}
    if self.feature_refiner is not None:
      feature = block(self.feature_refiner, feature)

    output, feature = self.restoration(
        jnp.concatenate([observed, feature], -1)
    )
    if self.fold > 1:
      aux["flow"] = self.fold * upsample_bilinear(flow, self.fold)
    state = {"guide": guide, "feature": feature.astype(self.dtype)}
    return state, Restored(self._restored(frame, output), aux)

  def _restored(self, frame, output):
    """What the U-Net's output makes of the frame, [B, H, W, C]."""
    if self.scattering:
      return clear_view(frame, output)
    if self.fold > 1:
      output = depth_to_space(output, self.fold)
    return frame + output if self.residual else output

  def _guide(self, frame):
    """The RGB frame in which motion is estimated, [B, h, w, 3]."""
    frame = average_pool(frame, self.fold)
    if self.channels == 4:
      # Linear raw is dark; SpyNet learned on display-referred frames.
      red, green_r, blue, green_b = jnp.split(frame, 4, -1)
      rgb = jnp.concatenate([red, (green_r + green_b) / 2, blue], -1)
      frame = jnp.maximum(rgb, 0.0) ** (1 / 2.2)
    return frame


def build(
    preset: str = "table",
    channels: int = 3,
    motion_refiner: str = "mvr",
    feature_refiner: str = "ncfl",
    attention: bool = True,
    restoration: str = "unet",
    feature_channels: int | None = None,
    upsample: str | None = None,
    normalize_latent: bool | None = None,
    prior_channels: tuple[int, int] | None = None,
    attention_blocks: int | None = None,
    attention_middle_blocks: int | None = None,
    skip: str | None = None,
    widths: tuple[int, ...] = unet.WIDTHS,
    attention_widths: tuple[int, ...] = (16, 32, 64),
    motion_channels: int = 64,
    hidden_channels: int = 64,
    latent_channels: int = 64,
    reduction: int = 16,
    motion_residual: bool = False,
    distribution: str = "laplace",
    add_mean_back: bool = True,
    step_minimum: float = 0.5,
    step_start: float = 1.0,
    identity_start: bool = False,
    motion: dict | None = None,
    residual: bool = True,
    scattering: bool = False,
    standardize: tuple[float, float] = (0.0, 1.0),
    noise_map: bool = True,
    fold: int = 1,
    unroll: int = 1,
    remat: str = "none",
    dtype: str = "float32",
) -> NCFL:
  """NCFL from names and numbers.

  Args:
    preset: "table" (meets the paper's GFLOPs) or "literal" (its text). Sets
      every argument below that is None.
    channels: 3 for RGB, 4 for packed Bayer.
    motion_refiner: "mvr", "mconv" or "none".
    feature_refiner: "ncfl", "noq" (not quantised), "nconv" or "none".
    attention: whether there is feature attention.
    restoration: "unet", or "wnet" for real raw noise.
    feature_channels: C, of the recurrent feature.
    upsample: "subpixel" or "transposed", in both decoders.
    normalize_latent: a GDN behind the encoders' last convolution too.
    prior_channels: the prior's two hidden widths.
    attention_blocks: ResBlocks at each scale of the attention, either way.
    attention_middle_blocks: ResBlocks at its coarsest scale.
    skip: the U-Net's skips, see `models.unet`.
    widths: the U-Net's channels, finest first; as many scales as entries.
    attention_widths: the attention's channels, finest first.
    motion_channels: of the MVR.
    hidden_channels: of the compression module.
    latent_channels: of its latent.
    reduction: of the channel attention.
    motion_residual: the MVR adds its input back.
    distribution: prior of the symbols, "laplace" or "gaussian".
    add_mean_back: whether the dequantised latent contains the mean.
    step_minimum: lower bound of the quantisation step.
    step_start: the quantisation step before training.
    identity_start: the compression's encoder and decoder start as inverses;
      needs "subpixel" up-sampling, hidden_channels of 4 times and
      latent_channels of 16 times feature_channels.
    motion: arguments of `models.spynet.build`.
    residual: the output is added to the frame. Without it the feature, of which
      the output is then a linear map, holds the restored frame itself and not
      its noise, so that the next step soon finds something to use in it.
    scattering: the output is instead two maps at 1 / fold of the resolution,
      transmission and airlight, from which `layers.scattering` restores the
      frame; and the network sees only what of the frame tells of haze. Haze
      divides contrast by up to ten: to draw every edge anew, as a residual
      must, takes far more training than to say by how much. Needs
      residual=False.
    standardize: mean and standard deviation of frames as the network is to see
      them. Haze leaves a tenth of the contrast on a pale mean, which a short
      run would first have to undo. The noise map stays in units of the frame.
    noise_map: whether the model is told the noise level.
    fold: 1, or the factor by which frames are folded into channels first.
    unroll: longest clip that is unrolled instead of scanned over. The program
      of five frames is then four times as large, which takes longer to compile
      and to start again; a step may take less time
      (experiments/benchmarks/training.py, ncfl_unrolled, measures it).
    remat: see `layers.recomputation`.
    dtype: compute dtype, "float32" or "bfloat16".

  Raises:
    ValueError: a name, dtype or policy that does not exist, channels other
      than 3 or 4, scattering with a residual, a deviation that is not above 0.
  """
  check_choice("NCFL's preset", preset, PRESETS)
  check_choice("NCFL's motion_refiner", motion_refiner, MOTION_REFINERS)
  check_choice("NCFL's feature_refiner", feature_refiner, FEATURE_REFINERS)
  check_choice("NCFL's distribution", distribution, INTERVALS)
  check_choice("NCFL's channels", channels, (3, 4))
  check_dtype("NCFL", dtype)
  recomputation.check_policy("NCFL", remat)
  within = recomputation.of_parts(remat)
  given = dict(
      feature_channels=feature_channels,
      upsample=upsample,
      normalize_latent=normalize_latent,
      prior_channels=prior_channels,
      attention_blocks=attention_blocks,
      attention_middle_blocks=attention_middle_blocks,
      skip=skip,
  )
  chosen = PRESETS[preset] | {k: v for k, v in given.items() if v is not None}
  check_choice("NCFL's upsample", chosen["upsample"], UPSAMPLING)
  if identity_start:
    check_choice(
        "NCFL's upsample (identity_start)", chosen["upsample"], ["subpixel"]
    )
  if scattering and residual:
    raise ValueError(
        "NCFL's output is either a residual or scattering, but both were asked"
        " for. Set residual=False."
    )
  if len(standardize) != 2 or not standardize[1] > 0:
    raise ValueError(
        "NCFL's standardize needs to be (mean, standard deviation above 0), but"
        f" is {standardize}."
    )
  folded = channels * fold**2

  refiners = {
      "none": None,
      "mconv": ConvStack(48, dtype),
      "mvr": MotionRefiner(
          motion_channels,
          chosen["upsample"],
          chosen["normalize_latent"],
          motion_residual,
          dtype,
      ),
  }
  compression = Compression(
      hidden_channels,
      latent_channels,
      tuple(chosen["prior_channels"]),
      chosen["upsample"],
      chosen["normalize_latent"],
      feature_refiner == "ncfl",
      distribution,
      add_mean_back,
      step_minimum,
      step_start,
      identity_start,
      dtype,
  )
  feature_attention = FeatureAttention(
      tuple(attention_widths),
      chosen["attention_blocks"],
      chosen["attention_middle_blocks"],
      dtype,
      within,
  )
  return NCFL(
      motion=spynet.build(
          **{"dtype": dtype, "remat": within, **(motion or {})}
      ),
      motion_refiner=refiners[motion_refiner],
      attention=feature_attention if attention else None,
      compression=compression if feature_refiner in ("ncfl", "noq") else None,
      feature_refiner=(
          ConvStack(72, dtype) if feature_refiner == "nconv" else None
      ),
      restoration=unet.build(
          restoration,
          2 if scattering else folded,
          chosen["feature_channels"],
          tuple(widths),
          chosen["skip"],
          reduction,
          dtype,
          frame_channels=channels + CUES if scattering else folded,
          remat=within,
      ),
      channels=channels,
      feature_channels=chosen["feature_channels"],
      residual=residual,
      scattering=scattering,
      standardize=tuple(standardize),
      noise_map=noise_map,
      fold=fold,
      unroll=unroll,
      remat=remat,
      dtype=dtype,
  )
