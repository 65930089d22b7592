"""The regular grid that a differential equation is discretised on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.space import grid_names

__all__ = ["Grid"]


@dataclass(frozen=True, slots=True)
class Grid:
    """Points of a box [0, L_1] x ... x [0, L_d] with equal spacing along each axis.

    `centring="cells"` puts n points at the centres x_i = (i + 1/2) h of cells of width h = L / n;
    `"nodes"` puts them at x_i = i h with h = L / (n - 1), both ends included.

    Parameters
    ----------
    shape : tuple of int
        Points along (z,) y, x; two or more along each.
    lengths : tuple of float, optional
        Side lengths of the box in metres, one an axis; one metre each by default.
    centring : {"cells", "nodes"}
        See above.

    Raises
    ------
    ParameterError
        If an axis has fewer than two points, a length is not positive and finite, or the numbers
        of axes differ.

    Examples
    --------
    >>> grid = Grid((4, 8), (1.0, 2.0))
    >>> grid.spacing, grid.axes
    ((0.25, 0.25), ('y', 'x'))
    >>> Grid((5,), centring="nodes").points(0).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """

    shape: tuple[int, ...]
    lengths: tuple[float, ...] = ()
    centring: Literal["cells", "nodes"] = "cells"

    def __post_init__(self) -> None:
        lengths = self.lengths or (1.0,) * len(self.shape)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "lengths", tuple(float(length) for length in lengths))
        if not 1 <= len(self.shape) <= 3 or len(self.lengths) != len(self.shape):
            raise ParameterError(
                f"a grid expected one to three axes with a length each, "
                f"got shape {self.shape} and lengths {self.lengths}"
            )
        if min(self.shape) < 2:
            raise ParameterError(f"a grid expected two or more points an axis, got {self.shape}")
        if not all(math.isfinite(length) and length > 0 for length in self.lengths):
            raise ParameterError(f"a grid expected positive lengths in metres, got {self.lengths}")
        if self.centring not in {"cells", "nodes"}:
            raise ParameterError(f"expected centring 'cells' or 'nodes', got {self.centring!r}")

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring points along each axis in metres."""
        fewer = 0 if self.centring == "cells" else 1
        return tuple(
            length / (n - fewer) for length, n in zip(self.lengths, self.shape, strict=True)
        )

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes: the last of z, y, x."""
        return grid_names(self.ndim)

    def points(self, axis: int) -> NDArray[np.float64]:
        """Return the coordinates along one axis in metres, (n,)."""
        offset = 0.5 if self.centring == "cells" else 0.0
        i = np.arange(self.shape[axis], dtype=np.float64)
        return np.asarray((i + offset) * self.spacing[axis], dtype=np.float64)

    def mesh(self) -> tuple[NDArray[np.float64], ...]:
        """Return the coordinates of every point, one array of the grid's shape an axis."""
        return tuple(np.meshgrid(*(self.points(i) for i in range(self.ndim)), indexing="ij"))

    def refined(self, factor: int) -> Grid:
        """Return the grid of the same box with `factor` times as many intervals an axis.

        Examples
        --------
        >>> Grid((4,)).refined(2).shape, Grid((5,), centring="nodes").refined(2).shape
        ((8,), (9,))
        """
        fewer = 0 if self.centring == "cells" else 1
        shape: Sequence[int] = [(n - fewer) * factor + fewer for n in self.shape]
        return Grid(tuple(shape), self.lengths, self.centring)
