"""Options that are ranges: checked, and drawn from, in one way."""

import numbers


def check(name: str, bounds, least: float = -float("inf"),
          most: float = float("inf")) -> tuple[float, float]:
  """`bounds` as floats (low, high).

  Args:
    name: of the option, as errors call it.
    bounds: pair (low, high); equal ones fix the value.
    least, most: what both may be at least and at most.

  Raises:
    ValueError: not a pair, in the wrong order, or outside `least` .. `most`.
  """
  try:
    low, high = (float(bound) for bound in bounds)
  except (TypeError, ValueError):
    raise ValueError(
        f"{name} needs to be a pair (low, high), but is {bounds!r}. Write"
        f" ({bounds}, {bounds}) for one value."
    ) from None
  if not least <= low <= high <= most:
    raise ValueError(
        f"{name} needs {least} <= low <= high <= {most}, but is"
        f" ({low}, {high})."
    )
  return low, high


def whole(name: str, bounds, rng, least: float, most: float = float("inf")):
  """An int drawn uniformly from `bounds`, both ends included; see `check`.

  Raises:
    ValueError: as `check`, or bounds that are no whole numbers.
  """
  low, high = check(name, bounds, least, most)
  if low % 1 or high % 1:
    raise ValueError(
        f"{name} needs whole numbers, but is ({low}, {high})."
    )
  return int(rng.integers(int(low), int(high) + 1))


def number(name: str, value, least: float, most: float):
  """Raises ValueError unless `value` is a number in `least` .. `most`."""
  # As a condition that NaN does not meet either.
  if not isinstance(value, numbers.Real) or not least <= value <= most:
    raise ValueError(
        f"{name} needs to be a number from {least} to {most}, but is"
        f" {value!r}."
    )


def uniform(name: str, bounds, rng, least: float = -float("inf"),
            most: float = float("inf")) -> float:
  """A float drawn uniformly from `bounds`; see `check`."""
  low, high = check(name, bounds, least, most)
  return float(rng.uniform(low, high))
