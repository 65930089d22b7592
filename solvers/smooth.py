"""Smooth convex functions, known by their gradient, that first-order methods minimise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from array_api_compat import array_namespace

from solvers.linear_map import Applicable, LinearMap
from solvers.vectors import Array

__all__ = ["LeastSquares", "Smooth"]


class Smooth(Protocol):
    """A convex function f with a Lipschitz continuous gradient."""

    def gradient(self, x: Array) -> Array:
        """Compute the gradient of f, a new array like `x`."""
        ...

    def value(self, x: Array) -> Array:
        """Compute f, one real number for each of the leading axes that f does not sum over."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LeastSquares:
    """f(x) = 1/2 ||A x - y||^2 - 1/2 ||y||^2 = 1/2 <x, H x> - Re <b, x>, with H = A^H A, b = A^H y.

    Its gradient is H x - b, its Lipschitz constant the largest eigenvalue of H. The data y are not
    needed once b is known.

    Parameters
    ----------
    normal : function, operator or matrix
        H, self-adjoint and positive semidefinite; a function sees the whole batch.
    rhs : array, (*batch, *unknown)
        b, in the units of H x.
    n_batch_axes : int
        How many leading axes count independent systems.

    Examples
    --------
    >>> import numpy as np
    >>> f = LeastSquares(lambda x: 2 * x, np.array([2.0, 4.0]))
    >>> f.gradient(np.array([1.0, 1.0])).tolist(), float(f.value(np.array([1.0, 1.0])))
    ([0.0, -2.0], -4.0)
    """

    normal: Applicable
    rhs: Array
    n_batch_axes: int = 0

    def gradient(self, x: Array) -> Array:
        """Compute H x - b.

        Raises
        ------
        SolverError
            If H returns another shape or dtype than that of b.
        """
        batch_shape = tuple(self.rhs.shape[: self.n_batch_axes])
        H = LinearMap(self.normal, name="normal", batch_shape=batch_shape, result_like=self.rhs)
        return H(x) - self.rhs

    def value(self, x: Array) -> Array:
        """Compute 1/2 <x, H x> - Re <b, x> of each system."""
        xp = array_namespace(x)
        product = 0.5 * (self.gradient(x) - self.rhs) * _conj(x)
        is_complex = xp.isdtype(product.dtype, "complex floating")
        axes = tuple(range(self.n_batch_axes, x.ndim))
        return xp.sum(xp.real(product) if is_complex else product, axis=axes)


def _conj(x: Array) -> Array:
    xp = array_namespace(x)
    return xp.conj(x) if xp.isdtype(x.dtype, "complex floating") else x
