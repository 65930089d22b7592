"""Every Krylov solver on the same systems: what all of them promise, in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from solvers import RecycleSpace, Solution, Status, block_cg, cg, gcrodr, gmres, minres

Array = NDArray[np.generic]
Make = Callable[..., Array]
DTYPES = (np.float32, np.float64, np.complex64, np.complex128)


def _block(A: Array, b: Array, **options: float) -> Solution:
    return block_cg(A, b[None, ...], **options)


def _recycling(A: Array, b: Array, **options: float) -> Solution:
    """Return a second solve, which starts from the directions of the first."""
    space = RecycleSpace(4)
    cg(A, b, recycle=space, **options)
    return cg(A, b, recycle=space, **options)


SOLVERS: dict[str, Callable[..., Solution]] = {
    "cg": cg,
    "block_cg": _block,
    "recycling cg": _recycling,
    "minres": minres,
    "gmres": gmres,
    "gcrodr": partial(gcrodr, m=20, k=5),
}
TAKE_INDEFINITE = ("minres", "gmres", "gcrodr")
TAKE_ANY = ("gmres", "gcrodr")
CASES = [
    *((name, "definite") for name in SOLVERS),
    *((name, "indefinite") for name in TAKE_INDEFINITE),
    *((name, "general") for name in TAKE_ANY),
]


def _values(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    values = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    kind = values if np.issubdtype(dtype, np.complexfloating) else values.real
    return kind.astype(dtype)


def _diffusion(rng: np.random.Generator, n: int, dtype: type) -> Array:
    """Return -div(a grad u) on n x n cells, zero outside; in a magnetic field if complex."""
    a = np.exp(0.7 * rng.normal(size=(n + 2, n + 2)))
    matrix = np.zeros((n * n, n * n), dtype=np.complex128)
    for i in range(n * n):
        at = (i // n + 1, i % n + 1)
        for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            there = (at[0] + step[0], at[1] + step[1])
            face = 2 / (1 / a[at] + 1 / a[there])
            matrix[i, i] += face
            if min(there) >= 1 and max(there) <= n:
                phase = 0.3 * at[0] * step[1] if np.issubdtype(dtype, np.complexfloating) else 0.0
                matrix[i, (there[0] - 1) * n + there[1] - 1] = -face * np.exp(1j * phase)
    return matrix if np.issubdtype(dtype, np.complexfloating) else matrix.real


def _between_eigenvalues(A: Array) -> float:
    """Return the middle of the widest gap in the lower half of the spectrum."""
    lower = np.linalg.eigvalsh(A)[: len(A) // 2]
    widest = int(np.argmax(np.diff(lower)))
    return float(lower[widest : widest + 2].mean())


def _discretised(kind: str, rng: np.random.Generator, dtype: type) -> Array:
    A = _diffusion(rng, 6, dtype)
    eye = np.eye(len(A))
    if kind == "indefinite":
        A = A - _between_eigenvalues(A) * eye
    elif kind == "general":
        wind = np.tril(np.triu(np.ones_like(A), -1), 1)
        absorbed = 0.3j if np.issubdtype(dtype, np.complexfloating) else 0.3
        A = A + np.diag(wind.sum(1)) - np.tril(wind, -1) + absorbed * eye
    return A.astype(dtype)


def _random(kind: str, rng: np.random.Generator, dtype: type, definite: Make) -> Array:
    eigenvalues = np.geomspace(1, 50, 24)
    if kind == "indefinite":
        eigenvalues[::3] *= -1
    A = definite(rng, eigenvalues, dtype)
    return A + _values(rng, A.shape, dtype) / 8 if kind == "general" else A


def _systems(
    kind: str, n: int, rng: np.random.Generator, dtype: type, definite: Make
) -> Iterator[tuple[Array, Array]]:
    """Yield random and discretised systems in turn."""
    for i in range(n):
        A = _discretised(kind, rng, dtype) if i % 2 else _random(kind, rng, dtype, definite)
        yield A, _values(rng, (len(A),), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_reaches_the_true_residual(
    name: str,
    kind: str,
    dtype: type,
    library: SimpleNamespace,
    rng: np.random.Generator,
    definite: Make,
) -> None:
    """A hundred systems a row in NumPy, the first of them in every library."""
    rtol = 1e-4 if np.finfo(dtype).eps > 1e-10 else 1e-9
    n = 25 if library.name == "numpy" else 2
    for A, b in _systems(kind, n, rng, dtype, definite):
        solution = SOLVERS[name](library.array(A), library.array(b), rtol=rtol)
        x = library.numpy(solution.x).reshape(-1)
        assert x.dtype == np.dtype(dtype)
        assert solution.status == (Status.CONVERGED,)
        true = np.linalg.norm(b - A.astype(np.complex128) @ x) / np.linalg.norm(b)
        assert true <= 1.01 * rtol


@pytest.mark.parametrize("name", SOLVERS)
def test_a_factor_of_two_changes_no_bit(
    name: str, rng: np.random.Generator, definite: Make
) -> None:
    A = definite(rng, np.geomspace(1, 100, 30), np.complex128)
    b = _values(rng, (30,), np.complex128)
    expected = SOLVERS[name](A, b, rtol=1e-9)
    for scale in (2.0**-26, 2.0**27):
        solution = SOLVERS[name](A, scale * b, rtol=1e-9)
        assert solution.iterations == expected.iterations
        np.testing.assert_array_equal(solution.x, scale * expected.x)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_error_does_not_depend_on_the_units(
    name: str, scale: float, rng: np.random.Generator, definite: Make
) -> None:
    """Few steps, so that the rounding of scale * b itself is not amplified to be seen."""
    A = definite(rng, np.geomspace(1, 10, 120), np.float64)
    b = rng.normal(size=120)
    truth = np.linalg.solve(A, b)
    errors = [
        np.linalg.norm(SOLVERS[name](A, s * b, rtol=1e-3).x.reshape(-1) / s - truth)
        for s in (1.0, scale)
    ]
    assert errors[0] > 1e-5 * np.linalg.norm(truth)
    assert errors[1] == pytest.approx(errors[0], rel=1e-8)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_is_solved_by_zero_and_nan_by_nothing(
    name: str, dtype: type, library: SimpleNamespace
) -> None:
    A = library.array(np.diag([1.0, 2.0, 3.0]).astype(dtype))
    zero = SOLVERS[name](A, library.array(np.zeros(3, dtype=dtype)))
    assert zero.status == (Status.CONVERGED,)
    assert not library.numpy(zero.x).any()
    lost = SOLVERS[name](A, library.array(np.array([1.0, np.nan, 0.0], dtype=dtype)))
    assert lost.status == (Status.NON_FINITE_INPUT,)
    assert np.isnan(library.numpy(lost.x)).all()


@pytest.mark.parametrize("name", [name for name in SOLVERS if name not in TAKE_INDEFINITE])
def test_what_is_not_definite_is_named(name: str, library: SimpleNamespace) -> None:
    A = library.array(np.diag([1.0, -2.0, 3.0]))
    solution = SOLVERS[name](A, library.array(np.ones(3)))
    assert solution.status == (Status.NOT_POSITIVE_DEFINITE,)


@pytest.mark.parametrize("name", SOLVERS)
def test_no_solver_claims_a_system_without_a_solution(name: str, library: SimpleNamespace) -> None:
    A = np.diag([1.0, 2.0, 0.0])
    solution = SOLVERS[name](library.array(A), library.array(np.ones(3)), maxiter=50)
    x = library.numpy(solution.x).reshape(-1)
    assert not solution.converged
    assert np.isfinite(x).all()
    true = np.linalg.norm(1 - A @ x) / np.sqrt(3)
    assert solution.relative_residual[0] == pytest.approx(true, rel=1e-6)
    if name in TAKE_ANY:
        assert solution.status == (Status.BREAKDOWN,)


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "recycling cg"])
def test_an_operator_that_fails_is_a_breakdown(name: str) -> None:
    """Of one solve; the second one of recycling would meet a map that is NaN from the start."""
    n_calls = 0

    def fails_late(x: Array) -> Array:
        nonlocal n_calls
        n_calls += 1
        return np.arange(1.0, 9.0) * x if n_calls < 4 else np.full_like(x, np.nan)

    solution = SOLVERS[name](fails_late, np.ones(8), rtol=1e-10)
    assert solution.status == (Status.BREAKDOWN,)
    assert np.isfinite(solution.x).all()


def test_a_space_told_so_never_gives_up() -> None:
    patient, rule = RecycleSpace(2, gives_up=False), RecycleSpace(2)
    for space in (patient, rule):
        for cost, was_warm in [(10, False), *[(90, True)] * 4, (10, False)] * 3:
            space.judge(cost, was_warm=was_warm)
    assert rule.disabled_because is not None
    assert patient.disabled_because is None
