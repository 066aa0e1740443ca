"""Procedural clips with exact flow: training data that needs no file.

A clip is a "dead leaves" scene (Lee, Mumford and Huang, Occlusion models for
natural images, IJCV 2001): opaque shapes of power-law sizes that occlude one
another in front of a textured background. It has the statistics that matter
to a denoiser (1/f spectra, heavy-tailed gradients, correlated colours), edges
at every scale, and under motion it has what a recurrent model must learn:
parallax, occlusion and disocclusion. Each layer moves by a smooth sequence of
affine maps, so the optical flow is known in closed form.

Textures are painted once, in the constructor; a clip only crops, recolours
and resamples them, which Pillow does at the speed of C.

Coordinates are continuous: pixel (i, j) covers [j, j+1) x [i, i+1), so its
centre is (j + 0.5, i + 0.5), which is also what Pillow's AFFINE expects.
"""

import dataclasses

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from vidrestore_jax.data import textures

_MASK_SCALE = 2  # Mask pixels per frame pixel: bilinear then anti-aliases.
_OPAQUE = [0] * 128 + [255] * 128  # A pixel belongs to whom covers half of it.


@dataclasses.dataclass
class Scene:
  """Layers from back to front; layer 0 fills the frame.

  Attributes:
    textures: one RGB image per layer.
    masks: one L image per layer; None for layer 0.
    poses: `[K, T, 2, 3]`, from the layer's own coordinates (units are pixels
      of the frame) to the frame's, for each frame.
    to_texture: `[K, 2, 3]`, from the layer's coordinates to its texture's.
    half_sizes: `[K, 2]`, half the extent (x, y) of a layer around its origin.
    light: `[H, W]` gain, at most 1, that belongs to the lens, or None.
    lens_blur: radius in pixels of the box that the lens spreads a point over.
  """

  textures: list[Image.Image]
  masks: list[Image.Image | None]
  poses: np.ndarray
  to_texture: np.ndarray
  half_sizes: np.ndarray
  light: np.ndarray | None = None
  lens_blur: float = 0.0


class ProceduralClips:
  """Random access to clips that are a function of (seed, index) alone.

  The same numbers come back for given versions of NumPy and Pillow. Clips for
  validation are those of another seed.

  Attributes (all set by the constructor):
    size: how many clips there are.
    length, height, width: of a clip, in frames and pixels.
    seed: of the textures and, with the index, of each clip.
    max_speed: roughly the fastest motion, in pixels per frame; most is far
      slower. 0 makes every clip static.
    restless: whether every camera moves, at speeds spread evenly up to the
      fastest, rather than slowly or not at all as cameras mostly do. An
      estimator of flow learns nothing from small motions: it stays at zero.
    auto_exposure: whether each clip has its darkest pixels near black, its
      brightest near white and its mean where a camera's meter puts it. Without
      it, a scene may be all pale or all dark, and no one could tell whether
      haze lies before it.
    saturation: range of the factor by which each clip's colours are moved away
      from their grey; drawn once per clip, clipped to 8 bits.
    flow: whether to return `flow`; restoration does not read it.
    cache: keep every clip that was drawn, so that an epoch is drawn once per
      process (5x96x96: 0.14 MB a clip, 0.5 MB with flow).
  """

  # Pillow's transforms hold the interpreter's lock: threads only disturb one
  # another, worker processes do not.
  max_threads = 1

  def __init__(
      self,
      size: int,
      *,
      length: int = 5,
      height: int = 96,
      width: int = 96,
      seed: int = 0,
      max_speed: float = 8.0,
      restless: bool = False,
      auto_exposure: bool = False,
      saturation: tuple[float, float] = (1.0, 1.0),
      flow: bool = True,
      cache: bool = False,
  ):
    for name, given, least in (
        ("size", size, 1), ("length", length, 1), ("height", height, 16),
        ("width", width, 16), ("seed", seed, 0), ("max_speed", max_speed, 0),
    ):
      if given < least:
        raise ValueError(
            f"ProceduralClips needs {name} >= {least}, but got {given}."
        )
    if len(saturation) != 2 or not 0 <= saturation[0] <= saturation[1]:
      raise ValueError(
          "ProceduralClips needs saturation to be 0 <= low <= high, but got"
          f" {saturation}."
      )
    self._arguments = dict(
        size=size, length=length, height=height, width=width, seed=seed,
        max_speed=max_speed, restless=restless, auto_exposure=auto_exposure,
        saturation=saturation, flow=flow, cache=cache,
    )
    self.size, self.length = size, length
    self.height, self.width = height, width
    self.seed, self.max_speed, self.flow = seed, max_speed, flow
    self.restless, self.auto_exposure = restless, auto_exposure
    self.saturation = saturation
    self._cache = {} if cache else None
    page = 1 << (2 * max(height, width) - 1).bit_length()
    self._atlas = textures.paint_atlas(
        np.random.default_rng((seed, 0)), min(max(page, 256), 1024)
    )

  def __len__(self) -> int:
    return self.size

  def __repr__(self) -> str:
    given = ", ".join(f"{k}={v!r}" for k, v in self._arguments.items())
    return f"ProceduralClips({given})"

  def __reduce__(self):
    # Worker processes paint their own atlas rather than receive it.
    return _from_arguments, (self._arguments,)

  def __getitem__(self, index) -> dict:
    """Clip `index`: `clean` uint8 [T, H, W, 3], `flow` float32 [T, H, W, 2].

    `flow[t]` at a pixel points to where the surface seen there was in frame
    t - 1, in pixels (dx, dy), also where it was hidden or out of view then;
    `flow[0]` is 0. The surface is the topmost one that covers at least half
    of the pixel.
    """
    index = range(self.size)[index]
    if self._cache is not None and index in self._cache:
      return dict(self._cache[index])
    # The 1 keeps a clip's stream apart from the atlas's, whatever the index.
    rng = np.random.default_rng((self.seed, 1, index))
    scene = compose_scene(
        rng, self._atlas, self.length, self.height, self.width,
        self.max_speed, self.restless,
    )
    frames, flow = render(scene, self.height, self.width, flow=self.flow)
    if self.auto_exposure:
      frames = _expose(rng, frames)
    if tuple(self.saturation) != (1.0, 1.0):
      frames = _saturate(frames, rng.uniform(*self.saturation))
    example = dict(clean=frames, max_value=255, name=f"procedural_{index:06d}")
    if self.flow:
      example["flow"] = flow
    if self._cache is not None:
      self._cache[index] = example
    return dict(example)


def _from_arguments(arguments):
  return ProceduralClips(**arguments)


# The class itself, so that `data.build` sees its arguments.
build = ProceduralClips


# Rendering


def render(scene: Scene, height: int, width: int, *, flow: bool = True):
  """Draws a scene: uint8 `[T, H, W, 3]` and float32 `[T, H, W, 2]` or None."""
  layers, length = scene.poses.shape[:2]
  inverse = _invert(scene.poses)
  texture_maps = _compose(scene.to_texture[:, None], inverse)
  to_mask = np.zeros((layers, 2, 3))
  to_mask[:, [0, 1], [0, 1]] = _MASK_SCALE
  to_mask[:, :, 2] = scene.half_sizes * _MASK_SCALE
  mask_maps = _compose(to_mask[:, None], inverse)
  boxes = _bounding_boxes(scene, height, width).tolist()
  still = (scene.poses == scene.poses[:, :1]).all()
  drawn = 1 if still else length

  frames = np.empty((length, height, width, 3), np.uint8)
  owners = np.zeros((length, height, width), np.uint8)
  for t in range(drawn):
    frame = scene.textures[0].transform(
        (width, height), Image.Transform.AFFINE,
        texture_maps[0, t].ravel().tolist(), Image.Resampling.BICUBIC,
    )
    owner = Image.new("L", (width, height))
    for k in range(1, layers):
      left, top, right, bottom = boxes[k][t]
      if right <= left or bottom <= top:
        continue
      size, corner = (right - left, bottom - top), (left, top)
      mask = scene.masks[k].transform(
          size, Image.Transform.AFFINE,
          _from_corner(mask_maps[k, t], left, top), Image.Resampling.BILINEAR,
      )
      texture = scene.textures[k].transform(
          size, Image.Transform.AFFINE,
          _from_corner(texture_maps[k, t], left, top),
          Image.Resampling.BICUBIC,
      )
      frame.paste(texture, corner, mask)
      if flow:
        owner.paste(k, (left, top, right, bottom), mask.point(_OPAQUE))
    if scene.lens_blur:
      frame = frame.filter(ImageFilter.BoxBlur(scene.lens_blur))
    frames[t] = frame
    owners[t] = owner
  if scene.light is not None:
    # Fixed point: 255 * 256 still fits uint16, half the traffic of float32.
    gain = np.round(scene.light * 256).astype(np.uint16)[..., None]
    lit = (frames[:drawn].astype(np.uint16) * gain) >> 8
    frames[:drawn] = lit.astype(np.uint8)
  frames[drawn:] = frames[0]
  if not flow:
    return frames, None
  return frames, _flow(scene.poses, inverse, owners, drawn)


def _expose(rng, frames):
  """One curve for all pixels and channels: black, white and mean."""
  sample = frames[0, ::2, ::2]
  low, high = np.percentile(sample, (1, 99))
  black, white = rng.uniform(0.0, 0.12), rng.uniform(0.85, 1.1)
  # A scene of a single colour stays one: it is not stretched to noise.
  gain = (white - black) / max(high - low, 38.0)
  curve = np.clip(black + gain * (np.arange(256) - low), 1e-3, 1.0)
  # The gamma that brings a pixel of mean value to the mean that is asked for.
  mean = np.clip(curve[sample].mean(), 0.02, 0.98)
  gamma = np.log(rng.uniform(0.3, 0.55)) / np.log(mean)
  curve = curve ** np.clip(gamma, 0.4, 2.5)
  return np.round(255 * curve).astype(np.uint8)[frames]


def _saturate(frames, factor):
  """Colours moved away from, or towards, the grey of their mean."""
  grey = frames.mean(-1, keepdims=True, dtype=np.float32)
  vivid = grey + np.float32(factor) * (frames - grey)
  return np.round(vivid).clip(0, 255).astype(np.uint8)


def _flow(poses, inverse, owners, drawn):
  """Where each pixel's owner was one frame earlier: `[T, H, W, 2]`."""
  length, height, width = owners.shape
  flow = np.zeros((length, height, width, 2), np.float32)
  x = np.arange(width, dtype=np.float32) + 0.5
  y = np.arange(height, dtype=np.float32)[:, None] + 0.5
  for t in range(1, drawn):
    back = _compose(poses[:, t - 1], inverse[:, t])
    back[:, [0, 1], [0, 1]] -= 1.0  # The displacement, not the position.
    a = back.astype(np.float32)
    for axis in range(2):
      by_pixel = a[:, axis][owners[t]]
      flow[t, ..., axis] = (
          by_pixel[..., 0] * x + by_pixel[..., 1] * y + by_pixel[..., 2]
      )
  return flow


def _from_corner(affine, left, top):
  """The map for an image whose origin lies at (left, top): Pillow's six."""
  (a, b, c), (d, e, f) = affine.tolist()
  return a, b, c + a * left + b * top, d, e, f + d * left + e * top


def _bounding_boxes(scene, height, width):
  """Pixels that a layer can touch: int `[K, T, 4]`, (x0, y0, x1, y1)."""
  centre = scene.poses[..., 2]
  reach = np.abs(scene.poses[..., :2]) @ scene.half_sizes[:, None, :, None]
  reach = reach[..., 0]
  low = np.floor(centre - reach).astype(int)
  high = np.ceil(centre + reach).astype(int)
  size = np.array([width, height])
  return np.concatenate([low.clip(0, size), high.clip(0, size)], -1)


def _compose(outer, inner):
  """The affine map outer(inner(x)) of `[..., 2, 3]` maps."""
  result = outer[..., :2] @ inner
  result[..., 2] += outer[..., 2]
  return result


def _invert(affine):
  """Inverses of affine maps `[..., 2, 3]`."""
  a, b = affine[..., 0, 0], affine[..., 0, 1]
  c, d = affine[..., 1, 0], affine[..., 1, 1]
  linear = np.stack([d, -b, -c, a], -1) / (a * d - b * c)[..., None]
  linear = linear.reshape(*affine.shape[:-2], 2, 2)
  return np.concatenate([linear, -linear @ affine[..., 2:]], -1)


def _similarity(angle, scale, x, y):
  """Rotation and scaling, then translation by (x, y): `[..., 2, 3]`."""
  cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
  cos, sin, x, y = np.broadcast_arrays(cos, sin, x, y)
  return np.stack([cos, -sin, x, sin, cos, y], -1).reshape(*cos.shape, 2, 3)


# Composition of a scene


def compose_scene(
    rng, atlas, length, height, width, max_speed, restless=False
) -> Scene:
  """Draws what is in a clip and how it moves."""
  extent = min(height, width)
  # A layer's number is an 8-bit label, so there are at most 256 of them.
  layers = 1 + int(rng.integers(3, min(12 + round(extent / 12), 256)))
  # Radii with density ~ 1/r: flatter than the r^-3 of the leaves inside the
  # textures, so that a patch is also divided by a few large occluders.
  radii = np.exp(rng.uniform(np.log(1.8), np.log(0.5 * extent), layers))
  poses = _move(
      rng, layers, length, height, width, max_speed, restless, radii
  )

  # A clip in or out of focus, of fine or of coarse detail.
  defocus = rng.uniform(0.5, 1.6) if rng.random() < 0.2 else 0.0
  detail = rng.choice([1.0, 1.5, 2.2], p=[0.35, 0.4, 0.25])
  inverse = _invert(poses[0])
  corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
  seen = corners @ np.swapaxes(inverse[:, :, :2], 1, 2) + inverse[:, None, :, 2]
  low, high = seen.min((0, 1)) - 4, seen.max((0, 1)) + 4

  pieces, masks, to_texture, half_sizes = [], [None], [], []
  for k in range(layers):
    if k:
      mask, half = _shape(rng, radii[k])
      masks.append(mask)
      box = (-half[0], -half[1], half[0], half[1])
    else:
      half = np.zeros(2)
      box = (low[0], low[1], high[0], high[1])
    texture, placed = _texture(rng, atlas, box, detail, background=not k)
    if defocus and rng.random() < (0.8 if k == 0 else 0.4):
      texture = texture.filter(ImageFilter.GaussianBlur(defocus))
      if k:
        masks[k] = masks[k].filter(
            ImageFilter.GaussianBlur(defocus * _MASK_SCALE)
        )
    pieces.append(texture)
    to_texture.append(placed)
    half_sizes.append(half)
  return Scene(
      pieces, masks, poses, np.stack(to_texture), np.stack(half_sizes),
      light=_vignette(rng, height, width) if rng.random() < 0.3 else None,
      # Edges in photographs are seldom as sharp as drawn ones.
      lens_blur=rng.uniform(0.1, 0.5) if rng.random() < 0.7 else 0.0,
  )


def _move(rng, layers, length, height, width, max_speed, restless, radii):
  """Poses `[K, T, 2, 3]`: a camera seen through parallax, and own motion."""
  kind = 0.0 if restless else rng.random()
  camera_on = kind < 0.65  # 20 %: only objects move; 15 %: nothing does.
  objects_on = kind < 0.85
  time = np.arange(length) - (length - 1) / 2

  # Half of the layers lie at the background's depth, the rest before it.
  depth = np.where(rng.random(layers) < 0.5, 1.0, rng.uniform(1, 1.6, layers))
  depth[0] = 1.0
  # The root spreads the velocities evenly over a disc.
  share = np.sqrt(rng.random()) if restless else rng.beta(0.7, 2.0)
  speed = max_speed / 1.6 * share * camera_on
  path = _path(rng, speed, time)
  if camera_on and rng.random() < 0.3:  # Held by hand.
    path = path + rng.normal(0, 0.05 * max_speed, path.shape)
  # A rate moves the corners of the frame by half its diagonal times as much.
  rate = max_speed / np.hypot(height, width) * camera_on
  zoom = rate * rng.normal(0, 0.3) * (rng.random() < 0.4)
  turn = rate * rng.normal(0, 0.3) * (rng.random() < 0.3)
  centre = np.array([width, height]) / 2
  camera = _similarity(turn * time, np.exp(zoom * time), 0.0, 0.0)
  shift = centre - camera[..., :2] @ centre + path * depth[:, None, None]
  camera = np.broadcast_to(camera, (layers, length, 2, 3)).copy()
  camera[..., 2] = shift

  # Each object is in view, or nearly, at a moment of its own.
  moment = rng.uniform(time[0], time[-1] + 1e-9, layers)
  nearest = np.abs(time - moment[:, None]).argmin(1)
  reach = 0.5 * radii[:, None]
  size = np.array([width, height])
  goal = rng.random((layers, 2)) * (size + 2 * reach) - reach
  unproject = _invert(camera[np.arange(layers), nearest])
  home = (unproject[..., :2] @ goal[..., None])[..., 0] + unproject[..., 2]
  home[0] = 0.0

  moves = (rng.random(layers) < 0.5) & objects_on
  moves[0] = False
  since = time - time[nearest][:, None]
  speeds = 0.5 * max_speed * rng.beta(0.7, 2.0, layers) * moves
  heading = rng.uniform(0, 2 * np.pi, layers)
  bend = rng.normal(0, 0.3 / length, layers)
  travel = since + bend[:, None] * since**2
  turns = moves * (rng.random(layers) < 0.4)
  spin = rng.normal(0, 0.02, layers) * turns * np.minimum(1, max_speed)
  grow = rng.normal(0, 0.01, layers) * turns * np.minimum(1, max_speed)
  angle = rng.uniform(0, 2 * np.pi, layers)
  angle[0] = 0.0
  own = _similarity(
      angle[:, None] + spin[:, None] * since,
      np.exp(grow[:, None] * since),
      home[:, :1] + (speeds * np.cos(heading))[:, None] * travel,
      home[:, 1:] + (speeds * np.sin(heading))[:, None] * travel,
  )
  return _compose(camera, own)


def _path(rng, speed, time):
  """A smooth path `[T, 2]` with `speed` pixels per frame in its middle."""
  heading = rng.uniform(0, 2 * np.pi)
  direction = np.array([np.cos(heading), np.sin(heading)])
  bend = rng.normal(0, 0.3 / len(time), 2)
  return speed * (time[:, None] * direction + time[:, None] ** 2 * bend)


def _vignette(rng, height, width):
  """Gain `[H, W]` at most 1 that falls off in one direction."""
  heading = rng.uniform(0, 2 * np.pi)
  x = np.linspace(-1, 1, width) * np.cos(heading)
  y = np.linspace(-1, 1, height)[:, None] * np.sin(heading)
  fall = rng.uniform(0.05, 0.3)
  return 1 - fall * (1 + (x + y) / np.sqrt(2)) / 2


def _texture(rng, atlas, box, detail, *, background):
  """A recoloured piece of the atlas that covers `box` (x0, y0, x1, y1).

  Returns the image and the map `[2, 3]` from the layer's coordinates to it.
  """
  page = atlas[rng.integers(len(atlas))]
  zoom = detail * np.exp(abs(rng.normal(0, 0.25)))  # Frame per page pixel.
  place = _similarity(rng.uniform(0, 2 * np.pi), 1 / zoom, 0.0, 0.0)
  corners = np.array(
      [[box[0], box[1]], [box[2], box[1]], [box[0], box[3]], [box[2], box[3]]]
  )
  reached = corners @ place[:, :2].T
  low, high = reached.min(0) - 3, reached.max(0) + 3
  size = np.ceil(high - low).astype(int)
  place[:, 2] = -low
  free = np.maximum(np.array(page.size) - size, 1)
  left, top = rng.integers(free).tolist()
  if (size <= page.size).all():
    piece = page.crop((left, top, left + int(size[0]), top + int(size[1])))
  else:  # Large frames repeat the page.
    rows = (top + np.arange(size[1])) % page.size[1]
    columns = (left + np.arange(size[0])) % page.size[0]
    piece = Image.fromarray(np.asarray(page)[rows][:, columns])

  # Contrast: many surfaces are nearly flat, a few are full of it.
  kind = rng.random()
  if kind < (0.15 if background else 0.35):
    contrast = rng.uniform(0.03, 0.15)
  elif kind < 0.75:
    contrast = rng.uniform(0.15, 0.6)
  else:
    contrast = rng.uniform(0.6, 1.1)
  colour = textures.surface_colour(rng)
  # Tint the detail with the surface's colour, as pigments and light do.
  tint = (colour / colour.mean()) ** 0.5 * contrast
  saturation = rng.uniform(0.2, 1.0)
  mix = saturation * np.eye(3) + (1 - saturation) / 3
  matrix = tint[:, None] * mix
  offset = colour - matrix.sum(1) * 128
  piece = piece.convert(
      "RGB", np.concatenate([matrix, offset[:, None]], 1).ravel().tolist()
  )
  if rng.random() < 0.3:
    piece = _shade(rng, piece)
  return piece, place


def _shade(rng, piece):
  """Light that falls off across a surface and moves with it."""
  width, height = piece.size
  heading = rng.uniform(0, 2 * np.pi)
  x = np.linspace(-1, 1, width, dtype=np.float32) * np.cos(heading)
  y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.sin(heading)
  gain = 1 + rng.uniform(0.1, 0.5) * (x + y).astype(np.float32)
  lit = np.asarray(piece) * gain[..., None]
  return Image.fromarray(np.minimum(lit, 255).astype(np.uint8))


# Shapes


def _shape(rng, radius):
  """A mask of some shape, and half of its extent (x, y) in frame pixels."""
  kind = rng.random()
  if kind < 0.15:
    outlines, half = _strokes(rng, radius)
  elif kind < 0.3:
    half = radius * np.array([1, np.exp(-rng.exponential(0.8))])
    outlines = [np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half]
  else:
    if kind < 0.65:  # Ellipse.
      angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
      reach = np.ones(40)
    elif kind < 0.85:  # Polygon of three to eight corners.
      corners = rng.integers(3, 9)
      angle = (np.arange(corners) + rng.uniform(0, 0.8, corners)) / corners
      angle, reach = 2 * np.pi * angle, rng.uniform(0.6, 1.0, corners)
    else:  # A smooth blob.
      angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
      waves = np.arange(1, 6)[:, None]
      phase = rng.uniform(0, 2 * np.pi, (5, 1))
      ripple = rng.normal(0, 0.35, (5, 1)) / waves
      reach = 1 + (ripple * np.cos(waves * angle + phase)).sum(0)
      reach = np.clip(reach / np.abs(reach).max(), 0.1, 1)
    half = radius * np.array([1, np.exp(-rng.exponential(0.4))])
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    outlines = [circle * reach[:, None] * half]
  half = half + 1.5  # Room for the soft edge.
  fine = 2 * _MASK_SCALE
  size = np.ceil(2 * half * _MASK_SCALE).astype(int) * 2
  image = Image.new("L", size.tolist())
  draw = ImageDraw.Draw(image)
  for outline in outlines:
    draw.polygon(((outline + half) * fine - 0.5).ravel().tolist(), fill=255)
  return image.reduce(2), half


def _strokes(rng, radius):
  """Bent lines: one branch, or several short ones like writing."""
  count = int(rng.choice([1, 1, 4]))
  length = 1.5 * radius + 3
  along = np.linspace(-1, 1, 12)
  outlines, reach = [], np.zeros(2)
  for _ in range(count):
    thickness = rng.uniform(0.4, 0.6 + 0.1 * length)
    own = length / np.sqrt(count)
    heading = rng.uniform(0, 2 * np.pi)
    bend = rng.normal(0, 0.4)
    line = own * np.stack([along, bend * (along**2 - 0.5)], -1)
    normal = np.stack([-2 * bend * along, np.ones(12)], -1)
    normal *= thickness / np.linalg.norm(normal, axis=-1, keepdims=True)
    outline = np.concatenate([line + normal, (line - normal)[::-1]])
    cos, sin = np.cos(heading), np.sin(heading)
    outline = outline @ np.array([[cos, sin], [-sin, cos]])
    if count > 1:
      outline = outline + rng.uniform(-1, 1, 2) * length
    outlines.append(outline)
    reach = np.maximum(reach, np.abs(outline).max(0))
  return outlines, reach
