"""GCRO-DR against dense solves, GMRES and minimisation over the recycled space."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

from solvers import (
    RecycleSpace,
    SolverError,
    Status,
    gcrodr,
    gmres,
    principal_angle,
    vectors_of,
)

Array = NDArray[np.generic]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    x = rng.normal(size=shape)
    if np.issubdtype(dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


def _slow(rng: np.random.Generator, n: int, dtype: type, low: float = 3e-2) -> Array:
    """A few small eigenvalues, far from normal, that a short restart cannot see."""
    spectrum = np.concatenate([np.geomspace(low, 0.3, 6), np.linspace(1, 4, n - 6)])
    basis = np.eye(n) + 0.3 * _draw(rng, (n, n), dtype) / np.sqrt(n)
    return (basis * spectrum @ np.linalg.inv(basis)).astype(dtype)


def _convection(n: int, speed: float) -> scipy.sparse.csr_array:
    """Upwind convection and diffusion on n^2 points."""
    two = scipy.sparse.diags_array(
        [-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]
    )
    one = scipy.sparse.diags_array([-np.ones(n - 1), np.ones(n)], offsets=[-1, 0])
    eye = scipy.sparse.eye_array(n)
    diffusion = scipy.sparse.kron(two, eye) + scipy.sparse.kron(eye, two)
    return scipy.sparse.csr_array(diffusion + speed * scipy.sparse.kron(one, eye))


@pytest.mark.parametrize("dtype", DTYPES)
class TestAnswer:
    @pytest.mark.parametrize("check_every", [1, 6])
    def test_solves_a_sequence(
        self, library: SimpleNamespace, rng: np.random.Generator, dtype: type, check_every: int
    ) -> None:
        rtol = 1e-10 if np.finfo(dtype).eps < 1e-10 else 1e-4
        A = _slow(rng, 60, dtype)
        space = RecycleSpace(6)
        costs = []
        for _ in range(4):
            A = A + 1e-3 * _draw(rng, A.shape, dtype) / 60
            b = _draw(rng, (60,), dtype)
            solution = gcrodr(
                library.array(A),
                library.array(b),
                rtol=rtol,
                m=16,
                k=6,
                recycle=space,
                check_every=check_every,
            )
            found = library.numpy(solution.x)
            true = np.linalg.norm(b - A.astype(np.complex128) @ found)
            assert solution.status == (Status.CONVERGED,)
            assert true <= 1.01 * rtol * np.linalg.norm(b)
            assert found.dtype == np.dtype(dtype)
            assert space.dim == 6
            costs.append(solution.n_operator)
        assert max(costs[1:]) < costs[0]

    def test_without_a_space_it_is_gmres(
        self, library: SimpleNamespace, rng: np.random.Generator, dtype: type
    ) -> None:
        A, b = _slow(rng, 60, dtype), _draw(rng, (60,), dtype)
        one = gcrodr(library.array(A), library.array(b), m=12, k=0, rtol=1e-4)
        other = gmres(library.array(A), library.array(b), restart=12, rtol=1e-4)
        np.testing.assert_allclose(one.history[0], other.history[0], rtol=1e-10)
        assert one.iterations == other.iterations
        assert one.iterations[0] > 24

    @pytest.mark.parametrize("scale", [1e-8, 1e8])
    def test_does_not_depend_on_the_units(
        self, library: SimpleNamespace, rng: np.random.Generator, dtype: type, scale: float
    ) -> None:
        A, b = _slow(rng, 50, dtype), _draw(rng, (50,), dtype)
        exact = np.linalg.solve(A.astype(np.complex128), b.astype(np.complex128))
        solution = gcrodr(
            library.array(A), library.array((scale * b).astype(dtype)), m=16, k=6, rtol=1e-4
        )
        error = library.numpy(solution.x).astype(np.complex128) / scale - exact
        assert solution.status == (Status.CONVERGED,)
        assert np.linalg.norm(error) <= 2e-2 * np.linalg.norm(exact)
        assert solution.relative_residual[0] <= 1e-4

    def test_a_cycle_minimises_over_both_spaces(
        self, library: SimpleNamespace, rng: np.random.Generator, dtype: type
    ) -> None:
        """One warm cycle against dense least squares over U and the Krylov space of (I - CC^H)A."""
        A, b = _slow(rng, 40, dtype), _draw(rng, (40,), dtype)
        space = RecycleSpace(5)
        gcrodr(library.array(A), library.array(_draw(rng, (40,), dtype)), m=15, k=5, recycle=space)
        wide = A.astype(np.complex128)
        C, _ = np.linalg.qr(wide @ space.columns())
        outside = np.eye(40) - C @ C.conj().T
        krylov = (outside @ b)[:, None]
        for _ in range(3):
            krylov = np.column_stack([krylov, outside @ wide @ krylov[:, -1]])
        basis = np.column_stack([space.columns(), krylov])
        least = b - wide @ basis @ np.linalg.lstsq(wide @ basis, b, rcond=None)[0]
        solution = gcrodr(
            library.array(A), library.array(b), m=15, k=5, recycle=space, rtol=0.0, maxiter=4
        )
        tolerance = 1e-9 if np.finfo(dtype).eps < 1e-10 else 1e-2
        assert solution.residual_norm[0] == pytest.approx(np.linalg.norm(least), rel=tolerance)
        assert solution.n_operator == 4 + 5 + 1  # steps, images, the final residual


class TestRecycling:
    def test_finds_the_slow_space(self, library: SimpleNamespace, rng: np.random.Generator) -> None:
        A = _slow(rng, 120, np.float64, low=1e-3)
        space = RecycleSpace(8)
        for _ in range(3):
            b = library.array(rng.normal(size=120))
            assert gcrodr(library.array(A), b, m=20, k=8, recycle=space, rtol=1e-10).converged
        values, vectors = np.linalg.eig(A)
        slow = np.real(vectors[:, np.argsort(np.abs(values))[:4]])
        assert principal_angle(space.columns(), slow) < 1e-3

    def test_beats_gmres_where_restarts_stall(self, rng: np.random.Generator) -> None:
        A, b = _convection(24, 0.2), rng.normal(size=576)
        plain = gmres(A, b, restart=20, rtol=1e-8, maxiter=5000)
        deflated = gcrodr(A, b, m=20, k=8, rtol=1e-8, maxiter=5000)
        full = gmres(A, b, restart=500, rtol=1e-8)
        assert deflated.converged
        assert full.iterations[0] <= deflated.iterations[0] < 0.75 * plain.iterations[0]

    def test_images_of_the_same_operator_cost_nothing(
        self, library: SimpleNamespace, rng: np.random.Generator
    ) -> None:
        A = library.array(_slow(rng, 80, np.complex128))
        space = RecycleSpace(6, same_operator=True)
        first = library.array(_draw(rng, (80,), np.complex128))
        gcrodr(A, first, m=16, k=6, recycle=space)
        b = library.array(_draw(rng, (80,), np.complex128))
        kept = gcrodr(A, b, m=16, k=6, recycle=space)
        assert kept.converged
        assert kept.n_operator == kept.iterations[0] + 1
        space.forget_images()
        again = gcrodr(A, b, m=16, k=6, recycle=space)
        assert again.n_operator == again.iterations[0] + 1 + 6
        assert abs(again.iterations[0] - kept.iterations[0]) <= 5

    def test_stale_images_cannot_falsify_the_answer(self, rng: np.random.Generator) -> None:
        """The caller broke the promise of one operator: slower perhaps, never wrong."""
        space = RecycleSpace(6, same_operator=True)
        gcrodr(_slow(rng, 60, np.float64), rng.normal(size=60), m=16, k=6, recycle=space)
        A, b = _slow(rng, 60, np.float64), rng.normal(size=60)
        solution = gcrodr(A, b, m=16, k=6, recycle=space, rtol=1e-8)
        true = np.linalg.norm(b - A @ solution.x)
        assert solution.residual_norm[0] == pytest.approx(true, rel=1e-3)
        assert solution.converged == (true <= 1.0001e-8 * np.linalg.norm(b))

    def test_dependent_vectors_are_dropped(self, rng: np.random.Generator) -> None:
        """An operator under which the recycled vectors have two images between them."""
        space = RecycleSpace(5)
        gcrodr(_slow(rng, 40, np.float64), rng.normal(size=40), m=12, k=5, recycle=space)
        U, _ = np.linalg.qr(space.columns())
        inside, outside = U[:, :2] @ U[:, :2].T, np.eye(40) - U @ U.T
        A = 2 * inside + 3 * outside
        b = A @ rng.normal(size=40)
        solution = gcrodr(A, b, m=12, k=5, recycle=space, rtol=1e-10)
        assert solution.converged
        assert np.linalg.norm(b - A @ solution.x) <= 1.01e-10 * np.linalg.norm(b)

    def test_mends_images_that_are_nearly_dependent(
        self, library: SimpleNamespace, rng: np.random.Generator
    ) -> None:
        A = _slow(rng, 40, np.complex128)
        rows = _draw(rng, (1, 1, 40), np.complex128)
        rows = rows + 1e-6 * _draw(rng, (5, 1, 40), np.complex128)
        b = library.array(_draw(rng, (40,), np.complex128))
        space = RecycleSpace(5, same_operator=True)
        space.keep(vectors_of(b), vectors=rows)
        gcrodr(library.array(A), b, m=12, k=5, recycle=space, maxiter=3)
        U, C = (np.asarray(space.kept(name))[:, 0] for name in ("vectors", "images"))
        np.testing.assert_allclose(C, U @ A.T, atol=1e-6 * np.abs(C).max())
        lengths = np.linalg.norm(C, axis=1)
        gram = (C.conj() @ C.T) / lengths / lengths[:, None]
        np.testing.assert_allclose(gram, np.eye(len(C)), atol=1e-9)

    @pytest.mark.parametrize("target", ["largest", "both"])
    def test_other_targets_solve_too(self, rng: np.random.Generator, target: str) -> None:
        space = RecycleSpace(6, target=target)
        A = _slow(rng, 60, np.complex128)
        for _ in range(3):
            b = _draw(rng, (60,), np.complex128)
            solution = gcrodr(A, b, m=16, k=6, recycle=space, rtol=1e-9, maxiter=2000)
            assert solution.converged

    def test_a_failed_solve_leaves_no_nan(self, rng: np.random.Generator) -> None:
        space = RecycleSpace(6)
        A, b = _slow(rng, 60, np.float64), rng.normal(size=60)
        gcrodr(A, b, m=16, k=6, recycle=space)
        gcrodr(A * np.nan, b, m=16, k=6, recycle=space)
        assert np.isfinite(space.columns()).all()
        assert gcrodr(A, b, m=16, k=6, recycle=space).converged

    def test_a_disabled_space_is_left_alone(self, rng: np.random.Generator) -> None:
        space = RecycleSpace(6)
        space.disabled_because = "a reason"
        A, b = _slow(rng, 60, np.float64), rng.normal(size=60)
        plain = gcrodr(A, b, m=16, k=6)
        solution = gcrodr(A, b, m=16, k=6, recycle=space)
        assert solution.n_operator == plain.n_operator
        assert space.dim == 0

    def test_gives_up_where_a_solve_is_shorter_than_the_images(
        self, rng: np.random.Generator
    ) -> None:
        space = RecycleSpace(10)
        costs = []
        for _ in range(16):
            A = np.eye(50) + 0.02 * rng.normal(size=(50, 50))
            solution = gcrodr(A, rng.normal(size=50), m=30, k=10, recycle=space)
            costs.append(solution.n_operator)
        assert "solves from the space took" in (space.disabled_because or "")
        assert max(costs[-5:]) <= costs[0] + 1


class TestPreconditioner:
    def test_deflates_the_preconditioned_operator(
        self, library: SimpleNamespace, rng: np.random.Generator
    ) -> None:
        A = _convection(20, 0.3)
        factor = scipy.sparse.linalg.spilu(A.tocsc(), drop_tol=0.3, fill_factor=1.2)

        def apply(x: object) -> object:
            return library.array(A @ library.numpy(x))

        def precondition(r: object) -> object:
            return library.array(factor.solve(library.numpy(r)))

        space = RecycleSpace(8)
        its = []
        for _ in range(3):
            b = rng.normal(size=400)
            solution = gcrodr(
                apply, library.array(b), M=precondition, m=16, k=8, recycle=space, rtol=1e-9
            )
            true = np.linalg.norm(b - A @ library.numpy(solution.x))
            assert solution.converged
            assert true <= 1.001e-9 * np.linalg.norm(b)
            assert solution.n_preconditioner == solution.iterations[0]
            its.append(solution.iterations[0])
        assert its[2] < 0.8 * its[0]

    def test_may_change_between_systems(self, rng: np.random.Generator) -> None:
        space = RecycleSpace(8)
        for speed in (0.3, 0.5, 0.8):
            A, b = _convection(16, speed), rng.normal(size=256)
            M = scipy.sparse.diags_array(rng.uniform(0.1, 1, 256))
            solution = gcrodr(A, b, M=M, m=20, k=8, recycle=space, rtol=1e-8, maxiter=5000)
            assert solution.converged
            assert np.linalg.norm(b - A @ solution.x) <= 1.001e-8 * np.linalg.norm(b)


class TestBatch:
    def test_equals_its_systems_one_by_one(
        self, library: SimpleNamespace, rng: np.random.Generator
    ) -> None:
        A = np.stack([_slow(rng, 50, np.complex128, low) for low in (0.3, 0.1, 1e-2, 1e-3)])
        shared, own = RecycleSpace(5), [RecycleSpace(5) for _ in range(4)]
        for _ in range(3):
            A = A + 1e-4 * _draw(rng, A.shape, np.complex128)
            b = _draw(rng, (4, 50), np.complex128)
            both = gcrodr(
                library.array(A),
                library.array(b),
                n_batch_axes=1,
                m=14,
                k=5,
                recycle=shared,
                rtol=1e-9,
            )
            assert len(set(both.iterations)) >= 2
            for i in range(4):
                one = gcrodr(
                    library.array(A[i]), library.array(b[i]), m=14, k=5, recycle=own[i], rtol=1e-9
                )
                assert both.status[i] is one.status[0] is Status.CONVERGED
                assert abs(both.iterations[i] - one.iterations[0]) <= 1
                exact = np.linalg.solve(A[i], b[i])
                error = np.linalg.norm(library.numpy(both.x)[i] - exact)
                assert error <= 1e-5 * np.linalg.norm(exact)
                assert principal_angle(shared.columns(i), own[i].columns()) < 1e-4

    @pytest.mark.parametrize("same_operator", [False, True])
    def test_a_bad_system_harms_no_mate(
        self, library: SimpleNamespace, rng: np.random.Generator, same_operator: bool
    ) -> None:
        A = np.stack([_slow(rng, 50, np.float64) for _ in range(3)])
        space = RecycleSpace(5, same_operator=same_operator)
        b = library.array(rng.normal(size=(3, 50)))
        alone = gcrodr(library.array(A), b, n_batch_axes=1, m=14, k=5)
        bad = A.copy()
        bad[1] = np.nan
        for _ in range(2):
            solution = gcrodr(library.array(bad), b, n_batch_axes=1, m=14, k=5, recycle=space)
            assert solution.status[1] is Status.NON_FINITE_INPUT
            for i in (0, 2):
                assert solution.status[i] is Status.CONVERGED
                found, plain = library.numpy(solution.x)[i], library.numpy(alone.x)[i]
                assert np.linalg.norm(found - plain) <= 1e-4 * np.linalg.norm(plain)
            assert np.isfinite(space.columns(0)).all()
            assert space.columns(1).shape[1] == 0
            for name in ("vectors", "images"):
                kept = space.kept(name)
                assert kept is None or np.isfinite(np.asarray(kept)).all()
            assert space.columns(2).shape[1] == 5

    def test_systems_that_need_nothing(
        self, library: SimpleNamespace, rng: np.random.Generator
    ) -> None:
        A = np.stack([np.eye(50), _slow(rng, 50, np.float64)])
        b = rng.normal(size=(2, 50))
        b[0] = 0
        space = RecycleSpace(5)
        for _ in range(2):
            solution = gcrodr(
                library.array(A), library.array(b), n_batch_axes=1, m=14, k=5, recycle=space
            )
            assert solution.status == (Status.CONVERGED, Status.CONVERGED)
            assert solution.iterations[0] == 0
            assert not library.numpy(solution.x)[0].any()


class TestStatus:
    def test_zero_right_hand_side_costs_nothing(self, rng: np.random.Generator) -> None:
        space = RecycleSpace(5)
        A = _slow(rng, 40, np.float64)
        gcrodr(A, rng.normal(size=40), m=12, k=5, recycle=space)
        solution = gcrodr(A, np.zeros(40), m=12, k=5, recycle=space)
        assert (solution.status, solution.n_operator) == ((Status.CONVERGED,), 0)
        assert space.dim == 5

    def test_singular(self, library: SimpleNamespace) -> None:
        A = library.array(np.diag(np.arange(30.0)))
        solution = gcrodr(A, library.array(np.ones(30)), m=40, k=5, rtol=1e-10)
        assert solution.status[0] in {Status.BREAKDOWN, Status.STAGNATION}
        assert solution.residual_norm[0] == pytest.approx(1.0, rel=1e-6)

    def test_indefinite(self, library: SimpleNamespace, rng: np.random.Generator) -> None:
        A = np.diag(np.concatenate([np.linspace(-2, -0.1, 20), np.linspace(0.1, 5, 40)]))
        b = rng.normal(size=60)
        solution = gcrodr(library.array(A), library.array(b), m=20, k=8, rtol=1e-9)
        assert solution.converged
        np.testing.assert_allclose(library.numpy(solution.x), b / np.diag(A), rtol=1e-5, atol=1e-6)

    def test_limit(self, rng: np.random.Generator) -> None:
        A, b = _slow(rng, 60, np.float64), rng.normal(size=60)
        solution = gcrodr(A, b, m=10, k=4, rtol=1e-12, maxiter=23)
        assert solution.status == (Status.MAX_ITERATIONS,)
        assert solution.iterations == (23,)
        assert len(solution.history[0]) == 24

    @pytest.mark.parametrize("k", [-1, 12])
    def test_refuses(self, k: int) -> None:
        with pytest.raises(SolverError, match=f"k expected 0 <= k < m = 12, got {k}"):
            gcrodr(np.eye(4), np.ones(4), m=12, k=k)

    def test_a_tiny_system(self, library: SimpleNamespace) -> None:
        A, b = library.array(np.array([[2.0]])), library.array(np.array([3.0]))
        space = RecycleSpace(5)
        for _ in range(2):
            solution = gcrodr(A, b, recycle=space)
            assert solution.status == (Status.CONVERGED,)
            assert library.numpy(solution.x)[0] == pytest.approx(1.5)
