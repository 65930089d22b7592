"""Proximal maps of the nuclear norm, of a whole matrix or of small blocks of an image series."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from array_api_compat import array_namespace, device

from solvers.errors import SolverError
from solvers.proximal import check_weight
from solvers.vectors import Array

__all__ = ["LocallyLowRank", "NuclearNorm"]


@dataclass(frozen=True, slots=True, eq=False)
class NuclearNorm:
    """g(X) = weight sum_i sigma_i(X), the singular values of the array read as a matrix.

    prox(X, step) = U max(Sigma - step weight, 0) V^H

    Parameters
    ----------
    weight : float or array (*batch, 1, ..., 1), >= 0
        In the units of the objective per unit of x.
    n_row_axes, n_column_axes : int, >= 1
        x is (*batch, *rows, *columns); the row axes are merged into one, the column axes too. A
        series (frame, y, x) is the Casorati matrix of n_row_axes=1, n_column_axes=2.

    Raises
    ------
    SolverError
        If the weight is negative or an axis count is below 1.

    Notes
    -----
    A matrix that holds NaN or infinity comes back as NaN instead of an error of the decomposition.

    References
    ----------
    Cai, Candes & Shen 2010, doi:10.1137/080738970, theorem 2.1

    Examples
    --------
    >>> import numpy as np
    >>> NuclearNorm(1.0).prox(np.diag([3.0, 0.5]), step=1.0).round(6).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """

    weight: float | Array
    n_row_axes: int = 1
    n_column_axes: int = 1

    def __post_init__(self) -> None:
        check_weight(self.weight, "NuclearNorm")
        if min(self.n_row_axes, self.n_column_axes) < 1:
            raise SolverError(
                f"NuclearNorm expected at least one row and one column axis, "
                f"got {self.n_row_axes} and {self.n_column_axes}"
            )

    def prox(self, x: Array, step: float | Array) -> Array:
        """Shorten the singular values by step * weight."""
        xp = array_namespace(x)
        matrix, is_finite = self._matrix(x)
        u, sigma, vh = xp.linalg.svd(matrix, full_matrices=False)
        shrunk = xp.clip(sigma - self._one_a_matrix(step * self.weight, x), min=0)
        low_rank = xp.matmul(u * shrunk[..., None, :], vh)
        return xp.reshape(xp.where(is_finite, low_rank, xp.nan), x.shape)

    def value(self, x: Array) -> Array:
        """Compute weight ||X||_* for each batch index."""
        xp = array_namespace(x)
        matrix, is_finite = self._matrix(x)
        sigma = self._one_a_matrix(self.weight, x) * xp.linalg.svdvals(matrix)
        return xp.where(is_finite[..., 0, 0], xp.sum(sigma, axis=-1), xp.nan)

    def _matrix(self, x: Array) -> tuple[Array, Array]:
        """Return the matrices, zero where not finite, and whether each is finite."""
        xp = array_namespace(x)
        n_axes = self.n_row_axes + self.n_column_axes
        if x.ndim < n_axes:
            raise SolverError(
                f"NuclearNorm expected an array of at least {n_axes} axes, got shape {x.shape}"
            )
        batch = tuple(x.shape[: x.ndim - n_axes])
        rows = math.prod(x.shape[x.ndim - n_axes : x.ndim - self.n_column_axes])
        columns = math.prod(x.shape[x.ndim - self.n_column_axes :])
        matrix = xp.reshape(x, (*batch, rows, columns))
        is_finite = xp.all(xp.isfinite(matrix), axis=(-2, -1), keepdims=True)
        return xp.where(is_finite, matrix, xp.zeros_like(matrix)), is_finite

    def _one_a_matrix(self, factor: float | Array, x: Array) -> float | Array:
        if isinstance(factor, float | int) or factor.ndim == 0:
            return factor
        n_batch = x.ndim - self.n_row_axes - self.n_column_axes
        return array_namespace(x).reshape(factor, (*factor.shape[:n_batch], 1))


@dataclass(frozen=True, slots=True, eq=False)
class LocallyLowRank:
    """g(x) = weight sum_b ||R_b x||_*, R_b the b-th block of a series as a (frame, pixel) matrix.

    Blocks tile the image without overlap, from a corner that `at` moves from one iteration to the
    next. The tiling is periodic, blocks at the far border may be smaller, and the map is exact.

    Parameters
    ----------
    weight : float, >= 0
        In the units of the objective per unit of x.
    block : tuple of int
        Edges of a block along the trailing axes; x is (*batch, frame, *grid).
    shifts : tuple of tuple of int
        Corners of the tiling, taken in turn by `at`; see `solvers.random_shifts`.

    Raises
    ------
    SolverError
        If the weight is negative, a block edge below 1, or a shift does not fit the block.

    References
    ----------
    Trzasko & Manduca 2011, Proc. ISMRM 19, 4371; Zhang, Pauly & Levesque 2015,
    doi:10.1002/mrm.25161

    Examples
    --------
    A series whose frames are all alike is of rank one:

    >>> import numpy as np
    >>> float(LocallyLowRank(1.0, block=(2, 2)).value(np.ones((4, 2, 2))).round(6))
    4.0
    """

    weight: float
    block: tuple[int, ...] = (8, 8)
    shifts: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        check_weight(self.weight, "LocallyLowRank")
        if not self.block or min(self.block) < 1:
            raise SolverError(f"LocallyLowRank expected block edges >= 1, got {self.block}")
        if any(len(shift) != len(self.block) for shift in self.shifts):
            raise SolverError(
                f"LocallyLowRank expected shifts of {len(self.block)} integers, one a block edge, "
                f"got {self.shifts[:3]}"
            )

    def at(self, iteration: int) -> LocallyLowRank:
        """Return the norm with the tiling of an iteration; itself when it does not move."""
        if len(self.shifts) < 2:
            return self
        return replace(self, shifts=(self.shifts[iteration % len(self.shifts)],))

    def prox(self, x: Array, step: float | Array) -> Array:
        """Shorten the singular values of every block by step * weight."""
        blocks = self._blocks(x)
        if not isinstance(step, float | int) and step.ndim:
            step = step[..., None]  # blocks have one axis more than the image
        return self._image(self._norm().prox(blocks, step), x.shape)

    def value(self, x: Array) -> Array:
        """Compute the sum of the blocks' nuclear norms for each batch index."""
        xp = array_namespace(x)
        return xp.sum(self._norm().value(self._blocks(x)), axis=-1)

    def _norm(self) -> NuclearNorm:
        return NuclearNorm(self.weight, 1, len(self.block))

    def _shift(self) -> tuple[int, ...]:
        return self.shifts[0] if self.shifts else (0,) * len(self.block)

    def _counts(self, shape: tuple[int, ...]) -> list[int]:
        grid = shape[len(shape) - len(self.block) :]
        return [-(-n // edge) for n, edge in zip(grid, self.block, strict=True)]

    def _blocks(self, x: Array) -> Array:
        """Return (*batch, n_blocks, frame, *block), filled up with zeros."""
        xp = array_namespace(x)
        ndim, n_batch = len(self.block), x.ndim - len(self.block) - 1
        if n_batch < 0:
            raise SolverError(
                f"LocallyLowRank expected an array (*batch, frame, *grid) with {ndim} grid axes, "
                f"got shape {x.shape}"
            )
        counts, grid_axes = self._counts(x.shape), tuple(range(-ndim, 0))
        edges = [n * edge for n, edge in zip(counts, self.block, strict=True)]
        padded = xp.zeros((*x.shape[:-ndim], *edges), dtype=x.dtype, device=device(x))
        inside = (..., *(slice(n) for n in x.shape[-ndim:]))
        padded[inside] = xp.roll(x, self._shift(), axis=grid_axes)
        tiles = [n for pair in zip(counts, self.block, strict=True) for n in pair]
        tiled = xp.reshape(padded, (*x.shape[:-ndim], *tiles))
        count_axes = [n_batch + 1 + 2 * i for i in range(ndim)]
        edge_axes = [axis + 1 for axis in count_axes]
        order = (*range(n_batch), *count_axes, n_batch, *edge_axes)
        shape = (*x.shape[:n_batch], math.prod(counts), x.shape[n_batch], *self.block)
        return xp.reshape(xp.permute_dims(tiled, order), shape)

    def _image(self, blocks: Array, shape: tuple[int, ...]) -> Array:
        """Invert `_blocks`."""
        xp = array_namespace(blocks)
        ndim, n_batch = len(self.block), len(shape) - len(self.block) - 1
        counts = self._counts(shape)
        tiled = xp.reshape(blocks, (*shape[:n_batch], *counts, shape[n_batch], *self.block))
        pairs = [(n_batch + i, n_batch + 1 + ndim + i) for i in range(ndim)]
        order = (*range(n_batch), n_batch + ndim, *(axis for pair in pairs for axis in pair))
        edges = [n * edge for n, edge in zip(counts, self.block, strict=True)]
        padded = xp.reshape(xp.permute_dims(tiled, order), (*shape[: n_batch + 1], *edges))
        inside = padded[(..., *(slice(n) for n in shape[len(shape) - ndim :]))]
        return xp.roll(inside, tuple(-s for s in self._shift()), axis=tuple(range(-ndim, 0)))
