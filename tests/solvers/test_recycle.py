"""The recycled space as an object: memory, files, the rule that disables it, angles."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray

from solvers import RecycleSpace, SolverError, gcrodr, principal_angle, vectors_of
from solvers.ritz import harmonic_space, ritz_space, whitening

Array = NDArray[np.generic]


def _solve(space: RecycleSpace, library: SimpleNamespace, seed: int, n: int = 80) -> object:
    rng = np.random.default_rng(seed)
    spectrum = np.concatenate([np.geomspace(1e-3, 1e-2, 4), np.linspace(1, 3, n - 4)])
    A = np.diag(spectrum) + 1e-5 * rng.normal(size=(n, n))
    b = library.array(rng.normal(size=n))
    return gcrodr(library.array(A), b, m=16, k=6, recycle=space, rtol=1e-8)


class TestState:
    def test_fills_and_forgets(self, library: SimpleNamespace) -> None:
        space = RecycleSpace(6)
        assert (space.dim, space.n_bytes, space.columns().shape) == (0, 0, (0, 0))
        _solve(space, library, 0)
        assert (space.dim, space.n_bytes) == (6, 6 * 80 * 8)
        assert space.columns().shape == (80, 6)
        np.testing.assert_allclose(np.linalg.norm(space.columns(), axis=0), 1, rtol=1e-12)
        space.reset()
        assert (space.dim, space.n_bytes) == (0, 0)

    def test_holds_the_directions_of_the_smallest_eigenvalues(
        self, library: SimpleNamespace
    ) -> None:
        space = RecycleSpace(6)
        for seed in range(3):
            _solve(space, library, seed)
        assert principal_angle(space.columns(), np.eye(80)[:, :4]) < 0.05
        assert principal_angle(space.columns(), np.eye(80)[:, -4:]) > 0.9

    def test_memory_is_capped(self, library: SimpleNamespace) -> None:
        space = RecycleSpace(6, max_bytes=4 * 80 * 8 + 1)
        _solve(space, library, 0)
        assert space.dim == 4
        assert space.n_bytes <= 4 * 80 * 8
        nothing = RecycleSpace(6, max_bytes=10)
        assert _solve(nothing, library, 0).converged
        assert nothing.dim == 0
        both = RecycleSpace(6, max_bytes=4 * 80 * 8 + 1, same_operator=True)
        _solve(both, library, 0)
        assert both.dim == 2
        assert both.n_bytes == 4 * 80 * 8

    def test_refuses_another_kind_of_system(self) -> None:
        library = SimpleNamespace(array=np.array)
        space = RecycleSpace(6)
        _solve(space, library, 0)
        with pytest.raises(SolverError, match=r"holds vectors \(80,\) of float64, got a system"):
            _solve(space, library, 0, n=70)
        with pytest.raises(SolverError, match=r"got a system .* of complex128"):
            gcrodr(np.eye(80), np.ones(80, complex), recycle=space)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"k": 0}, "k expected a number of vectors >= 1, got 0"),
            ({"target": "middle"}, "target expected one of smallest, largest, both, got 'middle'"),
            ({"max_bytes": -1}, "max_bytes expected"),
        ],
    )
    def test_refuses(self, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(SolverError, match=message):
            RecycleSpace(**arguments)


class TestFile:
    @pytest.mark.parametrize("same_operator", [False, True])
    def test_a_loaded_space_goes_on_as_the_saved_one(
        self, library: SimpleNamespace, tmp_path: Path, same_operator: bool
    ) -> None:
        space = RecycleSpace(6, target="both", same_operator=same_operator, max_bytes=10**6)
        _solve(space, library, 0)
        path = tmp_path / "space.npz"
        space.save(path)
        again = RecycleSpace.load(path)
        assert repr(again) == repr(space)
        assert (again.k, again.target, again.max_bytes) == (6, "both", 10**6)
        assert again.same_operator is same_operator
        np.testing.assert_array_equal(again.columns(), space.columns())
        one, other = _solve(space, library, 0), _solve(again, library, 0)
        assert one.n_operator == other.n_operator
        np.testing.assert_array_equal(library.numpy(one.x), library.numpy(other.x))

    def test_an_empty_space(self, tmp_path: Path) -> None:
        RecycleSpace(3).save(tmp_path / "empty.npz")
        assert RecycleSpace.load(tmp_path / "empty.npz").dim == 0

    def test_refuses_damage(self, tmp_path: Path) -> None:
        path = tmp_path / "space.npz"
        space = RecycleSpace(6)
        _solve(space, SimpleNamespace(array=np.array), 0)
        space.save(path)
        whole = path.read_bytes()
        for n in (0, 10, len(whole) // 2, len(whole) - 10):
            path.write_bytes(whole[:n])
            with pytest.raises(SolverError, match="expected a recycle space written by save"):
                RecycleSpace.load(path)
        changed = bytearray(whole)
        changed[len(whole) // 2] ^= 0xFF
        path.write_bytes(bytes(changed))
        with pytest.raises(SolverError, match="expected a recycle space"):
            RecycleSpace.load(path)

    def test_refuses_other_files(self, tmp_path: Path) -> None:
        path = tmp_path / "other.npz"
        np.savez(path, x=np.ones(3))
        with pytest.raises(SolverError, match="expected a recycle space"):
            RecycleSpace.load(path)
        np.savez(path, state=np.array({"k": 3}, dtype=object))
        with pytest.raises(SolverError, match="expected a recycle space"):
            RecycleSpace.load(path)
        np.save(tmp_path / "array.npy", np.ones(3))
        with pytest.raises(SolverError, match="expected a recycle space"):
            RecycleSpace.load(tmp_path / "array.npy")
        with pytest.raises(FileNotFoundError):
            RecycleSpace.load(tmp_path / "none.npz")

    def test_refuses_numbers_that_are_none(self, tmp_path: Path) -> None:
        path = tmp_path / "space.npz"
        space = RecycleSpace(2)
        space.keep(vectors_of(np.ones(3)), vectors=np.full((2, 1, 3), np.nan))
        space.save(path)
        with pytest.raises(SolverError, match="expected a recycle space"):
            RecycleSpace.load(path)

    def test_a_failed_write_keeps_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "space.npz"
        RecycleSpace(3).save(path)
        before = path.read_bytes()

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("numpy.savez", full)
        with pytest.raises(OSError, match="No space left"):
            RecycleSpace(4).save(path)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["space.npz"]


class TestRule:
    """Costs are given; the space is a spectator."""

    def _space(self) -> RecycleSpace:
        space = RecycleSpace(2)
        space.keep(vectors_of(np.ones(3)), vectors=np.eye(3)[:2, None, :])
        return space

    def test_stays_while_it_pays(self) -> None:
        space = self._space()
        space.judge(100, was_warm=False)
        for _ in range(50):
            assert space.starts_warm
            space.judge(90, was_warm=True)
        assert space.disabled_because is None

    def test_disables_itself_after_two_failed_trials(self) -> None:
        space = self._space()
        space.judge(100, was_warm=False)
        for _ in range(2):
            for _ in range(4):
                assert space.starts_warm
                space.judge(110, was_warm=True)
            assert not space.starts_warm  # the next solve is for comparison
            space.judge(100, was_warm=False)
        assert space.dim == 0
        assert "took 110 applications of A, solves without it 100" in (space.disabled_because or "")
        assert space.capacity(vectors_of(np.ones(3))) == 0
        space.keep(vectors_of(np.ones(3)), vectors=np.eye(3)[:2, None, :])
        assert space.dim == 0
        space.reset()
        assert space.disabled_because is None

    def test_one_easy_first_system_does_not_decide(self) -> None:
        space = self._space()
        space.judge(50, was_warm=False)
        for _ in range(4):
            space.judge(110, was_warm=True)
        assert not space.starts_warm
        space.judge(200, was_warm=False)  # mean 125 without
        assert space.starts_warm
        for _ in range(4):
            space.judge(110, was_warm=True)
        assert space.starts_warm
        assert space.disabled_because is None

    def test_the_same_operator_is_not_judged(self) -> None:
        space = RecycleSpace(2, same_operator=True)
        space.keep(vectors_of(np.ones(3)), vectors=np.eye(3)[:2, None, :])
        space.judge(1, was_warm=False)
        for _ in range(20):
            space.judge(10**6, was_warm=True)
        assert space.starts_warm


@pytest.mark.parametrize("is_complex", [False, True])
class TestSmallProblems:
    def _random(self, rng: np.random.Generator, shape: tuple[int, int], is_complex: bool) -> Array:
        x = rng.normal(size=shape)
        return x + 1j * rng.normal(size=shape) if is_complex else x

    def test_whitening(self, rng: np.random.Generator, is_complex: bool) -> None:
        rows = self._random(rng, (5, 30), is_complex) * np.geomspace(1e-6, 1e6, 5)[:, None]
        rows = np.concatenate([rows, rows[:1] + rows[2:3], np.zeros((1, 30))])
        T = whitening(rows.conj() @ rows.T, np.finfo(np.float64).eps)
        white = T @ rows
        assert T.shape == (5, 7)
        np.testing.assert_allclose(white.conj() @ white.T, np.eye(5), atol=1e-8)

    @pytest.mark.parametrize("target", ["smallest", "largest", "both"])
    def test_harmonic_ritz_values_are_eigenvalues_of_the_whole_space(
        self, rng: np.random.Generator, is_complex: bool, target: str
    ) -> None:
        """V = W = I: harmonic Ritz vectors are the eigenvectors of A."""
        A = self._random(rng, (12, 12), is_complex)
        images, vectors = harmonic_space(A, np.eye(12), 4, target)
        np.testing.assert_allclose(A @ vectors, images, atol=1e-10)
        np.testing.assert_allclose(images.conj().T @ images, np.eye(images.shape[1]), atol=1e-12)
        values, w = np.linalg.eig(A)
        order = np.argsort(np.abs(values))
        kept = {"smallest": order[:3], "largest": order[-3:], "both": order[[0, -1]]}[target]
        found = vectors.shape[1]
        assert found in ({4} if is_complex else {3, 4})
        if is_complex or found == 4:
            for i in kept:
                assert principal_angle(vectors.astype(complex), w[:, [i]].astype(complex)) < 1e-8

    def test_harmonic_pairs_satisfy_their_definition(
        self, rng: np.random.Generator, is_complex: bool
    ) -> None:
        """(A V)^H (A V z - theta V z) = 0, against a generalised dense eigenproblem."""
        V = np.linalg.qr(self._random(rng, (20, 6), is_complex))[0]
        A = self._random(rng, (20, 20), is_complex)
        W, G = np.linalg.qr(A @ V)
        F = W.conj().T @ V
        _, vectors = harmonic_space(G, F, 2, "smallest")
        theta, z = scipy.linalg.eig(G.conj().T @ G, G.conj().T @ F)
        order = np.argsort(np.abs(theta))
        for i in order[: vectors.shape[1]]:
            assert principal_angle(vectors.astype(complex), z[:, [i]].astype(complex)) < 1e-7

    def test_pairs_stay_together(self, rng: np.random.Generator, is_complex: bool) -> None:
        """Two complex pairs and a budget of three: one pair, or one pair and a real one."""
        del is_complex
        blocks = [np.array([[1.0, 2.0], [-2.0, 1.0]]), np.array([[3.0, 1.0], [-1.0, 3.0]]), [[9.0]]]
        A = scipy.linalg.block_diag(*blocks)
        Q, _ = np.linalg.qr(rng.normal(size=(5, 5)))
        _, vectors = harmonic_space(Q @ A @ Q.T, np.eye(5), 3, "smallest")
        assert vectors.shape == (5, 2)
        assert principal_angle(Q[:, :2], vectors) < 1e-10

    @pytest.mark.parametrize("target", ["smallest", "largest", "both"])
    def test_ritz_space(self, rng: np.random.Generator, is_complex: bool, target: str) -> None:
        Q, _ = np.linalg.qr(self._random(rng, (6, 6), is_complex))
        values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        chosen = ritz_space(Q * values @ Q.conj().T, 2, target)
        kept = {"smallest": [0, 1], "largest": [4, 5], "both": [0, 5]}[target]
        assert principal_angle(Q[:, kept], chosen) < 1e-7


class TestAngle:
    def test_agrees_with_scipy(self, rng: np.random.Generator) -> None:
        C, Q = rng.normal(size=(30, 5)), rng.normal(size=(30, 3))
        expected = np.sin(scipy.linalg.subspace_angles(C, Q).max())
        assert principal_angle(C, Q) == pytest.approx(expected, rel=1e-10)
        Z = C + 1j * rng.normal(size=(30, 5))
        expected = np.sin(scipy.linalg.subspace_angles(Z, Q).max())
        assert principal_angle(Z, Q) == pytest.approx(expected, rel=1e-10)

    def test_is_not_symmetric_in_dimension(self) -> None:
        e = np.eye(4)
        assert principal_angle(e[:, :3], e[:, :1]) == 0
        assert principal_angle(e[:, :1], e[:, :3]) == 1
        assert principal_angle(e[:, :0], e[:, :1]) == 1
        assert principal_angle(e[:, :1], e[:, :0]) == 0

    def test_refuses_columns_of_different_length(self) -> None:
        with pytest.raises(SolverError, match=r"columns of one length, got \(3, 1\) and \(4, 1\)"):
            principal_angle(np.ones((3, 1)), np.ones((4, 1)))
