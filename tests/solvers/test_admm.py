"""ADMM against bounded least squares, closed forms and the other solvers."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

from solvers.admm import CgUpdate, admm
from solvers.errors import SolverError
from solvers.fista import fista
from solvers.proximal import L1, soft_threshold
from solvers.smooth import LeastSquares
from solvers.solution import Status
from solvers.vectors import Array

LIBRARIES = {"numpy": np.asarray, "torch": torch.as_tensor, "strict": array_api_strict.asarray}
N = 24
D = np.diff(np.eye(N), axis=0)


def blurred_steps(seed: int = 0, is_complex: bool = False) -> tuple[Array, Array, float]:
    """H (N, N), b and a weight for which some but not all differences vanish."""
    generator = np.random.default_rng(seed)
    truth = np.repeat([1.0, 4.0, -2.0, 0.5], N // 4)
    A = generator.standard_normal((N + 6, N)) / np.sqrt(N)
    if is_complex:
        A = A + 1j * generator.standard_normal(A.shape) / np.sqrt(N)
        truth = truth * np.exp(0.5j)
    y = A @ truth + 0.3 * generator.standard_normal(N + 6)
    return A.conj().T @ A, A.conj().T @ y, 0.5


def bounded_dual_solution(H: Array, b: Array, weight: float) -> Array:
    """Minimise 1/2 <x, H x> - <b, x> + weight ||D x||_1 by its dual, solved exactly."""
    inverse_factor = np.linalg.inv(np.linalg.cholesky(H))
    target, matrix = inverse_factor @ b, inverse_factor @ D.T
    p = lsq_linear(matrix, target, (-weight, weight), method="bvls", tol=1e-15).x
    return inverse_factor.T @ (target - matrix @ p)


class DirectUpdate:
    """The exact x-update with a dense solve, for any rho of one system."""

    def __init__(self, H: Array, b: Array, K: Array) -> None:
        self.H, self.b, self.K = H, b, K

    def __call__(self, target: Array, rho: float | Array, x: Array) -> Array:
        del x
        return np.linalg.solve(self.H + rho * self.K.T @ self.K, self.b + rho * self.K.T @ target)


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("rho", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("relaxation", [1.0, 1.6])
def test_total_variation_of_a_blurred_signal_equals_its_exact_dual_solution(
    adaptive: bool, rho: float, relaxation: float
) -> None:
    H, b, weight = blurred_steps()
    solution = admm(
        LeastSquares(H, b),
        L1(weight),
        DirectUpdate(H, b, D),
        np.zeros(N),
        K=D,
        rho=rho,
        relaxation=relaxation,
        adaptive=adaptive,
        rtol=1e-8,
        maxiter=20000,
    )
    expected = bounded_dual_solution(H, b, weight)
    assert solution.status == (Status.CONVERGED,)
    assert np.linalg.norm(solution.x - expected) <= 1e-5 * np.linalg.norm(expected)


def test_inexact_updates_reach_the_same_solution() -> None:
    H, b, weight = blurred_steps()
    f = LeastSquares(H, b)
    expected = bounded_dual_solution(H, b, weight)
    for n_steps in (3, 10):
        update = CgUpdate(f, D, maxiter=n_steps)
        solution = admm(f, L1(weight), update, np.zeros(N), K=D, rtol=1e-7, maxiter=5000)
        assert solution.converged
        assert np.linalg.norm(solution.x - expected) <= 1e-4 * np.linalg.norm(expected)


def test_an_update_that_does_not_solve_is_found_out() -> None:
    H, b, weight = blurred_steps()
    solution = admm(
        LeastSquares(H, b),
        L1(weight),
        DirectUpdate(H, 1.1 * b, D),
        np.zeros(N),
        K=D,
        rtol=1e-4,
        maxiter=500,
    )
    assert solution.status == (Status.MAX_ITERATIONS,)
    assert solution.relative_residual[0] > 0.01


def test_balancing_saves_iterations_from_a_bad_start() -> None:
    H, b, weight = blurred_steps()
    counts = [
        admm(
            LeastSquares(H, b),
            L1(weight),
            DirectUpdate(H, b, D),
            np.zeros(N),
            K=D,
            rho=1e-3,
            adaptive=adaptive,
            rtol=1e-4,
            maxiter=5000,
        ).iterations[0]
        for adaptive in (True, False)
    ]
    assert counts[0] < 0.2 * counts[1]


def test_the_same_lasso_as_fista_and_the_closed_form() -> None:
    H, b, weight = blurred_steps(2, is_complex=True)
    f, L = LeastSquares(H, b), float(np.linalg.norm(H, 2))
    expected = fista(f, L1(weight), 0 * b, lipschitz=L, rtol=1e-11, maxiter=20000).x
    solution = admm(f, L1(weight), CgUpdate(f, maxiter=50), 0 * b, rtol=1e-8, maxiter=5000)
    assert solution.converged
    assert np.linalg.norm(solution.x - expected) <= 1e-5 * np.linalg.norm(expected)
    identity = LeastSquares(lambda x: x, b)
    shrunk = admm(identity, L1(weight), CgUpdate(identity), 0 * b, rtol=1e-10, maxiter=500).x
    assert np.allclose(shrunk, soft_threshold(b, weight), atol=1e-8)


def test_both_residuals_are_what_is_reported() -> None:
    H, b, weight = blurred_steps()
    solution = admm(
        LeastSquares(H, b),
        L1(weight),
        DirectUpdate(H, b, D),
        np.zeros(N),
        K=D,
        relaxation=1.0,
        maxiter=1,
        rtol=0,
    )
    x = np.linalg.solve(H + D.T @ D, b)
    z = soft_threshold(D @ x, weight)
    u = D @ x - z
    terms = H @ x - b, D.T @ u
    stationarity = np.linalg.norm(terms[0] + terms[1])
    feasibility = np.linalg.norm(D @ x - z) / max(np.linalg.norm(D @ x), np.linalg.norm(z))
    relative = max(stationarity / max(np.linalg.norm(t) for t in terms), feasibility)
    assert np.allclose(solution.x, x)
    assert solution.residual_norm[0] == pytest.approx(stationarity)
    assert solution.relative_residual[0] == pytest.approx(relative)
    assert solution.status == (Status.MAX_ITERATIONS,)


@pytest.mark.parametrize("exponent", [-8, -3, 5, 8])
def test_the_solution_scales_with_the_data(exponent: int) -> None:
    s = 10.0**exponent
    H, b, weight = blurred_steps()
    plain, scaled = (
        admm(LeastSquares(H, c * b), L1(c * weight), DirectUpdate(H, c * b, D), np.zeros(N), K=D)
        for c in (1.0, s)
    )
    assert plain.converged
    assert scaled.iterations == plain.iterations
    assert np.allclose(scaled.x, s * plain.x, rtol=1e-8, atol=1e-10 * s)


@pytest.mark.parametrize("library", ["numpy", "torch", "strict"])
@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64", "complex128"])
def test_every_library_gives_the_same(library: str, dtype: str) -> None:
    array = LIBRARIES[library]
    H, b, weight = blurred_steps(is_complex=dtype.startswith("complex"))
    exact = admm(
        LeastSquares(H, b), L1(weight), DirectUpdate(H, b, D), 0 * b, K=D, rtol=1e-9, maxiter=5000
    )
    K, rhs = array(D.astype(dtype)), array(b.astype(dtype))
    f = LeastSquares(array(H.astype(dtype)), rhs)
    found = admm(f, L1(weight), CgUpdate(f, K, 20), 0 * rhs, K=K, rtol=2e-5, maxiter=500)
    assert found.converged
    assert found.x.dtype == rhs.dtype
    assert np.linalg.norm(np.asarray(found.x) - exact.x) <= 1e-2 * np.linalg.norm(exact.x)


@pytest.mark.parametrize("library", ["numpy", "torch", "strict"])
def test_a_batch_equals_its_systems(library: str) -> None:
    array = LIBRARIES[library]
    factors = [1.0, 1e-6, 1e5]
    problems = [blurred_steps(seed) for seed in range(3)]
    H = np.stack([p[0] for p in problems])
    b = np.stack([s * p[1] for s, p in zip(factors, problems, strict=True)])
    weights = np.asarray([s * p[2] for s, p in zip(factors, problems, strict=True)])
    f = LeastSquares(array(H), array(b), n_batch_axes=1)
    K = array(D)
    together = admm(
        f,
        L1(array(weights[:, None])),
        CgUpdate(f, K, 60),
        array(0 * b),
        K=K,
        n_batch_axes=1,
        maxiter=1000,
    )
    for i in range(3):
        single = LeastSquares(H[i], b[i])
        alone = admm(single, L1(weights[i]), CgUpdate(single, D, 60), 0 * b[i], K=D, maxiter=1000)
        assert together.status[i] is alone.status[0] is Status.CONVERGED
        assert abs(together.iterations[i] - alone.iterations[0]) <= 2
        error = np.linalg.norm(np.asarray(together.x)[i] - alone.x)
        assert error <= 1e-4 * np.linalg.norm(alone.x)


def test_a_nan_is_named_and_spoils_no_other_system() -> None:
    H, b, weight = blurred_steps()
    f = LeastSquares(H, np.stack([np.full(N, np.nan), b]), n_batch_axes=1)
    solution = admm(
        f, L1(weight), CgUpdate(f, D, 30), np.zeros((2, N)), K=D, n_batch_axes=1, maxiter=1000
    )
    assert solution.status == (Status.NON_FINITE_INPUT, Status.CONVERGED)
    assert np.isnan(solution.x[0]).all()
    assert np.isfinite(solution.x[1]).all()


def test_wrong_arguments_are_refused() -> None:
    f, x0 = LeastSquares(np.eye(2), np.ones(2)), np.zeros(2)
    for wrong in ({"rho": 0.0}, {"relaxation": 2.0}, {"maxiter": 0}):
        with pytest.raises(SolverError, match="rho > 0, 0 < relaxation < 2 and maxiter >= 1"):
            admm(f, L1(1.0), CgUpdate(f), x0, **wrong)
