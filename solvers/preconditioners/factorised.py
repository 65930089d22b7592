"""A sparse LU factorisation that is shared by systems, or lags behind them."""

from __future__ import annotations

from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError
from solvers.preconditioners.layout import host_vector, like, matrix_of, system_rows
from solvers.vectors import Array

__all__ = ["Factorised", "factorise", "has_symmetric_pattern"]


@final
class Factorised:
    """Solution with the LU factors of some operator: of all, of an earlier one, or of the mean.

    P A_0 Q = L U,   z = Q U^-1 L^-1 P r

    For A = A_0 one application solves the system. For A near A_0 the Krylov iterations count how
    far A has moved, and with `lag="lagged"` a new factorisation is made when they become many: it
    pays in sequences sorted so that neighbours are alike.

    Cost in two dimensions: O(n^3) to factorise an n x n grid, O(n^2 log n) an application; a
    factorisation of 64^2 unknowns takes about as long as 45 applications (7 ms on one core).
    Three-dimensional factors fill up (2 s for 32^3): prefer Multigrid or SpectralLaplacian.
    Computes on the CPU in double precision.

    Parameters
    ----------
    A : matrix or operator
        See `solvers.preconditioners.layout.matrix_of`; real or complex.
    lag : {"shared", "lagged", "each"}
        What `update` does: keep the factors for ever; refactorise when they have grown stale;
        refactorise always.
    refactor_after : int
        With "lagged": the factors are stale when the last solve applied them more often than this.

    Attributes
    ----------
    n_factorisations : int
        How many were made.
    n_applied : int
        Applications since `update` was last called: the iterations of the last solve, and a few.

    Raises
    ------
    SolverError
        If A has no matrix, is singular to working precision, or an option is unknown.

    References
    ----------
    Demmel et al. 1999, doi:10.1137/S0895479895291765 (SuperLU); Liu 1985, doi:10.1145/214392.214398
    (minimum degree)

    Examples
    --------
    >>> M = Factorised(np.array([[4.0, 0.0], [0.0, 2.0]]), lag="lagged", refactor_after=0)
    >>> M.forward(np.array([4.0, 2.0])).tolist()
    [1.0, 1.0]
    >>> M.update(np.eye(2)), M.update(2 * np.eye(2)), M.n_factorisations
    (True, False, 2)
    """

    def __init__(
        self,
        A: Any,
        *,
        lag: Literal["shared", "lagged", "each"] = "lagged",
        refactor_after: int = 12,
    ) -> None:
        if lag not in {"shared", "lagged", "each"} or refactor_after < 0:
            raise SolverError(
                f"Factorised expected lag 'shared', 'lagged' or 'each' and refactor_after >= 0, "
                f"got {lag!r} and {refactor_after}"
            )
        self._lag = lag
        self._refactor_after = refactor_after
        self.n_factorisations = 0
        self.n_applied = 0
        self._factorise(A)

    def _factorise(self, A: Any) -> None:
        matrix = matrix_of(A, "Factorised")
        self._lu = factorise(matrix)
        self._size = int(matrix.shape[0])
        self._is_complex = bool(np.iscomplexobj(matrix.data))
        self.n_factorisations += 1

    def forward(self, r: Array) -> Array:
        """Compute A_0^-1 r for every system of the batch.

        Parameters
        ----------
        r : array, (*batch, *unknown)

        Raises
        ------
        SolverError
            If r is on a device, of another length, or real while the factors are complex.
        """
        self.n_applied += 1
        return self._solve(r, "N")

    def adjoint(self, r: Array) -> Array:
        """Compute A_0^-H r."""
        self.n_applied += 1
        return self._solve(r, "H")

    def update(self, A: Any) -> bool:
        """Refactorise if that is due; see `lag`."""
        n_applied, self.n_applied = self.n_applied, 0
        is_stale = self._lag == "lagged" and n_applied > self._refactor_after
        if self._lag != "each" and not is_stale:
            return False
        self._factorise(A)
        return True

    def _solve(self, r: Array, form: str) -> Array:
        host = host_vector(r, "Factorised")
        rows = system_rows(host, self._size, "Factorised")
        return like(solve_rows(self._lu, rows, form, self._is_complex).reshape(host.shape), r)


def factorise(matrix: Any) -> Any:
    """Return SciPy's SuperLU factors of a sparse matrix.

    With a symmetric pattern, minimum degree on A + A^T and pivots from the diagonal where these
    serve fill in several times less than the general choice.

    Parameters
    ----------
    matrix : sparse array, (n, n), canonical CSR

    Raises
    ------
    SolverError
        If a pivot vanishes.
    """
    from scipy.sparse.linalg import splu

    columns = matrix.tocsc()
    options: dict[str, Any] = {}
    if _is_mirrored(matrix, columns):
        options = {
            "permc_spec": "MMD_AT_PLUS_A",
            "diag_pivot_thresh": 0.01,
            "options": {"SymmetricMode": True},
        }
    try:
        return splu(columns, **options)
    except RuntimeError as error:
        raise SolverError(
            f"the matrix of {matrix.shape[0]} unknowns is singular ({error}). Fix a value, add a "
            f"small shift, or use a preconditioner for semidefinite systems."
        ) from error


def solve_rows(lu: Any, rows: NDArray[Any], form: str, is_complex: bool) -> NDArray[Any]:
    """Solve for each row in double precision; a complex row by real factors is two right sides."""
    if np.iscomplexobj(rows) and not is_complex:
        parts = np.concatenate([rows.real, rows.imag]).astype(np.float64, copy=False)
        solved = lu.solve(np.ascontiguousarray(parts.T), "N" if form == "N" else "T").T
        return np.asarray(solved[: len(rows)] + 1j * solved[len(rows) :])
    wide = np.complex128 if is_complex else np.float64
    columns = np.ascontiguousarray(rows.T, dtype=wide)
    return np.asarray(lu.solve(columns, form).T)


def has_symmetric_pattern(matrix: Any) -> bool:
    """Tell whether a canonical CSR matrix has its entries in pairs (i, j), (j, i)."""
    return _is_mirrored(matrix, matrix.tocsc())


def _is_mirrored(rows: Any, columns: Any) -> bool:
    """Compare the pattern of A by rows with that by columns: equal if A and A^T share it."""
    return np.array_equal(rows.indptr, columns.indptr) and np.array_equal(
        rows.indices, columns.indices
    )
