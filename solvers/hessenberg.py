"""The small projected problem of GMRES, for each system of a batch, on the host."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from solvers.stopping import Counts, Floats, Mask

__all__ = ["Hessenberg"]


@final
class Hessenberg:
    """min_y ||beta e1 - H y|| as the columns of the Hessenberg matrix H arrive.

    The residual after j columns is beta / ||t|| with t the left null vector of the first j columns
    scaled to t_0 = 1. Its entries follow one by one from t H = 0, so a column costs one short inner
    product. Systems stop by themselves: at their tolerance, their limit, when the basis is
    exhausted (a zero below the diagonal), or at a NaN; later columns then leave them alone.

    Parameters
    ----------
    beta : (n_systems,)
        Norm of each residual; 0 where a system takes no part.
    tolerance : (n_systems,)
        For the norm of the residual.
    limit : (n_systems,)
        Largest number of columns of each system.
    n_columns : int
        Room for so many columns.
    n_above : int
        Rows above the Hessenberg matrix in every column: the products with a recycled space.
    dtype : dtype
        complex128 or float64.
    eps : float
        Unit round-off of the basis vectors: H holds no information below it.

    Attributes
    ----------
    steps : (n_systems,)
        How many columns each system uses.
    is_open, is_claimed, is_lost, is_exhausted : (n_systems,)
        Whether the system still takes columns, has met its tolerance, met a NaN, has no new
        direction left.
    is_tainted : (n_systems,)
        Where a column held a NaN, the system being open or not.
    norms : (n_systems, n_columns + 1)
        Residual norms; valid up to `steps`.
    reached : (n_systems,)
        Residual norm of the last `remainder`.

    Examples
    --------
    >>> small = Hessenberg(np.ones(1), np.zeros(1), np.array([1]), 1, 0, np.dtype(np.float64))
    >>> small.extend(np.array([[[1.0], [1.0]]]))
    >>> small.norms[0].round(4).tolist(), small.solve().round(4).tolist()
    ([1.0, 0.7071], [[0.5]])
    """

    def __init__(
        self,
        beta: Floats,
        tolerance: Floats,
        limit: Counts,
        n_columns: int,
        n_above: int,
        dtype: np.dtype[Any],
        eps: float = 2.2e-16,
    ) -> None:
        n_systems = len(beta)
        self.beta = beta
        self.n_above = n_above
        self.n_read = 0
        self.columns = np.zeros((n_systems, n_above + n_columns + 1, n_columns), dtype)
        self.steps: Counts = np.zeros(n_systems, dtype=np.int64)
        self.is_open: Mask = (beta > 0) & (limit > 0)
        self.is_claimed: Mask = np.zeros(n_systems, dtype=np.bool_)
        self.is_lost: Mask = ~np.isfinite(beta)
        self.is_tainted: Mask = np.zeros(n_systems, dtype=np.bool_)
        self.is_exhausted: Mask = np.zeros(n_systems, dtype=np.bool_)
        self.norms: Floats = np.zeros((n_systems, n_columns + 1))
        self.norms[:, 0] = beta
        self.reached: Floats = beta
        self._tolerance = tolerance
        self._eps = eps
        self._limit = limit
        self._null = np.zeros((n_systems, n_columns + 1), dtype)
        self._null[:, 0] = 1.0
        self._square = np.ones(n_systems)

    def extend(self, columns: NDArray[Any]) -> None:
        """Take the next columns (n_systems, n_above + n_columns + 1, n_new)."""
        for k in range(columns.shape[2]):
            column = columns[:, :, k]
            is_finite = np.isfinite(column).all(axis=1)
            if not is_finite.all():
                self.is_tainted |= ~is_finite
                self.is_lost |= self.is_open & ~is_finite
                self.is_open &= is_finite
            # A system that takes no more columns has zeros there, so that no NaN can spread.
            if not self.is_open.all():
                column = np.where(self.is_open[:, None], column, 0.0)
            self.columns[:, : column.shape[1], self.n_read] = column
            self._take(column[:, self.n_above :])
            self.n_read += 1

    def _take(self, column: NDArray[Any]) -> None:
        j = self.n_read
        below = column[:, j + 1]
        above = (self._null[:, : j + 1] * column[:, : j + 1]).sum(axis=1)
        has_more = below != 0
        entry = np.divide(-above, below, out=np.zeros_like(above), where=has_more)
        self._null[:, j + 1] = entry
        self._square = self._square + np.abs(entry) ** 2
        norm = self.beta / np.sqrt(self._square)
        self.steps += self.is_open
        if not has_more.all():
            self._exhaust(self.is_open & ~has_more, norm)
        self.norms[:, j + 1] = norm
        self.is_claimed |= self.is_open & (norm <= self._tolerance)
        self.is_open &= ~self.is_claimed & (self.steps < self._limit)

    def _exhaust(self, systems: Mask, norm: Floats) -> None:
        """Close systems whose Krylov space is complete; their H may be singular."""
        for i in np.flatnonzero(systems).tolist():
            norm[i] = self._least(i)[1]
        self.is_exhausted |= systems
        self.is_claimed |= systems & (norm <= self._tolerance)
        self.is_open &= ~systems

    def _least(self, i: int) -> tuple[NDArray[Any], float]:
        """Solve one system, whose H may be singular, and return the residual norm too."""
        n = int(self.steps[i])
        H = self.matrix(i)
        rhs = np.zeros(n + 1, self.columns.dtype)
        rhs[0] = self.beta[i]
        y = np.linalg.lstsq(H, rhs, rcond=32 * self._eps)[0]
        return y, float(np.linalg.norm(rhs - H @ y))

    def matrix(self, i: int) -> NDArray[Any]:
        """Return H of one system, (steps + 1, steps)."""
        n = int(self.steps[i])
        return self.columns[i, self.n_above : self.n_above + n + 1, :n]

    def solve(self) -> NDArray[Any]:
        """Return the minimiser y (n_systems, n_read) of each system, zero beyond its own steps."""
        n = self.n_read
        H = self.columns[:, self.n_above : self.n_above + n + 1, :n].copy()
        own = np.arange(n) < self.steps[:, None]
        # A column that is not the system's own becomes the unit vector that no other one touches.
        H = np.where(own[:, None, :], H, np.eye(n + 1, n, -1, dtype=H.dtype))
        q, r = np.linalg.qr(H)
        diagonal = np.abs(np.einsum("sii->si", r))
        r[diagonal.min(axis=1, initial=1.0) == 0] = np.eye(n)
        y: NDArray[Any] = np.linalg.solve(r, (self.beta[:, None] * q[:, 0, :].conj())[..., None])[
            ..., 0
        ]
        # A y so long that rounding in A x swamps the residual comes from a singular H.
        largest = np.maximum(diagonal.max(axis=1, initial=0.0), np.abs(H).max(axis=(1, 2)))
        length = np.linalg.norm(y, axis=1)
        is_singular = (diagonal.min(axis=1, initial=1.0) == 0) | ~(
            32 * self._eps * largest * length <= self.beta
        )
        y[~own] = 0.0
        for i in np.flatnonzero(is_singular & (self.steps > 0)).tolist():
            y[i, : self.steps[i]] = self._least(i)[0]
        return y

    def remainder(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return beta e1 - H y, the residual in the basis, (n_systems, n_read + 1)."""
        n = self.n_read
        H = self.columns[:, self.n_above : self.n_above + n + 1, :n]
        rest: NDArray[Any] = -(H @ y[:, :, None])[:, :, 0]
        rest[:, 0] += self.beta
        self.reached = np.linalg.norm(rest, axis=1)
        return rest
