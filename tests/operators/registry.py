"""One row for each operator configuration: how to make it, and what it computes, in plain NumPy.

`test_registry.py` runs every property on every row; an operator class without a row fails there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from operators import (
    FiniteDifference,
    Fourier,
    Identity,
    LinearOperator,
    Sense,
    Space,
    Zero,
    vstack,
)
from operators.pde import SparseOperator, StencilOperator

Array = NDArray[np.complex128]
Make = Callable[[torch.dtype], LinearOperator]
Truth = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Row:
    """An operator at a complex dtype, and its forward map written down independently."""

    name: str
    make: Make
    truth: Truth


def random_complex(shape: tuple[int, ...], seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def dft_matrix(n: int) -> Array:
    """exp(-2 pi i (k - c)(j - c) / n) / sqrt(n), c = n // 2."""
    centred = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * np.outer(centred, centred) / n) / math.sqrt(n)


def dft(x: Array, axes: tuple[int, ...]) -> Array:
    for axis in axes:
        x = np.moveaxis(np.tensordot(dft_matrix(x.shape[axis]), x, (1, axis)), 0, axis)
    return x


def difference(x: Array, axis: int, boundary: str) -> Array:
    """The dense matrix -1 on the diagonal, +1 above it; the last row wraps or is zero."""
    n = x.shape[axis]
    matrix = np.roll(np.eye(n), 1, axis=1) - np.eye(n)
    if boundary == "neumann":
        matrix[-1] = 0
    return np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)


def fourier_row(name: str, shape: tuple[int, ...], axes: tuple[int, ...] | None = None) -> Row:
    chosen = tuple(range(len(shape))) if axes is None else axes
    return Row(name, lambda dtype: Fourier(shape, axes, dtype=dtype), lambda x: dft(x, chosen))


def difference_row(
    name: str,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    boundary: str,
    *,
    is_real: bool = False,
) -> Row:
    def make(dtype: torch.dtype) -> LinearOperator:
        kind = dtype.to_real() if is_real else dtype
        return FiniteDifference(shape, axes=axes, boundary=boundary, dtype=kind)

    return Row(name, make, lambda x: np.stack([difference(x, a, boundary) for a in axes]))


def sense_row(
    name: str,
    csm: Array,
    mask: NDArray[np.bool_],
    *,
    grid_ndim: int = 2,
    soft: bool = False,
    max_coil_bytes: int = 2**28,
) -> Row:
    def make(dtype: torch.dtype) -> LinearOperator:
        return Sense(
            torch.from_numpy(csm).to(dtype),
            torch.from_numpy(mask),
            grid_ndim=grid_ndim,
            soft=soft,
            max_coil_bytes=max_coil_bytes,
        )

    def truth(x: Array) -> Array:
        coil = -grid_ndim - 1
        images = csm * np.expand_dims(x, coil)
        images = images.sum(coil - 1) if soft else images
        sampled = np.broadcast_to(mask, (*images.shape[:coil], *images.shape[coil + 1 :]))
        return np.expand_dims(sampled, coil) * dft(images, tuple(range(-grid_ndim, 0)))

    return Row(name, make, truth)


def lines(n: int, seed: int) -> NDArray[np.bool_]:
    """About half of n lines, never none and never all."""
    chosen = np.random.default_rng(seed).random(n) < 0.5
    chosen[n // 2], chosen[0] = True, False
    return chosen


def points(shape: tuple[int, ...], seed: int) -> NDArray[np.bool_]:
    return lines(math.prod(shape), seed).reshape(shape)


_MAPS = random_complex((3, 6, 5), 1)
_VOLUME_MAPS = random_complex((2, 4, 5, 3), 2)
_SLICE_MAPS = random_complex((4, 3, 5, 6), 3)
_SOFT_MAPS = random_complex((2, 3, 6, 4), 4)
_SOFT_SLICE_MAPS = random_complex((3, 2, 2, 4, 5), 5)

_BASIC = [
    Row("identity", lambda dtype: Identity(Space((3, 4), dtype, ("y", "x"))), lambda x: x),
    Row(
        "zero",
        lambda dtype: Zero(Space((3,), dtype, ("x",)), Space((2, 2), dtype, ("y", "x"))),
        lambda _: np.zeros((2, 2), complex),
    ),
    fourier_row("fourier-even", (6, 8)),
    fourier_row("fourier-odd", (5, 7)),
    fourier_row("fourier-1d", (9,)),
    fourier_row("fourier-some-axes", (4, 6, 5), (0, 2)),
    fourier_row("fourier-middle-axis", (3, 6, 4), (1,)),
    fourier_row("fourier-3d", (4, 5, 6)),
    fourier_row("fourier-4d-singleton", (2, 1, 3, 4)),
    difference_row("difference-periodic", (5, 6), (0, 1), "periodic"),
    difference_row("difference-neumann", (5, 6), (0, 1), "neumann"),
    difference_row("difference-real", (4, 5), (0, 1), "neumann", is_real=True),
    difference_row("difference-one-axis", (3, 4, 5), (1,), "periodic"),
    difference_row("difference-3d", (3, 4, 2), (2, 0, 1), "neumann"),
    difference_row("difference-singleton", (1, 4), (0, 1), "periodic"),
]

_SENSE = [
    sense_row("sense-phase-encode-y", _MAPS, lines(6, 10)[:, None]),
    sense_row("sense-phase-encode-x", _MAPS, np.tile(lines(5, 11), (6, 1))),
    sense_row("sense-points", _MAPS, points((6, 5), 12)),
    sense_row("sense-fully-sampled", _MAPS, np.ones((6, 5), bool)),
    sense_row("sense-coil-blocks", _MAPS, points((6, 5), 13), max_coil_bytes=1),
    sense_row("sense-row-blocks", _MAPS, lines(6, 14)[:, None], max_coil_bytes=2 * 3 * 6 * 16),
    sense_row("sense-slices", _SLICE_MAPS, lines(5, 15)[:, None]),
    sense_row("sense-slice-blocks", _SLICE_MAPS, points((5, 6), 16), max_coil_bytes=2 * 90 * 16),
    sense_row("sense-slices-own-lines", _SLICE_MAPS, points((4, 5), 17)[:, :, None]),
    sense_row("sense-slices-own-points", _SLICE_MAPS, points((4, 5, 6), 18)),
    sense_row("sense-two-slice-axes", random_complex((2, 2, 3, 4, 5), 6), points((2, 4, 5), 19)),
    sense_row("sense-volume", _VOLUME_MAPS, points((4, 5, 1), 20), grid_ndim=3),
    sense_row("sense-volume-lines", _VOLUME_MAPS, lines(5, 21)[None, :, None], grid_ndim=3),
    sense_row("sense-volume-points", _VOLUME_MAPS, points((4, 5, 3), 22), grid_ndim=3),
    sense_row("sense-soft", _SOFT_MAPS, lines(6, 23)[:, None], soft=True),
    sense_row("sense-soft-slices", _SOFT_SLICE_MAPS, points((4, 5), 24), soft=True),
    sense_row("sense-one-axis", random_complex((3, 7), 7), lines(7, 25), grid_ndim=1),
]


def stencil_row(
    name: str,
    grid: tuple[int, ...],
    offsets: list[tuple[int, ...]],
    *,
    n_samples: int = 2,
    periodic: tuple[int, ...] = (),
    is_real: bool = False,
) -> Row:
    coefficients = random_complex((n_samples, len(offsets), *grid), len(offsets))
    coefficients = coefficients.real.astype(complex) if is_real else coefficients

    def make(dtype: torch.dtype) -> LinearOperator:
        kept = torch.from_numpy(coefficients.real.copy() if is_real else coefficients)
        kind = dtype.to_real() if is_real else dtype
        return StencilOperator(offsets, kept.to(kind), periodic=periodic)

    def truth(x: Array) -> Array:
        """The definition, point by point."""
        y = np.zeros_like(x)
        for sample, *i in np.ndindex(x.shape):
            for k, offset in enumerate(offsets):
                j = [
                    (a + b) % n if axis in periodic else a + b
                    for axis, (a, b, n) in enumerate(zip(i, offset, grid, strict=True))
                ]
                if all(0 <= a < n for a, n in zip(j, grid, strict=True)):
                    y[sample, *i] += coefficients[sample, k, *i] * x[sample, *j]
        return y

    return Row(name, make, truth)


def sparse_row(name: str, shape: tuple[int, int], seed: int) -> Row:
    """A matrix of which about a third is filled, with an empty row."""
    kept = np.random.default_rng(seed).random(shape) < 0.3
    kept[1] = False
    matrix = random_complex(shape, seed) * kept

    def make(dtype: torch.dtype) -> LinearOperator:
        from scipy import sparse

        return SparseOperator.from_scipy(sparse.csr_array(matrix)).to(dtype=dtype)

    return Row(name, make, lambda x: matrix @ x)


_PDE = [
    stencil_row("stencil-1d", (5,), [(-1,), (0,), (1,)]),
    stencil_row("stencil-centre-last", (4, 5), [(-1, 0), (0, 2), (1, -1), (0, 0)]),
    stencil_row("stencil-no-centre", (4, 5), [(-1, 0), (2, 1)], n_samples=3),
    stencil_row("stencil-periodic", (3, 4), [(0, 0), (-2, 1), (1, 0), (0, -1)], periodic=(0, 1)),
    stencil_row("stencil-periodic-one-axis", (3, 2), [(0, 1), (0, -1), (1, 1)], periodic=(1,)),
    stencil_row("stencil-components", (2, 2, 3, 3), [(0, 0, 0, 1), (1, 0, -1, 0), (-1, 1, 0, 0)]),
    stencil_row("stencil-real", (4, 3), [(0, 0), (0, 1), (-1, 0)], is_real=True),
    sparse_row("sparse", (6, 6), 30),
    sparse_row("sparse-tall", (7, 4), 31),
]


def _row(name: str) -> Row:
    return next(row for row in (*_BASIC, *_SENSE) if row.name == name)


def _algebra() -> list[Row]:
    sense, fourier = (
        _row("sense-phase-encode-y"),
        Row("", lambda d: Fourier((6, 5), dtype=d), _dft2),
    )
    gradient = difference_row("", (6, 5), (0, 1), "periodic")
    return [
        Row("adjoint", lambda d: Fourier((6, 5), dtype=d).H, _idft2),
        Row("adjoint-of-tall", lambda d: sense.make(d).H, _transposed(sense.truth, (6, 5))),
        Row(
            "gram",
            lambda d: sense.make(d).gram,
            lambda x: _transposed(sense.truth, (6, 5))(sense.truth(x)),
        ),
        Row(
            "product",
            lambda d: sense.make(d) @ fourier.make(d),
            lambda x: sense.truth(_dft2(x)),
        ),
        Row(
            "product-isometry-outside",
            lambda d: Fourier((3, 6, 5), (1, 2), dtype=d) @ sense.make(d),
            lambda x: _dft2(sense.truth(x)),
        ),
        Row("sum", lambda d: fourier.make(d) + fourier.make(d).H, lambda x: _dft2(x) + _idft2(x)),
        Row(
            "difference",
            lambda d: fourier.make(d) - Identity(Space((6, 5), d, ("y", "x"))),
            lambda x: _dft2(x) - x,
        ),
        Row("multiple", lambda d: (2 - 3j) * sense.make(d), lambda x: (2 - 3j) * sense.truth(x)),
        Row("unit-multiple", lambda d: 1j * fourier.make(d), lambda x: 1j * _dft2(x)),
        Row(
            "stack",
            lambda d: vstack(sense.make(d), 0.5 * gradient.make(d)),
            lambda x: np.concatenate([sense.truth(x).ravel(), 0.5 * gradient.truth(x).ravel()]),
        ),
        Row(
            "laplacian-plus-multiple",
            lambda d: gradient.make(d).gram + 0.1 * Identity(Space((6, 5), d, ("y", "x"))),
            lambda x: _transposed(gradient.truth, (6, 5))(gradient.truth(x)) + 0.1 * x,
        ),
    ]


def _dft2(x: Array) -> Array:
    return dft(x, (-2, -1))


def _idft2(x: Array) -> Array:
    return np.conj(_dft2(np.conj(x)))  # the centred transform is symmetric


def _transposed(truth: Truth, shape: tuple[int, ...]) -> Truth:
    """The adjoint from the dense matrix of a map on arrays of `shape`."""
    basis = np.eye(math.prod(shape), dtype=complex).reshape(-1, *shape)
    matrix = np.stack([truth(column).ravel() for column in basis], axis=1)
    return lambda y: (matrix.conj().T @ y.ravel()).reshape(shape)


ROWS: list[Row] = [*_BASIC, *_SENSE, *_PDE, *_algebra()]
