"""Positions of points along a Hilbert curve, for all points at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError

__all__ = ["hilbert_index", "hilbert_order"]

_KEY_BITS = 63


def hilbert_index(cells: NDArray[np.integer[Any]], n_bits: int) -> NDArray[np.uint64]:
    """Compute where the Hilbert curve of a cube of 2^n_bits cells an axis passes each cell.

    The curve visits every cell once; cells that follow one another on it share a face.

    Parameters
    ----------
    cells : (n, n_axes), integer
        Cell of each point along each axis, 0 <= cell < 2^n_bits.
    n_bits : int
        Depth of the curve, >= 1; n_bits n_axes <= 63.

    Returns
    -------
    (n,), uint64

    Raises
    ------
    SolverError
        If the depth does not fit, or a cell is outside the cube.

    References
    ----------
    Skilling 2004, Programming the Hilbert curve, doi:10.1063/1.1751381 (AxestoTranspose).

    Examples
    --------
    >>> hilbert_index(np.array([[0, 0], [0, 1], [1, 1], [1, 0]]), n_bits=1).tolist()
    [0, 1, 2, 3]
    """
    n_axes = cells.shape[1]
    if n_bits < 1 or n_bits * n_axes > _KEY_BITS:
        raise SolverError(
            f"n_bits expected 1 to {_KEY_BITS // n_axes} for {n_axes} axes, got {n_bits}"
        )
    if cells.size and not (cells.min() >= 0 and cells.max() < 2**n_bits):
        raise SolverError(
            f"cells expected numbers 0 to {2**n_bits - 1}, got {cells.min()} to {cells.max()}"
        )
    axes = np.ascontiguousarray(cells.T).astype(np.uint64)
    _undo_excess_work(axes, n_bits)
    _gray_encode(axes, n_bits)
    return _interleave(axes, n_bits)


def _bit(numbers: NDArray[np.uint64], bit: int) -> NDArray[np.uint64]:
    return np.asarray(numbers >> np.uint64(bit) & np.uint64(1))


def _undo_excess_work(axes: NDArray[np.uint64], n_bits: int) -> None:
    """Invert or exchange the lower bits of axes as the orientation of each sub-cube asks."""
    for bit in range(n_bits - 1, 0, -1):
        below = np.uint64((1 << bit) - 1)
        for i in range(len(axes)):
            is_set = _bit(axes[i], bit).astype(np.bool_)
            exchange = np.where(is_set, np.uint64(0), (axes[0] ^ axes[i]) & below)
            axes[0] ^= np.where(is_set, below, exchange)
            axes[i] ^= exchange


def _gray_encode(axes: NDArray[np.uint64], n_bits: int) -> None:
    for i in range(1, len(axes)):
        axes[i] ^= axes[i - 1]
    flips = np.zeros_like(axes[0])
    for bit in range(n_bits - 1, 0, -1):
        flips ^= _bit(axes[-1], bit) * np.uint64((1 << bit) - 1)
    axes ^= flips


def _interleave(axes: NDArray[np.uint64], n_bits: int) -> NDArray[np.uint64]:
    key: NDArray[np.uint64] = np.zeros_like(axes[0])
    for bit in range(n_bits - 1, -1, -1):
        for axis in axes:
            key = np.bitwise_or(key << np.uint64(1), _bit(axis, bit))
    return key


def hilbert_order(points: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Sort points along the Hilbert curve through the cube around them.

    All axes have one scale, so that cells are cubes; points in one cell keep their order.

    Parameters
    ----------
    points : (n, n_axes)
        Finite; at most 31 axes.

    Returns
    -------
    (n,), int64
        Permutation.

    Examples
    --------
    >>> hilbert_order(np.array([[0.9, 0.1], [0.1, 0.1], [0.9, 0.9], [0.1, 0.9]])).tolist()
    [1, 3, 2, 0]
    """
    n_bits = min(20, _KEY_BITS // points.shape[1])
    low = points.min(axis=0)
    extent = float((points.max(axis=0) - low).max())
    n_cells = 2**n_bits
    scaled = (points - low) * (n_cells / extent if extent > 0 else 0.0)
    cells = np.minimum(scaled.astype(np.int64), n_cells - 1)
    return np.argsort(hilbert_index(cells, n_bits), kind="stable")
