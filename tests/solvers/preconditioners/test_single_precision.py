"""A preconditioner in single precision: what it computes, and what it costs CG in iterations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from solvers import cg
from solvers.preconditioners import Jacobi, SpectralLaplacian
from solvers.preconditioners.single_precision import SinglePrecision


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.float32])
def test_it_is_the_preconditioner_to_single_precision(dtype: torch.dtype) -> None:
    M = SpectralLaplacian((6, 7), (0.5, 0.25))
    r = torch.randn(3, 6, 7, dtype=dtype, generator=torch.Generator().manual_seed(0))
    z, exact = SinglePrecision(M).forward(r), M.forward(r)
    assert z.dtype == dtype
    assert 0 <= float((z - exact).abs().max()) <= 3e-6 * float(exact.abs().max())


def test_cg_reaches_double_precision_with_it() -> None:
    rng = np.random.default_rng(0)
    n = 40
    A = np.diag(2 + rng.random(n)) - np.eye(n, k=1) - np.eye(n, k=-1)
    b = rng.standard_normal(n)
    plain = cg(A, b, M=Jacobi(A), rtol=1e-12)
    found = cg(A, b, M=SinglePrecision(Jacobi(A)), rtol=1e-12)
    assert found.converged
    assert found.iterations[0] <= plain.iterations[0] + 2
    np.testing.assert_allclose(found.x, np.linalg.solve(A, b), rtol=1e-9)


def test_properties_and_updates_are_those_of_the_preconditioner() -> None:
    M = SinglePrecision(Jacobi(diagonal=np.array([2.0, 4.0])))
    assert "POSITIVE_DEFINITE" in M.tags
    assert M.update(np.diag([1.0, 2.0]))
    np.testing.assert_array_equal(M.forward(np.ones(2)), [1.0, 0.5])
    assert not SinglePrecision(lambda r: r).update(np.eye(2))
