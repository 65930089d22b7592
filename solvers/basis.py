"""Many vectors held side by side, so that one pass over memory serves them all.

A Krylov basis, a recycled space and its images are blocks of vectors. All inner products with a
block are one matrix product, for every system of the batch at once; nothing here waits for a
device but `Basis.host`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, final

import array_api_compat.numpy
import numpy as np
from numpy.typing import NDArray

from solvers.vectors import STRETCH, Array, Vectors, wide_vecdot

__all__ = ["Basis", "Coefficients"]

Coefficients = Array
"""Double-precision array in `Basis.xp`, systems first: (n_systems, ...)."""


@final
class Basis:
    """A preallocated block of vectors of each system.

    Storage is (capacity, n_systems, size), so each vector of the whole batch is contiguous and goes
    to an operator as it is. Torch tensors on the CPU are seen as NumPy arrays, whose calls cost a
    fraction of torch's. The array library must give views on slices, as NumPy, CuPy and torch do.

    Parameters
    ----------
    v : Vectors
        Of one vector of the batch.
    capacity : int
        How many vectors there is room for.

    Attributes
    ----------
    v, capacity
        As given.
    xp : module
        Array namespace of `rows` and of the coefficients.
    rows : array, (capacity, n_systems, size)
        The vectors; all zero at first.

    Examples
    --------
    >>> from solvers.vectors import vectors_of
    >>> x = np.array([3.0, 4.0])
    >>> basis = Basis(vectors_of(x), capacity=1)
    >>> basis.put(0, x)
    >>> basis.orthonormalise(0).tolist(), basis.vector(0).tolist()
    ([[5.0]], [0.6000000000000001, 0.8])
    """

    def __init__(self, v: Vectors, capacity: int) -> None:
        self.v = v
        self.capacity = capacity
        self.xp: Any = v.scalars
        like = v.zeros()
        library = array_api_compat.array_namespace(like)
        self._device = array_api_compat.device(like)
        shape = (capacity, v.n_systems, v.size)
        self.rows = library.zeros(shape, dtype=like.dtype, device=self._device)
        # The scalars of torch on the CPU live in NumPy; there so do the blocks.
        self._from_host: Callable[[Array], Array] | None = None
        if array_api_compat.is_torch_array(like) and self.xp is array_api_compat.numpy:
            self.rows = self.rows.numpy()
            self._device = "cpu"
            self._from_host = library.from_numpy
        self._wide = self.xp.complex128 if v.is_complex else self.xp.float64

    @property
    def n_bytes(self) -> int:
        """Memory of the block."""
        entry = (4 if self.v.eps > 1e-10 else 8) * (2 if self.v.is_complex else 1)
        return self.capacity * self.v.n_systems * self.v.size * entry

    def vector(self, i: int) -> Array:
        """Return vector i as (*batch, *unknown); it shares the memory."""
        return self._natural(self.rows[i, ...])

    def raw(self, x: Array) -> Array:
        """See (*batch, *unknown) as (n_systems, size) in the namespace of the block."""
        if array_api_compat.is_torch_array(x):
            x = x.detach().resolve_conj().resolve_neg()
            x = x.numpy() if self._from_host else x
        return self.xp.reshape(x, (self.v.n_systems, self.v.size))

    def put(self, i: int, x: Array) -> None:
        """Copy x into vector i."""
        self.rows[i, ...] = self.raw(x)

    def load(self, rows: Array, start: int = 0) -> None:
        """Copy a stack (n, n_systems, size), of NumPy or of this library, from `start` on."""
        if array_api_compat.is_numpy_array(rows):
            rows = self.xp.asarray(rows, dtype=self.rows.dtype, device=self._device)
        self.rows[start : start + rows.shape[0], ...] = rows

    def copied(self, start: int, stop: int) -> Array:
        """Return a copy of some vectors as a stack that `load` takes."""
        return self.xp.asarray(self.rows[start:stop, ...], copy=True)

    def scale(self, i: int, factors: Coefficients) -> None:
        """Multiply vector i by one factor a system."""
        row = self.rows[i, ...]
        row *= self._narrow(factors)[:, None]

    def clear(self, systems: NDArray[np.bool_], start: int = 0) -> None:
        """Set the vectors from `start` on to zero in some systems, so that no NaN can spread."""
        for system in np.flatnonzero(systems).tolist():
            self.rows[start:, system, :] = 0.0

    def coefficients(self, values: NDArray[Any]) -> Coefficients:
        """Bring coefficients from the host."""
        wide = np.asarray(values, dtype=np.complex128 if self.v.is_complex else np.float64)
        if array_api_compat.is_numpy_namespace(self.xp):
            return wide
        return self.xp.asarray(wide, dtype=self._wide, device=self._device)

    def host(self, values: Coefficients) -> NDArray[Any]:
        """Copy coefficients of any shape to the host; waits for the device."""
        if array_api_compat.is_cupy_array(values):
            return np.asarray(values.get())
        if array_api_compat.is_torch_array(values):
            return np.asarray(values.resolve_conj().cpu().numpy())
        return np.asarray(values)

    def no_coefficients(self, *shape: int) -> Coefficients:
        """Return zeros (n_systems, *shape)."""
        shape = (self.v.n_systems, *shape)
        return self.xp.zeros(shape, dtype=self._wide, device=self._device)

    def products(self, first: Array, second: Array) -> Coefficients:
        """Compute <a_i, b_j> of two stacks (n, n_systems, size) as (n_systems, n_a, n_b).

        Single precision is summed over stretches of `STRETCH` and those sums in double, as in
        `solvers.vectors.wide_vecdot`.
        """
        xp = self.xp
        a, b = self._stacked(first), xp.matrix_transpose(self._stacked(second))
        b = xp.conj(b) if self.v.is_complex else b
        if self.v.eps < 1e-10 or self.v.size <= STRETCH:
            total = xp.astype(xp.matmul(a, b), self._wide, copy=False)
        else:
            total = self._in_stretches(a, b)
        total = xp.conj(total) if self.v.is_complex else total
        return total if total.ndim == 3 else total[None, ...]

    def _in_stretches(self, a: Array, b: Array) -> Array:
        ends = [*range(0, self.v.size, STRETCH), self.v.size]
        parts = [
            self.xp.astype(self.xp.matmul(a[..., i:j], b[..., i:j, :]), self._wide)
            for i, j in pairwise(ends)
        ]
        return sum(parts[1:], start=parts[0])

    def _stacked(self, rows: Array) -> Array:
        """See (n, n_systems, size) as one matrix a system; just one where there is one system."""
        if self.v.n_systems == 1:
            return rows[:, 0, :]
        return self.xp.permute_dims(rows, (1, 0, 2))

    def project(self, x: Array, start: int, stop: int) -> Coefficients:
        """Compute <v_i, x> for start <= i < stop as (n_systems, stop - start)."""
        return self.products(self.rows[start:stop, ...], self.raw(x)[None, ...])[:, :, 0]

    def add(self, coefficients: Coefficients, x: Array, start: int = 0) -> Array:
        """Return x + sum_i c_i v_(start + i), overwriting x; c is (n_systems, n)."""
        rows = self.rows[start : start + coefficients.shape[1], ...]
        raw = self.raw(x)
        raw += self.combine(coefficients[:, None, :], rows)[0, ...]
        return self._natural(raw)

    def combine(self, coefficients: Coefficients, rows: Array) -> Array:
        """Compute sum_i c_pi v_i of c (n_systems, p, n) and v (n, n_systems, size)."""
        xp = self.xp
        if self.v.n_systems == 1:
            return xp.matmul(self._narrow(coefficients[0, ...]), rows[:, 0, :])[:, None, :]
        combined = xp.matmul(self._narrow(coefficients), self._stacked(rows))
        return xp.permute_dims(combined, (1, 0, 2))

    def orthonormalise(self, i: int) -> Coefficients:
        """Make vector i orthogonal to all before it and of unit norm, by Gram-Schmidt done twice.

        Twice is enough for orthogonality to rounding. A vector that depends on those before it to
        rounding becomes zero.

        Returns
        -------
        Coefficients, (n_systems, i + 1)
            The products with the vectors before, then the norm of what remained.

        References
        ----------
        Giraud, Langou, Rozloznik and van den Eshof 2005, doi:10.1007/s00211-005-0615-4.
        """
        xp = self.xp
        row, before = self.rows[i, ...], self.rows[:i, ...]
        products = self.no_coefficients(i)
        for _ in range(2 if i else 0):
            more = self.products(before, row[None, ...])[:, :, 0]
            row -= self.combine(more[:, None, :], before)[0, ...]
            products = products + more
        square = wide_vecdot(xp, row, row)
        square = xp.real(square) if self.v.is_complex else square
        whole = square + xp.sum(xp.abs(products) ** 2, axis=1)
        is_new = ~(square <= (32 * self.v.eps) ** 2 * whole)  # NaN counts as new, and shows
        zero, one = xp.zeros_like(square), xp.ones_like(square)
        norm = xp.where(is_new, xp.sqrt(square), zero)
        self.scale(i, xp.where(is_new, one / xp.where(is_new, norm, one), zero))
        return xp.concat([products, xp.astype(norm, self._wide)[:, None]], axis=1)

    def _natural(self, raw: Array) -> Array:
        shaped = self.xp.reshape(raw, self.v.shape)
        return self._from_host(shaped) if self._from_host else shaped

    def _narrow(self, values: Coefficients) -> Array:
        return self.xp.astype(values, self.rows.dtype, copy=False)
