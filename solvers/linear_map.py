"""The accepted forms of A and M, brought to one: a counted function from array to array."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeAlias

import array_api_compat

from solvers.errors import SolverError
from solvers.vectors import Array

__all__ = ["AdjointMap", "Applicable", "LinearMap", "adjoint_of", "require_definite"]

_DEFINITE = frozenset({"POSITIVE_SEMIDEFINITE", "POSITIVE_DEFINITE"})


class AdjointMap(Protocol):
    """An object that applies a linear map and its Hermitian adjoint."""

    def forward(self, x: Array, /) -> Array:
        """Compute A x."""
        ...

    def adjoint(self, y: Array, /) -> Array:
        """Compute A^H y."""
        ...


Applicable: TypeAlias = Callable[[Array], Array] | AdjointMap | Array
"""A function x -> A x, an object with `forward`, a matrix (dense, or anything with ``@``)."""


class LinearMap:
    """A linear map on batched vectors that counts its applications and checks their results.

    Parameters
    ----------
    A : function, operator or matrix
        A function sees the whole batch (*batch, *unknown) and must treat the systems alike. An
        object with `forward` likewise. A dense array (m, n), or (*batch, m, n) with one matrix a
        system, is converted to the vectors' dtype. Anything else with ``@``, such as SciPy's sparse
        arrays and LinearOperator, is applied to all systems as columns.
    name : str
        What messages call it.
    batch_shape : tuple of int
        Leading axes of every argument and result.
    result_like : array, optional
        Array whose shape and dtype every result must have.

    Attributes
    ----------
    count : int
        How often the map was applied to the whole batch.

    Raises
    ------
    SolverError
        If `A` has none of these forms, or returns an array of another shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> double = LinearMap(lambda x: 2 * x, name="A")
    >>> double(np.ones(2)).tolist(), double.count
    ([2.0, 2.0], 1)
    """

    def __init__(
        self,
        A: Applicable,
        *,
        name: str,
        batch_shape: tuple[int, ...] = (),
        result_like: Array | None = None,
    ) -> None:
        self.count = 0
        self._name = name
        self._batch_shape = batch_shape
        self._shape = None if result_like is None else result_like.shape
        self._dtype = None if result_like is None else result_like.dtype
        self._apply = self._function(A)

    def __call__(self, x: Array) -> Array:
        """Compute A x for every system."""
        self.count += 1
        y = self._apply(x)
        if self._shape is not None and (y.shape != self._shape or y.dtype != self._dtype):
            raise SolverError(
                f"{self._name} expected to return {tuple(self._shape)} {self._dtype}, "
                f"got {tuple(y.shape)} {y.dtype}. Convert the operator or the right-hand side."
            )
        return y

    def _function(self, A: Applicable) -> Callable[[Array], Array]:
        if array_api_compat.is_array_api_obj(A) and hasattr(A, "ndim"):
            return self._matrix(A)
        if hasattr(A, "forward") and callable(A.forward):
            return A.forward
        if hasattr(A, "__matmul__") and hasattr(A, "shape"):
            return lambda x: self._columns(A, x)
        if callable(A):
            return A
        raise SolverError(
            f"{self._name} expected a function, a matrix or an object with forward and adjoint, "
            f"got {type(A).__name__}"
        )

    def _matrix(self, A: Array) -> Callable[[Array], Array]:
        batch = tuple(A.shape[:-2])
        if A.ndim < 2 or batch not in {(), self._batch_shape}:
            raise SolverError(
                f"{self._name} expected a matrix (m, n) or one a system "
                f"{(*self._batch_shape, 'm', 'n')}, got an array of shape {tuple(A.shape)}"
            )
        converted: list[Array] = []  # the argument's dtype is known at the first application

        def apply(x: Array) -> Array:
            if not converted:
                converted.append(_at_precision_of(A, x, self._name))
            if not batch:
                return self._columns(converted[0], x)
            xp = array_api_compat.array_namespace(x)
            flat = xp.reshape(x, (*self._batch_shape, -1, 1))
            return xp.matmul(converted[0], flat)[..., 0]

        return apply

    def _columns(self, A: Array, x: Array) -> Array:
        """Apply a matrix to the systems of x, laid side by side as columns."""
        xp = array_api_compat.array_namespace(x)
        n_systems = math.prod(self._batch_shape)
        rows = xp.reshape(x, (n_systems, -1))
        if A.shape[1] != rows.shape[1]:
            raise SolverError(
                f"{self._name} has {A.shape[1]} columns, but an unknown has {rows.shape[1]} "
                f"entries. Count the batch axes with n_batch_axes."
            )
        columns = A @ (rows[0, ...] if n_systems == 1 else rows.T)
        return xp.reshape(columns.T if n_systems > 1 else columns, (*self._batch_shape, -1))


def _at_precision_of(A: Array, x: Array, name: str) -> Array:
    xp = array_api_compat.array_namespace(x)
    if xp.isdtype(A.dtype, "complex floating") and not xp.isdtype(x.dtype, "complex floating"):
        raise SolverError(
            f"{name} is complex ({A.dtype}) but the right-hand side is {x.dtype}. "
            f"Convert the right-hand side."
        )
    return xp.astype(A, x.dtype, copy=False)


def require_definite(A: Applicable, name: str) -> None:
    """Refuse an operator that declares its properties and is not declared positive semidefinite.

    An operator without `tags` (a function, a matrix) is trusted; a negative curvature found later
    is a status.

    Raises
    ------
    SolverError
        If `A.tags` exists and lacks POSITIVE_SEMIDEFINITE and POSITIVE_DEFINITE.
    """
    tags = getattr(A, "tags", None)
    if tags is None or _DEFINITE & {getattr(tag, "name", str(tag)) for tag in tags}:
        return
    raise SolverError(
        f"{name} expected a self-adjoint, positive semidefinite operator, got {A!r} without that "
        f"tag. Pass its Gram operator for the normal equations, or use cgls."
    )


def adjoint_of(A: Applicable) -> Applicable:
    """Return A^H of an operator or matrix that knows it.

    Parameters
    ----------
    A : operator or matrix
        An object with `forward` and `adjoint`, a dense array, or a SciPy sparse array or
        LinearOperator.

    Raises
    ------
    SolverError
        If `A` is a plain function.

    Examples
    --------
    >>> import numpy as np
    >>> adjoint_of(np.array([[1.0, 2.0j]])).tolist()
    [[(1-0j)], [-2j]]
    """
    if hasattr(A, "forward") and hasattr(A, "adjoint"):
        return A.adjoint
    if array_api_compat.is_array_api_obj(A) and hasattr(A, "ndim"):
        matrix: Array = A
        xp = array_api_compat.array_namespace(matrix)
        is_complex = xp.isdtype(matrix.dtype, "complex floating")
        return xp.matrix_transpose(xp.conj(matrix) if is_complex else matrix)
    if hasattr(A, "matvec") and hasattr(A, "H"):
        return A.H
    if hasattr(A, "conj") and hasattr(A, "T"):
        return A.conj().T
    raise SolverError(
        f"the adjoint of {type(A).__name__} is not known; pass it as AH, "
        f"or an object with forward and adjoint as A"
    )
