"""One sparse matrix, applied to every sample of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, TypeAlias, final

import torch

from operators.errors import ShapeError
from operators.linear import LinearOperator, Tag
from operators.space import Space, with_precision_of

__all__ = ["SparseMatrix", "SparseOperator"]

SparseMatrix: TypeAlias = Any
"""A SciPy sparse matrix or array; SciPy declares no types."""


@final
class SparseOperator(LinearOperator):
    """A u = M u for one sparse matrix M, e.g. a finite-element matrix on an unstructured mesh.

    Parameters
    ----------
    matrix : Tensor, (m, n), sparse CSR
        Real or complex.
    tags : sequence of Tag
        What the caller knows of the matrix.

    Raises
    ------
    ShapeError
        If `matrix` is not a matrix in CSR layout.

    Examples
    --------
    >>> from scipy import sparse
    >>> M = SparseOperator.from_scipy(sparse.csr_array([[2.0, 0.0], [1.0, 3.0]]))
    >>> M(torch.tensor([1.0, 1.0], dtype=torch.float64)).tolist()
    [2.0, 4.0]
    """

    def __init__(self, matrix: torch.Tensor, *, tags: Sequence[Tag] = ()) -> None:
        if matrix.layout != torch.sparse_csr or matrix.ndim != 2:
            raise ShapeError(
                f"a sparse operator expected a matrix in CSR layout, got {matrix.layout} "
                f"of shape {tuple(matrix.shape)}. Use SparseOperator.from_scipy."
            )
        n_rows, n_columns = matrix.shape
        super().__init__(
            Space((n_columns,), matrix.dtype, ("unknown",)),
            Space((n_rows,), matrix.dtype, ("unknown",)),
            device=matrix.device,
            tags=tags,
        )
        self._matrix = matrix
        self._adjoint_matrix = (
            matrix if Tag.SELF_ADJOINT in self.tags else _conjugate_transpose(matrix)
        )

    @classmethod
    def from_scipy(cls, matrix: SparseMatrix, *, tags: Sequence[Tag] = ()) -> SparseOperator:
        """Make the operator of a SciPy sparse matrix or array, on the CPU."""
        return cls(_from_scipy(matrix.tocsr()), tags=tags)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return _apply(self._matrix, x)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return _apply(self._adjoint_matrix, y)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the operator on another device or at another precision."""
        wanted = self.domain.dtype if dtype is None else with_precision_of(self.domain.dtype, dtype)
        return type(self)(self._matrix.to(device=device, dtype=wanted), tags=tuple(self.tags))

    def scipy(self) -> SparseMatrix:
        """Return the matrix as a SciPy CSR array."""
        return _to_scipy(self._matrix)


def _from_scipy(matrix: SparseMatrix) -> torch.Tensor:
    import warnings

    matrix.sort_indices()
    with warnings.catch_warnings():
        # torch announces once that its CSR layout may still change; the layout is used here only.
        warnings.filterwarnings("ignore", message="Sparse CSR", category=UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype("int64")),
            torch.from_numpy(matrix.indices.astype("int64")),
            torch.from_numpy(matrix.data),
            size=matrix.shape,
            check_invariants=True,
        )


def _to_scipy(matrix: torch.Tensor) -> SparseMatrix:
    from scipy import sparse

    parts = (matrix.values(), matrix.col_indices(), matrix.crow_indices())
    return sparse.csr_array(
        tuple(part.detach().cpu().resolve_conj().numpy() for part in parts),
        shape=tuple(matrix.shape),
    )


def _conjugate_transpose(matrix: torch.Tensor) -> torch.Tensor:
    return _from_scipy(_to_scipy(matrix).conj().T.tocsr()).to(matrix.device)


def _apply(matrix: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Apply the matrix to the last axis of x."""
    batch = x.shape[:-1]
    columns = x.reshape(-1, x.shape[-1]).T.contiguous()
    return (matrix @ columns).T.reshape(*batch, matrix.shape[0]).contiguous()
