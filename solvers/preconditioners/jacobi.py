"""The inverse of the diagonal."""

from __future__ import annotations

from typing import Any, final

import array_api_compat
import numpy as np

from solvers.errors import SolverError
from solvers.preconditioners.layout import matrix_of
from solvers.preconditioners.protocol import DEFINITE
from solvers.vectors import Array

__all__ = ["Jacobi"]


@final
class Jacobi:
    """Division by the diagonal of the operator.

    z_i = r_i / a_ii

    One multiplication an unknown. For second-order elliptic equations it evens out the coefficient,
    not the grid: the iterations of CG still grow like 1 / h. Computes in the library and on the
    device of the vectors.

    Parameters
    ----------
    A : matrix or operator
        A SciPy sparse or a dense square matrix, or an operator with `diagonal()`, `scipy()` or
        `matrix(sample)`.
    diagonal : array, (*batch, *unknown), optional
        The diagonals, instead of `A`; axes of length one are repeated.

    Attributes
    ----------
    tags : frozenset of str
        Positive definite if every entry of the diagonal is positive.

    Raises
    ------
    SolverError
        If both or neither are given, or an entry is zero or not finite.

    References
    ----------
    Saad 2003, doi:10.1137/1.9780898718003, section 10.2

    Examples
    --------
    >>> Jacobi(np.array([[2.0, 1.0], [1.0, 4.0]])).forward(np.array([2.0, 2.0])).tolist()
    [1.0, 0.5]
    >>> Jacobi(diagonal=np.array([[2.0], [4.0]])).forward(np.ones((2, 2))).tolist()
    [[0.5, 0.5], [0.25, 0.25]]
    """

    def __init__(self, A: Any = None, *, diagonal: Array = None) -> None:
        if (A is None) == (diagonal is None):
            raise SolverError("Jacobi expected either an operator or its diagonal")
        self._set(_diagonal_of(A) if diagonal is None else diagonal)

    def _set(self, diagonal: Array) -> None:
        xp = array_api_compat.array_namespace(diagonal)
        if not bool(xp.all(xp.isfinite(diagonal) & (diagonal != 0))):
            raise SolverError(
                "Jacobi expected a diagonal without zeros, NaN and infinities. Number the unknowns "
                "so that there are none, or use another preconditioner."
            )
        is_complex = xp.isdtype(diagonal.dtype, "complex floating")
        is_real = not is_complex or not bool(xp.any(xp.imag(diagonal) != 0))
        is_definite = is_real and bool(xp.all((xp.real(diagonal) if is_complex else diagonal) > 0))
        self.tags: frozenset[str] = DEFINITE if is_definite else frozenset()
        if is_real and is_complex:
            diagonal = xp.real(diagonal)
        self._inverse = 1 / diagonal
        self._converted: dict[Any, Array] = {}

    def forward(self, r: Array) -> Array:
        """Compute r / diag A.

        Parameters
        ----------
        r : array, (*batch, *unknown)

        Raises
        ------
        SolverError
            If the shapes do not fit, or the diagonal is complex and r is not.
        """
        return r * self._inverse_like(r)

    def adjoint(self, r: Array) -> Array:
        """Compute r / conj(diag A)."""
        inverse = self._inverse_like(r)
        xp = array_api_compat.array_namespace(r)
        return r * (xp.conj(inverse) if xp.isdtype(inverse.dtype, "complex floating") else inverse)

    def update(self, A: Any) -> bool:
        """Take the diagonal of a new operator."""
        self._set(_diagonal_of(A))
        return True

    def _inverse_like(self, r: Array) -> Array:
        xp = array_api_compat.array_namespace(r)
        device = array_api_compat.device(r)
        key = (xp.__name__, r.dtype, str(device), tuple(r.shape))
        if key not in self._converted:
            self._converted = {key: self._convert(xp, r, device)}
        return self._converted[key]

    def _convert(self, xp: Any, r: Array, device: Any) -> Array:
        inverse, shape = self._inverse, tuple(r.shape)
        own = array_api_compat.array_namespace(inverse)
        is_complex = own.isdtype(inverse.dtype, "complex floating")
        if is_complex and not xp.isdtype(r.dtype, "complex floating"):
            raise SolverError(f"Jacobi has a complex diagonal, got a vector of {r.dtype}")
        given = tuple(inverse.shape)
        if len(given) == 1 and given[0] not in {1, shape[-1]}:
            inverse = own.reshape(inverse, _grid_of(shape, given[0]))
        try:
            own.broadcast_to(inverse, shape)
        except (ValueError, RuntimeError) as error:
            raise SolverError(
                f"Jacobi has a diagonal of shape {given}, got a vector of shape {shape}"
            ) from error
        dtype = r.dtype
        if not is_complex and xp.isdtype(dtype, "complex floating"):
            dtype = xp.float32 if str(dtype).endswith("64") else xp.float64
        if own.__name__ != xp.__name__:
            inverse = np.asarray(inverse)
        return xp.astype(xp.asarray(inverse, device=device), dtype, copy=False)


def _grid_of(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return the trailing part of the shape that holds `size` entries, else all that there are."""
    for n_axes in range(1, len(shape) + 1):
        if int(np.prod(shape[-n_axes:])) == size:
            return shape[-n_axes:]
    return (size,)


def _diagonal_of(A: Any) -> Array:
    if array_api_compat.is_array_api_obj(A) and hasattr(A, "ndim"):
        if A.ndim != 2 or A.shape[0] != A.shape[1]:
            raise SolverError(
                f"Jacobi expected a square matrix, got an array of shape {tuple(A.shape)}. "
                f"Pass diagonals by name: Jacobi(diagonal=...)."
            )
        return array_api_compat.array_namespace(A).linalg.diagonal(A)
    if callable(getattr(A, "diagonal", None)):
        return A.diagonal()
    return matrix_of(A, "Jacobi").diagonal()
