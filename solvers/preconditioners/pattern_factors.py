"""LU factors on the pattern of a sparse matrix, many rows at a time."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError

__all__ = ["PatternFactors"]

Indices = NDArray[np.int64]


@final
class PatternFactors:
    """Order of an incomplete elimination without fill-in, for one pattern.

    for k < i with a_ik stored, in ascending order:
        l_ik = a_ik / u_kk;   a_ij -= l_ik u_kj  for j > k where both a_ij and a_kj are stored

    A row needs only the rows k < i of its own entries, so all rows of one level, whose such rows
    lie in earlier levels, are eliminated at once: 2 n - 1 levels for an n x n grid.

    Parameters
    ----------
    matrix : sparse array, (n, n), canonical CSR
        Its pattern counts, not its values.

    Raises
    ------
    SolverError
        If a diagonal entry is not stored.

    References
    ----------
    Saad 2003, doi:10.1137/1.9780898718003, algorithm 10.4 and section 12.4.2 (levels)

    Examples
    --------
    >>> from scipy import sparse
    >>> A = sparse.csr_array([[4.0, 1.0], [1.0, 2.0]])
    >>> L, U = PatternFactors(A).factorise(A)
    >>> (L @ U).toarray().tolist()
    [[4.0, 1.0], [1.0, 2.0]]
    """

    def __init__(self, matrix: Any) -> None:
        self._indptr = matrix.indptr.astype(np.int64)
        self._indices = matrix.indices.astype(np.int64)
        n = len(self._indptr) - 1
        self._rows = np.repeat(np.arange(n), np.diff(self._indptr))
        self._diagonal = np.flatnonzero(self._rows == self._indices)
        if len(self._diagonal) != n:
            raise SolverError(
                f"ILU(0) expected every diagonal entry to be stored, "
                f"got {len(self._diagonal)} of {n}"
            )
        self._steps = self._schedule(self._levels())

    def fits(self, matrix: Any) -> bool:
        """Tell whether a matrix has this pattern."""
        return np.array_equal(self._indptr, matrix.indptr) and np.array_equal(
            self._indices, matrix.indices
        )

    def factorise(self, matrix: Any) -> tuple[Any, Any]:
        """Return unit lower triangular L and upper triangular U as CSR arrays.

        A vanishing pivot shows as a zero, infinity or NaN on the diagonal of U.

        Parameters
        ----------
        matrix : sparse array, (n, n), canonical CSR
            With the pattern given first.
        """
        from scipy import sparse

        values = matrix.data.copy()
        with np.errstate(all="ignore"):
            for eliminated, pivots, updated, factors, others in self._steps:
                values[eliminated] /= values[pivots]
                values[updated] -= values[factors] * values[others]
        values[~np.isfinite(values)] = 0.0
        whole = sparse.csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)
        unit = sparse.eye_array(matrix.shape[0], dtype=values.dtype)
        return sparse.csr_array(sparse.tril(whole, -1) + unit), sparse.csr_array(sparse.triu(whole))

    def _levels(self) -> Indices:
        """Return for each row one more than the largest level of the rows that it needs."""
        n = len(self._indptr) - 1
        is_lower = self._indices < self._rows
        needs, needed = self._rows[is_lower], self._indices[is_lower]
        order = np.argsort(needed, kind="stable")
        followers = needs[order]
        start = np.searchsorted(needed[order], np.arange(n + 1))
        waiting = np.bincount(needs, minlength=n)
        levels = np.zeros(n, dtype=np.int64)
        ready, level = np.flatnonzero(waiting == 0), 0
        while len(ready):
            levels[ready] = level
            freed = followers[_ranges(start[ready], start[ready + 1])]
            rows, counts = np.unique(freed, return_counts=True)
            waiting[rows] -= counts
            ready, level = rows[waiting[rows] == 0], level + 1
        return levels

    def _schedule(self, levels: Indices) -> list[tuple[Indices, ...]]:
        """List for each level and place of a row's lower entries what is done at once."""
        lower = np.flatnonzero(self._indices < self._rows)
        rank = lower - self._indptr[self._rows[lower]]
        order = np.lexsort((rank, levels[self._rows[lower]]))
        lower, rank = lower[order], rank[order]
        key = levels[self._rows[lower]] * (rank.max(initial=0) + 1) + rank
        n = len(self._indptr) - 1
        keys = self._rows * n + self._indices  # ascending, as the pattern is canonical
        steps: list[tuple[Indices, ...]] = []
        for group in np.split(lower, np.flatnonzero(np.diff(key)) + 1) if len(lower) else []:
            pivot_rows = self._indices[group]
            first, last = self._diagonal[pivot_rows] + 1, self._indptr[pivot_rows + 1]
            others = _ranges(first, last)
            factors = np.repeat(group, last - first)
            wanted = self._rows[factors] * n + self._indices[others]
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            stored = keys[place] == wanted
            steps.append(
                (
                    group,
                    self._diagonal[pivot_rows],
                    place[stored],
                    factors[stored],
                    others[stored],
                )
            )
        return steps


def _ranges(first: Indices, last: Indices) -> Indices:
    """Concatenate the ranges [first, last)."""
    lengths = last - first
    ends = np.cumsum(lengths)
    count = np.arange(ends[-1] if len(ends) else 0, dtype=np.int64)
    return np.asarray(count - np.repeat(ends - lengths - first, lengths), dtype=np.int64)
