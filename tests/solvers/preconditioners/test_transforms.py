"""The modes of one axis against the second difference written out, and by all their paths."""

from __future__ import annotations

from types import SimpleNamespace

import array_api_compat
import numpy as np
import pytest

from solvers import SolverError
from solvers.preconditioners.transforms import AxisTransform, Boundary, Centring

KINDS: list[tuple[Boundary, Centring]] = [
    ("dirichlet", "cells"),
    ("dirichlet", "nodes"),
    ("neumann", "cells"),
    ("periodic", "cells"),
    ("periodic", "nodes"),
]


def second_difference(n: int, boundary: Boundary, centring: Centring) -> np.ndarray:
    A = 2 * np.eye(n)
    for i in range(n):
        for j in (i - 1, i + 1):
            if boundary == "periodic":
                A[i, j % n] -= 1
            elif 0 <= j < n:
                A[i, j] -= 1
            elif centring == "cells":
                A[i, i] += 1 if boundary == "dirichlet" else -1
    return A


@pytest.mark.parametrize(("boundary", "centring"), KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 8, 33])
def test_modes_are_orthonormal_eigenvectors(boundary: Boundary, centring: Centring, n: int) -> None:
    axis = AxisTransform(n, boundary, centring)
    Q, A = axis.matrix(), second_difference(n, boundary, centring)
    assert np.abs(Q @ Q.T - np.eye(n)).max() < 1e-13
    assert np.abs(Q @ A @ Q.T - np.diag(axis.eigenvalues())).max() < 1e-13


@pytest.mark.parametrize(("boundary", "centring"), KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 8, 33])
@pytest.mark.parametrize("inverse", [False, True])
def test_fast_transforms_equal_the_matrix(
    library: SimpleNamespace,
    rng: np.random.Generator,
    boundary: Boundary,
    centring: Centring,
    n: int,
    inverse: bool,
) -> None:
    axis = AxisTransform(n, boundary, centring)
    x = rng.normal(size=(4, n))
    Q = axis.matrix()
    expected = x @ (Q if inverse else Q.T)
    given = library.array(x)
    xp = array_api_compat.array_namespace(given)
    found = library.numpy(axis.device(xp, given, inverse=inverse))
    assert np.abs(found - expected).max() < 1e-13
    along_first = axis.host(np.ascontiguousarray(x.T), 0, inverse=inverse)
    assert np.abs(along_first.T - expected).max() < 1e-13


def test_single_precision_stays_single(library: SimpleNamespace) -> None:
    axis = AxisTransform(9, "dirichlet", "cells")
    x = library.array(np.ones((2, 9), dtype=np.float32))
    found = axis.device(array_api_compat.array_namespace(x), x, inverse=False)
    assert found.dtype == x.dtype
    assert axis.host(np.ones((2, 9), dtype=np.float32), 1, inverse=True).dtype == np.float32


def test_a_boundary_without_transform_is_refused() -> None:
    with pytest.raises(SolverError, match="no fast transform for the boundary 'neumann'"):
        AxisTransform(4, "neumann", "nodes")
