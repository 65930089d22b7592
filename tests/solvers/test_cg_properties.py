"""What must hold for conjugate gradients on any system: drawn, not chosen."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from solvers import Status, cg

Array = NDArray[np.generic]

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 12)
conditions = st.floats(0.0, 3.0).map(lambda exponent: 10.0**exponent)
dtypes = st.sampled_from([np.float32, np.float64, np.complex64, np.complex128])


def _unitary(rng: np.random.Generator, n: int, dtype: type) -> Array:
    entries = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    q, _ = np.linalg.qr(entries if np.issubdtype(dtype, np.complexfloating) else entries.real)
    return q


def _vector(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    x = rng.normal(size=shape)
    if np.issubdtype(dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


def _system(seed: int, n: int, condition: float, dtype: type) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    q = _unitary(rng, n, dtype)
    A = (q * np.geomspace(1 / condition, 1, n)) @ q.conj().T
    A = (A + A.conj().T) / 2
    return A.astype(dtype), _vector(rng, (n,), dtype)


def _error(A: Array, b: Array, x: Array) -> float:
    wide = np.complex128
    exact = np.linalg.solve(A.astype(wide), b.astype(wide))
    return float(np.linalg.norm(x.astype(wide) - exact) / np.linalg.norm(exact))


@given(seeds, sizes, conditions, dtypes)
def test_the_answer_is_that_of_a_dense_solve(
    seed: int, n: int, condition: float, dtype: type
) -> None:
    A, b = _system(seed, n, condition, dtype)
    solution = cg(A, b)
    residual = np.linalg.norm(b.astype(np.complex128) - A.astype(np.complex128) @ solution.x)
    rounding = 8 * float(np.finfo(dtype).eps) * np.linalg.norm(solution.x)  # of A x itself
    assert solution.residual_norm[0] <= 2 * residual + rounding
    assert residual <= 2 * solution.residual_norm[0] + rounding
    if solution.converged:
        assert residual <= 2e-6 * np.linalg.norm(b)
        assert _error(A, b, solution.x) <= 3e-6 * condition
    else:  # 1e-6 is out of reach of single precision at the largest conditions
        assert np.finfo(dtype).eps * condition > 1e-7
        assert solution.status == (Status.STAGNATION,)


@given(seeds, sizes, conditions, dtypes, st.floats(-8.0, 8.0).map(lambda exponent: 10.0**exponent))
def test_the_answer_scales_with_the_data(
    seed: int, n: int, condition: float, dtype: type, scale: float
) -> None:
    """At equal steps; where it stops, one step more or less may be a hundredfold in error."""
    A, b = _system(seed, n, condition, dtype)
    scaled = (scale * b).astype(dtype)
    floor = 10 * float(np.finfo(dtype).eps) * condition**2
    for maxiter in (1, 2, 4, 8):
        error = _error(A, b, cg(A, b, rtol=1e-5, maxiter=maxiter).x)
        error_scaled = _error(A, scaled, cg(A, scaled, rtol=1e-5, maxiter=maxiter).x)
        bound = 1e-5 * condition if error < 1e-5 * condition else 0.0
        assert error_scaled <= 10 * error + floor + bound
    is_reachable = float(np.finfo(dtype).eps) * condition < 1e-6
    assert cg(A, scaled, rtol=1e-5).converged or not is_reachable


@given(seeds, sizes, dtypes, st.integers(-80, 80))
def test_powers_of_two_commute_exactly(seed: int, n: int, dtype: type, exponent: int) -> None:
    A, b = _system(seed, n, 30.0, dtype)
    factor = b.real.dtype.type(2.0**exponent)
    plain, scaled = cg(A, b), cg(A, factor * b)
    np.testing.assert_array_equal(scaled.x, factor * plain.x)
    assert scaled.iterations == plain.iterations


@given(seeds, st.integers(1, 5), sizes, st.permutations(range(5)))
def test_a_batch_is_its_systems_in_any_order(
    seed: int, n_systems: int, n: int, order: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    systems = [
        _system(int(rng.integers(2**31)), n, float(10 ** rng.uniform(0, 3)), np.complex128)
        for _ in range(n_systems)
    ]
    A, b = (np.stack(part) for part in zip(*systems, strict=True))
    order = [i for i in order if i < n_systems]
    batch = cg(A, b, rtol=1e-10, n_batch_axes=1)
    shuffled = cg(A[order], b[order], rtol=1e-10, n_batch_axes=1)
    for place, i in enumerate(order):
        alone = cg(A[i], b[i], rtol=1e-10)
        norm = np.linalg.norm(alone.x)
        assert batch.status[i] is shuffled.status[place] is alone.status[0] is Status.CONVERGED
        # They differ by rounding, which an iteration more or less near the tolerance magnifies.
        condition = np.linalg.cond(A[i])
        assert np.linalg.norm(batch.x[i] - alone.x) <= 3e-10 * condition * norm
        assert np.linalg.norm(shuffled.x[place] - batch.x[i]) <= 3e-10 * condition * norm


@given(seeds, sizes, conditions)
def test_a_unitary_change_of_basis_changes_no_residual(seed: int, n: int, condition: float) -> None:
    A, b = _system(seed, n, condition, np.complex128)
    U = _unitary(np.random.default_rng(seed + 1), n, np.complex128)
    maxiter = min(n, 4)
    plain = cg(A, b, rtol=1e-9, maxiter=maxiter)
    turned = cg(U @ A @ U.conj().T, U @ b, rtol=1e-9, maxiter=maxiter)
    scale = np.linalg.norm(plain.x)
    assert np.linalg.norm(U @ plain.x - turned.x) <= 1e-8 * condition * scale
    for mine, theirs in zip(plain.history[0][:3], turned.history[0][:3], strict=False):
        assert abs(mine - theirs) <= 1e-9 * condition * np.linalg.norm(b)


@given(seeds, sizes, conditions)
def test_energy_never_grows(seed: int, n: int, condition: float) -> None:
    """x^H A x / 2 - Re b^H x falls with every step: CG minimises it over the Krylov space."""
    A, b = _system(seed, n, condition, np.complex128)
    energies = [0.0]

    def note(_: int, x: Array) -> None:
        energies.append(float((0.5 * x.conj() @ A @ x - b.conj() @ x).real))

    cg(A, b, rtol=1e-12, callback=note)
    drops = np.diff(energies)
    assert (drops <= 1e-12 * np.abs(energies).max()).all()


@given(seeds, sizes, st.floats(1.0, 5.0))
def test_a_start_shifts_the_problem(seed: int, n: int, size: float) -> None:
    A, b = _system(seed, n, 20.0, np.complex128)
    x0 = size * _vector(np.random.default_rng(seed + 1), (n,), np.complex128)
    moved = cg(A, b, x0=x0, rtol=1e-11)
    assert moved.converged
    assert _error(A, b, moved.x) <= 1e-9
