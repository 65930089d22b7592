"""The greedy chain through points: always on to the nearest that is left."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.features import principal_components

__all__ = ["greedy_chain"]

Floats = NDArray[np.float64]

_FEW = 32
"""Up to this many numbers a point, all distances are computed at every link."""


def greedy_chain(points: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Sort points into a chain that starts at point 0 and goes on to the nearest that is left.

    Distances are Euclidean, in double precision; of equally near points the first is taken. The
    chain is exact whatever the length of the points: for long ones their principal components and
    the norm of what these leave out give a lower bound of each distance,
        ||P x - P y||^2 + (||x - P x|| - ||y - P y||)^2 <= ||x - y||^2,
    and only points whose bound is below the best distance are looked at. Cost O(n^2) in numbers of
    components. Sums are taken in one order, so the chain does not depend on the number of threads.

    Parameters
    ----------
    points : (n, length)
        Finite.

    Returns
    -------
    (n,), int64
        Permutation that begins with 0.

    References
    ----------
    Wang, Hao et al. 2024, arXiv 2401.09516, algorithm 1.

    Examples
    --------
    >>> greedy_chain(np.array([[0.0], [5.0], [1.0], [3.0], [-1.5]])).tolist()
    [0, 2, 3, 1, 4]
    """
    if len(points) == 0:
        return np.zeros(0, dtype=np.int64)
    if points.shape[1] <= _FEW:
        return _chain(np.ascontiguousarray(points, dtype=np.float64), None)
    return _chain(_bounding(points), points)


def _bounding(points: NDArray[np.floating[Any]]) -> Floats:
    """Reduce points to few numbers whose distances are never above those of the points."""
    components = principal_components(points, _FEW - 1)
    reduced = np.empty((len(points), len(components) + 1))
    step = max(1, 2**24 // (8 * points.shape[1]))
    for start in range(0, len(points), step):
        part = points[start : start + step].astype(np.float64)
        inside = part @ components.T
        reduced[start : start + step, :-1] = inside
        reduced[start : start + step, -1] = np.linalg.norm(part - inside @ components, axis=1)
    return reduced


def _squares(points: NDArray[np.floating[Any]], point: NDArray[np.floating[Any]]) -> Floats:
    difference = points - point
    return np.asarray(np.einsum("ij,ij->i", difference, difference))


def _chain(near: Floats, points: NDArray[np.floating[Any]] | None) -> NDArray[np.int64]:
    """Build the chain from distances of `near`, or of `points` with those of `near` as bounds."""
    order = np.zeros(len(near), dtype=np.int64)
    left, indices = near[1:].copy(), np.arange(1, len(near))
    n_left = len(left)
    # Rounding of the bounds, in the units of squared distances.
    slack = 0.0 if points is None else 1e-13 * float((near**2).sum(axis=1).max())
    for link in range(1, len(near)):
        bounds = _squares(left, near[order[link - 1]])
        if points is None:
            best = int(np.argmin(bounds))
        else:
            best = _nearest(points, int(order[link - 1]), bounds, indices, slack)
        order[link] = indices[best]
        left[best] = np.inf  # far from everything from now on
        n_left -= 1
        if 2 * n_left < len(left):
            kept = left[:, 0] < np.inf
            left, indices = left[kept], indices[kept]
    return order


def _nearest(
    points: NDArray[np.floating[Any]],
    current: int,
    bounds: Floats,
    indices: NDArray[np.int64],
    slack: float,
) -> int:
    """Return the position in `indices` of the point nearest to the current one."""
    here = points[current].astype(np.float64)
    first = np.argpartition(bounds, min(8, len(bounds) - 1))[:8]
    first = first[bounds[first] < np.inf]
    limit = _squares(points[indices[first]].astype(np.float64), here).min()
    candidates = np.flatnonzero(bounds <= limit * (1 + 1e-12) + slack)
    squares = np.concatenate(
        [
            _squares(points[indices[some]].astype(np.float64), here)
            for some in np.array_split(candidates, 1 + len(candidates) // 256)
        ]
    )
    return int(candidates[np.argmin(squares)])
