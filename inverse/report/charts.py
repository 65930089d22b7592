"""Small drawings of the report as SVG text: the convergence curve and the residual gauge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Curve", "convergence_curve", "gauge_position"]

_WIDTH, _HEIGHT, _MARGIN = 520.0, 180.0, 8.0
_GAUGE_DECADES = 1.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A polyline in the coordinates of its drawing.

    Parameters
    ----------
    points : str
        The ``points`` attribute of an SVG polyline.
    width, height : float
        Size of the drawing.
    is_logarithmic : bool
        Whether the vertical axis is.
    lowest, highest : float
        The values at the bottom and at the top.
    first, last : float
        The values at the ends, for the caption.
    n : int
        How many values there are.
    """

    points: str
    width: float
    height: float
    is_logarithmic: bool
    lowest: float
    highest: float
    first: float
    last: float
    n: int


def convergence_curve(history: Sequence[float]) -> Curve | None:
    """Place a history in a drawing, logarithmically when all values are positive.

    Parameters
    ----------
    history : sequence of float
        One value an iteration.

    Returns
    -------
    Curve or None
        None when fewer than two values are finite.

    Examples
    --------
    >>> convergence_curve([1.0, 0.1, 0.01]).points
    '8.0,8.0 260.0,90.0 512.0,172.0'
    """
    finite = [float(value) for value in history if math.isfinite(value)]
    if len(finite) < 2:
        return None
    is_logarithmic = min(finite) > 0
    levels = [math.log10(value) for value in finite] if is_logarithmic else finite
    low, high = min(levels), max(levels)
    span = (high - low) or 1.0
    right, down = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
    points = " ".join(
        f"{_MARGIN + right * i / (len(levels) - 1):.1f},{_MARGIN + down * (high - v) / span:.1f}"
        for i, v in enumerate(levels)
    )
    return Curve(
        points, _WIDTH, _HEIGHT, is_logarithmic,
        min(finite), max(finite), finite[0], finite[-1], len(finite),
    )  # fmt: skip


def gauge_position(ratio: float) -> float:
    """Return where a residual-to-noise ratio stands, in percent of the gauge from 0.1 to 10.

    Examples
    --------
    >>> gauge_position(1.0), gauge_position(1e9)
    (50.0, 100.0)
    """
    if not ratio > 0:
        return 0.0
    return 50.0 + 50.0 * max(-1.0, min(1.0, math.log10(ratio) / _GAUGE_DECADES))
