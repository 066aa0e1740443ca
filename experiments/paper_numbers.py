"""Published numbers to put beside ours, as data.

Source: Huang et al., "Neural Compression-Based Feature Learning for Video
Restoration", CVPR 2022, supplementary: table 3 (DAVIS test set, 30 sequences)
and table 5 (Set8), Gaussian noise, protocol "fastdvdnet" on sequences of at
most 85 frames. They belong beside ours only where those sets are measured.

The median rows of table 5 stand here as printed, but do not reproduce: a noisy
frame at sigma 50 has 14.15 dB, and a 3x3 median of it gains more than the
1.8 dB that the table has it gain.
"""

SOURCE = "Huang et al., CVPR 2022, supplementary"

_SIGMAS = (10, 20, 30, 40, 50)  # 8-bit units; the columns below.

# PSNR/SSIM.
_DAVIS = """
  VNLnet      35.83/.9473  34.49/.9231  33.42/.9086  32.32/.8974  31.43/.8761
  DVDNet      38.13/.9679  35.70/.9470  34.08/.9255  32.86/.9040  31.85/.8829
  FastDVDNet  38.71/.9702  35.77/.9468  34.04/.9252  32.82/.9047  31.86/.8851
  EMVD-L      38.57/.9695  35.39/.9413  33.89/.9210  32.40/.8941  31.47/.8747
  EMVD-S      36.90/.9512  33.58/.9023  31.94/.8878  30.66/.8508  29.88/.8273
  EDVR        39.23/.9732  36.33/.9516  34.62/.9311  33.40/.9113  32.41/.8937
  BasicVSR    39.55/.9758  36.65/.9558  35.07/.9389  33.73/.9207  32.81/.9046
  BasicVSR++  39.71/.9761  36.75/.9565  35.21/.9403  33.96/.9229  32.93/.9056
  NCFL        39.67/.9782  36.78/.9596  35.24/.9435  34.06/.9267  33.11/.9107
"""

# PSNR only.
_SET8 = """
  median3  27.87  22.45  19.91  18.34  15.95
  median5  26.63  21.80  19.43  17.92  15.65
  NCFL     37.12  34.22  32.57  31.39  30.45
"""


def _parse(text):
  """{sigma: {method: (PSNR, SSIM or None)}} of a table above."""
  columns = {sigma: {} for sigma in _SIGMAS}
  for line in text.split("\n")[1:-1]:
    method, *cells = line.split()
    for sigma, cell in zip(_SIGMAS, cells):
      psnr, _, ssim = cell.partition("/")
      columns[sigma][method] = (float(psnr), float(ssim) if ssim else None)
  return columns


TABLES = {"davis": _parse(_DAVIS), "set8": _parse(_SET8)}


def column(table: str, sigma: float) -> dict[str, tuple[float, float | None]]:
  """{method: (PSNR, SSIM or None)} of a table at a noise level.

  Args:
    table: "davis" or "set8".
    sigma: in 8-bit units.

  Raises:
    ValueError: no such table, or a sigma that the paper does not measure.
  """
  if table not in TABLES:
    raise ValueError(
        f"No published table {table!r}; there are {', '.join(TABLES)}."
    )
  if sigma not in TABLES[table]:
    raise ValueError(
        f"The paper measures sigma {', '.join(map(str, _SIGMAS))}, but got"
        f" {sigma:g}."
    )
  return TABLES[table][int(sigma)]
