"""The spaces that operators map between: shape, dtype and axis names, never the batch axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from operators.errors import DtypeError, ShapeError

__all__ = ["Space", "with_precision_of"]

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
