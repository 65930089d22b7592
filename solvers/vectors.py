"""The few vector operations that solvers need, batched, for every array library.

A solver works on arrays of shape (*batch, *unknown): the leading batch axes index independent
systems, the rest is one vector of C^n or R^n. Scalars of the recurrence (inner products, steps) are
double-precision arrays, one entry a system, which never leave the device in a loop. Solvers treat
C^n as R^2n: for a Hermitian operator every scalar of the recurrence is real.

Two implementations carry one interface: torch works in place (`solvers.torch_vectors`), every other
Array-API library (NumPy, CuPy, array-api-strict) through `array_api_compat` here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, final

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError

__all__ = ["STRETCH", "Array", "ArrayVectors", "Scalars", "Vectors", "vectors_of", "wide_vecdot"]

Array: TypeAlias = Any
"""An array of any library that follows the Array API; the standard defines no static type."""

Scalars: TypeAlias = Any
"""Double-precision array (n_systems,), or () of a single system, in `Vectors.scalars`."""


STRETCH = 2**16
"""How many products are summed in the vectors' own precision before double takes over."""


class Vectors(ABC):
    """Operations on the systems of arrays shaped like a given one.

    An operation returns its result, which may be its last array argument overwritten: always write
    ``y = v.axpy(a, x, y)`` and hold no other reference to `y`. A factor is a float or one scalar a
    system.

    Parameters
    ----------
    like : array, (*batch, *unknown), floating or complex
        What shape, dtype and device the vectors have.
    n_batch_axes : int
        How many leading axes count systems.

    Attributes
    ----------
    n_systems, size : int
        Number of systems, and of entries in one of them.
    eps, largest_exponent : float, int
        Unit round-off of the vectors, and the largest power of two safe to scale them by.
    scalars : module
        Array namespace of the scalars.

    Raises
    ------
    SolverError
        If the array is not of single or double precision, is empty, or has too few axes.
    """

    scalars: Any

    def __init__(self, like: Array, n_batch_axes: int) -> None:
        shape = tuple(int(n) for n in like.shape)
        if not 0 <= n_batch_axes <= len(shape):
            raise SolverError(
                f"n_batch_axes expected 0 to {len(shape)} for an array of shape {shape}, "
                f"got {n_batch_axes}"
            )
        if 0 in shape:
            raise SolverError(f"a solver expected a non-empty array, got shape {shape}")
        precision = str(like.dtype).rsplit(".", maxsplit=1)[-1]
        if precision not in {"float32", "complex64", "float64", "complex128"}:
            raise SolverError(
                f"a solver expected float32, float64, complex64 or complex128, got {like.dtype}. "
                f"Convert the right-hand side."
            )
        finfo = np.finfo(precision)
        self.shape = shape
        self.dtype = like.dtype
        self.n_batch_axes = n_batch_axes
        self.batch_shape = shape[:n_batch_axes]
        self.n_systems = math.prod(self.batch_shape)
        self.size = math.prod(shape[n_batch_axes:])
        self.is_complex = precision.startswith("complex")
        self.eps = float(finfo.eps)
        self.largest_exponent = int(finfo.maxexp) - 2

    @abstractmethod
    def scalars_of(self, values: float | NDArray[np.generic]) -> Scalars:
        """Bring one number, or one a system, from the host into the scalars' namespace."""

    @abstractmethod
    def host(self, values: Scalars) -> NDArray[Any]:
        """Copy scalars (of any dtype) to the host as (n_systems,); waits for the device."""

    @abstractmethod
    def quiet(self) -> Any:
        """Context in which 0/0 makes a NaN without a warning and nothing is differentiated."""

    @abstractmethod
    def zeros(self) -> Array:
        """Return a zero vector."""

    @abstractmethod
    def copy(self, x: Array) -> Array:
        """Return a copy that later operations may overwrite."""

    @abstractmethod
    def dot(self, x: Array, y: Array) -> Scalars:
        """Compute Re <x, y> = Re sum conj(x) y of each system, to about the vectors' precision."""

    @abstractmethod
    def vdot(self, x: Array, y: Array) -> Scalars:
        """Compute <x, y> = sum conj(x) y of each system (complex for complex vectors)."""

    @abstractmethod
    def peak(self, x: Array) -> NDArray[np.float64]:
        """Return on the host the largest |Re x|, |Im x| of each system; NaN if it holds one."""

    @abstractmethod
    def scale(self, a: float | Scalars, y: Array) -> Array:
        """Return a y, overwriting y."""

    @abstractmethod
    def axpy(self, a: float | Scalars, x: Array, y: Array) -> Array:
        """Return a x + y, overwriting y."""

    @abstractmethod
    def xpby(self, x: Array, b: float | Scalars, y: Array) -> Array:
        """Return x + b y, overwriting y."""

    @abstractmethod
    def fill(self, systems: Scalars, value: float, y: Array) -> Array:
        """Return y with every entry of the `systems` (boolean scalars) set to `value`."""

    @abstractmethod
    def select(self, systems: Scalars, x: Array, y: Array) -> Array:
        """Return x in the `systems` (boolean scalars) and y elsewhere, overwriting neither."""

    def where(self, systems: Scalars, a: Scalars, b: Scalars) -> Scalars:
        """Return the scalars a in the `systems` (boolean scalars) and b elsewhere."""
        return self.scalars.where(systems, a, b)

    def _one_a_system(self, values: float | NDArray[np.generic]) -> NDArray[np.generic]:
        """Spread host values over the systems in the shape of scalars."""
        given = np.asarray(values)
        if self.n_systems == 1:
            return given.reshape(())[()]
        return np.broadcast_to(given, (self.n_systems,))

    def norm(self, x: Array) -> Scalars:
        """Compute the Euclidean norm of each system.

        Squares of the entries must be representable; scale by `binary_scale` if they might not.
        """
        return self.scalars.sqrt(self.dot(x, x))

    def binary_scale(self, x: Array) -> NDArray[np.float64]:
        """Return on the host, for each system, a power of two that brings its peak into [0.5, 1).

        Dividing by it is exact and keeps squares representable; 1 where x is zero or not finite.
        """
        return self.binary_scale_of(self.peak(x))

    def binary_scale_of(self, peak: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `binary_scale` of vectors whose `peak` is known."""
        _, exponent = np.frexp(np.where(np.isfinite(peak) & (peak > 0), peak, 0.5))
        limit = self.largest_exponent
        return np.asarray(np.ldexp(1.0, np.clip(exponent, -limit, limit)), dtype=np.float64)


def wide_vecdot(xp: Any, x: Array, y: Array) -> Array:
    """Compute sum conj(x) y along the last axis of (n, length), summed in double precision.

    Products are summed in their own precision over stretches of `STRETCH` and those sums in double.
    BLAS alone loses digits with the length: single-precision dot products of 2e6 numbers came out
    2e-5 off, of 3e7 numbers 1e-3 (MKL), against 1e-7 here.
    """
    n_whole = x.shape[1] - x.shape[1] % STRETCH
    is_complex = xp.isdtype(x.dtype, "complex floating")
    wide = xp.complex128 if is_complex else xp.float64
    total = xp.astype(xp.vecdot(x[:, n_whole:], y[:, n_whole:]), wide)
    if n_whole == 0:
        return total
    stretches = (x.shape[0], -1, STRETCH)
    head = xp.vecdot(xp.reshape(x[:, :n_whole], stretches), xp.reshape(y[:, :n_whole], stretches))
    return total + xp.sum(head, axis=1, dtype=wide)


@final
class ArrayVectors(Vectors):
    """Vectors of any Array-API library; overwrites by augmented assignment where it can.

    Examples
    --------
    >>> x = np.array([[3.0, 4.0], [0.0, 2.0]])
    >>> ArrayVectors(x, 1).norm(x).tolist()
    [5.0, 2.0]
    """

    def __init__(self, like: Array, n_batch_axes: int) -> None:
        super().__init__(like, n_batch_axes)
        self.scalars = array_api_compat.array_namespace(like)
        self._device = array_api_compat.device(like)
        self._real_dtype = self.scalars.float32 if self.eps > 1e-10 else self.scalars.float64
        self._column_shape = (*self.batch_shape, *(1,) * (len(self.shape) - n_batch_axes))

    def _rows(self, x: Array) -> Array:
        return self.scalars.reshape(x, (self.n_systems, self.size))

    def _column(self, a: float | Scalars) -> float | Array:
        if isinstance(a, float):
            return a
        return self.scalars.reshape(self._narrow(a), self._column_shape)

    def _narrow(self, a: Scalars) -> Array:
        return self.scalars.astype(a, self._real_dtype)

    def _mask(self, systems: Scalars) -> Array:
        mask = self.scalars.reshape(systems, self._column_shape)
        return self.scalars.broadcast_to(mask, self.shape)

    def scalars_of(self, values: float | NDArray[np.generic]) -> Scalars:  # noqa: D102
        wide = self._one_a_system(values)
        dtype = self.scalars.bool if wide.dtype == np.bool_ else self.scalars.float64
        return self.scalars.asarray(wide.tolist(), dtype=dtype, device=self._device)

    def host(self, values: Scalars) -> NDArray[Any]:  # noqa: D102
        copied = values.get() if array_api_compat.is_cupy_array(values) else values
        return np.asarray(copied).reshape(-1)

    @contextmanager
    def quiet(self) -> Iterator[None]:  # noqa: D102
        with np.errstate(all="ignore"):
            yield

    def zeros(self) -> Array:  # noqa: D102
        return self.scalars.zeros(self.shape, dtype=self.dtype, device=self._device)

    def copy(self, x: Array) -> Array:  # noqa: D102
        return self.scalars.asarray(x, copy=True)

    def dot(self, x: Array, y: Array) -> Scalars:  # noqa: D102
        product = self.vdot(x, y)
        return self.scalars.real(product) if self.is_complex else product

    def vdot(self, x: Array, y: Array) -> Scalars:  # noqa: D102
        product = wide_vecdot(self.scalars, self._rows(x), self._rows(y))
        return product if self.n_systems > 1 else product[0]

    def peak(self, x: Array) -> NDArray[np.float64]:  # noqa: D102
        xp = self.scalars
        rows = self._rows(x)
        parts = (xp.real(rows), xp.imag(rows)) if self.is_complex else (rows,)
        peaks = [self.host(xp.max(xp.abs(part), axis=1)) for part in parts]
        return np.asarray(np.max(peaks, axis=0), dtype=np.float64)

    def scale(self, a: float | Scalars, y: Array) -> Array:  # noqa: D102
        y *= self._column(a)
        return y

    def axpy(self, a: float | Scalars, x: Array, y: Array) -> Array:  # noqa: D102
        y += self._column(a) * x
        return y

    def xpby(self, x: Array, b: float | Scalars, y: Array) -> Array:  # noqa: D102
        y *= self._column(b)
        y += x
        return y

    def fill(self, systems: Scalars, value: float, y: Array) -> Array:  # noqa: D102
        constant = self.scalars.full(self.shape, value, dtype=self.dtype, device=self._device)
        return self.scalars.where(self._mask(systems), constant, y)

    def select(self, systems: Scalars, x: Array, y: Array) -> Array:  # noqa: D102
        return self.scalars.where(self._mask(systems), x, y)


def vectors_of(like: Array, n_batch_axes: int = 0) -> Vectors:
    """Return the vector operations for arrays shaped like this one.

    Parameters
    ----------
    like : array, (*batch, *unknown)
        NumPy, torch, CuPy or any other Array-API array of single or double precision.
    n_batch_axes : int
        How many leading axes count independent systems.

    Raises
    ------
    SolverError
        If the array is of another kind or precision, empty, or has too few axes.

    Examples
    --------
    >>> v = vectors_of(np.zeros((2, 3)), n_batch_axes=1)
    >>> v.n_systems, v.size
    (2, 3)
    """
    if array_api_compat.is_torch_array(like):
        from solvers.torch_vectors import TorchVectors  # torch loads only for its own arrays

        return TorchVectors(like, n_batch_axes)
    if not array_api_compat.is_array_api_obj(like):
        raise SolverError(
            f"a solver expected an array of NumPy, torch, CuPy or another Array-API library, "
            f"got {type(like).__name__}"
        )
    return ArrayVectors(like, n_batch_axes)
