"""Minimal residuals against dense solves and SciPy: indefinite, singular, batched."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse.linalg
from numpy.typing import NDArray

from solvers import SolverError, Status, minres

Array = NDArray[np.generic]
Make = Callable[..., Array]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
MIXED = np.concatenate([np.linspace(-5, -0.5, 12), np.linspace(0.3, 8, 18)])


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    x = rng.normal(size=shape)
    if np.issubdtype(dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


def _relative(found: Array, exact: Array) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _is_double(dtype: type) -> bool:
    return bool(np.finfo(dtype).eps < 1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
class TestAnswer:
    @pytest.mark.parametrize("has_preconditioner", [False, True])
    def test_solves_indefinite_systems(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        definite: Make,
        dtype: type,
        has_preconditioner: bool,
    ) -> None:
        A, b = definite(rng, MIXED, dtype), _draw(rng, (30,), dtype)
        M = library.array(definite(rng, np.linspace(0.5, 2, 30), dtype))
        solution = minres(
            library.array(A),
            library.array(b),
            M=M if has_preconditioner else None,
            rtol=1e-11 if _is_double(dtype) else 4e-6,
        )
        found = library.numpy(solution.x)
        exact = np.linalg.solve(A.astype(np.complex128), b)
        assert solution.status == (Status.CONVERGED,)
        assert _relative(found, exact) <= (3e-10 if _is_double(dtype) else 1e-4)
        assert found.dtype == np.dtype(dtype)
        true = np.linalg.norm(b - A.astype(np.complex128) @ found)
        assert 0.5 * true <= solution.residual_norm[0] <= 2 * true

    def test_singular_systems_get_the_shortest_solution(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        eigenvalues = np.where(np.arange(30) % 5 == 0, 0.0, MIXED)
        A = definite(rng, eigenvalues, dtype)
        b = (A @ _draw(rng, (30,), dtype)).astype(dtype)
        rtol = 1e-10 if _is_double(dtype) else 1e-5
        solution = minres(library.array(A), library.array(b), rtol=rtol)
        shortest = np.linalg.pinv(A.astype(np.complex128), rcond=1e-5) @ b
        assert solution.status == (Status.CONVERGED,)
        assert _relative(library.numpy(solution.x), shortest) <= 100 * rtol

    def test_inconsistent_systems_get_a_least_squares_solution(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        eigenvalues = np.where(np.arange(30) % 5 == 0, 0.0, MIXED)
        A, b = definite(rng, eigenvalues, dtype), _draw(rng, (30,), dtype)
        solution = minres(library.array(A), library.array(b), maxiter=3000)
        shortest = np.linalg.pinv(A.astype(np.complex128), rcond=1e-5) @ b
        least = np.linalg.norm(b - A.astype(np.complex128) @ shortest)
        assert solution.status == (Status.BREAKDOWN,)
        assert solution.residual_norm[0] <= least * (1 + (1e-9 if _is_double(dtype) else 1e-2))
        assert solution.iterations[0] <= 120

    @pytest.mark.parametrize("scale", [1e-20, 1e-8, 1e8, 1e20])
    def test_does_not_depend_on_the_units(
        self, rng: np.random.Generator, definite: Make, dtype: type, scale: float
    ) -> None:
        A, b = definite(rng, MIXED, dtype), _draw(rng, (30,), dtype)
        scaled = minres(A, (scale * b).astype(dtype), rtol=1e-5)
        plain = minres(A, b, rtol=1e-5)
        assert scaled.status == (Status.CONVERGED,)
        assert abs(scaled.iterations[0] - plain.iterations[0]) <= 1
        assert _relative(scaled.x.astype(np.complex128) / scale, plain.x) <= 1e-3

    def test_iterates_are_those_of_scipy(
        self, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        """SciPy's is real; a Hermitian system is a symmetric one of real and imaginary parts."""
        A, b = definite(rng, MIXED, dtype), _draw(rng, (30,), dtype)
        d = np.linspace(0.5, 2, 30)
        real = np.block([[A.real, -A.imag], [A.imag, A.real]])
        for scale in (np.ones(30), d):
            expected: list[Array] = []
            found: list[Array] = []
            scipy.sparse.linalg.minres(
                real,
                np.r_[b.real, b.imag],
                M=np.diag(np.r_[scale, scale]),
                rtol=0.0,
                maxiter=9,
                callback=lambda x, out=expected: out.append(x[:30] + 1j * x[30:]),
            )
            M = np.diag(scale).astype(dtype)
            minres(
                A, b, M=M, rtol=0.0, maxiter=9, callback=lambda _, x, out=found: out.append(x * 1)
            )
            for mine, theirs in zip(found, expected, strict=True):
                assert _relative(mine, theirs) <= (1e-11 if _is_double(dtype) else 1e-3)

    def test_each_iterate_has_the_least_residual_of_its_space(
        self, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        A, b = definite(rng, MIXED, dtype), _draw(rng, (30,), dtype)
        wide, start = A.astype(np.complex128), _draw(rng, (30,), dtype)
        residuals: list[float] = []
        minres(
            A,
            b,
            x0=start,
            rtol=0.0,
            maxiter=8,
            callback=lambda _, x: residuals.append(float(np.linalg.norm(b - wide @ x))),
        )
        r0 = b - wide @ start
        basis = r0[:, None]
        for k, found in enumerate(residuals):
            if k:
                basis, _ = np.linalg.qr(np.column_stack([basis, wide @ basis[:, -1]]))
            image = wide @ basis
            best = np.linalg.norm(r0 - image @ np.linalg.lstsq(image, r0, rcond=None)[0])
            assert found == pytest.approx(best, rel=1e-10 if _is_double(dtype) else 1e-4)


class TestBatch:
    """Definite, indefinite, easy, singular and ill-conditioned systems side by side."""

    def _systems(self, rng: np.random.Generator, definite: Make) -> tuple[Array, Array]:
        spectra = [
            np.ones(30),
            MIXED,
            np.geomspace(1e-3, 1, 30),
            np.where(np.arange(30) % 5 == 0, 0.0, MIXED),
            -np.linspace(1, 4, 30),
            np.linspace(1, 2, 30),
        ]
        A = np.stack([definite(rng, spectrum) for spectrum in spectra])
        b = (A @ _draw(rng, (6, 30, 1), np.complex128))[..., 0]
        return A.reshape(2, 3, 30, 30), b.reshape(2, 3, 30)

    @pytest.mark.parametrize("check_every", [1, 4])
    def test_equals_its_systems_one_by_one(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make, check_every: int
    ) -> None:
        A, b = self._systems(rng, definite)
        M = np.diag(np.linspace(0.5, 2, 30)).astype(np.complex128)
        for m in (None, M):
            given = None if m is None else library.array(m)
            both = minres(
                library.array(A),
                library.array(b),
                M=given,
                rtol=1e-9,
                n_batch_axes=2,
                check_every=check_every,
            )
            assert len(set(both.iterations)) >= 4
            for i, index in enumerate(np.ndindex(2, 3)):
                one = minres(library.array(A[index]), library.array(b[index]), M=given, rtol=1e-9)
                assert both.status[i] is one.status[0] is Status.CONVERGED
                assert abs(both.iterations[i] - one.iterations[0]) <= 3
                assert both.relative_residual[i] <= 1e-9
                assert len(both.history[i]) == both.iterations[i] + 1
                difference = _relative(library.numpy(both.x)[index], library.numpy(one.x))
                assert difference <= 1e-5

    @pytest.mark.parametrize("check_every", [1, 3])
    @pytest.mark.parametrize("poison", ["data", "operator", "preconditioner", "late"])
    def test_a_bad_system_harms_no_mate(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        definite: Make,
        poison: str,
        check_every: int,
    ) -> None:
        A, b = self._systems(rng, definite)
        calls = [0]
        bad_b, bad_A = b.copy(), A.copy()
        if poison == "operator":
            bad_A[0, 1] = np.nan
        elif poison == "data":
            bad_b[0, 1, 3] = np.inf
        which = np.arange(6).reshape(2, 3, 1) == 1
        broken = library.array(np.where(which, np.nan, 1.0 + 0j))
        sign = library.array(np.where(which, -1.0, 1.0 + 0j))
        matrices = library.array(bad_A)

        def apply(x: object) -> object:
            calls[0] += 1
            y = (matrices @ x[..., None])[..., 0]
            return y * broken if poison == "late" and calls[0] == 4 else y

        options = {"n_batch_axes": 2, "check_every": check_every, "rtol": 1e-9}
        alone = minres(library.array(A), library.array(b), **options)
        solution = minres(
            apply,
            library.array(bad_b),
            M=(lambda r: sign * r) if poison == "preconditioner" else None,
            **options,
        )
        assert solution.status[1] is {
            "late": Status.BREAKDOWN,
            "preconditioner": Status.NOT_POSITIVE_DEFINITE,
        }.get(poison, Status.NON_FINITE_INPUT)
        found, plain = library.numpy(solution.x), library.numpy(alone.x)
        is_lost = solution.status[1] is Status.NON_FINITE_INPUT
        assert np.isnan(found[0, 1]).all() == is_lost
        assert np.isfinite(found[0, 1]).all() != is_lost
        for i, index in enumerate(np.ndindex(2, 3)):
            if i != 1:
                assert solution.status[i] is Status.CONVERGED
                assert _relative(found[index], plain[index]) <= 1e-5


class TestStatus:
    def test_zero_right_hand_side(self, library: SimpleNamespace) -> None:
        b = library.array(np.zeros(3))
        for x0 in (None, library.array(np.ones(3))):
            solution = minres(lambda x: 1.0 * x, b, x0=x0)
            assert library.numpy(solution.x).tolist() == [0.0, 0.0, 0.0]
            assert solution.status == (Status.CONVERGED,)
            assert solution.iterations == (0,)

    def test_right_hand_side_in_the_null_space(self, library: SimpleNamespace) -> None:
        """A constant against a difference operator with free ends."""
        A = np.diag(np.r_[1.0, 2 * np.ones(48), 1.0])
        A -= np.diag(np.ones(49), 1) + np.diag(np.ones(49), -1)
        for b in (np.ones(50), np.full(50, 1 / 3)):
            solution = minres(library.array(A), library.array(b))
            assert solution.status == (Status.BREAKDOWN,)
            assert solution.relative_residual[0] <= 1.0
            assert np.abs(library.numpy(solution.x)).max() <= 1e-6

    def test_nearly_singular_systems_are_solved(
        self, rng: np.random.Generator, definite: Make
    ) -> None:
        for small in (1e-6, 1e-8, 1e-9):
            A = definite(rng, np.r_[np.linspace(-4, 4, 100), small], np.float64)
            solution = minres(A, rng.normal(size=101), rtol=1e-5)
            assert solution.status == (Status.CONVERGED,)

    def test_indefinite_preconditioners_are_named(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A, b = definite(rng, MIXED), _draw(rng, (30,), np.complex128)
        signs = np.where(np.arange(30) == 3, -1.0, 1.0 + 0j)
        for d in (-np.ones(30, np.complex128), signs):
            M = library.array(np.diag(d))
            solution = minres(library.array(A), library.array(b), M=M)
            assert solution.status == (Status.NOT_POSITIVE_DEFINITE,)
            assert solution.relative_residual[0] <= 1.0
        semidefinite = library.array(np.diag(np.zeros(30, np.complex128)))
        solution = minres(library.array(A), library.array(b), M=semidefinite)
        assert solution.status == (Status.NOT_POSITIVE_DEFINITE,)

    def test_non_finite_input(self, library: SimpleNamespace) -> None:
        b = library.array(np.array([1.0, np.nan]))
        assert minres(lambda x: x, b).status == (Status.NON_FINITE_INPUT,)
        one, nan = library.array(np.ones(2)), float("nan")
        assert minres(lambda x: nan * x, one).status == (Status.NON_FINITE_INPUT,)
        assert minres(lambda x: x, one, M=lambda r: nan * r).status == (Status.NON_FINITE_INPUT,)

    def test_limit(self, rng: np.random.Generator, definite: Make) -> None:
        A, b = definite(rng, MIXED), _draw(rng, (30,), np.complex128)
        for maxiter in (0, 1, 7):
            solution = minres(A, b, rtol=1e-9, maxiter=maxiter)
            assert solution.status == (Status.MAX_ITERATIONS,)
            assert solution.iterations == (maxiter,)
            true = np.linalg.norm(b - A @ solution.x)
            assert solution.residual_norm[0] == pytest.approx(true, rel=1e-12)

    def test_single_precision_stagnates_honestly(
        self, rng: np.random.Generator, definite: Make
    ) -> None:
        A = definite(rng, np.geomspace(1e-4, 1, 60), np.float32)
        b = _draw(rng, (60,), np.float32)
        solution = minres(A, b, rtol=1e-10, maxiter=20000)
        assert solution.status == (Status.STAGNATION,)
        true = np.linalg.norm(b - A.astype(np.float64) @ solution.x)
        assert 0.3 * true <= solution.residual_norm[0] <= 3 * true


def test_counts_every_application() -> None:
    calls: list[int] = []
    d = np.array([1.0, -2.0, 3.0, -4.0, 5.0])
    solution = minres(lambda x: calls.append(1) or d * x, np.ones(5), x0=np.ones(5), M=lambda r: r)
    assert solution.n_operator == len(calls) == solution.iterations[0] + 2
    assert solution.n_preconditioner == solution.iterations[0] + 1


def test_arguments_are_not_overwritten(library: SimpleNamespace) -> None:
    """Operators may return their argument itself, and keep what they returned."""
    b, x0 = np.array([1.0, -2.0, 3.0]), np.ones(3)
    given, start = library.array(b), library.array(x0)
    solution = minres(lambda x: x, given, x0=start, M=lambda r: r)
    np.testing.assert_allclose(library.numpy(solution.x), b, rtol=1e-12)
    assert library.numpy(given).tolist() == b.tolist()
    assert library.numpy(start).tolist() == x0.tolist()


def test_messages(library: SimpleNamespace) -> None:
    b = library.array(np.ones(3))
    plain = SimpleNamespace(
        forward=lambda x: x, adjoint=lambda x: x, tags=[SimpleNamespace(name="ISOMETRY")]
    )
    with pytest.raises(SolverError, match=r"A expected a self-adjoint operator.* Use gmres"):
        minres(plain, b)
    with pytest.raises(SolverError, match="M expected a self-adjoint, positive"):
        minres(lambda x: x, b, M=plain)
    with pytest.raises(SolverError, match="rtol expected a number >= 0"):
        minres(lambda x: x, b, rtol=-1.0)
    declared = SimpleNamespace(
        forward=lambda x: -2.0 * x, tags=[SimpleNamespace(name="SELF_ADJOINT")]
    )
    assert minres(declared, b).converged
