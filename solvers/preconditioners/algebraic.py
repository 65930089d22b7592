"""Algebraic multigrid by pyamg."""

from __future__ import annotations

import importlib
from typing import Any, Literal, final

import numpy as np

from solvers.errors import SolverError
from solvers.preconditioners.layout import host_vector, like, matrix_of, system_rows
from solvers.preconditioners.protocol import DEFINITE
from solvers.vectors import Array

__all__ = ["AlgebraicMultigrid"]


@final
class AlgebraicMultigrid:
    """One V-cycle of algebraic multigrid for symmetric positive definite matrices.

    It knows the matrix alone: for unstructured meshes, and as a check of `Multigrid` on grids.
    Needs pyamg, ``pip install inverse-suite[amg]``. Computes on the CPU in double precision.

    Parameters
    ----------
    A : matrix or operator
        See `solvers.preconditioners.layout.matrix_of`; real symmetric positive definite.
    method : {"ruge-stuben", "smoothed-aggregation"}
        The first suits scalar equations, the second also elasticity.
    lag : {"each", "lagged", "shared"}
        What `update` does: rebuild the hierarchy always; rebuild when it has grown stale; keep it.
    rebuild_after : int
        With "lagged": stale when the last solve applied it more often than this.

    Attributes
    ----------
    tags : frozenset of str
        Positive definite.
    n_hierarchies : int
        How many were built.

    Raises
    ------
    SolverError
        If pyamg is not installed, an option is unknown, or A has no real matrix.

    References
    ----------
    Ruge and Stueben 1987, doi:10.1137/1.9781611971057.ch4; Vanek, Mandel and Brezina 1996,
    doi:10.1007/BF02238511; Bell, Olson, Schroder and Southworth 2023, doi:10.21105/joss.05495
    """

    tags: frozenset[str] = DEFINITE

    def __init__(
        self,
        A: Any,
        *,
        method: Literal["ruge-stuben", "smoothed-aggregation"] = "ruge-stuben",
        lag: Literal["each", "lagged", "shared"] = "each",
        rebuild_after: int = 15,
    ) -> None:
        if method not in {"ruge-stuben", "smoothed-aggregation"}:
            raise SolverError(
                f"expected method 'ruge-stuben' or 'smoothed-aggregation', got {method!r}"
            )
        if lag not in {"each", "lagged", "shared"} or rebuild_after < 0:
            raise SolverError(
                f"expected lag 'each', 'lagged' or 'shared' and rebuild_after >= 0, "
                f"got {lag!r} and {rebuild_after}"
            )
        self._method, self._lag, self._rebuild_after = method, lag, rebuild_after
        self.n_hierarchies = 0
        self._n_applied = 0
        self._build(A)

    def _build(self, A: Any) -> None:
        try:
            pyamg: Any = importlib.import_module("pyamg")
        except ImportError as error:
            raise SolverError(
                "AlgebraicMultigrid needs pyamg, which is not installed. Install it with "
                "`pip install inverse-suite[amg]`, or use Multigrid on a grid."
            ) from error
        from scipy import sparse

        matrix = matrix_of(A, "AlgebraicMultigrid")
        if np.iscomplexobj(matrix.data):
            raise SolverError(
                "AlgebraicMultigrid expected a real symmetric matrix, got a complex one. "
                "Use Factorised or ThresholdLU."
            )
        make = {
            "ruge-stuben": pyamg.ruge_stuben_solver,
            "smoothed-aggregation": pyamg.smoothed_aggregation_solver,
        }[self._method]
        # pyamg asks for the older matrix type with 32-bit indices.
        older = sparse.csr_matrix(
            (matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)),
            shape=matrix.shape,
        )
        self._cycle = make(older).aspreconditioner(cycle="V")
        self._size = int(matrix.shape[0])
        self.n_hierarchies += 1

    def forward(self, r: Array) -> Array:
        """Compute one V-cycle from zero for every system of the batch."""
        self._n_applied += 1
        host = host_vector(r, "AlgebraicMultigrid")
        rows = system_rows(host, self._size, "AlgebraicMultigrid")
        parts = np.concatenate([rows.real, rows.imag]) if np.iscomplexobj(rows) else rows
        z = np.stack([self._cycle @ part.astype(np.float64, copy=False) for part in parts])
        if np.iscomplexobj(rows):
            z = z[: len(rows)] + 1j * z[len(rows) :]
        return like(z.reshape(host.shape), r)

    def adjoint(self, r: Array) -> Array:
        """Compute M^H r = M r."""
        return self.forward(r)

    def update(self, A: Any) -> bool:
        """Rebuild the hierarchy if that is due; see `lag`."""
        n_applied, self._n_applied = self._n_applied, 0
        is_stale = self._lag == "lagged" and n_applied > self._rebuild_after
        if self._lag != "each" and not is_stale:
            return False
        self._build(A)
        return True
