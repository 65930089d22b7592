"""CGLS against dense least squares: answers, damping, noise, statuses, batches."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from solvers import SolverError, Status, cg, cgls

Array = NDArray[np.generic]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    x = rng.normal(size=shape)
    if np.issubdtype(dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


def _exact(A: Array, b: Array, damp: float = 0.0) -> Array:
    wide = np.complex128
    n = A.shape[1]
    tall = np.vstack([A.astype(wide), damp * np.eye(n)])
    return np.linalg.lstsq(tall, np.concatenate([b.astype(wide), np.zeros(n)]), rcond=None)[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "damp"), [((30, 20), 0.0), ((20, 20), 1.0), ((10, 20), 0.7)])
def test_minimises(
    library: SimpleNamespace,
    rng: np.random.Generator,
    shape: tuple[int, int],
    damp: float,
    dtype: type,
) -> None:
    A, b = _draw(rng, shape, dtype), _draw(rng, shape[:1], dtype)
    is_double = np.finfo(dtype).eps < 1e-10
    solution = cgls(
        library.array(A), None, library.array(b), damp=damp, rtol=1e-12 if is_double else 1e-6
    )
    exact = _exact(A, b, damp)
    found = library.numpy(solution.x)
    assert solution.status == (Status.CONVERGED,)
    assert found.dtype == np.dtype(dtype)
    assert np.linalg.norm(found - exact) <= (1e-10 if is_double else 1e-4) * np.linalg.norm(exact)
    misfit = np.linalg.norm(b.astype(np.complex128) - A.astype(np.complex128) @ found)
    assert solution.data_residual_norm[0] == pytest.approx(misfit, rel=1e-4)


def test_minimum_norm_of_an_underdetermined_problem(
    library: SimpleNamespace, rng: np.random.Generator
) -> None:
    A, b = _draw(rng, (5, 12), np.complex128), _draw(rng, (5,), np.complex128)
    solution = cgls(library.array(A), None, library.array(b), rtol=1e-12)
    np.testing.assert_allclose(library.numpy(solution.x), np.linalg.pinv(A) @ b, rtol=1e-8)


def test_reports_the_true_gradient(rng: np.random.Generator) -> None:
    A, b = _draw(rng, (30, 20), np.complex64), _draw(rng, (30,), np.complex64)
    for maxiter in (2, 100):
        solution = cgls(A, None, b, damp=0.3, maxiter=maxiter)
        wide, x = A.astype(np.complex128), solution.x.astype(np.complex128)
        gradient = np.linalg.norm(wide.conj().T @ (b - wide @ x) - 0.09 * x)
        slack = 1e-6 * np.linalg.norm(wide.conj().T @ b)
        assert abs(solution.residual_norm[0] - gradient) <= 0.5 * gradient + slack
        assert solution.relative_residual[0] == pytest.approx(
            solution.residual_norm[0] / np.linalg.norm(wide.conj().T @ b), rel=1e-4
        )


def test_walks_as_cg_on_the_normal_equations(rng: np.random.Generator) -> None:
    A, b = _draw(rng, (30, 20), np.complex128), _draw(rng, (30,), np.complex128)
    theirs: list[Array] = []
    ours: list[Array] = []
    gram = A.conj().T @ A + 0.25 * np.eye(20)
    cg(gram, A.conj().T @ b, rtol=0.0, maxiter=6, callback=lambda _, x: theirs.append(x))
    cgls(A, None, b, damp=0.5, rtol=0.0, maxiter=6, callback=lambda _, x: ours.append(x))
    for mine, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-9, atol=1e-12)


def test_agrees_with_lsqr(rng: np.random.Generator) -> None:
    A, b = _draw(rng, (40, 25), np.float64), _draw(rng, (40,), np.float64)
    expected = scipy.sparse.linalg.lsqr(A, b, damp=0.8, atol=1e-14, btol=1e-14)[0]
    found = cgls(scipy.sparse.csr_array(A), None, b, damp=0.8, rtol=1e-12).x
    np.testing.assert_allclose(found, expected, rtol=1e-8)


class TestNoise:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_stops_at_the_first_iterate_within_the_noise(
        self, library: SimpleNamespace, rng: np.random.Generator, dtype: type
    ) -> None:
        A, clean = _draw(rng, (60, 40), dtype), _draw(rng, (40,), dtype)
        noise = 0.5 * _draw(rng, (60,), dtype)
        b = (A @ clean + noise).astype(dtype)
        level = float(np.linalg.norm(noise))
        misfits = [float(np.linalg.norm(b))]

        def note(_: int, x: object) -> None:
            misfits.append(float(np.linalg.norm(b - A @ library.numpy(x))))

        solution = cgls(
            library.array(A),
            None,
            library.array(b),
            rtol=0.0,
            maxiter=100,
            noise_norm=level,
            callback=note,
        )
        assert solution.status == (Status.DISCREPANCY,)
        assert misfits[-1] <= level * (1 + 1e-5)
        assert misfits[-2] > level * (1 - 1e-5)
        assert solution.data_residual_norm[0] == pytest.approx(misfits[-1], rel=1e-4)

    def test_each_system_has_its_own(
        self, library: SimpleNamespace, rng: np.random.Generator
    ) -> None:
        A, b = _draw(rng, (3, 20, 15), np.complex128), _draw(rng, (3, 20), np.complex128)
        floor = [np.linalg.norm(b[i] - A[i] @ _exact(A[i], b[i])) for i in range(3)]
        levels = np.array([1.01, 1.1, 1.5]) * floor
        solution = cgls(
            library.array(A),
            None,
            library.array(b),
            rtol=0.0,
            n_batch_axes=1,
            noise_norm=levels,
        )
        assert solution.status == (Status.DISCREPANCY,) * 3
        assert (np.array(solution.data_residual_norm) <= levels).all()
        assert len(set(solution.iterations)) > 1

    def test_unreachable_noise_ends_in_convergence(self, rng: np.random.Generator) -> None:
        A, b = _draw(rng, (20, 5), np.float64), _draw(rng, (20,), np.float64)
        assert cgls(A, None, b, noise_norm=1e-3).status == (Status.CONVERGED,)


class TestStatus:
    def test_zero_data(self, library: SimpleNamespace) -> None:
        A = library.array(np.ones((3, 2)))
        for x0 in (None, library.array(np.ones(2))):
            solution = cgls(A, None, library.array(np.zeros(3)), x0=x0)
            assert library.numpy(solution.x).tolist() == [0.0, 0.0]
            assert solution.status == (Status.CONVERGED,)
            assert solution.iterations == (0,)

    def test_data_outside_the_range(self, library: SimpleNamespace) -> None:
        A = library.array(np.array([[1.0], [0.0]]))
        solution = cgls(A, None, library.array(np.array([0.0, 2.0])))
        assert solution.status == (Status.CONVERGED,)
        assert solution.data_residual_norm == (2.0,)

    def test_nan(self, library: SimpleNamespace) -> None:
        A = library.array(np.ones((2, 2)))
        solution = cgls(A, None, library.array(np.array([1.0, np.nan])))
        assert solution.status == (Status.NON_FINITE_INPUT,)
        assert np.isnan(library.numpy(solution.x)).all()
        bad = library.array(np.array([[1.0, np.nan], [0.0, 1.0]]))
        assert cgls(bad, None, library.array(np.ones(2))).status == (Status.NON_FINITE_INPUT,)

    def test_wrong_adjoint_is_not_called_success(self, library: SimpleNamespace) -> None:
        A = library.array(np.array([[1.0, 0.0], [0.0, 0.0]]))
        solution = cgls(A, lambda y: -1.0 * y, library.array(np.ones(2)), maxiter=20)
        assert not solution.converged

    def test_no_curvature_is_a_breakdown(self, library: SimpleNamespace) -> None:
        """Only a wrong adjoint can point where A is blind."""
        solution = cgls(lambda x: 0.0 * x, lambda y: y, library.array(np.ones(2)))
        assert solution.status == (Status.BREAKDOWN,)
        assert library.numpy(solution.x).tolist() == [0.0, 0.0]

    @pytest.mark.parametrize("check_every", [1, 3])
    def test_nan_on_the_way_keeps_the_last_good_iterate(
        self, library: SimpleNamespace, rng: np.random.Generator, check_every: int
    ) -> None:
        A, b = _draw(rng, (2, 20, 15), np.float64), _draw(rng, (2, 20), np.float64)
        matrices, calls = library.array(A), [0]
        broken = library.array(np.array([[1.0], [np.nan]]))

        def forward(x: object) -> object:
            calls[0] += 1
            y = (matrices @ x[..., None])[..., 0]
            return y * broken if calls[0] == 5 else y

        adjoint = library.array(A.swapaxes(1, 2))
        solution = cgls(forward, adjoint, library.array(b), n_batch_axes=1, check_every=check_every)
        assert solution.status == (Status.CONVERGED, Status.BREAKDOWN)
        kept = 4 if check_every == 1 else 3
        short = cgls(matrices, None, library.array(b), n_batch_axes=1, maxiter=kept)
        np.testing.assert_allclose(
            library.numpy(solution.x)[1], library.numpy(short.x)[1], rtol=1e-12
        )

    @pytest.mark.parametrize("check_every", [1, 4])
    def test_a_bad_system_harms_no_mate(
        self, library: SimpleNamespace, rng: np.random.Generator, check_every: int
    ) -> None:
        A, b = _draw(rng, (4, 20, 15), np.complex128), _draw(rng, (4, 20), np.complex128)
        alone = cgls(
            library.array(A), None, library.array(b), n_batch_axes=1, check_every=check_every
        )
        bad_A, bad_b = A.copy(), b.copy()
        bad_A[1, 2, 3] = np.inf
        bad_b[2, 0] = np.nan
        mixed = cgls(
            library.array(bad_A),
            None,
            library.array(bad_b),
            n_batch_axes=1,
            check_every=check_every,
        )
        assert mixed.status == (
            Status.CONVERGED,
            Status.NON_FINITE_INPUT,
            Status.NON_FINITE_INPUT,
            Status.CONVERGED,
        )
        for i in (0, 3):
            np.testing.assert_allclose(
                library.numpy(mixed.x)[i], library.numpy(alone.x)[i], rtol=1e-13
            )


class TestArguments:
    def test_start(self, library: SimpleNamespace, rng: np.random.Generator) -> None:
        A, b = _draw(rng, (20, 15), np.complex128), _draw(rng, (20,), np.complex128)
        exact = _exact(A, b)
        there = cgls(library.array(A), None, library.array(b), x0=library.array(exact))
        assert there.iterations == (0,)
        far = cgls(
            library.array(A), None, library.array(b), x0=library.array(100 * exact), rtol=1e-11
        )
        np.testing.assert_allclose(library.numpy(far.x), exact, rtol=1e-8)

    def test_functions_operators_and_matrices(self, rng: np.random.Generator) -> None:
        A, b = _draw(rng, (2, 7, 5), np.float64)[0], _draw(rng, (3, 7), np.float64)
        exact = np.stack([_exact(A, row).real for row in b])
        operator = SimpleNamespace(forward=lambda x: x @ A.T, adjoint=lambda y: y @ A)
        for given_A, given_AH in (
            (A, None),
            (A, A.T),
            (lambda x: x @ A.T, lambda y: y @ A),
            (operator, None),
            (scipy.sparse.csr_array(A), None),
            (scipy.sparse.linalg.aslinearoperator(A), None),
        ):
            solution = cgls(given_A, given_AH, b, rtol=1e-12, n_batch_axes=1)
            np.testing.assert_allclose(solution.x, exact, rtol=1e-8)

    def test_counts(self, rng: np.random.Generator) -> None:
        A, b = _draw(rng, (9, 5), np.float64), _draw(rng, (9,), np.float64)
        calls: list[int] = []
        solution = cgls(
            lambda x: calls.append(1) or A @ x, lambda y: calls.append(1) or A.T @ y, b, maxiter=3
        )
        assert solution.n_operator == len(calls) == 2 * 3 + 1 + 2

    def test_data_axes_are_free(self, library: SimpleNamespace) -> None:
        """Two coils see one image: the range has an axis that the unknown lacks."""
        gains = library.array(np.array([[[1.0], [2.0]]]))
        b = library.array(np.ones((4, 2, 3)))
        solution = cgls(
            lambda x: gains * x[:, None, :],
            lambda y: y[:, 0, :] + 2.0 * y[:, 1, :],
            b,
            n_batch_axes=1,
        )
        np.testing.assert_allclose(library.numpy(solution.x), np.full((4, 3), 0.6), rtol=1e-9)

    def test_messages(self) -> None:
        b = np.ones(2)
        for call, message in (
            (lambda: cgls(lambda x: x, None, b), "adjoint of function is not known; pass it as AH"),
            (lambda: cgls(np.eye(2), None, b, damp=-1.0), "damp expected a finite number >= 0"),
            (lambda: cgls(np.eye(2), None, b, noise_norm=-1.0), "noise_norm expected finite"),
            (lambda: cgls(lambda x: x[:1], lambda y: y, b), r"A expected to return \(2,\)"),
            (lambda: cgls(np.eye(2), None, b, rtol=-1.0), "rtol expected a number >= 0"),
        ):
            with pytest.raises(SolverError, match=message):
                call()


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 10),
    st.integers(1, 10),
    st.floats(-8.0, 8.0).map(lambda exponent: 10.0**exponent),
    st.sampled_from(DTYPES),
)
def test_scales_with_the_data(seed: int, m: int, n: int, scale: float, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    A, b = _draw(rng, (m, n), dtype), _draw(rng, (m,), dtype)
    plain = cgls(A, None, b, damp=1.0, rtol=1e-5)
    scaled = cgls(A, None, (scale * b).astype(dtype), damp=1.0, rtol=1e-5)
    assert plain.converged
    assert scaled.converged
    exact = _exact(A, b, 1.0)
    for found in (plain.x.astype(np.complex128), scaled.x.astype(np.complex128) / scale):
        assert np.linalg.norm(found - exact) <= 1e-5 * np.linalg.norm(A.conj().T @ b) + 1e-12
