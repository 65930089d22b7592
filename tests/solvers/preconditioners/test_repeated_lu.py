"""Factors of matrices that share a pattern: right for every value, pattern and precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from solvers.errors import SolverError
from solvers.preconditioners import RepeatedLU

RNG = np.random.default_rng(5)


def grid_matrix(n: int, values: float = 1.0, *, is_complex: bool = False) -> Any:  # noqa: ANN401
    """Five points on an n x n grid with random entries, diagonally dominant, not symmetric."""
    line = sparse.diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[-1, 1])
    eye = sparse.eye_array(n)
    A = (sparse.kron(line, eye) + sparse.kron(eye, line)).tocsr()
    A.data = -RNG.uniform(0.5, 1.5, A.nnz)
    A = (A + sparse.diags_array(RNG.uniform(6.0, 7.0, n * n))).tocsr()
    if is_complex:
        A = A + 1j * sparse.diags_array(RNG.uniform(0.0, 3.0, n * n))
    return sparse.csr_array(values * A)


@pytest.mark.parametrize("is_complex", [False, True])
def test_a_sequence_is_solved_with_one_ordering(is_complex: bool) -> None:
    lu = RepeatedLU()
    for _ in range(4):
        A = grid_matrix(9, is_complex=is_complex)
        b = RNG.standard_normal(81) * (1 + 1j if is_complex else 1)
        x, n_applied = lu.solve(A, b, 1e-13)
        np.testing.assert_allclose(x, spsolve(A.tocsc(), b), rtol=1e-10, atol=1e-13)
        assert np.linalg.norm(b - A @ x) <= 1e-13 * np.linalg.norm(b)
        assert 1 < n_applied < 6
    assert (lu.n_orderings, lu.n_double) == (1, 0)


def test_another_pattern_gets_another_ordering() -> None:
    lu = RepeatedLU()
    for n in (6, 7, 6):
        A, b = grid_matrix(n), RNG.standard_normal(n * n)
        np.testing.assert_allclose(lu.solve(A, b, 1e-12)[0], spsolve(A.tocsc(), b), rtol=1e-9)
    assert lu.n_orderings == 3


def test_a_matrix_without_symmetric_pattern_is_solved() -> None:
    A = sparse.csr_array(np.triu(RNG.uniform(1.0, 2.0, (12, 12))) + 9 * np.eye(12))
    b = RNG.standard_normal(12)
    lu = RepeatedLU()
    np.testing.assert_allclose(lu.solve(A, b, 1e-12)[0], spsolve(A.tocsc(), b), rtol=1e-9)
    assert lu.n_orderings == 0


def test_zeros_on_the_diagonal_are_pivoted_round() -> None:
    A = sparse.csr_array(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 3.0]]))
    b = np.array([2.0, 3.0, 5.0])
    np.testing.assert_allclose(RepeatedLU().solve(A, b, 1e-12)[0], np.linalg.solve(A.toarray(), b))


def test_an_ill_conditioned_matrix_falls_back_on_double() -> None:
    n = 200
    A = sparse.diags_array([-np.ones(n - 1), np.full(n, 2.0), -np.ones(n - 1)], offsets=[-1, 0, 1])
    A = sparse.csr_array(A + 0.0)
    A = sparse.csr_array(A @ A)  # condition 3e8
    b = RNG.standard_normal(n)
    lu = RepeatedLU()
    for _ in range(2):
        x, _ = lu.solve(A, b, 1e-9)
        assert np.linalg.norm(b - A @ x) <= 1e-9 * np.linalg.norm(b)
    assert lu.n_double == 2


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_entries_beyond_single_precision(scale: float) -> None:
    A, b = grid_matrix(6, scale), RNG.standard_normal(36)
    x, _ = RepeatedLU().solve(A, b, 1e-12)
    np.testing.assert_allclose(x, spsolve(A.tocsc(), b), rtol=1e-9)


def test_the_best_is_returned_where_the_tolerance_is_out_of_reach() -> None:
    A, b = grid_matrix(8), RNG.standard_normal(64)
    x, _ = RepeatedLU().solve(A, b, 1e-30)
    assert np.linalg.norm(b - A @ x) <= 1e-15 * np.linalg.norm(b)


def test_zero_right_hand_side() -> None:
    x, n_applied = RepeatedLU().solve(grid_matrix(4), np.zeros(16), 1e-12)
    assert not x.any()
    assert n_applied == 0


def test_refusals() -> None:
    with pytest.raises(SolverError, match="singular"):
        RepeatedLU().solve(sparse.csr_array(np.ones((4, 4))), np.ones(4), 1e-10)
    with pytest.raises(SolverError, match="max_refinements >= 1"):
        RepeatedLU(max_refinements=0)
