"""Primal-dual splitting against bounded least squares, closed forms and the other solvers."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest
import torch
from scipy.optimize import linprog, lsq_linear

from solvers.errors import SolverError
from solvers.fista import fista
from solvers.pdhg import pdhg
from solvers.proximal import L1, GroupL1, SquaredDistance
from solvers.smooth import LeastSquares
from solvers.solution import Status
from solvers.total_variation import TotalVariation
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


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("ratio", [0.1, None, 10.0])
def test_total_variation_of_a_blurred_signal_equals_its_exact_dual_solution(
    adaptive: bool, ratio: float | None
) -> None:
    H, b, weight = blurred_steps()
    expected = bounded_dual_solution(H, b, weight)
    flat = np.abs(D @ expected) < 1e-9
    assert 0 < flat.sum() < N - 1
    solution = pdhg(
        D,
        L1(weight),
        np.zeros(N),
        norm=2.0,
        f=LeastSquares(H, b),
        lipschitz=np.linalg.norm(H, 2),
        ratio=ratio,
        adaptive=adaptive,
        rtol=1e-8,
        maxiter=60000,
    )
    assert solution.status == (Status.CONVERGED,)
    assert np.linalg.norm(solution.x - expected) <= 1e-5 * np.linalg.norm(expected)


def test_balancing_saves_iterations_from_a_bad_start() -> None:
    H, b, weight = blurred_steps()
    counts = [
        pdhg(
            D,
            L1(weight),
            np.zeros(N),
            norm=2.0,
            f=LeastSquares(H, b),
            lipschitz=np.linalg.norm(H, 2),
            ratio=50.0,
            adaptive=adaptive,
            rtol=1e-4,
            maxiter=5000,
        ).iterations[0]
        for adaptive in (True, False)
    ]
    assert counts[0] < 0.2 * counts[1]


def test_denoising_equals_the_dual_projection_of_total_variation() -> None:
    generator = np.random.default_rng(1)
    noisy = generator.standard_normal((9, 8)) + 1j * generator.standard_normal((9, 8))
    expected = TotalVariation(0.4, rtol=1e-6, maxiter=5000).prox(noisy, 1.0)

    def slopes(x: Array) -> Array:
        down, right = np.zeros_like(x), np.zeros_like(x)
        down[:-1], right[:, :-1] = np.diff(x, axis=0), np.diff(x, axis=1)
        return np.stack([down, right])

    def back(p: Array) -> Array:
        down, right = p[0, :-1], p[1, :, :-1]
        return -np.diff(down, axis=0, prepend=0, append=0) - np.diff(
            right, axis=1, prepend=0, append=0
        )

    solution = pdhg(
        slopes,
        GroupL1(0.4),
        noisy,
        norm=8**0.5,
        KH=back,
        g=SquaredDistance(noisy, ndim=2),
        rtol=1e-6,
        maxiter=3000,
    )
    assert solution.converged
    assert np.linalg.norm(solution.x - expected) <= 1e-5 * np.linalg.norm(noisy)


def test_basis_pursuit_equals_linear_programming() -> None:
    # min ||x||_1 with A x = y: h is the indicator of a point, whose map ignores its argument.
    generator = np.random.default_rng(0)
    A = generator.standard_normal((12, 30))
    sparse = np.zeros(30)
    sparse[[3, 17, 22]] = [2.0, -1.0, 0.5]
    y = A @ sparse

    class Point:
        def prox(self, x: Array, step: float | Array) -> Array:
            del step
            return y + 0 * x

        def value(self, x: Array) -> Array:
            raise NotImplementedError

    found = pdhg(
        A, Point(), np.zeros(30), norm=np.linalg.norm(A, 2), g=L1(1.0), rtol=1e-7, maxiter=20000
    )
    program = linprog(np.ones(60), A_eq=np.hstack([A, -A]), b_eq=y)
    assert found.converged
    assert np.allclose(found.x, program.x[:30] - program.x[30:], atol=1e-5)


def test_the_same_lasso_as_fista() -> None:
    H, b, weight = blurred_steps(2, is_complex=True)
    f, L = LeastSquares(H, b), float(np.linalg.norm(H, 2))
    expected = fista(f, L1(weight), 0 * b, lipschitz=L, rtol=1e-11, maxiter=20000).x
    common = {"norm": 1.0, "rtol": 1e-8, "maxiter": 20000}
    as_h = pdhg(np.eye(N), L1(weight), 0 * b, f=f, lipschitz=L, **common)
    as_g = pdhg(np.eye(N), L1(0.0), 0 * b, f=f, lipschitz=L, g=L1(weight), **common)
    for solution in (as_h, as_g):
        assert solution.converged
        assert np.linalg.norm(solution.x - expected) <= 1e-5 * np.linalg.norm(expected)


def test_stationarity_is_what_is_reported() -> None:
    # One step from zero without g, by hand: y = 0, slope = -b, x = tau b, q and p follow.
    H, b, weight = blurred_steps()
    L = float(np.linalg.norm(H, 2))
    solution = pdhg(
        D,
        L1(weight),
        np.zeros(N),
        norm=2.0,
        f=LeastSquares(H, b),
        lipschitz=L,
        maxiter=1,
        rtol=0,
    )
    sigma, tau = L / 8, 1 / L
    x = tau * b
    y = np.clip(sigma * 2 * D @ x, -weight, weight)
    q = 2 * D @ x - y / sigma
    stationarity = np.linalg.norm(H @ x - b + D.T @ y)
    feasibility = np.linalg.norm(D @ x - q) / max(np.linalg.norm(D @ x), np.linalg.norm(q))
    assert np.allclose(solution.x, x)
    assert solution.status == (Status.MAX_ITERATIONS,)
    assert solution.residual_norm[0] == pytest.approx(stationarity)
    relative = max(stationarity / np.linalg.norm(b), feasibility)
    assert solution.relative_residual[0] == pytest.approx(relative)
    assert solution.history == (pytest.approx([relative]),)
    assert solution.n_operator == 2 + 2 + 2


@pytest.mark.parametrize("exponent", [-8, -3, 5, 8])
def test_the_solution_scales_with_the_data(exponent: int) -> None:
    s = 10.0**exponent
    H, b, weight = blurred_steps()
    L = np.linalg.norm(H, 2)
    plain, scaled = (
        pdhg(
            D,
            L1(c * weight),
            np.zeros(N),
            norm=2.0,
            f=LeastSquares(H, c * b),
            lipschitz=L,
            maxiter=3000,
        )
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
    L = float(np.linalg.norm(H, 2))
    exact = pdhg(
        D, L1(weight), 0 * b, norm=2.0, f=LeastSquares(H, b), lipschitz=L, rtol=1e-8, maxiter=30000
    )
    K, rhs = array(D.astype(dtype)), array(b.astype(dtype))
    f = LeastSquares(array(H.astype(dtype)), rhs)
    found = pdhg(K, L1(weight), 0 * rhs, norm=2.0, f=f, lipschitz=L, rtol=1e-5, maxiter=5000)
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
    L = [float(np.linalg.norm(h, 2)) for h in H]
    together = pdhg(
        array(D),
        L1(array(weights[:, None])),
        array(0 * b),
        norm=2.0,
        f=LeastSquares(array(H), array(b), n_batch_axes=1),
        lipschitz=L,
        n_batch_axes=1,
        maxiter=5000,
    )
    for i in range(3):
        alone = pdhg(
            D,
            L1(weights[i]),
            0 * b[i],
            norm=2.0,
            f=LeastSquares(H[i], b[i]),
            lipschitz=L[i],
            maxiter=5000,
        )
        assert together.status[i] is alone.status[0] is Status.CONVERGED
        assert abs(together.iterations[i] - alone.iterations[0]) <= 2
        assert np.allclose(np.asarray(together.x)[i], alone.x, rtol=1e-6, atol=1e-8 * factors[i])


def test_a_nan_is_named_and_spoils_no_other_system() -> None:
    H, b, weight = blurred_steps()
    both = np.stack([np.full(N, np.nan), b])
    solution = pdhg(
        D,
        L1(weight),
        np.zeros((2, N)),
        norm=2.0,
        f=LeastSquares(H, both, n_batch_axes=1),
        lipschitz=np.linalg.norm(H, 2),
        n_batch_axes=1,
        maxiter=5000,
    )
    assert solution.status == (Status.NON_FINITE_INPUT, Status.CONVERGED)
    assert np.isnan(solution.x[0]).all()
    assert np.isfinite(solution.x[1]).all()


def test_wrong_arguments_are_refused() -> None:
    x0 = np.zeros(2)
    with pytest.raises(SolverError, match=r"pdhg expected norm > 0, got \[0\.0\]"):
        pdhg(np.eye(2), L1(1.0), x0, norm=0.0)
    with pytest.raises(SolverError, match="ratio expected finite numbers"):
        pdhg(np.eye(2), L1(1.0), x0, norm=1.0, ratio=-1.0)
    with pytest.raises(SolverError, match="maxiter >= 1, got 0"):
        pdhg(np.eye(2), L1(1.0), x0, norm=1.0, maxiter=0)
    with pytest.raises(SolverError, match="adjoint of function is not known"):
        pdhg(lambda x: x, L1(1.0), x0, norm=1.0)
