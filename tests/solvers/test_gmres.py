"""GMRES against dense solves and least squares over the Krylov space."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

from solvers import SolverError, Status, gmres

Array = NDArray[np.generic]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    x = rng.normal(size=shape)
    if np.issubdtype(dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


def _shifted(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    """Nonsymmetric matrices with their spectrum in a disc around 3."""
    n = shape[-1]
    return (3 * np.eye(n) + _draw(rng, shape, dtype) / np.sqrt(n)).astype(dtype)


def _laplacian(n: int) -> scipy.sparse.csr_array:
    one = scipy.sparse.diags_array(
        [-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]
    )
    eye = scipy.sparse.eye_array(n)
    return scipy.sparse.csr_array(scipy.sparse.kron(one, eye) + scipy.sparse.kron(eye, one))


def _wind(n: int) -> scipy.sparse.csr_array:
    """Upwind convection along both axes, added to diffusion: far from symmetric."""
    slope = scipy.sparse.diags_array([-np.ones(n - 1), np.ones(n)], offsets=[-1, 0])
    eye = scipy.sparse.eye_array(n)
    flow = scipy.sparse.kron(slope, eye) + 0.5 * scipy.sparse.kron(eye, slope)
    return scipy.sparse.csr_array(_laplacian(n) + 2.0 * flow)


def _waves(n: int) -> scipy.sparse.csr_array:
    """Indefinite Helmholtz: some eigenvalues of each sign."""
    return scipy.sparse.csr_array(_laplacian(n) - 0.35 * scipy.sparse.eye_array(n * n))


def _least_norms(A: Array, M: Array, b: Array, n_steps: int) -> list[float]:
    """Minimise || b - A M y || over each Krylov space of A M by dense least squares."""
    basis = b[:, None] / np.linalg.norm(b)
    norms = [float(np.linalg.norm(b))]
    for _ in range(n_steps):
        y = np.linalg.lstsq(A @ M @ basis, b, rcond=None)[0]
        norms.append(float(np.linalg.norm(b - A @ M @ basis @ y)))
        basis, _ = np.linalg.qr(np.column_stack([basis, A @ (M @ basis[:, -1])]))
    return norms


@pytest.mark.parametrize("dtype", DTYPES)
class TestAnswer:
    @pytest.mark.parametrize("check_every", [1, 7])
    def test_solves(
        self, library: SimpleNamespace, rng: np.random.Generator, dtype: type, check_every: int
    ) -> None:
        A, b = _shifted(rng, (60, 60), dtype), _draw(rng, (60,), dtype)
        rtol = 1e-11 if np.finfo(dtype).eps < 1e-10 else 1e-5
        solution = gmres(
            library.array(A), library.array(b), rtol=rtol, restart=8, check_every=check_every
        )
        exact = np.linalg.solve(A.astype(np.complex128), b)
        found = library.numpy(solution.x)
        assert solution.status == (Status.CONVERGED,)
        assert solution.iterations[0] > 8
        assert found.dtype == np.dtype(dtype)
        assert np.linalg.norm(found - exact) <= 3 * rtol * np.linalg.norm(exact)
        true = np.linalg.norm(b - A.astype(np.complex128) @ found)
        assert solution.residual_norm[0] == pytest.approx(true, rel=0.1)

    def test_minimises_over_the_krylov_space(
        self, library: SimpleNamespace, rng: np.random.Generator, dtype: type
    ) -> None:
        A, b = _shifted(rng, (30, 30), dtype), _draw(rng, (30,), dtype)
        M = np.diag(rng.uniform(0.5, 2, 30)).astype(dtype)
        solution = gmres(
            library.array(A), library.array(b), M=library.array(M), rtol=0.0, maxiter=10
        )
        wide = [a.astype(np.complex128) for a in (A, M, b)]
        expected = _least_norms(wide[0], wide[1], wide[2], 10)
        tolerance = 1e-10 if np.finfo(dtype).eps < 1e-10 else 1e-3
        np.testing.assert_allclose(solution.history[0], expected, rtol=tolerance)
        assert solution.status == (Status.MAX_ITERATIONS,)

    @pytest.mark.parametrize("scale", [1e-20, 1e-8, 1e8, 1e20])
    def test_does_not_depend_on_the_units(
        self, library: SimpleNamespace, rng: np.random.Generator, dtype: type, scale: float
    ) -> None:
        A, b = _shifted(rng, (40, 40), dtype), _draw(rng, (40,), dtype)
        solution = gmres(library.array(A), library.array((scale * b).astype(dtype)), rtol=1e-5)
        exact = np.linalg.solve(A.astype(np.complex128), b.astype(np.complex128))
        found = library.numpy(solution.x).astype(np.complex128) / scale
        assert solution.status == (Status.CONVERGED,)
        assert np.linalg.norm(found - exact) <= 3e-5 * np.linalg.norm(exact)


@pytest.mark.parametrize("make", [_laplacian, _wind, _waves])
@pytest.mark.parametrize("restart", [20, 400])
def test_discretised_equations(
    library: SimpleNamespace,
    rng: np.random.Generator,
    make: Callable[[int], scipy.sparse.csr_array],
    restart: int,
) -> None:
    A = make(14)
    b = rng.normal(size=196)
    solution = gmres(
        lambda x: library.array(A @ library.numpy(x)),
        library.array(b),
        rtol=1e-9,
        restart=restart,
        maxiter=20000,
    )
    assert solution.status == (Status.CONVERGED,)
    residual = np.linalg.norm(b - A @ library.numpy(solution.x))
    assert residual <= 1.0001e-9 * np.linalg.norm(b)


def test_a_hundred_random_systems(rng: np.random.Generator) -> None:
    for _ in range(100):
        n = int(rng.integers(1, 60))
        A, b = _shifted(rng, (n, n), np.float64), rng.normal(size=n)
        solution = gmres(A, b, rtol=1e-8, restart=int(rng.integers(6, 40)))
        assert solution.status == (Status.CONVERGED,)
        assert np.linalg.norm(b - A @ solution.x) <= 1.0001e-8 * np.linalg.norm(b)


def test_counts_steps_like_scipy(rng: np.random.Generator) -> None:
    A, b = _wind(12), rng.normal(size=144)
    norms: list[float] = []
    scipy.sparse.linalg.gmres(
        A, b, rtol=0, restart=20, maxiter=2, callback=norms.append, callback_type="pr_norm"
    )
    solution = gmres(A, b, rtol=0.0, restart=20, maxiter=40)
    found = np.array(solution.history[0][1:]) / np.linalg.norm(b)
    np.testing.assert_allclose(found[: len(norms)], norms[:40], rtol=1e-8)


class TestPreconditioner:
    @pytest.mark.parametrize("flexible", [False, True])
    def test_stands_on_the_right(
        self, library: SimpleNamespace, rng: np.random.Generator, flexible: bool
    ) -> None:
        """The residual reported is that of A x = b, however badly M scales."""
        A, b = _shifted(rng, (40, 40), np.float64), rng.normal(size=40)
        M = np.diag(np.geomspace(1, 1e3, 40))
        solution = gmres(
            library.array(A),
            library.array(b),
            M=library.array(M),
            rtol=1e-8,
            restart=50,
            flexible=flexible,
        )
        assert solution.status == (Status.CONVERGED,)
        residual = np.linalg.norm(b - A @ library.numpy(solution.x))
        assert residual <= 1e-8 * np.linalg.norm(b)
        n = solution.iterations[0]
        assert solution.n_preconditioner == n + (0 if flexible else 1)
        assert solution.n_operator == n + 1

    def test_flexible_bears_an_inner_iteration(
        self, library: SimpleNamespace, rng: np.random.Generator
    ) -> None:
        A, b = _wind(14), rng.normal(size=196)

        def inner(r: Array) -> Array:
            start = library.numpy(r)
            x, _ = scipy.sparse.linalg.gmres(A, start, rtol=0.1, maxiter=1, restart=10)
            return library.array(x)

        solution = gmres(
            lambda x: library.array(A @ library.numpy(x)),
            library.array(b),
            M=inner,
            rtol=1e-10,
            flexible=True,
        )
        assert solution.status == (Status.CONVERGED,)
        assert solution.n_operator == solution.iterations[0] + 1  # no claim was false
        residual = np.linalg.norm(b - A @ library.numpy(solution.x))
        assert residual <= 1.0001e-10 * np.linalg.norm(b)


class TestBatch:
    def test_equals_its_systems_one_by_one(
        self, library: SimpleNamespace, rng: np.random.Generator
    ) -> None:
        A = _shifted(rng, (2, 2, 30, 30), np.complex128)
        A += np.array([0.0, 1.0, 5.0, 20.0]).reshape(2, 2, 1, 1) * np.eye(30)
        b = _draw(rng, (2, 2, 30), np.complex128)
        both = gmres(library.array(A), library.array(b), rtol=1e-9, restart=6, n_batch_axes=2)
        assert len(set(both.iterations)) >= 3
        for i, index in enumerate(np.ndindex(2, 2)):
            one = gmres(library.array(A[index]), library.array(b[index]), rtol=1e-9, restart=6)
            assert both.status[i] is one.status[0] is Status.CONVERGED
            assert both.iterations[i] == one.iterations[0]
            np.testing.assert_allclose(both.history[i], one.history[0], rtol=1e-6)
            found = library.numpy(both.x)[index] - library.numpy(one.x)
            assert np.linalg.norm(found) <= 1e-12 * np.linalg.norm(library.numpy(one.x))

    @pytest.mark.parametrize("check_every", [1, 4])
    @pytest.mark.parametrize("poison", ["b", "operator", "late"])
    def test_a_bad_system_harms_no_mate(
        self, library: SimpleNamespace, rng: np.random.Generator, poison: str, check_every: int
    ) -> None:
        A, b = _shifted(rng, (3, 30, 30), np.float64), rng.normal(size=(3, 30))
        alone = gmres(library.array(A), library.array(b), n_batch_axes=1, restart=6)
        bad_A, bad_b, calls = A.copy(), b.copy(), [0]
        if poison == "operator":
            bad_A[1, 3, 3] = np.nan
        elif poison == "b":
            bad_b[1, 3] = np.inf
        matrices = library.array(bad_A)
        broken = library.array(np.array([[1.0], [np.nan], [1.0]]))

        def apply(x: object) -> object:
            calls[0] += 1
            y = (matrices @ x[..., None])[..., 0]
            return y * broken if poison == "late" and calls[0] == 4 else y

        solution = gmres(
            apply, library.array(bad_b), n_batch_axes=1, restart=6, check_every=check_every
        )
        found, plain = library.numpy(solution.x), library.numpy(alone.x)
        if poison == "late":
            assert solution.status[1] is Status.BREAKDOWN
            assert solution.iterations[1] == 3
            assert np.isfinite(found).all()
            assert solution.relative_residual[1] < 1
        else:
            assert solution.status[1] is Status.NON_FINITE_INPUT
            assert np.isnan(found[1]).all()
        for i in (0, 2):
            assert solution.status[i] is Status.CONVERGED
            assert np.linalg.norm(found[i] - plain[i]) <= 1e-12 * np.linalg.norm(plain[i])


class TestStatus:
    def test_zero_right_hand_side(self, library: SimpleNamespace) -> None:
        solution = gmres(library.array(np.eye(4)), library.array(np.zeros(4)))
        assert solution.status == (Status.CONVERGED,)
        assert not library.numpy(solution.x).any()
        assert solution.n_operator == 0

    def test_happy_breakdown(self, library: SimpleNamespace) -> None:
        A = library.array(np.diag([2.0, 2.0, 5.0, 5.0, 5.0]))
        b = np.array([1.0, 3.0, 1.0, 0.0, 2.0])
        solution = gmres(A, library.array(b), rtol=1e-14)
        assert solution.status == (Status.CONVERGED,)
        assert solution.iterations == (2,)
        exact = b / np.array([2.0, 2.0, 5.0, 5.0, 5.0])
        np.testing.assert_allclose(library.numpy(solution.x), exact, rtol=1e-14)

    def test_singular_and_consistent(self, library: SimpleNamespace) -> None:
        A = np.diag([1.0, 2.0, 0.0])
        solution = gmres(library.array(A), library.array(np.array([1.0, 2.0, 0.0])), rtol=1e-12)
        assert solution.status == (Status.CONVERGED,)
        np.testing.assert_allclose(library.numpy(solution.x), [1.0, 1.0, 0.0], atol=1e-12)

    @pytest.mark.parametrize("diagonal", [(1.0, 2.0, 0.0), (0.0, 0.0, 0.0)])
    def test_singular_and_inconsistent(
        self, library: SimpleNamespace, diagonal: tuple[float, ...]
    ) -> None:
        A = library.array(np.diag(diagonal))
        solution = gmres(A, library.array(np.ones(3)))
        assert solution.status == (Status.BREAKDOWN,)
        least = np.sqrt(np.sum(np.array(diagonal) == 0))
        assert solution.residual_norm[0] == pytest.approx(least, rel=1e-12)

    def test_a_cycle_that_brings_nothing(self, library: SimpleNamespace) -> None:
        """The cyclic shift of 6: no progress before step 6."""
        A = library.array(np.roll(np.eye(6), 1, axis=0))
        b = library.array(np.eye(6)[0])
        stuck = gmres(A, b, restart=5, maxiter=100)
        assert stuck.status == (Status.STAGNATION,)
        assert stuck.iterations[0] <= 10
        whole = gmres(A, b, restart=6)
        assert whole.status == (Status.CONVERGED,)
        assert whole.iterations == (6,)

    def test_limit(self, library: SimpleNamespace, rng: np.random.Generator) -> None:
        A, b = _shifted(rng, (30, 30), np.float64), rng.normal(size=30)
        solution = gmres(library.array(A), library.array(b), restart=4, maxiter=6, check_every=4)
        assert solution.status == (Status.MAX_ITERATIONS,)
        assert solution.iterations == (6,)
        assert len(solution.history[0]) == 7

    def test_single_precision_is_honest(self, rng: np.random.Generator) -> None:
        A = np.diag(np.geomspace(1e-3, 1, 40)).astype(np.float32)
        b = rng.normal(size=40).astype(np.float32)
        solution = gmres(A, b, rtol=1e-12, restart=40)
        true = np.linalg.norm(b - A.astype(np.float64) @ solution.x)
        assert solution.status == (Status.STAGNATION,)
        assert solution.residual_norm[0] <= 3 * true + 1e-7 * np.linalg.norm(b)


class TestArguments:
    def test_start(self, library: SimpleNamespace, rng: np.random.Generator) -> None:
        A, b = _shifted(rng, (20, 20), np.float64), rng.normal(size=20)
        exact = np.linalg.solve(A, b)
        solution = gmres(library.array(A), library.array(b), x0=library.array(exact))
        assert solution.iterations == (0,)
        near = gmres(library.array(A), library.array(b), x0=library.array(exact + 1e-3), rtol=1e-10)
        assert near.status == (Status.CONVERGED,)
        np.testing.assert_allclose(library.numpy(near.x), exact, rtol=1e-8)

    def test_callback_sees_every_iterate(
        self, library: SimpleNamespace, rng: np.random.Generator
    ) -> None:
        A, b = _shifted(rng, (20, 20), np.float64), rng.normal(size=20)
        seen: list[tuple[int, float]] = []

        def note(iteration: int, x: object) -> None:
            seen.append((iteration, float(np.linalg.norm(b - A @ library.numpy(x)))))

        solution = gmres(
            library.array(A), library.array(b), restart=5, maxiter=12, rtol=0.0, callback=note
        )
        assert [k for k, _ in seen] == list(range(1, 13))
        np.testing.assert_allclose([r for _, r in seen], solution.history[0][1:], rtol=1e-9)

    def test_shapes_of_the_unknown(self, library: SimpleNamespace) -> None:
        weights = np.arange(1.0, 13.0).reshape(3, 4)
        D = library.array(weights)
        solution = gmres(lambda x: D * x, library.array(np.ones((3, 4))), rtol=1e-10)
        np.testing.assert_allclose(library.numpy(solution.x), 1 / weights, rtol=1e-8)

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_memory_layout(self, order: str) -> None:
        weights = np.arange(1.0, 13.0).reshape(3, 4)
        b = np.array(np.arange(12.0).reshape(3, 4), order=order)
        solution = gmres(lambda x: weights * x, b, rtol=1e-12)
        np.testing.assert_allclose(solution.x, b / weights, rtol=1e-10)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"restart": 0}, "restart expected a number of steps >= 1, got 0"),
            ({"rtol": -1.0}, "rtol expected"),
            ({"x0": np.ones(3)}, "x0 expected shape"),
            ({"n_batch_axes": 2}, "n_batch_axes expected"),
        ],
    )
    def test_refuses(self, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(SolverError, match=message):
            gmres(np.eye(4), np.ones(4), **arguments)
