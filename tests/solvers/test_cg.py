"""Conjugate gradients against dense solves: answers, statuses, batches, scaling, honesty."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray

from solvers import SolverError, Status, cg

Array = NDArray[np.generic]
Make = Callable[..., Array]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    x = rng.normal(size=shape)
    if np.issubdtype(dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


def _relative(found: Array, exact: Array) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize("dtype", DTYPES)
class TestAnswer:
    def test_solves(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        A = definite(rng, np.linspace(1, 50, 30), dtype)
        b = _draw(rng, (30,), dtype)
        is_double = np.finfo(dtype).eps < 1e-10
        solution = cg(library.array(A), library.array(b), rtol=1e-12 if is_double else 1e-6)
        exact = np.linalg.solve(A.astype(np.complex128), b)
        assert solution.status == (Status.CONVERGED,)
        assert _relative(library.numpy(solution.x), exact) <= (1e-11 if is_double else 3e-6)
        assert library.numpy(solution.x).dtype == np.dtype(dtype)

    def test_reports_the_true_residual(
        self, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        A = definite(rng, np.geomspace(1e-4, 1, 40), dtype)
        b = _draw(rng, (40,), dtype)
        for maxiter in (3, 40, 4000):
            solution = cg(A, b, rtol=1e-7, maxiter=maxiter)
            exact = np.linalg.norm(b.astype(np.complex128) - A.astype(np.complex128) @ solution.x)
            assert 0.5 * exact <= solution.residual_norm[0] <= 2 * exact
            assert solution.relative_residual[0] == pytest.approx(
                solution.residual_norm[0] / np.linalg.norm(b), rel=1e-5
            )

    @pytest.mark.parametrize("scale", [1e-20, 1e-8, 1e8, 1e20])
    def test_does_not_depend_on_the_units(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        definite: Make,
        dtype: type,
        scale: float,
    ) -> None:
        A = definite(rng, np.arange(1.0, 101.0, 2.0), dtype)
        b = _draw(rng, (50,), dtype)
        exact = np.linalg.solve(A.astype(np.complex128), b.astype(np.complex128))
        plain = cg(library.array(A), library.array(b))
        scaled = cg(library.array(A), library.array((scale * b).astype(dtype)))
        error = _relative(library.numpy(plain.x).astype(np.complex128), exact)
        error_scaled = _relative(library.numpy(scaled.x).astype(np.complex128) / scale, exact)
        assert scaled.status == (Status.CONVERGED,)
        assert 0.1 * error <= error_scaled <= 10 * error
        assert scaled.relative_residual[0] <= 1e-6
        norm = np.linalg.norm(b.astype(np.complex128))
        assert scaled.residual_norm[0] <= 1.001e-6 * scale * norm

    def test_power_of_two_changes_no_bit(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        A = definite(rng, np.arange(1.0, 21.0), dtype)
        b = _draw(rng, (20,), dtype)
        plain = library.numpy(cg(library.array(A), library.array(b)).x)
        scaled = library.numpy(cg(library.array(A), library.array((2.0**-70 * b).astype(dtype))).x)
        np.testing.assert_array_equal(scaled, (2.0**-70 * plain).astype(dtype))

    def test_agrees_with_scipy(self, rng: np.random.Generator, definite: Make, dtype: type) -> None:
        A = definite(rng, np.linspace(1, 10, 30), dtype)
        b = _draw(rng, (30,), dtype)
        iterates: list[Array] = []
        scipy.sparse.linalg.cg(A, b, rtol=0.0, maxiter=8, callback=lambda x: iterates.append(x * 1))
        ours: list[Array] = []
        cg(A, b, rtol=0.0, maxiter=8, callback=lambda _, x: ours.append(x))
        for found, expected in zip(ours, iterates, strict=True):
            assert _relative(found, expected) <= (1e-12 if np.finfo(dtype).eps < 1e-10 else 1e-4)


class TestBatch:
    """Systems of different difficulty, so that they stop at different times."""

    def _systems(self, rng: np.random.Generator, definite: Make) -> tuple[Array, Array]:
        spectra = [np.ones(20), np.linspace(1, 5, 20), np.geomspace(1e-3, 1, 20)] * 2
        A = np.stack([definite(rng, spectrum) for spectrum in spectra]).reshape(2, 3, 20, 20)
        return A, _draw(rng, (2, 3, 20), np.complex128)

    def test_equals_its_systems_one_by_one(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A, b = self._systems(rng, definite)
        both = cg(library.array(A), library.array(b), rtol=1e-9, n_batch_axes=2)
        assert len(set(both.iterations)) == 6 or len(set(both.iterations)) >= 3
        for i, index in enumerate(np.ndindex(2, 3)):
            one = cg(library.array(A[index]), library.array(b[index]), rtol=1e-9)
            assert both.status[i] is one.status[0] is Status.CONVERGED
            assert abs(both.iterations[i] - one.iterations[0]) <= 1
            # Only rounding separates them; the tolerance of the solve is 1e4 times looser.
            exact = np.linalg.solve(A[index], b[index])
            error = np.linalg.norm(library.numpy(both.x)[index] - exact)
            assert error <= 3 * np.linalg.norm(library.numpy(one.x) - exact) + 1e-13

    def test_fixed_steps_equal_to_rounding(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A, b = self._systems(rng, definite)
        both = cg(library.array(A), library.array(b), rtol=0.0, maxiter=1, n_batch_axes=2)
        for index in np.ndindex(2, 3):
            one = cg(library.array(A[index]), library.array(b[index]), rtol=0.0, maxiter=1)
            assert _relative(library.numpy(both.x)[index], library.numpy(one.x)) <= 1e-14

    def test_finished_systems_keep_every_bit(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A, b = self._systems(rng, definite)
        iterates: list[Array] = []
        solution = cg(
            library.array(A),
            library.array(b),
            rtol=1e-6,
            n_batch_axes=2,
            callback=lambda _, x: iterates.append(library.numpy(x)),
        )
        assert min(solution.iterations) < max(solution.iterations)
        for i, index in enumerate(np.ndindex(2, 3)):
            done = iterates[max(solution.iterations[i], 1) - 1][index]
            np.testing.assert_array_equal(library.numpy(solution.x)[index], done)

    def test_order_of_systems_is_kept(self, rng: np.random.Generator, definite: Make) -> None:
        A, b = self._systems(rng, definite)
        nested = cg(A, b, rtol=1e-9, n_batch_axes=2)
        flat = cg(A.reshape(6, 20, 20), b.reshape(6, 20), rtol=1e-9, n_batch_axes=1)
        np.testing.assert_array_equal(nested.x.reshape(6, 20), flat.x)
        assert nested.iterations == flat.iterations

    @pytest.mark.parametrize("check_every", [1, 3])
    @pytest.mark.parametrize("poison", [np.nan, np.inf, "operator", "indefinite", "late"])
    def test_a_bad_system_harms_no_mate(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        definite: Make,
        poison: float | str,
        check_every: int,
    ) -> None:
        A, b = self._systems(rng, definite)
        alone = cg(library.array(A), library.array(b), n_batch_axes=2, check_every=check_every)
        calls = [0]
        matrices = library.array(A)
        bad_b, bad_A = b.copy(), A.copy()
        if poison == "operator":
            bad_A[0, 1] = np.nan
        elif poison == "indefinite":
            bad_A[0, 1] -= 3 * np.eye(20)
        elif isinstance(poison, float):
            bad_b[0, 1, 3] = poison
        matrices = library.array(bad_A)
        broken = library.array(np.where(np.arange(6).reshape(2, 3, 1) == 1, np.nan, 1.0 + 0j))

        def apply(x: object) -> object:
            calls[0] += 1
            y = (matrices @ x[..., None])[..., 0]
            return y * broken if poison == "late" and calls[0] == 5 else y

        solution = cg(apply, library.array(bad_b), n_batch_axes=2, check_every=check_every)
        expected = {
            "indefinite": {Status.NOT_POSITIVE_DEFINITE},
            "late": {Status.BREAKDOWN},
        }.get(str(poison), {Status.NON_FINITE_INPUT})
        assert solution.status[1] in expected
        found, plain = library.numpy(solution.x), library.numpy(alone.x)
        assert np.isnan(found[0, 1]).all() == (Status.NON_FINITE_INPUT in expected)
        assert np.isfinite(found[0, 1]).all() != (Status.NON_FINITE_INPUT in expected)
        for i, index in enumerate(np.ndindex(2, 3)):
            if i != 1:
                assert _relative(found[index], plain[index]) <= 1e-13
                assert solution.status[i] is Status.CONVERGED
                assert solution.iterations[i] == alone.iterations[i]


class TestStatus:
    def test_zero_right_hand_side(self, library: SimpleNamespace) -> None:
        calls: list[int] = []
        b = library.array(np.zeros(3))
        for x0 in (None, library.array(np.ones(3))):
            solution = cg(lambda x: calls.append(1) or x, b, x0=x0)
            assert library.numpy(solution.x).tolist() == [0.0, 0.0, 0.0]
            assert solution.status == (Status.CONVERGED,)
            assert solution.iterations == (0,)
            assert solution.residual_norm == solution.relative_residual == (0.0,)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_non_finite_right_hand_side(self, library: SimpleNamespace, bad: float) -> None:
        solution = cg(lambda x: 2.0 * x, library.array(np.array([1.0, bad, 0.0])))
        assert solution.status == (Status.NON_FINITE_INPUT,)
        assert np.isnan(library.numpy(solution.x)).all()
        assert np.isnan(solution.residual_norm[0])
        assert solution.iterations == (0,)
        assert not solution.converged

    def test_non_finite_start(self, library: SimpleNamespace) -> None:
        x0 = library.array(np.array([0.0, np.nan]))
        solution = cg(lambda x: 2.0 * x, library.array(np.ones(2)), x0=x0)
        assert solution.status == (Status.NON_FINITE_INPUT,)

    def test_non_finite_operator(self, library: SimpleNamespace) -> None:
        A = library.array(np.array([[1.0, np.nan], [np.nan, 1.0]]))
        solution = cg(A, library.array(np.ones(2)))
        assert solution.status == (Status.NON_FINITE_INPUT,)
        assert np.isnan(library.numpy(solution.x)).all()

    def test_non_finite_preconditioner(self, library: SimpleNamespace) -> None:
        b = library.array(np.ones(2))
        solution = cg(lambda x: 2.0 * x, b, M=lambda r: float("nan") * r)
        assert solution.status == (Status.NON_FINITE_INPUT,)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_indefinite_in_any_basis(
        self, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        """Rounding turns the exact zero curvature of diag(1, -1) into any tiny number."""
        for _ in range(50):
            A = definite(rng, np.array([1.0, -1.0]), dtype)
            values, vectors = np.linalg.eigh(A)
            assert values[0] < 0
            b = (vectors @ np.ones(2)).astype(dtype)
            solution = cg(A, b)
            assert solution.status == (Status.NOT_POSITIVE_DEFINITE,)
            assert np.abs(solution.x).max() <= 10

    def test_negative_definite(self, library: SimpleNamespace) -> None:
        solution = cg(lambda x: -1.0 * x, library.array(np.ones(4)))
        assert solution.status == (Status.NOT_POSITIVE_DEFINITE,)
        assert library.numpy(solution.x).tolist() == [0.0] * 4
        assert solution.relative_residual == (1.0,)

    def test_zero_operator(self, library: SimpleNamespace) -> None:
        solution = cg(lambda x: 0.0 * x, library.array(np.ones(4)))
        assert solution.status == (Status.NOT_POSITIVE_DEFINITE,)

    def test_negative_preconditioner(self, library: SimpleNamespace) -> None:
        solution = cg(lambda x: 2.0 * x, library.array(np.ones(4)), M=lambda r: -1.0 * r)
        assert solution.status == (Status.NOT_POSITIVE_DEFINITE,)

    def test_preconditioner_that_turns_negative(self) -> None:
        d = np.array([1.0, 2.0, 3.0])
        M = np.diag([1.0, 1.0, -0.2])
        solution = cg(np.diag(d), np.array([1.0, 1.0, 0.1]), M=M, rtol=1e-12)
        assert solution.status == (Status.NOT_POSITIVE_DEFINITE,)
        assert np.isfinite(solution.x).all()

    def test_iteration_limit(self, library: SimpleNamespace) -> None:
        d = library.array(np.geomspace(1e-3, 1, 50))
        solution = cg(lambda x: d * x, library.array(np.ones(50)), maxiter=7)
        assert solution.status == (Status.MAX_ITERATIONS,)
        assert solution.iterations == (7,)
        assert len(solution.history[0]) == 8
        assert not solution.converged
        none = cg(lambda x: d * x, library.array(np.ones(50)), maxiter=0)
        assert none.status == (Status.MAX_ITERATIONS,)
        assert none.iterations == (0,)

    def test_singular_but_consistent(self, library: SimpleNamespace) -> None:
        d = np.array([0.0, 1.0, 2.0, 3.0])
        solution = cg(library.array(np.diag(d)), library.array(np.array([0.0, 1.0, 1.0, 1.0])))
        assert solution.converged
        np.testing.assert_allclose(library.numpy(solution.x), [0.0, 1.0, 0.5, 1 / 3], rtol=1e-6)

    def test_stagnation_is_admitted(self) -> None:
        """In single precision with condition 1e4 no iterate reaches 1e-9, whatever r_k says."""
        d = np.geomspace(1e-4, 1, 50).astype(np.float32)
        solution = cg(np.diag(d), np.ones(50, np.float32), rtol=1e-9, maxiter=5000)
        assert solution.status == (Status.STAGNATION,)
        exact = np.linalg.norm(1 - d.astype(np.float64) * solution.x)
        assert solution.residual_norm[0] == pytest.approx(exact, rel=0.5)
        assert solution.relative_residual[0] < 1e-5
        assert min(solution.history[0]) < 1e-9 * np.sqrt(50)

    def test_restart_meets_a_tolerance_that_drift_had_missed(self) -> None:
        d = np.geomspace(1e-4, 1, 60).astype(np.float32)
        b = np.ones(60, np.float32)
        solution = cg(np.diag(d), b, rtol=3e-7, maxiter=5000)
        assert solution.converged
        exact = np.linalg.norm(1 - d.astype(np.float64) * solution.x) / np.sqrt(60)
        assert exact <= 2 * 3e-7
        assert solution.n_operator > solution.iterations[0] + 1


class TestArguments:
    def test_start_is_used_and_kept(self, library: SimpleNamespace) -> None:
        d = np.arange(1.0, 11.0)
        A, b = library.array(np.diag(d)), library.array(np.ones(10))
        x0 = library.array(1 / d)
        solution = cg(A, b, x0=x0)
        assert solution.iterations == (0,)
        assert solution.converged
        near = cg(A, b, x0=library.array(1 / d + 1e-5), rtol=1e-4)
        assert near.iterations == (0,)
        far = cg(A, b, x0=library.array(np.full(10, 1e3)), rtol=1e-9)
        np.testing.assert_allclose(library.numpy(far.x), 1 / d, rtol=1e-7)
        np.testing.assert_array_equal(library.numpy(x0), 1 / d)

    def test_arguments_are_not_overwritten(self, library: SimpleNamespace) -> None:
        b, x0 = library.array(np.ones(5)), library.array(np.full(5, 0.3))
        d = library.array(np.arange(1.0, 6.0))
        cg(lambda x: d * x, b, x0=x0)
        assert library.numpy(b).tolist() == [1.0] * 5
        assert library.numpy(x0).tolist() == [0.3] * 5

    def test_operators_may_return_their_argument(self, library: SimpleNamespace) -> None:
        b = library.array(np.array([1.0, 2.0]))
        solution = cg(lambda x: x, b, M=lambda r: r)
        assert library.numpy(solution.x).tolist() == [1.0, 2.0]
        assert solution.iterations == (1,)

    def test_perfect_preconditioner(self, library: SimpleNamespace) -> None:
        d = library.array(np.geomspace(1e-5, 1, 40))
        solution = cg(lambda x: d * x, library.array(np.ones(40)), M=lambda r: r / d)
        assert solution.iterations[0] <= 2
        assert solution.converged
        assert solution.n_preconditioner >= 1

    def test_preconditioned_answer(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A = definite(rng, np.geomspace(1e-3, 1, 30))
        M = definite(rng, np.linspace(1, 3, 30))
        b = _draw(rng, (30,), np.complex128)
        solution = cg(library.array(A), library.array(b), M=library.array(M), rtol=1e-12)
        assert _relative(library.numpy(solution.x), np.linalg.solve(A, b)) <= 1e-9

    def test_absolute_tolerance(self, library: SimpleNamespace) -> None:
        d = library.array(np.geomspace(1e-3, 1, 50))
        b = library.array(np.full(50, 1e-6))
        solution = cg(lambda x: d * x, b, rtol=0.0, atol=1e-6)
        assert solution.converged
        assert 1e-8 < solution.residual_norm[0] <= 1e-6

    def test_callback_sees_every_iterate(self, library: SimpleNamespace) -> None:
        seen: list[tuple[int, Array]] = []
        d = library.array(np.arange(1.0, 6.0))
        solution = cg(
            lambda x: d * x,
            library.array(np.full(5, 3e-7)),
            callback=lambda k, x: seen.append((k, library.numpy(x))),
        )
        assert [k for k, _ in seen] == list(range(1, solution.iterations[0] + 1))
        np.testing.assert_array_equal(seen[-1][1], library.numpy(solution.x))
        assert not np.array_equal(seen[0][1], seen[1][1])

    @pytest.mark.parametrize("check_every", [2, 7, 1000])
    def test_rare_checks_change_nothing(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make, check_every: int
    ) -> None:
        spectra = [np.linspace(1, c, 20) for c in (1.5, 10, 300)]
        A = library.array(np.stack([definite(rng, spectrum) for spectrum in spectra]))
        b = library.array(_draw(rng, (3, 20), np.complex128))
        often = cg(A, b, n_batch_axes=1)
        seldom = cg(A, b, n_batch_axes=1, check_every=check_every)
        np.testing.assert_array_equal(library.numpy(often.x), library.numpy(seldom.x))
        assert often.iterations == seldom.iterations
        assert often.status == seldom.status

    def test_counts_every_application(self) -> None:
        calls: list[int] = []
        solution = cg(
            lambda x: calls.append(1) or np.arange(1.0, 6.0) * x, np.ones(5), x0=np.ones(5)
        )
        assert solution.n_operator == len(calls) == solution.iterations[0] + 2

    def test_gradients_do_not_grow(self) -> None:
        b = torch.ones(4, requires_grad=True)
        solution = cg(lambda x: 2.0 * x, b)
        assert not solution.x.requires_grad

    def test_accepts_sparse_and_linear_operators(self, rng: np.random.Generator) -> None:
        dense = np.diag(np.arange(1.0, 11.0)) + 0.1
        b = rng.normal(size=(3, 10))
        exact = np.linalg.solve(dense, b.T).T
        for A in (
            dense,
            scipy.sparse.csr_array(dense),
            scipy.sparse.csc_matrix(dense),
            scipy.sparse.linalg.aslinearoperator(dense),
        ):
            many = cg(A, b, rtol=1e-12, n_batch_axes=1)
            np.testing.assert_allclose(many.x, exact, rtol=1e-9, atol=1e-12)
            one = cg(A, b[0], rtol=1e-12)
            np.testing.assert_allclose(one.x, exact[0], rtol=1e-9, atol=1e-12)
        sparse = torch.from_numpy(dense).to_sparse()
        found = cg(sparse, torch.from_numpy(b), rtol=1e-12, n_batch_axes=1)
        np.testing.assert_allclose(found.x.numpy(), exact, rtol=1e-9, atol=1e-12)

    def test_accepts_an_object_with_forward(self) -> None:
        A = SimpleNamespace(forward=lambda x: 2.0 * x, adjoint=lambda x: 2.0 * x)
        assert cg(A, np.ones(2)).x.tolist() == [0.5, 0.5]

    def test_unknown_may_have_any_shape(self, library: SimpleNamespace) -> None:
        d = library.array(np.arange(1.0, 25.0).reshape(2, 3, 4))
        b = library.array(np.ones((2, 3, 4)))
        for n_batch_axes in range(3):
            solution = cg(lambda x: d * x, b, rtol=1e-10, n_batch_axes=n_batch_axes)
            assert len(solution.status) == [1, 2, 6][n_batch_axes]
            np.testing.assert_allclose(
                library.numpy(solution.x), 1 / np.arange(1.0, 25.0).reshape(2, 3, 4), rtol=1e-8
            )

    def test_declared_operators_must_be_definite(self) -> None:
        tag = SimpleNamespace(name="ISOMETRY")
        plain = SimpleNamespace(forward=lambda x: x, adjoint=lambda x: x, tags=[tag])
        with pytest.raises(SolverError, match=r"A expected .* positive semidefinite .*use cgls"):
            cg(plain, np.ones(2))
        with pytest.raises(SolverError, match="M expected a self-adjoint"):
            cg(lambda x: x, np.ones(2), M=plain)

        class Tag(Enum):
            POSITIVE_SEMIDEFINITE = "declared"

        gram = SimpleNamespace(forward=lambda x: 2.0 * x, adjoint=None, tags=frozenset(Tag))
        assert cg(gram, np.ones(2)).converged

    def test_messages(self, library: SimpleNamespace) -> None:
        b = library.array(np.ones(3))
        one = library.array(np.ones((2, 2)))
        for call, message in (
            (lambda: cg(lambda x: x[:2], b), r"A expected to return \(3,\) .*float64, got \(2,\)"),
            (lambda: cg(one, b), "A has 2 columns, but an unknown has 3 entries"),
            (lambda: cg(library.array(np.ones(3)), b), r"A expected a matrix \(m, n\) or one a"),
            (lambda: cg("A", b), "A expected a function, a matrix or an object .* got str"),
            (lambda: cg(lambda x: x, b, M=3), "M expected a function, a matrix .* got int"),
            (lambda: cg(lambda x: x, b, x0=one), r"x0 expected shape \(3,\) and .*got \(2, 2\)"),
            (lambda: cg(lambda x: x, b, rtol=-1.0), "rtol expected a number >= 0, got -1.0"),
            (lambda: cg(lambda x: x, b, atol=np.nan), "atol expected a number >= 0, got nan"),
            (lambda: cg(lambda x: x, b, maxiter=-1), "maxiter expected a number >= 0, got -1"),
            (lambda: cg(lambda x: x, b, check_every=0), "check_every expected a number >= 1"),
            (lambda: cg(lambda x: x, b, n_batch_axes=2), "n_batch_axes expected 0 to 1"),
        ):
            with pytest.raises(SolverError, match=message):
                call()

    def test_results_keep_the_precision(self, library: SimpleNamespace) -> None:
        wide = library.array(np.ones(3))
        narrow = library.array(np.ones(3, np.float32))
        with pytest.raises(SolverError, match=r"A expected to return \(3,\) .*float32, got .*64"):
            cg(lambda _: wide, narrow)

    def test_complex_operator_needs_complex_data(self, library: SimpleNamespace) -> None:
        A = library.array(np.array([[2.0, 1j], [-1j, 2.0]]))
        with pytest.raises(SolverError, match=r"A is complex .* Convert the right-hand side"):
            cg(A, library.array(np.ones(2)))


def test_unverified_solve_saves_one_application_and_reports_the_recurrence() -> None:
    rng = np.random.default_rng(3)
    factor = rng.standard_normal((40, 40))
    A = factor @ factor.T + 40 * np.eye(40)
    b = rng.standard_normal((3, 40))
    kwargs = {"rtol": 1e-8, "n_batch_axes": 1}
    checked, trusted = cg(A, b, **kwargs), cg(A, b, verify=False, **kwargs)
    assert trusted.n_operator == checked.n_operator - 1
    assert np.array_equal(trusted.x, checked.x)
    assert trusted.status == checked.status == (Status.CONVERGED,) * 3
    residual = np.linalg.norm(b - trusted.x @ A.T, axis=1)
    np.testing.assert_allclose(trusted.residual_norm, residual, rtol=1e-4)
