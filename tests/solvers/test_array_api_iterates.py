"""The same numbers through every array library, iterate by iterate, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from solvers import Solution, cg, cgls, power_iteration

Array = NDArray[np.generic]
Solve = Callable[[SimpleNamespace, Callable[[int, object], None]], Solution]


def _problem() -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(7)
    shape = (3, 30, 20)
    B = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    y = rng.normal(size=shape[:2]) + 1j * rng.normal(size=shape[:2])
    M = np.diag(1 / np.arange(20.0, 40.0))
    return B, y, M.astype(np.complex128)


def _cg(library: SimpleNamespace, note: Callable[[int, object], None]) -> Solution:
    B, y, M = _problem()
    # No outlying eigenvalues: once CG has found one it magnifies the last bit, where BLAS differ.
    A = library.array(B.conj().swapaxes(1, 2) @ B + 20 * np.eye(20))
    b = library.array((B.conj().swapaxes(1, 2) @ y[..., None])[..., 0])
    return cg(A, b, M=library.array(M), rtol=1e-10, maxiter=15, n_batch_axes=1, callback=note)


def _cgls(library: SimpleNamespace, note: Callable[[int, object], None]) -> Solution:
    B, y, _ = _problem()
    return cgls(
        library.array(B),
        None,
        library.array(y),
        damp=4.0,
        rtol=1e-10,
        maxiter=15,
        n_batch_axes=1,
        callback=note,
    )


@pytest.mark.parametrize("solve", [_cg, _cgls])
def test_iterates_agree_to_1e_12(library: SimpleNamespace, solve: Solve) -> None:
    expected: list[Array] = []
    reference = solve(SimpleNamespace(array=np.array), lambda _, x: expected.append(np.asarray(x)))
    found: list[Array] = []
    solution = solve(library, lambda _, x: found.append(library.numpy(x)))
    assert solution.iterations == reference.iterations
    assert solution.status == reference.status
    for mine, theirs in zip(found, expected, strict=True):
        assert np.linalg.norm(mine - theirs) <= 1e-12 * np.linalg.norm(theirs)


def test_the_result_stays_in_its_library(library: SimpleNamespace) -> None:
    x = library.array(np.ones(4))
    assert type(cg(lambda x: 2.0 * x, x).x) is type(x)
    assert type(cgls(lambda x: 2.0 * x, lambda x: 2.0 * x, x).x) is type(x)
    assert type(power_iteration(lambda x: 2.0 * x, x).vector) is type(x)


def test_real_systems_agree(library: SimpleNamespace) -> None:
    B, _, _ = _problem()
    A, b = (B.conj().swapaxes(1, 2) @ B).real, B.real[:, 0]
    found = cg(library.array(A), library.array(b), rtol=1e-12, n_batch_axes=1)
    exact = np.linalg.solve(A, b[..., None])[..., 0]
    np.testing.assert_allclose(library.numpy(found.x), exact, rtol=1e-8, atol=1e-10)
