"""Where k-space was sampled, told from the samples or the mask themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["calibration_shape", "lines_of", "sampled", "shared"]


def sampled(samples: NDArray[np.complex64]) -> NDArray[np.bool_]:
    """Mark as sampled what is not exactly zero in every coil.

    Parameters
    ----------
    samples : (slice, coil, *grid), complex

    Returns
    -------
    (1 or slice, *grid), bool
        1 when all slices share the pattern.

    Examples
    --------
    >>> sampled(np.array([[[[0, 1j]], [[2, 1]]]])).tolist()
    [[[True, True]]]
    """
    mask = np.zeros((len(samples), *samples.shape[2:]), dtype=bool)
    for index, one in enumerate(samples):
        for coil in one:
            mask[index] |= coil != 0
    return shared(mask)


def shared(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep one mask, (1, *grid), where all slices, (slice, *grid), have the same."""
    return mask[:1] if (mask == mask[:1]).all() else mask


def lines_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Return the mask without its readout axis, or None where a line is sampled in part.

    Parameters
    ----------
    mask : (..., x), bool
    """
    lines = mask[..., 0]
    return lines if (mask == lines[..., None]).all() else None


def calibration_shape(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """Size of the fully sampled box about the k-space centre, index n//2.

    The box grows by one index at a time, each axis in turn on the side where it is shorter, for as
    long as every sample in it was acquired.

    Parameters
    ----------
    mask : (1 or slice, *grid), bool
        The box is sampled in every slice.

    Returns
    -------
    tuple of int
        One size for each axis of the grid; all 0 where the centre is not sampled.

    Examples
    --------
    >>> mask = np.zeros((1, 8, 8), dtype=bool)
    >>> mask[0, 3:6] = True
    >>> calibration_shape(mask)
    (3, 8)
    """
    common = np.asarray(mask.all(axis=0), dtype=bool)
    low = [n // 2 for n in common.shape]
    high = [n // 2 + 1 for n in common.shape]
    if not common[tuple(low)]:
        return (0,) * common.ndim
    grows = True
    while grows:
        grown = [_grow(common, low, high, axis) for axis in range(common.ndim)]
        grows = any(grown)
    return tuple(h - s for s, h in zip(low, high, strict=True))


def _grow(mask: NDArray[np.bool_], low: list[int], high: list[int], axis: int) -> bool:
    n = mask.shape[axis]
    before, after = n // 2 - low[axis], high[axis] - n // 2
    for is_low in sorted([True, False], key=lambda side: before if side else after):
        index = low[axis] - 1 if is_low else high[axis]
        if not 0 <= index < n:
            continue
        face = [slice(start, stop) for start, stop in zip(low, high, strict=True)]
        face[axis] = slice(index, index + 1)
        if mask[tuple(face)].all():
            low[axis], high[axis] = min(low[axis], index), max(high[axis], index + 1)
            return True
    return False
