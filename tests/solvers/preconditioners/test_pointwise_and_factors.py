"""Jacobi, SSOR, incomplete and complete factors against their defining equations."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy import sparse

from solvers import (
    AlgebraicMultigrid,
    Factorised,
    IncompleteCholesky,
    IncompleteLU,
    Jacobi,
    Preconditioner,
    SolverError,
    SpectralLaplacian,
    Ssor,
    ThresholdLU,
    cg,
)
from solvers.preconditioners.pattern_factors import PatternFactors

Matrix = np.ndarray


@pytest.fixture
def poisson(dense: Callable[..., Matrix]) -> Matrix:
    """Return a symmetric positive definite matrix with jumps, 42 unknowns."""
    a = np.where(np.indices((6, 7)).sum(axis=0) % 3 == 0, 10.0, 1.0)
    return dense(a, (1.0, 1.0), ("dirichlet", "neumann"))


@pytest.fixture
def skew(poisson: Matrix, rng: np.random.Generator) -> Matrix:
    """Return a complex matrix of the same pattern without symmetry."""
    entries = rng.normal(size=poisson.shape) + 1j * rng.normal(size=poisson.shape)
    return np.asarray(poisson + 0.3 * entries * (poisson != 0))


def literal_ilu0(A: Matrix) -> tuple[Matrix, Matrix]:
    """Saad 2003, algorithm 10.4, entry by entry."""
    a, stored, n = A.astype(complex), A != 0, len(A)
    for i in range(1, n):
        for k in range(i):
            if stored[i, k]:
                a[i, k] /= a[k, k]
                for j in range(k + 1, n):
                    if stored[i, j] and stored[k, j]:
                        a[i, j] -= a[i, k] * a[k, j]
    return np.tril(a, -1) + np.eye(n), np.triu(a)


def ssor_inverse(A: Matrix, omega: float) -> Matrix:
    D = np.diag(np.diag(A))
    lower, upper = D + omega * np.tril(A, -1), D + omega * np.triu(A, 1)
    return np.asarray(lower @ np.linalg.inv(D) @ upper / (omega * (2 - omega)))


def assert_inverts(
    M: IncompleteLU | IncompleteCholesky | Ssor | Factorised | ThresholdLU,
    A: Matrix,
    rng: np.random.Generator,
    tolerance: float = 1e-11,
) -> None:
    """M A x = x and M^H A^H x = x for a batch of complex x."""
    x = rng.normal(size=(2, 3, len(A))) + 1j * rng.normal(size=(2, 3, len(A)))
    assert isinstance(M, Preconditioner)
    assert np.abs(M.forward(x @ A.T) - x).max() < tolerance
    assert np.abs(M.adjoint(x @ A.conj()) - x).max() < tolerance


@pytest.mark.parametrize("omega", [0.6, 1.0, 1.7])
def test_ssor_is_its_splitting(
    poisson: Matrix, skew: Matrix, rng: np.random.Generator, omega: float
) -> None:
    for A in (poisson, skew):
        assert_inverts(Ssor(sparse.csr_array(A), omega=omega), ssor_inverse(A, omega), rng)


def test_pattern_factors_equal_the_literal_algorithm(poisson: Matrix, skew: Matrix) -> None:
    rng = np.random.default_rng(5)
    scattered = np.where(rng.random((30, 30)) < 0.2, rng.normal(size=(30, 30)), 0) + 8 * np.eye(30)
    for A in (poisson, skew, scattered, np.diag([1.0, 2.0])):
        matrix = sparse.csr_array(A)
        L, U = PatternFactors(matrix).factorise(matrix)
        expected = literal_ilu0(A)
        assert np.abs(L.toarray() - expected[0]).max() < 1e-13 * np.abs(expected[0]).max()
        assert np.abs(U.toarray() - expected[1]).max() < 1e-13 * np.abs(expected[1]).max()


def test_incomplete_lu_inverts_its_product(
    poisson: Matrix, skew: Matrix, rng: np.random.Generator
) -> None:
    M = IncompleteLU(sparse.csr_array(poisson))
    for A in (poisson, skew):
        assert M.update(sparse.csr_array(A))
        L, U = literal_ilu0(A)
        assert_inverts(M, L @ U, rng)


def test_incomplete_cholesky_is_hermitian_and_definite(
    poisson: Matrix, rng: np.random.Generator
) -> None:
    phase = np.exp(1j * np.arange(42.0))
    hermitian = phase[:, None] * poisson * phase.conj()[None, :]
    for A in (poisson, hermitian):
        M = IncompleteCholesky(sparse.csr_array(A))
        L, U = literal_ilu0(A)
        assert_inverts(M, L @ U, rng)
        assert M.shift == 0
        inverse = M.forward(np.eye(42, dtype=complex)).T
        assert np.abs(inverse - inverse.conj().T).max() < 1e-14
        assert np.linalg.eigvalsh(inverse).min() > 0


def test_incomplete_cholesky_shifts_where_the_pivots_fail() -> None:
    # Kershaw 1978, doi:10.1016/0021-9991(78)90098-0: definite, yet a pivot on the pattern is < 0.
    A = np.array([[3.0, -2, 0, 2], [-2, 3, -2, 0], [0, -2, 3, -2], [2, 0, -2, 3]])
    assert np.linalg.eigvalsh(A).min() > 0
    assert literal_ilu0(A)[1].diagonal().real.min() < 0
    M = IncompleteCholesky(A)
    assert M.shift > 0
    assert np.linalg.eigvalsh(M.forward(np.eye(4)).T).min() > 0


def test_factorised_inverts_real_and_complex(
    poisson: Matrix, skew: Matrix, rng: np.random.Generator
) -> None:
    for A in (poisson, skew, poisson + np.triu(np.ones((42, 42)), 20)):
        assert_inverts(Factorised(A), A, rng)
        assert_inverts(ThresholdLU(A, drop_tolerance=0.0, fill=40.0), A, rng)


def test_factors_lag_by_the_number_of_applications(poisson: Matrix) -> None:
    b = np.ones(42)
    lagged = Factorised(poisson, lag="lagged", refactor_after=3)
    for _ in range(3):
        lagged.forward(b)
    assert not lagged.update(2 * poisson)
    assert np.allclose(poisson @ lagged.forward(b), b)
    for _ in range(3):
        lagged.forward(b)
    assert lagged.n_applied == 4
    assert lagged.update(2 * poisson)
    assert np.allclose(2 * poisson @ lagged.forward(b), b)
    assert lagged.n_factorisations == 2
    shared, each = Factorised(poisson, lag="shared"), Factorised(poisson, lag="each")
    for _ in range(100):
        shared.forward(b)
    assert not shared.update(2 * poisson)
    assert each.update(2 * poisson)
    assert np.allclose(2 * poisson @ each.forward(b), b)


def test_jacobi_divides_in_every_library(library: SimpleNamespace, poisson: Matrix) -> None:
    diagonal = poisson.diagonal()
    M = Jacobi(sparse.csr_array(poisson))
    assert "POSITIVE_DEFINITE" in M.tags
    for dtype in (np.float32, np.float64, np.complex64, np.complex128):
        for shape in ((42,), (3, 42), (2, 6, 7)):
            r = library.array(np.ones(shape, dtype=dtype))
            z = M.forward(r)
            assert z.dtype == r.dtype
            expected = (1 / diagonal).reshape(shape[-2:] if shape[-1] == 7 else -1)
            assert np.abs(library.numpy(z) - expected).max() < 1e-6


def test_jacobi_of_each_system_and_of_complex_matrices(skew: Matrix) -> None:
    diagonals = np.array([[1.0, 2.0], [4.0, -5.0]])
    M = Jacobi(diagonal=torch.from_numpy(diagonals))
    assert M.forward(torch.ones(2, 2)).tolist() == [[1.0, 0.5], [0.25, pytest.approx(-0.2)]]
    assert not M.tags
    M = Jacobi(skew)
    r = np.arange(42.0) + 1j
    assert np.allclose(M.forward(r), r / skew.diagonal())
    assert np.allclose(M.adjoint(r), r / skew.diagonal().conj())
    assert M.update(2 * skew)
    assert np.allclose(M.forward(r), r / (2 * skew.diagonal()))
    with pytest.raises(SolverError, match="complex diagonal"):
        M.forward(np.ones(42))


@pytest.mark.parametrize("make", [Jacobi, Ssor, IncompleteCholesky, Factorised])
def test_cg_takes_them_and_needs_fewer_iterations(
    dense: Callable[..., Matrix], rng: np.random.Generator, make: Callable[[Any], Any]
) -> None:
    a = np.exp(2 * rng.normal(size=(12, 12)))
    A = sparse.csr_array(dense(a, (1.0, 1.0), ("dirichlet", "dirichlet")))
    b = rng.normal(size=(2, 144))
    plain = cg(A, b, rtol=1e-8, n_batch_axes=1)
    solution = cg(A, b, M=make(A), rtol=1e-8, n_batch_axes=1)
    assert solution.converged
    assert max(solution.iterations) < 0.8 * max(plain.iterations)
    exact = np.linalg.solve(A.toarray(), b.T).T
    assert np.abs(solution.x - exact).max() < 1e-5 * np.abs(exact).max()
    wide = make(A).forward(torch.from_numpy(b))
    assert np.allclose(wide.numpy(), make(A).forward(b))
    single = make(A).forward(b.astype(np.float32))
    assert single.dtype == np.float32


def test_order_of_strength(dense: Callable[..., Matrix], rng: np.random.Generator) -> None:
    A = sparse.csr_array(dense(np.ones((20, 20)), (1.0, 1.0), ("dirichlet",) * 2))
    b = rng.normal(size=400)
    counts = [
        cg(A, b, M=M, rtol=1e-8).iterations[0]
        for M in (Jacobi(A), Ssor(A), IncompleteCholesky(A), Factorised(A))
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[1] < 0.6 * counts[0]
    assert counts[-1] == 1


def test_matrices_that_cannot_be_inverted(poisson: Matrix) -> None:
    singular = np.array([[1.0, 1.0], [1.0, 1.0]])
    with pytest.raises(SolverError, match="2 unknowns is singular"):
        Factorised(singular)
    with pytest.raises(SolverError, match=r"vanishing pivot.*Lower drop_tolerance"):
        ThresholdLU(singular)
    with pytest.raises(SolverError, match=r"ILU\(0\) met a vanishing pivot"):
        IncompleteLU(singular)
    with pytest.raises(SolverError, match="every diagonal entry to be stored, got 1 of 2"):
        IncompleteLU(np.array([[0.0, 1.0], [1.0, 1.0]]))
    with pytest.raises(SolverError, match="diagonal without zeros, NaN"):
        Jacobi(np.array([[0.0, 1.0], [1.0, 1.0]]))
    with pytest.raises(SolverError, match="diagonal without zeros, got 1 of 2"):
        Ssor(np.array([[0.0, 1.0], [1.0, 1.0]]))
    with pytest.raises(SolverError, match="expected a Hermitian matrix"):
        IncompleteCholesky(np.triu(poisson))
    with pytest.raises(SolverError, match="diagonal entry that is not positive"):
        IncompleteCholesky(-poisson)


def test_arguments_that_do_not_fit(poisson: Matrix) -> None:
    with pytest.raises(SolverError, match="lag 'shared', 'lagged' or 'each'"):
        Factorised(poisson, lag="sometimes")  # type: ignore[arg-type]
    with pytest.raises(SolverError, match="0 < omega < 2, got 2"):
        Ssor(poisson, omega=2)
    with pytest.raises(SolverError, match="0 <= drop_tolerance < 1"):
        ThresholdLU(poisson, drop_tolerance=1.0)
    with pytest.raises(SolverError, match="square matrix, got shape"):
        Factorised(np.ones((2, 3)))
    with pytest.raises(SolverError, match="got NaN or infinity"):
        Factorised(np.array([[np.nan]]))
    with pytest.raises(SolverError, match="an operator that knows its one matrix, got function"):
        Factorised(lambda x: x)
    with pytest.raises(SolverError, match="systems of 42 unknowns, got vectors of shape"):
        Factorised(poisson).forward(np.ones(41))
    with pytest.raises(SolverError, match="complex preconditioner expected a complex vector"):
        Factorised(poisson + 0j + 1j * np.eye(42)).forward(np.ones(42))
    with pytest.raises(SolverError, match="either an operator or its diagonal"):
        Jacobi()
    with pytest.raises(SolverError, match="Pass diagonals by name"):
        Jacobi(np.ones((2, 3)))
    with pytest.raises(SolverError, match=r"diagonal of shape \(42,\), got a vector"):
        Jacobi(poisson).forward(np.ones(41))


def test_operators_that_know_their_matrix(poisson: Matrix) -> None:
    csr = sparse.csr_array(poisson)
    b = np.ones(42)
    expected = np.linalg.solve(poisson, b)
    for A in (
        SimpleNamespace(scipy=lambda: csr),
        SimpleNamespace(n_samples=1, matrix=lambda _: csr),
        sparse.csc_matrix(poisson),
    ):
        assert np.allclose(Factorised(A).forward(b), expected)
    with pytest.raises(SolverError, match="Make one preconditioner a system"):
        Factorised(SimpleNamespace(n_samples=2, matrix=lambda _: csr))
    diagonals = SimpleNamespace(diagonal=lambda: torch.full((2, 3), 4.0))
    assert Jacobi(diagonals).forward(torch.ones(2, 3)).tolist() == [[0.25] * 3] * 2


def test_algebraic_multigrid_without_pyamg_says_how_to_get_it(
    poisson: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyamg", None)
    with pytest.raises(SolverError, match=r"pip install inverse-suite\[amg\]"):
        AlgebraicMultigrid(poisson)
    with pytest.raises(SolverError, match="'ruge-stuben' or 'smoothed-aggregation'"):
        AlgebraicMultigrid(poisson, method="classical")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["ruge-stuben", "smoothed-aggregation"])
def test_algebraic_multigrid(
    dense: Callable[..., Matrix],
    rng: np.random.Generator,
    method: Literal["ruge-stuben", "smoothed-aggregation"],
) -> None:
    pytest.importorskip("pyamg")
    A = sparse.csr_array(dense(np.ones((24, 24)), (1.0, 1.0), ("dirichlet",) * 2))
    b = rng.normal(size=(2, 576))
    M = AlgebraicMultigrid(A, method=method, lag="lagged", rebuild_after=20)
    solution = cg(A, b, M=M, rtol=1e-8, n_batch_axes=1)
    assert solution.converged
    assert max(solution.iterations) <= 12
    y = rng.normal(size=576)
    forth, back = np.vdot(y, M.forward(b[0])), np.vdot(M.forward(y), b[0])
    assert abs(forth - back) < 1e-10 * abs(forth)
    assert np.allclose(M.forward(b + 2j * b), (1 + 2j) * M.forward(b))
    assert not M.update(2 * A)
    for _ in range(21):
        M.forward(y)
    assert M.update(2 * A)
    assert M.n_hierarchies == 2


def test_spectral_laplacian_is_a_preconditioner_of_the_protocol() -> None:
    assert isinstance(SpectralLaplacian((4,), (1.0,)), Preconditioner)
