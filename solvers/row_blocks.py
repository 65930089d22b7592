"""Blocks of vectors that share one operator: their Gram matrices, mixtures and independent parts.

The vectors are the rows of an array (n, *unknown). Their small matrices live on the host in double
precision, where rank is decided.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeAlias, final

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from solvers.vectors import STRETCH, Array, Vectors

__all__ = ["RowBlocks", "SmallMatrix"]

SmallMatrix: TypeAlias = NDArray[Any]
"""Matrix on the host, float64 or complex128."""


@final
class RowBlocks:
    """Operations on blocks of vectors like those of `v`, but of any number.

    Parameters
    ----------
    v : Vectors
        With one batch axis.

    Examples
    --------
    >>> from solvers.vectors import vectors_of
    >>> x = np.array([[3.0, 0.0], [3.0, 4.0]])
    >>> blocks = RowBlocks(vectors_of(x, 1))
    >>> blocks.gram(x, x).tolist()
    [[9.0, 9.0], [9.0, 25.0]]
    >>> blocks.mix(np.array([[1.0], [-1.0]]), x).tolist()
    [[0.0, -4.0]]
    """

    def __init__(self, v: Vectors) -> None:
        like = v.zeros()
        self._v = v
        self._xp: Any = array_api_compat.array_namespace(like)
        self._device = array_api_compat.device(like)
        self._unknown = v.shape[1:]

    def take(self, rows: NDArray[np.intp], x: Array) -> Array:
        """Return a copy of some vectors."""
        index = self._xp.asarray(rows.tolist(), dtype=self._xp.int64, device=self._device)
        return self._xp.take(x, index, axis=0)

    def gram(self, x: Array, y: Array) -> SmallMatrix:
        """Compute <x_i, y_j> as (n_x, n_y), summed in double precision; waits for the device."""
        xp = self._xp
        a, b = self._rows(x), self._rows(y)
        if self._v.eps < 1e-10:
            return self._host(xp.matmul(self._conj(a), xp.matrix_transpose(b)))
        wide = xp.complex128 if self._v.is_complex else xp.float64
        total = 0.0
        # Rank is told from small differences of these sums; single precision would blur them.
        for i, j in pairwise([*range(0, self._v.size, STRETCH), self._v.size]):
            left, right = xp.astype(a[:, i:j], wide), xp.astype(b[:, i:j], wide)
            total = total + xp.matmul(self._conj(left), xp.matrix_transpose(right))
        return self._host(total)

    def products(self, x: Array, y: Array) -> NDArray[np.float64]:
        """Compute Re <x_i, y_i>; waits for the device."""
        xp = self._xp
        a, b = self._rows(x), self._rows(y)
        parts = (xp.real, xp.imag) if self._v.is_complex else (lambda z: z,)
        pairs = [(part(a), part(b)) for part in parts]
        sums = [self._v.host(xp.sum(p * q, axis=1, dtype=xp.float64)) for p, q in pairs]
        return np.asarray(np.sum(sums, axis=0), dtype=np.float64)

    def mix(self, coefficients: SmallMatrix, x: Array) -> Array:
        """Compute sum_i c_ij x_i for c (n_x, n) as (n, *unknown)."""
        xp = self._xp
        narrow = xp.asarray(
            np.ascontiguousarray(coefficients.T), dtype=self._v.dtype, device=self._device
        )
        mixed = xp.matmul(narrow, self._rows(x))
        return xp.reshape(mixed, (coefficients.shape[1], *self._unknown))

    def independent(self, x: Array) -> Array | None:
        """Return a nearly orthonormal basis of the span of x, or None where x is not finite.

        x_i / ||x_i|| have a Gram matrix G; the eigenvectors of its eigenvalues above n eps, or
        above the rounding of G itself where that is more, make the basis. A direction that is left
        out would bring about as much rounding into the basis as it has of the vectors.
        """
        gram = self.gram(x, x)
        if not np.isfinite(gram).all():
            return None
        norms = np.sqrt(np.maximum(np.diag(gram).real, 0.0))
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        values, vectors = np.linalg.eigh(gram * inverse * inverse[:, None])
        kept = values > len(values) * max(self._v.eps, 64 * np.finfo(np.float64).eps)
        return self.mix(inverse[:, None] * vectors[:, kept] / np.sqrt(values[kept]), x)

    def _rows(self, x: Array) -> Array:
        return self._xp.reshape(x, (x.shape[0], -1))

    def _conj(self, x: Array) -> Array:
        return self._xp.conj(x) if self._v.is_complex else x

    def _host(self, x: Array) -> SmallMatrix:
        return self._v.host(x).reshape(tuple(x.shape))
