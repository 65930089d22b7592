"""Centred orthonormal Fourier transform, the link between image and k-space."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from typing import Self, final

import torch

from operators.errors import DtypeError
from operators.linear import LinearOperator, Tag
from operators.space import Space, grid_names, positive_axes

__all__ = ["Fourier", "centring_phase", "fft_centred", "ifft_centred"]


def centring_phase(
    shape: Sequence[int],
    axes: Sequence[int],
    dtype: torch.dtype,
    device: torch.device | str | None = None,
) -> tuple[torch.Tensor, complex]:
    """Compute the phase p and the constant a that turn an FFT into a centred one.

    With c = n // 2, exp(-2 pi i (k - c)(j - c) / n) = a p[k] exp(-2 pi i k j / n) p[j], where
    p[j] = exp(2 pi i c j / n) and a = exp(-2 pi i c^2 / n). For even n these are the signs
    p[j] = (-1)^j and a = (-1)^(n/2): the two fftshift copies become two multiplications by +-1.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array to be transformed.
    axes : sequence of int
        Which of its axes are transformed.
    dtype : torch.dtype
        complex64 or complex128, the precision of the phase.
    device : torch.device, optional
        Where the phase is made.

    Returns
    -------
    phase : Tensor, shape on `axes` and 1 on the other axes, `dtype`
        Product of the p over `axes`.
    constant : complex
        Product of the a over `axes`.

    Examples
    --------
    >>> centring_phase((4,), (0,), torch.complex64)
    (tensor([ 1.+0.j, -1.+0.j,  1.+0.j, -1.+0.j]), (1+0j))
    """
    # Complex even where it is +-1: torch multiplies complex by complex faster than by real, which
    # it converts first. The product grows from the last axis to the first to keep inner loops long.
    phase = torch.ones([1] * len(shape), dtype=dtype, device=device)
    constant = 1.0 + 0.0j
    for axis in sorted((axis % len(shape) for axis in axes), reverse=True):
        n = shape[axis]
        steps = torch.arange(n, device=device)
        if n % 2 == 0:
            factor = (1 - 2 * (steps % 2)).to(dtype)
            constant *= (-1) ** (n // 2)
        else:
            # c j is reduced modulo n in integers: no accuracy is lost on long axes.
            turns = (steps * (n // 2) % n).to(torch.float64) / n
            factor = torch.polar(torch.ones_like(turns), 2 * math.pi * turns).to(dtype)
            constant *= cmath.exp(-2j * math.pi * ((n // 2) ** 2 % n) / n)
        phase = phase * factor.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return phase, constant


def _transform(x: torch.Tensor, axes: Sequence[int] | None, *, inverse: bool) -> torch.Tensor:
    chosen = positive_axes(axes, x.ndim)
    dtype = torch.promote_types(x.dtype, torch.complex64)
    if not x.numel():  # the FFT library refuses an empty batch
        return x.to(dtype, copy=True)
    phase, constant = centring_phase(x.shape, chosen, dtype, x.device)
    if inverse:
        phase, constant = phase.conj_physical(), constant.conjugate()
    rule = torch.fft.ifftn if inverse else torch.fft.fftn
    y: torch.Tensor = rule(x * phase, dim=chosen, norm="ortho")
    return y.mul_(phase * constant)


def fft_centred(x: torch.Tensor, axes: Sequence[int] | None = None) -> torch.Tensor:
    """Transform an image to k-space, origin at n // 2 on both sides.

    y[k] = prod(n)^(-1/2) sum_j exp(-2 pi i (k - c)(j - c) / n) x[j],  c = n // 2 on each axis

    Parameters
    ----------
    x : Tensor
        Any shape; real input is taken as complex.
    axes : sequence of int, optional
        Axes to transform; all by default.

    Returns
    -------
    Tensor, shape of x, complex

    Raises
    ------
    ShapeError
        If an axis is out of range or given twice.

    Examples
    --------
    >>> x = torch.zeros(4, dtype=torch.complex64)
    >>> x[2] = 2  # the origin: its transform is flat
    >>> fft_centred(x).real
    tensor([1., 1., 1., 1.])
    """
    return _transform(x, axes, inverse=False)


def ifft_centred(y: torch.Tensor, axes: Sequence[int] | None = None) -> torch.Tensor:
    """Transform k-space to an image: the inverse, and the adjoint, of `fft_centred`.

    Parameters, result and errors are those of `fft_centred`.

    Examples
    --------
    >>> x = torch.arange(5).to(torch.complex128)
    >>> bool(torch.allclose(ifft_centred(fft_centred(x)), x))
    True
    """
    return _transform(y, axes, inverse=True)


@final
class Fourier(LinearOperator):
    """Centred orthonormal Fourier transform over some axes: y = F x, F^H F = F F^H = I.

    Parameters
    ----------
    shape : sequence of int
        Shape of the image, without batch axes.
    axes : sequence of int, optional
        Axes of `shape` to transform; all by default.
    dtype : torch.dtype
        complex64 or complex128.
    names : sequence of str, optional
        Axis names of the image; by default the last of z, y, x for up to three axes.

    Raises
    ------
    ShapeError
        If an axis is out of range or given twice, or the names do not fit the shape.
    DtypeError
        If `dtype` is real.

    Examples
    --------
    >>> F = Fourier((6, 8))
    >>> F
    Fourier(<y:6 x:8 complex64> -> <ky:6 kx:8 complex64>)
    >>> x = torch.randn(6, 8, dtype=torch.complex64)
    >>> bool(torch.allclose(F.adjoint(F(x)), x, atol=1e-6))
    True
    """

    def __init__(
        self,
        shape: Sequence[int],
        axes: Sequence[int] | None = None,
        *,
        dtype: torch.dtype = torch.complex64,
        names: Sequence[str] | None = None,
    ) -> None:
        shape = tuple(shape)
        if not dtype.is_complex:
            raise DtypeError(f"Fourier expected a complex dtype, got {dtype}. Use complex64.")
        chosen = positive_axes(axes, len(shape))
        domain = Space(shape, dtype, grid_names(len(shape)) if names is None else tuple(names))
        range_names = tuple(f"k{n}" if i in chosen else n for i, n in enumerate(domain.axes))
        super().__init__(domain, Space(shape, dtype, range_names), tags=(Tag.ISOMETRY,))
        self.axes = tuple(axis - len(shape) for axis in chosen)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return fft_centred(x, self.axes)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return ifft_centred(y, self.axes)

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the transform at another precision; it holds no tensors to move."""
        del device
        domain = self.domain.to(dtype)
        return type(self)(domain.shape, self.axes, dtype=domain.dtype, names=domain.axes)
