"""The largest eigenvalue against dense eigenvalues, with its bound and its statuses."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from solvers import SolverError, Status, power_iteration

Array = NDArray[np.generic]
Make = Callable[..., Array]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e12])
def test_finds_the_largest(
    library: SimpleNamespace, rng: np.random.Generator, definite: Make, dtype: type, scale: float
) -> None:
    A = (scale * definite(rng, np.linspace(0, 3, 20), np.complex128)).astype(np.complex128)
    if not np.issubdtype(dtype, np.complexfloating):
        A = scale * definite(rng, np.linspace(0, 3, 20), np.float64)
    x0 = rng.normal(size=20).astype(dtype)
    found = power_iteration(
        library.array(A.astype(dtype)), library.array(x0), rtol=1e-3, maxiter=500
    )
    assert found.converged
    assert found.status == (Status.CONVERGED,)
    assert found.residual_norm[0] <= 1e-3 * found.value[0]
    assert found.value[0] == pytest.approx(3 * scale, rel=1e-4)
    assert found.value[0] <= 3 * scale * (1 + 1e-5)
    v = library.numpy(found.vector).astype(np.complex128)
    assert np.linalg.norm(v) == pytest.approx(1, rel=1e-5)
    residual = np.linalg.norm(A @ v - found.value[0] * v)
    assert found.residual_norm[0] == pytest.approx(residual, rel=0.1)


def test_batch_equals_one_by_one(
    library: SimpleNamespace, rng: np.random.Generator, definite: Make
) -> None:
    spectra = [np.linspace(0, 1, 12), np.array([5.0] + [0.1] * 11), np.linspace(8, 9, 12)]
    A = np.stack([definite(rng, spectrum) for spectrum in spectra])
    x0 = rng.normal(size=(3, 12)).astype(np.complex128)
    both = power_iteration(library.array(A), library.array(x0), maxiter=400, n_batch_axes=1)
    assert len(set(both.iterations)) > 1
    for i in range(3):
        one = power_iteration(library.array(A[i]), library.array(x0[i]), maxiter=400)
        assert both.value[i] == pytest.approx(one.value[0], rel=1e-13)
        assert both.residual_norm[i] == pytest.approx(one.residual_norm[0], rel=1e-6)
        assert both.iterations[i] == one.iterations[0]
    seldom = power_iteration(
        library.array(A), library.array(x0), maxiter=400, n_batch_axes=1, check_every=13
    )
    assert seldom.value == both.value
    assert seldom.iterations == both.iterations


def test_honest_when_cut_short(rng: np.random.Generator, definite: Make) -> None:
    A = definite(rng, np.linspace(0.9, 1, 30))
    found = power_iteration(A, rng.normal(size=30) + 0j, rtol=1e-6, maxiter=3)
    assert found.status == (Status.MAX_ITERATIONS,)
    assert not found.converged
    assert found.iterations == (3,)
    distance = np.abs(np.linalg.eigvalsh(A) - found.value[0]).min()
    assert distance <= found.residual_norm[0]
    assert found.upper_bound[0] == found.value[0] + found.residual_norm[0]


def test_zero_map(library: SimpleNamespace) -> None:
    found = power_iteration(lambda x: 0.0 * x, library.array(np.ones(3)))
    assert found.value == (0.0,)
    assert found.converged


def test_negative_map(library: SimpleNamespace) -> None:
    found = power_iteration(lambda x: -2.0 * x, library.array(np.ones(3)))
    assert found.status == (Status.NOT_POSITIVE_DEFINITE,)


def test_a_small_positive_value_is_not_called_negative() -> None:
    found = power_iteration(np.diag([1.0, 0.0]), np.array([1e-3, 1.0]), maxiter=1)
    assert 0 < found.value[0] < found.residual_norm[0]
    assert found.status == (Status.MAX_ITERATIONS,)


def test_nan_harms_no_mate(library: SimpleNamespace) -> None:
    d = np.array([[1.0, 2.0], [np.nan, 1.0], [3.0, 1.0], [0.0, 0.0]])
    A = library.array(d)
    found = power_iteration(
        lambda x: A * x, library.array(np.ones((4, 2))), rtol=1e-6, n_batch_axes=1
    )
    assert found.status == (
        Status.CONVERGED,
        Status.NON_FINITE_INPUT,
        Status.CONVERGED,
        Status.CONVERGED,
    )
    assert np.isnan(found.value[1])
    np.testing.assert_allclose([found.value[i] for i in (0, 2, 3)], [2.0, 3.0, 0.0], rtol=1e-9)
    start = power_iteration(lambda x: x, library.array(np.array([1.0, np.inf])))
    assert start.status == (Status.NON_FINITE_INPUT,)


def test_messages() -> None:
    with pytest.raises(SolverError, match="x0 expected a non-zero start in every system"):
        power_iteration(lambda x: x, np.zeros(3))
    with pytest.raises(SolverError, match="maxiter expected a number >= 1, got 0"):
        power_iteration(lambda x: x, np.ones(3), maxiter=0)
    with pytest.raises(SolverError, match="A expected to return"):
        power_iteration(lambda x: x[:1], np.ones(3))


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.floats(-8.0, 8.0))
def test_an_eigenvalue_lies_within_the_residual(seed: int, n: int, exponent: float) -> None:
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    A = 10.0**exponent * (B @ B.conj().T)
    found = power_iteration(A, rng.normal(size=n) + 0j, maxiter=5)
    values = np.linalg.eigvalsh(A)
    slack = 1e-12 * values[-1]
    assert np.abs(values - found.value[0]).min() <= found.residual_norm[0] + slack
    assert found.value[0] <= values[-1] + slack
