"""Compiled CG on stencils against SciPy's direct solver and against the generic CG."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve

from solvers import cg
from solvers.errors import SolverError
from solvers.preconditioners import Jacobi, Stencil, diffusion_stencil
from solvers.stencil_cg import stencil_cg

RNG = np.random.default_rng(3)


def medium(n_systems: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.exp(RNG.standard_normal((n_systems, *shape)))


def matrix(stencil: Stencil, system: int) -> sparse.csc_array:
    """A by its definition, entry by entry."""
    shape = stencil.coefficients.shape[2:]
    A = sparse.lil_array((np.prod(shape), np.prod(shape)))
    for k, offset in enumerate(stencil.offsets):
        for place in np.ndindex(shape):
            other = [p + o for p, o in zip(place, offset, strict=True)]
            for axis in stencil.periodic:
                other[axis] %= shape[axis]
            if all(0 <= p < n for p, n in zip(other, shape, strict=True)):
                row, column = (np.ravel_multi_index(tuple(p), shape) for p in (place, other))
                A[row, column] += stencil.coefficients[(system, k, *place)]
    return A.tocsc()


@pytest.mark.parametrize("boundary", ["dirichlet", "neumann", "periodic"])
@pytest.mark.parametrize("shape", [(9,), (7, 10), (4, 5, 6)])
def test_solution_is_the_direct_solvers(shape: tuple[int, ...], boundary: str) -> None:
    stencil = diffusion_stencil(
        medium(3, shape),
        (0.1,) * len(shape),
        c=1.0,
        boundary=boundary,  # type: ignore[arg-type]
    )
    b = RNG.standard_normal((3, *shape))
    x, iterations = stencil_cg(stencil, b, rtol=1e-12)
    for i in range(3):
        A = matrix(stencil, i)
        np.testing.assert_allclose(x[i].ravel(), spsolve(A, b[i].ravel()), rtol=1e-8, atol=1e-11)
        assert np.linalg.norm(b[i].ravel() - A @ x[i].ravel()) <= 1e-12 * np.linalg.norm(b[i])
    assert (iterations > 0).all()


def test_iterations_are_those_of_the_generic_solver() -> None:
    stencil = diffusion_stencil(medium(4, (16, 16)), (1.0, 1.0))
    b = RNG.standard_normal((4, 16, 16))
    ours = stencil_cg(stencil, b, rtol=1e-8)[1]
    for i in range(4):
        one = diffusion_stencil(np.ones((1, 16, 16)), (1.0, 1.0))
        one = replace(one, coefficients=stencil.coefficients[i : i + 1])
        A = matrix(one, 0).tocsr()
        generic = cg(A, b[i].ravel(), M=Jacobi(A), rtol=1e-8).iterations[0]
        assert abs(int(ours[i]) - generic) <= 1


def test_one_matrix_serves_all_right_hand_sides() -> None:
    stencil = diffusion_stencil(medium(1, (6, 7)), (1.0, 1.0))
    b = RNG.standard_normal((5, 6, 7))
    x = stencil_cg(stencil, b, rtol=1e-12)[0]
    wanted = spsolve(matrix(stencil, 0), b.reshape(5, -1).T).T
    np.testing.assert_allclose(x.reshape(5, -1), wanted, rtol=1e-9)


@pytest.mark.parametrize("factor", [1e-250, 1.0, 1e250])
def test_units_of_the_right_hand_side_do_not_matter(factor: float) -> None:
    stencil = diffusion_stencil(medium(1, (8, 8)), (1.0, 1.0))
    b = RNG.standard_normal((1, 8, 8))
    plain, scaled = (stencil_cg(stencil, f * b, rtol=1e-10)[0] for f in (1.0, factor))
    np.testing.assert_allclose(scaled / factor, plain, rtol=1e-8)


def test_zero_and_not_a_number_end_at_once() -> None:
    stencil = diffusion_stencil(medium(3, (5, 5)), (1.0, 1.0))
    b = RNG.standard_normal((3, 5, 5))
    b[0], b[1, 2, 2] = 0.0, np.nan
    x, iterations = stencil_cg(stencil, b, rtol=1e-10)
    assert not x[0].any()
    assert iterations[0] == 0
    assert iterations[1] <= 1
    left = b[2].ravel() - matrix(stencil, 2) @ x[2].ravel()
    assert np.linalg.norm(left) <= 1e-10 * np.linalg.norm(b[2])


def test_iteration_limit_holds() -> None:
    stencil = diffusion_stencil(medium(1, (20, 20)), (1.0, 1.0))
    assert stencil_cg(stencil, np.ones((1, 20, 20)), rtol=1e-10, maxiter=7)[1].tolist() == [7]


def test_an_indefinite_stencil_ends_without_a_solution() -> None:
    one = diffusion_stencil(np.ones((1, 8)), (1.0,))
    values = one.coefficients.copy()
    values[:, 0] = 0.5
    b = np.ones((1, 8))
    b[0, 3] = -1.0
    x, iterations = stencil_cg(replace(one, coefficients=values), b, rtol=1e-12, maxiter=50)
    assert np.isfinite(x).all()
    assert iterations[0] <= 50


def test_wrong_arguments_are_refused() -> None:
    stencil = diffusion_stencil(np.ones((2, 8)), (1.0,))
    with pytest.raises(SolverError, match="expected right-hand sides"):
        stencil_cg(stencil, np.ones((3, 8)))
    with pytest.raises(SolverError, match="expected right-hand sides"):
        stencil_cg(stencil, np.ones((2, 9)))
    with pytest.raises(SolverError, match="positive diagonal"):
        stencil_cg(replace(stencil, coefficients=-stencil.coefficients), np.ones((2, 8)))
