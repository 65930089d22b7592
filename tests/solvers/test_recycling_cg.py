"""CG that starts from earlier directions: against dense minimisation and plain CG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray

from solvers import Discrepancy, RecycleSpace, Status, cg, gcrodr, principal_angle, vectors_of
from solvers.basis import Basis
from solvers.vectors import ArrayVectors

Array = NDArray[np.generic]
Make = Callable[..., Array]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    x = rng.normal(size=shape)
    if np.issubdtype(dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


def _slow(n: int) -> NDArray[np.float64]:
    """Eigenvalues with a few small ones."""
    return np.concatenate([np.geomspace(1e-3, 1e-2, 5), np.linspace(1, 4, n - 5)])


def _tomography(n: int, gamma: float) -> NDArray[np.float64]:
    """Eigenvalues of I + gamma A^H A when those of A^H A fall like those of projections."""
    return 1 + gamma / np.arange(1.0, n + 1)


@pytest.mark.parametrize("dtype", DTYPES)
class TestAnswer:
    @pytest.mark.parametrize("same_operator", [False, True])
    @pytest.mark.parametrize("is_preconditioned", [False, True])
    def test_solves_a_sequence(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        definite: Make,
        dtype: type,
        same_operator: bool,
        is_preconditioned: bool,
    ) -> None:
        rtol = 1e-10 if np.finfo(dtype).eps < 1e-10 else 1e-4
        A = definite(rng, _slow(60), dtype)
        M = library.array(np.diag(1 / np.diag(A)).astype(dtype)) if is_preconditioned else None
        space = RecycleSpace(10, same_operator=same_operator)
        costs = []
        for _ in range(4):
            if not same_operator:
                change = 1e-4 * _draw(rng, A.shape, dtype) / 60
                A = A + change + change.conj().T
            b = _draw(rng, (60,), dtype)
            solution = cg(library.array(A), library.array(b), M=M, rtol=rtol, recycle=space)
            found = library.numpy(solution.x)
            true = np.linalg.norm(b - A.astype(np.complex128) @ found)
            assert solution.status == (Status.CONVERGED,)
            assert true <= 1.1 * rtol * np.linalg.norm(b)
            assert found.dtype == np.dtype(dtype)
            costs.append(solution.iterations[0])
        assert max(costs[2:]) < 0.8 * costs[0]
        assert space.dim == 10 or same_operator

    def test_starts_with_the_best_of_the_space(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        """One step against the A-norm minimiser over W and P r, found densely."""
        A = definite(rng, np.linspace(1, 30, 40), dtype)
        space = RecycleSpace(6)
        cg(library.array(A), library.array(_draw(rng, (40,), dtype)), recycle=space)
        W, wide = space.columns().astype(np.complex128), A.astype(np.complex128)
        b = _draw(rng, (40,), dtype)
        x0 = _draw(rng, (40,), dtype)
        start = W @ np.linalg.solve(W.conj().T @ wide @ W, W.conj().T @ (b - wide @ x0))
        r = b - wide @ (x0 + start)
        direction = r - W @ np.linalg.solve(W.conj().T @ wide @ W, W.conj().T @ wide @ r)
        basis = np.column_stack([W, direction])
        best = x0 + basis @ np.linalg.solve(
            basis.conj().T @ wide @ basis, basis.conj().T @ (b - wide @ x0)
        )
        solution = cg(
            library.array(A),
            library.array(b),
            x0=library.array(x0),
            recycle=space,
            rtol=0.0,
            maxiter=1,
        )
        error = np.linalg.norm(library.numpy(solution.x) - best)
        assert error <= (1e-12 if np.finfo(dtype).eps < 1e-10 else 1e-4) * np.linalg.norm(best)
        assert solution.n_operator == 1 + 6 + 2  # the step, the images, both residuals

    @pytest.mark.parametrize("scale", [1e-20, 1e-8, 1e8, 1e20])
    def test_does_not_depend_on_the_units(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        definite: Make,
        dtype: type,
        scale: float,
    ) -> None:
        A = definite(rng, np.linspace(1, 40, 40), dtype)
        space = RecycleSpace(6)
        for factor in (1.0, scale):
            b = _draw(rng, (40,), dtype)
            exact = np.linalg.solve(A.astype(np.complex128), b.astype(np.complex128))
            solution = cg(
                library.array(A),
                library.array((factor * b).astype(dtype)),
                rtol=1e-5,
                recycle=space,
            )
            found = library.numpy(solution.x).astype(np.complex128) / factor
            assert solution.status == (Status.CONVERGED,)
            assert np.linalg.norm(found - exact) <= 1e-3 * np.linalg.norm(exact)


class TestSameOperator:
    def test_a_step_costs_one_application(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A = library.array(definite(rng, _tomography(60, 50.0)))
        space = RecycleSpace(20, target="largest", same_operator=True)
        for i in range(6):
            b = library.array(_draw(rng, (60,), np.complex128))
            solution = cg(A, b, recycle=space, rtol=0.0, maxiter=3, verify=False, check_every=3)
            assert solution.n_operator == 3
            assert solution.iterations == (3,)
            assert space.dim == min(3 * (i + 1), 20) or space.dim >= 15

    def test_directions_stay_conjugate(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        """Over many solves and choices, in single precision too."""
        A = definite(rng, _tomography(80, 100.0))
        for dtype, tolerance in ((np.complex128, 1e-11), (np.complex64, 3e-3)):
            space = RecycleSpace(16, target="largest", same_operator=True)
            for _ in range(30):
                b = library.array(_draw(rng, (80,), dtype))
                cg(library.array(A.astype(dtype)), b, recycle=space, rtol=0.0, maxiter=4)
            W = space.columns()
            assert 12 <= W.shape[1] <= 16
            gram = W.conj().T @ A @ W
            assert np.abs(gram - np.eye(W.shape[1])).max() <= tolerance

    @pytest.mark.parametrize(
        ("spectrum", "n_steps", "factor"),
        [
            # Few projections: outliers at the top. Three recycled steps do what five did.
            (_tomography(400, 100.0), 3, 1.0),
            (_tomography(400, 100.0), 5, 0.2),
            # Two clusters, as of sampled and missing frequencies: never worse at equal steps.
            (1 + 5.0 * np.r_[np.ones(150), np.linspace(0.3, 1, 50), np.zeros(200)], 5, 1.0),
        ],
    )
    def test_right_hand_sides_that_drift(
        self, rng: np.random.Generator, spectrum: NDArray[np.float64], n_steps: int, factor: float
    ) -> None:
        """A walk of right-hand sides, warm-started, as in a diffusion sampler."""
        Q, _ = np.linalg.qr(rng.normal(size=(400, 400)))
        H = Q * spectrum @ Q.T
        target, walk = rng.normal(size=400), rng.normal(size=400)
        space = RecycleSpace(20, target="largest", same_operator=True)
        ratios = []
        for t in range(20):
            walk = 0.9 * walk + 0.45 * rng.normal(size=400)
            x0 = target + 0.3 * walk
            b = x0 + (H @ target - target)
            plain = cg(H, b, x0=x0, rtol=0.0, maxiter=5)
            recycled = cg(H, b, x0=x0, rtol=0.0, maxiter=n_steps, recycle=space)
            if t >= 5:
                ratios.append(recycled.residual_norm[0] / plain.residual_norm[0])
        assert np.mean(ratios) <= factor

    def test_a_new_operator_is_announced(self, rng: np.random.Generator, definite: Make) -> None:
        space = RecycleSpace(8, same_operator=True)
        cg(definite(rng, _slow(50)), _draw(rng, (50,), np.complex128), recycle=space)
        dim = space.dim
        space.forget_images()
        A, b = definite(rng, np.linspace(1, 5, 50)), _draw(rng, (50,), np.complex128)
        solution = cg(A, b, recycle=space, rtol=1e-9)
        assert solution.converged
        assert solution.n_operator == solution.iterations[0] + dim + 1

    def test_a_broken_promise_is_not_hidden(self, rng: np.random.Generator, definite: Make) -> None:
        space = RecycleSpace(8, same_operator=True)
        cg(definite(rng, _slow(50)), _draw(rng, (50,), np.complex128), recycle=space)
        A, b = definite(rng, np.linspace(1, 5, 50)), _draw(rng, (50,), np.complex128)
        solution = cg(A, b, recycle=space, rtol=1e-9)
        true = np.linalg.norm(b - A @ solution.x)
        assert solution.residual_norm[0] == pytest.approx(true, rel=1e-6)
        assert solution.converged == (true <= 1.001e-9 * np.linalg.norm(b))

    def test_goes_on_from_a_file(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make, tmp_path: Path
    ) -> None:
        A = library.array(definite(rng, _tomography(60, 50.0)))
        space = RecycleSpace(12, target="largest", same_operator=True)
        for _ in range(3):
            b = library.array(_draw(rng, (60,), np.complex128))
            cg(A, b, recycle=space, rtol=0.0, maxiter=5)
        space.save(tmp_path / "space.npz")
        again = RecycleSpace.load(tmp_path / "space.npz")
        b = library.array(_draw(rng, (60,), np.complex128))
        one = cg(A, b, recycle=space, rtol=0.0, maxiter=5)
        other = cg(A, b, recycle=again, rtol=0.0, maxiter=5)
        np.testing.assert_array_equal(library.numpy(one.x), library.numpy(other.x))
        assert one.n_operator == other.n_operator


class TestNewOperator:
    def test_finds_the_slow_space(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A = definite(rng, _slow(100), np.float64)
        space = RecycleSpace(10)
        for _ in range(3):
            b = library.array(rng.normal(size=100))
            cg(library.array(A), b, recycle=space, rtol=1e-10)
        _, vectors = np.linalg.eigh(A)
        assert principal_angle(space.columns(), vectors[:, :5]) < 1e-2

    @pytest.mark.parametrize("target", ["smallest", "largest"])
    def test_chooses_eigenvectors_of_the_preconditioned_operator(
        self, rng: np.random.Generator, definite: Make, target: str
    ) -> None:
        """A solve that sees the whole space must find those of M A exactly."""
        A = definite(rng, np.linspace(1, 9, 8))
        M = definite(rng, np.linspace(0.2, 3, 8))
        space = RecycleSpace(4, target=target)
        cg(A, _draw(rng, (8,), np.complex128), M=M, recycle=space, rtol=1e-13, maxiter=8)
        values, vectors = np.linalg.eig(M @ A)
        order = np.argsort(values.real)
        wanted = vectors[:, order[:4] if target == "smallest" else order[4:]]
        assert principal_angle(space.columns(), wanted) < 1e-6

    def test_mends_images_that_are_nearly_dependent(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A = definite(rng, np.linspace(1, 9, 40))
        rows = _draw(rng, (1, 1, 40), np.complex128)
        rows = rows + 1e-6 * _draw(rng, (5, 1, 40), np.complex128)
        b = library.array(_draw(rng, (40,), np.complex128))
        space = RecycleSpace(5, same_operator=True)
        space.keep(vectors_of(b), vectors=rows)
        cg(library.array(A), b, recycle=space, maxiter=1)
        W, AW = (np.asarray(space.kept(name))[:, 0] for name in ("vectors", "conjugate_images"))
        np.testing.assert_allclose(AW, W @ A.T, atol=1e-6 * np.abs(AW).max())
        np.testing.assert_allclose(W.conj() @ AW.T, np.eye(len(W)), atol=1e-9)

    def test_pays_on_diffusion_with_changing_coefficients(self, rng: np.random.Generator) -> None:
        """A sequence of log-normal media on 32^2 points, Jacobi preconditioned."""
        n = 32
        x = (np.arange(n) + 0.5) / n
        plain, recycled = [], []
        space = RecycleSpace(12)
        for _ in range(10):
            c = rng.normal(size=3)
            field = c[0] * np.cos(np.pi * x)[:, None] + c[1] * np.cos(np.pi * x) + 0.1 * c[2]
            A = _diffusion(np.exp(field))
            M = scipy.sparse.diags_array(1 / A.diagonal())
            b = np.ones(n * n)
            plain.append(cg(A, b, M=M, rtol=1e-8).n_operator)
            solution = cg(A, b, M=M, rtol=1e-8, recycle=space)
            assert np.linalg.norm(b - A @ solution.x) <= 1.001e-8 * np.linalg.norm(b)
            recycled.append(solution.n_operator)
        assert np.mean(recycled[4:]) <= 0.75 * np.mean(plain[4:])
        assert space.disabled_because is None

    def test_a_space_of_gcrodr_serves(self, rng: np.random.Generator, definite: Make) -> None:
        A = definite(rng, _slow(80), np.float64)
        space = RecycleSpace(8)
        for _ in range(2):
            gcrodr(A, rng.normal(size=80), m=20, k=8, recycle=space, rtol=1e-8)
        b = rng.normal(size=80)
        plain, warm = cg(A, b, rtol=1e-8), cg(A, b, rtol=1e-8, recycle=space)
        assert warm.converged
        assert warm.n_operator < plain.n_operator
        kept = RecycleSpace(8, same_operator=True)
        gcrodr(A, rng.normal(size=80), m=20, k=8, recycle=kept, rtol=1e-8)
        again = cg(A, b, rtol=1e-8, recycle=kept)
        assert again.converged
        assert again.n_operator == again.iterations[0] + 1
        assert gcrodr(A, b, m=20, k=8, recycle=kept, rtol=1e-8).converged

    def test_gives_up_where_solves_are_short(
        self, rng: np.random.Generator, definite: Make
    ) -> None:
        space = RecycleSpace(10)
        for _ in range(14):
            A = definite(rng, np.linspace(1, 1.5, 40), np.float64)
            solution = cg(A, rng.normal(size=40), recycle=space)
        assert "applications of A" in (space.disabled_because or "")
        assert solution.n_operator == solution.iterations[0] + 1


def _diffusion(a: NDArray[np.float64]) -> scipy.sparse.csr_array:
    """-div(a grad u) with zero boundary values and harmonic means between cells."""
    n = len(a)
    mean = {0: 2 / (1 / a[1:] + 1 / a[:-1]), 1: 2 / (1 / a[:, 1:] + 1 / a[:, :-1])}
    diagonal = np.zeros((n, n))
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (1, 0)
        diagonal += np.pad(mean[axis], pad)
        pad[axis] = (0, 1)
        diagonal += np.pad(mean[axis], pad)
    diagonal[[0, -1]] += 2 * a[[0, -1]]
    diagonal[:, [0, -1]] += 2 * a[:, [0, -1]]
    along = np.pad(mean[1], [(0, 0), (0, 1)]).ravel()[:-1]
    down = mean[0].ravel()
    return scipy.sparse.csr_array(
        scipy.sparse.diags_array(
            [-down, -along, diagonal.ravel(), -along, -down], offsets=[-n, -1, 0, 1, n]
        )
    )


class TestPlain:
    def test_a_disabled_or_powerless_space_changes_no_bit(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A = library.array(definite(rng, _slow(50)))
        b = library.array(_draw(rng, (50,), np.complex128))
        plain = cg(A, b, rtol=1e-8)
        disabled = RecycleSpace(5)
        disabled.disabled_because = "a reason"
        for space in (disabled, RecycleSpace(5, max_bytes=10)):
            solution = cg(A, b, rtol=1e-8, recycle=space)
            np.testing.assert_array_equal(library.numpy(solution.x), library.numpy(plain.x))
            assert solution.history == plain.history
            assert solution.n_operator == plain.n_operator

    def test_the_first_solve_is_plain(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A = library.array(definite(rng, _slow(50)))
        b = library.array(_draw(rng, (50,), np.complex128))
        plain, first = cg(A, b, rtol=1e-8), cg(A, b, rtol=1e-8, recycle=RecycleSpace(5))
        np.testing.assert_array_equal(library.numpy(first.x), library.numpy(plain.x))
        assert first.n_operator == plain.n_operator


class TestBatch:
    @pytest.mark.parametrize("same_operator", [False, True])
    def test_equals_its_systems_one_by_one(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        definite: Make,
        same_operator: bool,
    ) -> None:
        spectra = [np.linspace(1, 3, 40), _tomography(40, 30.0), _slow(40), np.linspace(1, 50, 40)]
        A = np.stack([definite(rng, spectrum) for spectrum in spectra])
        shared = RecycleSpace(6, same_operator=same_operator)
        own = [RecycleSpace(6, same_operator=same_operator) for _ in range(4)]
        for _ in range(3):
            b = _draw(rng, (4, 40), np.complex128)
            both = cg(library.array(A), library.array(b), n_batch_axes=1, recycle=shared, rtol=1e-9)
            for i in range(4):
                one = cg(library.array(A[i]), library.array(b[i]), recycle=own[i], rtol=1e-9)
                assert both.status[i] is one.status[0] is Status.CONVERGED
                assert abs(both.iterations[i] - one.iterations[0]) <= 0.2 * one.iterations[0] + 2
                exact = np.linalg.solve(A[i], b[i])
                error = np.linalg.norm(library.numpy(both.x)[i] - exact)
                assert error <= 1e-5 * np.linalg.norm(exact)

    @pytest.mark.parametrize("same_operator", [False, True])
    def test_a_bad_system_harms_no_mate(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        definite: Make,
        same_operator: bool,
    ) -> None:
        A = np.stack([definite(rng, _slow(40), np.float64) for _ in range(4)])
        A[1] = np.nan
        A[2] -= 2 * np.eye(40)
        space = RecycleSpace(6, same_operator=same_operator)
        for _ in range(3):
            b = rng.normal(size=(4, 40))
            solution = cg(
                library.array(A), library.array(b), n_batch_axes=1, recycle=space, rtol=1e-8
            )
            assert solution.status[1] is Status.NON_FINITE_INPUT
            assert solution.status[2] is Status.NOT_POSITIVE_DEFINITE
            for i in (0, 3):
                assert solution.status[i] is Status.CONVERGED
                true = np.linalg.norm(b[i] - A[i] @ library.numpy(solution.x)[i])
                assert true <= 1.001e-8 * np.linalg.norm(b[i])
                assert np.isfinite(space.columns(i)).all()
            assert space.columns(1).shape[1] == 0
            for name in ("vectors", "conjugate_images"):
                kept = space.kept(name)
                assert kept is None or np.isfinite(np.asarray(kept)).all()

    def test_finished_systems_are_not_moved(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make
    ) -> None:
        A = np.stack([definite(rng, _slow(40), np.float64) for _ in range(2)])
        space = RecycleSpace(6, same_operator=True)
        for _ in range(2):
            b = rng.normal(size=(2, 40))
            cg(library.array(A), library.array(b), n_batch_axes=1, recycle=space)
        x0 = np.stack([np.linalg.solve(A[0], b[0]), np.zeros(40)])
        solution = cg(
            library.array(A),
            library.array(b),
            x0=library.array(x0),
            n_batch_axes=1,
            recycle=space,
            rtol=1e-9,
        )
        assert solution.converged
        np.testing.assert_array_equal(library.numpy(solution.x)[0], x0[0])


class TestStatus:
    def test_zero_right_hand_side_costs_nothing(
        self, rng: np.random.Generator, definite: Make
    ) -> None:
        A, space = definite(rng, _slow(40)), RecycleSpace(5)
        cg(A, _draw(rng, (40,), np.complex128), recycle=space)
        solution = cg(A, np.zeros(40, complex), recycle=space)
        assert (solution.status, solution.n_operator) == ((Status.CONVERGED,), 0)
        assert space.dim == 5

    @pytest.mark.parametrize("same_operator", [False, True])
    def test_the_space_holds_the_answer(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        definite: Make,
        same_operator: bool,
    ) -> None:
        A = library.array(definite(rng, np.linspace(1, 2, 30), np.float64))
        b = library.array(rng.normal(size=30))
        space = RecycleSpace(30, same_operator=same_operator)
        for _ in range(2):
            cg(A, b, recycle=space, rtol=1e-12)
        solution = cg(A, b, recycle=space, rtol=1e-6)
        assert solution.status == (Status.CONVERGED,)
        assert solution.iterations == (0,)

    def test_discrepancy(self, rng: np.random.Generator) -> None:
        """||y - A x|| by the sums of CG stays right when the start comes from a space."""
        B = rng.normal(size=(60, 40))
        y = B @ rng.normal(size=40) + 0.5 * rng.normal(size=60)
        space = RecycleSpace(4, same_operator=True)
        stop = Discrepancy(float(np.linalg.norm(y)), 1.1 * 0.5 * np.sqrt(60))
        for _ in range(2):
            solution = cg(B.T @ B, B.T @ y, rtol=1e-9, discrepancy=stop, recycle=space)
            true = np.linalg.norm(y - B @ solution.x)
            assert solution.status == (Status.DISCREPANCY,)
            assert solution.data_residual_norm[0] == pytest.approx(true, rel=1e-8)

    def test_fixed_steps_do_not_wait(
        self, rng: np.random.Generator, definite: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is read from the device between the first and the last step."""
        A = definite(rng, _tomography(40, 30.0), np.float64)
        events: list[str] = []

        def apply(x: Array) -> Array:
            events.append("A")
            return A @ x

        def noting(read: Callable[[object, Array], Array]) -> Callable[[object, Array], Array]:
            def host(self: object, values: Array) -> Array:
                events.append("host")
                return read(self, values)

            return host

        space = RecycleSpace(8, target="largest", same_operator=True)
        cg(apply, rng.normal(size=40), recycle=space, rtol=0.0, maxiter=5)
        monkeypatch.setattr(ArrayVectors, "host", noting(ArrayVectors.host))
        monkeypatch.setattr(Basis, "host", noting(Basis.host))
        events.clear()
        cg(
            apply,
            rng.normal(size=40),
            recycle=space,
            rtol=0.0,
            maxiter=5,
            check_every=5,
            verify=False,
        )
        first, last = events.index("A"), len(events) - 1 - events[::-1].index("A")
        assert events.count("A") == 5
        assert "host" not in events[first:last]


@pytest.mark.parametrize("dtype", DTYPES)
class TestShift:
    def test_images_follow_a_shift_at_no_application(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        """Against a space that applied the shifted operator to its vectors."""
        A = definite(rng, _tomography(50, 100.0), dtype)
        shifted = (A + 0.5 * np.eye(50)).astype(dtype)
        b, c = _draw(rng, (50,), dtype), _draw(rng, (50,), dtype)
        found = []
        for knows_shift in (True, False):
            space = RecycleSpace(8, target="largest", same_operator=True)
            cg(library.array(A), library.array(b), recycle=space, rtol=0.0, maxiter=8)
            if knows_shift:
                space.shift(0.5)
            else:
                space.forget_images()
            found.append(
                cg(library.array(shifted), library.array(c), recycle=space, rtol=0.0, maxiter=3)
            )
        ours, applied = found
        scale = np.linalg.norm(library.numpy(applied.x))
        error = np.linalg.norm(library.numpy(ours.x) - library.numpy(applied.x))
        assert error <= (1e-11 if np.finfo(dtype).eps < 1e-10 else 1e-3) * scale
        assert applied.n_operator - ours.n_operator == 8

    def test_no_shift_changes_nothing(
        self, library: SimpleNamespace, rng: np.random.Generator, definite: Make, dtype: type
    ) -> None:
        A = library.array(definite(rng, _slow(30), dtype))
        space = RecycleSpace(4, same_operator=True)
        space.shift(1.0)
        cg(A, library.array(_draw(rng, (30,), dtype)), recycle=space, rtol=0.0, maxiter=5)
        before = space.kept("conjugate_images")
        space.shift(0.0)
        assert space.kept("conjugate_images") is before
