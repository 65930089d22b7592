"""Incomplete factorisations: by drop tolerance, and on the pattern of the matrix."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from solvers.errors import SolverError
from solvers.preconditioners.factorised import solve_rows
from solvers.preconditioners.layout import host_vector, like, matrix_of, system_rows
from solvers.preconditioners.pattern_factors import PatternFactors
from solvers.preconditioners.protocol import DEFINITE
from solvers.preconditioners.triangular import Triangular
from solvers.vectors import Array

__all__ = ["IncompleteCholesky", "IncompleteLU", "ThresholdLU"]


@final
class ThresholdLU:
    """Incomplete LU factors that drop small entries.

    P_r A P_c ~ L U,   z = P_c U^-1 L^-1 P_r r

    For matrices without symmetry where a direct solution is too large. The factors of a symmetric
    matrix are not symmetric: take `IncompleteCholesky` for CG. Computes on the CPU in double
    precision.

    Parameters
    ----------
    A : matrix or operator
        See `solvers.preconditioners.layout.matrix_of`; real or complex.
    drop_tolerance : float
        Entries below this part of their column's norm are dropped.
    fill : float
        Most entries of the factors, in units of those of A.

    Raises
    ------
    SolverError
        If A has no matrix, an argument is out of range, or a pivot vanishes.

    References
    ----------
    Li and Shao 2011, doi:10.1145/1916461.1916467

    Examples
    --------
    >>> ThresholdLU(np.array([[4.0, 1.0], [0.0, 2.0]])).forward(np.array([5.0, 2.0])).tolist()
    [1.0, 1.0]
    """

    def __init__(self, A: Any, *, drop_tolerance: float = 1e-3, fill: float = 10.0) -> None:
        if not 0 <= drop_tolerance < 1 or fill < 1:
            raise SolverError(
                f"ThresholdLU expected 0 <= drop_tolerance < 1 and fill >= 1, "
                f"got {drop_tolerance} and {fill}"
            )
        self._drop_tolerance = drop_tolerance
        self._fill = fill
        self.update(A)

    def forward(self, r: Array) -> Array:
        """Compute z = M r for every system of the batch."""
        return self._solve(r, "N")

    def adjoint(self, r: Array) -> Array:
        """Compute M^H r."""
        return self._solve(r, "H")

    def update(self, A: Any) -> bool:
        """Factorise a new operator.

        Raises
        ------
        SolverError
            As the constructor; the old factors are kept.
        """
        from scipy.sparse.linalg import spilu

        matrix = matrix_of(A, "ThresholdLU")
        try:
            lu = spilu(matrix.tocsc(), drop_tol=self._drop_tolerance, fill_factor=self._fill)
        except RuntimeError as error:
            raise SolverError(
                f"the incomplete factorisation of {matrix.shape[0]} unknowns met a vanishing pivot "
                f"({error}). Lower drop_tolerance (now {self._drop_tolerance:g}), raise fill (now "
                f"{self._fill:g}), or use Factorised."
            ) from error
        self._lu = lu
        self._is_complex = bool(np.iscomplexobj(matrix.data))
        return True

    def _solve(self, r: Array, form: str) -> Array:
        host = host_vector(r, "ThresholdLU")
        rows = system_rows(host, self._lu.shape[0], "ThresholdLU")
        return like(solve_rows(self._lu, rows, form, self._is_complex).reshape(host.shape), r)


@final
class IncompleteLU:
    """ILU(0): LU factors on the pattern of the matrix.

    (L U)_ij = a_ij wherever a_ij is stored, l_ij = u_ij = 0 elsewhere;   z = U^-1 L^-1 r

    An application costs about one of A. `update` with a matrix of the same pattern reuses the
    order of elimination. Computes on the CPU in double precision.

    Parameters
    ----------
    A : matrix or operator
        See `solvers.preconditioners.layout.matrix_of`; real or complex.

    Raises
    ------
    SolverError
        If A has no matrix, a diagonal entry is not stored, or a pivot vanishes.

    References
    ----------
    Meijerink and van der Vorst 1977, doi:10.1090/S0025-5718-1977-0438681-4; Saad 2003,
    doi:10.1137/1.9780898718003, algorithm 10.4

    Examples
    --------
    >>> IncompleteLU(np.array([[4.0, 1.0], [1.0, 2.0]])).forward(np.array([5.0, 3.0])).tolist()
    [1.0, 1.0]
    """

    def __init__(self, A: Any) -> None:
        self._factors: PatternFactors | None = None
        self.update(A)

    def forward(self, r: Array) -> Array:
        """Compute z = M r for every system of the batch."""
        host = host_vector(r, "IncompleteLU")
        rows = system_rows(host, self._size, "IncompleteLU")
        z = self._upper.solve(self._lower.solve(rows), "T")
        return like(z.reshape(host.shape), r)

    def adjoint(self, r: Array) -> Array:
        """Compute M^H r."""
        host = host_vector(r, "IncompleteLU")
        rows = system_rows(host, self._size, "IncompleteLU")
        z = self._lower.solve(np.conj(self._upper.solve(np.conj(rows))), "H")
        return like(z.reshape(host.shape), r)

    def update(self, A: Any) -> bool:
        """Factorise a new operator."""
        matrix = matrix_of(A, "IncompleteLU")
        if self._factors is None or not self._factors.fits(matrix):
            self._factors = PatternFactors(matrix)
        L, U = self._factors.factorise(matrix)
        if not U.diagonal().all():
            raise SolverError(
                "ILU(0) met a vanishing pivot. Number the unknowns otherwise, or use ThresholdLU."
            )
        self._lower, self._upper = Triangular(L), Triangular(U.T)
        self._size = int(matrix.shape[0])
        return True


@final
class IncompleteCholesky:
    """IC(0): Cholesky factors on the pattern of a Hermitian positive definite matrix.

    (L D L^H)_ij = a_ij wherever a_ij is stored;   z = L^-H D^-1 L^-1 r

    With L unit lower triangular: the LU factors on the pattern, which for a Hermitian matrix are
    L and D L^H. For M-matrices (elliptic finite volumes) the pivots D stay positive; elsewhere a
    multiple of the diagonal is added until they do. Computes on the CPU in double precision.

    Parameters
    ----------
    A : matrix or operator
        See `solvers.preconditioners.layout.matrix_of`; real or complex Hermitian.

    Attributes
    ----------
    tags : frozenset of str
        Positive definite.
    shift : float
        What part of the diagonal was added to itself: 0 wherever possible.

    Raises
    ------
    SolverError
        If A has no matrix, is not Hermitian, or has a diagonal entry that is not positive.

    References
    ----------
    Meijerink and van der Vorst 1977, doi:10.1090/S0025-5718-1977-0438681-4; Manteuffel 1980,
    doi:10.1090/S0025-5718-1980-0559197-0 (the shift)

    Examples
    --------
    >>> M = IncompleteCholesky(np.array([[4.0, 1.0], [1.0, 2.0]]))
    >>> M.forward(np.array([5.0, 3.0])).tolist(), M.shift
    ([1.0, 1.0], 0.0)
    """

    tags: frozenset[str] = DEFINITE

    def __init__(self, A: Any) -> None:
        self._factors: PatternFactors | None = None
        self.update(A)

    def forward(self, r: Array) -> Array:
        """Compute z = M r for every system of the batch."""
        host = host_vector(r, "IncompleteCholesky")
        rows = system_rows(host, len(self._pivots), "IncompleteCholesky")
        z = self._lower.solve(self._lower.solve(rows) / self._pivots, "H")
        return like(z.reshape(host.shape), r)

    def adjoint(self, r: Array) -> Array:
        """Compute M^H r = M r."""
        return self.forward(r)

    def update(self, A: Any) -> bool:
        """Factorise a new operator."""
        from scipy import sparse

        matrix = matrix_of(A, "IncompleteCholesky")
        diagonal = matrix.diagonal()
        asymmetry = abs(matrix - matrix.conj().T)
        if asymmetry.nnz and asymmetry.max() > 1e-12 * np.abs(matrix.data).max():
            raise SolverError(
                "IC(0) expected a Hermitian matrix, got one that is not. Use IncompleteLU."
            )
        if not (diagonal.real > 0).all():
            raise SolverError(
                "IC(0) expected a positive definite matrix, got a diagonal entry that is not "
                "positive. Use IncompleteLU with GMRES or MINRES."
            )
        if self._factors is None or not self._factors.fits(matrix):
            self._factors = PatternFactors(matrix)
        self.shift = 0.0
        while True:
            shifted = (
                matrix if not self.shift else matrix + sparse.diags_array(self.shift * diagonal)
            )
            L, U = self._factors.factorise(shifted)
            pivots = U.diagonal().real
            # A pivot that has lost all its digits is as bad as a negative one.
            if (pivots > 1e-12 * diagonal.real).all():
                break
            self.shift = max(1e-3, 2 * self.shift)
        self._lower, self._pivots = Triangular(L), pivots
        return True
