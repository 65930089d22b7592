"""Block conjugate gradients against dense solves: dependence, deflation, statuses, honesty."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray

from solvers import SolverError, Status, block_cg, cg
from solvers.row_blocks import RowBlocks
from solvers.vectors import STRETCH, vectors_of

Array = NDArray[np.generic]
Make = Callable[..., Array]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    x = rng.normal(size=shape)
    if np.issubdtype(dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


def _is_double(dtype: type) -> bool:
    return bool(np.finfo(dtype).eps < 1e-10)


def _errors(A: Array, B: Array, X: Array) -> Array:
    """Relative true residual of every system, in double precision; 0 for a zero right-hand side."""
    wide = B.astype(np.complex128)
    residual = np.linalg.norm(wide - X.astype(np.complex128) @ A.T.astype(np.complex128), axis=1)
    norm = np.linalg.norm(wide, axis=1)
    return residual / np.where(norm > 0, norm, 1.0)


def _laplacian(m: int) -> scipy.sparse.csr_array:
    line = scipy.sparse.diags_array(
        [-np.ones(m - 1), 2 * np.ones(m), -np.ones(m - 1)], offsets=[-1, 0, 1]
    )
    eye = scipy.sparse.eye_array(m)
    return scipy.sparse.csr_array(scipy.sparse.kron(line, eye) + scipy.sparse.kron(eye, line))


@pytest.mark.parametrize("dtype", DTYPES)
class TestAnswer:
    @pytest.mark.parametrize("has_preconditioner", [False, True])
    def test_solves(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        definite: Make,
        dtype: type,
        has_preconditioner: bool,
    ) -> None:
        A, B = definite(rng, np.geomspace(0.02, 1, 60), dtype), _draw(rng, (7, 60), dtype)
        M = library.array(definite(rng, np.linspace(0.5, 2, 60), dtype))
        solution = block_cg(
            library.array(A),
            library.array(B),
            M=M if has_preconditioner else None,
            rtol=1e-11 if _is_double(dtype) else 1e-5,
        )
        found = library.numpy(solution.x)
        assert solution.status == (Status.CONVERGED,) * 7
        assert _errors(A, B, found).max() <= (1.1e-11 if _is_double(dtype) else 1.1e-5)
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_allclose(
            solution.relative_residual,
            _errors(A, B, found),
            rtol=0.1,
            atol=1e-14 if _is_double(dtype) else 2e-6,  # rounding of the residual itself
        )

    def test_dependent_equal_and_zero_right_hand_sides(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        A = definite(rng, np.geomspace(0.02, 1, 60), dtype)
        few = _draw(rng, (3, 60), dtype)
        B = _draw(rng, (9, 3), dtype) @ few
        B[4], B[6] = B[0], -1e-6 * B[1]
        B[2] = 0.0
        rtol = 1e-9 if _is_double(dtype) else 1e-5
        solution = block_cg(library.array(A), library.array(B), rtol=rtol)
        assert solution.status == (Status.CONVERGED,) * 9
        assert _errors(A, B, library.numpy(solution.x)).max() <= 1.1 * rtol
        assert solution.iterations[2] == 0
        assert not library.numpy(solution.x)[2].any()

    def test_more_right_hand_sides_than_unknowns(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        A, B = definite(rng, np.linspace(1, 3, 6), dtype), _draw(rng, (20, 6), dtype)
        solution = block_cg(library.array(A), library.array(B), rtol=1e-5)
        assert solution.status == (Status.CONVERGED,) * 20
        assert _errors(A, B, library.numpy(solution.x)).max() <= 1.1e-5
        assert max(solution.iterations) <= 3

    @pytest.mark.parametrize("scale", [1e-20, 1e-8, 1e8, 1e20])
    def test_does_not_depend_on_the_units(
        self, rng: np.random.Generator, definite: Make, dtype: type, scale: float
    ) -> None:
        A, B = definite(rng, np.linspace(1, 30, 40), dtype), _draw(rng, (5, 40), dtype)
        factors = np.where(np.arange(5) % 2, scale, 1.0)[:, None]
        solution = block_cg(A, (factors * B).astype(dtype), rtol=1e-5)
        assert solution.status == (Status.CONVERGED,) * 5
        assert _errors(A, B, solution.x / factors).max() <= 1.1e-5

    def test_one_right_hand_side_repeats_cg(
        self, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        A, b = definite(rng, np.linspace(1, 10, 30), dtype), _draw(rng, (30,), dtype)
        expected: list[Array] = []
        found: list[Array] = []
        cg(A, b, rtol=0.0, maxiter=8, callback=lambda _, x: expected.append(x * 1))
        block_cg(A, b[None], rtol=0.0, maxiter=8, callback=lambda _, x: found.append(x[0] * 1))
        for mine, theirs in zip(found, expected, strict=True):
            error = np.linalg.norm(mine - theirs) / np.linalg.norm(theirs)
            assert error <= (1e-12 if _is_double(dtype) else 1e-4)


class TestBlock:
    def test_minimises_the_error_over_the_whole_block(
        self, rng: np.random.Generator, definite: Make
    ) -> None:
        """x_k minimises the A-norm of the error over the block Krylov space of all systems."""
        A, B = definite(rng, np.linspace(1, 30, 40)), _draw(rng, (3, 40), np.complex128)
        iterates: list[Array] = []
        block_cg(A, B, rtol=0.0, maxiter=5, callback=lambda _, x: iterates.append(x * 1))
        exact = np.linalg.solve(A, B.T)
        basis = B.T
        for found in iterates:
            basis, _ = np.linalg.qr(basis)
            best = basis @ np.linalg.solve(basis.conj().T @ A @ basis, basis.conj().T @ B.T)
            assert np.linalg.norm(found.T - best) <= 1e-10 * np.linalg.norm(exact)
            basis = np.concatenate([basis, A @ basis[:, -3:]], axis=1)

    def test_applies_the_operator_to_fewer_vectors_than_cg(self, rng: np.random.Generator) -> None:
        A, B = _laplacian(24), rng.normal(size=(16, 576))
        applied = [0]

        def apply(X: Array) -> Array:
            applied[0] += X.shape[0]
            return (A @ X.T).T

        solution = block_cg(apply, B, rtol=1e-8)
        single = cg(A, B, rtol=1e-8, n_batch_axes=1)
        assert solution.converged
        assert single.converged
        assert applied[0] <= 0.6 * sum(single.iterations)

    def test_dependent_systems_cost_what_their_rank_does(self, rng: np.random.Generator) -> None:
        A = _laplacian(24)
        B = rng.normal(size=(16, 2)) @ rng.normal(size=(2, 576))
        sizes: list[int] = []

        def apply(X: Array) -> Array:
            sizes.append(X.shape[0])
            return (A @ X.T).T

        solution = block_cg(apply, B, rtol=1e-8)
        assert solution.converged
        assert np.median(sizes) == 2
        assert sizes[-1] == 16  # the final check

    def test_a_finished_system_keeps_every_bit(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A = definite(rng, np.geomspace(1e-2, 1, 50))
        B = _draw(rng, (4, 50), np.complex128)
        B[1] = np.linalg.eigh(A)[1][:, -1]
        iterates: list[Array] = []
        solution = block_cg(
            library.array(A),
            library.array(B),
            rtol=1e-8,
            callback=lambda _, x: iterates.append(library.numpy(x)),
        )
        done = solution.iterations[1]
        assert done < max(solution.iterations)
        np.testing.assert_array_equal(library.numpy(solution.x)[1], iterates[done - 1][1])
        assert [len(past) for past in solution.history] == [n + 1 for n in solution.iterations]

    def test_any_shape_of_unknown_and_a_start(
        self, library: SimpleNamespace, rng: np.random.Generator
    ) -> None:
        d = np.linspace(1, 5, 24).reshape(2, 3, 4)
        B, start = rng.normal(size=(5, 2, 3, 4)), rng.normal(size=(5, 2, 3, 4))
        D = library.array(d)
        solution = block_cg(
            lambda X: D * X, library.array(B), x0=library.array(start), M=lambda R: R / D, rtol=1e-9
        )
        np.testing.assert_allclose(library.numpy(solution.x), B / d, rtol=1e-7, atol=1e-9)

    def test_single_precision_restarts_from_the_truth(
        self, rng: np.random.Generator, definite: Make
    ) -> None:
        A = definite(rng, np.geomspace(1e-4, 1, 60), np.float32)
        B = _draw(rng, (5, 60), np.float32)
        solution = block_cg(A, B, rtol=1e-7, maxiter=3000)
        true = _errors(A, B, solution.x)
        assert set(solution.status) <= {Status.CONVERGED, Status.STAGNATION}
        np.testing.assert_allclose(solution.relative_residual, true, rtol=0.5, atol=1e-7)
        assert (np.array(solution.relative_residual) <= 1e-3).all()


class TestStatus:
    def test_non_finite_systems_harm_no_mate(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A, B = definite(rng, np.linspace(1, 9, 30)), _draw(rng, (4, 30), np.complex128)
        B[1, 3], B[2, 0] = np.nan, np.inf
        solution = block_cg(library.array(A), library.array(B), rtol=1e-9)
        bad, good = Status.NON_FINITE_INPUT, Status.CONVERGED
        assert solution.status == (good, bad, bad, good)
        found = library.numpy(solution.x)
        assert np.isnan(found[1:3]).all()
        assert _errors(A, B[[0, 3]], found[[0, 3]]).max() <= 1e-9

    @pytest.mark.parametrize("call", [1, 4])
    @pytest.mark.parametrize("which", ["A", "M"])
    def test_an_operator_that_fails(self, library: SimpleNamespace, call: int, which: str) -> None:
        d = np.geomspace(1e-2, 1, 40)
        D, nan, calls = library.array(d), float("nan"), [0]

        def fail(X: object) -> object:
            calls[0] += 1
            return D * X * (nan if calls[0] == call else 1.0)

        B = library.array(np.random.default_rng(3).normal(size=(3, 40)))
        options = {"A": {}, "M": {"M": lambda R: fail(R) / D}}[which]
        solution = block_cg(fail if which == "A" else lambda X: D * X, B, **options)
        expected = Status.NON_FINITE_INPUT if call == 1 else Status.BREAKDOWN
        assert solution.status == (expected,) * 3
        found = library.numpy(solution.x)
        assert np.isnan(found).all() == (call == 1)
        assert np.isfinite(found).all() == (call != 1)

    def test_indefinite_operators_and_preconditioners(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        bad = library.array(definite(rng, np.concatenate([[-1.0, -3.0], np.linspace(1, 4, 28)])))
        good = library.array(definite(rng, np.linspace(1, 4, 30)))
        B = library.array(_draw(rng, (3, 30), np.complex128))
        mostly = library.array(definite(rng, np.concatenate([-np.ones(20), np.ones(10)])))
        for A, M in (
            (bad, None),
            (good, mostly),
            (good, lambda R: -1.0 * R),
            (good, lambda R: 0 * R),
        ):
            solution = block_cg(A, B, M=M, rtol=1e-9)
            assert solution.status == (Status.NOT_POSITIVE_DEFINITE,) * 3
            assert np.isfinite(library.numpy(solution.x)).all()
        for factor in (-1.0, 0.0):
            solution = block_cg(lambda X, a=factor: a * X, B)
            assert solution.status == (Status.NOT_POSITIVE_DEFINITE,) * 3
            assert solution.relative_residual == (1.0,) * 3

    def test_curvature_lost_in_rounding(self, rng: np.random.Generator, definite: Make) -> None:
        for _ in range(50):
            A = definite(rng, np.array([1.0, -1.0]), np.float64)
            b = np.linalg.eigh(A)[1] @ np.ones(2)
            solution = block_cg(A, np.stack([b, 2 * b]))
            assert solution.status == (Status.NOT_POSITIVE_DEFINITE,) * 2
            assert np.abs(solution.x).max() <= 20

    def test_limit(self, library: SimpleNamespace, rng: np.random.Generator) -> None:
        D = library.array(np.geomspace(1e-3, 1, 50))
        B = library.array(rng.normal(size=(2, 50)))
        for maxiter in (0, 1, 6):
            solution = block_cg(lambda X: D * X, B, rtol=1e-12, maxiter=maxiter)
            assert solution.status == (Status.MAX_ITERATIONS,) * 2
            assert solution.iterations == (maxiter,) * 2

    def test_zero(self, library: SimpleNamespace) -> None:
        solution = block_cg(lambda X: 2.0 * X, library.array(np.zeros((2, 3))))
        assert solution.status == (Status.CONVERGED,) * 2
        assert not library.numpy(solution.x).any()


def test_counts_blocks(rng: np.random.Generator) -> None:
    calls: list[int] = []
    d = np.arange(1.0, 9.0)
    solution = block_cg(
        lambda X: calls.append(1) or d * X, rng.normal(size=(2, 8)), M=lambda R: R, rtol=1e-9
    )
    assert solution.n_operator == len(calls) == max(solution.iterations) + 1
    assert solution.n_preconditioner == max(solution.iterations)


def test_arguments_are_not_overwritten(library: SimpleNamespace) -> None:
    B, x0 = np.array([[1.0, -2.0], [3.0, 4.0]]), np.ones((2, 2))
    given, start = library.array(B), library.array(x0)
    solution = block_cg(lambda X: X, given, x0=start, M=lambda R: R)
    np.testing.assert_allclose(library.numpy(solution.x), B, rtol=1e-12)
    assert library.numpy(given).tolist() == B.tolist()
    assert library.numpy(start).tolist() == x0.tolist()


def test_messages(library: SimpleNamespace) -> None:
    one, many = library.array(np.ones(3)), library.array(np.ones((2, 3)))
    with pytest.raises(SolverError, match=r"right-hand sides \(n, \*unknown\).*got 1 axes"):
        block_cg(lambda X: X, one)
    with pytest.raises(
        SolverError, match=r"an operator with 3\. Use cg for one system or one oper"
    ):
        block_cg(library.array(np.ones((2, 3, 3))), many)
    with pytest.raises(SolverError, match="a solver expected a non-empty array"):
        block_cg(lambda X: X, library.array(np.ones((0, 3))))
    with pytest.raises(SolverError, match=r"A expected to return \(1, 3\)"):
        block_cg(lambda X: X[:, :2], many)
    tagged = SimpleNamespace(forward=lambda x: x, tags=[SimpleNamespace(name="SELF_ADJOINT")])
    with pytest.raises(SolverError, match="A expected a self-adjoint, positive semidefinite"):
        block_cg(tagged, many)


@pytest.mark.parametrize("dtype", DTYPES)
def test_row_blocks(library: SimpleNamespace, rng: np.random.Generator, dtype: type) -> None:
    n = STRETCH + 1000
    x, y = _draw(rng, (3, n), dtype), _draw(rng, (2, n), dtype)
    blocks = RowBlocks(vectors_of(library.array(x), 1))
    wide_x, wide_y = x.astype(np.complex128), y.astype(np.complex128)
    scale = np.linalg.norm(wide_x, axis=1)[:, None] * np.linalg.norm(wide_y, axis=1)
    gram = blocks.gram(library.array(x), library.array(y))
    assert (np.abs(gram - wide_x.conj() @ wide_y.T) <= 1e-14 * scale).all()
    assert gram.dtype == (np.complex128 if np.issubdtype(dtype, np.complexfloating) else np.float64)
    products = blocks.products(library.array(x), library.array(x))
    np.testing.assert_allclose(products, np.linalg.norm(wide_x, axis=1) ** 2, rtol=1e-6)
    # Three vectors of rank two, of very different sizes.
    dependent = np.stack([x[0], 1e-10 * x[1], x[0] - 1e-3 * x[1]]).astype(dtype)
    basis = library.numpy(blocks.independent(library.array(dependent)))
    assert basis.shape == (2, n)
    assert np.abs(basis.conj() @ basis.T - np.eye(2)).max() <= (
        1e-10 if _is_double(dtype) else 1e-2
    )
