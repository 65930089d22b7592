"""Sources of unit strength at a point, sharp or blurred."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from operators.pde.grid import Grid

__all__ = ["gaussian_source", "point_source"]


def point_source(position: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Spread a unit point source over the 2^d nearest cells with the weights of interpolation.

    Parameters
    ----------
    position : ndarray, (n_samples, ndim)
        In metres; at least half a cell from the walls.
    grid : Grid
        Of cells.

    Returns
    -------
    ndarray, (n_samples, *grid)
        Its integral is one, its centre of mass the position.

    Examples
    --------
    >>> point_source(np.array([[0.2]]), Grid((5,))).round(2).tolist()
    [[2.5, 2.5, 0.0, 0.0, 0.0]]
    """
    spacing = np.array(grid.spacing)
    index = np.clip(position / spacing - 0.5, 0, np.array(grid.shape) - 1)
    lower = np.minimum(np.floor(index).astype(int), np.array(grid.shape) - 2)
    fraction = index - lower
    source = np.zeros((len(position), *grid.shape))
    for corner in itertools.product((0, 1), repeat=grid.ndim):
        weight = np.prod(np.where(corner, fraction, 1 - fraction), axis=1) / spacing.prod()
        source[(np.arange(len(position)), *(lower + corner).T)] += weight
    return source


def gaussian_source(position: NDArray[np.float64], width: float, grid: Grid) -> NDArray[np.float64]:
    """Return (2 pi s^2)^(-d/2) exp(-|x - position|^2 / (2 s^2)), shapes as of `point_source`.

    Parameters
    ----------
    position : ndarray, (n_samples, ndim)
        In metres.
    width : float
        s in metres.
    grid : Grid
        Of cells.
    """
    source = np.full((len(position), *grid.shape), (2 * math.pi * width**2) ** (-grid.ndim / 2))
    for axis, centre in enumerate(position.T):
        x = grid.points(axis) - centre[:, None]
        bell = np.exp(-0.5 * (x / width) ** 2)
        source *= bell.reshape(len(bell), *(-1 if d == axis else 1 for d in range(grid.ndim)))
    return source
