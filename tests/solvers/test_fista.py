"""FISTA against bounded least squares, closed forms and its own scale and batch rules."""

from __future__ import annotations

from dataclasses import dataclass

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from solvers.errors import SolverError
from solvers.fista import fista
from solvers.low_rank import NuclearNorm
from solvers.proximal import L1, soft_threshold
from solvers.smooth import LeastSquares
from solvers.solution import Status
from solvers.total_variation import TotalVariation
from solvers.vectors import Array
from solvers.wavelet_l1 import WaveletL1, random_shifts
from solvers.wavelets import DaubechiesTransform

LIBRARIES = {"numpy": np.asarray, "torch": torch.as_tensor, "strict": array_api_strict.asarray}


def lasso(seed: int = 0, is_complex: bool = False) -> tuple[Array, Array, float, float]:
    """A (40, 25), y, weight and the largest eigenvalue of A^H A."""
    generator = np.random.default_rng(seed)
    A = generator.standard_normal((40, 25)) * np.geomspace(1, 0.05, 25)
    y = generator.standard_normal(40)
    if is_complex:
        A = A + 1j * generator.standard_normal((40, 25))
        y = y + 1j * generator.standard_normal(40)
    return A, y, 0.4 * float(np.abs(A.conj().T @ y).max()), float(np.linalg.norm(A, 2) ** 2)


def bounded_dual_solution(A: Array, y: Array, weight: float) -> Array:
    """Minimise 1/2 ||A x - y||^2 + weight ||x||_1 for real A by its dual, solved exactly."""
    inverse_factor = np.linalg.inv(np.linalg.cholesky(A.T @ A))
    target = inverse_factor @ (A.T @ y)
    p = lsq_linear(inverse_factor, target, (-weight, weight), method="bvls", tol=1e-15).x
    return inverse_factor.T @ (target - inverse_factor @ p)


def least_squares(A: Array, y: Array) -> LeastSquares:
    return LeastSquares(A.conj().T @ A, A.conj().T @ y)


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("monotone", [True, False])
def test_lasso_equals_the_exact_dual_solution(restart: bool, monotone: bool) -> None:
    A, y, weight, L = lasso()
    solution = fista(
        least_squares(A, y),
        L1(weight),
        np.zeros(25),
        lipschitz=L,
        rtol=1e-9,
        maxiter=20000,
        restart=restart,
        monotone=monotone,
    )
    expected = bounded_dual_solution(A, y, weight)
    assert 0 < np.count_nonzero(np.abs(expected) > 1e-9) < 25
    assert solution.status == (Status.CONVERGED,)
    assert np.linalg.norm(solution.x - expected) <= 1e-5 * np.linalg.norm(expected)


def test_complex_lasso_meets_its_optimality_conditions() -> None:
    A, y, weight, L = lasso(is_complex=True)
    f = least_squares(A, y)
    x = fista(f, L1(weight), np.zeros(25, complex), lipschitz=L, rtol=1e-11, maxiter=5000).x
    pull = -f.gradient(x)
    active = np.abs(x) > 0
    assert 0 < active.sum() < 25
    assert np.allclose(pull[active], weight * x[active] / np.abs(x[active]), atol=1e-7 * weight)
    assert np.all(np.abs(pull[~active]) <= weight * (1 + 1e-7))


def test_orthogonal_design_is_solved_in_one_step() -> None:
    generator = np.random.default_rng(0)
    A, _ = np.linalg.qr(generator.standard_normal((30, 12)))
    y = generator.standard_normal(30)
    solution = fista(least_squares(A, y), L1(0.3), np.zeros(12), lipschitz=1.0, rtol=1e-12)
    assert np.allclose(solution.x, soft_threshold(A.T @ y, 0.3), atol=1e-13)
    assert solution.iterations[0] <= 2


def test_nuclear_norm_and_total_variation_of_an_identity_are_their_proximal_maps() -> None:
    noisy = np.random.default_rng(0).standard_normal((6, 8))
    f = LeastSquares(lambda x: x, noisy)
    for g in (NuclearNorm(0.7), TotalVariation(0.2, rtol=1e-6, maxiter=3000)):
        solution = fista(f, g, np.zeros((6, 8)), lipschitz=1.3, rtol=1e-5)
        assert solution.converged
        assert np.allclose(solution.x, g.prox(noisy, 1.0), atol=1e-4)


def test_the_report_is_true_of_what_is_returned() -> None:
    A, y, weight, L = lasso()
    f, g = least_squares(A, y), L1(weight)
    for rtol, maxiter in ((0, 0), (0, 1), (0, 7), (1e-3, 500)):
        solution = fista(f, g, np.ones(25), lipschitz=L, rtol=rtol, maxiter=maxiter)
        n = solution.iterations[0]
        gap = np.linalg.norm(solution.x - g.prox(solution.x - f.gradient(solution.x) / L, 1 / L))
        size = max(np.linalg.norm(solution.x), np.linalg.norm(f.gradient(solution.x)) / L)
        assert solution.status == (Status.CONVERGED if rtol else Status.MAX_ITERATIONS,)
        assert n == maxiter or rtol
        assert solution.residual_norm[0] == pytest.approx(L * gap, rel=1e-9)
        assert solution.relative_residual[0] == pytest.approx(gap / size, rel=1e-9)
        assert len(solution.history[0]) == n
        assert solution.n_operator == n + 1


def test_monotone_never_raises_the_objective_and_restart_saves_iterations() -> None:
    A, y, weight, L = lasso(3)
    f, g = least_squares(A, y), L1(0.01 * weight)
    seen: list[float] = []

    def watch(_: int, x: Array) -> None:
        seen.append(float(f.value(x) + g.value(x)))

    fista(f, g, np.ones(25), lipschitz=L, monotone=True, maxiter=300, callback=watch)
    assert np.all(np.diff(seen) <= 1e-12 * np.abs(seen[0]))
    counts = [
        fista(f, g, np.zeros(25), lipschitz=L, rtol=1e-7, maxiter=20000, restart=r).iterations[0]
        for r in (True, False)
    ]
    assert counts[0] < 0.5 * counts[1]


@given(exponent=st.floats(-8, 8))
def test_the_solution_scales_with_the_data(exponent: float) -> None:
    s = 10.0**exponent
    A, y, weight, L = lasso()
    plain = fista(least_squares(A, y), L1(weight), np.zeros(25), lipschitz=L, rtol=1e-5)
    scaled = fista(least_squares(A, s * y), L1(s * weight), np.zeros(25), lipschitz=L, rtol=1e-5)
    assert scaled.iterations == plain.iterations
    assert np.allclose(scaled.x, s * plain.x, rtol=1e-9, atol=1e-12 * s)
    assert scaled.relative_residual[0] == pytest.approx(plain.relative_residual[0], rel=1e-6)


@pytest.mark.parametrize("exponent", [-100, 100])
def test_squares_that_underflow_are_not_taken_for_convergence(exponent: int) -> None:
    s = 2.0**exponent
    A, y, weight, L = lasso()
    A32, y32 = A.astype("float32"), y.astype("float32")
    plain = fista(least_squares(A32, y32), L1(weight), A32[0] * 0, lipschitz=L, rtol=1e-4)
    scaled = fista(
        least_squares(A32, y32 * np.float32(s)), L1(s * weight), A32[0] * 0, lipschitz=L, rtol=1e-4
    )
    assert plain.converged
    assert np.allclose(scaled.x / np.float32(s), plain.x, atol=1e-4 * np.abs(plain.x).max())


@pytest.mark.parametrize("library", ["numpy", "torch", "strict"])
@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64", "complex128"])
def test_every_library_gives_the_same(library: str, dtype: str) -> None:
    A, y, weight, L = lasso(is_complex=dtype.startswith("complex"))
    single = dtype in {"float32", "complex64"}
    rtol = 1e-5 if single else 1e-10
    exact = least_squares(A, y)
    reference = fista(exact, L1(weight), 0 * exact.rhs, lipschitz=L, rtol=1e-12, maxiter=20000)
    array = LIBRARIES[library]
    H, b = array(exact.normal.astype(dtype)), array(exact.rhs.astype(dtype))
    solution = fista(LeastSquares(H, b), L1(weight), 0 * b, lipschitz=L, rtol=rtol, maxiter=20000)
    assert solution.converged
    assert solution.x.dtype == b.dtype
    error = np.linalg.norm(np.asarray(solution.x) - reference.x)
    assert error <= 1e3 * rtol * np.linalg.norm(reference.x)


@pytest.mark.parametrize("library", ["numpy", "torch", "strict"])
@pytest.mark.parametrize("monotone", [True, False])
def test_a_batch_equals_its_systems(library: str, monotone: bool) -> None:
    array = LIBRARIES[library]
    problems = [lasso(seed) for seed in range(3)]
    factors = [1.0, 1e-6, 1e5]
    H = np.stack([A.T @ A for A, *_ in problems])
    b = np.stack([s * A.T @ y for s, (A, y, *_) in zip(factors, problems, strict=True)])
    weights = np.asarray([s * p[2] for s, p in zip(factors, problems, strict=True)])
    L = [p[3] for p in problems]
    together = fista(
        LeastSquares(array(H), array(b), n_batch_axes=1),
        L1(array(weights[:, None])),
        array(0 * b),
        lipschitz=L,
        n_batch_axes=1,
        monotone=monotone,
        maxiter=2000,
    )
    for i in range(3):
        alone = fista(
            LeastSquares(H[i], b[i]),
            L1(weights[i]),
            0 * b[i],
            lipschitz=L[i],
            monotone=monotone,
            maxiter=2000,
        )
        assert together.status[i] is alone.status[0] is Status.CONVERGED
        assert abs(together.iterations[i] - alone.iterations[0]) <= 1
        found = np.asarray(together.x)[i]
        assert np.linalg.norm(found - alone.x) <= 1e-4 * np.linalg.norm(alone.x)
        assert together.relative_residual[i] <= 1e-6


def test_a_nan_is_named_and_spoils_no_other_system() -> None:
    A, y, weight, L = lasso()
    H, b = A.T @ A, np.stack([A.T @ y, np.full(25, np.nan), np.zeros(25)])
    solution = fista(
        LeastSquares(H, b, n_batch_axes=1),
        L1(weight),
        0 * b[[0, 0, 0]],
        lipschitz=L,
        n_batch_axes=1,
        maxiter=2000,
    )
    assert solution.status == (Status.CONVERGED, Status.NON_FINITE_INPUT, Status.CONVERGED)
    assert np.isnan(solution.x[1]).all()
    assert np.isnan(solution.residual_norm[1])
    assert np.array_equal(solution.x[2], np.zeros(25))
    start = fista(LeastSquares(H, b[0]), L1(1.0), np.full(25, np.inf), lipschitz=L)
    assert start.status == (Status.NON_FINITE_INPUT,)
    untouched = fista(LeastSquares(H, b[1]), L1(1.0), np.zeros(25), lipschitz=L, maxiter=0)
    assert untouched.status == (Status.NON_FINITE_INPUT,)


def test_divergence_is_never_called_convergence() -> None:
    A, y, weight, L = lasso()
    f = least_squares(A, y)
    solution = fista(f, L1(weight), np.zeros(25), lipschitz=L / 50, maxiter=5000)
    assert solution.status[0] in {Status.BREAKDOWN, Status.MAX_ITERATIONS}
    assert np.isfinite(solution.x).all()


@dataclass
class _FailsLater:
    """A gradient that turns to NaN at its fourth use."""

    inner: LeastSquares
    uses: int = 0

    def gradient(self, x: Array) -> Array:
        self.uses += 1
        return self.inner.gradient(x) * (np.nan if self.uses > 3 else 1.0)

    def value(self, x: Array) -> Array:
        return self.inner.value(x)


def test_a_breakdown_keeps_the_last_good_iterate() -> None:
    A, y, weight, L = lasso()
    f = least_squares(A, y)
    solution = fista(_FailsLater(f), L1(weight), np.zeros(25), lipschitz=L)
    expected = fista(f, L1(weight), np.zeros(25), lipschitz=L, maxiter=3)
    assert solution.status == (Status.BREAKDOWN,)
    assert np.array_equal(solution.x, expected.x)


def test_single_precision_out_of_reach_is_called_stagnation() -> None:
    A, y, weight, L = lasso()
    f = LeastSquares((A.T @ A).astype("float32"), (A.T @ y).astype("float32"))
    solution = fista(f, L1(weight), 0 * f.rhs, lipschitz=1.01 * L, rtol=1e-12, maxiter=3000)
    assert solution.status[0] in {Status.STAGNATION, Status.CONVERGED}
    assert solution.relative_residual[0] <= 2e-6


def test_cycle_spinning_follows_the_iterations_and_approaches_the_image() -> None:
    generator = np.random.default_rng(0)
    truth = np.zeros((32, 32))
    truth[8:21, 5:19] = 1
    mask = generator.random((32, 32)) < 0.6
    f = LeastSquares(lambda x: np.where(mask, x, 0), np.where(mask, truth, 0))
    transform = DaubechiesTransform(2, 1, levels=3)

    def error(shifts: tuple[tuple[int, ...], ...]) -> float:
        g = WaveletL1(0.02, transform, shifts)
        x = fista(f, g, np.zeros((32, 32)), lipschitz=1.0, maxiter=150).x
        return float(np.linalg.norm(x - truth) / np.linalg.norm(truth))

    spun = error(random_shifts(2, 8, 50, np.random.default_rng(1)))
    assert spun == error(random_shifts(2, 8, 50, np.random.default_rng(1)))
    assert spun < 0.7 * error(())


def test_the_start_and_the_callback_copies_are_the_callers() -> None:
    A, y, weight, L = lasso()
    x0 = np.ones(25)

    def spoil(_: int, x: Array) -> None:
        x[...] = np.nan

    watched = fista(least_squares(A, y), L1(weight), x0, lipschitz=L, maxiter=9, callback=spoil)
    plain = fista(least_squares(A, y), L1(weight), x0, lipschitz=L, maxiter=9)
    assert np.array_equal(x0, np.ones(25))
    assert np.array_equal(watched.x, plain.x)


def test_wrong_arguments_are_refused() -> None:
    f, x0 = LeastSquares(np.eye(2), np.ones(2)), np.zeros(2)
    with pytest.raises(SolverError, match=r"lipschitz > 0, got \[0\.0\]"):
        fista(f, L1(1.0), x0, lipschitz=0.0)
    with pytest.raises(SolverError, match="lipschitz expected finite numbers"):
        fista(f, L1(1.0), x0, lipschitz=float("nan"))
    with pytest.raises(SolverError, match="rtol expected a number >= 0, got -1"):
        fista(f, L1(1.0), x0, lipschitz=1.0, rtol=-1)
    with pytest.raises(SolverError, match=r"normal expected to return \(2,\)"):
        fista(LeastSquares(lambda x: x, np.ones(2)), L1(1.0), np.zeros(3), lipschitz=1.0)
    spinning = WaveletL1(1.0, DaubechiesTransform(1, 1), ((0,), (1,)))
    with pytest.raises(SolverError, match="expected one g for all iterations"):
        fista(f, spinning, x0, lipschitz=1.0, monotone=True)
