"""From the vectors of a solver to what a preconditioner computes with, and back."""

from __future__ import annotations

import math
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError
from solvers.vectors import Array

__all__ = ["HostVector", "grid_view", "host_vector", "like", "matrix_of", "system_rows"]

HostVector = NDArray[Any]
"""NumPy array that shares memory with the vector of a solver where it can."""


def host_vector(r: Array, name: str) -> HostVector:
    """See a vector in the main memory as a NumPy array; torch tensors are not copied.

    Raises
    ------
    SolverError
        If the vector lies on a device.
    """
    if array_api_compat.is_numpy_array(r):
        return np.asarray(r)
    if array_api_compat.is_cupy_array(r) or (
        array_api_compat.is_torch_array(r) and r.device.type != "cpu"
    ):
        raise SolverError(
            f"{name} computes on the CPU, but the vectors are on {array_api_compat.device(r)}. "
            f"Use Jacobi, SpectralLaplacian or Multigrid there, or move the system to the CPU."
        )
    if array_api_compat.is_torch_array(r):
        return np.asarray(r.detach().resolve_conj().resolve_neg().numpy())
    return np.asarray(r)


def like(z: HostVector, r: Array) -> Array:
    """Bring a result back into the library and the dtype of the vector r."""
    dtype = np.dtype(str(r.dtype).rsplit(".", maxsplit=1)[-1])
    if dtype.kind == "f" and np.iscomplexobj(z):
        raise SolverError(
            f"a complex preconditioner expected a complex vector, got {r.dtype}. "
            f"Convert the right-hand side."
        )
    z = z.astype(dtype, copy=False)
    if array_api_compat.is_numpy_array(r):
        return z
    return array_api_compat.array_namespace(r).asarray(z)


def system_rows(r: HostVector, size: int, name: str) -> HostVector:
    """See a vector (*batch, *unknown) of `size` unknowns a system as (n_systems, size).

    Raises
    ------
    SolverError
        If the trailing axes do not hold `size` entries.
    """
    for n_axes in range(1, r.ndim + 1):
        if math.prod(r.shape[-n_axes:]) == size:
            return r.reshape(-1, size)
    raise SolverError(
        f"{name} is for systems of {size} unknowns, got vectors of shape {r.shape}. "
        f"Make it from the operator that is solved."
    )


def grid_view(r: Array, grid: tuple[int, ...], name: str) -> Array:
    """See a vector as (*batch, *grid); the unknown may be the grid or its row-major list.

    Raises
    ------
    SolverError
        If the vector is neither.
    """
    shape = tuple(r.shape)
    if shape[-len(grid) :] == grid:
        return r
    if shape and shape[-1] == math.prod(grid):
        return array_api_compat.array_namespace(r).reshape(r, (*shape[:-1], *grid))
    raise SolverError(
        f"{name} expected vectors (*batch, {', '.join(map(str, grid))}) or (*batch, "
        f"{math.prod(grid)}), got {shape}. Make it for the grid of the unknown."
    )


def matrix_of(A: Any, name: str) -> Any:
    """Return the square SciPy CSR array of a matrix or an operator that knows its matrix.

    Parameters
    ----------
    A : matrix or operator
        A SciPy sparse matrix or array, a dense NumPy array, an object with `scipy()`, or one with
        `matrix(sample)` and a single sample.
    name : str
        Who asks, for the message.

    Raises
    ------
    SolverError
        If `A` has none of these forms, is not square or not finite.

    Examples
    --------
    >>> matrix_of(np.eye(2), "Jacobi").nnz
    2
    """
    from scipy import sparse

    if callable(getattr(A, "scipy", None)):
        A = A.scipy()
    elif callable(getattr(A, "matrix", None)) and getattr(A, "n_samples", None) == 1:
        A = A.matrix(0)
    if not sparse.issparse(A) and not (isinstance(A, np.ndarray) and A.ndim == 2):
        raise SolverError(
            f"{name} expected a SciPy sparse matrix, a dense NumPy matrix or an operator that "
            f"knows its one matrix, got {type(A).__name__}. Make one preconditioner a system."
        )
    matrix = sparse.csr_array(A)
    if matrix.shape[0] != matrix.shape[1] or not matrix.shape[0]:
        raise SolverError(f"{name} expected a square matrix, got shape {matrix.shape}")
    if not np.isfinite(matrix.data).all():
        raise SolverError(f"{name} expected a finite matrix, got NaN or infinity in it")
    if matrix.data.dtype not in (np.float64, np.complex128):
        wide = np.complex128 if np.iscomplexobj(matrix.data) else np.float64
        matrix = matrix.astype(wide)
    if not matrix.has_canonical_format:
        matrix.sum_duplicates()
    return matrix
