"""Small elliptic matrices written out entry by entry."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from solvers import Preconditioner

Matrix = NDArray[np.float64]


def _wall(kind: str, own: float, spacing: float, is_node: bool) -> float:
    if kind == "neumann":
        return 0.0
    return own / spacing**2 * (1.0 if is_node else 2.0)


def _dense(
    a: Matrix,
    spacing: tuple[float, ...],
    boundary: tuple[str, ...],
    c: float = 0.0,
    centring: str = "cells",
) -> Matrix:
    """Assemble -div(a grad u) + c u cell by cell with harmonic faces."""
    number = {place: k for k, place in enumerate(product(*map(range, a.shape)))}
    A = c * np.eye(len(number))
    for place, row in number.items():
        for axis, (h, kind) in enumerate(zip(spacing, boundary, strict=True)):
            for step in (-1, 1):
                other = list(place)
                other[axis] += step
                if kind == "periodic":
                    other[axis] %= a.shape[axis]
                there = tuple(other)
                if there in number:
                    face = 2 * a[place] * a[there] / (a[place] + a[there]) / h**2
                    A[row, number[there]] -= face
                else:
                    face = _wall(kind, float(a[place]), h, centring == "nodes")
                A[row, row] += face
    return A


@pytest.fixture
def dense() -> Callable[..., Matrix]:
    """Return the assembly of a dense finite-volume matrix."""
    return _dense


@pytest.fixture
def matrix_of_map() -> Callable[..., Matrix]:
    """Return a function that applies a preconditioner to every unit vector of a grid."""

    def apply(M: Preconditioner, shape: tuple[int, ...]) -> Matrix:
        n = int(np.prod(shape))
        columns = M.forward(np.eye(n).reshape(n, *shape))
        return np.asarray(columns).reshape(n, n).T

    return apply


@pytest.fixture
def media() -> Callable[..., Matrix]:
    """Return a function that draws a two-phase medium of smooth shapes."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], contrast: float) -> Matrix:
        k = np.meshgrid(*[np.fft.fftfreq(n, 0.5 / n) for n in shape], indexing="ij")
        spectrum = (np.pi**2 * sum(q * q for q in k) + 9.0) ** (-len(shape) / 2)
        z = np.fft.ifftn(np.fft.fftn(rng.normal(size=shape)) * spectrum).real
        return np.where(z > np.median(z), 3.0 * contrast, 3.0)

    return draw
