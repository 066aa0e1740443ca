"""Options that are ranges: checked, and drawn from, in one way."""


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


def uniform(name: str, bounds, rng, least: float = -float("inf"),
            most: float = float("inf")) -> float:
  """A float drawn uniformly from `bounds`; see `check`."""
  low, high = check(name, bounds, least, most)
  return float(rng.uniform(low, high))
