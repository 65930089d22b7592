"""Settings of methods: numbers in a range, refused by name when they are not."""

from __future__ import annotations

import math

import numpy as np

from inverse.errors import UsageError

__all__ = ["count", "number"]


def number(
    name: str, value: object, *, low: float = 0.0, high: float = math.inf, above: bool = False
) -> float:
    """Return `value` as a float.

    Parameters
    ----------
    name : str
        What the person called it.
    value : object
        What was given, NumPy's numbers included; texts and booleans are no numbers.
    low, high : float
        Smallest and largest allowed.
    above : bool
        Whether `low` itself is refused.

    Raises
    ------
    UsageError
        If it is not a finite number in that range.

    Examples
    --------
    >>> number("weight", 2)
    2.0
    """
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        found = float(value)
        if math.isfinite(found) and low <= found <= high and not (above and found == low):
            return found
    least = f"a number > {low:g}" if above else f"a number >= {low:g}"
    most = "" if math.isinf(high) else f" and <= {high:g}"
    raise UsageError(f"{name} expected {least}{most}, got {value!r}")


def count(name: str, value: object, *, low: int = 1) -> int:
    """Return `value` as an integer of at least `low`; NumPy's integers are some.

    Raises
    ------
    UsageError
        If it is not one.

    Examples
    --------
    >>> count("steps", 20)
    20
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= low:
        return int(value)
    raise UsageError(f"{name} expected an integer >= {low}, got {value!r}")
