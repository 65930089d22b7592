"""A preconditioner that computes in single precision inside a solve in double."""

from __future__ import annotations

from typing import Any, final

import array_api_compat

from solvers.linear_map import Applicable, LinearMap
from solvers.preconditioners.protocol import Preconditioner
from solvers.vectors import Array

__all__ = ["SinglePrecision"]


@final
class SinglePrecision:
    """Round the residual to single precision, apply a preconditioner, widen the result.

    A preconditioner need not be accurate: its rounding of 1e-7 is far below its distance from
    A^-1, and half the bytes take about half the time. Where thousands of iterations are needed
    the loss of symmetry can cost some more.

    Parameters
    ----------
    M : preconditioner
        One that computes in the dtype of the vectors it is given.

    References
    ----------
    Carson and Higham 2018, doi:10.1137/17M1140819 (low precision inside iterative refinement)

    Examples
    --------
    >>> import numpy as np
    >>> M = SinglePrecision(lambda r: r / 3)
    >>> M.forward(np.array([3.0, 6.0])).dtype
    dtype('float64')
    """

    def __init__(self, M: Preconditioner | Applicable) -> None:
        self._M = M
        self._apply = LinearMap(M, name="M")
        tags = getattr(M, "tags", None)
        if tags is not None:
            self.tags = tags

    def forward(self, r: Array) -> Array:
        """Compute M r in single precision.

        Parameters
        ----------
        r : array, (*batch, *unknown)

        Returns
        -------
        array, shape, dtype and device of r
        """
        xp = array_api_compat.array_namespace(r)
        is_complex = xp.isdtype(r.dtype, "complex floating")
        narrow = xp.complex64 if is_complex else xp.float32
        return xp.astype(self._apply(xp.astype(r, narrow, copy=False)), r.dtype, copy=False)

    def update(self, A: Any) -> bool:
        """Hand the new operator on to the preconditioner, if it adapts to one."""
        return bool(self._M.update(A)) if isinstance(self._M, Preconditioner) else False
