"""Which grids a multigrid hierarchy has, and the direct solution on its coarsest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["coarsest_inverse", "extra_points", "plan_steps"]

SMALL = 32
"""Unknowns below which the direct solution is cheaper than another level."""

RATIO = 2.5
"""An axis whose coupling is more than this times weaker than the strongest is not coarsened yet:
point smoothing does not see the error along it."""


def plan_steps(
    shape: Sequence[int], periodic: Sequence[bool], strengths: Sequence[float]
) -> list[tuple[int, ...]]:
    """Return the steps (1 or 2 along each axis) from every grid to the next coarser one.

    Parameters
    ----------
    shape : sequence of int
        Points of the finest grid.
    periodic : sequence of bool
        Which axes wrap; these are halved only where their number of points is even.
    strengths : sequence of float
        Mean coupling of neighbours along each axis; it falls fourfold where the spacing doubles.

    Examples
    --------
    >>> plan_steps((16, 16), (False, False), (1.0, 1.0))
    [(2, 2), (2, 2)]
    >>> plan_steps((16, 16), (False, False), (100.0, 1.0))[:2]
    [(2, 1), (2, 1)]
    """
    sizes, couplings = list(shape), list(strengths)
    plan: list[tuple[int, ...]] = []
    while math.prod(sizes) > SMALL:
        possible = [
            n > 2 and not (wraps and n % 2) for n, wraps in zip(sizes, periodic, strict=True)
        ]
        strongest = max(
            (c for c, can in zip(couplings, possible, strict=True) if can), default=math.nan
        )
        steps = tuple(
            2 if can and c * RATIO >= strongest else 1
            for c, can in zip(couplings, possible, strict=True)
        )
        if max(steps) == 1:
            break
        plan.append(steps)
        sizes = [(n - 1) // step + 1 for n, step in zip(sizes, steps, strict=True)]
        couplings = [c / step**2 for c, step in zip(couplings, steps, strict=True)]
    return plan


def extra_points(n: int) -> int:
    """Return how many points lengthen a periodic axis to at most eight times a power of two.

    Examples
    --------
    >>> extra_points(64), extra_points(33), extra_points(6)
    (0, 7, 0)
    """
    unit = 1
    while n > 8 * unit:
        unit *= 2
    return -n % unit


def coarsest_inverse(
    values: NDArray[np.floating],
    shape: tuple[int, ...],
    periodic: tuple[bool, ...],
    offsets: tuple[tuple[int, ...], ...],
) -> NDArray[np.float64]:
    """Return the dense (pseudo-)inverses of stencils on a small grid.

    Parameters
    ----------
    values : ndarray, (n_systems, m, n_offsets)
        Entries of each point, the points in row-major order.
    shape, periodic, offsets
        The grid, its wrapping axes, and the neighbours of the entries.

    Returns
    -------
    ndarray, (n_systems, m, m)
    """
    neighbours = _neighbours(shape, periodic, offsets)
    n_systems, m, _ = values.shape
    dense = np.zeros((n_systems, m, m))
    rows = np.arange(m)
    for k in range(len(offsets)):
        inside = neighbours[k] >= 0
        # Along an axis of one or two points several offsets reach the same neighbour.
        dense[:, rows[inside], neighbours[k][inside]] += values[:, inside, k]
    eigenvalues, vectors = np.linalg.eigh((dense + np.swapaxes(dense, 1, 2)) / 2)
    rounding = 8 * m * float(np.finfo(values.dtype).eps)
    is_zero = eigenvalues <= rounding * eigenvalues[:, -1:]
    inverse = np.where(is_zero, 0.0, 1.0 / np.where(is_zero, 1.0, eigenvalues))
    return np.asarray((vectors * inverse[:, None, :]) @ np.swapaxes(vectors, 1, 2))


@lru_cache(maxsize=64)
def _neighbours(
    shape: tuple[int, ...], periodic: tuple[bool, ...], offsets: tuple[tuple[int, ...], ...]
) -> NDArray[np.int64]:
    """Return the row-major number of each point's neighbours, -1 beyond an end."""
    place = np.indices(shape).reshape(len(shape), -1)
    found = np.empty((len(offsets), place.shape[1]), dtype=np.int64)
    for k, offset in enumerate(offsets):
        moved = place + np.asarray(offset)[:, None]
        is_inside = np.ones(place.shape[1], dtype=np.bool_)
        for d, (n, wraps) in enumerate(zip(shape, periodic, strict=True)):
            if wraps:
                moved[d] %= n
            is_inside &= (moved[d] >= 0) & (moved[d] < n)
        clipped = [np.clip(line, 0, n - 1) for line, n in zip(moved, shape, strict=True)]
        found[k] = np.where(is_inside, np.ravel_multi_index(clipped, shape), -1)
    return found
