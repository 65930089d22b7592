"""The spaces that operators map between: shape, dtype and axis names, never the batch axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from operators.errors import DtypeError, ShapeError

__all__ = ["Space", "grid_names", "positive_axes", "with_precision_of"]

_COMPLEX_OF = {torch.float32: torch.complex64, torch.float64: torch.complex128}
_REAL_OF = {torch.complex64: torch.float32, torch.complex128: torch.float64}


def with_precision_of(dtype: torch.dtype, precision: torch.dtype) -> torch.dtype:
    """Return `dtype` at the precision of another: complex stays complex, real stays real.

    Parameters
    ----------
    dtype : torch.dtype
        A floating or complex dtype whose kind is kept.
    precision : torch.dtype
        Single (float32, complex64) or double (float64, complex128).

    Raises
    ------
    DtypeError
        If either is not of single or double precision.

    Examples
    --------
    >>> with_precision_of(torch.complex64, torch.float64)
    torch.complex128
    """
    for given in (dtype, precision):
        if given not in _COMPLEX_OF and given not in _REAL_OF:
            raise DtypeError(f"expected a single or double precision dtype, got {given}")
    real = _REAL_OF.get(precision, precision)
    return _COMPLEX_OF[real] if dtype.is_complex else real


def grid_names(ndim: int) -> tuple[str, ...]:
    """Return the usual names of the axes of a grid: the last of z, y, x.

    Examples
    --------
    >>> grid_names(2), grid_names(4)
    (('y', 'x'), ('axis0', 'axis1', 'axis2', 'axis3'))
    """
    if ndim <= 3:
        return ("z", "y", "x")[3 - ndim :]
    return tuple(f"axis{i}" for i in range(ndim))


def positive_axes(axes: Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return axes counted from the front; None stands for all of them.

    Raises
    ------
    ShapeError
        If an axis is out of range or given twice, or there is none.

    Examples
    --------
    >>> positive_axes((-2, -1), 3)
    (1, 2)
    """
    if axes is None:
        return tuple(range(ndim))
    found = tuple(axis + ndim if axis < 0 else axis for axis in axes)
    if not found or len(set(found)) != len(found) or not all(0 <= a < ndim for a in found):
        raise ShapeError(
            f"expected one or more different axes between {-ndim} and {ndim - 1}, got {tuple(axes)}"
        )
    return found


@dataclass(frozen=True, slots=True)
class Space:
    """Arrays of one shape and dtype, with a name for each axis.

    Parameters
    ----------
    shape : tuple of int
        Sizes of the axes, without batch axes.
    dtype : torch.dtype
        Element type.
    axes : tuple of str
        One name an axis, e.g. ``("coil", "y", "x")``.

    Raises
    ------
    ShapeError
        If the number of names is not the number of axes.

    Examples
    --------
    >>> Space((4, 8), torch.complex64, ("y", "x"))
    <y:4 x:8 complex64>
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    axes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.axes):
            raise ShapeError(f"a space of shape {self.shape} needs as many names, got {self.axes}")

    def __repr__(self) -> str:
        sizes = " ".join(f"{name}:{size}" for name, size in zip(self.axes, self.shape, strict=True))
        return f"<{sizes} {str(self.dtype).removeprefix('torch.')}>"

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def batch_shape(self, x: torch.Tensor) -> tuple[int, ...]:
        """Leading axes of `x` that are not this space's own."""
        return tuple(x.shape[: x.ndim - len(self.shape)])

    def flatten(self, x: torch.Tensor) -> torch.Tensor:
        """Merge the space's axes of `x` into one; batch axes stay."""
        return x.reshape(*self.batch_shape(x), self.size)

    def to(self, dtype: torch.dtype | None) -> Space:
        """Return the same space at another precision."""
        if dtype is None:
            return self
        return Space(self.shape, with_precision_of(self.dtype, dtype), self.axes)
