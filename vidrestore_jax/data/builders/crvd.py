"""CRVD: raw videos of indoor scenes, each frame with ten noisy takes.

Data card
  What: 11 indoor scenes of toys, moved by hand between shots, at ISO 1600,
    3200, 6400, 12800 and 25600: 7 frames each, of which ten noisy shots and a
    clean one, their average slightly denoised. Bayer mosaics of 1920x1080,
    GBRG, 12 bit in 16 (Sony IMX385), black level 240, white level 4095; TIFF.
  Source: Yue, Cao, Liao, Chu and Yang, Supervised Raw Video Denoising with a
    Benchmark Dataset on Dynamic Scenes, CVPR 2020, arXiv:2003.14013;
    github.com/cao-cong/RViDeNet.
  Licence: none is stated; offered for research, with the paper cited.
  Splits: train is scenes 1 to 6 with all ten takes (30 sequences), test is
    scenes 7 to 11 with take 0 alone, as it is measured (25 sequences).
  Get it: CRVD_dataset from the links in the repository, at least
    indoor_raw_noisy and indoor_raw_gt. Unpack it, then type
      vidrestore data prepare crvd --from=CRVD_dataset
  Layout read: scene1/ISO1600/frame1_noisy0.tiff and
    frame1_clean_and_slightly_denoised.tiff,
    below indoor_raw_noisy and indoor_raw_gt (RViDeNet, test_indoor.py;
      github.com/nagejacob/FloRNN, datasets/CRVD_seq.py),
    or below indoor_raw_noisy/indoor_raw_noisy_scene1 and
      indoor_raw_gt/indoor_raw_gt_scene1, as the archives of single scenes
      unpack (github.com/Baymax-chen/EMVD, load_data.py),
    or both in one folder (RViDeNet, train_finetune.py).
  Checked: every scene, ISO, frame and take, their size, depth and white level.

Frames are stored as 16-bit PNG, which changes no value; what is read is
max(value - 240, 0), so that black is 0 and white 3855.
"""

import io

import numpy as np
from PIL import Image

from vidrestore_jax.data import folders, mosaics, prepared, raw

ISOS = (1600, 3200, 6400, 12800, 25600)
FRAMES, TAKES = 7, 10
_SCENES = {"train": range(1, 7), "test": range(7, 12)}


class Crvd(prepared.Dataset):
  """Mosaics of CRVD; see the module's data card."""

  TITLE = "CRVD"
  HOMEPAGE = "https://github.com/cao-cong/RViDeNet"
  SPLITS = {
      split: prepared.Split(
          sequences=len(scenes) * len(ISOS),
          frames=FRAMES,
          size=(1920, 1080),
          takes=TAKES if split == "train" else 1,
          archive="CRVD_dataset",
      )
      for split, scenes in _SCENES.items()
  }

  @staticmethod
  def encode(content: bytes, name) -> bytes:
    """A mosaic's TIFF as 16-bit greyscale PNG.

    Raises:
      ValueError: as `mosaics.decode`.
    """
    mosaic = mosaics.decode(content, name)
    buffer = io.BytesIO()
    # Pillow's own level, 6, takes nine times as long for 2 % of the size.
    Image.fromarray(mosaic).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def prepare(source_path, data_dir=None, *, partial=False) -> dict[str, int]:
  """Writes the mosaics that `source_path` holds; prepared.prepare says how.

  Args:
    source_path: the folder CRVD_dataset, however it is called, or the one that
      holds it.
    data_dir: where TFDS data lies; None is $TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    partial: accept that scenes or ISOs are missing, and frames of other sizes.

  Returns:
    Split -> number of sequences, of the splits found.

  Raises:
    FileNotFoundError: no CRVD is there, or a scene, ISO, frame or take is
      missing.
    ValueError: a damaged frame, or one of another kind or size.
  """
  roots = prepared.find_trees(
      source_path, "", inner=("", "CRVD_dataset", "CRVD_data")
  )
  found = {}
  for split, scenes in _SCENES.items():
    sequences, missing = [], []
    for scene in scenes:
      for iso in ISOS:
        clean = _folder(roots, "indoor_raw_gt", scene, iso)
        noisy = _folder(roots, "indoor_raw_noisy", scene, iso)
        if clean and noisy:
          sequences.append(_sequence(split, scene, iso, clean, noisy))
          continue
        side = "indoor_raw_noisy" if clean else "indoor_raw_gt"
        missing.append(f"{side}/scene{scene}/ISO{iso}")
        if clean or noisy:
          raise FileNotFoundError(
              f"{source_path} lacks {missing[-1]}, while {clean or noisy} is"
              " there. Unpack or download it again."
          )
    if sequences and missing and not partial:
      raise FileNotFoundError(
          f"{source_path} lacks {missing[0]} of {split} of CRVD ({len(missing)}"
          f" of {len(scenes) * len(ISOS)} sequences are missing). Unpack or"
          " download it again, or allow it with --partial (in Python:"
          " partial=True)."
      )
    if sequences:
      found[split] = sequences
  if not found:
    raise FileNotFoundError(
        f"Found no CRVD in {source_path}: looked for"
        " indoor_raw_gt/scene1/ISO1600, indoor_raw_noisy/scene1/ISO1600 and the"
        f" like. Get it from {Crvd.HOMEPAGE} and unpack it."
    )
  return prepared.prepare(Crvd, found, data_dir, partial=partial)


def _folder(roots, side, scene, iso):
  """The folder of a scene at an ISO in any of the layouts, or None."""
  for root in roots:
    for inner in (f"{side}/", f"{side}/{side}_scene{scene}/", ""):
      folder = root / f"{inner}scene{scene}/ISO{iso}"
      if folder.is_dir():
        return folder
  return None


def _sequence(split, scene, iso, clean, noisy):
  """The files of a scene at an ISO, of which none may be missing."""
  times = range(1, FRAMES + 1)
  return prepared.Sequence(
      f"scene{scene}_ISO{iso}",
      [
          _present(clean / f"frame{t}_clean_and_slightly_denoised.tiff")
          for t in times
      ],
      [
          [_present(noisy / f"frame{t}_noisy{take}.tiff") for t in times]
          for take in range(Crvd.SPLITS[split].takes)
      ],
  )


def _present(file):
  if not file.is_file():
    raise FileNotFoundError(
        f"There is no {file}. The copy is incomplete: unpack or download it"
        " again."
    )
  return file


def build(
    *, data_dir=None, split="train", length=5, stride=1, seed=0, draws=10
):
  """The source for `data.build("crvd", ...)`; prepared.build says more.

  Items hold mosaics `[T, H, W, 1]` of uint16, black 0 and white `max_value`
  3855, and `bayer`: "GBRG", the colours of the four top left pixels row by
  row.

  Args:
    data_dir: as `prepare` was given.
    split: train or test.
    length: frames per window, at most 7; None for all.
    stride: frames from one window's start to the next.
    seed: of the takes: every frame of clip i of train is one of ten noisy
      shots, drawn by (seed, i). Test always reads the first.
    draws: how often each window of train occurs, each time with other shots.
  """
  train = split == "train"
  return prepared.build(
      Crvd,
      data_dir=data_dir,
      split=split,
      length=length,
      stride=stride,
      seed=seed if train else None,
      draws=draws if train else 1,
      decode=decode,
      max_value=raw.MAX_VALUE,
      extra={"bayer": raw.PATTERN},
  )


def decode(encoded: bytes, name) -> np.ndarray:
  """Mosaic `[H, W, 1]` of uint16 less the black level, at least 0."""
  return mosaics.above_black(folders.decode_native(encoded, name))
