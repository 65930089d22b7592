"""Total variation's proximal map against bounded least squares and an independent iteration."""

from __future__ import annotations

from typing import Literal

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from solvers.errors import SolverError
from solvers.solution import Status
from solvers.total_variation import TotalVariation
from solvers.vectors import Array

LIBRARIES = {"numpy": np.asarray, "torch": torch.as_tensor, "strict": array_api_strict.asarray}
Boundary = Literal["neumann", "periodic"]


def random_complex(shape: tuple[int, ...], seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(shape) + 1j * generator.standard_normal(shape)


def difference_matrix(shape: tuple[int, ...], boundary: Boundary) -> Array:
    """Dense D of shape (ndim, n, n), from Kronecker products."""
    blocks = []
    for axis, n in enumerate(shape):
        one = np.roll(np.eye(n), 1, axis=1) - np.eye(n)
        if boundary == "neumann":
            one[-1] = 0
        before, after = np.eye(int(np.prod(shape[:axis]))), np.eye(int(np.prod(shape[axis + 1 :])))
        blocks.append(np.kron(np.kron(before, one), after))
    return np.stack(blocks)


def objective(x: Array, u: Array, weight: float, D: Array) -> float:
    slopes = D @ u.reshape(-1)
    norm = float(np.sqrt((np.abs(slopes) ** 2).sum(axis=0)).sum())
    return weight * norm + 0.5 * float(np.linalg.norm(u - x) ** 2)


def splitting_solution(x: Array, weight: float, D: Array, n_iterations: int = 4000) -> Array:
    """Solve by fixed-penalty ADMM with a dense inverse: no code in common with what is tested."""
    flat, stacked = x.reshape(-1), D.reshape(-1, x.size)
    inverse = np.linalg.inv(np.eye(x.size) + stacked.T @ stacked)
    z = u = np.zeros((D.shape[0], x.size), complex)
    for _ in range(n_iterations):
        image = inverse @ (flat + stacked.T @ (z - u).reshape(-1))
        w = D @ image + u
        length = np.sqrt((np.abs(w) ** 2).sum(axis=0))
        z = w * np.maximum(0, 1 - weight / np.maximum(length, 1e-300))
        u = w - z
    return image.reshape(x.shape)


@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
@pytest.mark.parametrize("weight", [0.01, 0.3, 2.0, 50.0])
def test_one_dimension_equals_bounded_least_squares(boundary: Boundary, weight: float) -> None:
    x = np.cumsum(np.random.default_rng(2).standard_normal(40))
    D = difference_matrix((40,), boundary)[0]
    D = D[np.abs(D).sum(axis=1) > 0]
    dual = lsq_linear(D.T, x, (-weight, weight), method="bvls", tol=1e-14).x
    g = TotalVariation(1.0, 1, boundary, rtol=1e-6, maxiter=5000)
    solution = g.denoise(x, weight)
    assert solution.converged
    error = np.linalg.norm(solution.x - (x - D.T @ dual))
    assert error <= solution.residual_norm[0] <= 1e-6 * np.linalg.norm(x)


@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
@pytest.mark.parametrize("shape", [(7, 6), (4, 3, 5)])
def test_complex_images_equal_an_independent_solution(
    boundary: Boundary, shape: tuple[int, ...]
) -> None:
    x = random_complex(shape)
    D = difference_matrix(shape, boundary)
    g = TotalVariation(0.8, len(shape), boundary, rtol=1e-6, maxiter=3000)
    solution = g.denoise(x, 0.5)
    expected = splitting_solution(x, 0.4, D)
    assert solution.converged
    assert np.linalg.norm(solution.x - expected) <= 2e-6 * np.linalg.norm(x)
    assert objective(x, solution.x, 0.4, D) == pytest.approx(objective(x, expected, 0.4, D))


@pytest.mark.parametrize("maxiter", [0, 1, 3, 10, 30])
def test_the_reported_bound_holds_before_convergence(maxiter: int) -> None:
    x = random_complex((7, 6))
    expected = splitting_solution(x, 0.4, difference_matrix((7, 6), "neumann"))
    solution = TotalVariation(0.4, rtol=1e-9, maxiter=maxiter).denoise(x)
    error = float(np.linalg.norm(solution.x - expected))
    assert solution.status == (Status.MAX_ITERATIONS,)
    assert error <= solution.residual_norm[0]
    assert solution.relative_residual[0] == pytest.approx(
        solution.residual_norm[0] / np.linalg.norm(x)
    )


@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
def test_value_equals_the_dense_norm(boundary: Boundary) -> None:
    x = random_complex((3, 6, 5))
    D = difference_matrix((6, 5), boundary)
    found = TotalVariation(0.7, 2, boundary).value(x)
    expected = [objective(image, image, 0.7, D) for image in x]
    assert np.allclose(found, expected, rtol=1e-13)


def test_a_constant_stays_and_a_large_weight_leaves_the_mean() -> None:
    x = random_complex((6, 7))
    u = TotalVariation(1e4, rtol=1e-4, maxiter=1000).prox(x, 1.0)
    assert np.allclose(u, x.mean(), atol=1e-3)
    flat = np.full((4, 4), 2 - 1j)
    assert np.array_equal(TotalVariation(3.0).prox(flat, 1.0), flat)


def test_without_a_step_nothing_changes() -> None:
    x = random_complex((6, 7))
    assert np.array_equal(TotalVariation(1.0).prox(x, 0.0), x)
    assert np.array_equal(TotalVariation(0.0).prox(x, 1.0), x)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), weight=st.floats(1e-2, 1))
def test_prox_is_firmly_nonexpansive(seed: int, weight: float) -> None:
    g = TotalVariation(weight, rtol=1e-4, maxiter=1000)
    x, y = random_complex((5, 4), seed), 3 * random_complex((5, 4), seed + 1)
    difference = g.prox(x, 1.0) - g.prox(y, 1.0)
    slack = 1e-4 * (np.linalg.norm(x) + np.linalg.norm(y)) * np.linalg.norm(x - y)
    assert np.linalg.norm(difference) ** 2 <= np.vdot(difference, x - y).real + slack


@pytest.mark.parametrize("exponent", [-30, -8, 8, 30])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_prox_is_equivariant_to_scale(exponent: int, dtype: str) -> None:
    s = 2.0**exponent
    x = random_complex((9, 8)).astype(dtype)
    g = TotalVariation(0.5, rtol=1e-4)
    plain, scaled = g.denoise(x, 0.6), g.denoise(x * s, 0.6 * s)
    assert np.array_equal(scaled.x, plain.x * s)
    assert scaled.iterations == plain.iterations


@pytest.mark.parametrize("library", ["torch", "strict"])
@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64", "complex128"])
def test_every_library_gives_the_same(library: str, dtype: str) -> None:
    x = random_complex((2, 9, 8))
    x = (x if dtype.startswith("complex") else x.real).astype(dtype)
    tolerance = 1e-3 if dtype in {"float32", "complex64"} else 1e-5
    g = TotalVariation(0.5, rtol=tolerance, maxiter=3000)
    found = g.denoise(LIBRARIES[library](x), 0.6)
    expected = g.prox(x.astype("complex128"), 0.6)
    assert found.converged
    assert found.x.dtype == LIBRARIES[library](x).dtype
    assert np.linalg.norm(np.asarray(found.x) - expected) <= 3 * tolerance * np.linalg.norm(x)


def test_a_batch_equals_its_systems_with_their_own_steps() -> None:
    x = random_complex((3, 9, 8)) * np.asarray([1.0, 1e-6, 1e5]).reshape(3, 1, 1)
    steps = np.asarray([0.3, 1e-6, 4e5]).reshape(3, 1, 1)
    g = TotalVariation(1.0, rtol=1e-3, maxiter=3000)
    together = g.denoise(x, steps)
    for i in range(3):
        alone = g.denoise(x[i], float(steps[i, 0, 0]))
        assert np.allclose(together.x[i], alone.x, rtol=1e-12)
        assert together.iterations[i] == alone.iterations[0]
        assert together.status[i] is alone.status[0] is Status.CONVERGED
    weighted = TotalVariation(steps, rtol=1e-3, maxiter=3000)
    assert np.array_equal(weighted.prox(x, 1.0), together.x)
    assert np.allclose(weighted.value(x), steps[:, 0, 0] * g.value(x))


def test_a_nan_is_named_and_spoils_no_other_image() -> None:
    x = random_complex((2, 6, 5))
    x[0, 1, 1] = np.nan
    solution = TotalVariation(0.4, rtol=1e-4, maxiter=3000).denoise(x)
    assert solution.status == (Status.NON_FINITE_INPUT, Status.CONVERGED)
    assert np.isnan(solution.x[0]).all()
    assert np.isfinite(solution.x[1]).all()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(SolverError, match=r"weight >= 0, got -1\.0"):
        TotalVariation(-1.0)
    with pytest.raises(SolverError, match="got 2 and 'mirror'"):
        TotalVariation(1.0, boundary="mirror")  # type: ignore[arg-type]
    with pytest.raises(SolverError, match=r"at least 2 axes, got shape \(4,\)"):
        TotalVariation(1.0).prox(np.ones(4), 1.0)
    with pytest.raises(SolverError, match="rtol expected a number >= 0, got -1"):
        TotalVariation(1.0, rtol=-1)
